"""How much room a run takes, before it begins."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines.settings import Products
from videoseg.errors import InputError

# Bytes per frame, from a few runs of 5 to 60 segments at 320×180 to 1920×1080. Rough: scenes differ by a factor of
# three either way.
_SHARD_FIXED = 6_000
_SHARD_PER_PIXEL = 1 / 60
_OVERLAY_PER_PIXEL = 1 / 25
_EXPORT_PER_PIXEL = 1 / 30
_SURELY = 1 / 3
"""Least share of the estimate that a run really takes."""

WORTH_A_WORD = 2_000_000_000
"""Runs that take more than this are announced."""


@dataclass(frozen=True, slots=True)
class DiskEstimate:
    """What a run will take of what there is."""

    needed: int
    """Bytes, likely."""
    free: int
    """Bytes."""

    @property
    def note(self) -> str:
        """A sentence for the user; empty where there is nothing to worry about."""
        if self.needed < WORTH_A_WORD and self.needed < self.free / 2:
            return ""
        return f"The results will take about {_gigabytes(self.needed)}; {_gigabytes(self.free)} are free."


def estimate(output: str, width: int, height: int, frames: int | None, products: Products) -> DiskEstimate | None:
    """The estimate for a run of so many frames of that size into a local folder.

    Returns:
        None for a source of unknown length and for a folder that is not on a local disk.

    Raises:
        InputError: it cannot fit.
    """
    if frames is None or "://" in output:
        return None
    pixels = width * height
    shards = _SHARD_FIXED + pixels * _SHARD_PER_PIXEL
    overlay = pixels * _OVERLAY_PER_PIXEL if products.overlay else 0.0
    exports = pixels * _EXPORT_PER_PIXEL * len(products.exports)
    needed = int(frames * (shards + overlay + exports))
    free = shutil.disk_usage(_existing(Path(output))).free
    if needed * _SURELY > free:
        raise InputError(
            f"The results of {frames:,} frames of {width}×{height} need about {_gigabytes(needed)}, and "
            f"{_gigabytes(free)} are free where {output} is. Free some space, name another folder, or take less of it "
            "(--no-overlay, --fps, --start, --end)."
        )
    return DiskEstimate(needed, free)


def _existing(path: Path) -> Path:
    """The nearest folder above that is there already."""
    path = Path(os.path.abspath(path))
    while not path.exists():
        path = path.parent
    return path


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 50_000_000 else f"{max(1, round(count / 1e6))} MB"
