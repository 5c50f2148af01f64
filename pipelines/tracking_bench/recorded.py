"""Setting (ii) of the tracking benchmark: segments that a segmenter really gave, read from disk."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval import match_categories
from pipelines.tracking_bench.degradation import FALSE, SpoiledFrame
from pipelines.tracking_bench.report import Sample
from pipelines.tracking_bench.worlds import TruthFrame, World
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.formats.recorded import RecordedSegments
from videoseg.panoptic import PanopticFrame
from videoseg.store.folder import MANIFEST
from videoseg.store.reader import open_run
from videoseg.vocabulary import Vocabulary

SETTING = "recorded"

_SAME = 0.5
"""IoU above which a segment is taken to be a true object: at most one object can be that close."""


def truth_vocabulary(truth: str | Path) -> Vocabulary:
    """The categories of a folder of ground truth."""
    return read_segments(truth).vocabulary


def recorded_samples(truth: str | Path, segments: str | Path) -> Iterator[Sample]:
    """Videos of recorded segments, whose ids from frame to frame are passed over.

    Args:
        truth: ground truth with tracks, in a format that videoseg reads.
        segments: a run folder, a folder of run folders, or segments in such a format; videos are known by their names.
            Of a run, the segments are taken and its tracks are passed over; what its tracker drew is left out.

    Raises:
        InputError: no video in common.
    """
    known = read_segments(truth)
    folders = [Path(segments), *sorted(path for path in Path(segments).glob("*") if path.is_dir())]
    runs = [open_run(folder) for folder in folders if (folder / MANIFEST).is_file()]
    if runs:
        given: dict[str, Callable[[], Iterator[PanopticFrame]]] = {
            Path(run.manifest.stream).stem: run.frames for run in runs
        }
        if len(runs) == len(known.videos) == 1:
            given = {known.videos[0]: runs[0].frames}
        if any(run.vocabulary != runs[0].vocabulary for run in runs):
            raise InputError(f"The runs in {segments} have different vocabularies. Measure them one by one.")
        mapping = match_categories(runs[0].vocabulary, known.vocabulary)
    else:
        recorded = read_segments(segments)
        given = {video: _frames_of(recorded, video) for video in recorded.videos}
        mapping = match_categories(recorded.vocabulary, known.vocabulary)
    common = [video for video in known.videos if video in given]
    if not common:
        raise InputError(f"{truth} and {segments} have no video in common. Videos are paired by name.")
    for video in common:
        pairs = {frame.index: frame for frame in given[video]()}
        truths, spoiled = [], []
        for frame in known.frames(video):
            guess = pairs.get(frame.index)
            if guess is None or guess.size != frame.size:
                continue
            guess = _translated(guess, mapping)
            truths.append(_truth(frame))
            spoiled.append(SpoiledFrame(guess, _owners(frame, guess)))
        if truths:
            yield Sample(SETTING, World(video, SETTING, tuple(truths)), tuple(spoiled))


def _frames_of(recorded: RecordedSegments, video: str) -> Callable[[], Iterator[PanopticFrame]]:
    return lambda: recorded.frames(video)


def _truth(frame: PanopticFrame) -> TruthFrame:
    """Ids in the map become tracks, which are small numbers in every format that has them."""
    tracks = [segment.track for segment in frame.segments]
    if any(track is None for track in tracks):
        raise InputError(f"The ground truth has segments without track ids ({frame.where}).")
    ids = np.array(tracks, dtype=np.int64)
    return TruthFrame(
        id_map=frame.track_map(),  # type: ignore[arg-type]
        ids=ids,
        categories=np.array([s.category for s in frame.segments], dtype=np.int64),
        is_thing=np.array([s.is_thing for s in frame.segments], dtype=bool),
        visible=np.ones(len(ids)),
        indistinguishable=np.zeros(len(ids), dtype=bool),
        rgb=np.zeros((*frame.size, 3), dtype=np.uint8),
        motion=None,
        cut=False,
    )


def _translated(frame: PanopticFrame, mapping: NDArray[np.int64]) -> PanopticFrame:
    """Categories of the ground truth; segments of categories that it does not know, or that nobody saw, become void."""
    unknown = [s.id for s in frame.segments if mapping[s.category] < 0 or s.propagated]
    table = np.arange(int(frame.id_map.max(initial=0)) + 1, dtype=np.uint16)
    table[unknown] = 0
    kept = [
        replace(
            s,
            category=int(mapping[s.category]),
            probabilities=tuple((int(mapping[c]), p) for c, p in s.probabilities if mapping[c] >= 0),
            track=None,
        )
        for s in frame.segments
        if s.id not in unknown
    ]
    return replace(frame, id_map=table[frame.id_map], segments=tuple(kept))


def _owners(truth: PanopticFrame, guess: PanopticFrame) -> dict[int, int]:
    """The true track of every segment; what is none of them is a false segment of its own."""
    width = max((s.id for s in guess.segments), default=0) + 1
    joint = np.bincount(truth.id_map.ravel().astype(np.int64) * width + guess.id_map.ravel())
    owner = {}
    for s in guess.segments:
        owner[s.id] = FALSE + truth.index * 10_000 + s.id
        for t in truth.segments:
            place = t.id * width + s.id
            shared = int(joint[place]) if place < len(joint) else 0
            if t.track is not None and shared > _SAME * (s.area + t.area - shared):
                owner[s.id] = t.track
    return owner
