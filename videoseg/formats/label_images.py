"""What the image sets without a JSON have in common: one picture of class numbers per image.

ADE20K, Pascal Context and Pascal VOC are such sets. They differ in the names of folders, by which they are told apart,
and in which number is which class. An image is a frame without a track; the images of a folder are one stream, in the
order of their names.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from videoseg import label_sets
from videoseg.errors import InputError
from videoseg.formats.frame_folders import class_numbers, labelled_frame, numbers_of_segments, whole_folder
from videoseg.formats.panoptic_png import Meaning, Times
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.formats.vipseg import DEFAULT_RATE
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run


@dataclass(frozen=True, slots=True)
class Labels:
    """How an image set numbers its classes."""

    title: str
    """For messages."""
    classes: Vocabulary
    """In the order of their numbers."""
    first: int
    """Number of the first class; the others follow without gaps."""
    void: int
    """Number of pixels that count for nothing."""
    suffix: str
    """`.png` of 8 bits or `.tif` of 16 bits."""

    def category(self, number: int, file: Path) -> int | None:
        """The category of a number, None for void; InputError for a number that stands for nothing."""
        if number == self.void:
            return None
        if not self.first <= number < self.first + len(self.classes):
            raise InputError(
                f"{file} has pixels of class {number}; {self.title} has {self.first}.."
                f"{self.first + len(self.classes) - 1}, and {self.void} for void."
            )
        return number - self.first


def semantic_classes(label_set: str, *, without: str | None = None) -> Vocabulary:
    """The categories of a label set, none of them a thing: a map of classes does not tell instances apart.

    Args:
        without: the name of a category to leave out.
    """
    rows = label_sets.rows(label_set)
    return Vocabulary.of([(row.names, False) for row in rows if row.names[0] != without])


def panoptic_classes(label_set: str) -> Vocabulary:
    """The categories of a label set with its things."""
    return Vocabulary.of([(row.names, row.is_thing) for row in label_sets.rows(label_set)])


def find_images(path: Path, folder: str, image: re.Pattern[str]) -> dict[str, list[Path]]:
    """The label images of a set: stream -> files in the order of their names; `{}` where there are none.

    Args:
        path: the set, the folder with the labels in it, or one of its splits (a folder in that folder).
        folder: what the folder with the labels is called.
        image: what a label image is called, in full.

    Returns:
        A stream per split, called like its folder; where images lie in `folder` itself, one called like `folder`.
    """
    split: str | None = None
    if path.name == folder:
        place = path
    elif path.parent.name == folder:
        place, split = path.parent, path.name
    else:
        place = path / folder
    if not place.is_dir():
        return {}
    streams = {}
    for each in [place, *sorted(place.iterdir())] if split is None else [place / split]:
        files = sorted(f for f in each.iterdir() if image.fullmatch(f.name)) if each.is_dir() else []
        if files:
            streams[each.name] = files
    return streams


def read_numbers(file: Path, title: str, kinds: Sequence[str] = ("L", "P", "I;16", "I;16B")) -> NDArray[Any]:
    """The class numbers in a picture, unsigned `[H, W]`; of a palette the indices.

    Args:
        title: of the image set, for messages.
        kinds: Pillow's modes that are allowed.

    Raises:
        InputError: missing, damaged, or with colours or fractions instead of numbers.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=("PNG", "TIFF")) as image:
            image.load()
            mode, pixels = image.mode, np.asarray(image)
    except FileNotFoundError:
        raise InputError(f"The file {file} is missing.") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The file {file} is no PNG or TIFF, or it is damaged: {error}") from None
    if mode == "I" and pixels.size and pixels.min() >= 0 and pixels.max() < 2**16:
        mode, pixels = "I;16", pixels.astype(np.uint16)  # so older Pillow opens PNGs of 16 bits
    if mode not in kinds:
        raise InputError(f"{file} is of Pillow's mode {mode}; {title} needs one number per pixel ({', '.join(kinds)}).")
    return pixels


def recorded(path: Path, format: str, labels: Labels, streams: Mapping[str, Sequence[Path]]) -> RecordedSegments:
    """The images as recorded frames: every class is one segment per image."""
    return RecordedSegments(
        path=path,
        format=format,
        vocabulary=labels.classes,
        tracked=False,
        recorded={
            stream: [
                RecordedFrame(file, partial(_read_image, file, labels, stream, number))
                for number, file in enumerate(files)
            ]
            for stream, files in streams.items()
        },
    )


def numbers_frame(file: Path, numbers: NDArray[Any], labels: Labels, stream: str, number: int) -> PanopticFrame:
    """The frame of a map of class numbers."""

    def meaning_of(label: int) -> Meaning | None:
        category = labels.category(label, file)
        return None if category is None else Meaning(category, labels.classes[category].is_thing)

    return labelled_frame(numbers, meaning_of, stream=stream, times=Times.at(number, DEFAULT_RATE), png=file)


def write_images(
    folder: Path, below: str, labels: Labels, vocabulary: Vocabulary, images: Iterable[tuple[str, PanopticFrame]]
) -> Path:
    """Writes class numbers; instances, tracks and scores stay behind.

    Args:
        folder: is made where it is not there; must be empty.
        below: where in it the images go.
        images: name without ending -> frame.

    Returns:
        The folder.

    Raises:
        InputError: a category that the set does not have, a name that is no file's, or one that stands twice.
    """
    from PIL import Image

    classes = class_numbers(vocabulary, labels.classes, labels.title)
    kind = np.uint8 if labels.suffix == ".png" else np.uint16
    with whole_folder(folder) as place:
        (place / below).mkdir(parents=True)
        for name, frame in images:
            file = place / below / f"{name}{labels.suffix}"
            if not re.fullmatch(r"[^./\\][^/\\]*", name) or file.exists():
                raise InputError(f"{name!r} cannot name an image: it must be a file's name, and stand once.")
            numbers = {s.id: labels.first + classes[s.category] for s in frame.segments}
            pixels = numbers_of_segments(frame, numbers, void=labels.void).astype(kind)
            Image.fromarray(pixels).save(file)
    return folder


def run_images(run: "Run", prefix: str, digits: int) -> Iterable[tuple[str, PanopticFrame]]:
    """The frames of a run with names as image sets have them: `<prefix>000001`, …, by which they are recognised."""
    for number, frame in enumerate(run.frames(), start=1):
        yield f"{prefix}{number:0{digits}d}", frame


def _read_image(file: Path, labels: Labels, stream: str, number: int) -> PanopticFrame:
    return numbers_frame(file, read_numbers(file, labels.title), labels, stream, number)
