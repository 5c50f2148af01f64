"""BURST, and TAO with masks: one JSON of instance tracks; many categories, not all of them annotated in every video.

Source: ANNOTATION_FORMAT.md of the BURST repository (https://github.com/Ali2500/BURST-benchmark); `all_classes.json`,
`common_classes.json` and `uncommon_classes.json` are all of it, and so are results:

    {"sequences": [{"id", "dataset", "seq_name", "width", "height", "fps",
                    "all_image_paths": [file_name, …], "annotated_image_paths": [file_name, …],
                    "track_category_ids": {"<track>": category_id},
                    "segmentations": [{"<track>": {"rle": counts, "is_gt", "score"}}, one per annotated frame …],
                    "neg_category_ids": [category_id, …], "not_exhaustive_category_ids": [category_id, …]}],
     "categories": [{"id", "name", "synset", "def", "synonyms"}],
     "split": "train" | "val" | "test"}

`rle` is the bare text of compressed counts; the size is that of the video. A frame is one of `annotated_image_paths`.
A video is called `<dataset>/<seq_name>`. In a video, instances are annotated of the categories of its tracks; those of
`neg_category_ids` are known to be absent, of `not_exhaustive_category_ids` some may be missing, and of all others
nothing is known (as in LVIS).

TAO itself (https://github.com/TAO-Dataset/tao, toolkit/tao/tao.py) writes `videos`, `images`, `tracks` and
`annotations`, mostly with boxes alone; it is read where its annotations have a `segmentation`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "burst"

_JSON = "all_classes.json"


def sniff(path: Path) -> bool:
    """Whether `path` is a BURST or TAO JSON or a folder with one (TAO also where it has boxes only, to say so)."""
    return any(_is_burst(parsed_json(file)) or _is_tao(parsed_json(file)) for file in json_files(path))


def read(path: Path) -> RecordedSegments:
    """Reads it as panoptic frames; see `RecordedInstances.to_segments` for what becomes of overlaps."""
    return read_instances(path).to_segments()


def read_instances(path: Path, ground_truth: Path | None = None) -> RecordedInstances:
    """Reads annotations or results, which are of the same form.

    The score of a track is the mean of its `score`s where it has any, else 1. What is not annotated is `void`, because
    not all categories are.

    Args:
        path: the JSON, or a folder with one.
        ground_truth: for results without `categories`: the JSON that has them.

    Raises:
        InputError: none or several such files, or one with wrong fields; of masks when their video is read.
    """
    found = [file for file in json_files(path) if _is_burst(parsed_json(file)) or _is_tao(parsed_json(file))]
    if not found:
        raise InputError(f"{path} holds no BURST JSON (`sequences` with `segmentations` each).")
    if len(found) > 1:
        raise InputError(
            f"{path} holds several BURST files: {', '.join(file.name for file in found)}. Name one of them."
        )
    file = found[0]
    data = parsed_json(file)
    if _is_tao(data):
        return _read_tao(file, data)
    source, world = file, data
    if "categories" not in data and ground_truth is not None and ground_truth.is_file():
        source, world = ground_truth, parsed_json(ground_truth)
    categories = thing_categories(world if isinstance(world, dict) else {}, str(source))
    sequences = {}
    for i, sequence in enumerate(objects(data["sequences"], f"{file}: sequences")):
        place = f"{file}: sequences[{i}]"
        for field in ("seq_name", "dataset"):
            if not isinstance(sequence.get(field), str):
                raise InputError(f"{place}.{field} must be a text, found {sequence.get(field)!r}.")
        name = "/".join(part for part in (sequence["dataset"], sequence["seq_name"]) if part)
        if name in sequences:
            raise InputError(f"{place}.seq_name: the video {name!r} stands twice in the file.")
        sequences[name] = (place, sequence)
    return RecordedInstances(
        path=file,
        format=NAME,
        vocabulary=categories.vocabulary,
        videos=LazyVideos(tuple(sequences), partial(_video, categories, sequences)),
        unlabelled="void",
    )


def export(run: "Run", folder: Path) -> Path:
    """Writes the things of a run; the video is called as the file it came from."""
    return write(folder, instances_of_run(run, video_name(run.manifest.stream)))


def write(folder: Path, instances: RecordedInstances, split: str = "val") -> Path:
    """Writes `all_classes.json`; all frames are annotated frames.

    The text before the last `/` of a video's name becomes its `dataset`. Crowds are left out: the format has none, and
    it has no place for the score of a track without masks.

    Args:
        folder: is made where it is not there.
        split: of the data set that the videos are from.

    Returns:
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _JSON
    unfinished = path.with_suffix(".partial")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write('{"sequences": [')
        for number, name in enumerate(instances.videos):
            sequence = _sequence_json(number, instances.videos[name], instances.vocabulary)
            file.write((",\n" if number else "\n") + json.dumps(sequence, allow_nan=False))
        file.write(f'],\n"split": {json.dumps(split)},\n{thing_categories_json(instances.vocabulary)}}}\n')
    unfinished.replace(path)
    return folder


