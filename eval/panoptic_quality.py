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

from collections.abc import Sequence
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

    def add(self, events: "Events") -> None:
        """Counts events."""
        size = len(self.tp)
        self.iou += np.bincount(events.matched_category, weights=events.iou, minlength=size)
        self.tp += np.bincount(events.matched_category, minlength=size)
        self.fp += np.bincount(events.false_category, minlength=size)
        self.fn += np.bincount(events.missed_category, minlength=size)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """bool `[C]`: categories that take part in the means."""
        return self.tp + self.fp + self.fn > 0

    def stacked(self) -> NDArray[np.float64]:
        """float64 `[C, 4]`: IoU, TP, FP, FN."""
        return np.stack([self.iou, self.tp, self.fp, self.fn], axis=1).astype(np.float64)

    def packed(self) -> "PackedCounts":
        """The seen categories only."""
        seen = np.flatnonzero(self.seen)
        return PackedCounts(seen, self.stacked()[seen])

    def per_category(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """PQ, SQ and RQ, float64 `[C]` each, 0 where nothing was seen."""
        return quality_parts(self.stacked())

    def mean(self, among: NDArray[np.bool_] | None = None) -> Quality:
        """Means over the seen categories, or over those of them that `among` (bool `[C]`) marks."""
        chosen = self.seen if among is None else self.seen & among
        pq, sq, rq = (float(value) for value in mean_quality(self.stacked(), among))
        return Quality(pq, sq, rq, int(chosen.sum()))


@dataclass(frozen=True, slots=True, eq=False)
class PackedCounts:
    """The counts of a few of many categories."""

    categories: Ints
    """int64 `[S]`."""
    counts: NDArray[np.float64]
    """float64 `[S, 4]`: IoU, TP, FP, FN."""


def quality_parts(counts: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """PQ, SQ and RQ, float64 `[...]` each, from counts `[..., 4]` (IoU, TP, FP, FN); 0 where nothing was seen."""
    iou, tp, fp, fn = np.moveaxis(counts, -1, 0)
    weight = tp + 0.5 * fp + 0.5 * fn
    pq = np.divide(iou, weight, out=np.zeros(iou.shape), where=weight > 0)
    sq = np.divide(iou, tp, out=np.zeros(iou.shape), where=tp > 0)
    rq = np.divide(tp, weight, out=np.zeros(iou.shape), where=weight > 0)
    return pq, sq, rq


def mean_quality(
    counts: NDArray[np.float64], among: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean PQ, SQ and RQ over the seen categories, float64 `[...]` each, from counts `[..., C, 4]`; NaN where none was.

    `among`: bool `[C]`, only these categories.
    """
    chosen = counts[..., 1:].sum(axis=-1) > 0
    if among is not None:
        chosen = chosen & among
    number = chosen.sum(axis=-1)
    pq, sq, rq = (
        np.divide((part * chosen).sum(axis=-1), number, out=np.full(number.shape, np.nan), where=number > 0)
        for part in quality_parts(counts)
    )
    return pq, sq, rq


_BATCH = 32
"""Frames that are counted together: enough to make NumPy's cost per call small, few enough to keep memory small."""


class VideoPanopticQuality:
    """Counts PQ's events over all windows of `window` frames; with a window of 1 it is PQ of images."""

    def __init__(
        self, categories: int, window: int, short_videos: ShortVideos = "skip", *, void_excuses: bool = True
    ) -> None:
        """`void_excuses`: False where pixels without a label are background, which nothing may cover; crowds are then
        regions that any prediction may cover."""
        if window < 1:
            raise ValueError(f"a window has at least 1 frame, got {window}")
        self.window = window
        self.videos: list[PackedCounts] = []
        """Of every ended video, under the convention chosen."""
        self.short_videos = short_videos
        self._void_excuses = void_excuses
        self._whole, self._clipped = QualityCounts.zeros(categories), QualityCounts.zeros(categories)
        self._categories = categories
        self._begin()

    def _begin(self) -> None:
        self._video = QualityCounts.zeros(self._categories)
        self._frames: list[FrameTable] = []
        self._length = 0

    @property
    def counts(self) -> QualityCounts:
        """Over all ended videos, under the convention chosen."""
        return self.counts_of(self.short_videos)

    def counts_of(self, short_videos: ShortVideos) -> QualityCounts:
        """Over all ended videos, under either convention."""
        total = QualityCounts.zeros(self._categories)
        total += self._whole
        if short_videos == "clip":
            total += self._clipped
        return total

    def add(self, table: FrameTable) -> None:
        """Takes the next frame of the video."""
        self._frames.append(table)
        self._length += 1
        if len(self._frames) == self.window - 1 + _BATCH:
            self._video.add(find_events(self._frames, self.window, void_excuses=self._void_excuses))
            del self._frames[: len(self._frames) - self.window + 1]

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        window = min(self.window, self._length)
        if self._length and len(self._frames) >= window:
            self._video.add(find_events(self._frames, window, void_excuses=self._void_excuses))
        if window == self.window:
            self._whole += self._video
        else:
            self._clipped += self._video
        counted = window == self.window or self.short_videos == "clip"
        self.videos.append((self._video if counted else QualityCounts.zeros(self._categories)).packed())
        self._begin()

    def __iadd__(self, other: "VideoPanopticQuality") -> "VideoPanopticQuality":
        self._whole += other._whole
        self._clipped += other._clipped
        self.videos += other.videos
        return self


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """What PQ counts, one by one: the matches, the ground-truth tubes missed, the predicted tubes too many.

    The tubes are those of `find_events`'s frames; int64 arrays unless said otherwise.
    """

    iou: NDArray[np.float64]
    """float64 `[TP]`."""
    matched_category: Ints
    matched_window: Ints
    """Number of the window of every match; windows are in order of their first frame."""
    matched_gt: Ints
    """Id of the ground-truth tube of every match."""
    matched_gt_area: Ints
    matched_pred: Ints
    matched_pred_area: Ints
    missed_category: Ints
    missed_window: Ints
    missed_gt: Ints
    missed_area: Ints
    false_category: Ints
    false_window: Ints
    false_pred: Ints
    false_area: Ints


def find_events(tables: Sequence[FrameTable], window: int, *, void_excuses: bool = True) -> Events:
    """The events of all windows of successive frames; there are `len(tables) - window + 1` of them."""
    gt = _Tubes([(t.gt, t.gt_areas) for t in tables], window)
    pred = _Tubes([(t.pred, t.pred_areas) for t in tables], window)
    # Pairs of tubes by frame; index -1 stays void.
    rows = np.concatenate([gt.to_tubes(t.pair_gt, f) for f, t in enumerate(tables)])
    columns = np.concatenate([pred.to_tubes(t.pair_pred, f) for f, t in enumerate(tables)])
    pixels = np.concatenate([t.pair_pixels for t in tables])
    frames = np.repeat(np.arange(len(tables)), [len(t.pair_pixels) for t in tables])

    void = np.zeros((len(tables), len(pred.ids)), dtype=np.int64)
    if void_excuses:
        in_void = (rows < 0) & (columns >= 0)
        void[frames[in_void], columns[in_void]] = pixels[in_void]
    void = _window_sums(void, window)

    inside = (rows >= 0) & (columns >= 0)
    keys, inverse = np.unique(rows[inside] * max(1, len(pred.ids)) + columns[inside], return_inverse=True)
    by_frame = np.zeros((len(tables), len(keys)), dtype=np.int64)
    by_frame[frames[inside], inverse] = pixels[inside]
    shared_of = _window_sums(by_frame, window)
    w, pair = np.nonzero(shared_of)
    shared = shared_of[w, pair]
    g, p = keys[pair] // max(1, len(pred.ids)), keys[pair] % max(1, len(pred.ids))

    union = gt.areas[w, g] + pred.areas[w, p] - shared - void[w, p]
    match = ~gt.crowd[w, g] & (gt.categories[w, g] == pred.categories[w, p]) & (2 * shared > union)
    missed, false = (gt.areas > 0) & ~gt.crowd, pred.areas > 0
    missed[w[match], g[match]] = False
    false[w[match], p[match]] = False
    excused = void
    if gt.crowd.any():
        same = gt.categories[w, g] == pred.categories[w, p]
        # Beside background a crowd is a region to pass over, whatever is predicted there.
        in_crowd = gt.last_crowds()[w, g] & same if void_excuses else gt.crowd[w, g]
        excused = void.copy()
        np.add.at(excused, (w[in_crowd], p[in_crowd]), shared[in_crowd])
    false &= 2 * excused <= pred.areas

    missed_at, false_at, w, g, p = np.nonzero(missed), np.nonzero(false), w[match], g[match], p[match]
    return Events(
        iou=shared[match] / union[match],
        matched_category=gt.categories[w, g],
        matched_window=w,
        matched_gt=gt.ids[g],
        matched_gt_area=gt.areas[w, g],
        matched_pred=pred.ids[p],
        matched_pred_area=pred.areas[w, p],
        missed_category=gt.categories[missed_at],
        missed_window=missed_at[0],
        missed_gt=gt.ids[missed_at[1]],
        missed_area=gt.areas[missed_at],
        false_category=pred.categories[false_at],
        false_window=false_at[0],
        false_pred=pred.ids[false_at[1]],
        false_area=pred.areas[false_at],
    )


class _Tubes:
    """The tubes of one side in every window of successive frames; `[W, N]` arrays by window and tube."""

    def __init__(self, sides: list[tuple[Segments, Ints]], window: int) -> None:
        frames, sizes = len(sides), [len(segments) for segments, _ in sides]
        self.ids, tubes = np.unique(np.concatenate([s.ids for s, _ in sides]), return_inverse=True)
        self._tubes = np.split(tubes, np.cumsum(sizes)[:-1])
        at = np.repeat(np.arange(frames), sizes), tubes
        shape = frames, len(self.ids)
        areas, categories, crowd = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
        areas[at] = np.concatenate([a for _, a in sides])
        categories[at] = np.concatenate([s.categories for s, _ in sides])
        crowd[at] = np.concatenate([s.crowd for s, _ in sides])
        listed = np.zeros(shape, np.int64)
        listed[at] = np.concatenate([np.arange(n) for n in sizes])
        # From every frame on, the first one in which the tube appears: what it is there, it is in the whole window.
        appears = np.where(areas > 0, np.arange(frames)[:, None], frames - 1)
        first = np.minimum.accumulate(appears[::-1], axis=0)[::-1][: frames - window + 1]
        column = np.arange(len(self.ids))[None, :]
        self.areas = _window_sums(areas, window)
        """int64: pixels, 0 where the tube is not in the window."""
        self.categories = categories[first, column]
        self.crowd = crowd[first, column] & (self.areas > 0)
        self._order = first * (max(sizes, default=0) + 1) + listed[first, column]

    def to_tubes(self, pairs: Ints, frame: int) -> Ints:
        """From indices into the list of a frame to indices of tubes; -1 stays."""
        return np.append(self._tubes[frame], -1)[pairs]

    def last_crowds(self) -> NDArray[np.bool_]:
        """bool: crowds that are the last listed one of their category in their window."""
        w, tube = np.nonzero(self.crowd)
        category, order = self.categories[w, tube], self._order[w, tube]
        latest = np.full((len(self.crowd), int(category.max()) + 1), -1, dtype=np.int64)
        np.maximum.at(latest, (w, category), order)
        last = np.zeros_like(self.crowd)
        last[w, tube] = order == latest[w, category]
        return last


def _window_sums(by_frame: Ints, window: int) -> Ints:
    """int64 `[T - window + 1, N]` from `[T, N]`."""
    total = np.zeros((len(by_frame) + 1, by_frame.shape[1]), dtype=np.int64)
    np.cumsum(by_frame, axis=0, out=total[1:])
    return np.asarray(total[window:] - total[:-window])
