"""Pascal VOC: class numbers of images, and objects where their folder is there.

Source: the VOC2012 development kit (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/, 4.3 Segmentation), and how
open-vocabulary segmentation stores it:

    VOC2012/
      SegmentationClass/2007_000032.png     palette of 8 bits: 0 background, 1..20 the class, 255 void (borders)
      SegmentationObject/2007_000032.png    palette of 8 bits: 0 background, 1.. the object, 255 void (borders)
    pascal_voc_d2/
      annotations_pascal21/<split>/2007_000032.png    grey of 8 bits: as SegmentationClass
      annotations_pascal20/<split>/2007_000032.png    grey of 8 bits: 0..19 the class, 255 void and background

With `SegmentationObject` beside, every object is a segment, and the background another; without, every class is one
segment and none is a thing. Predictions of classes are `SegmentationClass` alone, which is what is written.
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

NAME = "pascal_voc"

_SET = "pascal-voc"
SEMANTIC = Labels("Pascal VOC", label_images.semantic_classes(_SET), first=0, void=255, suffix=".png")
OBJECTS = Labels("Pascal VOC", label_images.panoptic_classes(_SET), first=0, void=255, suffix=".png")
WITHOUT_BACKGROUND = Labels(
    "Pascal VOC without background", label_images.semantic_classes(_SET, without="background"), 0, 255, ".png"
)

_CLASSES = "SegmentationClass"
_OBJECTS = "SegmentationObject"
_FOLDERS = {_CLASSES: SEMANTIC, "annotations_pascal21": SEMANTIC, "annotations_pascal20": WITHOUT_BACKGROUND}
_IMAGE = re.compile(r"[^.].*\.png")


def sniff(path: Path) -> bool:
    """Whether `path` is such a set, or a folder of its labels: by the names of folders."""
    return any(find_images(path, folder, _IMAGE) for folder in _FOLDERS)


def read(path: Path) -> RecordedSegments:
    """Reads the set, one of its folders, or one split of that.

    Raises:
        InputError: no labels there, or of 20 and of 21 classes side by side; and as images are read, one that is
            damaged, or a class that there is not.
    """
    found = {folder: find_images(path, folder, _IMAGE) for folder in _FOLDERS}
    found = {folder: streams for folder, streams in found.items() if streams}
    if not found:
        raise InputError(f"{path} has no labels of Pascal VOC: {_CLASSES}/<image>.png.")
    if len(found) > 1:
        raise InputError(f"{path} has labels in {' and in '.join(found)}. Name one of the folders.")
    folder, streams = next(iter(found.items()))
    objects = path / _OBJECTS
    if folder != _CLASSES or path.name == _CLASSES or not objects.is_dir():
        return label_images.recorded(path, NAME, _FOLDERS[folder], streams)
    recorded = {
        stream: [
            RecordedFrame(file, partial(_read_objects, file, objects / file.name, stream, number))
            for number, file in enumerate(files)
        ]
        for stream, files in streams.items()
    }
    return RecordedSegments(path=path, format=NAME, vocabulary=OBJECTS.classes, tracked=False, recorded=recorded)


def export(run: "Run", folder: Path) -> Path:
    """Writes the classes of a run's frames."""
    return write(folder, run.vocabulary, label_images.run_images(run, "2012_", 6))


def write(folder: Path, vocabulary: Vocabulary, images: Iterable[tuple[str, PanopticFrame]]) -> Path:
    """Writes class numbers into `SegmentationClass`, grey; a pixel without a segment is void, not background.

    See `label_images.write_images` for arguments and errors.
    """
    return label_images.write_images(folder, _CLASSES, SEMANTIC, vocabulary, images)


def _read_objects(file: Path, objects: Path, stream: str, number: int) -> PanopticFrame:
    classes = read_numbers(file, OBJECTS.title)
    numbers = read_numbers(objects, f"{OBJECTS.title} (objects)")
    if numbers.shape != classes.shape:
        raise InputError(
            f"{objects} is {numbers.shape[1]}×{numbers.shape[0]} pixels, {file} {classes.shape[1]}×{classes.shape[0]}."
        )
    ids = numbers.astype(np.uint32)
    ids[classes == OBJECTS.void] = OBJECTS.void
    # The background needs an id of its own, as 0 is void in ours.
    ids[(ids == 0) & (classes == 0)] = 256
    meanings: dict[int, Meaning] = {}
    for instance in distinct_ids(ids):
        if instance in (0, OBJECTS.void):
            continue
        there = distinct_ids(classes[ids == instance])
        if len(there) != 1:
            raise InputError(f"{objects}: object {instance} has pixels of the classes {there} in {file}.")
        category = OBJECTS.category(there[0], file)
        if category is not None:
            meanings[instance] = Meaning(category, OBJECTS.classes[category].is_thing)
    return frame_of_ids(ids, meanings, stream=stream, times=Times.at(number, DEFAULT_RATE), png=file)
