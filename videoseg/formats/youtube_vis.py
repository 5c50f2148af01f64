"""YouTube-VIS and OVIS: one JSON of instance tracks; masks may overlap, pixels of no mask are background.

Source: the data format of the YouTube-VIS challenge (https://codalab.lisn.upsaclay.fr/competitions/6064, "Data");
YouTube-VIS 2019, 2021 and 2022, OVIS and LV-VIS are all of it:

    {"videos": [{"id", "width", "height", "length", "file_names": ["<video>/<frame>.jpg", …]}],
     "annotations": [{"id", "video_id", "category_id", "segmentations": [RLE | [polygon, …] | null, …],
                      "areas": [number | null, …], "bboxes": [[x, y, width, height] | null, …], "iscrowd"}],
     "categories": [{"id", "name", "supercategory"}]}

Results are a list without videos and categories; they are read beside the ground truth that names them:

    [{"video_id", "score", "category_id", "segmentations": [RLE | [polygon, …] | null, …]}]

We write both: `instances.json` as above, with the `score` of each track added, and `results.json`; `categories`
are the things, so that other programs do not average over stuff, which stands under `stuff`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from videoseg.errors import InputError
from videoseg.formats import run_lengths
from videoseg.formats.instances import (
    InstanceTrack,
    InstanceVideo,
    LazyVideos,
    RecordedInstances,
    instances_of_run,
)
from videoseg.formats.json_fields import (
    finite_number,
    frame_size,
    objects,
    thing_categories,
    thing_categories_json,
    whole_number,
    words,
)
from videoseg.formats.json_file import json_files, parsed_json
from videoseg.formats.panoptic_png import Categories, Times, category_id
from videoseg.formats.recorded import RecordedSegments
from videoseg.formats.vipseg import DEFAULT_RATE, video_name

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "youtube_vis"

_JSON = "instances.json"
_RESULTS = "results.json"


def sniff(path: Path) -> bool:
    """Whether `path` is a YouTube-VIS JSON, of annotations or of results, or a folder with one."""
    return any(_is_annotations(parsed_json(file)) or _is_results(parsed_json(file)) for file in json_files(path))


def read(path: Path) -> RecordedSegments:
    """Reads it as panoptic frames; see `RecordedInstances.to_segments` for what becomes of overlaps."""
    return read_instances(path).to_segments()


def read_instances(path: Path, ground_truth: Path | None = None) -> RecordedInstances:
    """Reads annotations or results.

    A video is called by its `name` where it has one, else by the folder that all its frames are in, else by its id. A
    track has the `id` of its annotation (of results: its place among those of the video, from 1); where a file counts
    ids from 0, all are one more. `areas` and `bboxes` are measured, not read.

    Args:
        path: the JSON, or a folder with one; where it holds annotations and results, annotations are read.
        ground_truth: for results, the annotations that name videos and categories, or their folder; None looks beside
            the results.

    Raises:
        InputError: none or several such files, or one with wrong fields; of masks when their video is read.
    """
    files = json_files(path)
    annotated = [file for file in files if _is_annotations(parsed_json(file))]
    results = [file for file in files if _is_results(parsed_json(file))]
    if len(annotated) == 1:
        file = annotated[0]
        data = parsed_json(file)
        return _recorded(file, _world(data, file), _annotations(data, file), "annotations")
    if annotated or len(results) > 1:
        names = ", ".join(file.name for file in annotated or results)
        raise InputError(f"{path} holds several YouTube-VIS files: {names}. Name one of them.")
    if not results:
        raise InputError(f"{path} holds no YouTube-VIS JSON (`videos` with `file_names`, or a list of results).")
    file = results[0]
    world_file = _only_annotations(file, file.parent if ground_truth is None else ground_truth)
    world_data = parsed_json(world_file)
    if not _is_annotations(world_data):
        raise InputError(f"{world_file} holds no `videos` with `file_names`; results need those of the ground truth.")
    return _recorded(file, _world(world_data, world_file), objects(parsed_json(file), str(file)), "")


def export(run: "Run", folder: Path) -> Path:
    """Writes the things of a run; the video is called as the file it came from."""
    return write(folder, instances_of_run(run, video_name(run.manifest.stream)))


def write(folder: Path, instances: RecordedInstances) -> Path:
    """Writes `instances.json` and `results.json`.

    Tracks of different videos get different ids, as the format asks for; tracks of the first video keep theirs. Memory
    grows with the run lengths of one video at a time.

    Args:
        folder: is made where it is not there.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / _JSON, folder / _RESULTS
    unfinished = [path.with_suffix(".partial") for path in paths]
    videos: list[dict[str, Any]] = []
    used = 0
    with (
        unfinished[0].open("w", encoding="utf-8") as annotations,
        unfinished[1].open("w", encoding="utf-8") as results,
    ):
        annotations.write('{"annotations": [')
        results.write("[")
        separator = "\n"
        for number, name in enumerate(instances.videos, start=1):
            video = instances.videos[name]
            videos.append(_video_json(number, video))
            for track in video.tracks:
                result, annotation = _track_json(number, track, video, used + track.id)
                annotations.write(separator + json.dumps(annotation, allow_nan=False))
                results.write(separator + json.dumps(result, allow_nan=False))
                separator = ",\n"
            used += max((track.id for track in video.tracks), default=0)
        annotations.write('],\n"videos": ' + json.dumps(videos, allow_nan=False))
        annotations.write(",\n" + thing_categories_json(instances.vocabulary) + "}\n")
        results.write("]\n")
    for path, partial_path in zip(paths, unfinished, strict=True):
        partial_path.replace(path)
    return folder


