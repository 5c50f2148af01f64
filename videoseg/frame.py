"""`Frame`: one shown picture of a stream, and nothing about how it was read."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from videoseg.motion import CodecVectors


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One shown picture of one stream.

    A frame is identified by `(stream, epoch, pts, time_base)`; `index` is derived from it.
    """

    stream: str
    """Name of the stream: unique within a run, for files the path as given."""
    epoch: int
    """0, and one more after each time a live source reconnected."""
    index: int
    """0-based position among the shown frames of the source (before any sampling)."""
    pts: int
    """Presentation time stamp in units of `time_base`, as the container states it."""
    time_base: Fraction
    """Seconds per unit of `pts`."""
    time: float
    """Presentation time in seconds, from the container; the first shown frame of a file is often, not always, at 0."""
    rgb: NDArray[np.uint8]
    """uint8 `[H, W, 3]`, upright, full range, converted with the colour matrix that the stream declares."""
    vectors: CodecVectors | None = None
    """Motion vectors of the file, where the source was asked for them and has them."""

    def __post_init__(self) -> None:
        if self.rgb.dtype != np.uint8 or self.rgb.ndim != 3 or self.rgb.shape[2] != 3 or self.rgb.size == 0:
            raise ValueError(f"Frame.rgb must be uint8 [H, W, 3] and not empty, got {self.rgb.dtype} {self.rgb.shape}")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def __repr__(self) -> str:
        height, width = self.size
        return f"Frame({self.stream!r}, index={self.index}, time={self.time:.3f} s, {width}×{height})"
