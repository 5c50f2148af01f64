"""ADE20K with 150 categories (SceneParsing): class numbers of images, and instances where their folder is there.

Source: the Scene Parsing and the Places challenge (http://sceneparsing.csail.mit.edu/ and
https://github.com/CSAILVision/placeschallenge, README); `annotations_detectron2` is how Detectron2's users store it:

    ADEChallengeData2016/
      annotations/<split>/ADE_val_00000001.png           grey of 8 bits: 1..150 the class, 0 void
      annotations_instance/<split>/ADE_val_00000001.png  RGB: R the class among the 100 things from 1, G the instance
                                                         in the image from 1, 0 none
      annotations_detectron2/<split>/ADE_val_00000001.png  grey of 8 bits: 0..149 the class, 255 void

Read from `annotations` alone (or `annotations_detectron2`), every class is one segment and none is a thing. With
`annotations_instance` beside, frames are panoptic as the panoptic evaluation of ADE20K makes them: stuff from the class
numbers, things from the instances, which lie over it; a pixel of a thing class without an instance is void. The
panoptic JSONs made from it (`ade20k_panoptic_val.json`) are of the format coco_panoptic.

Written are the class numbers, as in `annotations`.
"""

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from videoseg.errors import InputError
from videoseg.formats import label_images
from videoseg.formats.label_images import Labels, find_images, read_numbers
from videoseg.formats.panoptic_png import Meaning, Times, distinct_ids, frame_of_ids
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.formats.vipseg import DEFAULT_RATE
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "ade20k_150"

SEMANTIC = Labels("ADE20K-150", label_images.semantic_classes("ade20k"), first=1, void=0, suffix=".png")
PANOPTIC = Labels("ADE20K-150", label_images.panoptic_classes("ade20k"), first=1, void=0, suffix=".png")
ZERO_BASED = Labels("ADE20K-150 as Detectron2 has it", SEMANTIC.classes, first=0, void=255, suffix=".png")

_FOLDER = "annotations"
_INSTANCES = "annotations_instance"
_ZERO_BASED_FOLDER = "annotations_detectron2"
_NAMED = re.compile(r"ADE_\w+_\d{8}\.png")
_ANY = re.compile(r"[^.].*\.png")
_THINGS = tuple(i for i, category in enumerate(PANOPTIC.classes) if category.is_thing)


def sniff(path: Path) -> bool:
    """Whether `path` is such a set, or a folder of its labels: by names of folders and images."""
    return any(find_images(path, folder, _NAMED) for folder in (_FOLDER, _ZERO_BASED_FOLDER))


def read(path: Path) -> RecordedSegments:
    """Reads the set, one of its folders, or one split of that.

    Raises:
        InputError: no labels there; and as images are read, one that is damaged, or a class that there is not.
    """
    streams = find_images(path, _FOLDER, _ANY)
    if not streams:
        streams = find_images(path, _ZERO_BASED_FOLDER, _ANY)
        if not streams:
            raise InputError(f"{path} has no labels of ADE20K-150: annotations/<split>/<image>.png.")
        return label_images.recorded(path, NAME, ZERO_BASED, streams)
    if path.name == _FOLDER or path.parent.name == _FOLDER or not (path / _INSTANCES).is_dir():
        return label_images.recorded(path, NAME, SEMANTIC, streams)
    recorded = {}
    for stream, files in streams.items():
        below = path / _INSTANCES / stream if files[0].parent.name == stream != _FOLDER else path / _INSTANCES
        recorded[stream] = [
            RecordedFrame(file, partial(_read_panoptic, file, below / file.name, stream, number))
            for number, file in enumerate(files)
        ]
    return RecordedSegments(
        path=path, format=NAME, vocabulary=PANOPTIC.classes, tracked=False, recorded=recorded, unlabelled="void"
    )


def export(run: "Run", folder: Path) -> Path:
    """Writes the classes of a run's frames."""
    return write(folder, run.vocabulary, label_images.run_images(run, "ADE_val_", 8))


def write(
    folder: Path, vocabulary: Vocabulary, images: Iterable[tuple[str, PanopticFrame]], split: str = "validation"
) -> Path:
    """Writes class numbers into `annotations/<split>`; see `label_images.write_images` for arguments and errors."""
    return label_images.write_images(folder, f"{_FOLDER}/{split}", SEMANTIC, vocabulary, images)


def _read_panoptic(file: Path, instances: Path, stream: str, number: int) -> PanopticFrame:
    labels = read_numbers(file, PANOPTIC.title)
    colours = read_numbers(instances, f"{PANOPTIC.title} (instances)", ("RGB",))
    if colours.shape[:2] != labels.shape:
        raise InputError(
            f"{instances} is {colours.shape[1]}×{colours.shape[0]} pixels, {file} {labels.shape[1]}×{labels.shape[0]}."
        )
    meanings: dict[int, Meaning] = {}
    ids = labels.astype(np.uint32)
    for label in distinct_ids(ids):
        category = PANOPTIC.category(label, file)
        if category is None or PANOPTIC.classes[category].is_thing:
            ids[ids == label] = 0
        else:
            meanings[label] = Meaning(category, False)
    # Ids of instances are above all class numbers: class and instance in one.
    ids_of_instances = (colours[..., 0].astype(np.uint32) << 16) + (colours[..., 1].astype(np.uint32) << 8)
    there = colours[..., 1] > 0
    ids[there] = ids_of_instances[there]
    for instance in distinct_ids(ids_of_instances[there]) if there.any() else []:
        thing = instance >> 16
        if not 1 <= thing <= len(_THINGS):
            raise InputError(f"{instances} has an instance of class {thing}; the things are 1..{len(_THINGS)}.")
        meanings[instance] = Meaning(_THINGS[thing - 1], True)
    return frame_of_ids(ids, meanings, stream=stream, times=Times.at(number, DEFAULT_RATE), png=file)
