"""Scores of tracked frames against the truth of a world: HOTA, AssA, DetA, IDF1 over things, STQ, label accuracy."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.contingency import Segments, count_frame
from eval.segmentation_tracking_quality import SegmentationTrackingQuality
from eval.tracking_quality import ObjectTracking
from pipelines.tracking_bench.worlds import World
from videoseg.vocabulary import Vocabulary

METRICS = ("hota", "assa", "deta", "idf1", "stq")

DRAWS = 1000
"""Of the bootstrap: the ends of the interval are then stable to about 0.1 points."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackedMap:
    """One frame as scores see it: pixels, tracks, categories."""

    id_map: NDArray[np.uint16]
    tracks: dict[int, int]
    """Id -> track; ids that are not in it are void."""
    categories: dict[int, int]


def score(
    world: World, tracked: Sequence[TrackedMap], vocabulary: Vocabulary, left_out: frozenset[int]
) -> dict[str, float]:
    """The metrics of one video, as fractions.

    Args:
        tracked: one for each frame.
        left_out: true tracks whose pixels count on neither side.
    """
    is_thing = np.array([category.is_thing for category in vocabulary])
    objects, panoptic = ObjectTracking(is_thing), SegmentationTrackingQuality(is_thing)
    for truth, guess in zip(world.frames, tracked, strict=True):
        gt_map = truth.id_map.astype(np.int64)
        gone = np.isin(gt_map, list(left_out)) if left_out else None
        gt_rows = [
            (track, category, 0)
            for track, category in zip(truth.ids.tolist(), truth.categories.tolist(), strict=True)
            if track not in left_out
        ]
        table = np.zeros(int(guess.id_map.max()) + 1, dtype=np.int64)
        category_of: dict[int, int] = {}
        for number, track in guess.tracks.items():
            table[number] = track
            category_of.setdefault(track, guess.categories[number])
        pred_map = table[guess.id_map]
        if gone is not None:
            gt_map, pred_map = np.where(gone, 0, gt_map), np.where(gone, 0, pred_map)
        present = set(np.unique(pred_map).tolist()) - {0}
        pred_rows = [(track, category, 0) for track, category in category_of.items() if track in present]
        counted = count_frame(gt_map, Segments.of(gt_rows), pred_map, Segments.of(pred_rows))
        objects.add(counted)
        panoptic.add(counted)
    objects.end_video()
    panoptic.end_video()
    result = objects.class_agnostic.result()
    return {
        "hota": result["HOTA"]["HOTA"],
        "assa": result["HOTA"]["AssA"],
        "deta": result["HOTA"]["DetA"],
        "idf1": result["Identity"]["IDF1"],
        "stq": panoptic.result().stq,
    }


def mean(rows: Iterable[dict[str, float]]) -> dict[str, float]:
    """Means over videos."""
    rows = list(rows)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def interval(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> tuple[float, float]:
    """95 % of the paired bootstrap over videos of the mean difference `first - second`.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    difference = np.asarray(first) - np.asarray(second)
    drawn = np.random.default_rng(seed).integers(0, len(difference), (DRAWS, len(difference)))
    low, high = np.quantile(difference[drawn].mean(axis=1), [0.025, 0.975])
    return float(low), float(high)
