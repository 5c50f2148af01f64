"""KITTI-MOTS and MOTSChallenge: tracks of cars and pedestrians, as text or as PNGs of 16 bits.

Source: https://www.vision.rwth-aachen.de/page/mots, Annotation Format (Voigtlaender et al., MOTS: Multi-Object Tracking
and Segmentation, CVPR 2019), and for the frames of MOTSChallenge https://motchallenge.net/instructions/:

    instances_txt/<sequence>.txt           a line per object per frame: frame, id, class, height, width, run lengths
    instances/<sequence, four digits>/<frame, six digits>.png       grey of 16 bits: the id of every pixel
    <sequence>/gt/gt.txt, <sequence>/seqinfo.ini                    MOTSChallenge; frames count from 1

id = class · 1000 + instance; class 1 car, 2 pedestrian; 10000 is a region to pass over, 0 is background. Predictions
are `<sequence>.txt` alone. Both are read, both are written.

- Regions to pass over become crowds of a third category, `ignore region`: they excuse every class.
- Everything else without a label is background: no car and no pedestrian.
- A text says neither how many frames there are nor how large they are when nothing is in them. The last frame is the
  one that `<name>.seqmap`, `seqmap.txt` (`0002 empty 000000 000232`) beside the texts or `seqLength` in `seqinfo.ini`
  gives, else the last with an object. A text without lines is a video without frames.
- Frames count from 1 in `gt/gt.txt` and in texts called `MOTS20-…`, else from 0.

Written and lost: scores and times; categories other than car and pedestrian become background; tracks are numbered
anew, up to 999 of a class. A vocabulary with neither is refused.
"""

