"""`RecordedInstances`: objects in videos as tracks of masks, which may overlap; the other way of writing segments down.

YouTube-VIS and BURST are such files. From panoptic segments with tracks (`instances_of`) it goes in one direction
without loss for things; back (`RecordedInstances.to_segments`) overlaps have to be resolved.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError
from videoseg.formats.json_file import forget_json
from videoseg.formats.panoptic_png import Times
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.formats.run_lengths import RLE as RLE
from videoseg.formats.run_lengths import decode as decode
from videoseg.formats.run_lengths import encode as encode
from videoseg.panoptic import MAX_SEGMENTS, PanopticFrame, Segment, measure_segments
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

DEFAULT_RATE = Fraction(25)
"""Frames per second of videos that don't say when their frames were shown."""


@dataclass(frozen=True, slots=True, eq=False)
class InstanceTrack:
    """One object through one video."""

    id: int
    """Within its video."""
    category: int
    """Index into the vocabulary."""
    score: float
    """Confidence of the whole track: any finite number, 1 in ground truth."""
    crowd: bool
    """Instances not told apart, or a region to pass over; only in ground truth."""
    masks: Mapping[int, RLE]
    """Frame number (0..) -> mask, in ascending order; only frames in which it is seen. Masks of different tracks may
    overlap."""


@dataclass(frozen=True, slots=True, eq=False)
class InstanceVideo:
    """One video with its objects."""

    name: str
    size: tuple[int, int]
    """Height and width in pixels."""
    num_frames: int
    frame_names: tuple[str, ...]
    """As the file names them, with folder and ending where it does."""
    tracks: tuple[InstanceTrack, ...]
    times: tuple[Times, ...] | None = None
    """When each frame was shown; None where the file doesn't say."""
    judged: frozenset[int] | None = None
    """Categories whose instances are all annotated or known to be absent in this video (indices into the vocabulary):
    for federated data sets, where a prediction of any other category is neither right nor wrong. None means all."""
    not_exhaustive: frozenset[int] = frozenset()
    """Categories of which some instances are annotated and others may not be: an unmatched prediction is not wrong."""

    def __post_init__(self) -> None:
        for what, found in (("frame_names", self.frame_names), ("times", self.times)):
            if found is not None and len(found) != self.num_frames:
                raise ValueError(f"{what} must be of {self.num_frames} frames, got {len(found)} ({self.name})")


@dataclass(frozen=True, slots=True, eq=False)
class RecordedInstances:
    """Videos of instance tracks. A video is read as it is asked for."""

    path: Path
    """The file."""
    format: str
    """Name of the format."""
    vocabulary: Vocabulary
    """The categories of the file, in its order."""
    videos: Mapping[str, InstanceVideo]
    """By name, in the order of the file. Only the last one that was asked for is kept."""
    unlabelled: Literal["void", "background"] = "background"
    """What pixels of no mask are: `background` is known to be no object, so that a prediction there is wrong; of
    `void` nothing is known."""

    def to_segments(self) -> RecordedSegments:
        """The same as panoptic frames, made one at a time; ids of tracks stay.

        A pixel under several masks goes to the one of the highest score, of equal ones to that of the lower id; crowds
        lose to all others. A mask of which nothing is left has no segment in that frame.

        Raises:
            InputError: when frames are read: a score outside of 0..1, an id below 1, a mask of another size than
                its video.
        """
        return RecordedSegments(
            path=self.path,
            format=self.format,
            vocabulary=self.vocabulary,
            tracked=True,
            recorded=LazyVideos(tuple(self.videos), partial(_recorded_frames, self)),
            unlabelled=self.unlabelled,
        )


Read = TypeVar("Read")


