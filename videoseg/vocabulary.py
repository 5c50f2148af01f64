"""`Vocabulary`: the categories of a run in plain words.

Grammar: `;` between categories, `,` between synonyms, the first synonym is the name shown:
`"black pickup truck, pickup truck; blue sky, sky"`.
"""

import colorsys
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from videoseg import label_sets
from videoseg.errors import InputError

Colour = tuple[int, int, int]
"""Red, green, blue in 0..255."""

# Successive multiples of the golden angle spread hues evenly however many there are.
_GOLDEN_RATIO_CONJUGATE = 0.61803398875


def spread_colour(number: int) -> Colour:
    """A saturated colour for the given number, far in hue from those of its neighbours."""
    hue = (number * _GOLDEN_RATIO_CONJUGATE) % 1.0
    saturation, value = (0.75, 0.95) if number % 2 == 0 else (0.55, 0.80)
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True, slots=True)
class Category:
    """One category: what it is called, and whether its instances are told apart."""

    names: tuple[str, ...]
    """All synonyms; the first is the name shown."""
    is_thing: bool
    colour: Colour

    @property
    def name(self) -> str:
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """An ordered list of categories; a category is known by its index."""

    categories: tuple[Category, ...]

    def __post_init__(self) -> None:
        if not self.categories:
            raise InputError(
                'The vocabulary is empty. Name categories, for instance --vocab "person; dog, puppy" '
                '--stuff "sky; grass", or take a label set: --labels coco.'
            )

    def __len__(self) -> int:
        return len(self.categories)

    def __iter__(self) -> Iterator[Category]:
        return iter(self.categories)

    def __getitem__(self, index: int) -> Category:
        return self.categories[index]

    @classmethod
    def build(
        cls, *, things: str = "", stuff: str = "", labels: Sequence[str] = (), files: Sequence[str | Path] = ()
    ) -> "Vocabulary":
        """The vocabulary that the command line's options describe, in the order things, stuff, files, label sets.

        Words given directly must not contradict each other: a name or synonym may stand once. Where a file or a
        label set brings a word that an earlier part already has, the earlier part keeps it: the word is dropped from
        the later category, and a later category whose name is taken is dropped whole.

        Args:
            things: categories with instances, in the grammar above.
            stuff: categories without instances, in the grammar above.
            labels: names of built-in label sets.
            files: YAML files (see `read_yaml`).

        Raises:
            InputError: nothing given, a word given twice, an unknown label set, an unreadable file.
        """
        own = [(names, True) for names in parse(things)] + [(names, False) for names in parse(stuff)]
        _require_distinct(own)
        parts: list[list[tuple[tuple[str, ...], bool]]] = [own]
        parts += [read_yaml(Path(path)) for path in files]
        parts += [[(row.names, row.is_thing) for row in label_sets.rows(name)] for name in labels]
        return cls.of(_merge(parts))

    @classmethod
    def of(cls, entries: Iterable[tuple[tuple[str, ...], bool]]) -> "Vocabulary":
        """From (synonyms, is_thing) pairs, with spread colours."""
        return cls(
            tuple(
                Category(names=names, is_thing=is_thing, colour=spread_colour(i))
                for i, (names, is_thing) in enumerate(entries)
            )
        )

    def to_json(self) -> list[dict[str, Any]]:
        """A JSON-ready list, one object per category."""
        return [{"names": list(c.names), "is_thing": c.is_thing, "colour": list(c.colour)} for c in self.categories]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> "Vocabulary":
        """The inverse of `to_json`."""
        return cls(
            tuple(
                Category(
                    names=tuple(entry["names"]),
                    is_thing=bool(entry["is_thing"]),
                    colour=(entry["colour"][0], entry["colour"][1], entry["colour"][2]),
                )
                for entry in data
            )
        )

    @property
    def checksum(self) -> str:
        """SHA-256 of names and kinds (not colours), in hex."""
        text = json.dumps([[list(c.names), c.is_thing] for c in self.categories], ensure_ascii=True)
        return sha256(text.encode()).hexdigest()


def parse(text: str) -> list[tuple[str, ...]]:
    """Splits `"a1, a2; b1"` into `[("a1", "a2"), ("b1",)]`; white space is squeezed, empty parts are skipped."""
    categories = []
    for part in text.split(";"):
        names = tuple(" ".join(name.split()) for name in part.split(",") if name.strip())
        if names:
            categories.append(names)
    return categories


def read_yaml(path: Path) -> list[tuple[tuple[str, ...], bool]]:
    """Reads `things:` and `stuff:` lists from a YAML file; an entry is a string in the grammar or a list of synonyms.

    Raises:
        InputError: the file is missing or is not of that form.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"There is no vocabulary file {path}.") from None
    except OSError as error:
        raise InputError(f"The vocabulary file {path} cannot be read: {error.strerror or error}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"The vocabulary file {path} is not YAML: {' '.join(str(error).split())}") from None
    form = "Write two lists, `things:` and `stuff:`, each entry a name or a list of synonyms."
    if not isinstance(data, dict) or not set(data) <= {"things", "stuff"}:
        raise InputError(f"The vocabulary file {path} has another form than expected. {form}")
    entries: list[tuple[tuple[str, ...], bool]] = []
    for key, is_thing in (("things", True), ("stuff", False)):
        listed = data.get(key) or []
        if not isinstance(listed, list):
            raise InputError(f"In the vocabulary file {path}, {key!r} is not a list. {form}")
        for entry in listed:
            if isinstance(entry, str):
                entries += [(names, is_thing) for names in parse(entry)]
            elif isinstance(entry, list) and entry and all(isinstance(name, str) and name.strip() for name in entry):
                entries.append((tuple(" ".join(name.split()) for name in entry), is_thing))
            else:
                raise InputError(f"In the vocabulary file {path}, under {key!r}, {entry!r} is not a name. {form}")
    _require_distinct(entries, where=f" in {path}")
    return entries


def _require_distinct(entries: Iterable[tuple[tuple[str, ...], bool]], where: str = "") -> None:
    owner: dict[str, str] = {}
    for names, _ in entries:
        for name in names:
            key = name.casefold()
            if key in owner and key == names[0].casefold() == owner[key].casefold():
                raise InputError(f"The category {name!r} is given twice{where}. Give each category once.")
            if key in owner:
                raise InputError(
                    f"The word {name!r} is given twice{where}: for {owner[key]!r} and for {names[0]!r}. "
                    "A word can mean one category only; take it out of one of them."
                )
            owner[key] = names[0]


def _merge(parts: Iterable[Iterable[tuple[tuple[str, ...], bool]]]) -> list[tuple[tuple[str, ...], bool]]:
    taken: set[str] = set()
    merged = []
    for part in parts:
        # Published sets repeat words among their own categories, and reproducing their numbers needs those words:
        # only words of earlier parts are dropped.
        earlier = frozenset(taken)
        for names, is_thing in part:
            if names[0].casefold() in earlier:
                continue
            kept = tuple(name for name in names if name.casefold() not in earlier)
            merged.append((kept, is_thing))
            taken.update(name.casefold() for name in kept)
    return merged
