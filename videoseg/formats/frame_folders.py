"""What the formats without a JSON have in common: a folder per video, a PNG per frame, and numbers that mean something.

KITTI-STEP, KITTI-MOTS (PNG), DAVIS, VSPW and VIPSeg's raw masks are such trees. They differ in the kind of PNG, by
which they are told apart, and in what a number means.
"""

import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError
from videoseg.formats.panoptic_png import Meaning, Times, distinct_ids, frame_of_ids, load_png
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.vocabulary import Vocabulary

Colour = Literal["grey", "RGB", "palette", "grey with transparency", "RGB with transparency"]

_COLOURS: dict[int, Colour] = {
    0: "grey",
    2: "RGB",
    3: "palette",
    4: "grey with transparency",
    6: "RGB with transparency",
}


@dataclass(frozen=True, slots=True)
class PngKind:
    """How a PNG holds its pixels, as its header says (PNG specification, 11.2.2)."""

    colour: Colour
    bits: int
    """Per channel."""

    def __str__(self) -> str:
        return f"{self.colour} of {self.bits} bits"


def png_kind(path: Path) -> PngKind | None:
    """From the header alone; None where there is no PNG. Never raises."""
    try:
        with path.open("rb") as file:
            header = file.read(26)
    except OSError:
        return None
    if len(header) < 26 or header[:8] != b"\x89PNG\r\n\x1a\n" or header[12:16] != b"IHDR":
        return None
    bits, colour = struct.unpack(">BB", header[24:26])
    return PngKind(_COLOURS[colour], bits) if colour in _COLOURS else None


def read_pixels(png: Path, kinds: Sequence[PngKind], format: str) -> NDArray[Any]:
    """The numbers in a PNG: `[H, W]`, of RGB `[H, W, 3]`; of a palette the indices.

    Args:
        kinds: those that the format allows.
        format: its name, for messages.

    Raises:
        InputError: missing, not a PNG, damaged, or of another kind.
    """
    kind = png_kind(png)
    if kind is not None and kind not in kinds:
        raise InputError(f"The PNG {png} is {kind}; {format} needs {' or '.join(map(str, kinds))}.")
    return load_png(png, missing=f"{format} has a PNG for every frame")[0]


def labelled_frame(
    labels: NDArray[Any], meaning_of: Callable[[int], Meaning | None], *, stream: str, times: Times, png: Path
) -> PanopticFrame:
    """A frame from a map of numbers.

    Args:
        labels: unsigned `[H, W]`.
        meaning_of: what a number is; None means void. Called once for every number in the frame; raises InputError for
            one that means nothing.
        png: the file, for messages.
    """
    meanings: dict[int, Meaning] = {}
    for number in distinct_ids(labels):
        meaning = meaning_of(number)
        if meaning is not None:
            meanings[number] = meaning
    return frame_of_ids(labels, meanings, stream=stream, times=times, png=png)


def video_folders(place: Path, video: re.Pattern[str], below: str = "") -> dict[str, Path]:
    """The folders of videos in `place`, by name, in the order of names; `{}` where there are none.

    Args:
        video: what a video's folder is called, in full.
        below: where in that folder the PNGs are.
    """
    names = (name for name in _names(place) if video.fullmatch(name))
    return {name: place / name / below for name in names if (place / name / below).is_dir()}


def has_frames(folder: Path, frame: re.Pattern[str]) -> bool:
    """Whether a folder holds a file that is called as a frame is."""
    return any(frame.fullmatch(name) for name in _names(folder))


def first_kind(videos: Mapping[str, Path], frame: re.Pattern[str]) -> PngKind | None:
    """The kind of the first frame of the first video that has one, by which formats are recognised."""
    for folder in videos.values():
        for name in _names(folder):
            if frame.fullmatch(name):
                return png_kind(folder / name)
    return None


def frame_files(folder: Path, frame: re.Pattern[str], *, consecutive: bool) -> list[Path]:
    """The frames of a video, in the order of their numbers.

    Args:
        folder: of the video.
        frame: what a frame is called, in full; the first group is its number.
        consecutive: whether the format numbers frames without gaps.

    Raises:
        InputError: none, a PNG that is called otherwise, one number twice, or a gap.
    """
    numbered: dict[int, Path] = {}
    for png in sorted(folder.glob("*.png")):
        match = frame.fullmatch(png.name)
        if match is None:
            raise InputError(f"The file {png} is not called as a frame is: {_example(frame)}.")
        number = int(match[1])
        if number in numbered:
            raise InputError(f"{folder} has frame {number} twice: {numbered[number].name} and {png.name}.")
        numbered[number] = png
    if not numbered:
        raise InputError(f"The folder {folder} has no frames; they are called {_example(frame)}.")
    numbers = sorted(numbered)
    if consecutive:
        for before, after in pairwise(numbers):
            if after != before + 1:
                raise InputError(
                    f"The folder {folder} has no frame {before + 1}, between {numbered[before].name} and "
                    f"{numbered[after].name}."
                )
    return [numbered[number] for number in numbers]