class LazyVideos(Mapping[str, Read]):
    """Videos by name, each read when it is asked for; the last one is kept."""

    def __init__(self, names: Sequence[str], read: Callable[[str], Read]) -> None:
        self._names = dict.fromkeys(names)
        self._read = read
        self._last: tuple[str, Read] | None = None

    def __getitem__(self, name: str) -> Read:
        if name not in self._names:
            raise KeyError(name)
        if self._last is None or self._last[0] != name:
            self._last = None  # the old one goes before the new one comes
            self._last = (name, self._read(name))
        return self._last[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getstate__(self) -> dict[str, Any]:
        return {"_names": self._names, "_read": self._read, "_last": None}


class _ReadsInstances(Protocol):
    """What a format offers whose files hold instances."""

    def read_instances(self, path: Path, ground_truth: Path | None = None) -> RecordedInstances: ...


def read_instances(
    path: str | Path, ground_truth: str | Path | None = None, format: str | None = None
) -> RecordedInstances:
    """Reads instance tracks: of a format made for them with overlaps and scores kept, of any other the things.

    Args:
        path: the file or folder.
        ground_truth: for results that name neither videos nor categories (YouTube-VIS): the JSON that does, or its
            folder.
        format: name of the format; None means that it is recognised.

    Raises:
        InputError: nothing there, of no format we know or of several, or damaged.
    """
    from videoseg.formats import find_format, formats, read_segments

    path = Path(path)
    try:
        if format is not None:
            known = [find_format(format)]
        else:
            known = [each for each in formats().values() if hasattr(each, "read_instances") and each.sniff(path)]
        if len(known) == 1 and hasattr(known[0], "read_instances"):
            reader = cast(_ReadsInstances, known[0])
            return reader.read_instances(path, None if ground_truth is None else Path(ground_truth))
    finally:
        forget_json()
    return instances_of(read_segments(path, format))


def instances_of(recorded: RecordedSegments) -> RecordedInstances:
    """The things of per-frame segments as tracks.

    Frames are numbered by their position in the video. A segment without a track is a track of one frame.

    Returns:
        Videos are made as they are asked for, each with `tracks_of`.
    """
    return RecordedInstances(
        path=recorded.path,
        format=recorded.format,
        vocabulary=recorded.vocabulary,
        videos=LazyVideos(recorded.videos, partial(_video_of, recorded)),
        unlabelled=recorded.unlabelled,
    )


def instances_of_run(run: "Run", name: str) -> RecordedInstances:
    """The things of a run as tracks of one video called `name`."""
    return RecordedInstances(
        path=Path(run.location),
        format="run",
        vocabulary=run.vocabulary,
        videos=LazyVideos((name,), partial(_video_of_run, run)),
    )


def tracks_of(name: str, frames: Iterable[PanopticFrame], frame_names: Iterable[str] | None = None) -> InstanceVideo:
    """The things of one video as tracks; frames are taken one at a time, their masks kept as run lengths.

    The category of a track is the one that most of its segments have, of equally many the first seen; its score is
    the mean of theirs; it is a crowd where one of them is. Segments without a track become tracks of one frame, with
    ids above all others.

    Args:
        frame_names: of the frames; None numbers them.

    Raises:
        InputError: frames of different sizes.
    """
    parts: dict[int, _Parts] = {}
    single: list[_Parts] = []
    times: list[Times] = []
    size: tuple[int, int] | None = None
    for number, frame in enumerate(frames):
        if size is not None and frame.size != size:
            raise InputError(
                f"Frame {number} of {name!r} is {frame.size[1]}×{frame.size[0]} pixels, the frames before it "
                f"{size[1]}×{size[0]}. The frames of a video must be of one size."
            )
        size = frame.size
        times.append(Times(frame.index, frame.epoch, frame.pts, frame.time_base, frame.time))
        for segment in frame.segments:
            if segment.is_thing:
                if segment.track is None:
                    part = _Parts()
                    single.append(part)
                else:
                    part = parts.setdefault(segment.track, _Parts())
                part.add(number, segment, frame.id_map)
    following = max(parts, default=0) + 1
    tracks = [parts[track].track(track) for track in sorted(parts)]
    tracks += [part.track(following + i) for i, part in enumerate(single)]
    names = tuple(frame_names) if frame_names is not None else tuple(f"{i:08d}" for i in range(len(times)))
    return InstanceVideo(name, size or (0, 0), len(times), names, tuple(tracks), tuple(times))


class _Parts:
    """What is known of a track while frames come."""

    def __init__(self) -> None:
        self.masks: dict[int, RLE] = {}
        self.categories: Counter[int] = Counter()
        self.scores: list[float] = []
        self.crowd = False

    def add(self, number: int, segment: Segment, id_map: NDArray[np.uint16]) -> None:
        mask = id_map == segment.id
        if number in self.masks:  # two segments of one track in one frame are one object
            mask |= decode(self.masks[number])
        self.masks[number] = encode(mask)
        self.categories[segment.category] += 1
        self.scores.append(segment.score)
        self.crowd |= segment.crowd

    def track(self, number: int) -> InstanceTrack:
        category = self.categories.most_common(1)[0][0]
        return InstanceTrack(number, category, math.fsum(self.scores) / len(self.scores), self.crowd, self.masks)


def _video_of(recorded: RecordedSegments, name: str) -> InstanceVideo:
    names = (frame.file.stem for frame in recorded.recorded[name])
    return tracks_of(name, recorded.frames(name), names)


def _video_of_run(run: "Run", name: str) -> InstanceVideo:
    return tracks_of(name, run.frames())


def _recorded_frames(recorded: RecordedInstances, name: str) -> list[RecordedFrame]:
    video = recorded.videos[name]
    # There is no PNG; its name says which frame it is.
    return [
        RecordedFrame(
            recorded.path.parent / frame,
            partial(_panoptic_frame, recorded.path, recorded.vocabulary, video, number),
            None if video.times is None else video.times[number].index,
        )
        for number, frame in enumerate(video.frame_names)
    ]


def _panoptic_frame(path: Path, vocabulary: Vocabulary, video: InstanceVideo, number: int) -> PanopticFrame:
    seen = [track for track in video.tracks if number in track.masks]
    id_map = np.zeros(video.size, dtype=np.uint16)
    # The strongest is painted last, over the others.
    strongest = sorted(seen, key=lambda track: (track.crowd, -track.score, track.id))[:MAX_SEGMENTS]
    for position, track in reversed(list(enumerate(strongest, start=1))):
        where = f"{path}: video {video.name!r}, track {track.id}"
        mask = decode(track.masks[number])
        if mask.shape != video.size:
            raise InputError(
                f"{where}: the mask of frame {number} is {mask.shape[1]}×{mask.shape[0]} pixels, the video "
                f"{video.size[1]}×{video.size[0]}."
            )
        if not 0 <= track.score <= 1:
            raise InputError(f"{where}: the score {track.score} is not in 0..1; segments need that.")
        if track.id < 1:
            raise InputError(f"{where}: segments need ids of tracks from 1.")
        id_map[mask] = position
    # Numbered again, in the order of tracks and without those that are covered.
    measures = measure_segments(id_map)
    left = sorted((strongest[position - 1].id, position) for position in measures)
    table = np.zeros(len(strongest) + 1, dtype=np.uint16)
    segments = []
    for i, (_, position) in enumerate(left, start=1):
        table[position] = i
        track = strongest[position - 1]
        area, box = measures[position]
        segments.append(
            Segment(
                id=i,
                category=track.category,
                is_thing=vocabulary[track.category].is_thing,
                score=track.score,
                area=area,
                box=box,
                track=track.id,
                crowd=track.crowd,
            )
        )
    times = video.times[number] if video.times is not None else Times.at(number, DEFAULT_RATE)
    return PanopticFrame(
        stream=video.name,
        epoch=times.epoch,
        index=times.index,
        pts=times.pts,
        time_base=times.time_base,
        time=times.time,
        id_map=table[id_map],
        segments=tuple(segments),
    )
