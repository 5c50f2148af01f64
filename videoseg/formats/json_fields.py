"""Fields of JSON files, checked: each returns what it promises, or says which file and field is wrong."""

import json
import math
from collections.abc import Mapping
from typing import Any

from videoseg.errors import InputError
from videoseg.formats.panoptic_png import Categories, categories_json, read_categories
from videoseg.vocabulary import Vocabulary

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


def thing_categories(data: Mapping[str, Any], place: str) -> Categories:
    """The `categories` of a format that knows things only, and where the file is ours its `stuff`.

    Where `isthing` stands in an entry nevertheless, it counts.

    Args:
        data: of the file.
        place: the file, for messages.

    Raises:
        InputError: an entry lacks `id` or `name`, or an id stands twice.
    """
    listed = []
    stuff = data.get("stuff") or []
    for entry in [
        *objects(data.get("categories"), f"{place}: categories"),
        *objects(stuff, f"{place}: stuff"),
    ]:
        # LVIS and BURST list the name among its synonyms.
        synonyms = entry.get("synonyms", [])
        if isinstance(synonyms, list):
            synonyms = [word for word in synonyms if word != entry.get("name")]
        listed.append({**entry, "isthing": entry.get("isthing", 1), "synonyms": synonyms})
    if stuff:  # of ours, where ids are places
        listed.sort(key=lambda entry: whole_number(entry, "id", f"{place}: categories"))
    return read_categories(listed, f"{place}: categories")


def thing_categories_json(vocabulary: Vocabulary) -> str:
    """The fields `categories` and, for us, `stuff`, without braces.

    Other programs average over all `categories`, so stuff must not stand there; `stuff` brings it back.
    """
    listed = categories_json(vocabulary)
    things = [entry for entry in listed if entry["isthing"]]
    stuff = [entry for entry in listed if not entry["isthing"]]
    return f'"categories": {json.dumps(things)}' + (f',\n"stuff": {json.dumps(stuff)}' if stuff else "")