import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError
from videoseg.formats.frame_folders import (
    InstanceNumbers,
    PngKind,
    class_numbers_or_none,
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
from videoseg.formats.run_lengths import RLE, decode, encode, read_mask
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "kitti_mots"

RATE = Fraction(10)
"""Frames per second of KITTI; MOTSChallenge says its own in `seqinfo.ini`."""

IGNORE_REGION = "ignore region"
"""The category of crowds that excuse whatever is predicted there."""

CLASSES = Vocabulary.of([(("car",), True), (("pedestrian", "person"), True), ((IGNORE_REGION,), False)])

MAX_INSTANCE = 999

_IGNORED_ID, _IGNORED_CLASS = 10_000, 10
_TEXTS = "instances_txt"
_PNGS = "instances"
_SEQUENCE = re.compile(r"\d{4}")
_ANY_SEQUENCE = re.compile(r"[\w-][\w.-]*")
_FRAME = re.compile(r"(\d{6})\.png")
_KIND = PngKind("grey", 16)
_LINE = re.compile(rb"(\d{1,6}) (\d{1,6}) (\d{1,6}) (\d{1,6}) (\d{1,6}) (\S+)")
_TITLE = "KITTI-MOTS"


def sniff(path: Path) -> bool:
    """Whether `path` is such a text, a folder of them, a MOTSChallenge tree, or a folder of sequences with PNGs."""
    return bool(_texts(path)) or first_kind(_png_sequences(path), _FRAME) == _KIND


def read(path: Path) -> RecordedSegments:
    """Reads all sequences at `path`; of texts and PNGs in one tree the texts, which hold the same.

    Raises:
        InputError: none of that, or a damaged line (it says which); for PNGs, a folder without frames or with a gap,
            and as frames are read, a PNG that is none or of another kind, or an id that there is not.
    """
    texts = _texts(path)
    recorded: dict[str, list[RecordedFrame]] = {}
    if texts:
        for name, file in texts.items():
            recorded[name] = _read_text(file, name)
    else:
        for name, folder in _png_sequences(path).items():
            recorded[name] = [
                RecordedFrame(png, partial(_read_png, png, name, number))
                for number, png in enumerate(frame_files(folder, _FRAME, consecutive=True))
            ]
    if not recorded:
        raise InputError(f"{path} has no MOTS sequences: instances_txt/<sequence>.txt or instances/<sequence>/*.png.")
    return RecordedSegments(
        path=path, format=NAME, vocabulary=CLASSES, tracked=True, recorded=recorded, unlabelled="background"
    )


def export(run: "Run", folder: Path) -> Path:
    """Writes the cars and pedestrians of a run as text; the sequence is called as the file it came from."""
    from videoseg.formats.vipseg import video_name

    return write(folder, run.vocabulary, {video_name(run.manifest.stream): run.frames()})


def write(
    folder: Path,
    vocabulary: Vocabulary,
    videos: Mapping[str, Iterable[PanopticFrame]],
    *,
    kind: Literal["txt", "png"] = "txt",
) -> Path:
    """Writes the cars and pedestrians of tracked frames; see the top of the file for what is lost.

    Args:
        folder: is made where it is not there; must be empty.
        videos: name (four digits for PNGs) -> frames in order, every segment with a track, no track twice in a frame.
            Crowds become regions to pass over.
        kind: text with a `seqmap` of all sequences, or PNGs.

    Returns:
        The folder.

    Raises:
        InputError: no category is car or pedestrian, a name that the format cannot hold, or more than 999 tracks.
        ValueError: a frame without tracks, or with a track twice.
    """
    classes = class_numbers_or_none(vocabulary, CLASSES)
    if all(number is None for number in classes):
        raise InputError(
            f"{_TITLE} has cars and pedestrians only, and the vocabulary has neither. Call the categories `car` and "
            "`pedestrian` (or `person`), or take vipseg, which holds any vocabulary."
        )
    pattern = _SEQUENCE if kind == "png" else _ANY_SEQUENCE
    rule = "PNGs are in folders of four digits" if kind == "png" else "a name is of letters, digits, `-`, `_` and `.`"
    with whole_folder(folder) as place:
        listed = ""
        for video, frames in videos.items():
            require_name(video, pattern, _TITLE, rule)
            target = place / (f"{_PNGS}/{video}" if kind == "png" else f"{_TEXTS}/{video}.txt")
            labels = _labels(frames, classes)
            if kind == "png":
                _write_pngs(target, labels)
            else:
                first = _first(video)
                count = _write_text(target, labels, first)
                listed += f"{video} empty {first:06d} {first + count - 1:06d}\n" if count else ""
        if kind == "txt":
            (place / _TEXTS / "all.seqmap").write_text(listed, encoding="utf-8")
    return folder


def _texts(path: Path) -> dict[str, Path]:
    """Sequence -> its text."""
    if path.is_file():
        return {path.stem: path} if path.suffix == ".txt" and _starts_well(path) else {}
    challenge = {name: folder / "gt.txt" for name, folder in video_folders(path, _ANY_SEQUENCE, below="gt").items()}
    challenge = {name: file for name, file in challenge.items() if file.is_file()}
    if challenge:
        return challenge
    for place in (path / _TEXTS, path):
        found = {file.stem: file for file in sorted(place.glob("*.txt")) if file.stem != "seqmap"}
        if any(_starts_well(file) for file in found.values()):
            return found
    return {}


def _png_sequences(path: Path) -> dict[str, Path]:
    return video_folders(path / _PNGS, _SEQUENCE) or video_folders(path, _SEQUENCE)


def _starts_well(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return _LINE.fullmatch(opened.readline(1_000_000).rstrip(b"\r\n")) is not None
    except OSError:
        return False


def _first(sequence: str) -> int:
    """Number of the first frame of a text of that name."""
    return 1 if re.match(r"MOTS\d\d-", sequence) else 0


@dataclass(frozen=True, slots=True)
class _Object:
    id: int
    rle: RLE
    where: str


def _read_text(file: Path, sequence: str) -> list[RecordedFrame]:
    challenge = file.name == "gt.txt" and file.parent.name == "gt"
    first = 1 if challenge else _first(sequence)
    objects: dict[int, list[_Object]] = {}
    size: tuple[int, int] | None = None
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}.") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{file}, line {number}"
        frame, found, line_size = _read_line(line, where)
        if frame < first:
            raise InputError(f"{where}: frame {frame}; in this file frames count from {first}.")
        if size is not None and line_size != size:
            raise InputError(
                f"{where}: img_width and img_height are {line_size[1]}×{line_size[0]}, in the lines before "
                f"{size[1]}×{size[0]}."
            )
        size = line_size
        listed = objects.setdefault(frame - first, [])
        if found is not None:
            if found.id != _IGNORED_ID and any(other.id == found.id for other in listed):
                raise InputError(f"{where}: id {found.id} stands twice in frame {frame}.")
            listed.append(found)
    count, rate = _length_and_rate(file, sequence, first, challenge)
    last = max(objects, default=-1) + 1
    if count is not None and last > count:
        raise InputError(f"{file} has objects in frame {last - 1 + first}; the sequence has {count} frames.")
    if size is None:
        return []
    return [
        RecordedFrame(file, partial(_frame_of_objects, file, sequence, number, rate, size, objects.get(number, [])))
        for number in range(last if count is None else count)
    ]


def _read_line(line: bytes, where: str) -> tuple[int, _Object | None, tuple[int, int]]:
    """Frame, object (None: one without pixels) and (height, width) of a line."""
    match = _LINE.fullmatch(line.rstrip())
    if match is None:
        raise InputError(
            f"{where}: must be six fields with a space between: time_frame id class_id img_height img_width rle."
        )
    frame, number, class_id, height, width = (int(text) for text in match.groups()[:5])
    if min(height, width) < 1:
        raise InputError(f"{where}: img_height and img_width must be at least 1, found {height} and {width}.")
    _class_of(number, f"{where}: id")
    if number // 1000 != class_id:
        raise InputError(f"{where}: class_id {class_id} of id {number}, which is of class {number // 1000}.")
    rle = read_mask(match[6].decode("ascii", errors="replace"), (height, width), f"{where}: rle")
    return frame, None if rle is None else _Object(number, rle, where), (height, width)


def _class_of(number: int, where: str) -> int:
    """Index into `CLASSES`."""
    if number == _IGNORED_ID:
        return 2
    if number // 1000 not in (1, 2):
        raise InputError(
            f"{where} {number} is of class {number // 1000}; MOTS has 1 (car), 2 (pedestrian) and {_IGNORED_ID} for a "
            "region to pass over."
        )
    return number // 1000 - 1


def _length_and_rate(file: Path, sequence: str, first: int, challenge: bool) -> tuple[int | None, Fraction]:
    """Number of frames, None where nothing says it; frames per second."""
    if challenge:
        info = file.parent.parent / "seqinfo.ini"
        if not info.is_file():
            return None, RATE
        parser = configparser.ConfigParser()
        try:
            parser.read_string(info.read_text(encoding="utf-8"))
            count, rate = parser.getint("Sequence", "seqLength"), parser.get("Sequence", "frameRate", fallback="10")
            return count, Fraction(rate)
        except (configparser.Error, ValueError, ZeroDivisionError):
            raise InputError(f"{info}: [Sequence] must have whole numbers seqLength and frameRate.") from None
    for place in (file.parent, file.parent.parent):
        for seqmap in (*sorted(place.glob("*.seqmap")), place / "seqmap.txt"):
            if not seqmap.is_file():
                continue
            for number, line in enumerate(seqmap.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
                fields = line.split()
                # Lists of names alone, which say nothing of lengths, go by the same name.
                if len(fields) == 4 and fields[0] == sequence:
                    if not re.fullmatch(r"\d{1,6}", fields[3]):
                        raise InputError(f"{seqmap}, line {number}: must be sequence, `empty`, first and last frame.")
                    return int(fields[3]) + 1 - first, RATE
    return None, RATE


def _frame_of_objects(
    file: Path, sequence: str, number: int, rate: Fraction, size: tuple[int, int], objects: list[_Object]
) -> PanopticFrame:
    labels = np.zeros(size, dtype=np.uint16)
    owner: dict[int, str] = {}
    for each in objects:
        mask = decode(each.rle)
        taken = labels[mask]
        overlap = taken[taken != 0]
        if overlap.size and not (each.id == _IGNORED_ID and (overlap == _IGNORED_ID).all()):
            raise InputError(
                f"{each.where}: the mask of id {each.id} overlaps that of id {int(overlap[0])} "
                f"({owner[int(overlap[0])]}); masks of MOTS don't."
            )
        labels[mask] = each.id
        owner[each.id] = each.where
    return labelled_frame(labels, partial(_meaning, file), stream=sequence, times=Times.at(number, rate), png=file)


def _read_png(png: Path, sequence: str, number: int) -> PanopticFrame:
    labels = read_pixels(png, [_KIND], _TITLE)
    return labelled_frame(labels, partial(_meaning, png), stream=sequence, times=Times.at(number, RATE), png=png)


def _meaning(file: Path, label: int) -> Meaning | None:
    if label == 0:
        return None
    category = _class_of(label, f"{file}: the id")
    return Meaning(category, CLASSES[category].is_thing, track=label, crowd=label == _IGNORED_ID)


def _labels(frames: Iterable[PanopticFrame], classes: list[int | None]) -> Iterable[NDArray[np.uint16]]:
    """Maps of MOTS ids, uint16 `[H, W]`."""
    instances = InstanceNumbers(MAX_INSTANCE, _TITLE)
    for frame in frames:
        require_distinct_tracks(frame)
        numbers = {}
        for segment in frame.segments:
            class_number = classes[segment.category]
            if class_number is None:
                continue
            if segment.crowd or CLASSES[class_number].name == IGNORE_REGION:
                numbers[segment.id] = _IGNORED_ID
            else:
                instance = instances.of(track_of(segment, frame), class_number)
                numbers[segment.id] = 1000 * (class_number + 1) + instance
        yield numbers_of_segments(frame, numbers, void=0).astype(np.uint16)


def _write_pngs(folder: Path, labels: Iterable[NDArray[np.uint16]]) -> None:
    from PIL import Image

    folder.mkdir(parents=True)
    for number, each in enumerate(labels):
        Image.fromarray(each).save(folder / f"{number:06d}.png", format="PNG")


def _write_text(file: Path, labels: Iterable[NDArray[np.uint16]], first: int) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with file.open("w", encoding="ascii", newline="\n") as opened:
        for each in labels:
            height, width = each.shape
            for number in np.unique(each[each != 0]).tolist():
                class_id = _IGNORED_CLASS if number == _IGNORED_ID else number // 1000
                text = encode(each == number)["counts"].decode("ascii")
                opened.write(f"{count + first} {number} {class_id} {height} {width} {text}\n")
            count += 1
    return count
