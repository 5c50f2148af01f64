"""KITTI-STEP: video panoptic segments in the three channels of a PNG, every pixel with class and track.

Source: KITTI-STEP's description (https://github.com/google-research/deeplab2/blob/main/g3doc/setup/kitti_step.md; Weber
et al., STEP: Segmenting and Tracking Every Pixel, arXiv:2102.11859):

    panoptic_maps/{train,val}/<sequence, four digits>/<frame, six digits>.png
        R = class (0..18, Cityscapes' training ids; 255 void), G = instance // 256, B = instance % 256

Predictions are the same without the upper folders. Only `person` and `car` have instances, from 1; their pixels with
instance 0 are crowds (as the reference implementation of STQ takes them). Instance numbers of other classes mean
nothing and are passed over, as are those of void.

Written and lost: frames are numbered from 0 and their times are lost, as are scores; a class other than person and car
is one segment per frame, whatever its tracks; a track that changes between the classes of the format is two tracks.
Tracks are numbered anew. A vocabulary with a category that is none of the 19 is refused.
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videoseg.errors import InputError
from videoseg.formats.cityscapes_classes import CAR, PERSON, cityscapes_classes
from videoseg.formats.frame_folders import (
    InstanceNumbers,
    PngKind,
    class_numbers,
    first_kind,
    frame_files,
    labelled_frame,
    numbers_of_segments,
    read_pixels,
    require_distinct_tracks,
    require_name,
    track_of,
    video_folders,
    whole_folder,
)
from videoseg.formats.panoptic_png import Meaning, Times
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "kitti_step"

RATE = Fraction(10)
"""Frames per second: KITTI's cameras were triggered ten times a second."""

CLASSES = cityscapes_classes(frozenset({PERSON, CAR}))

MAX_INSTANCE = 256 * 256 - 1

_VOID = 255
_ROOT = "panoptic_maps"
_SPLITS = ("train", "val", "test")
_SEQUENCE = re.compile(r"\d{4}")
_FRAME = re.compile(r"(\d{6})\.png")
_KIND = PngKind("RGB", 8)
_TITLE = "KITTI-STEP"


def sniff(path: Path) -> bool:
    """Whether `path` is such a tree, or a folder in it with splits or sequences: told by names and kind of PNG."""
    return any(first_kind(sequences, _FRAME) == _KIND for sequences in _places(path))


def read(path: Path) -> RecordedSegments:
    """Reads all sequences below `path`.

    Raises:
        InputError: no sequences, a sequence in two splits, a folder without frames or with a gap in their numbers; and
            as frames are read, a PNG that is none or of another kind, or a class that there is not.
    """
    sequences: dict[str, Path] = {}
    for split in _places(path):
        for name in split.keys() & sequences.keys():
            raise InputError(
                f"{path} has the sequence {name} twice: {sequences[name]} and {split[name]}. Name a split."
            )
        sequences |= split
    if not sequences:
        raise InputError(f"{path} has no KITTI-STEP sequences: folders of four digits with PNGs of six.")
    recorded = {}
    for name, folder in sequences.items():
        recorded[name] = [
            RecordedFrame(png, partial(_read_frame, png, name, number))
            for number, png in enumerate(frame_files(folder, _FRAME, consecutive=True))
        ]
    return RecordedSegments(path=path, format=NAME, vocabulary=CLASSES, tracked=True, recorded=recorded)


def export(run: "Run", folder: Path) -> Path:
    """Writes a run as sequence `0000` of `val`, or under its own name where that is of four digits."""
    stem = Path(run.manifest.stream).stem
    return write(folder, run.vocabulary, {stem if _SEQUENCE.fullmatch(stem) else "0000": run.frames()})


def write(
    folder: Path, vocabulary: Vocabulary, videos: Mapping[str, Iterable[PanopticFrame]], *, split: str = "val"
) -> Path:
    """Writes tracked frames; see the top of the file for what is lost.

    Args:
        folder: is made where it is not there; must be empty.
        videos: name (four digits) -> frames in order, every segment with a track, no track twice in a frame.

    Returns:
        The folder.

    Raises:
        InputError: a category that is no class of KITTI-STEP, a video called otherwise, or more than 65535 tracks.
        ValueError: a frame without tracks, or with a track twice.
    """
    classes = class_numbers(vocabulary, CLASSES, _TITLE)
    with whole_folder(folder) as place:
        for video, frames in videos.items():
            require_name(video, _SEQUENCE, _TITLE, "its sequences are numbers of four digits")
            target = place / _ROOT / split / video
            target.mkdir(parents=True)
            instances = InstanceNumbers(MAX_INSTANCE, _TITLE)
            for number, frame in enumerate(frames):
                _write_frame(target / f"{number:06d}.png", frame, classes, instances)
    return folder


def _places(path: Path) -> list[dict[str, Path]]:
    """Of every split, or of a folder without splits: sequence -> folder."""
    base = path / _ROOT if (path / _ROOT).is_dir() else path
    splits = [found for name in _SPLITS if (found := video_folders(base / name, _SEQUENCE))]
    return splits or [video_folders(base, _SEQUENCE)]


def _read_frame(png: Path, sequence: str, number: int) -> PanopticFrame:
    channels = read_pixels(png, [_KIND], _TITLE).astype(np.uint32)
    classes = channels[..., 0]
    instances = channels[..., 1] * 256 + channels[..., 2]
    counted = (classes == PERSON) | (classes == CAR)
    # The class above the instance: one number for one segment.
    labels = classes * 65536 + np.where(counted, instances, 0)
    return labelled_frame(labels, partial(_meaning, png), stream=sequence, times=Times.at(number, RATE), png=png)


def _meaning(png: Path, label: int) -> Meaning | None:
    class_number, instance = divmod(label, 65536)
    if class_number == _VOID:
        return None
    if class_number >= len(CLASSES):
        raise InputError(
            f"The PNG {png} has pixels of class {class_number} (red); KITTI-STEP has classes 0..{len(CLASSES) - 1} and "
            f"{_VOID} for void."
        )
    is_thing = CLASSES[class_number].is_thing
    # Tracks count from 1, and classes from 0.
    return Meaning(class_number, is_thing, track=label + 65536, crowd=is_thing and instance == 0)


def _write_frame(png: Path, frame: PanopticFrame, classes: list[int], instances: InstanceNumbers) -> None:
    from PIL import Image

    require_distinct_tracks(frame)
    numbers = {}
    for segment in frame.segments:
        class_number = classes[segment.category]
        instance = 0
        if CLASSES[class_number].is_thing and not segment.crowd:
            instance = instances.of(track_of(segment, frame), class_number)
        numbers[segment.id] = class_number * 65536 + instance
    labels = numbers_of_segments(frame, numbers, void=_VOID * 65536)
    channels: Any = np.stack([labels >> 16, (labels >> 8) & 255, labels & 255], axis=-1).astype(np.uint8)
    Image.fromarray(channels).save(png, format="PNG", compress_level=1)
