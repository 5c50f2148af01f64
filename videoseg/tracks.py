"""`Track` and `TrackEvent`: what is known of one object over a whole run, and what happened to it when."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

EventKind = Literal[
    "born", "confirmed", "lost", "re-identified", "split", "merged", "class changed", "retracted", "ended"
]


@dataclass(frozen=True, slots=True)
class TrackEvent:
    """Something that happened to a track."""

    kind: EventKind
    track: int
    index: int
    """Index of the frame at which it happened."""
    reason: str
    """One clause for a person: why."""
    other: int | None = None
    """The other track of a split or a merge."""


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Summary of one track over a run."""

    id: int
    category: int
    """Index into the vocabulary, by the evidence of the whole track."""
    is_thing: bool
    first_index: int
    last_index: int
    first_time: float
    last_time: float
    num_frames: int
    """Number of frames in which the track has a segment."""
    mean_area: float
    """Mean number of pixels over those frames."""
    mean_score: float
    gallery: NDArray[np.float16] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float16))
    """float16 `[n, D]`, n ≤ 8: embeddings that stand for the track."""
