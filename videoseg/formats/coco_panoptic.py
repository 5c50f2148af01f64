"""COCO panoptic: a JSON and a folder of PNGs of the same name; images without time or tracks.

Source: https://cocodataset.org/#format-data, 4. Panoptic Segmentation.

    panoptic.json             {"images": [{"id", "file_name", "width", "height"}],
                               "annotations": [{"image_id", "file_name", "segments_info"}],
                               "categories": [{"id", "name", "isthing"}]}
    panoptic/<image>.png

Images are read in the natural order of their names (`2.png` before `10.png`), as one video; where names have folders
(`walk/0001.png`), every folder is a video.
"""

import json
import re
from collections.abc import Iterable
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from videoseg.errors import InputError
from videoseg.formats.cityscapes_vps import names_frames
from videoseg.formats.json_file import find_json, only_json
from videoseg.formats.panoptic_png import (
    Categories,
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
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "coco_panoptic"

_JSON = "panoptic.json"

DEFAULT_RATE = Fraction(25)
"""Frames per second of files that don't say when their images were shown."""


def sniff(path: Path) -> bool:
    """Whether `path` is a COCO panoptic JSON or a folder with one."""
    return bool(find_json(path, _fits))


def read(path: Path, rate: Fraction = DEFAULT_RATE) -> RecordedSegments:
    """Reads a folder, or the JSON in it.

    Args:
        path: the folder or the JSON.
        rate: frames per second where the file gives no times.

    Raises:
        InputError: none or several such files, or one with wrong fields.
    """
    file, data = only_json(path, _fits, what="COCO panoptic", needs="`annotations` with `segments_info` each")
    categories = _categories(data, file)
    listed = data.get("images")
    images: dict[Any, dict[str, Any]] = {
        str(image.get("id")): image for image in (listed if isinstance(listed, list) else []) if isinstance(image, dict)
    }
    root = _png_folder(file, data["annotations"])
    order = sorted(
        range(len(data["annotations"])), key=lambda i: _natural(str(data["annotations"][i].get("file_name")))
    )
    recorded: dict[str, list[RecordedFrame]] = {}
    seen: set[Path] = set()
    for i in order:
        annotation = data["annotations"][i]
        where = f"{file}: annotations[{i}]"
        png = inside(root, annotation.get("file_name"), where)
        if png in seen:
            raise InputError(f"{where}.file_name {annotation['file_name']!r} stands twice in the file.")
        seen.add(png)
        image = images.get(str(annotation.get("image_id")), {})
        folder = png.parent.relative_to(root)
        video = file.stem if folder == Path() else folder.as_posix()
        frames = recorded.setdefault(video, [])
        size = (image["height"], image["width"]) if {"height", "width"} <= image.keys() else None
        reader = partial(
            panoptic_frame,
            stream=video,
            times=Times.of_json(image, len(frames), rate, f"{file}: images, id {annotation.get('image_id')}"),
            png=png,
            listed=annotation.get("segments_info"),
            categories=categories,
            tracked=False,
            size=size,
            where=f"{where}.segments_info",
        )
        frames.append(RecordedFrame(png, reader, said_index(image)))
    return categories.recorded(file, NAME, recorded, tracked=False)


def export(run: "Run", folder: Path) -> Path:
    """Writes the frames of a run as images; tracks stay behind."""
    return write(folder, run.vocabulary, run.frames())


def write(folder: Path, vocabulary: Vocabulary, frames: Iterable[PanopticFrame]) -> Path:
    """Writes frames as images `00000000`, `00000001`, …; ids in the PNGs are segment ids.

    Args:
        folder: is made where it is not there.
        frames: with or without tracks, which are left out.

    Returns:
        The folder.
    """
    pngs = folder / Path(_JSON).stem
    pngs.mkdir(parents=True, exist_ok=True)
    path = folder / _JSON
    unfinished = path.with_suffix(".partial")
    images: list[dict[str, Any]] = []
    with unfinished.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for number, frame in enumerate(frames):
            name = f"{number:08d}"
            write_png(pngs / f"{name}.png", frame.id_map.astype(np.uint32))
            annotation = {
                "image_id": number,
                "file_name": f"{name}.png",
                "segments_info": segments_info(frame, {segment.id: segment.id for segment in frame.segments}),
            }
            file.write((",\n" if number else "\n") + json.dumps(annotation, allow_nan=False))
            height, width = frame.size
            times = Times(frame.index, frame.epoch, frame.pts, frame.time_base, frame.time)
            images.append(
                {"id": number, "file_name": f"{name}.jpg", "width": width, "height": height, **times.to_json()}
            )
        file.write('],\n"images": ' + json.dumps(images, allow_nan=False))
        file.write(',\n"categories": ' + json.dumps(categories_json(vocabulary)) + "}\n")
    unfinished.replace(path)
    return folder


def _fits(data: dict[str, Any]) -> bool:
    annotations = data.get("annotations")
    return (
        isinstance(annotations, list)
        and bool(annotations)
        and all(isinstance(image, dict) and "segments_info" in image for image in annotations)
        and not names_frames(annotations)
    )


def _png_folder(file: Path, annotations: list[dict[str, Any]]) -> Path:
    """Beside the JSON, under its name or right there; or beside its folder, as COCO is mostly unpacked."""
    for place in (file.parent / file.stem, file.parent, file.parent.parent / file.stem):
        if (place / Path(str(annotations[0].get("file_name"))).with_suffix(".png")).is_file():
            return place
    return file.parent / file.stem


def _categories(data: dict[str, Any], file: Path) -> Categories:
    if "categories" in data:
        return read_categories(data["categories"], f"{file}: categories")
    said: dict[int, bool | None] = {}
    for annotation in data["annotations"]:
        for segment in annotation["segments_info"] if isinstance(annotation["segments_info"], list) else []:
            number = segment.get("category_id") if isinstance(segment, dict) else None
            if isinstance(number, int):
                is_thing = segment.get("isthing")
                said[number] = said.get(number) if is_thing is None else bool(is_thing)
    return guess_categories(said, str(file))


def _natural(name: str) -> list[tuple[bool, int, str]]:
    """Sorts `2` before `10`."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
