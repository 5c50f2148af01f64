"""VIPSeg: video panoptic segments as PNGs per frame and one JSON, ids stable over a video.

Source: the VIPSeg repository (https://github.com/VIPSeg-Dataset/VIPSeg-Dataset, README and evaluation layout), itself
COCO panoptic with a level for videos:

    pred.json       {"videos": [{"video_id", "images": [{"id", "file_name", "width", "height"}]}],
                     "annotations": [{"video_id", "annotations": [{"file_name", "image_id", "segments_info"}]}],
                     "categories": [{"id", "name", "isthing"}]}
    pan_pred/<video>/<frame>.png

Ground truth has the same JSON beside `panomasksRGB/`; predictions often lack `videos` and `categories`. All are read.

So are the masks as they are published, where there is no such JSON:

    panomasks/<video>/<frame>.png          grey: 0 void, 1..124 class, above 124 class · 100 + instance
    panoVIPSeg_categories.json             the classes, here numbered from 0; must be VIPSeg's where it is there

There the value is the track. A thing's class without an instance is one segment, and no crowd, as VIPSeg's own script
has it.

Written is the JSON form, and nothing is lost: categories, times, scores and crowds come back. `write` needs tracks.
"""

import json
import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoseg.errors import InputError
from videoseg.formats.frame_folders import PngKind, first_kind, frame_files, labelled_frame, read_pixels, video_folders
from videoseg.formats.json_file import find_json, only_json, parsed_json
from videoseg.formats.panoptic_png import (
    Categories,
    Meaning,
    Times,
    categories_json,
    guess_categories,
    inside,
    panoptic_frame,
    read_categories,
    said_index,
    segments_info,
    write_png,
)
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.formats.vipseg_classes import vipseg_classes
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "vipseg"

_JSON = "pred.json"
_PNGS = "pan_pred"

_PNG_FOLDERS = (_PNGS, "panomasksRGB")

_RAW = "panomasks"
_RAW_CATEGORIES = "panoVIPSeg_categories.json"
_RAW_VIDEO = re.compile(r"[^.].*")
_RAW_FRAME = re.compile(r"(\d+)\.png")
_RAW_KINDS = (PngKind("grey", 16), PngKind("grey", 8))

DEFAULT_RATE = Fraction(25)
"""Frames per second of videos that don't say when their frames were shown."""


def sniff(path: Path) -> bool:
    """Whether `path` is a VIPSeg JSON, a folder with one, or one with raw masks."""
    return bool(find_json(path, _fits)) or first_kind(_raw_videos(path), _RAW_FRAME) in _RAW_KINDS


def read(path: Path, rate: Fraction = DEFAULT_RATE) -> RecordedSegments:
    """Reads a folder, or the JSON in it.

    Args:
        path: the folder or the JSON; for raw masks the folder with `panomasks`, or that itself.
        rate: frames per second where the file gives no times.

    Raises:
        InputError: none or several such files, or one with wrong fields.
    """
    if not find_json(path, _fits) and _raw_videos(path):
        return _read_raw(path, rate)
    file, data = only_json(path, _fits, what="VIPSeg", needs="`annotations` with a `video_id` each")
    categories = _categories(data, file)
    images = _images(data)
    recorded: dict[str, list[RecordedFrame]] = {}
    for i, video in enumerate(data["annotations"]):
        where = f"{file}: annotations[{i}]"
        name = video.get("video_id")
        if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
            raise InputError(f"{where}.video_id must name the video, found {name!r}.")
        name = str(name)
        if name in recorded:
            raise InputError(f"{where}.video_id {name!r} stands twice in the file.")
        annotations = video.get("annotations")
        if not isinstance(annotations, list):
            raise InputError(f"{where}.annotations must be a list.")
        recorded[name] = []
        root = _png_folder(file, name, annotations)
        for j, annotation in enumerate(annotations):
            place = f"{where}.annotations[{j}]"
            if not isinstance(annotation, dict):
                raise InputError(f"{place} must be an object with `file_name` and `segments_info`.")
            image = images.get((name, _stem(annotation.get("file_name"))), {})
            png = inside(root, annotation.get("file_name"), place)
            reader = partial(
                panoptic_frame,
                stream=name,
                times=Times.of_json(image, j, rate, f"{file}: videos, image {annotation.get('file_name')}"),
                png=png,
                listed=annotation.get("segments_info"),
                categories=categories,
                tracked=True,
                size=_size(image),
                where=f"{place}.segments_info",
            )
            recorded[name].append(RecordedFrame(png, reader, said_index(image)))
    return categories.recorded(file, NAME, recorded, tracked=True)


