"""Which window a place of this frame is taken from, and where in it.

Every window was computed at a time of its own, so each has a flow of its own. A place looks into its own window first;
what came in from a neighbour since then is looked for in the neighbours, as they were when they were computed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from odise_frame.temporal_cache.flow import Floats, Step, block_of
from odise_frame.windows import WindowGrid

_SLACK = 2.0
"""Pixels by which a place may lie outside of a window and still be taken from its edge where no neighbour shows it:
half a cell of the finest map."""


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """For P places of each of N windows: where they come from. All arrays are `[N, P]`."""

    window: NDArray[np.intp]
    y: Floats
    """In pixels, within that window."""
    x: Floats
    covered: NDArray[np.bool_]
    """False where no window shows it: the nearest place of the own window stands in."""


def cell_centres(side: int, stride: int) -> Floats:
    """Centres of the cells of a window, row by row: float32 `[(side / stride)², 2]` as (y, x) in pixels."""
    places = (np.arange(side // stride, dtype=np.float32) + np.float32(0.5)) * stride
    y, x = np.meshgrid(places, places, indexing="ij")
    return np.stack([y.ravel(), x.ravel()], axis=1)


def find_sources(
    places: Floats,
    windows: NDArray[np.intp],
    flows: Floats,
    step: Step,
    grid: WindowGrid,
    image: tuple[int, int],
    order: NDArray[np.intp],
) -> Sources:
    """Where places of some windows come from.

    Args:
        places: float32 `[P, 2]`, (y, x) within a window.
        windows: int `[N]`, which windows are asked for.
        flows: float32 `[W, R, C, 2]`, of every window back to its own time.
        step: says where the blocks lie.
        image: height and width of the image in the padded frame; the padding never moves.
        order: int `[W]`: neighbours are asked in this order.
    """
    corners = np.array(grid.corners, dtype=np.float32)
    own = corners[windows]
    y, x = places[None, :, 0] + own[:, :1], places[None, :, 1] + own[:, 1:]
    row, column = block_of(y, x, step)
    padding = (y >= image[0]) | (x >= image[1])
    moved = flows[windows[:, None], row, column]
    moved = np.where(padding[..., None], np.float32(0), moved)
    # Nothing is taken from the padding either.
    low = np.float32(0.5)
    bottom, right = np.float32(image[0]) - low, np.float32(image[1]) - low
    source_y = np.where(padding, y, np.clip(y + moved[..., 0], low, bottom))
    source_x = np.where(padding, x, np.clip(x + moved[..., 1], low, right))
    window = np.broadcast_to(windows[:, None], y.shape).copy()
    covered = _inside(source_y - own[:, :1], source_x - own[:, 1:], grid.side)
    near_enough = _inside(source_y - own[:, :1], source_x - own[:, 1:], grid.side, slack=_SLACK)
    missing = np.nonzero(~covered)
    if len(missing[0]):
        at_y, at_x, at_row, at_column = y[missing], x[missing], row[missing], column[missing]
        found = np.zeros(len(at_y), dtype=bool)
        for other in order.tolist():
            back = flows[other, at_row, at_column]
            then_y, then_x = at_y + back[:, 0], at_x + back[:, 1]
            corner = corners[other]
            shown = _inside(then_y - corner[0], then_x - corner[1], grid.side)
            shown &= (then_y >= 0) & (then_y <= image[0]) & (then_x >= 0) & (then_x <= image[1])
            shown &= ~found & (other != window[missing])
            chosen = tuple(axis[shown] for axis in missing)
            window[chosen], source_y[chosen], source_x[chosen] = other, then_y[shown], then_x[shown]
            found |= shown
        covered[missing] = found | near_enough[missing]
    origin = corners[window]
    side = np.float32(grid.side)
    return Sources(
        window,
        np.clip(source_y - origin[..., 0], 0, side).astype(np.float32),
        np.clip(source_x - origin[..., 1], 0, side).astype(np.float32),
        covered,
    )


def _inside(y: Floats, x: Floats, side: int, slack: float = 0.0) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (y >= -slack) & (x >= -slack) & (y <= side + slack) & (x <= side + slack)
    return inside


def sample_maps(maps: Tensor, sources: Sources, stride: int, dtype: torch.dtype) -> Tensor:
    """Bilinear samples of the windows' maps.

    Args:
        maps: `[W, n, n, C]`, of every window as it was computed, channels last.
        sources: of `P = n²` places of N windows.
        stride: pixels per cell.
        dtype: of the result.

    Returns:
        `[N, n, n, C]`.
    """
    cells, channels = maps.shape[1], maps.shape[3]
    last = np.float32(cells - 1)
    y = np.clip(sources.y / np.float32(stride) - np.float32(0.5), 0, last)
    x = np.clip(sources.x / np.float32(stride) - np.float32(0.5), 0, last)
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    down, across = (y - top).astype(np.float32), (x - left).astype(np.float32)
    below, beside = np.minimum(top + 1, cells - 1), np.minimum(left + 1, cells - 1)
    base = sources.window.astype(np.int64) * cells * cells
    flat = maps.reshape(-1, channels)
    result: Tensor | None = None
    for row, column, weight in (
        (top, left, (1 - down) * (1 - across)),
        (top, beside, (1 - down) * across),
        (below, left, down * (1 - across)),
        (below, beside, down * across),
    ):
        index = torch.from_numpy((base + row * cells + column).ravel()).to(maps.device)
        share = torch.from_numpy(weight.ravel()).to(maps.device, dtype)
        part = flat.index_select(0, index).to(dtype).mul_(share[:, None])
        result = part if result is None else result.add_(part)
    assert result is not None
    return result.view(len(sources.window), cells, cells, channels)
