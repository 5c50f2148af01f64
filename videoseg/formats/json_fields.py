"""Fields of JSON files, checked: each returns what it promises, or says which file and field is wrong."""

import math
from collections.abc import Mapping
from typing import Any

from videoseg.errors import InputError
from videoseg.formats.panoptic_png import Categories, read_categories

MAX_PIXELS = 2**28
"""Of a frame: twice what 16K video has. A damaged number above it would fill the memory."""


def whole_number(entry: Mapping[str, Any], field: str, place: str, least: int = 0) -> int:
    """The field as an int of at least `least`; InputError where it is none."""
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{place}.{field} must be a whole number of at least {least}, found {value!r}.")
    return value


def frame_size(entry: Mapping[str, Any], place: str) -> tuple[int, int]:
    """The fields `height` and `width`; InputError where they are no size of a picture."""
    height, width = whole_number(entry, "height", place, least=1), whole_number(entry, "width", place, least=1)
    if height * width > MAX_PIXELS:
        raise InputError(f"{place}: {width}×{height} pixels are more than a frame can have ({MAX_PIXELS}).")
    return height, width


def finite_number(entry: Mapping[str, Any], field: str, place: str) -> float:
    """The field as a finite float; InputError where it is none."""
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{place}.{field} must be a finite number, found {value!r}.")
    return float(value)


def objects(value: object, place: str) -> list[dict[str, Any]]:
    """A list of JSON objects; InputError where it is none."""
    if not isinstance(value, list):
        raise InputError(f"{place} must be a list, found {type(value).__name__}.")
    for i, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise InputError(f"{place}[{i}] must be an object, found {entry!r}.")
    return value


def words(value: object, place: str) -> list[str]:
    """A list of texts; InputError where it is none."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InputError(f"{place} must be a list of texts.")
    return value


def thing_categories(value: object, place: str) -> Categories:
    """A `categories` list of a format that knows things only; where `isthing` stands there nevertheless, it counts.

    Raises:
        InputError: an entry lacks `id` or `name`, or an id stands twice.
    """
    listed = []
    for entry in objects(value, place):
        # LVIS and BURST list the name among its synonyms.
        synonyms = entry.get("synonyms", [])
        if isinstance(synonyms, list):
            synonyms = [word for word in synonyms if word != entry.get("name")]
        listed.append({**entry, "isthing": entry.get("isthing", 1), "synonyms": synonyms})
    return read_categories(listed, place)
