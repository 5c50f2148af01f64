"""VSPW: classes of pixels in videos, without instances.

Source: VSPW (https://github.com/sssdddwww2/vspw_dataset_download; Miao et al., CVPR 2021) and how its baseline reads
it (https://github.com/VSPW-dataset/VSPW_baseline):

    data/<video>/mask/<frame>.png      grey of 8 bits: 1..124 the class, 0 (`others`) and 255 void
    label_num_dic_final.json           {"wall": "1", …, "others": "0"}, numbers as text

Predictions are `<video>/<frame>.png` alone, with a palette or grey, and number the classes from 0 (0..123), as the
baseline saves them. That 255 is void in them is ours: the baseline predicts a class everywhere. They are recognised by
the eight digits of their names (DAVIS has five); with other digits the format must be named.

Every class is one segment per frame, its track is its number: semantic segmentation has no other. Times are guessed
from VSPW's 15 frames per second.

Written and lost: instances, tracks, scores and times: segments of one class run together. Crowds keep their class. A
vocabulary with a category that is none of the 124 is refused.
"""

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from videoseg.errors import InputError
from videoseg.formats.frame_folders import (
    PngKind,
    class_numbers,
    first_kind,
    frame_files,
    has_frames,
    labelled_frame,
    numbers_of_segments,
    read_pixels,
    require_name,
    video_folders,
    whole_folder,
)
from videoseg.formats.json_file import find_json
from videoseg.formats.panoptic_png import Meaning, Times
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.formats.vipseg_classes import vspw_classes
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "vspw"

RATE = Fraction(15)
"""Frames per second at which VSPW is annotated."""

CLASSES = vspw_classes()

_LABELS = "label_num_dic_final.json"
_VOID = 255
_DATA = "data"
_MASK = "mask"
_VIDEO = re.compile(r"[^.].*")
_FRAME = re.compile(r"(\d+)\.png")
_RECOGNISED_FRAME = re.compile(r"(\d{8})\.png")
_KIND = PngKind("grey", 8)
_PREDICTION_KINDS = (_KIND, *(PngKind("palette", bits) for bits in (1, 2, 4, 8)))
_TITLE = "VSPW"


def sniff(path: Path) -> bool:
    """Whether `path` is such a tree or a folder of videos: told by names and kind of PNG."""
    annotated = _annotated(path)
    if annotated:
        return first_kind(annotated, _FRAME) == _KIND
    predicted = _predicted(path)
    # PNGs beside a JSON are somebody else's ids.
    return first_kind(predicted, _RECOGNISED_FRAME) in _PREDICTION_KINDS and not any(path.glob("*.json"))


def read(path: Path) -> RecordedSegments:
    """Reads all videos below `path`, annotations or predictions.

    Raises:
        InputError: no videos, a folder without frames, class names of another list than VSPW's; and as frames are
            read, a PNG that is none or of another kind, or a class that there is not.
    """
    annotated = _annotated(path)
    videos = annotated or _predicted(path)
    if not videos:
        raise InputError(f"{path} has no VSPW videos: data/<video>/mask/<frame>.png, or <video>/<frame>.png.")
    first = 1 if annotated else 0
    if annotated:
        _check_labels(path)
    kinds = (_KIND,) if annotated else _PREDICTION_KINDS
    recorded = {}
    for name, folder in videos.items():
        recorded[name] = [
            RecordedFrame(png, partial(_read_frame, png, name, number, first, kinds))
            for number, png in enumerate(frame_files(folder, _FRAME, consecutive=False))
        ]
    return RecordedSegments(path=path, format=NAME, vocabulary=CLASSES, tracked=True, recorded=recorded)


def export(run: "Run", folder: Path) -> Path:
    """Writes the classes of a run, as annotations; the video is called as the file it came from."""
    from videoseg.formats.vipseg import video_name

    return write(folder, run.vocabulary, {video_name(run.manifest.stream): run.frames()})


def write(
    folder: Path, vocabulary: Vocabulary, videos: Mapping[str, Iterable[PanopticFrame]], *, prediction: bool = False
) -> Path:
    """Writes the classes of frames; see the top of the file for what is lost.

    Args:
        folder: is made where it is not there; must be empty.
        videos: name -> frames in order, with or without tracks.
        prediction: whether to write as predictions are: without the upper folders, classes numbered from 0.

    Returns:
        The folder.

    Raises:
        InputError: a category that is no class of VSPW, or a name that is no folder's.
    """
    import json

    from PIL import Image

    classes = class_numbers(vocabulary, CLASSES, _TITLE)
    first, void = (0, _VOID) if prediction else (1, 0)
    with whole_folder(folder) as place:
        for video, frames in videos.items():
            require_name(video, re.compile(r"[^./\\][^/\\]*"), _TITLE, "it must be the name of a folder")
            target = place / video if prediction else place / _DATA / video / _MASK
            target.mkdir(parents=True)
            for number, frame in enumerate(frames):
                numbers = {s.id: first + classes[s.category] for s in frame.segments}
                labels = numbers_of_segments(frame, numbers, void=void).astype(np.uint8)
                Image.fromarray(labels).save(target / f"{number:08d}.png", format="PNG")
        if not prediction:
            listed = {category.name: str(number) for number, category in enumerate(CLASSES, start=1)}
            (place / _LABELS).write_text(json.dumps({"others": "0", **listed}), encoding="utf-8")
    return folder


def _annotated(path: Path) -> dict[str, Path]:
    return video_folders(path / _DATA, _VIDEO, below=_MASK) or video_folders(path, _VIDEO, below=_MASK)


def _predicted(path: Path) -> dict[str, Path]:
    return {name: folder for name, folder in video_folders(path, _VIDEO).items() if has_frames(folder, _FRAME)}


def _check_labels(path: Path) -> None:
    """The list of classes beside the data, where there is one, must be VSPW's own."""
    for place in (path, path.parent):
        for file, listed in find_json(place / _LABELS, lambda data: True):
            for number, category in enumerate(CLASSES, start=1):
                if str(listed.get(category.name)) != str(number):
                    raise InputError(
                        f"{file}: {category.name!r} must be number {number}, found {listed.get(category.name)!r}. "
                        "Other lists of classes than VSPW's are not read."
                    )
            return


def _read_frame(png: Path, video: str, number: int, first: int, kinds: tuple[PngKind, ...]) -> PanopticFrame:
    labels = read_pixels(png, kinds, _TITLE)
    return labelled_frame(labels, partial(_meaning, png, first), stream=video, times=Times.at(number, RATE), png=png)


def _meaning(png: Path, first: int, label: int) -> Meaning | None:
    if label == _VOID or label < first:
        return None
    if label - first >= len(CLASSES):
        raise InputError(
            f"The PNG {png} has pixels of class {label}; VSPW's {'annotations' if first else 'predictions'} have "
            f"{first}..{first + len(CLASSES) - 1}, and {_VOID} for void."
        )
    return Meaning(label - first, False, track=label - first + 1)
