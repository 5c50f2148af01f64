"""`FrameTable`: which ground-truth and predicted segments share how many pixels of one frame.

This is the one pass over the pixels. Maps are read in runs: neighbours in a row that carry one pair of ids are counted
at once, because a map has some thousand runs and some hundred thousand pixels. Every metric follows from the tables,
and the two that compare pixels of successive frames (consistency, flicker) from the runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

VOID = 0
"""The id of pixels without a label."""

_TABLE_LIMIT = 1 << 20
"""Ids of three colour channels reach 2²⁴: too large a look-up table for few numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """The segments of one side of one frame, in the order in which they were listed."""

    ids: Ints
    """int64 `[N]`: positive, distinct; the same number in another frame of the video is the same segment."""
    categories: Ints
    """int64 `[N]`: from 0."""
    crowd: NDArray[np.bool_]
    """bool `[N]`: instances not told apart; such a segment is neither to be found nor a mistake to cover."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Segments":
        """From (id, category, iscrowd) rows; the flag may be left out."""
        if not len(rows):
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, bool))
        table = np.asarray(rows, dtype=np.int64)
        if table.ndim != 2 or table.shape[1] not in (2, 3):
            raise ValueError(f"segments are rows of (id, category, iscrowd), got an array of shape {table.shape}")
        crowd = table[:, 2] != 0 if table.shape[1] == 3 else np.zeros(len(table), dtype=bool)
        return cls(ids=table[:, 0], categories=table[:, 1], crowd=crowd)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True, eq=False)
class FrameTable:
    """The counts of one frame."""

    gt: Segments
    gt_areas: Ints
    """int64 `[G]`: pixels of every ground-truth segment."""
    pred: Segments
    pred_areas: Ints
    """int64 `[P]`: pixels of every predicted segment."""
    pair_gt: Ints
    """int64 `[N]`: index into `gt` of each co-occurring pair, -1 for void."""
    pair_pred: Ints
    """int64 `[N]`: index into `pred`, -1 for void."""
    pair_pixels: Ints
    """int64 `[N]`: pixels that the pair shares, at least 1."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """One frame of both sides as runs of pixels in reading order, each with one ground-truth and one predicted id."""

    shape: tuple[int, int]
    gt: NDArray[np.integer]
    """integer `[R]`: id of every run."""
    pred: NDArray[np.integer]
    lengths: NDArray[np.intp]
    """intp `[R]`: pixels of every run, at least 1; they sum to height times width."""

    @classmethod
    def of(cls, gt_map: NDArray[np.integer], pred_map: NDArray[np.integer]) -> "Runs":
        """From two integer `[H, W]` maps; ValueError where they differ in shape or are no maps of ids."""
        for id_map, where in ((gt_map, "ground truth"), (pred_map, "prediction")):
            if id_map.ndim != 2 or id_map.dtype.kind not in "iu":
                raise ValueError(f"{where}: an id map is integer [H, W], got {id_map.dtype} {list(id_map.shape)}")
        if gt_map.shape != pred_map.shape:
            raise ValueError(f"ground truth is {gt_map.shape}, prediction is {pred_map.shape}")
        gt, pred = gt_map.ravel(), pred_map.ravel()
        if gt.itemsize <= 2 and pred.itemsize <= 2 and gt.dtype.kind == pred.dtype.kind == "u":
            # One comparison of 32 bits for both sides is the quickest that there is.
            both = gt.astype(np.uint32)
            both <<= np.uint32(16)
            both |= pred
            change = both[1:] != both[:-1]
        else:
            change = gt[1:] != gt[:-1]
            change |= pred[1:] != pred[:-1]
        starts = np.flatnonzero(change)
        starts = np.concatenate([[0], starts + 1]) if gt.size else starts
        return cls((gt_map.shape[0], gt_map.shape[1]), gt[starts], pred[starts], np.diff(starts, append=gt.size))

    def spread(self, values: NDArray[np.integer]) -> NDArray[np.integer]:
        """integer `[H * W]`: the value of every run (`[R]`) at each of its pixels."""
        return np.repeat(values, self.lengths)


def count_frame(gt_map: NDArray[np.integer], gt: Segments, pred_map: NDArray[np.integer], pred: Segments) -> FrameTable:
    """Counts one frame.

    Args:
        gt_map: integer `[H, W]` of ids, 0 = void.
        gt: the segments of `gt_map`.
        pred_map: the same for the prediction; ids of both sides are unrelated.
        pred: the segments of `pred_map`.

    Raises:
        ValueError: the maps differ in shape, or an id stands in a map and not in its list, or the other way round.
    """
    runs = Runs.of(gt_map, pred_map)
    return count_runs(
        positions(runs.gt, gt, "ground truth"), gt, positions(runs.pred, pred, "prediction"), pred, runs.lengths
    )


def count_runs(
    rows: NDArray[np.integer], gt: Segments, columns: NDArray[np.integer], pred: Segments, lengths: NDArray[np.intp]
) -> FrameTable:
    """`count_frame` where the runs are already `positions`."""
    width = len(pred) + 1
    keys = rows * np.int64(width) + columns
    counts = np.bincount(keys, weights=lengths, minlength=(len(gt) + 1) * width)
    table = counts.reshape(len(gt) + 1, width).astype(np.int64)
    gt_areas, pred_areas = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
    for areas, side, where in ((gt_areas, gt, "ground truth"), (pred_areas, pred, "prediction")):
        if len(areas) and areas.min() == 0:
            raise ValueError(f"{where}: segment {int(side.ids[areas == 0][0])} has no pixel in its map")
    pair_gt, pair_pred = np.nonzero(table)
    return FrameTable(gt, gt_areas, pred, pred_areas, pair_gt - 1, pair_pred - 1, table[pair_gt, pair_pred])


def positions(ids: NDArray[np.integer], segments: Segments, where: str) -> NDArray[np.int32]:
    """int32, the shape of `ids`: 1 + position of each id in the list, 0 for void.

    Args:
        ids: integer, any shape.
        where: which side it is, for messages.

    Raises:
        ValueError: an id is not listed, or ids are listed twice or not positive.
    """
    listed = segments.ids
    if len(listed) and (listed.min() < 1 or len(np.unique(listed)) != len(listed)):
        raise ValueError(f"{where}: ids must be positive and listed once, got {listed.tolist()}")
    if ids.size and int(ids.min()) < 0:
        raise ValueError(f"{where}: the map has the negative id {int(ids.min())}")
    largest = max(int(ids.max(initial=0)), int(listed.max(initial=0)))
    if largest < _TABLE_LIMIT:
        table = np.full(largest + 1, -1, dtype=np.int32)
        table[VOID] = 0
        table[listed] = np.arange(1, len(listed) + 1)
        found = table[ids]
    else:
        present, inverse = np.unique(ids, return_inverse=True)
        known = {VOID: 0, **{int(i): n for n, i in enumerate(listed, start=1)}}
        found = np.array([known.get(int(i), -1) for i in present], dtype=np.int32)[inverse].reshape(ids.shape)
    if found.min(initial=0) < 0:
        raise ValueError(f"{where}: the map has pixels of id {int(ids[found < 0][0])}, which is not listed")
    return np.asarray(found, dtype=np.int32)
