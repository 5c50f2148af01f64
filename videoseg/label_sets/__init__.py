"""Category lists that ship with videoseg (data files; see README.md beside this file for their source)."""

import csv
from dataclasses import dataclass
from importlib.resources import files

from videoseg.errors import InputError


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One valid row of a label file."""

    id: int
    """The id that the data set gives the category."""
    names: tuple[str, ...]
    """Synonyms as published, oddities included: the first is the name shown."""
    is_thing: bool


_FILES = {
    "coco": "coco_panoptic.txt",
    "ade20k": "ade20k_150.txt",
    "ade20k-847": "ade20k_847.txt",
    "lvis": "lvis_1203.txt",
    "pascal-context-59": "pascal_context_59.txt",
    "pascal-context-459": "pascal_context_459.txt",
    "pascal-voc": "pascal_voc_21.txt",
    "vipseg": "vipseg_124.txt",
    "cityscapes": "cityscapes_19.txt",
    "youtube-vis-2019": "youtube_vis_2019_40.txt",
    "youtube-vis-2021": "youtube_vis_2021_40.txt",
    "ovis": "ovis_25.txt",
}

_COCO_THINGS = 80  # COCO panoptic lists its 80 things first, then 53 stuff categories.


_CITYSCAPES_THINGS = range(11, 19)  # person to bicycle, the classes of which Cityscapes has instances


def names() -> tuple[str, ...]:
    """The names that `rows` takes."""
    return tuple(_FILES)


def rows(name: str) -> tuple[LabelRow, ...]:
    """The valid rows of a built-in label set, in the order of the file.

    Things and stuff follow the data set's panoptic split; the sets that are published for semantic segmentation only
    (ADE20K-847, Pascal Context) have none and are all stuff: one region per category and frame.

    Raises:
        InputError: unknown name.
    """
    if name not in _FILES:
        raise InputError(f"There is no label set {name!r}. The built-in ones are: {', '.join(_FILES)}.")
    folder = files(__name__)
    entries: list[tuple[int, tuple[str, ...]]] = []
    for line in (folder / _FILES[name]).read_text(encoding="utf-8").splitlines():
        number, _, text = line.partition(":")
        if not text or text.strip() == "invalid_class_id":
            continue
        synonyms = next(csv.reader([text]))
        entries.append((int(number), tuple(s.strip() for s in synonyms if s.strip())))
    match name:
        case "coco":
            things = {id for id, _ in entries[:_COCO_THINGS]}
        case "ade20k":
            text = (folder / "ade20k_150_things.txt").read_text(encoding="utf-8")
            things = {int(line) for line in text.split()}
        case "vipseg":
            text = (folder / "vipseg_124_things.txt").read_text(encoding="utf-8")
            things = {int(line) for line in text.split()}
        case "cityscapes":
            things = set(_CITYSCAPES_THINGS)
        case "lvis" | "youtube-vis-2019" | "youtube-vis-2021" | "ovis":
            things = {id for id, _ in entries}
        case "pascal-voc":
            things = {id for id, _ in entries if id != 0}
        case _:
            things = set()
    return tuple(LabelRow(id=id, names=synonyms, is_thing=id in things) for id, synonyms in entries)