def _sequence_json(number: int, video: InstanceVideo, vocabulary: Vocabulary) -> dict[str, Any]:
    dataset, _, name = video.name.rpartition("/")
    tracks = [track for track in video.tracks if not track.crowd]
    judged = _things(vocabulary) if video.judged is None else video.judged
    absent = judged - {track.category for track in tracks}
    sequence: dict[str, Any] = {
        "id": number,
        "dataset": dataset,
        "seq_name": name,
        "width": video.size[1],
        "height": video.size[0],
        "fps": 1,
        "all_image_paths": list(video.frame_names),
        "annotated_image_paths": list(video.frame_names),
        "neg_category_ids": [category_id(i) for i in sorted(absent)],
        "not_exhaustive_category_ids": [category_id(i) for i in sorted(video.not_exhaustive)],
        "track_category_ids": {str(track.id): category_id(track.category) for track in tracks},
        "segmentations": [
            {
                str(track.id): {
                    "rle": track.masks[frame]["counts"].decode("ascii"),
                    "is_gt": False,
                    "score": track.score,
                }
                for track in tracks
                if frame in track.masks
            }
            for frame in range(video.num_frames)
        ],
    }
    if video.times is not None:
        sequence["times"] = [times.to_json() for times in video.times]
    return sequence


def _things(vocabulary: Vocabulary) -> frozenset[int]:
    return frozenset(i for i, category in enumerate(vocabulary) if category.is_thing)


def _is_burst(data: Any) -> bool:
    sequences = data.get("sequences") if isinstance(data, dict) else None
    return (
        isinstance(sequences, list)
        and bool(sequences)
        and all(
            isinstance(sequence, dict) and {"seq_name", "segmentations"} <= sequence.keys() for sequence in sequences
        )
    )


def _is_tao(data: Any) -> bool:
    if isinstance(data, list):
        return bool(data) and all(isinstance(each, dict) and {"image_id", "track_id"} <= each.keys() for each in data)
    return isinstance(data, dict) and {"videos", "images", "tracks", "annotations"} <= data.keys()


