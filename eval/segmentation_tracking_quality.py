"""STQ, its parts AQ and SQ, and mIoU.

Source: Weber et al., STEP: Segmenting and Tracking Every Pixel (NeurIPS 2021 datasets), section 4, in the conventions
of its evaluator (deeplab2):

- SQ is the mean IoU of categories over all pixels of all videos whose ground truth is not void. A predicted void pixel
  there is a miss, and where there is one, void counts in the mean as one more category of IoU 0;
- AQ is the mean over all ground-truth tubes g of things of (1/|g|) Σ_p |p∩g| · |p∩g| / |p∪g| over all predicted tubes p
  of things. A tube is all pixels of one category and id in a video. Crowd pixels are taken out of both sides; void
  pixels are not taken out of |p|;
- STQ = √(AQ · SQ).
"""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.contingency import FrameTable, Ints

Encoding = Literal["native", "vipseg"]
"""What makes a crowd: `native` the crowd flag; `vipseg` being the first id listed in its video, which VIPSeg's script
numbers 0, deeplab2's number for crowds (the flag itself is not read)."""

Tube = tuple[int, int]
"""Category and id."""


@dataclass(frozen=True, slots=True)
class TrackingQuality:
    """STQ and its parts, as fractions; AQ is 0 where there is no ground-truth tube."""

    stq: float
    aq: float
    sq: float


@dataclass(slots=True, eq=False)
class _VideoCounts:
    gt: dict[Tube, int] = field(default_factory=dict)
    pred: dict[Tube, int] = field(default_factory=dict)
    shared: dict[tuple[Tube, Tube], int] = field(default_factory=dict)

    def association(self) -> tuple[float, int]:
        """Sum over the ground-truth tubes, and how many there are."""
        total = 0.0
        for (gt, pred), pixels in self.shared.items():
            total += pixels / self.gt[gt] * (pixels / (self.gt[gt] + self.pred[pred] - pixels))
        return total, len(self.gt)


class SegmentationTrackingQuality:
    """Counts what STQ needs, frame by frame; memory grows with the number of tubes, not of frames."""

    def __init__(self, is_thing: NDArray[np.bool_], encoding: Encoding = "native") -> None:
        """`is_thing`: bool `[C]`."""
        self._is_thing = is_thing
        self._encoding = encoding
        self._video = _VideoCounts()
        self._first_id: int | None = None
        size = len(is_thing) + 1
        self._confusion: Ints = np.zeros((size, size), dtype=np.int64)
        self.confusion: Ints = np.zeros((size, size), dtype=np.int64)
        """int64 `[C + 1, C + 1]`: pixels by ground-truth (row) and predicted category; the last is void."""
        self.association = 0.0
        self.tubes = 0
        self.per_video: list[TrackingQuality] = []

    def add(self, table: FrameTable) -> None:
        """Takes the next frame of the video."""
        void = len(self._is_thing)
        gt_category = np.append(table.gt.categories, void)[table.pair_gt]
        pred_category = np.append(table.pred.categories, void)[table.pair_pred]
        size = void + 1
        counts = np.bincount(gt_category * size + pred_category, weights=table.pair_pixels, minlength=size * size)
        self._confusion += counts.reshape(size, size).astype(np.int64)
        if self._first_id is None and len(table.gt):
            self._first_id = int(table.gt.ids[0])
        thing = np.append(self._is_thing, False)
        crowd = table.gt.crowd if self._encoding == "native" else table.gt.ids == self._first_id
        in_crowd = np.append(crowd, False)[table.pair_gt] & thing[gt_category]
        gt_thing, pred_thing = thing[gt_category] & ~in_crowd, thing[pred_category] & ~in_crowd
        video = self._video
        for i in np.flatnonzero(gt_thing | pred_thing).tolist():
            pixels = int(table.pair_pixels[i])
            if gt_thing[i]:
                gt = int(gt_category[i]), int(table.gt.ids[table.pair_gt[i]])
                video.gt[gt] = video.gt.get(gt, 0) + pixels
            if pred_thing[i]:
                pred = int(pred_category[i]), int(table.pred.ids[table.pair_pred[i]])
                video.pred[pred] = video.pred.get(pred, 0) + pixels
            if gt_thing[i] and pred_thing[i]:
                video.shared[gt, pred] = video.shared.get((gt, pred), 0) + pixels

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        association, tubes = self._video.association()
        self.per_video.append(_quality(association, tubes, self._confusion))
        self.association += association
        self.tubes += tubes
        self.confusion += self._confusion
        self._confusion = np.zeros_like(self.confusion)
        self._video, self._first_id = _VideoCounts(), None

    def __iadd__(self, other: "SegmentationTrackingQuality") -> "SegmentationTrackingQuality":
        self.association += other.association
        self.tubes += other.tubes
        self.confusion += other.confusion
        self.per_video += other.per_video
        return self

    def result(self) -> TrackingQuality:
        """Over all ended videos."""
        return _quality(self.association, self.tubes, self.confusion)

    def category_iou(self) -> NDArray[np.float64]:
        """float64 `[C]`: IoU of each category over the pixels with ground truth, NaN where neither side has it."""
        return _ious(self.confusion)[:-1]

    def mean_iou(self) -> float:
        """mIoU as commonly defined: the mean of `category_iou`; other than SQ, void is never a category."""
        ious = self.category_iou()
        return float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan")


def _ious(confusion: Ints) -> NDArray[np.float64]:
    labelled = confusion.copy()
    labelled[-1] = 0
    hits = labelled.diagonal()
    union = labelled.sum(axis=0) + labelled.sum(axis=1) - hits
    return np.asarray(np.divide(hits, union, out=np.full(len(union), np.nan), where=union > 0))


def _quality(association: float, tubes: int, confusion: Ints) -> TrackingQuality:
    ious = _ious(confusion)
    sq = float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan")
    aq = association / tubes if tubes else 0.0
    return TrackingQuality(stq=float(np.sqrt(aq * sq)), aq=aq, sq=sq)
