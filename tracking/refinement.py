"""Offline: joins the fragments of one object over a whole video, by looks, time and motion, all at once.

A fragment is a track as it came out. Every end of a fragment may go on in the start of a later one; which goes on in
which is one assignment over the whole video, so that a fragment is given up where two others gain more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tracking.assignment import Solver, assign
from tracking.gallery import on_grid
from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinementSettings:
    """What it takes to join two fragments."""

    accept: float = 0.45
    """Least likeness of two fragments, in [0, 1]. Whole fragments are compared, whose mean embeddings have less noise
    than single sightings, so this can be surer than what happens online."""
    looks_weight: float = 0.6
    """Weight of looks; after a gap they say most."""
    class_weight: float = 0.2
    motion_weight: float = 0.2
    """Weight of place and motion, where the gap is short enough for them to say anything."""
    motion_seconds: float = 2.0
    """Gap after which the place no longer counts: exp(-gap / motion_seconds) of its weight is left."""
    max_gap: float = float("inf")
    """Seconds; longer gaps are not joined."""
    least_frames: int = 3
    """Fragments of fewer frames are left alone: their looks are mostly noise."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.accept <= 1.0:
            raise InputError(f"The refinement setting accept must be in [0, 1], got {self.accept}.")
        if min(self.looks_weight, self.class_weight, self.motion_weight) < 0.0 or self.looks_weight <= 0.0:
            raise InputError("The weights of refinement must not be negative, and looks_weight must be positive.")
        if self.motion_seconds <= 0.0:
            raise InputError(f"The refinement setting motion_seconds must be positive, got {self.motion_seconds}.")


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


_VELOCITY_SECONDS = 0.5
"""Span over which the velocity at an end is measured."""


def fragments_of(frames: Iterable[PanopticFrame]) -> list[Fragment]:
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


def refine(
    fragments: Sequence[Fragment], settings: RefinementSettings | None = None, *, solver: Solver = "lap"
) -> dict[int, int]:
    """Which track every fragment belongs to; a pure function.

    Fragments without embeddings are left alone. Those that are in one frame together are never joined, also not
    through a third.

    Returns:
        Track -> the first track of its object, for tracks that are joined to an earlier one.
    """
    settings = settings or RefinementSettings()
    usable = [f for f in fragments if f.looks is not None and f.num_frames >= settings.least_frames]
    usable = sorted(usable, key=lambda f: (f.first_time, f.track))
    if len(usable) < 2:
        return {}
    looks = np.array([f.looks / max(float(np.linalg.norm(f.looks)), 1e-12) for f in usable if f.looks is not None])
    looks = on_grid(looks.astype(np.float32)).astype(np.float64)
    cosine = looks @ looks.T
    together = np.array([[bool(a.times & b.times) for b in usable] for a in usable])
    strangers = cosine[together & ~np.eye(len(usable), dtype=bool)]
    zero = float(np.clip(strangers.mean(), 0.0, 0.9)) if len(strangers) else 0.0
    spread = float(strangers.std()) if len(strangers) > 1 else 0.0
    likeness = np.clip((cosine - zero) / (1.0 - zero), 0.0, 1.0)
    score = np.zeros_like(likeness)
    for i, earlier in enumerate(usable):
        for j, later in enumerate(usable):
            gap = later.first_time - earlier.last_time
            if gap <= 0.0 or gap > settings.max_gap or cosine[i, j] < zero + 2.0 * spread:
                continue
            weight = settings.motion_weight * float(np.exp(-gap / settings.motion_seconds))
            total = settings.looks_weight * likeness[i, j] + settings.class_weight * _classes(earlier, later)
            total += weight * _motion(earlier, later, gap)
            score[i, j] = total / (settings.looks_weight + settings.class_weight + weight)
    pairs = assign(1.0 - score, limit=1.0 - settings.accept, solver=solver)
    pairs.sort(key=lambda pair: -score[pair])
    group = list(range(len(usable)))
    members = {i: {i} for i in group}
    for i, j in pairs:
        first, second = members[group[i]], members[group[j]]
        if group[i] == group[j] or any(together[a, b] for a in first for b in second):
            continue
        joined = first | second
        root = min(joined)
        for k in joined:
            group[k] = root
        members[root] = joined
    names = {}
    for i, fragment in enumerate(usable):
        head = min((usable[k].first_time, usable[k].track) for k in members[group[i]])[1]
        if head != fragment.track:
            names[fragment.track] = head
    return dict(sorted(names.items()))


def _classes(first: Fragment, second: Fragment) -> float:
    """Bhattacharyya coefficient."""
    scale = sum(first.evidence.values()) * sum(second.evidence.values())
    common = sum((v * second.evidence.get(c, 0.0)) ** 0.5 for c, v in sorted(first.evidence.items()))
    return float(common / scale**0.5) if scale > 0.0 else 0.0


def _motion(earlier: Fragment, later: Fragment, gap: float) -> float:
    """1 where both ends point at each other, towards 0 as they miss by more than their size."""
    half = gap / 2.0
    x = (
        earlier.last_centre[0]
        + earlier.last_velocity[0] * half
        - later.first_centre[0]
        + later.first_velocity[0] * half
    )
    y = (
        earlier.last_centre[1]
        + earlier.last_velocity[1] * half
        - later.first_centre[1]
        + later.first_velocity[1] * half
    )
    size = max(earlier.diagonal, later.diagonal, 1.0)
    return float(np.exp(-((x * x + y * y) ** 0.5) / size))
