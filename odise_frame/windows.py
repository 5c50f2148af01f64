"""Cutting a padded frame into square windows, and putting maps of windows together again."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """Where the windows of a frame lie: side by side, the last row and column shifted back to end with the frame."""

    height: int
    """Of the padded frame, in pixels."""
    width: int
    side: int
    """Of the square windows: that of the model, or the frame's short side where that is less."""
    corners: tuple[tuple[int, int], ...]
    """(top, left) of every window, row by row."""

    def __len__(self) -> int:
        return len(self.corners)


def plan_windows(height: int, width: int, window: int) -> WindowGrid:
    """The windows of a frame of this padded size, for a model that sees squares of `window` pixels."""
    side = min(window, height, width)
    corners = tuple((top, left) for top in _starts(height, side) for left in _starts(width, side))
    return WindowGrid(height, width, side, corners)


def _starts(length: int, side: int) -> list[int]:
    count = -(-length // side)
    return [min(number * side, length - side) for number in range(count)]


def cut_windows(images: Tensor, grid: WindowGrid) -> Tensor:
    """`[B, C, H, W]` to `[len(grid) * B, C, side, side]`: all images' first window, then all their second, ..."""
    if images.shape[-2:] != (grid.height, grid.width):
        raise ValueError(f"images of {tuple(images.shape)} do not fit a grid over {grid.height} x {grid.width}")
    side = grid.side
    return torch.cat([images[..., top : top + side, left : left + side] for top, left in grid.corners])


def stitch_windows(maps: Tensor, grid: WindowGrid, stride: int) -> Tensor:
    """The inverse for feature maps, with plain averages where windows overlap.

    Args:
        maps: `[len(grid) * B, C, side / stride, side / stride]` in the order of `cut_windows`.
        stride: pixels per cell; divides every corner.

    Returns:
        `[B, C, H / stride, W / stride]`.
    """
    cells = grid.side // stride
    windows = maps.view(len(grid), -1, *maps.shape[1:])
    whole = maps.new_zeros(*windows.shape[1:3], grid.height // stride, grid.width // stride)
    counts = maps.new_zeros(1, 1, *whole.shape[2:])
    for window, (top, left) in zip(windows, grid.corners, strict=True):
        rows, columns = slice(top // stride, top // stride + cells), slice(left // stride, left // stride + cells)
        whole[..., rows, columns] += window
        counts[..., rows, columns] += 1
    return whole / counts
