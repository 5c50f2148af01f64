"""Embeddings that stand for a track: a decayed mean, and a few that differ from each other."""

import numpy as np
from numpy.typing import NDArray

from tracking.settings import TrackerSettings

Embedding = NDArray[np.float32]
"""float32 `[D]` of unit length."""


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row by row, float32 `[N, D]` each. Not through BLAS, whose sums depend on the number of threads."""
    result: NDArray[np.float32] = np.einsum("nd,nd->n", first, second)
    return result


def blend(mean: Embedding | None, embedding: Embedding, settings: TrackerSettings) -> Embedding:
    """The decayed mean after one more sighting, of unit length."""
    if mean is None or mean.shape != embedding.shape:
        return embedding.copy()
    memory = np.float32(settings.embedding_memory)
    mixed = memory * mean + (np.float32(1.0) - memory) * embedding
    length = float(np.sqrt(np.einsum("d,d->", mixed, mixed)))
    return embedding.copy() if length < 1e-6 else (mixed / np.float32(length)).astype(np.float32)


def extend(gallery: NDArray[np.float32], embedding: Embedding, settings: TrackerSettings) -> NDArray[np.float32]:
    """The gallery with one more sighting, if that shows something new.

    A full gallery gives up, of the two embeddings most alike (the new one included), the newer.

    Args:
        gallery: float32 `[n, D]`, `n` ≤ `gallery_size`.

    Returns:
        float32 `[n or n + 1, D]`; the argument itself where nothing changed.
    """
    if gallery.shape[1] != embedding.shape[0]:
        return embedding[None].copy()
    likeness = np.einsum("nd,d->n", gallery, embedding)
    if likeness.max(initial=-1.0) > 1.0 - settings.gallery_novelty:
        return gallery
    grown = np.concatenate([gallery, embedding[None]])
    if len(grown) <= settings.gallery_size:
        return grown
    alike = np.einsum("nd,md->nm", grown, grown)
    alike[np.tril_indices(len(grown))] = -np.inf
    newer = int(np.unravel_index(int(np.argmax(alike)), alike.shape)[1])
    return gallery if newer == len(grown) - 1 else np.delete(grown, newer, axis=0)
