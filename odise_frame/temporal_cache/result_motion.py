"""Where every pixel of this frame was in the frame of the last result, searched for in the two pictures.

Displacements that are composed frame by frame add up the rounding of every step, and have one value a block, though
outlines run through blocks. So the picture of the last result is kept, reduced. Every block is searched for again
around where the composed displacement puts it, and where neighbours moved differently, every pixel takes the one of
their displacements by which its surroundings match best.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from odise_frame.temporal_cache.flow import Floats

Luma = NDArray[np.uint8]
"""uint8 `[8 R, 8 C]`: brightness, eight pixels a block of motion."""

Label = TypeVar("Label", bound=np.integer)

SIDE = 8
"""Pixels of a block in the reduced picture, as in motion estimation."""
_ROWS = 216
"""Rows of the reduced picture, about: those in which motion is estimated, so that blocks are the same."""
_REACH = 2
"""Pixels searched around the composed displacement: what rounding adds up to in half a second."""
_PREFERENCE = 0.5
"""Levels a pixel by which another displacement must be better than the composed one: noise at this size."""
_APART = 2
"""Pixels between displacements of neighbours from which an outline may run between them."""
_AROUND = 2
"""Pixels around a pixel that are compared with it: 5 × 5 tell an object from what is behind it."""
_OWN = 1.5
"""Levels a pixel by which a neighbour's displacement must be better than the own block's."""
_NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1))


def reduced_factor(frame: tuple[int, int]) -> int:
    """Pixels of a frame of this height and width per pixel of its reduced picture."""
    return max(1, round(min(frame) / _ROWS))


def block_luma(rgb: NDArray[np.uint8]) -> Luma:
    """The reduced picture of a frame uint8 `[H, W, 3]`, its edge repeated up to whole blocks.

    Of every cell two diagonals are read: enough against noise, and quicker than all of it.
    """
    height, width = rgb.shape[:2]
    factor = reduced_factor((height, width))
    rows, columns = max(1, height // factor), max(1, width // factor)
    total = np.zeros((rows, columns), np.uint32)
    for i in range(factor):
        for j in {i, factor - 1 - i}:
            part = rgb[i::factor, j::factor][:rows, :columns].astype(np.uint16)
            total += part[..., 0] + 2 * part[..., 1] + part[..., 2]
    samples = sum(len({i, factor - 1 - i}) for i in range(factor))
    luma = (total // (4 * samples)).astype(np.uint8)
    side = SIDE * factor
    missing = (-(-height // side) * SIDE - rows, -(-width // side) * SIDE - columns)
    return np.pad(luma, ((0, missing[0]), (0, missing[1])), mode="edge")


def search_again(flow: Floats, key: Luma, now: Luma) -> Floats:
    """The displacement of every block, corrected by up to two pixels.

    Args:
        flow: float32 `[R, C, 2]`: (dy, dx) in pixels of the reduced picture, back to the key picture.
        key: of the last result.
        now: of this frame.
    """
    rows, columns = flow.shape[:2]
    base = np.rint(flow).astype(np.intp).reshape(-1, 2)
    then = _patches(key, base, columns, np.arange(len(base)), margin=_REACH)
    blocks = _patches(now, np.zeros_like(base), columns, np.arange(len(base)), margin=0)
    span = range(-_REACH, _REACH + 1)
    # The composed displacement first: of equally good ones, the first is taken.
    offsets = sorted(((dy, dx) for dy in span for dx in span), key=lambda each: (max(map(abs, each)), each))
    best = np.full(len(base), np.iinfo(np.int32).max, np.int32)
    chosen = np.zeros((len(base), 2), np.float32)
    for dy, dx in offsets:
        moved = then[:, _REACH + dy : _REACH + dy + SIDE, _REACH + dx : _REACH + dx + SIDE]
        cost = np.abs(moved - blocks).reshape(len(base), -1).sum(axis=1, dtype=np.int32)
        if (dy, dx) != (0, 0):
            cost += int(_PREFERENCE * SIDE * SIDE)
        better = cost < best
        best[better] = cost[better]
        chosen[better] = (dy, dx)
    corrected: Floats = flow + chosen.reshape(rows, columns, 2)
    return corrected


def displacement_of_pixels(flow: Floats, key: Luma, now: Luma) -> NDArray[np.int32]:
    """The displacement of every pixel of the reduced picture, int32 `[8 R, 8 C, 2]`; arguments as `search_again`."""
    rows, columns = flow.shape[:2]
    whole = np.rint(flow).astype(np.intp)
    found = whole.repeat(SIDE, axis=0).repeat(SIDE, axis=1).astype(np.int32)
    shifted = []
    apart = np.zeros((rows, columns), bool)
    for down, right in _NEIGHBOURS:
        row = np.clip(np.arange(rows) + down, 0, rows - 1)
        column = np.clip(np.arange(columns) + right, 0, columns - 1)
        shifted.append(whole[np.ix_(row, column)])
        apart |= np.abs(shifted[-1] - whole).max(axis=-1) >= _APART
    numbers = np.flatnonzero(apart)
    if not len(numbers):
        return found
    blocks = _patches(now, np.zeros((len(numbers), 2), np.intp), columns, numbers, margin=_AROUND)
    area = (2 * _AROUND + 1) ** 2
    best: NDArray[np.int32] | None = None
    chosen = np.empty((len(numbers), SIDE, SIDE, 2), np.int32)
    for candidate in (whole, *shifted):
        flows = candidate.reshape(-1, 2)[numbers]
        then = _patches(key, flows, columns, numbers, margin=_AROUND)
        cost = _box_sums(np.abs(then - blocks))
        if best is None:
            best = cost
            chosen[:] = flows[:, None, None]
            continue
        cost += int(_OWN * area)
        better = cost < best
        best = np.where(better, cost, best)
        chosen = np.where(better[..., None], flows[:, None, None].astype(np.int32), chosen)
    tiles = found.reshape(rows, SIDE, columns, SIDE, 2)
    row, column = np.divmod(numbers, columns)
    tiles[row, :, column] = chosen
    return found


def move_pixels(labels: NDArray[Label], displacement: NDArray[np.int32]) -> NDArray[Label]:
    """A map of labels `[H, W]` of a frame moved to this one by `displacement_of_pixels`."""
    height, width = labels.shape
    factor = reduced_factor((height, width))
    moved = displacement * factor
    if factor > 1:
        moved = moved.repeat(factor, axis=0).repeat(factor, axis=1)
    rows = np.clip(np.arange(height)[:, None] + moved[:height, :width, 0], 0, height - 1)
    columns = np.clip(np.arange(width)[None] + moved[:height, :width, 1], 0, width - 1)
    result: NDArray[Label] = labels[rows, columns]
    return result


def _patches(
    picture: Luma, flows: NDArray[np.intp], columns: int, numbers: NDArray[np.intp], *, margin: int
) -> NDArray[np.int16]:
    """What some blocks look like where displacements `[N, 2]` put them, with a margin: int16 `[N, s, s]`."""
    row, column = np.divmod(numbers, columns)
    reach = np.arange(-margin, SIDE + margin)
    y = np.clip((row * SIDE + flows[:, 0])[:, None] + reach, 0, picture.shape[0] - 1)
    x = np.clip((column * SIDE + flows[:, 1])[:, None] + reach, 0, picture.shape[1] - 1)
    patches: NDArray[np.int16] = picture[y[:, :, None], x[:, None, :]].astype(np.int16)
    return patches


def _box_sums(values: NDArray[np.int16]) -> NDArray[np.int32]:
    """Sums over 5 × 5 around every pixel of `[N, 12, 12]`: int32 `[N, 8, 8]`."""
    span = 2 * _AROUND + 1
    tall = values[:, :SIDE].astype(np.int32)
    for i in range(1, span):
        tall += values[:, i : i + SIDE]
    sums = tall[:, :, :SIDE].copy()
    for j in range(1, span):
        sums += tall[:, :, j : j + SIDE]
    return sums
