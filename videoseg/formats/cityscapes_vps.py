"""Cityscapes-VPS: COCO panoptic for videos, which are known by the names of their frames.

Source: the data set's repository (https://github.com/mcahny/vps, docs/DATASET.md and prepare_data; Kim et al., Video
Panoptic Segmentation, CVPR 2020):

    panoptic_gt_val_city_vps.json      {"images": [{"id", "file_name", "width", "height"}],
                                        "annotations": [{"image_id", "file_name", "segments_info"}],
                                        "categories": [{"id", "name", "isthing"}]}
    val/panoptic_video/<video, four digits>_<number, four digits>_<city>_<sequence, six>_<frame, six>_final_mask.png

(`…_gtFine_color.png` where the frame is one of Cityscapes' own; `…_newImg8bit.png` or nothing behind the last number in
predictions, `pred.json` beside `pan_pred/`.) Ids are those of COCO (R + 256·G + 256²·B, 0 void), stable over a video;
category ids are Cityscapes' training ids, 0..18. Six of a video's thirty frames are annotated, every fifth; times are
taken from the frame numbers in the names at Cityscapes' 17 frames per second. Without `categories` these 19 are meant,
with humans and vehicles as things.

Uncertain: the second number of a name (a count over all videos in the files that are known) is not read; frames are
ordered by name.

Written and lost: times; videos must be called by four digits; a vocabulary with a category that is none of the 19 is
refused, as evaluators know categories by these ids.
"""

import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from videoseg.errors import InputError
from videoseg.formats.cityscapes_classes import HUMANS_AND_VEHICLES, cityscapes_classes
from videoseg.formats.frame_folders import class_numbers, require_distinct_tracks, require_name, whole_folder
from videoseg.formats.json_file import find_json, only_json
from videoseg.formats.panoptic_png import (
    Categories,
    Times,
    inside,
    panoptic_frame,
    read_categories,
    segments_info,
    write_png,
)
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Category, Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "cityscapes_vps"

RATE = Fraction(17)
"""Frames per second of Cityscapes' videos."""

CLASSES = cityscapes_classes(HUMANS_AND_VEHICLES)

_JSON = "panoptic_gt_{split}_city_vps.json"
_PNGS = "panoptic_video"
_VIDEO = re.compile(r"\d{4}")
_FILE_NAME = re.compile(r"(\d{4})_(\d{4})_([A-Za-z-]+)_(\d{6})_(\d{6})(?:_\w+)?\.(?:png|jpg)")
_TITLE = "Cityscapes-VPS"


def names_frames(annotations: list[dict[str, Any]]) -> bool:
    """Whether the files of COCO panoptic annotations are called as frames of Cityscapes-VPS are."""
    return all(_FILE_NAME.fullmatch(str(annotation.get("file_name"))) for annotation in annotations)


def sniff(path: Path) -> bool:
    """Whether `path` is such a JSON or a folder with one."""
    return bool(find_json(path, _fits))


def read(path: Path) -> RecordedSegments:
    """Reads a folder, or the JSON in it.

    Raises:
        InputError: none or several such files, one with wrong fields, or no PNGs where they should be.
    """
    file, data = only_json(
        path, _fits, what=_TITLE, needs="`annotations` of files called 0000_0000_city_000000_000000…"
    )
    categories = _categories(data, file)
    images = data.get("images")
    sizes = {
        str(image.get("id")): (image["height"], image["width"])
        for image in (images if isinstance(images, list) else [])
        if isinstance(image, dict) and {"height", "width"} <= image.keys()
    }
    annotations = data["annotations"]
    root = _png_folder(file, annotations)
    recorded: dict[str, list[RecordedFrame]] = {}
    starts: dict[str, int] = {}
    seen: dict[str, int] = {}
    for i in sorted(range(len(annotations)), key=lambda i: str(annotations[i]["file_name"])):
        annotation = annotations[i]
        where = f"{file}: annotations[{i}]"
        name = str(annotation["file_name"])
        match = _FILE_NAME.fullmatch(name)
        assert match is not None  # `_fits` has seen to it
        video, number = match[1], int(match[5])
        if name in seen:
            raise InputError(f"{where}.file_name {name!r} stands twice in the file.")
        if video in recorded and number <= seen[video]:
            raise InputError(f"{where}.file_name {name!r} has frame {number}, the one before it {seen[video]}.")
        seen[name] = seen[video] = number
        frames = recorded.setdefault(video, [])
        start = starts.setdefault(video, number)
        png = inside(root, name, where)
        times = Times(len(frames), 0, number - start, 1 / RATE, float((number - start) / RATE))
        reader = partial(
            panoptic_frame,
            stream=video,
            times=times,
            png=png,
            listed=annotation.get("segments_info"),
            categories=categories,
            tracked=True,
            size=sizes.get(str(annotation.get("image_id"))),
            where=f"{where}.segments_info",
        )
        frames.append(RecordedFrame(png, reader))
    return categories.recorded(file, NAME, recorded, tracked=True)


