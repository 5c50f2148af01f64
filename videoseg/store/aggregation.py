"""From segments to tracks: what a chunk knows of its tracks while frames pass, and how chunks become one run.

Memory is bounded by the number of tracks, never by the number of frames, and the outcome depends only on the segments
and their order.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from videoseg.panoptic import PanopticFrame, Segment
from videoseg.tracks import Track, TrackEvent

GALLERY_SIZE = 8
"""Embeddings kept per track: enough for a few views of an object, 4 kB at 256 dimensions."""

_NEW_VIEW = 0.98  # above this cosine an embedding shows nothing that the gallery lacks


@dataclass(slots=True)
class Gallery:
    """Up to `GALLERY_SIZE` embeddings of a track, as unlike each other as they come.

    A full gallery takes a new embedding by giving up one of the two that are most alike: the one with the lower
    score, the later one where scores are equal.
    """

    vectors: list[NDArray[np.float16]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(self, embedding: NDArray[np.floating], score: float) -> None:
        """Takes note of an embedding `[D]` of unit length."""
        vector = embedding.astype(np.float16)
        if self.vectors:
            known = np.asarray(self.vectors, dtype=np.float32)
            likeness = known @ vector.astype(np.float32)
            nearest = int(np.argmax(likeness))
            if likeness[nearest] > _NEW_VIEW:
                if score > self.scores[nearest]:
                    self.vectors[nearest], self.scores[nearest] = vector, score
                return
        self.vectors.append(vector)
        self.scores.append(score)
        if len(self.vectors) > GALLERY_SIZE:
            everything = np.asarray(self.vectors, dtype=np.float32)
            alike = everything @ everything.T
            alike[np.tril_indices(len(alike))] = -np.inf
            first, second = divmod(int(np.argmax(alike)), len(alike))
            given_up = first if self.scores[first] < self.scores[second] else second
            del self.vectors[given_up], self.scores[given_up]

    def array(self) -> NDArray[np.float16]:
        """float16 `[n, D]`, `[0, 0]` where empty."""
        return np.stack(self.vectors) if self.vectors else np.zeros((0, 0), dtype=np.float16)


@dataclass(slots=True)
class TrackTotal:
    """All that is summed up of one track."""

    track: int
    first_index: int
    last_index: int
    first_time: float
    last_time: float
    num_frames: int = 0
    sum_area: int = 0
    sum_score: float = 0.0
    evidence: dict[int, float] = field(default_factory=dict)
    """Category -> sum of scores."""
    are_things: dict[int, bool] = field(default_factory=dict)
    """Category -> is_thing."""
    gallery: Gallery = field(default_factory=Gallery)

    def add(self, other: "TrackTotal") -> None:
        """Takes in what another chunk knows of the same track. The order of chunks is the order of calls."""
        if other.first_index < self.first_index:
            self.first_index, self.first_time = other.first_index, other.first_time
        if other.last_index > self.last_index:
            self.last_index, self.last_time = other.last_index, other.last_time
        self.num_frames += other.num_frames
        self.sum_area += other.sum_area
        self.sum_score += other.sum_score
        for category, weight in other.evidence.items():
            self.evidence[category] = self.evidence.get(category, 0.0) + weight
        self.are_things |= other.are_things
        for vector, score in zip(other.gallery.vectors, other.gallery.scores, strict=True):
            self.gallery.add(vector, score)

    def track_of_run(self, category: int | None = None) -> Track:
        """The summary; the category is the one with the most evidence, the first in the vocabulary where equal."""
        if category is None:
            category = min(self.evidence, key=lambda c: (-self.evidence[c], c))
        return Track(
            id=self.track,
            category=category,
            is_thing=self.are_things[category],
            first_index=self.first_index,
            last_index=self.last_index,
            first_time=self.first_time,
            last_time=self.last_time,
            num_frames=self.num_frames,
            mean_area=self.sum_area / self.num_frames,
            mean_score=self.sum_score / self.num_frames,
            gallery=self.gallery.array(),
        )


class TrackTotals:
    """Totals of all tracks of a chunk, while its frames pass."""

    def __init__(self) -> None:
        self._totals: dict[int, TrackTotal] = {}

    def add(self, frame: PanopticFrame) -> None:
        """Takes note of the next frame, whose segments all have tracks."""
        seen: set[int] = set()
        for segment in frame.segments:
            track = _track(segment)
            total = self._totals.get(track)
            if total is None:
                total = TrackTotal(track, frame.index, frame.index, frame.time, frame.time)
                self._totals[track] = total
            if track not in seen:
                total.num_frames += 1
                seen.add(track)
            total.last_index, total.last_time = frame.index, frame.time
            score = float(np.float32(segment.score))
            total.sum_area += segment.area
            total.sum_score += score
            total.evidence[segment.category] = total.evidence.get(segment.category, 0.0) + score
            total.are_things[segment.category] = segment.is_thing
            if segment.embedding is not None:
                total.gallery.add(segment.embedding, score)

    def __iter__(self) -> Iterator[TrackTotal]:
        """In the order of track ids."""
        return (self._totals[track] for track in sorted(self._totals))


Stitching = Mapping[int, Mapping[int, int]]
"""Chunk -> local track -> global track."""


def unstitched(local_tracks: Mapping[int, Iterable[int]]) -> dict[int, dict[int, int]]:
    """The table of a run whose chunks were not joined: every local track becomes a track of its own.

    Global ids are 1, 2, … in the order of chunks and local ids; the tracks of a first chunk 0 keep theirs if they are
    1, 2, … themselves.
    """
    table: dict[int, dict[int, int]] = {}
    taken = 0
    for chunk in sorted(local_tracks):
        table[chunk] = {}
        for local in sorted(local_tracks[chunk]):
            taken += 1
            table[chunk][local] = taken
    return table


def merge_tracks(chunks: Iterable[tuple[int, Iterable[TrackTotal]]], stitching: Stitching) -> list[Track]:
    """Tracks of the run, in the order of global ids.

    Args:
        chunks: (chunk number, totals of its local tracks), in the order of chunks.
    """
    merged: dict[int, TrackTotal] = {}
    for chunk, totals in chunks:
        for total in totals:
            track = stitching[chunk][total.track]
            if track not in merged:
                merged[track] = TrackTotal(
                    track, total.first_index, total.last_index, total.first_time, total.last_time
                )
            merged[track].add(total)
    return [merged[track].track_of_run() for track in sorted(merged)]


def merge_events(
    chunks: Sequence[tuple[int, int | None, Sequence[TrackEvent]]], stitching: Stitching
) -> list[TrackEvent]:
    """Events of the run under global ids, in the order of frames.

    A chunk starts cold, so it says things that the run as a whole knows better:

    - what it says about its warm-up frames is left out: the chunk before says it;
    - a track that goes on over several chunks is born and confirmed once, the first time, and ends once, the last.

    Args:
        chunks: (chunk number, index of its first frame that counts or None if it has none, events under local ids).
    """
    said = [
        replace(
            event,
            track=stitching[chunk][event.track],
            other=None if event.other is None else stitching[chunk][event.other],
        )
        for chunk, first_index, events in chunks
        for event in events
        if first_index is not None and event.index >= first_index
    ]
    last_end = {event.track: i for i, event in enumerate(said) if event.kind == "ended"}
    once: set[tuple[str, int]] = set()
    kept = []
    for i, event in enumerate(said):
        if event.kind in ("born", "confirmed"):
            if (event.kind, event.track) in once:
                continue
            once.add((event.kind, event.track))
        if event.kind == "ended" and last_end[event.track] != i:
            continue
        kept.append(event)
    return sorted(kept, key=lambda event: event.index)


def _track(segment: Segment) -> int:
    if segment.track is None:
        raise ValueError(f"segment {segment.id} has no track yet")
    return segment.track
