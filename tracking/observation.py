"""`Observation`: one frame's segments as arrays, in an order that doesn't depend on how they are numbered."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking import gallery, overlap
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """`N` segments in raster order of their first pixel, which is the order in which new tracks are numbered."""

    segments: tuple[Segment, ...]
    is_thing: NDArray[np.bool_]
    area: NDArray[np.float64]
    """Pixels of the full frame."""
    box: NDArray[np.float64]
    """float64 `[N, 4]`: left, top, right, bottom."""
    centre: NDArray[np.float64]
    """float64 `[N, 2]`: x, y of the middles of the boxes."""
    score: NDArray[np.float64]
    embedding: NDArray[np.float32] | None
    """float32 `[N, D]` on the grid of `tracking.gallery`, zero where a segment has none; None where none has."""
    has_embedding: NDArray[np.bool_]
    categories: NDArray[np.int32]
    """int32 `[N, P]`, among those of the segment's own kind (thing or stuff), -1 where there are fewer."""
    probabilities: NDArray[np.float64]
    """float64 `[N, P]`."""
    map: overlap.SampledMap
    """The sampled id map with these numbers: 0 = void, `i + 1` = segment `i`."""

    def __len__(self) -> int:
        return len(self.segments)


def kinds_of(vocabulary: Vocabulary | None) -> NDArray[np.bool_] | None:
    """bool `[len(vocabulary)]`: which categories are things; None where nobody knows."""
    return None if vocabulary is None else np.array([category.is_thing for category in vocabulary], dtype=bool)


def observe(frame: PanopticFrame, stride: int, kinds: NDArray[np.bool_] | None) -> Observation:
    """The segments of a frame as the tracker takes them.

    Args:
        stride: step at which the map is sampled.
        kinds: see `kinds_of`.
    """
    segments = tuple(frame.segments[i] for i in _raster_order(frame).tolist())
    count = len(segments)
    embedding, has_embedding = stack([s.embedding for s in segments])
    number = np.zeros(max((s.id for s in segments), default=0) + 1, dtype=np.uint16)
    number[np.array([s.id for s in segments], dtype=np.intp)] = np.arange(1, count + 1)
    categories, probabilities = _distributions(segments, kinds)
    box = np.array([s.box for s in segments], dtype=np.float64).reshape(-1, 4)
    return Observation(
        segments=segments,
        is_thing=np.array([s.is_thing for s in segments], dtype=bool),
        area=np.array([s.area for s in segments], dtype=np.float64),
        box=box,
        centre=(box[:, :2] + box[:, 2:]) / 2,
        score=np.array([s.score for s in segments], dtype=np.float64),
        embedding=None if embedding is None else gallery.on_grid(embedding),
        has_embedding=has_embedding,
        categories=categories,
        probabilities=probabilities,
        map=overlap.SampledMap.of(overlap.sample(frame.id_map, stride), number),
    )


def stack(vectors: Sequence[NDArray[np.float32] | None]) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
    """Vectors that may be missing as one array, zero where they are, and which are there; None where all are missing.

    Those that are not finite, zero, or of another size than the first, count as missing.
    """
    known = np.array([v is not None for v in vectors], dtype=bool)
    if not known.any():
        return None, known
    size = next(len(v) for v in vectors if v is not None)
    nothing = np.zeros(size, dtype=np.float32)
    stacked = np.concatenate([nothing if v is None or len(v) != size else v for v in vectors]).reshape(-1, size)
    stacked = stacked.astype(np.float32, copy=False)
    # A segmenter that divides by zero must not take the tracker with it.
    known &= np.isfinite(stacked).all(axis=1) & stacked.any(axis=1)
    stacked[~known] = 0.0
    return stacked, known


def _raster_order(frame: PanopticFrame) -> NDArray[np.intp]:
    """Positions of the segments in the order of their first pixels."""
    if not frame.segments:
        return np.zeros(0, dtype=np.intp)
    ids = np.array([s.id for s in frame.segments], dtype=frame.id_map.dtype)
    height, width = frame.size
    top = np.clip(np.array([s.box[1] for s in frame.segments], dtype=np.intp), 0, height - 1)
    here = frame.id_map[top] == ids[:, None]
    first = here.argmax(axis=1)
    place = top * width + first
    # The box of a segment from elsewhere may be wrong; its pixels are not.
    for i in np.flatnonzero(~here[np.arange(len(ids)), first]).tolist():
        place[i] = int((frame.id_map == ids[i]).argmax())
    return np.argsort(place)


def _distributions(
    segments: Sequence[Segment], kinds: NDArray[np.bool_] | None
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Without a vocabulary nobody knows which categories are things: the segment's own one has to do."""
    width = max(max((len(s.probabilities) for s in segments), default=0), 1)
    nothing = ((-1, 0.0),) * width
    flat = [pair for s in segments for pair in s.probabilities + nothing[len(s.probabilities) :]]
    categories = np.array([category for category, _ in flat], dtype=np.int32).reshape(-1, width)
    probabilities = np.array([probability for _, probability in flat], dtype=np.float64).reshape(-1, width)
    own = np.array([s.category for s in segments], dtype=np.int32)[:, None]
    keep = categories == own
    known = (keep & (probabilities > 0.0)).any(axis=1)
    if kinds is not None and len(segments):
        own_kind = np.array([s.is_thing for s in segments], dtype=bool)[:, None]
        valid = (categories >= 0) & (categories < len(kinds))
        keep = keep | (valid & (kinds[np.where(valid, categories, 0)] == own_kind))
    keep &= (probabilities > 0.0) & known[:, None]
    categories, probabilities = np.where(keep, categories, -1), np.where(keep, probabilities, 0.0)
    # Who says nothing about his own category is taken at his word.
    categories[~known, 0], probabilities[~known, 0] = own[~known, 0], 1.0
    return categories, probabilities