def export(run: "Run", folder: Path) -> Path:
    """Writes a run as video `0000`, or under its own name where that is of four digits."""
    stem = Path(run.manifest.stream).stem
    return write(folder, run.vocabulary, {stem if _VIDEO.fullmatch(stem) else "0000": run.frames()})


def write(
    folder: Path,
    vocabulary: Vocabulary,
    videos: Mapping[str, Iterable[PanopticFrame]],
    *,
    split: str = "val",
    city: str = "videoseg",
) -> Path:
    """Writes tracked frames as ground truth is; see the top of the file for what is lost.

    Args:
        folder: is made where it is not there; must be empty.
        videos: name (four digits) -> frames in order, every segment with a track, no track twice in a frame.
        split: in the names of JSON and folder.
        city: stands in the names of files.

    Returns:
        The folder.

    Raises:
        InputError: a category that is no class of Cityscapes, or a video called otherwise.
        ValueError: a frame without tracks, or with a track twice or above 2²⁴ - 1.
    """
    classes = class_numbers(vocabulary, CLASSES, _TITLE)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    with whole_folder(folder) as place:
        target = place / split / _PNGS
        target.mkdir(parents=True)
        for video, frames in sorted(videos.items()):
            require_name(video, _VIDEO, _TITLE, "its videos are numbers of four digits")
            for number, frame in enumerate(frames):
                require_distinct_tracks(frame)
                image = f"{video}_{len(images):04d}_{city}_{0:06d}_{number:06d}"
                write_png(target / f"{image}_final_mask.png", frame.track_map())
                height, width = frame.size
                images.append({"id": image, "file_name": f"{image}_newImg8bit.png", "width": width, "height": height})
                tracks = {s.id: s.track for s in frame.segments if s.track is not None}
                listed = segments_info(frame, tracks)
                for entry, segment in zip(listed, frame.segments, strict=True):
                    entry["category_id"] = classes[segment.category]
                    entry["isthing"] = int(CLASSES[classes[segment.category]].is_thing)
                annotations.append({"image_id": image, "file_name": f"{image}_final_mask.png", "segments_info": listed})
        data = {"images": images, "annotations": annotations, "categories": _categories_json()}
        (place / _JSON.format(split=split)).write_text(json.dumps(data, allow_nan=False), encoding="utf-8")
    return folder


def _fits(data: dict[str, Any]) -> bool:
    annotations = data.get("annotations")
    return (
        isinstance(annotations, list)
        and bool(annotations)
        and all(isinstance(image, dict) and "segments_info" in image for image in annotations)
        and names_frames(annotations)
    )


def _categories(data: dict[str, Any], file: Path) -> Categories:
    if "categories" not in data:
        return Categories(CLASSES, {number: number for number in range(len(CLASSES))})
    found = read_categories(data["categories"], f"{file}: categories")
    # The published files misspell one class; under both names it is found by predictions of either.
    known = {name: category.names for category in CLASSES for name in category.names if len(category.names) > 1}
    respelled = (
        Category(known.get(category.name, category.names), category.is_thing, category.colour)
        for category in found.vocabulary
    )
    return Categories(Vocabulary(tuple(respelled)), found.index)


def _categories_json() -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "name": category.name,
            "supercategory": "thing" if category.is_thing else "stuff",
            "isthing": int(category.is_thing),
            "color": list(category.colour),
            "synonyms": list(category.names[1:]),
        }
        for number, category in enumerate(CLASSES)
    ]


def _png_folder(file: Path, annotations: list[dict[str, Any]]) -> Path:
    """The first of the usual places that has the first PNG."""
    split = re.search(r"train|val|test", file.stem)
    places = [file.parent / split[0] / _PNGS] if split else []
    places += [file.parent / name for name in (_PNGS, "pan_pred", "pan", file.stem, "")]
    name = str(annotations[0].get("file_name"))
    for place in places:
        if inside(place, name, f"{file}: annotations[0]").is_file():
            return place
    for place in places:
        if place.is_dir() and place != file.parent:
            return place
    raise InputError(
        f"{file} lists {name}, but there is no folder with PNGs: neither "
        f"{' nor '.join(str(place) for place in places)}."
    )