def export(run: "Run", folder: Path) -> Path:
    """Writes a run; the video is called as the file it came from."""
    return write(folder, run.vocabulary, {video_name(run.manifest.stream): run.frames()})


def write(folder: Path, vocabulary: Vocabulary, videos: dict[str, Iterable[PanopticFrame]]) -> Path:
    """Writes tracked frames of one or more videos; ids in the PNGs are track ids.

    Memory grows by a few hundred bytes per frame.

    Args:
        folder: is made where it is not there.
        videos: name -> frames in order, every segment with a track, no track twice in a frame.

    Returns:
        The folder.

    Raises:
        ValueError: a frame without tracks, or with a track twice or above 2²⁴ - 1.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listed: list[dict[str, Any]] = []
    path = folder / _JSON
    # The JSON appears under its name when it is whole; what is large in it goes to disk as it comes.
    unfinished = path.with_suffix(".partial")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for i, (video, frames) in enumerate(videos.items()):
            images: list[dict[str, Any]] = []
            file.write(f'{", " if i else ""}{{"video_id": {json.dumps(video)}, "annotations": [')
            (folder / _PNGS / video).mkdir(parents=True, exist_ok=True)
            for j, (image, annotation) in enumerate(_write_frames(folder, video, frames)):
                images.append(image)
                file.write((",\n" if j else "\n") + json.dumps(annotation, allow_nan=False))
            file.write("]}")
            listed.append({"video_id": video, "images": images})
        file.write('],\n"videos": ' + json.dumps(listed, allow_nan=False))
        file.write(',\n"categories": ' + json.dumps(categories_json(vocabulary)) + "}\n")
    unfinished.replace(path)
    return folder


def video_name(stream: str) -> str:
    """A folder name for a stream: the file's name without its ending, other characters replaced by `_`."""
    name = re.sub(r"[^\w.-]+", "_", Path(stream.rstrip("/")).stem).strip("._")
    return name or "video"