def _video_json(number: int, video: InstanceVideo) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": number,
        "name": video.name,
        "width": video.size[1],
        "height": video.size[0],
        "length": video.num_frames,
        "file_names": [
            frame if PurePosixPath(frame).suffix else f"{video.name}/{frame}.jpg" for frame in video.frame_names
        ],
    }
    if video.times is not None:
        entry["times"] = [times.to_json() for times in video.times]
    return entry


def _track_json(
    video_id: int, track: InstanceTrack, video: InstanceVideo, number: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The track as a result and as an annotation."""
    masks = [track.masks.get(frame) for frame in range(video.num_frames)]
    result = {
        "video_id": video_id,
        "score": track.score,
        "category_id": category_id(track.category),
        "segmentations": [None if mask is None else run_lengths.to_json(mask) for mask in masks],
    }
    annotation = {
        "id": number,
        **result,
        # As YouTube-VIS has them; some programs read no others from annotations.
        "segmentations": [None if mask is None else run_lengths.to_uncompressed_json(mask) for mask in masks],
        "areas": [None if mask is None else run_lengths.area(mask) for mask in masks],
        "bboxes": [None if mask is None else run_lengths.box(mask) for mask in masks],
        "iscrowd": int(track.crowd),
        "width": video.size[1],
        "height": video.size[0],
        "length": video.num_frames,
    }
    return result, annotation


@dataclass(frozen=True, slots=True)
class _World:
    """What the annotations say about videos and categories."""

    categories: Categories
    videos: Mapping[str, tuple[str, dict[str, Any]]]
    """Name -> (file and field, entry)."""


def _is_annotations(data: Any) -> bool:
    if not isinstance(data, dict) or "annotations" not in data or not isinstance(data.get("videos"), list):
        return False
    return bool(data["videos"]) and all(isinstance(v, dict) and "file_names" in v for v in data["videos"])


def _is_results(data: Any) -> bool:
    return (
        isinstance(data, list)
        and bool(data)
        and all(isinstance(entry, dict) and {"video_id", "segmentations"} <= entry.keys() for entry in data)
    )


def _only_annotations(file: Path, place: Path) -> Path:
    """The annotations that results are read with: `place`, or the only ones in it."""
    if place.is_file():
        return place
    found = [other for other in json_files(place) if _is_annotations(parsed_json(other))]
    if len(found) != 1:
        several = f" {place} holds several: {', '.join(other.name for other in found)}." if found else ""
        raise InputError(
            f"{file} is a list of YouTube-VIS results, which names neither videos nor categories. Give the JSON of the "
            f"ground truth as well, or put it into the same folder.{several}"
        )
    return found[0]


def _world(data: dict[str, Any], file: Path) -> _World:
    entries: list[tuple[str, str, dict[str, Any]]] = []
    ids: set[object] = set()
    for i, video in enumerate(objects(data.get("videos"), f"{file}: videos")):
        place = f"{file}: videos[{i}]"
        number = video.get("id")
        if isinstance(number, bool) or not isinstance(number, int | str):
            raise InputError(f"{place}.id must be a number, found {number!r}.")
        if number in ids:
            raise InputError(f"{place}.id {number!r} stands twice in the list.")
        ids.add(number)
        words(video.get("file_names"), f"{place}.file_names")
        frame_size(video, place)
        length = video.get("length", len(video["file_names"]))
        if length != len(video["file_names"]):
            raise InputError(f"{place}.length is {length!r}, but there are {len(video['file_names'])} file_names.")
        entries.append((_name(video), place, video))
    if len({name for name, _, _ in entries}) != len(entries):
        entries = [(str(video["id"]), place, video) for _, place, video in entries]
    categories = thing_categories(data, str(file))
    return _World(categories, {name: (place, video) for name, place, video in entries})


def _name(video: dict[str, Any]) -> str:
    name = video.get("name")
    if isinstance(name, str) and name:
        return name
    folders = {str(PurePosixPath(frame).parent) for frame in video["file_names"]}
    folder = folders.pop() if len(folders) == 1 else "."
    return folder if folder != "." else str(video["id"])


def _annotations(data: dict[str, Any], file: Path) -> list[dict[str, Any]]:
    if data["annotations"] is None:
        raise InputError(f"{file} has no annotations (`annotations` is null, as in the published test sets).")
    return objects(data["annotations"], f"{file}: annotations")


def _recorded(file: Path, world: _World, listed: list[dict[str, Any]], field: str) -> RecordedInstances:
    by_id = {video["id"]: name for name, (_, video) in world.videos.items()}
    tracks: dict[str, list[tuple[int, str, dict[str, Any]]]] = {name: [] for name in world.videos}
    shift = int(any(entry.get("id") == 0 for entry in listed))
    seen: set[int] = set()
    for i, entry in enumerate(listed):
        place = f"{file}: {field}[{i}]"
        video = entry.get("video_id")
        if not isinstance(video, int | str) or video not in by_id:
            raise InputError(f"{place}.video_id {video!r} is not among the `videos`.")
        category = whole_number(entry, "category_id", place)
        if category not in world.categories.index:
            raise InputError(f"{place}.category_id {category} is not among the `categories`.")
        those = tracks[by_id[video]]
        number = whole_number(entry, "id", place) + shift if field else len(those) + 1
        if field and number in seen:
            raise InputError(f"{place}.id {number - shift} stands twice in the file.")
        seen.add(number)
        if not field or "score" in entry:
            finite_number(entry, "score", place)
        if entry.get("iscrowd", 0) not in (0, 1):
            raise InputError(f"{place}.iscrowd must be 0 or 1, found {entry['iscrowd']!r}.")
        those.append((number, place, entry))
    return RecordedInstances(
        path=file,
        format=NAME,
        vocabulary=world.categories.vocabulary,
        videos=LazyVideos(tuple(world.videos), partial(_video, world, tracks)),
    )


def _video(world: _World, tracks: Mapping[str, list[tuple[int, str, dict[str, Any]]]], name: str) -> InstanceVideo:
    place, video = world.videos[name]
    size = video["height"], video["width"]
    names = tuple(video["file_names"])
    read = []
    for number, where, entry in tracks[name]:
        segmentations = entry.get("segmentations")
        if not isinstance(segmentations, list) or len(segmentations) != len(names):
            found = len(segmentations) if isinstance(segmentations, list) else repr(segmentations)
            raise InputError(
                f"{where}.segmentations must be a list of {len(names)} masks, one per frame of the video {name!r}, "
                f"found {found}."
            )
        masks = {}
        for frame, value in enumerate(segmentations):
            mask = run_lengths.read_mask(value, size, f"{where}.segmentations[{frame}]")
            if mask is not None:
                masks[frame] = mask
        read.append(
            InstanceTrack(
                id=number,
                category=world.categories.index[entry["category_id"]],
                score=float(entry.get("score", 1.0)),
                crowd=bool(entry.get("iscrowd", 0)),
                masks=masks,
            )
        )
    return InstanceVideo(name, size, len(names), names, tuple(read), _times(video, place, len(names)))


def _times(video: dict[str, Any], place: str, count: int) -> tuple[Times, ...] | None:
    if "times" not in video:  # of ours only
        return None
    listed = objects(video["times"], f"{place}.times")
    if len(listed) != count:
        raise InputError(f"{place}.times must be of {count} frames, found {len(listed)}.")
    return tuple(
        Times.of_json(entry, number, DEFAULT_RATE, f"{place}.times[{number}]") for number, entry in enumerate(listed)
    )
