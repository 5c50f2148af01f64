"""How much a window has changed since it was computed: bit for bit, and by how well its picture can be moved here.

The test is against the picture that the window was computed from, never against the frame before (which would let slow
changes through), and by its worst cells, never by the mean of a frame (which is blind to a small new object).
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from odise_frame.temporal_cache.flow import Floats, Step, block_of
from odise_frame.temporal_cache.sampling import find_sources
from odise_frame.windows import WindowGrid

_ROWS = 256
"""Rows at which pictures are compared, about: noise and compression are averaged away above, details remain."""
CELL = 8
"""Side of a cell in those pixels: a thirtieth of the height, the size of a small object."""
_WORST = 4
"""Cells whose mean is a window's worst: one alone may be a glint."""
DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What happened to each of W windows since it was computed. Arrays are float32 `[W]` unless said otherwise."""

    worst: Floats
    """Grey levels by which its picture, moved here, misses what is seen, in its worst cells."""
    mean: Floats
    """The same over the whole window."""
    contrast: Floats
    """Standard deviation of its brightness: the network normalises, so a miss weighs more in a flat window."""
    uncovered: Floats
    """Share of it that no window shows as it is now."""
    moved: Floats
    """Mean displacement in pixels of the image."""
    equal: NDArray[np.bool_]
    """bool: bit for bit what it was computed from."""
    still: NDArray[np.bool_]
    """bool: nothing in it moved by more than an eighth of a pixel."""


def reduced_luma(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The brightness of an image uint8 `[h, w, 3]` at about 256 rows: uint8 `[h / f, w / f]`."""
    luma = (image[..., 0].astype(np.uint16) + 2 * image[..., 1].astype(np.uint16) + image[..., 2]) >> 2
    factor = reduction(image.shape[0], image.shape[1])
    if factor > 1:
        rows, columns = max(1, luma.shape[0] // factor), max(1, luma.shape[1] // factor)
        cut = luma[: rows * factor, : columns * factor]
        luma = cut.reshape(rows, cut.shape[0] // rows, columns, cut.shape[1] // columns).mean(axis=(1, 3))
    return luma.astype(np.uint8)


def reduction(height: int, width: int) -> int:
    """Pixels of the image per pixel of its reduced brightness."""
    return max(1, round(min(height, width) / _ROWS))


def window_digests(image: NDArray[np.uint8], grid: WindowGrid) -> list[bytes]:
    """A fingerprint of every window of an image uint8 `[h, w, 3]` in its padded frame."""
    found = []
    for top, left in grid.corners:
        part = image[top : top + grid.side, left : left + grid.side]
        found.append(blake2b(part.tobytes(), digest_size=DIGEST_BYTES).digest())
    return found


def measure_change(
    luma: NDArray[np.uint8],
    key_luma: NDArray[np.uint8],
    flows: Floats,
    step: Step,
    grid: WindowGrid,
    image: tuple[int, int],
    equal: NDArray[np.bool_],
    age: NDArray[np.int32],
) -> Change:
    """Compares what is seen with what every window was computed from.

    Args:
        luma: `reduced_luma` of this frame, `[h, w]`.
        key_luma: uint8 `[W, h, w]`: of the frame that each window was computed from.
        flows: float32 `[W, R, C, 2]`, back to those frames.
        step: says where the blocks lie.
        image: height and width of the image in the padded frame.
        equal: bool `[W]`, of the fingerprints.
        age: int32 `[W]`, frames since each was computed.
    """
    count, factor = len(grid), reduction(*image)
    worst, mean = np.zeros(count, np.float32), np.zeros(count, np.float32)
    moved, still = np.zeros(count, np.float32), np.ones(count, bool)
    uncovered, contrast = np.zeros(count, np.float32), np.zeros(count, np.float32)
    changed = np.flatnonzero(~equal)
    for window in changed.tolist():
        top, left = grid.corners[window]
        rows = slice(top // factor, min((top + grid.side) // factor, luma.shape[0]))
        columns = slice(left // factor, min((left + grid.side) // factor, luma.shape[1]))
        y = np.arange(rows.start, rows.stop, dtype=np.float32)
        x = np.arange(columns.start, columns.stop, dtype=np.float32)
        row, column = block_of((y + 0.5) * factor, (x + 0.5) * factor, step)
        flow = flows[window][np.ix_(row, column)]
        then = _bilinear(key_luma[window], y[:, None] + flow[..., 0] / factor, x[None] + flow[..., 1] / factor)
        cells = _cell_means(np.abs(luma[rows, columns] - then))
        worst[window] = np.sort(cells, axis=None)[-_WORST:].mean()
        mean[window] = cells.mean()
        contrast[window] = luma[rows, columns].std()
        length = np.hypot(flow[..., 0], flow[..., 1])
        moved[window] = length.mean()
        still[window] = length.max() < 0.125
    if len(changed):
        places = _within(grid.side)
        order = np.argsort(age, kind="stable")
        sources = find_sources(places, changed, flows, step, grid, image, order)
        uncovered[changed] = (~sources.covered).mean(axis=1)
    return Change(worst, mean, contrast, uncovered, moved, equal, still)


def _within(side: int) -> Floats:
    """Sixteen places by sixteen in a window."""
    places = (np.arange(16, dtype=np.float32) + np.float32(0.5)) * np.float32(side / 16)
    y, x = np.meshgrid(places, places, indexing="ij")
    return np.stack([y.ravel(), x.ravel()], axis=1)


def _bilinear(picture: NDArray[np.uint8], y: Floats, x: Floats) -> Floats:
    height, width = picture.shape
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = y.astype(np.int32), x.astype(np.int32)
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = y - top, x - left
    upper = picture[top, left] * (1 - across) + picture[top, beside] * across
    lower = picture[below, left] * (1 - across) + picture[below, beside] * across
    result: Floats = (upper * (1 - down) + lower * down).astype(np.float32)
    return result


def _cell_means(values: Floats) -> Floats:
    """Means over cells of `CELL`² values; the last ones may be cut."""
    rows, columns = np.arange(0, values.shape[0], CELL), np.arange(0, values.shape[1], CELL)
    sums = np.add.reduceat(np.add.reduceat(values, rows, axis=0), columns, axis=1)
    high = np.diff(np.append(rows, values.shape[0]))
    wide = np.diff(np.append(columns, values.shape[1]))
    means: Floats = sums / (high[:, None] * wide)
    return means
