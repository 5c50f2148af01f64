"""Joins the fragments of one object by looks, time and motion: over a whole video (`refine`), or at a seam
(`recognise`).

A fragment is a track as it came out. Every end of a fragment may go on in the start of a later one; which goes on in
which is one assignment, so that a fragment is given up where two others gain more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.assignment import Solver, assign
from tracking.fragments import Fragment
from tracking.gallery import on_grid
from tracking.settings import TrackerSettings
from videoseg.errors import InputError


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


AT_A_SEAM = RefinementSettings(max_gap=TrackerSettings().memory_seconds)
"""A tracker that went on over the seam would remember for as long. Films in chunks of 600 frames keep the STQ of one
piece with this (19.18 against 19.10; 18.06 without), whatever `accept` is from 0.35 to 0.7: strangers fail by their
looks alone."""


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
    usable = sorted(_usable(fragments, settings), key=lambda f: (f.first_time, f.track))
    if len(usable) < 2:
        return {}
    together = np.array([[bool(a.times & b.times) for b in usable] for a in usable])
    cosine = _cosines(usable, usable)
    score = _scores(usable, usable, cosine, _strangers(cosine[together & ~np.eye(len(usable), dtype=bool)]), settings)
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


def recognise(
    known: Sequence[Fragment],
    arrived: Sequence[Fragment],
    joined: Mapping[int, int],
    settings: RefinementSettings = AT_A_SEAM,
    *,
    solver: Solver = "lap",
) -> dict[int, int]:
    """Which things of a chunk, that its seam has not joined, were seen before the seam; a pure function.

    Whoever begins cold cannot know again what was out of sight in the overlap. This does it afterwards, by the looks
    of whole fragments.

    Args:
        known: tracks of the chunks so far.
        arrived: tracks of the next chunk.
        joined: track of `arrived` -> track of `known`, as of `stitch`.

    Returns:
        Further pairs; no track of `known` is in two, nor in one of `joined`.
    """
    taken = set(joined.values())
    absent = [f for f in _usable(known, settings) if f.track not in taken]
    new = [f for f in _usable(arrived, settings) if f.track not in joined]
    if not absent or not new:
        return {}
    strangers = _strangers(np.concatenate([_apart(_usable(side, settings)) for side in (known, arrived)]))
    score = _scores(absent, new, _cosines(absent, new), strangers, settings)
    pairs = assign(1.0 - score, limit=1.0 - settings.accept, solver=solver)
    return {new[j].track: absent[i].track for i, j in pairs}


def _usable(fragments: Sequence[Fragment], settings: RefinementSettings) -> list[Fragment]:
    return [f for f in fragments if f.looks is not None and f.num_frames >= settings.least_frames]


def _cosines(first: Sequence[Fragment], second: Sequence[Fragment]) -> NDArray[np.float64]:
    def directions(fragments: Sequence[Fragment]) -> NDArray[np.float32]:
        looks = [f.looks / max(float(np.linalg.norm(f.looks)), 1e-12) for f in fragments if f.looks is not None]
        return on_grid(np.array(looks).astype(np.float32))

    return (directions(first).astype(np.float64)) @ directions(second).astype(np.float64).T


def _apart(fragments: Sequence[Fragment]) -> NDArray[np.float64]:
    """Cosines of fragments that lived at the same time and so are different objects."""
    if len(fragments) < 2:
        return np.zeros(0)
    first = np.array([f.first_time for f in fragments])
    last = np.array([f.last_time for f in fragments])
    at_once = (first[:, None] <= last[None, :]) & (first[None, :] <= last[:, None])
    return _cosines(fragments, fragments)[np.triu(at_once, 1)]


def _strangers(cosines: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and spread of the cosine of different objects."""
    mean = float(np.clip(cosines.mean(), 0.0, 0.9)) if len(cosines) else 0.0
    return mean, float(cosines.std()) if len(cosines) > 1 else 0.0


def _scores(
    earlier: Sequence[Fragment],
    later: Sequence[Fragment],
    cosine: NDArray[np.float64],
    strangers: tuple[float, float],
    settings: RefinementSettings,
) -> NDArray[np.float64]:
    """Likeness `[earlier, later]` in [0, 1]; 0 where the one cannot go on in the other."""
    zero, spread = strangers
    likeness = np.clip((cosine - zero) / (1.0 - zero), 0.0, 1.0)
    score = np.zeros_like(likeness)
    for i, first in enumerate(earlier):
        for j, second in enumerate(later):
            gap = second.first_time - first.last_time
            if gap <= 0.0 or gap > settings.max_gap or cosine[i, j] < zero + 2.0 * spread:
                continue
            weight = settings.motion_weight * float(np.exp(-gap / settings.motion_seconds))
            total = settings.looks_weight * likeness[i, j] + settings.class_weight * _classes(first, second)
            total += weight * _motion(first, second, gap)
            score[i, j] = total / (settings.looks_weight + settings.class_weight + weight)
    return score


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
