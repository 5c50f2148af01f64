"""What can be seen in the synthetic world: things and stuff, their words, and which things are base and which novel."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

from videoseg.vocabulary import Vocabulary

Split = Literal["train", "dev", "test"]
"""Which seeds, textures and art styles a picture draws from; no picture belongs to two splits."""
Concepts = Literal["all", "base", "novel"]
"""Which things may appear. Novel things are never shown where masks are learnt."""

STYLES = ("noto", "fluent", "twemoji")
"""Art styles of the sprites, in the order in which they are drawn from."""
UNSEEN_STYLE = "twemoji"
"""The style that only the test split shows."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A concept whose instances are counted."""

    names: tuple[str, ...]
    """Synonyms; the first is the category's name."""
    icons: tuple[str, ...]
    """Names of its pictures in the icon sets, the same in every style."""
    novel: bool = False
    recolour: bool = False
    """Any hue is natural for it (a car), so captions may say its colour."""
    limber: bool = False
    """A living or soft thing that bends freely; the others yield only a little, as if seen from another side."""


@dataclass(frozen=True, slots=True)
class Stuff:
    """A concept that fills a region."""

    names: tuple[str, ...]
    preposition: str
    """How a caption joins it to the things: under the sky, on grass."""
    place: Literal["above", "behind", "below"]
    """Where in a picture its region lies."""


THINGS = (
    Thing(("dog", "puppy"), ("dog", "guide-dog", "poodle"), limber=True),
    Thing(("cat", "kitten"), ("cat", "black-cat"), limber=True),
    Thing(("horse",), ("horse",), limber=True),
    Thing(("cow",), ("cow",), limber=True),
    Thing(("elephant",), ("elephant",), limber=True),
    Thing(("bird",), ("bird", "dove"), limber=True),
    Thing(("duck",), ("duck",), limber=True),
    Thing(("fish",), ("fish", "tropical-fish"), limber=True),
    Thing(("turtle", "tortoise"), ("turtle",), limber=True),
    Thing(("butterfly",), ("butterfly",), recolour=True, limber=True),
    Thing(("crab",), ("crab",), limber=True),
    Thing(("car", "automobile"), ("automobile", "sport-utility-vehicle", "oncoming-automobile"), recolour=True),
    Thing(("bus",), ("bus", "trolleybus"), recolour=True),
    Thing(("truck", "lorry"), ("delivery-truck", "articulated-lorry", "pickup-truck"), recolour=True),
    Thing(("bicycle", "bike"), ("bicycle",), recolour=True),
    Thing(("airplane", "plane"), ("airplane", "small-airplane")),
    Thing(("boat", "sailboat"), ("sailboat",), recolour=True),
    Thing(("train",), ("locomotive", "railway-car")),
    Thing(("apple",), ("red-apple", "green-apple")),
    Thing(("banana",), ("banana",)),
    Thing(("strawberry",), ("strawberry",)),
    Thing(("pizza", "slice of pizza"), ("pizza",)),
    Thing(("hamburger", "burger"), ("hamburger",)),
    Thing(("carrot",), ("carrot",)),
    Thing(("ball", "football"), ("soccer-ball",)),
    Thing(("umbrella", "parasol"), ("umbrella",), recolour=True),
    Thing(("balloon",), ("balloon",), recolour=True),
    Thing(("guitar",), ("guitar",)),
    Thing(("clock", "alarm clock"), ("alarm-clock",), recolour=True),
    Thing(("teddy bear", "plush bear"), ("teddy-bear",), limber=True),
    Thing(("chair",), ("chair",), recolour=True),
    Thing(("light bulb", "bulb"), ("light-bulb",)),
    Thing(("tree",), ("deciduous-tree", "evergreen-tree", "palm-tree"), limber=True),
    Thing(("sunflower",), ("sunflower",), limber=True),
    Thing(("house", "cottage"), ("house", "house-with-garden")),
    Thing(
        ("person", "pedestrian"),
        (
            "person-walking",
            "woman-walking-medium",
            "man-walking-dark",
            "woman-standing-light",
            "man-standing-medium",
            "woman-running-medium",
            "person-running-dark",
            "man-dancing",
        ),
        limber=True,
    ),
    Thing(("rabbit", "bunny"), ("rabbit",), limber=True),
    Thing(("giraffe",), ("giraffe",), limber=True),
    Thing(("zebra",), ("zebra",), limber=True),
    Thing(("sheep",), ("ewe", "ram"), limber=True),
    Thing(("crocodile", "alligator"), ("crocodile",), limber=True),
    Thing(("whale",), ("whale", "spouting-whale"), limber=True),
    Thing(("bee", "honeybee"), ("honeybee",), limber=True),
    Thing(("snake", "serpent"), ("snake",), limber=True),
    Thing(("rooster", "chicken"), ("rooster",), limber=True),
    Thing(("owl",), ("owl",), limber=True),
    Thing(("tractor",), ("tractor",)),
    Thing(("ship", "ferry"), ("ship", "passenger-ship")),
    Thing(("scooter", "kick scooter"), ("kick-scooter",), recolour=True),
    Thing(("skateboard",), ("skateboard",), recolour=True),
    Thing(("lemon",), ("lemon",)),
    Thing(("grapes", "bunch of grapes"), ("grapes",)),
    Thing(("cheese", "wedge of cheese"), ("cheese-wedge",)),
    Thing(("doughnut", "donut"), ("doughnut",)),
    Thing(("broccoli",), ("broccoli",)),
    Thing(("mushroom", "toadstool"), ("mushroom", "brown-mushroom")),
    Thing(("ice cream",), ("soft-ice-cream", "ice-cream")),
    Thing(("book",), ("closed-book", "green-book", "open-book"), recolour=True),
    Thing(("camera",), ("camera", "camera-with-flash")),
    Thing(("laptop", "notebook computer"), ("laptop",)),
    Thing(("shoe",), ("running-shoe", "hiking-boot"), recolour=True),
    Thing(("telephone", "phone"), ("telephone",), recolour=True),
    Thing(("pig", "hog"), ("pig",), novel=True, limber=True),
    Thing(("penguin",), ("penguin",), novel=True, limber=True),
    Thing(("octopus",), ("octopus",), novel=True, limber=True),
    Thing(("snail",), ("snail",), novel=True, limber=True),
    Thing(("flamingo",), ("flamingo",), novel=True, limber=True),
    Thing(("kangaroo",), ("kangaroo",), novel=True, limber=True),
    Thing(("peacock",), ("peacock",), novel=True, limber=True),
    Thing(("motorcycle", "motorbike"), ("motorcycle",), novel=True, recolour=True),
    Thing(("helicopter", "chopper"), ("helicopter",), novel=True, recolour=True),
    Thing(("rocket", "spaceship"), ("rocket",), novel=True),
    Thing(("ambulance",), ("ambulance",), novel=True),
    Thing(("flying saucer",), ("flying-saucer",), novel=True),
    Thing(("pineapple",), ("pineapple",), novel=True),
    Thing(("watermelon", "slice of watermelon"), ("watermelon",), novel=True),
    Thing(("corn", "ear of corn"), ("ear-of-corn",), novel=True),
    Thing(("cupcake", "muffin"), ("cupcake",), novel=True),
    Thing(("avocado",), ("avocado",), novel=True),
    Thing(("television", "tv"), ("television",), novel=True),
    Thing(("cactus",), ("cactus",), novel=True),
    Thing(("gift", "present"), ("wrapped-gift",), novel=True, recolour=True),
    Thing(("backpack", "rucksack"), ("backpack",), novel=True, recolour=True),
    Thing(("crown",), ("crown",), novel=True),
    Thing(("robot",), ("robot",), novel=True),
    Thing(("snowman",), ("snowman-without-snow",), novel=True),
)
"""86 things, 62 base and 24 novel; a thing's position is its index in `vocabulary()`."""