def class_numbers(vocabulary: Vocabulary, classes: Vocabulary, format: str) -> list[int]:
    """For every category of ours the number of the format's class that has one of its names; case does not matter.

    Args:
        classes: those of the format, in the order of their numbers.
        format: its name, for messages.

    Raises:
        InputError: names the categories that the format cannot say, and its classes.
    """
    found = class_numbers_or_none(vocabulary, classes)
    strange = [category.name for category, number in zip(vocabulary, found, strict=True) if number is None]
    if strange:
        raise InputError(
            f"{format} has no class for {_few(strange)}. Call the categories as it does "
            f"({_few([category.name for category in classes], 20)}), or take vipseg, which holds any vocabulary."
        )
    return [number for number in found if number is not None]


def class_numbers_or_none(vocabulary: Vocabulary, classes: Vocabulary) -> list[int | None]:
    """The same with None for a category that is none of the format's classes."""
    owner: dict[str, int] = {}
    for part in (slice(0, 1), slice(1, None)):
        for number, known in enumerate(classes):
            for name in known.names[part]:
                owner.setdefault(name.casefold(), number)
    return [next((owner[n.casefold()] for n in c.names if n.casefold() in owner), None) for c in vocabulary]


class InstanceNumbers:
    """Small numbers 1, 2, … for tracks in the order in which they appear, separately for each class of a video."""

    def __init__(self, limit: int, format: str) -> None:
        """
        Args:
            limit: the largest number that the format holds.
        """
        self._limit = limit
        self._format = format
        self._given: dict[tuple[int, int], int] = {}
        self._count: dict[int, int] = {}

    def of(self, track: int, class_number: int) -> int:
        """Raises InputError where the format has no number left."""
        key = (class_number, track)
        if key not in self._given:
            count = self._count.get(class_number, 0) + 1
            if count > self._limit:
                raise InputError(
                    f"{self._format} holds up to {self._limit} tracks of a class in a video, and there are more. "
                    "Take vipseg, which holds 16 million."
                )
            self._count[class_number] = self._given[key] = count
        return self._given[key]


def track_of(segment: Segment, frame: PanopticFrame) -> int:
    """The track of a segment; ValueError where it has none."""
    if segment.track is None:
        raise ValueError(f"segment {segment.id} has no track yet ({frame.where})")
    return segment.track


def require_distinct_tracks(frame: PanopticFrame) -> None:
    """Raises ValueError where a track stands twice in a frame: its pixels would run together."""
    tracks = [track_of(segment, frame) for segment in frame.segments]
    if len(set(tracks)) != len(tracks):
        raise ValueError(f"a track stands twice: {sorted(tracks)} ({frame.where})")


def numbers_of_segments(frame: PanopticFrame, number_of: Mapping[int, int], void: int) -> NDArray[np.uint32]:
    """uint32 `[H, W]`: the id map with every segment id replaced; void pixels and ids left out become `void`."""
    table = np.full(int(frame.id_map.max(initial=0)) + 1, void, dtype=np.uint32)
    for segment, number in number_of.items():
        table[segment] = number
    return np.asarray(table[frame.id_map])


def require_name(video: str, pattern: re.Pattern[str], format: str, rule: str) -> None:
    """Raises InputError where a video is not called as the format calls videos."""
    if not pattern.fullmatch(video):
        raise InputError(f"{format} cannot hold a video called {video!r}: {rule}.")


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into, which gets its name when all is written: what failed on the way leaves nothing behind.

    Raises:
        InputError: there is such a folder and it is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"The folder {folder} is not empty. Name another, or empty it.")
    unfinished = folder.parent / f"{folder.name}.partial"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if folder.exists():
            folder.rmdir()
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _names(folder: Path) -> list[str]:
    """What is in a folder, in order; nothing where it cannot be listed. Quick: folders of pictures are large."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _few(names: Sequence[str], count: int = 5) -> str:
    return ", ".join(names[:count]) + (", …" if len(names) > count else "")


def _example(frame: re.Pattern[str]) -> str:
    digits = re.search(r"\\d\{(\d+)\}", frame.pattern)
    return f"{'0' * int(digits[1])}.png" if digits else "by numbers, 0.png"