def _video(categories: Categories, sequences: Mapping[str, tuple[str, dict[str, Any]]], name: str) -> InstanceVideo:
    place, sequence = sequences[name]
    size = frame_size(sequence, place)
    names = words(sequence.get("annotated_image_paths"), f"{place}.annotated_image_paths")
    frames = objects(sequence.get("segmentations"), f"{place}.segmentations")
    if len(frames) != len(names):
        raise InputError(
            f"{place}.segmentations is of {len(frames)} frames, but there are {len(names)} annotated_image_paths."
        )
    given = sequence.get("track_category_ids")
    if not isinstance(given, dict):
        raise InputError(f"{place}.track_category_ids must be an object: track -> category_id.")
    tracks = {
        _track_number(text, f"{place}.track_category_ids"): _category(
            categories, number, f"{place}.track_category_ids[{text!r}]"
        )
        for text, number in given.items()
    }
    masks: dict[int, dict[int, run_lengths.RLE]] = {track: {} for track in tracks}
    scores: dict[int, list[float]] = {track: [] for track in tracks}
    for frame, segments in enumerate(frames):
        for text, segment in segments.items():
            where = f"{place}.segmentations[{frame}][{text!r}]"
            track = _track_number(text, f"{place}.segmentations[{frame}]")
            if track not in tracks:
                raise InputError(f"{where}: the track has no category in `track_category_ids`.")
            if not isinstance(segment, dict) or not isinstance(segment.get("rle"), str):
                raise InputError(f"{where}.rle must be the text of compressed run lengths.")
            if segment.get("score") is not None:
                scores[track].append(finite_number(segment, "score", where))
            mask = run_lengths.read_mask(segment["rle"], size, f"{where}.rle")
            if mask is not None:
                masks[track][frame] = mask
    present = frozenset(tracks.values())
    absent = _categories(categories, sequence.get("neg_category_ids", []), f"{place}.neg_category_ids")
    judged = present | absent
    return InstanceVideo(
        name=name,
        size=size,
        num_frames=len(names),
        frame_names=tuple(names),
        tracks=tuple(
            InstanceTrack(track, tracks[track], _mean(scores[track]), crowd=False, masks=masks[track])
            for track in sorted(tracks)
        ),
        times=_times(sequence, names, place),
        judged=None if judged >= _things(categories.vocabulary) else judged,
        not_exhaustive=_categories(
            categories, sequence.get("not_exhaustive_category_ids", []), f"{place}.not_exhaustive_category_ids"
        ),
    )


def _track_number(text: str, place: str) -> int:
    if not text.isdecimal():
        raise InputError(f"{place}: tracks must be called by whole numbers, found {text!r}.")
    return int(text)


def _category(categories: Categories, number: object, where: str) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number not in categories.index:
        raise InputError(f"{where}: the category {number!r} is not among the `categories`.")
    return categories.index[number]


def _categories(categories: Categories, listed: object, place: str) -> frozenset[int]:
    if not isinstance(listed, list):
        raise InputError(f"{place} must be a list of ids of categories.")
    return frozenset(_category(categories, number, f"{place}[{i}]") for i, number in enumerate(listed))


def _mean(scores: Sequence[float]) -> float:
    if not scores:
        return 1.0
    # A mean of equal numbers is that number, which summing and dividing is not to the last bit.
    return scores[0] if min(scores) == max(scores) else math.fsum(scores) / len(scores)


def _times(sequence: dict[str, Any], names: Sequence[str], place: str) -> tuple[Times, ...] | None:
    """Frames are numbered among all images, so that they meet those of a run over all of them."""
    if "times" in sequence:  # of ours only
        listed = objects(sequence["times"], f"{place}.times")
        if len(listed) != len(names):
            raise InputError(f"{place}.times must be of {len(names)} frames, found {len(listed)}.")
        return tuple(Times.of_json(entry, i, DEFAULT_RATE, f"{place}.times[{i}]") for i, entry in enumerate(listed))
    if "all_image_paths" not in sequence:
        return None
    everything = words(sequence["all_image_paths"], f"{place}.all_image_paths")
    numbers = {image: number for number, image in enumerate(everything)}
    missing = next((image for image in names if image not in numbers), None)
    if missing is not None:
        raise InputError(f"{place}.annotated_image_paths names {missing!r}, which all_image_paths does not.")
    return tuple(Times.at(numbers[image], DEFAULT_RATE) for image in names)


