"""`Segment` and `PanopticFrame`: what a segmenter says about one frame, and what a tracker adds to it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from videoseg.frame import Frame

VOID = 0
"""The id of pixels that belong to no segment."""

MAX_SEGMENTS = int(np.iinfo(np.uint16).max)
"""An id map is uint16, and 0 is void."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One segment of one frame."""

    id: int
    """1.. within its frame; 0 is void and has no segment."""
    category: int
    """Index into the vocabulary of the run."""
    is_thing: bool
    score: float
    """Confidence in [0, 1]."""
    area: int
    """Number of pixels that carry `id`."""
    box: tuple[int, int, int, int]
    """Tight box in pixels as (left, top, right, bottom), right and bottom exclusive."""
    embedding: NDArray[np.float32] | None = None
    """float32 `[D]` of unit length, for association; None where the segmenter has none."""
    open_vocabulary: NDArray[np.float32] | None = None
    """Opaque to everybody but the segmenter that made it: enough for it to classify the segment again."""
    probabilities: tuple[tuple[int, float], ...] = ()
    """The most probable categories as (category, probability), most probable first."""
    track: int | None = None
    """Track id (1..), set by the tracker; None before."""
    crowd: bool = False
    """Instances not told apart (`iscrowd` of COCO); only in ground truth."""
    propagated: bool = False
    """Drawn by the tracker where its track is expected, not seen by the segmenter."""

    def __post_init__(self) -> None:
        if not 1 <= self.id <= MAX_SEGMENTS:
            raise ValueError(f"Segment.id must be in 1..{MAX_SEGMENTS}, got {self.id}")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"Segment.score must be in [0, 1], got {self.score} (segment {self.id})")
        if self.area < 1:
            raise ValueError(f"Segment.area must be at least 1 pixel, got {self.area} (segment {self.id})")


@dataclass(frozen=True, slots=True, eq=False)
class PanopticFrame:
    """A partition of one frame into segments and void.

    Every non-zero id in `id_map` has exactly one segment and the other way round; `Segment.area` is the number of
    pixels with that id. Both are checked when the frame is made.
    """

    stream: str
    epoch: int
    index: int
    pts: int
    time_base: Fraction
    time: float
    id_map: NDArray[np.uint16]
    """uint16 `[H, W]` of frame-local segment ids, 0 = void."""
    segments: tuple[Segment, ...] = field(default=())
    """In ascending order of id."""

    def __post_init__(self) -> None:
        if self.id_map.dtype != np.uint16 or self.id_map.ndim != 2:
            raise ValueError(f"id_map must be uint16 [H, W], got {self.id_map.dtype} {self.id_map.shape}")
        ids = [segment.id for segment in self.segments]
        if ids != sorted(set(ids)):
            raise ValueError(f"segments must be in ascending order of distinct ids, got {ids} ({self.where})")
        areas = count_pixels(self.id_map)
        present = [int(i) for i in np.flatnonzero(areas) if i != VOID]
        if present != ids:
            raise ValueError(f"ids in the map {present} and ids of the segments {ids} differ ({self.where})")
        for segment in self.segments:
            if segment.area != areas[segment.id]:
                raise ValueError(
                    f"segment {segment.id} says area {segment.area}, the map has {areas[segment.id]} ({self.where})"
                )

    @classmethod
    def of(cls, frame: Frame, id_map: NDArray[np.uint16], segments: Iterable[Segment]) -> "PanopticFrame":
        """The partition `id_map`, `segments` of `frame`."""
        return cls(
            stream=frame.stream,
            epoch=frame.epoch,
            index=frame.index,
            pts=frame.pts,
            time_base=frame.time_base,
            time=frame.time,
            id_map=id_map,
            segments=tuple(sorted(segments, key=lambda segment: segment.id)),
        )

    def with_segments(self, segments: Iterable[Segment]) -> "PanopticFrame":
        """The same pixels with other words about them (tracks, categories): same ids, same areas.

        Checked against the segments that are there, not against the pixels again: those take milliseconds to count.
        """
        worded = tuple(segments)
        if [(s.id, s.area) for s in worded] != [(s.id, s.area) for s in self.segments]:
            raise ValueError(f"other ids or areas than the {len(self.segments)} segments have ({self.where})")
        result = object.__new__(PanopticFrame)
        for each in fields(self):
            object.__setattr__(result, each.name, worded if each.name == "segments" else getattr(self, each.name))
        return result

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.id_map.shape[0], self.id_map.shape[1]

    @property
    def where(self) -> str:
        """Stream and frame number, for messages."""
        return f"{self.stream}, frame {self.index}"

    def track_map(self) -> NDArray[np.uint32]:
        """uint32 `[H, W]` of track ids, 0 = void; a segment without a track raises ValueError."""
        table = np.zeros(int(self.id_map.max(initial=0)) + 1, dtype=np.uint32)
        for segment in self.segments:
            if segment.track is None:
                raise ValueError(f"segment {segment.id} has no track yet ({self.where})")
            table[segment.id] = segment.track
        return table[self.id_map]

    def __repr__(self) -> str:
        height, width = self.size
        return f"PanopticFrame({self.where}, {width}×{height}, {len(self.segments)} segments)"


def count_pixels(id_map: NDArray[np.uint16]) -> NDArray[np.intp]:
    """How many pixels of a uint16 `[H, W]` map have each value: intp `[largest value + 1]`.

    Counts runs instead of pixels: a twentieth of the time where a map has far fewer of them, as maps of segments do.
    """
    flat = id_map.ravel()
    changes = flat[1:] != flat[:-1]
    if np.count_nonzero(changes) >= flat.size // 8:
        return np.bincount(flat)
    starts = np.concatenate(([0], np.flatnonzero(changes) + 1))
    # Weights are float64: exact up to 2⁵³ pixels.
    return np.bincount(flat[starts], weights=np.diff(starts, append=flat.size)).astype(np.intp)


def measure_segments(id_map: NDArray[np.uint16]) -> dict[int, tuple[int, tuple[int, int, int, int]]]:
    """Area and tight box of every non-zero id of a map.

    Args:
        id_map: uint16 `[H, W]`, 0 = void.

    Returns:
        id -> (area in pixels, (left, top, right, bottom) with right and bottom exclusive), in ascending order of id.
    """
    areas = count_pixels(id_map)
    count = len(areas)
    height, width = id_map.shape
    left, top = np.full(count, width), np.full(count, height)
    right, bottom = np.zeros(count, dtype=np.intp), np.zeros(count, dtype=np.intp)
    # Only the ends of runs matter for a box, and a map has far fewer runs than pixels.
    change = np.ones((height, width), dtype=bool)
    change[:, 1:] = id_map[:, 1:] != id_map[:, :-1]
    rows, starts = np.nonzero(change)
    ends = np.append(starts[1:], 0)
    ends[ends == 0] = width
    ids = id_map[rows, starts]
    np.minimum.at(left, ids, starts)
    np.maximum.at(right, ids, ends)
    np.minimum.at(top, ids, rows)
    np.maximum.at(bottom, ids, rows + 1)
    return {
        int(i): (int(areas[i]), (int(left[i]), int(top[i]), int(right[i]), int(bottom[i])))
        for i in np.flatnonzero(areas)
        if i != VOID
    }
