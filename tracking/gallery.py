"""Embeddings that stand for a track: a decayed mean, and earlier means that differ from each other.

All embeddings are kept on a grid of 1/2048. Products of two such numbers are multiples of 2⁻²², and any part of the
sum of a dot product of unit vectors stays below 2 (Cauchy-Schwarz), so float32 holds every partial sum exactly:
cosines are the same in whatever order they are summed, by any BLAS, on any number of threads. The grid costs 2·10⁻⁴ of
a cosine.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.settings import TrackerSettings
from tracking.table import Slots, TrackTable

Embeddings = NDArray[np.float32]
"""float32 `[N, D]`, rows of unit length on the grid."""

_GRID = np.float32(2048.0)


def on_grid(vectors: NDArray[np.floating[Any]]) -> Embeddings:
    """Vectors of about unit length, on the grid."""
    result: Embeddings = (np.rint(vectors * _GRID) / _GRID).astype(np.float32)
    return result


def cosines(first: Embeddings, second: Embeddings) -> NDArray[np.float32]:
    """Every row of `[N, D]` with every row of `[M, D]`: `[N, M]`, exact."""
    result: NDArray[np.float32] = first @ second.T
    return result


def lengths(vectors: Embeddings) -> NDArray[np.float32]:
    """float32 `[N]`; exact sums for vectors on the grid that are at most about 1 long."""
    result: NDArray[np.float32] = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    return result


def learn(table: TrackTable, slots: Slots, embeddings: Embeddings, settings: TrackerSettings) -> None:
    """One more sighting of each track: blends it into the mean, and keeps the mean where it has become a new one.

    The gallery holds means and not sightings, because in a single sighting noise can weigh more than looks.

    Args:
        slots: distinct.
        embeddings: float32 `[len(slots), D]`.
    """
    known = table.has_embedding[slots]
    memory = np.float32(settings.embedding_memory)
    # In the beginning all sightings weigh the same: the mean of n is (n - 1) / n of the mean before.
    sightings = np.maximum(table.hits[slots], 1.0).astype(np.float32)
    share = np.where(known, np.minimum(memory, sightings / (sightings + np.float32(1.0))), np.float32(0.0))[:, None]
    blend = share * table.embedding[slots] + (np.float32(1.0) - share) * embeddings
    mixed = on_grid(blend)
    size = lengths(mixed)[:, None]
    mean = np.where(size > 0.1, on_grid(mixed / np.maximum(size, np.float32(0.1))), embeddings)
    table.embedding[slots] = mean
    table.has_embedding[slots] = True
    things = table.is_thing[slots]
    slots, mean = slots[things], mean[things]
    # Most galleries have one or two entries, and a full one takes 8 KB of memory: only what is there is read.
    nearest = np.full(len(slots), -1.0, dtype=np.float32)
    filled = table.gallery_count[slots]
    for position in range(int(filled.max(initial=0))):
        more = np.flatnonzero(filled > position)
        alike = np.einsum("nd,nd->n", table.gallery[slots[more], position], mean[more])
        nearest[more] = np.maximum(nearest[more], alike)
    for i in np.flatnonzero(nearest <= 1.0 - settings.gallery_novelty).tolist():
        _extend(table, int(slots[i]), mean[i])


def _extend(table: TrackTable, slot: int, embedding: NDArray[np.float32]) -> None:
    """A full gallery gives up, of the two embeddings most alike (the new one included), the newer."""
    count = int(table.gallery_count[slot])
    if count < table.gallery_size:
        table.gallery[slot, count] = embedding
        table.gallery_count[slot] = count + 1
        return
    grown = np.concatenate([table.gallery[slot], embedding[None]])
    alike = cosines(grown, grown)
    alike[np.tril_indices(len(grown))] = -np.inf
    newer = int(np.unravel_index(int(np.argmax(alike)), alike.shape)[1])
    table.gallery[slot] = np.delete(grown, newer, axis=0)


def best_likeness(table: TrackTable, slots: Slots, embeddings: Embeddings) -> NDArray[np.float32]:
    """The greatest cosine of a segment to the mean or the gallery of a track.

    Args:
        embeddings: float32 `[M, D]`.

    Returns:
        float32 `[len(slots), M]`; -1 where a track has no embedding.
    """
    best = cosines(table.embedding[slots], embeddings)
    best[~table.has_embedding[slots]] = -1.0
    filled = table.gallery_count[slots]
    for position in range(int(filled.max(initial=0))):
        # A mean that was never left is alone in its gallery, and most are: only those with more are looked at.
        more = np.flatnonzero(filled > position)
        best[more] = np.maximum(best[more], cosines(table.gallery[slots[more], position], embeddings))
    return best