def _read_tao(file: Path, data: Any) -> RecordedInstances:
    if isinstance(data, list):
        raise InputError(
            f"{file} is a list of TAO results. Write them as BURST does: the JSON of the ground truth with "
            "`segmentations` and `track_category_ids` replaced."
        )
    annotations = objects(data["annotations"], f"{file}: annotations")
    if not any("segmentation" in annotation for annotation in annotations):
        raise InputError(
            f"{file} holds boxes only (no annotation of TAO has a `segmentation`). Take the masks of BURST, "
            "all_classes.json."
        )
    categories = thing_categories(data, str(file))
    videos = {}
    names = {}
    for i, video in enumerate(objects(data["videos"], f"{file}: videos")):
        place = f"{file}: videos[{i}]"
        number = whole_number(video, "id", place)
        name = str(video.get("name") or number)
        if name in videos or number in names:
            raise InputError(f"{place}: the video {name!r} (id {number}) stands twice in the file.")
        names[number] = name
        videos[name] = (place, video, _Tao({}, {}))
    of_image: dict[int, str] = {}
    for i, image in enumerate(objects(data["images"], f"{file}: images")):
        place = f"{file}: images[{i}]"
        name = _known(names, image, "video_id", place)
        number = whole_number(image, "id", place)
        if not isinstance(image.get("file_name"), str):
            raise InputError(f"{place}.file_name must be a text, found {image.get('file_name')!r}.")
        videos[name][2].images[number] = (whole_number(image, "frame_index", place), image["file_name"])
        of_image[number] = name
    track_categories = {}
    for i, track in enumerate(objects(data["tracks"], f"{file}: tracks")):
        place = f"{file}: tracks[{i}]"
        number = whole_number(track, "id", place)
        track_categories[number] = _category(categories, track.get("category_id"), f"{place}.category_id")
        videos[_known(names, track, "video_id", place)][2].tracks[number] = []
    for i, annotation in enumerate(annotations):
        place = f"{file}: annotations[{i}]"
        tracks = videos[_known(of_image, annotation, "image_id", place)][2].tracks
        number = whole_number(annotation, "track_id", place)
        if number not in tracks:
            raise InputError(f"{place}.track_id {number} is not among the `tracks` of the video of its image.")
        tracks[number].append((place, annotation))
    return RecordedInstances(
        path=file,
        format=NAME,
        vocabulary=categories.vocabulary,
        videos=LazyVideos(tuple(videos), partial(_tao_video, categories, track_categories, videos)),
        unlabelled="void",
    )


class _Tao(NamedTuple):
    """What belongs to a video of TAO."""

    images: dict[int, tuple[int, str]]
    """Id -> (frame index, file name)."""
    tracks: dict[int, list[tuple[str, dict[str, Any]]]]
    """Id -> (file and field, annotation) of each."""


def _known(names: Mapping[int, str], entry: Mapping[str, Any], field: str, place: str) -> str:
    number = whole_number(entry, field, place)
    if number not in names:
        raise InputError(f"{place}.{field} {number} is not among the `{field.removesuffix('_id')}s`.")
    return names[number]


def _tao_video(
    categories: Categories,
    track_categories: Mapping[int, int],
    videos: Mapping[str, tuple[str, dict[str, Any], _Tao]],
    name: str,
) -> InstanceVideo:
    place, video, content = videos[name]
    size = frame_size(video, place)
    order = sorted(content.images, key=lambda image: content.images[image])
    frames = {image: frame for frame, image in enumerate(order)}
    tracks = []
    for number in sorted(content.tracks):
        masks, scores = {}, []
        for where, annotation in content.tracks[number]:
            mask = run_lengths.read_mask(annotation.get("segmentation"), size, f"{where}.segmentation")
            if mask is not None:
                masks[frames[annotation["image_id"]]] = mask
            if annotation.get("score") is not None:
                scores.append(finite_number(annotation, "score", where))
        tracks.append(
            InstanceTrack(
                number, track_categories[number], _mean(scores), crowd=False, masks=dict(sorted(masks.items()))
            )
        )
    absent = _categories(categories, video.get("neg_category_ids", []), f"{place}.neg_category_ids")
    judged = absent | {track.category for track in tracks}
    return InstanceVideo(
        name=name,
        size=size,
        num_frames=len(order),
        frame_names=tuple(content.images[image][1] for image in order),
        tracks=tuple(tracks),
        times=tuple(Times.at(content.images[image][0], DEFAULT_RATE) for image in order),
        judged=None if judged >= _things(categories.vocabulary) else judged,
        not_exhaustive=_categories(
            categories, video.get("not_exhaustive_category_ids", []), f"{place}.not_exhaustive_category_ids"
        ),
    )