def _write_frames(
    folder: Path, video: str, frames: Iterable[PanopticFrame]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Writes PNGs and yields (`images` entry, `annotations` entry)."""
    for number, frame in enumerate(frames):
        ids = {segment.id: segment.track for segment in frame.segments}
        track_map = frame.track_map()  # ValueError where a track is missing
        tracks = {i: track for i, track in ids.items() if track is not None}
        if len(set(tracks.values())) != len(tracks):
            raise ValueError(f"a track stands twice: {sorted(tracks.values())} ({frame.where})")
        # With the number first, names sort in order also where a live source reconnected and indices begin again.
        name = f"{number:08d}"
        write_png(folder / _PNGS / video / f"{name}.png", track_map)
        height, width = frame.size
        times = Times(frame.index, frame.epoch, frame.pts, frame.time_base, frame.time)
        yield (
            {"id": name, "file_name": f"{name}.jpg", "width": width, "height": height, **times.to_json()},
            {"file_name": f"{name}.png", "image_id": name, "segments_info": segments_info(frame, tracks)},
        )


def _fits(data: dict[str, Any]) -> bool:
    annotations = data.get("annotations")
    return (
        isinstance(annotations, list)
        and bool(annotations)
        and all(isinstance(video, dict) and "video_id" in video and "annotations" in video for video in annotations)
    )


def _raw_videos(path: Path) -> dict[str, Path]:
    return video_folders(path if path.name == _RAW else path / _RAW, _RAW_VIDEO)


def _read_raw(path: Path, rate: Fraction) -> RecordedSegments:
    """Reads the masks as they are published."""
    classes = vipseg_classes()
    for place in (path, path.parent) if path.name == _RAW else (path,):
        _check_categories(place / _RAW_CATEGORIES, classes)
    recorded = {}
    for name, folder in _raw_videos(path).items():
        recorded[name] = [
            RecordedFrame(png, partial(_read_raw_frame, png, name, number, classes, rate))
            for number, png in enumerate(frame_files(folder, _RAW_FRAME, consecutive=False))
        ]
    return RecordedSegments(path=path, format=NAME, vocabulary=classes, tracked=True, recorded=recorded)


def _check_categories(file: Path, classes: Vocabulary) -> None:
    """Raises InputError where the file lists other classes than VIPSeg's."""
    if not file.is_file():
        return
    found = read_categories(parsed_json(file), f"{file}: the list")
    for i, (theirs, ours) in enumerate(zip(found.vocabulary, classes, strict=False)):
        if (theirs.name, theirs.is_thing) != (ours.name, ours.is_thing) or found.index.get(i) != i:
            raise InputError(
                f"{file}: entry {i} is not VIPSeg's {ours.name!r}. Raw masks of other classes are not read."
            )
    if len(found.vocabulary) != len(classes):
        raise InputError(f"{file} lists {len(found.vocabulary)} classes; VIPSeg has {len(classes)}.")


def _read_raw_frame(png: Path, video: str, number: int, classes: Vocabulary, rate: Fraction) -> PanopticFrame:
    labels = read_pixels(png, _RAW_KINDS, "VIPSeg")
    meaning = partial(_raw_meaning, png, classes)
    return labelled_frame(labels, meaning, stream=video, times=Times.at(number, rate), png=png)


def _raw_meaning(png: Path, classes: Vocabulary, label: int) -> Meaning | None:
    if label == 0:
        return None
    class_number = label if label <= len(classes) else label // 100
    if class_number > len(classes):
        raise InputError(
            f"The PNG {png} has pixels of value {label}, of class {class_number}; VIPSeg has 1..{len(classes)}."
        )
    return Meaning(class_number - 1, classes[class_number - 1].is_thing, track=label)


def _png_folder(file: Path, video: str, annotations: list[Any]) -> Path:
    """Where the PNGs of a video are: in the first of the usual places that there is."""
    places = [file.parent / name / video for name in _PNG_FOLDERS]
    places += [file.parent / file.stem / video, file.parent / video]
    for place in places:
        if place.is_dir():
            return place
    if annotations:
        raise InputError(
            f"{file} lists the video {video!r}, but there is no folder with its PNGs: neither "
            f"{' nor '.join(str(place) for place in places)}."
        )
    return places[0]


def _categories(data: dict[str, Any], file: Path) -> Categories:
    if "categories" in data:
        return read_categories(data["categories"], f"{file}: categories")
    said: dict[int, bool | None] = {}
    for video in data["annotations"]:
        for annotation in video["annotations"] if isinstance(video["annotations"], list) else []:
            for segment in annotation.get("segments_info") or []:
                number = segment.get("category_id")
                if isinstance(number, int):
                    is_thing = segment.get("isthing")
                    said[number] = said.get(number) if is_thing is None else bool(is_thing)
    return guess_categories(said, str(file))


def _images(data: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """(video, file name without ending) -> entry of `videos[].images`, where there is one."""
    videos = data.get("videos")
    found = {}
    for video in videos if isinstance(videos, list) else []:
        images = video.get("images") if isinstance(video, dict) else None
        for image in images if isinstance(images, list) else []:
            if isinstance(image, dict):
                found[str(video.get("video_id")), _stem(image.get("file_name"))] = image
    return found


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _stem(name: object) -> str:
    return Path(str(name)).stem
