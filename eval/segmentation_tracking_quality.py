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

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.contingency import FrameTable, Ints

Floats = NDArray[np.float64]

Encoding = Literal["native", "vipseg"]
"""What makes a crowd: `native` the crowd flag; `vipseg` being the first id listed in its video, which VIPSeg's script
numbers 0, deeplab2's number for crowds (the flag itself is not read)."""

LENGTHS = {"short": 8, "medium": 32}
"""Ground-truth tracks of up to so many frames; longer ones are `long`. A third of a second and more than a second at
the frame rates of the data sets."""

_PENDING = 4096
"""Pairs that wait at most before they are summed up, or as many as the sums: then each is touched a few times only."""


@dataclass(frozen=True, slots=True)
class TrackingQuality:
    """STQ and its parts, as fractions; AQ is 0 where there is no ground-truth tube."""

    stq: float
    aq: float
    sq: float


@dataclass(frozen=True, slots=True, eq=False)
class VideoSums:
    """What one video adds to STQ; those of videos add up."""

    association: Floats
    """float64 `[2, 1 + L]`: sum over the ground-truth tubes and how many there are; all, then by `LENGTHS`."""
    overlap: Ints
    """int64 `[3, C + 1]`: pixels by category (the last is void) with ground truth: right, true, predicted."""