STUFF = (
    Stuff(("sky",), "under", "above"),
    Stuff(("hedge", "bushes"), "in front of", "behind"),
    Stuff(("brick wall",), "in front of", "behind"),
    Stuff(("rock", "cliff"), "in front of", "behind"),
    Stuff(("curtain", "drapes"), "in front of", "behind"),
    Stuff(("water", "sea"), "near", "below"),
    Stuff(("grass", "lawn"), "on", "below"),
    Stuff(("sand", "beach"), "on", "below"),
    Stuff(("snow",), "on", "below"),
    Stuff(("road", "street"), "on", "below"),
    Stuff(("gravel", "pebbles"), "on", "below"),
    Stuff(("wood floor", "parquet"), "on", "below"),
    Stuff(("tile floor", "tiles"), "on", "below"),
)
"""13 kinds of stuff; the position here plus `len(THINGS)` is the index in `vocabulary()`."""

COUNT_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")

_IRREGULAR_PLURALS = {
    "person": "people",
    "fish": "fish",
    "sheep": "sheep",
    "cactus": "cacti",
    "tv": "tvs",
    "snowman": "snowmen",
    "grapes": "grapes",
    "broccoli": "broccoli",
    "corn": "corn",
}
_WITHOUT_ARTICLE = ("grapes", "broccoli", "corn", "cheese")


def things_text() -> str:
    """The things in the grammar of `--vocab`."""
    return "; ".join(", ".join(thing.names) for thing in THINGS)


def stuff_text() -> str:
    """The stuff in the grammar of `--stuff`."""
    return "; ".join(", ".join(stuff.names) for stuff in STUFF)


@cache
def vocabulary() -> Vocabulary:
    """Every concept of the world with its synonyms: things first, then stuff."""
    return Vocabulary.build(things=things_text(), stuff=stuff_text())


def thing_indices(concepts: Concepts) -> tuple[int, ...]:
    """Indices (into `THINGS` and `vocabulary()`) of the things that a picture may show."""
    return tuple(i for i, thing in enumerate(THINGS) if concepts == "all" or thing.novel == (concepts == "novel"))


def plural(name: str) -> str:
    """The plural of a thing's name: `two slices of pizza`, `three people`."""
    head, of, rest = name.partition(" of ")
    if of:
        return plural(head) + of + rest
    if head in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[head]
    if head.endswith(("s", "ch", "x")):
        return head + "es"
    if head.endswith("y") and head[-2] not in "aeiou":
        return head[:-1] + "ies"
    return head + "s"


def with_article(name: str) -> str:
    """`a dog`, `an apple`, `grapes`."""
    if name in _WITHOUT_ARTICLE:
        return name
    return ("an " if name[0] in "aeiou" else "a ") + name
