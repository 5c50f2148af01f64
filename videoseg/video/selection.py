"""Which shown frames a source yields: every so many, so many a second, from here to there."""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError

# A frame this little before a tick counts as on it: Matroska and FLV round stamps to milliseconds.
_TICK_TOLERANCE = Fraction(1, 1000)


@dataclass(frozen=True, slots=True)
class Sampling:
    """What of a source is wanted. Checked when made."""

    every: int = 1
    """Take each such frame of the range, beginning with the first."""
    fps: float | Fraction | None = None
    """Frames a second: the first frame at or after each tick, so right at variable rates too; never one twice."""
    start: float | None = None
    """`Frame.time` from which on frames are taken, in seconds."""
    end: float | None = None
    """`Frame.time` before which frames are taken, in seconds."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"every must be 1 or more, got {self.every}. 1 takes each frame, 2 each second one.")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise InputError(f"fps must be above 0, got {self.fps}. It is how many frames to take from each second.")
        if self.fps is not None and self.every != 1:
            raise InputError("every and fps exclude each other. Give one of them.")
        for name, seconds in (("start", self.start), ("end", self.end)):
            if seconds is not None and not np.isfinite(seconds):
                raise InputError(f"{name} must be a number of seconds, got {seconds}.")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise InputError(f"start ({self.start:g} s) must come before end ({self.end:g} s).")

    def select(self, pts: NDArray[np.int64], time_base: Fraction, where: str) -> NDArray[np.intp]:
        """Numbers of the wanted frames, ascending.

        Args:
            pts: int64 `[F]`, ascending, not empty: stamps of all shown frames.
            time_base: seconds per unit of `pts`.
            where: name of the source, for messages.

        Raises:
            InputError: nothing lies between start and end.
        """
        times = pts.astype(np.float64) * time_base.numerator / time_base.denominator
        first = 0 if self.start is None else int(np.searchsorted(times, self.start, side="left"))
        stop = len(times) if self.end is None else int(np.searchsorted(times, self.end, side="left"))
        if first >= stop:
            asked = f"{'the beginning' if self.start is None else f'{self.start:g} s'} to "
            asked += "the end" if self.end is None else f"{self.end:g} s"
            raise InputError(
                f"{where} has no frame from {asked}: its frames lie from {times[0]:.3f} s to {times[-1]:.3f} s. "
                "Choose start and end within."
            )
        if self.fps is None:
            return np.arange(first, stop, self.every, dtype=np.intp)
        origin = Fraction(int(pts[first])) * time_base
        if self.start is not None:
            # Ticks count from the asked start, so that neighbouring ranges share one grid; a start before the first
            # frame asks for the first frame.
            origin = max(origin, Fraction(self.start)) if first else origin
        return first + _at_ticks(pts[first:stop], time_base, origin, Fraction(self.fps).limit_denominator(1_000_000))


def _at_ticks(pts: NDArray[np.int64], time_base: Fraction, origin: Fraction, fps: Fraction) -> NDArray[np.intp]:
    # Exact integers: a frame reaches tick k when pts·time_base > origin + k/fps − tolerance, that is when
    # pts > base + k·step with both in units of time_base.
    base = (origin - _TICK_TOLERANCE) / time_base
    step = 1 / (fps * time_base)
    last = int((int(pts[-1]) - base) / step)
    thresholds = np.array([_floor(base + k * step) for k in range(last + 1)], dtype=np.int64)
    found = np.searchsorted(pts, thresholds, side="right")
    return np.unique(found[found < len(pts)]).astype(np.intp)


def _floor(value: Fraction) -> int:
    return value.numerator // value.denominator
