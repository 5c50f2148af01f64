"""Gaps filled: things that are missing for a moment are drawn where they should be, marked `propagated`."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tracking.settings import TrackerSettings
from tracking.table import CONFIRMED, Slots, TrackTable
from videoseg.panoptic import MAX_SEGMENTS, PanopticFrame, Segment

_LEAST_SHARE = 0.5
"""Of a mask so much must lie on pixels that nobody claims: with less, something stands in front of it."""


def fill_gaps(
    frame: PanopticFrame,
    table: TrackTable,
    slots: Slots,
    centre: NDArray[np.float64],
    gone: NDArray[np.float64],
    stride: int,
    settings: TrackerSettings,
) -> PanopticFrame:
    """Draws the last masks of missing tracks, moved to where they are expected, on void pixels only.

    Args:
        frame: tracked.
        slots: tracks that are not in the frame, in the order in which they are drawn.
        centre: `[N, 2]`: expected middle of each in pixels.
        gone: `[N]`: seconds since each was seen.
        stride: of the masks.

    Returns:
        The frame with a segment marked `propagated` for each track that could be drawn, with an id that the frame had
        not; the frame itself where there is none.
    """
    id_map, added = None, []
    highest = max((segment.id for segment in frame.segments), default=0)
    for slot, (x, y), seconds in zip(slots.tolist(), centre.tolist(), gone.tolist(), strict=True):
        silhouette = table.silhouettes.get(int(table.key[slot]))
        short = table.status[slot] == CONFIRMED and seconds <= settings.fill_seconds
        if silhouette is None or not short or highest >= MAX_SEGMENTS:
            continue
        mask = silhouette.mask.repeat(stride, axis=0).repeat(stride, axis=1)
        left, top = round(x + silhouette.left * stride), round(y + silhouette.top * stride)
        if id_map is None:
            id_map = frame.id_map.copy()
        (height, width), (rows, columns) = id_map.shape, mask.shape
        window = id_map[max(top, 0) : min(top + rows, height), max(left, 0) : min(left + columns, width)]
        mask = mask[max(-top, 0) :, max(-left, 0) :][: window.shape[0], : window.shape[1]]
        drawn = mask & (window == 0)
        area = int(np.count_nonzero(drawn))
        if not area or area < _LEAST_SHARE * np.count_nonzero(mask):
            continue
        highest += 1
        window[drawn] = highest
        ys, xs = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        x0, y0 = max(left, 0), max(top, 0)
        known = table.evidence_category[slot] >= 0
        weight = table.evidence[slot][known]
        share = (weight / weight.sum())[:5].tolist()
        added.append(
            Segment(
                id=highest,
                category=int(table.category[slot]),
                is_thing=True,
                # What is not seen is less sure the longer it is not.
                score=float(min(table.score[slot], 1.0) * np.exp(-seconds / settings.silhouette_fade)),
                area=area,
                box=(x0 + int(xs[0]), y0 + int(ys[0]), x0 + int(xs[-1]) + 1, y0 + int(ys[-1]) + 1),
                probabilities=tuple(zip(table.evidence_category[slot][known][:5].tolist(), share, strict=True)),
                track=int(table.track[slot]),
                propagated=True,
            )
        )
    if id_map is None or not added:
        return frame
    return replace(frame, id_map=id_map, segments=(*frame.segments, *added))
