"""PQ of images and VPQ of videos.

Source: Kirillov et al., Panoptic Segmentation (CVPR 2019), section 4; Kim et al., Video Panoptic Segmentation (CVPR
2020), section 3.2. In a window of k frames the pixels of one id form a tube; PQ's rules are applied to tubes:

- a predicted and a ground-truth tube of one category match where IoU > 1/2, void pixels taken out of the union;
- category and crowd flag of a tube are those of its first appearance in the window;
- an unmatched ground-truth tube is a miss (FN) unless it is a crowd;
- an unmatched predicted tube is a false alarm (FP) unless more than half of it is void or crowd of its category (of
  several crowds of one category the last listed, as the reference evaluators have it);
- PQ = sum of the matches' IoU / (TP + FP/2 + FN/2) per category, SQ = that sum / TP, RQ = PQ / SQ; counts are summed
  over all windows of all videos, and the means are over categories with TP + FP + FN > 0.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.contingency import FrameTable, Ints, Segments

ShortVideos = Literal["skip", "clip"]
"""Videos of fewer frames than the window: `skip` as VPSNet's and VIPSeg's scripts do, or `clip` the window to them."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over a set of categories, as fractions; NaN where none of them was seen."""

    pq: float
    sq: float
    rq: float
    categories: int
    """How many categories the means are over."""


@dataclass(slots=True, eq=False)
class QualityCounts:
    """Per category: what PQ is made of. Counts of parts add up to those of the whole."""

    iou: NDArray[np.float64]
    """float64 `[C]`: sum of the IoU of the matches."""
    tp: Ints
    fp: Ints
    fn: Ints

    @classmethod
    def zeros(cls, categories: int) -> "QualityCounts":
        return cls(np.zeros(categories), *(np.zeros(categories, dtype=np.int64) for _ in range(3)))

    def __iadd__(self, other: "QualityCounts") -> "QualityCounts":
        self.iou += other.iou
        self.tp += other.tp
        self.fp += other.fp
        self.fn += other.fn
        return self

    @property
    def seen(self) -> NDArray[np.bool_]:
        """bool `[C]`: categories that take part in the means."""
        return self.tp + self.fp + self.fn > 0

    def per_category(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """PQ, SQ and RQ, float64 `[C]` each, 0 where nothing was seen."""
        weight = self.tp + 0.5 * self.fp + 0.5 * self.fn
        pq = np.divide(self.iou, weight, out=np.zeros_like(self.iou), where=weight > 0)
        sq = np.divide(self.iou, self.tp, out=np.zeros_like(self.iou), where=self.tp > 0)
        rq = np.divide(self.tp, weight, out=np.zeros_like(self.iou), where=weight > 0)
        return pq, sq, rq

    def mean(self, among: NDArray[np.bool_] | None = None) -> Quality:
        """Means over the seen categories, or over those of them that `among` (bool `[C]`) marks."""
        chosen = self.seen if among is None else self.seen & among
        count = int(chosen.sum())
        if not count:
            return Quality(float("nan"), float("nan"), float("nan"), 0)
        pq, sq, rq = (float(values[chosen].mean()) for values in self.per_category())
        return Quality(pq, sq, rq, count)


class VideoPanopticQuality:
    """Counts PQ's events over all windows of `window` frames; with a window of 1 it is PQ of images."""

    def __init__(self, categories: int, window: int, short_videos: ShortVideos = "skip") -> None:
        if window < 1:
            raise ValueError(f"a window has at least 1 frame, got {window}")
        self.counts = QualityCounts.zeros(categories)
        self.window = window
        self._short_videos = short_videos
        self._frames: deque[FrameTable] = deque(maxlen=window)
        self._length = 0

    def add(self, table: FrameTable) -> None:
        """Takes the next frame of the video."""
        self._frames.append(table)
        self._length += 1
        if len(self._frames) == self.window:
            count_window(self._frames, self.counts)

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        if 0 < self._length < self.window and self._short_videos == "clip":
            count_window(self._frames, self.counts)
        self._frames.clear()
        self._length = 0


def count_window(tables: Iterable[FrameTable], counts: QualityCounts) -> None:
    """Adds the events of one window to `counts`."""
    tables = list(tables)
    gt_ids, gt_categories, crowd, gt_areas, gt_order = _tubes([(t.gt, t.gt_areas) for t in tables])
    pred_ids, pred_categories, _, pred_areas, _ = _tubes([(t.pred, t.pred_areas) for t in tables])
    # Pairs in terms of tubes; -1 stays void.
    rows = np.concatenate([_to_tubes(t.pair_gt, t.gt, gt_ids) for t in tables])
    columns = np.concatenate([_to_tubes(t.pair_pred, t.pred, pred_ids) for t in tables])
    width = len(pred_ids) + 1
    keys, inverse = np.unique((rows + 1) * width + columns + 1, return_inverse=True)
    pixels = np.bincount(inverse, weights=np.concatenate([t.pair_pixels for t in tables])).astype(np.int64)
    rows, columns = keys // width - 1, keys % width - 1
    predicted = columns >= 0
    void = np.zeros(len(pred_ids), dtype=np.int64)
    in_void = predicted & (rows < 0)
    void[columns[in_void]] = pixels[in_void]

    possible = np.flatnonzero(predicted & (rows >= 0))
    g, p, shared = rows[possible], columns[possible], pixels[possible]
    union = gt_areas[g] + pred_areas[p] - shared - void[p]
    match = ~crowd[g] & (gt_categories[g] == pred_categories[p]) & (2 * shared > union)
    size = len(counts.tp)
    matched_gt, matched_pred = np.zeros(len(gt_ids), dtype=bool), np.zeros(len(pred_ids), dtype=bool)
    matched_gt[g[match]] = True
    matched_pred[p[match]] = True
    counts.iou += np.bincount(gt_categories[g[match]], weights=shared[match] / union[match], minlength=size)
    counts.tp += np.bincount(gt_categories[g[match]], minlength=size)
    counts.fn += np.bincount(gt_categories[~matched_gt & ~crowd], minlength=size)

    excused = void
    if crowd.any():
        last_crowd = {int(gt_categories[i]): int(i) for i in gt_order if crowd[i]}
        of_category = np.array([last_crowd.get(int(category), -2) for category in pred_categories], dtype=np.int64)
        in_crowd = of_category[p] == g
        excused = void.copy()
        excused[p[in_crowd]] += shared[in_crowd]
    counts.fp += np.bincount(pred_categories[~matched_pred & (2 * excused <= pred_areas)], minlength=size)


def _tubes(sides: list[tuple[Segments, Ints]]) -> tuple[Ints, Ints, NDArray[np.bool_], Ints, Ints]:
    """Ids in ascending order with category, crowd flag and area of their tubes, and the order of first appearance."""
    ids = np.concatenate([segments.ids for segments, _ in sides])
    distinct, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    areas = np.bincount(inverse, weights=np.concatenate([areas for _, areas in sides]), minlength=len(distinct))
    categories = np.concatenate([segments.categories for segments, _ in sides])[first]
    crowd = np.concatenate([segments.crowd for segments, _ in sides])[first]
    return distinct, categories, crowd, areas.astype(np.int64), np.argsort(first)


def _to_tubes(pairs: Ints, segments: Segments, tube_ids: Ints) -> Ints:
    if not len(segments):
        return pairs
    return np.where(pairs < 0, -1, np.searchsorted(tube_ids, segments.ids)[pairs])
