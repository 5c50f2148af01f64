"""`Fragment`: one track of things, summed up; what joining tracks after the fact goes by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from videoseg.panoptic import Segment


class SegmentsOfFrame(Protocol):
    """What is asked of a tracked frame: no pixels."""

    @property
    def index(self) -> int: ...

    @property
    def time(self) -> float: ...

    @property
    def segments(self) -> Sequence[Segment]: ...


@dataclass(slots=True, eq=False)
class Fragment:
    """One track of things, summed up."""

    track: int
    first_index: int
    """Of the frame in which it begins."""
    first_time: float
    first_centre: tuple[float, float]
    last_time: float
    last_centre: tuple[float, float]
    diagonal: float
    """Of its box, the mean in pixels."""
    first_velocity: tuple[float, float] = (0.0, 0.0)
    """Pixels per second over its first second."""
    last_velocity: tuple[float, float] = (0.0, 0.0)
    num_frames: int = 0
    looks: NDArray[np.float64] | None = None
    """float64 `[D]`: sum of its embeddings, weighted by area."""
    evidence: dict[int, float] = field(default_factory=dict)
    """Category -> sum of probabilities."""
    times: set[int] = field(default_factory=set)
    """Indices of the frames in which it is."""

    def continued_by(self, later: "Fragment") -> "Fragment":
        """The two as one, under this one's track. Its mean diagonal weighs both by their frames."""
        num_frames = self.num_frames + later.num_frames
        looks = self.looks if later.looks is None else later.looks if self.looks is None else self.looks + later.looks
        evidence = dict(self.evidence)
        for category, weight in later.evidence.items():
            evidence[category] = evidence.get(category, 0.0) + weight
        return replace(
            self,
            last_time=later.last_time,
            last_centre=later.last_centre,
            last_velocity=later.last_velocity,
            diagonal=(self.diagonal * self.num_frames + later.diagonal * later.num_frames) / num_frames,
            num_frames=num_frames,
            looks=looks,
            evidence=evidence,
            times=self.times | later.times,
        )


_VELOCITY_SECONDS = 0.5
"""Span over which the velocity at an end is measured."""


def fragments_of(frames: Iterable[SegmentsOfFrame]) -> list[Fragment]:
    """Sums up the things of tracked frames; in ascending order of track. Memory grows with tracks, not with pixels."""
    found: dict[int, Fragment] = {}
    begun: dict[int, tuple[float, tuple[float, float]]] = {}
    recent: dict[int, list[tuple[float, tuple[float, float]]]] = {}
    for frame in frames:
        for segment in frame.segments:
            if not segment.is_thing or segment.track is None or segment.propagated:
                continue
            left, top, right, bottom = segment.box
            centre, diagonal = ((left + right) / 2, (top + bottom) / 2), float(np.hypot(right - left, bottom - top))
            fragment = found.get(segment.track)
            if fragment is None:
                fragment = found[segment.track] = Fragment(
                    segment.track, frame.index, frame.time, centre, frame.time, centre, diagonal
                )
                begun[segment.track] = frame.time, centre
                recent[segment.track] = []
            fragment.num_frames += 1
            fragment.times.add(frame.index)
            fragment.diagonal += (diagonal - fragment.diagonal) / fragment.num_frames
            fragment.last_time, fragment.last_centre = frame.time, centre
            start_time, start = begun[segment.track]
            if 0.0 < frame.time - start_time <= _VELOCITY_SECONDS:
                fragment.first_velocity = _velocity(start_time, start, frame.time, centre)
            trail = recent[segment.track]
            trail.append((frame.time, centre))
            while frame.time - trail[0][0] > _VELOCITY_SECONDS:
                trail.pop(0)
            fragment.last_velocity = _velocity(*trail[0], frame.time, centre)
            if segment.embedding is not None:
                looks = segment.embedding.astype(np.float64) * np.sqrt(segment.area)
                fragment.looks = looks if fragment.looks is None else fragment.looks + looks
            for category, probability in segment.probabilities or ((segment.category, 1.0),):
                fragment.evidence[category] = fragment.evidence.get(category, 0.0) + probability
    return [found[track] for track in sorted(found)]


def _velocity(start: float, place: tuple[float, float], end: float, there: tuple[float, float]) -> tuple[float, float]:
    elapsed = end - start
    return (0.0, 0.0) if elapsed <= 0.0 else ((there[0] - place[0]) / elapsed, (there[1] - place[1]) / elapsed)
