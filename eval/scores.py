"""`Sums` and `scores`: from counts to values, for one set of videos or for a thousand resampled ones at once.

Everything counted in a video adds up over videos, so any weighting of the videos (all, one, a group, a bootstrap
sample) is a weighted sum, and its values follow from the sum by the formulas of the metrics' modules.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from eval.flicker import flicker_rates
from eval.panoptic_quality import PackedCounts, mean_quality
from eval.segmentation_tracking_quality import LENGTHS, VideoSums, intersection_over_union, stq_parts
from eval.tracking_quality import TrackCounts, clear_parts, hota_parts, identity_parts
from eval.video_consistency import mean_consistency

Floats = NDArray[np.float64]

MEANS = ((1, 2, 3, 4), (1, 2, 4, 6), (1, 2, 4, 6, 8))
"""Windows over which VPQ is averaged: Cityscapes-VPS, papers on VIPSeg, VIPSeg's script."""


@dataclass(slots=True, eq=False)
class Sums:
    """Counts of `R` sets of videos; empty where a metric was not asked for."""

    quality: dict[int, Floats] = field(default_factory=dict)
    """Window -> float64 `[R, C, 4]`: IoU, TP, FP, FN."""
    association: dict[str, Floats] = field(default_factory=dict)
    """Encoding -> float64 `[R, 2, 1 + L]`; see `VideoSums`."""
    overlap: Floats | None = None
    """float64 `[R, 3, C + 1]`; see `VideoSums`."""
    hota: Floats | None = None
    """float64 `[R, 5, 19]`."""
    clear: Floats | None = None
    """float64 `[R, 9]`."""
    identity: Floats | None = None
    """float64 `[R, 3]`."""
    consistency: dict[int, Floats] = field(default_factory=dict)
    """Window -> float64 `[R, 2]`."""
    flicker: Floats | None = None
    """float64 `[R, 7]`."""


def weighted(weights: Floats, parts: Sequence[Floats] | Floats) -> Floats:
    """float64 `[R, ...]`: the sums of V arrays `[...]` under R rows of weights `[R, V]`."""
    stack = np.asarray(parts, dtype=np.float64)
    return np.asarray((weights @ stack.reshape(len(stack), -1)).reshape(len(weights), *stack.shape[1:]))


def weighted_quality(weights: Floats, parts: Sequence[PackedCounts], categories: int) -> Floats:
    """float64 `[R, C, 4]`: the same for packed counts."""
    total = np.zeros((len(weights), categories, 4))
    for column, part in zip(weights.T, parts, strict=True):
        used = np.flatnonzero(column)
        total[np.ix_(used, part.categories)] += column[used, None, None] * part.counts
    return total


def weighted_association(weights: Floats, parts: Iterable[VideoSums]) -> Floats:
    """float64 `[R, 2, 1 + L]`."""
    return weighted(weights, [part.association for part in parts])


def weighted_tracks(weights: Floats, parts: Sequence[TrackCounts]) -> tuple[Floats, Floats, Floats]:
    """HOTA's, CLEAR's and Identity's counts: float64 `[R, 5, 19]`, `[R, 9]`, `[R, 3]`."""
    return (
        weighted(weights, [part.hota.stacked() for part in parts]),
        weighted(weights, [part.clear.stacked() for part in parts]),
        weighted(weights, [np.array([p.identity.tp, p.identity.fn, p.identity.fp], float) for p in parts]),
    )


def scores(sums: Sums, is_thing: NDArray[np.bool_], wanted: Iterable[str]) -> dict[str, Floats]:
    """Plain name -> values, float64 `[R]`; see `names`.

    Args:
        sums: of R sets of videos.
        is_thing: bool `[C]`.
        wanted: the metrics; see `names.METRICS`.
    """
    wanted = frozenset(wanted)
    values: dict[str, Floats] = {}
    for suffix, among in (("", None), (".things", is_thing), (".stuff", ~is_thing)):
        values |= quality_scores(sums.quality, among, suffix, wanted)
    for encoding, suffix in (("native", ""), ("vipseg", "_vipseg")):
        if "stq" in wanted and encoding in sums.association and sums.overlap is not None:
            association = sums.association[encoding]
            stq, aq, sq = stq_parts(association[..., 0], sums.overlap)
            values |= {f"stq{suffix}": stq, f"aq{suffix}": aq, f"stq_sq{suffix}": sq}
            if encoding == "native":
                for i, name in enumerate([*LENGTHS, "long"], start=1):
                    values[f"aq.length.{name}"] = _share(association[..., 0, i], association[..., 1, i])
    if "miou" in wanted and sums.overlap is not None:
        values["miou"] = mean_iou(sums.overlap)
    if "mvc" in wanted:
        values |= {f"mvc.{window}": mean_consistency(sum_) for window, sum_ in sums.consistency.items()}
    if "hota" in wanted and sums.hota is not None:
        values |= hota_parts(sums.hota)
    if "identity" in wanted and sums.identity is not None:
        values |= identity_parts(sums.identity)
    if "clear" in wanted and sums.clear is not None:
        values |= clear_parts(sums.clear)
    if "flicker" in wanted and sums.flicker is not None:
        values |= {f"flicker.{name}": rate for name, rate in flicker_rates(sums.flicker).items()}
    return values


def quality_scores(
    quality: Mapping[int, Floats], among: NDArray[np.bool_] | None, suffix: str, wanted: frozenset[str]
) -> dict[str, Floats]:
    """PQ, SQ, RQ, VPQ of every window and its means over a group of categories."""
    values: dict[str, Floats] = {}
    by_window = {window: mean_quality(counts, among) for window, counts in quality.items()}
    if "pq" in wanted and 1 in by_window:
        values |= {f"{name}{suffix}": part for name, part in zip(("pq", "sq", "rq"), by_window[1], strict=True)}
    if "vpq" in wanted:
        values |= {f"vpq.{window}{suffix}": parts[0] for window, parts in sorted(by_window.items())}
        for windows in MEANS:
            if all(window in by_window for window in windows):
                name = "vpq.mean_" + "".join(map(str, windows)) + suffix
                values[name] = sum((by_window[w][0] for w in windows), np.zeros(1)) / len(windows)
    return values


def mean_iou(overlaps: Floats, among: NDArray[np.bool_] | None = None) -> Floats:
    """mIoU, float64 `[R]`, from `[R, 3, C + 1]`: over the categories, never void; NaN where none was seen."""
    ious = intersection_over_union(overlaps)[..., :-1]
    seen = np.isfinite(ious) if among is None else np.isfinite(ious) & among
    return _share(np.where(seen, ious, 0.0).sum(axis=-1), seen.sum(axis=-1))


def _share(part: Floats, whole: NDArray[np.number]) -> Floats:
    return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0))
