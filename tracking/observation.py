"""`Observation`: one frame's segments as arrays, in an order that doesn't depend on how they are numbered."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking import overlap
from tracking.category_evidence import Distribution
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
    embedding: NDArray[np.float32] | None
    """float32 `[N, D]`, zero where a segment has none; None where none has."""
    has_embedding: NDArray[np.bool_]
    map: NDArray[np.uint16]
    """The sampled id map with these numbers: 0 = void, `i + 1` = segment `i`."""
    distribution: tuple[Distribution, ...]
    """Class probabilities among the categories of the segment's own kind (thing or stuff)."""

    def __len__(self) -> int:
        return len(self.segments)

    @property
    def centre(self) -> NDArray[np.float64]:
        """float64 `[N, 2]`: x, y of the middles of the boxes."""
        return (self.box[:, :2] + self.box[:, 2:]) / 2


def observe(frame: PanopticFrame, stride: int, vocabulary: Vocabulary | None) -> Observation:
    """The segments of a frame as the tracker takes them, its map sampled at every `stride`-th row and column."""
    segments = tuple(sorted(frame.segments, key=lambda segment: _first_pixel(frame.id_map, segment)))
    embedding, has_embedding = _stack(segments)
    number = np.zeros(max((s.id for s in segments), default=0) + 1, dtype=np.uint16)
    number[np.array([s.id for s in segments], dtype=np.intp)] = np.arange(1, len(segments) + 1)
    return Observation(
        segments=segments,
        map=number.take(overlap.sample(frame.id_map, stride)),
        is_thing=np.array([s.is_thing for s in segments], dtype=bool),
        area=np.array([s.area for s in segments], dtype=np.float64),
        box=np.array([s.box for s in segments], dtype=np.float64).reshape(-1, 4),
        embedding=embedding,
        has_embedding=has_embedding,
        distribution=tuple(_distribution(s, vocabulary) for s in segments),
    )


def _first_pixel(id_map: NDArray[np.uint16], segment: Segment) -> tuple[int, int]:
    top = min(max(int(segment.box[1]), 0), len(id_map) - 1)
    here = id_map[top] == segment.id
    left = int(here.argmax())
    if here[left]:
        return top, left
    # The box of a segment from elsewhere may be wrong; its pixels are not.
    place = int((id_map == segment.id).argmax())
    return place // id_map.shape[1], place % id_map.shape[1]


def _stack(segments: tuple[Segment, ...]) -> tuple[NDArray[np.float32] | None, NDArray[np.bool_]]:
    has_embedding = np.array([s.embedding is not None for s in segments], dtype=bool)
    if not has_embedding.any():
        return None, has_embedding
    size = next(len(s.embedding) for s in segments if s.embedding is not None)
    stacked = np.zeros((len(segments), size), dtype=np.float32)
    for row, segment in zip(stacked, segments, strict=True):
        if segment.embedding is not None:
            row[:] = segment.embedding
    # A segmenter that divides by zero must not take the tracker with it.
    has_embedding &= np.isfinite(stacked).all(axis=1) & stacked.any(axis=1)
    stacked[~has_embedding] = 0.0
    return stacked, has_embedding


def _distribution(segment: Segment, vocabulary: Vocabulary | None) -> Distribution:
    """Without a vocabulary nobody knows which categories are things: the segment's own one has to do."""
    own = dict(segment.probabilities).get(segment.category, 0.0)
    if own <= 0.0:
        return ((segment.category, 1.0),)
    if vocabulary is None:
        return ((segment.category, own),)
    return tuple(
        (category, probability)
        for category, probability in segment.probabilities
        if probability > 0.0 and (category == segment.category or vocabulary[category].is_thing == segment.is_thing)
    )