class _TubePairs:
    """Pixels by pair of tubes, summed up as frames come: memory grows with the tubes, not with the frames."""

    def __init__(self) -> None:
        self._gt: list[Ints] = [np.zeros(0, np.int64)]
        self._pred: list[Ints] = [np.zeros(0, np.int64)]
        self._pixels: list[Ints] = [np.zeros(0, np.int64)]
        self._pending = 0

    def add(self, gt: Ints, pred: Ints, pixels: Ints) -> None:
        """Tubes as numbers, -1 for none; a pair of which both are -1 is passed over."""
        kept = (gt >= 0) | (pred >= 0)
        self._gt.append(gt[kept])
        self._pred.append(pred[kept])
        self._pixels.append(pixels[kept])
        self._pending += len(self._gt[-1])
        if self._pending > max(_PENDING, len(self._gt[0])):
            self.sums()

    def sums(self) -> tuple[Ints, Ints, Ints]:
        """Ground-truth tube, predicted tube and their pixels, every pair once."""
        gt, pred = np.concatenate(self._gt), np.concatenate(self._pred)
        gts, gt_at = np.unique(gt, return_inverse=True)
        preds, pred_at = np.unique(pred, return_inverse=True)
        keys, inverse = np.unique(gt_at * max(1, len(preds)) + pred_at, return_inverse=True)
        pixels = np.bincount(inverse, weights=np.concatenate(self._pixels), minlength=len(keys)).astype(np.int64)
        gt, pred = gts[keys // max(1, len(preds))], preds[keys % max(1, len(preds))]
        self._gt, self._pred, self._pixels, self._pending = [gt], [pred], [pixels], 0
        return gt, pred, pixels


class SegmentationTrackingQuality:
    """Counts what STQ needs, frame by frame; memory grows with the number of tubes, not of frames."""

    def __init__(
        self, is_thing: NDArray[np.bool_], encoding: Encoding = "native", *, only_categories: bool = False
    ) -> None:
        """`is_thing`: bool `[C]`; `only_categories`: leaves tubes alone, where only mIoU is asked."""
        self._only_categories = only_categories
        self._is_thing = is_thing
        self._encoding = encoding
        self._begin()
        size = len(is_thing) + 1
        self.confusion: Ints = np.zeros((size, size), dtype=np.int64)
        """int64 `[C + 1, C + 1]`: pixels by ground-truth (row) and predicted category; the last is void."""
        self.association: Floats = np.zeros((2, 2 + len(LENGTHS)))
        """As in `VideoSums`."""
        self.videos: list[VideoSums] = []

    def _begin(self) -> None:
        self._pairs, self._overlaps = _TubePairs(), _TubePairs()
        self._frames_of_tube: dict[int, int] = {}
        self._first_id: int | None = None

    def add(self, table: FrameTable) -> None:
        """Takes the next frame of the video."""
        void = len(self._is_thing)
        gt_category = np.append(table.gt.categories, void)[table.pair_gt]
        pred_category = np.append(table.pred.categories, void)[table.pair_pred]
        self._overlaps.add(gt_category, pred_category, table.pair_pixels)
        if self._only_categories:
            return
        if self._first_id is None and len(table.gt):
            self._first_id = int(table.gt.ids[0])
        thing = np.append(self._is_thing, False)
        crowd = table.gt.crowd if self._encoding == "native" else table.gt.ids == self._first_id
        gt_tube = np.where(thing[table.gt.categories] & ~crowd, table.gt.ids * void + table.gt.categories, -1)
        pred_tube = np.where(thing[table.pred.categories], table.pred.ids * void + table.pred.categories, -1)
        in_crowd = np.append(crowd & thing[table.gt.categories], False)[table.pair_gt]
        self._pairs.add(
            np.append(gt_tube, -1)[table.pair_gt],
            np.where(in_crowd, -1, np.append(pred_tube, -1)[table.pair_pred]),
            table.pair_pixels,
        )
        for tube in gt_tube[gt_tube >= 0].tolist():
            self._frames_of_tube[tube] = self._frames_of_tube.get(tube, 0) + 1

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        confusion = np.zeros_like(self.confusion)
        gt, pred, pixels = self._overlaps.sums()
        confusion[gt, pred] = pixels
        association = self._association()
        self.videos.append(VideoSums(association, overlap(confusion)))
        self.association += association
        self.confusion += confusion
        self._begin()

    def _association(self) -> Floats:
        gt, pred, pixels = self._pairs.sums()
        gts, g = np.unique(gt, return_inverse=True)
        preds, p = np.unique(pred, return_inverse=True)
        gt_pixels = np.bincount(g, weights=pixels, minlength=len(gts))
        pred_pixels = np.bincount(p, weights=pixels, minlength=len(preds))
        both = (gt >= 0) & (pred >= 0)
        g, p, shared = g[both], p[both], pixels[both]
        quality = shared / gt_pixels[g] * (shared / (gt_pixels[g] + pred_pixels[p] - shared))
        of_tube = np.bincount(g, weights=quality, minlength=len(gts))[gts >= 0]
        lengths = np.array([self._frames_of_tube[tube] for tube in gts[gts >= 0].tolist()], dtype=np.int64)
        kind = np.searchsorted(list(LENGTHS.values()), lengths)
        sums = np.zeros_like(self.association)
        sums[:, 0] = of_tube.sum(), len(of_tube)
        sums[0, 1:] = np.bincount(kind, weights=of_tube, minlength=1 + len(LENGTHS))
        sums[1, 1:] = np.bincount(kind, minlength=1 + len(LENGTHS))
        return sums

    def __iadd__(self, other: "SegmentationTrackingQuality") -> "SegmentationTrackingQuality":
        self.association += other.association
        self.confusion += other.confusion
        self.videos += other.videos
        return self

    @property
    def per_video(self) -> list[TrackingQuality]:
        """Of every ended video."""
        return [_quality(video.association, video.overlap) for video in self.videos]

    def result(self) -> TrackingQuality:
        """Over all ended videos."""
        return _quality(self.association, overlap(self.confusion))

    def association_by_length(self) -> dict[str, float]:
        """AQ of ground-truth tracks by their length; NaN where there is none."""
        sums, numbers = self.association[:, 1:]
        values = np.divide(sums, numbers, out=np.full(len(sums), np.nan), where=numbers > 0)
        return dict(zip([*LENGTHS, "long"], values.tolist(), strict=True))

    def category_iou(self) -> Floats:
        """float64 `[C]`: IoU of each category over the pixels with ground truth, NaN where neither side has it."""
        return intersection_over_union(overlap(self.confusion))[:-1]

    def mean_iou(self, among: NDArray[np.bool_] | None = None) -> float:
        """mIoU as commonly defined: the mean of `category_iou`; other than SQ, void is never a category.

        `among`: bool `[C]`, only these categories.
        """
        ious = self.category_iou() if among is None else self.category_iou()[among]
        return float(np.nanmean(ious)) if np.isfinite(ious).any() else float("nan")


def overlap(confusion: Ints) -> Ints:
    """int64 `[3, C + 1]`: right, true and predicted pixels by category, over the pixels with ground truth."""
    labelled = confusion.copy()
    labelled[-1] = 0
    return np.stack([labelled.diagonal(), labelled.sum(axis=1), labelled.sum(axis=0)])


def intersection_over_union(overlaps: NDArray[np.number]) -> Floats:
    """float64 `[..., C]` from `[..., 3, C]`: right / (true + predicted - right), NaN where neither side has any."""
    right, true, predicted = overlaps[..., 0, :], overlaps[..., 1, :], overlaps[..., 2, :]
    union = true + predicted - right
    return np.asarray(np.divide(right, union, out=np.full(union.shape, np.nan), where=union > 0))


def stq_parts(association: Floats, overlaps: NDArray[np.number]) -> tuple[Floats, Floats, Floats]:
    """STQ, AQ and SQ, float64 `[...]` each, from sums `[..., 2]` (see `VideoSums`) and `[..., 3, C + 1]`."""
    ious = intersection_over_union(overlaps)
    seen = np.isfinite(ious)
    number = seen.sum(axis=-1)
    total = np.where(seen, ious, 0.0).sum(axis=-1)
    sq = np.divide(total, number, out=np.full(number.shape, np.nan), where=number > 0)
    tubes = association[..., 1]
    aq = np.divide(association[..., 0], tubes, out=np.zeros(tubes.shape), where=tubes > 0)
    return np.sqrt(aq * sq), aq, sq


def _quality(association: Floats, overlaps: Ints) -> TrackingQuality:
    stq, aq, sq = stq_parts(association[:, 0], overlaps)
    return TrackingQuality(stq=float(stq), aq=float(aq), sq=float(sq))
