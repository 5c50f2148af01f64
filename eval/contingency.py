"""`FrameTable`: which ground-truth and predicted segments share how many pixels of one frame.

This is the one pass over the pixels; every metric but video consistency follows from these tables.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

VOID = 0
"""The id of pixels without a label."""


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
    def of(cls, rows: Sequence[tuple[int, int, int]]) -> "Segments":
        """From (id, category, iscrowd) rows."""
        table = np.asarray(rows, dtype=np.int64).reshape(-1, 3)
        return cls(ids=table[:, 0], categories=table[:, 1], crowd=table[:, 2] != 0)

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
    return count_positions(positions(gt_map, gt, "ground truth"), gt, positions(pred_map, pred, "prediction"), pred)


def count_positions(rows: NDArray[np.int32], gt: Segments, columns: NDArray[np.int32], pred: Segments) -> FrameTable:
    """`count_frame` where the maps are already `positions`."""
    if rows.shape != columns.shape:
        raise ValueError(f"ground truth is {rows.shape}, prediction is {columns.shape}")
    width = len(pred) + 1
    counts = np.bincount((rows * np.int32(width) + columns).ravel(), minlength=(len(gt) + 1) * width)
    table = counts.reshape(len(gt) + 1, width).astype(np.int64)
    gt_areas, pred_areas = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
    for areas, side, where in ((gt_areas, gt, "ground truth"), (pred_areas, pred, "prediction")):
        if len(areas) and areas.min() == 0:
            raise ValueError(f"{where}: segment {int(side.ids[areas == 0][0])} has no pixel in its map")
    pair_gt, pair_pred = np.nonzero(table)
    return FrameTable(gt, gt_areas, pred, pred_areas, pair_gt - 1, pair_pred - 1, table[pair_gt, pair_pred])


def positions(id_map: NDArray[np.integer], segments: Segments, where: str) -> NDArray[np.int32]:
    """int32 `[H, W]`: 1 + position of each pixel's id in the list, 0 for void.

    Args:
        where: which side it is, for messages.

    Raises:
        ValueError: an id in the map is not listed, or ids are listed twice or not positive.
    """
    largest = int(id_map.max(initial=0))
    if len(segments.ids) != len(np.unique(segments.ids)) or (len(segments.ids) and segments.ids.min() < 1):
        raise ValueError(f"{where}: ids must be positive and listed once, got {segments.ids.tolist()}")
    if largest < 1 << 20:
        table = np.full(max(largest, int(segments.ids.max(initial=0))) + 1, -1, dtype=np.int32)
        table[VOID] = 0
        table[segments.ids] = np.arange(1, len(segments.ids) + 1)
        positions = table[id_map]
    else:
        # Ids of three colour channels reach 2²⁴: too large a table for few numbers.
        present, inverse = np.unique(id_map, return_inverse=True)
        known = {VOID: 0, **{int(i): n for n, i in enumerate(segments.ids, start=1)}}
        positions = np.array([known.get(int(i), -1) for i in present], dtype=np.int32)[inverse].reshape(id_map.shape)
    if positions.min(initial=0) < 0:
        unknown = int(id_map[positions < 0][0])
        raise ValueError(f"{where}: the map has pixels of id {unknown}, which is not listed")
    return np.asarray(positions, dtype=np.int32)
