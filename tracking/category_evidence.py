"""What tracks have been taken for so far; that decides their categories, not the last label.

The evidence of a track is a decayed sum of class probabilities, each sighting weighted by its score and by how much of
the object it showed: a linear pool, whose shares are as well calibrated as the probabilities that went in. The category
with most evidence wins, with a margin against flicker.
"""

import numpy as np
from numpy.typing import NDArray

from tracking.settings import TrackerSettings
from tracking.table import Slots, TrackTable

REPORTED = 5
"""Categories that a tracked segment reports, as many as the results on disk keep."""

_FORGOTTEN = 1e-6
"""Evidence below this share of one sure sighting is dropped."""


def add(
    table: TrackTable,
    slots: Slots,
    categories: NDArray[np.int32],
    probabilities: NDArray[np.float64],
    settings: TrackerSettings,
) -> NDArray[np.bool_]:
    """Adds one sighting of each track.

    Args:
        slots: distinct.
        categories: int32 `[n, P]`, distinct within a row, -1 where there is none.
        probabilities: float64 `[n, P]`: probability times weight of the sighting.

    Returns:
        bool `[n]`: whether the category changed (never at the first sighting).
    """
    known, weight = table.evidence_category[slots], settings.evidence_memory * table.evidence[slots]
    row, mine, theirs = _same(known, categories)
    weight[row, mine] += probabilities[row, theirs]
    fresh = categories >= 0
    fresh[row, theirs] = False
    # Mostly nothing is new, forgotten or out of order, and sorting is what takes time here.
    forgotten = (known >= 0) & (weight < _FORGOTTEN)
    disordered = (weight[:, :-1] < weight[:, 1:]) | ((weight[:, :-1] == weight[:, 1:]) & (known[:, :-1] > known[:, 1:]))
    loose = np.flatnonzero(fresh.any(axis=1) | forgotten.any(axis=1) | disordered.any(axis=1))
    if len(loose):
        wide = np.concatenate([known[loose], np.where(fresh[loose], categories[loose], -1)], axis=1)
        heavy = np.concatenate([weight[loose], np.where(fresh[loose], probabilities[loose], 0.0)], axis=1)
        dropped = heavy < _FORGOTTEN
        wide[dropped], heavy[dropped] = -1, 0.0
        order = np.lexsort((wide, -heavy), axis=1)[:, : table.categories]
        known[loose] = np.take_along_axis(wide, order, axis=1)
        weight[loose] = np.take_along_axis(heavy, order, axis=1)
    table.evidence_category[slots], table.evidence[slots] = known, weight
    leader, current = known[:, 0], table.category[slots]
    own = np.where(known == current[:, None], weight, 0.0).max(axis=1)
    first = current == -1
    turned = (first | (weight[:, 0] > settings.evidence_margin * own)) & (leader >= 0)
    table.category[slots] = np.where(turned, leader, current)
    result: NDArray[np.bool_] = turned & ~first & (leader != current)
    return result


def posterior(
    table: TrackTable, slots: Slots, settings: TrackerSettings
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """The strongest categories and their probabilities, strongest first.

    Shares of the evidence are raised to `evidence_sharpness`: sightings agree by more than chance, so that many of
    them say more than one.

    Returns:
        int32 and float64 `[n, REPORTED]`; category -1 where there are fewer.
    """
    sharp = table.evidence[slots] ** settings.evidence_sharpness
    total = np.add.reduce(sharp, axis=1)[:, None]
    share = sharp / np.maximum(total, 1e-300)
    return table.evidence_category[slots, :REPORTED], share[:, :REPORTED]


def likeness(
    table: TrackTable, slots: Slots, categories: NDArray[np.int32], probabilities: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bhattacharyya coefficient of each track's evidence and a segment's probabilities: 0 = disjoint, 1 = equal.

    Args:
        slots: one for each pair; may repeat.
        categories, probabilities: `[n, P]`, the segment of each pair.
    """
    known, weight = table.evidence_category[slots], table.evidence[slots]
    pair, mine, theirs = _same(known, categories)
    shared = np.sqrt(weight[pair, mine] * probabilities[pair, theirs])
    common = np.bincount(pair, weights=shared, minlength=len(slots))
    scale = np.sqrt(weight.sum(axis=1) * probabilities.sum(axis=1))
    result: NDArray[np.float64] = np.minimum(common / np.maximum(scale, 1e-12), 1.0)
    return result


def _same(
    known: NDArray[np.int32], categories: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Row, place in `known` and place in `categories` of every category that a row of both has: at most one pair each,
    of the 16 · 5 that there could be."""
    kept, given = known.shape[1], categories.shape[1]
    same = (known[:, :, None] == categories[:, None, :]) & (categories >= 0)[:, None, :]
    row, rest = np.divmod(np.flatnonzero(same), max(kept * given, 1))
    return row, rest // max(given, 1), rest % max(given, 1)
