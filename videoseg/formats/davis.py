"""DAVIS: objects without categories, one palette index each.

Source: DAVIS 2017 (https://davischallenge.org/davis2017/code.html; Pont-Tuset et al., arXiv:1704.00675; for the
unsupervised track Caelles et al., arXiv:1905.00737):

    Annotations/480p/<sequence>/<frame, five digits>.png     palette; 0 background, 1, 2, … objects, 255 void
    ImageSets/2017/<subset>.txt                              names of sequences, one a line

`Annotations_unsupervised` and `Full-Resolution` in those places are read, too, and predictions, which are
`<sequence>/<frame>.png` alone. Naming a list in `ImageSets` reads the sequences in it. Void becomes a crowd: nobody
knows what is there. The masks of DAVIS 2016 (grey, 0 and 255) are refused: there 255 is the object.

Written and lost: categories, scores and times; stuff becomes background. Tracks are numbered anew, up to 254 of them.
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError
from videoseg.formats.frame_folders import (
    InstanceNumbers,
    PngKind,
    first_kind,
    frame_files,
    has_frames,
    labelled_frame,
    numbers_of_segments,
    png_kind,
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

NAME = "davis"

RATE = Fraction(24)
"""Frames per second of the videos of DAVIS."""

CLASSES = Vocabulary.of([(("object",), True)])

MAX_OBJECTS = 254

_VOID = 255
_ANNOTATIONS = ("Annotations", "Annotations_unsupervised")
_RESOLUTIONS = ("480p", "Full-Resolution")
_SEQUENCE = re.compile(r"[\w-][\w.-]*")
_FRAME = re.compile(r"(\d{5})\.png")
_KINDS = tuple(PngKind("palette", bits) for bits in (1, 2, 4, 8))
_TITLE = "DAVIS"


def sniff(path: Path) -> bool:
    """Whether `path` is such a tree, a folder of sequences, or a list in `ImageSets`: told by names and kind of PNG."""
    if path.suffix == ".txt":
        return _root_of_list(path) is not None
    return first_kind(_sequences(path), _FRAME) in _KINDS


def read(path: Path) -> RecordedSegments:
    """Reads all sequences below `path`, or those that it lists.

    Raises:
        InputError: no sequences, one of the list missing, a folder without frames or with a gap in their numbers; and
            as frames are read, a PNG that is none or of another kind.
    """
    sequences = _sequences(path)
    if path.suffix == ".txt":
        sequences = _listed(path)
    if not sequences:
        raise InputError(f"{path} has no DAVIS sequences: Annotations/480p/<sequence>/00000.png, …")
    recorded = {}
    for name, folder in sequences.items():
        recorded[name] = [
            RecordedFrame(png, partial(_read_frame, png, name, number))
            for number, png in enumerate(frame_files(folder, _FRAME, consecutive=True))
        ]
    return RecordedSegments(
        path=path, format=NAME, vocabulary=CLASSES, tracked=True, recorded=recorded, unlabelled="background"
    )


def export(run: "Run", folder: Path) -> Path:
    """Writes the things of a run; the sequence is called as the file it came from."""
    from videoseg.formats.vipseg import video_name

    return write(folder, run.vocabulary, {video_name(run.manifest.stream): run.frames()})


def write(
    folder: Path, vocabulary: Vocabulary, videos: Mapping[str, Iterable[PanopticFrame]], *, subset: str = "val"
) -> Path:
    """Writes the things of tracked frames; see the top of the file for what is lost.

    Args:
        folder: is made where it is not there; must be empty.
        vocabulary: is not written: DAVIS has no categories.
        videos: name -> frames in order, every segment with a track, no track twice in a frame. Crowds become void.
        subset: name of the list of sequences.

    Returns:
        The folder.

    Raises:
        InputError: more than 254 tracks in a video, or a name that is no folder's.
        ValueError: a frame without tracks, or with a track twice.
    """
    with whole_folder(folder) as place:
        for video, frames in videos.items():
            require_name(video, _SEQUENCE, _TITLE, "a name is of letters, digits, `-`, `_` and `.`")
            target = place / _ANNOTATIONS[0] / _RESOLUTIONS[0] / video
            target.mkdir(parents=True)
            instances = InstanceNumbers(MAX_OBJECTS, _TITLE)
            for number, frame in enumerate(frames):
                _write_frame(target / f"{number:05d}.png", frame, instances)
        lists = place / "ImageSets/2017"
        lists.mkdir(parents=True)
        (lists / f"{subset}.txt").write_text("".join(f"{video}\n" for video in videos), encoding="utf-8")
    return folder


def palette() -> NDArray[np.uint8]:
    """uint8 `[256, 3]`: the colours of PASCAL VOC and DAVIS: bits 0, 3, 6 of the index are the high bits of red, bits
    1, 4, 7 of green, bits 2, 5 of blue."""
    index = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.int64)
    for bit in range(8):
        colours[:, bit % 3] |= ((index >> bit) & 1) << (7 - bit // 3)
    return colours.astype(np.uint8)


def _sequences(path: Path) -> dict[str, Path]:
    places = [path / top / size for top in _ANNOTATIONS for size in _RESOLUTIONS]
    places += [path / size for size in _RESOLUTIONS if path.name in _ANNOTATIONS]
    for place in places:
        found = video_folders(place, _SEQUENCE)
        if found:
            return found
    return {name: folder for name, folder in video_folders(path, _SEQUENCE).items() if has_frames(folder, _FRAME)}


def _root_of_list(path: Path) -> Path | None:
    """The folder of `ImageSets`, where the list is in one and annotations are beside it."""
    for parent in path.parents:
        if parent.name == "ImageSets" and any((parent.parent / top).is_dir() for top in _ANNOTATIONS):
            return parent.parent
    return None


def _listed(path: Path) -> dict[str, Path]:
    root = _root_of_list(path)
    found = _sequences(root) if root is not None else {}
    # Lists of 2016 name files, those of 2017 sequences.
    names = [
        line.split()[0] for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
    ]
    for number, name in enumerate(names, start=1):
        if name not in found:
            raise InputError(f"{path}, line {number}: there is no sequence {name!r} in the annotations of {root}.")
    return {name: found[name] for name in names}


def _read_frame(png: Path, sequence: str, number: int) -> PanopticFrame:
    kind = png_kind(png)
    if kind is not None and kind.colour == "grey":
        raise InputError(
            f"The PNG {png} is grey; DAVIS 2017 has palettes. Masks of DAVIS 2016 (255 is the object) are not read."
        )
    labels = read_pixels(png, _KINDS, _TITLE)
    return labelled_frame(labels, _meaning, stream=sequence, times=Times.at(number, RATE), png=png)


def _meaning(label: int) -> Meaning | None:
    return None if label == 0 else Meaning(0, True, track=label, crowd=label == _VOID)


def _write_frame(png: Path, frame: PanopticFrame, instances: InstanceNumbers) -> None:
    from PIL import Image

    require_distinct_tracks(frame)
    numbers = {}
    for segment in frame.segments:
        if segment.crowd:
            numbers[segment.id] = _VOID
        elif segment.is_thing:
            numbers[segment.id] = instances.of(track_of(segment, frame), 0)
    image = Image.fromarray(numbers_of_segments(frame, numbers, void=0).astype(np.uint8))
    image.putpalette(palette().tobytes())
    image.save(png, format="PNG")
