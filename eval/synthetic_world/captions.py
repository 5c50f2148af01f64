"""Captions: a sentence that names everything visible in a picture, in varied words."""

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np

from eval.synthetic_world.concepts import COUNT_WORDS, STUFF, THINGS, plural, with_article

_OPENINGS = ("", "", "a photo of ", "a picture of ", "there is ", "an image of ", "a scene with ")
_HUES = (
    (15, "red"),
    (42, "orange"),
    (70, "yellow"),
    (165, "green"),
    (200, "turquoise"),
    (255, "blue"),
    (290, "purple"),
)


def colour_word(red: float, green: float, blue: float) -> str | None:
    """The plain word for a colour given in 0..255; None where people would not agree on one."""
    hue, saturation, value = colorsys.rgb_to_hsv(red / 255, green / 255, blue / 255)
    if saturation < 0.12:
        return "white" if value > 0.8 else "black" if value < 0.3 else None
    if saturation < 0.35 or value < 0.3:
        return None
    degrees = hue * 360
    return next((word for limit, word in _HUES if degrees < limit), "pink" if degrees < 345 else "red")


def write_caption(
    rng: np.random.Generator,
    things: Sequence[int],
    stuff: Sequence[int],
    colours: Mapping[int, str | None] | None = None,
) -> tuple[str, tuple[str, ...]]:
    """One sentence about a picture.

    Args:
        rng: chooses synonyms, order and form.
        things: index into `THINGS` of every visible instance.
        stuff: index into `STUFF` of every visible region.
        colours: for a thing, a word for the colour that all its visible instances share.

    Returns:
        The caption and the nouns in it, singular, in their order.
    """
    colours = colours or {}
    nouns: list[str] = []
    groups = []
    kinds = sorted(set(things))
    for i in rng.permutation(len(kinds)):
        kind = kinds[i]
        count = sum(other == kind for other in things)
        name = str(rng.choice(THINGS[kind].names))
        nouns.append(name)
        colour = colours.get(kind)
        described = f"{colour} {name}" if colour and rng.random() < 0.5 else name
        if count == 1:
            groups.append(with_article(described))
        else:
            number = COUNT_WORDS[count] if count < len(COUNT_WORDS) else "many"
            groups.append(f"{number} {plural(described)}")
    opening = str(rng.choice(_OPENINGS))
    if groups and not groups[0].startswith(("a ", "an ")):
        opening = opening.replace("there is", "there are")
    sentence = opening + join_words(groups)
    by_preposition: dict[str, list[str]] = {}
    for i in rng.permutation(len(stuff)):
        entry = STUFF[stuff[i]]
        name = str(rng.choice(entry.names))
        nouns.append(name)
        # "a hedge", "a brick wall", but "grass", "the sky".
        article = {"above": "the ", "behind": "a " if entry.names[0] in ("hedge", "brick wall", "rock") else ""}
        if name in ("bushes", "cliff", "curtain"):
            article["behind"] = "" if name == "bushes" else "a "
        by_preposition.setdefault(entry.preposition, []).append(article.get(entry.place, "") + name)
    for preposition in ("on", "near", "in front of", "under"):
        if preposition in by_preposition:
            joined = join_words(by_preposition[preposition])
            sentence += f" {preposition} {joined}" if sentence else joined
    return sentence, tuple(nouns)


def join_words(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)
