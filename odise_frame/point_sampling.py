"""Reading masks at points instead of everywhere: what makes matching and mask losses affordable at full resolution.

A point is (x, y) in [0, 1] of the padded image, so that the same point reads the stride-4 logits and the
full-resolution target at the same place: bilinearly, pixel centres at + 0.5, zero outside. Source: PointRend.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

UniformDraws = Callable[[tuple[int, ...]], Tensor]
"""Gives a tensor of this shape of uniform draws from [0, 1). The only randomness of a training step."""


def uniform_draws(generator: torch.Generator, dtype: torch.dtype = torch.float32) -> UniformDraws:
    """Draws of this generator, on its device."""

    def draw(shape: tuple[int, ...]) -> Tensor:
        return torch.rand(shape, generator=generator, device=generator.device, dtype=dtype)

    return draw


def read_logits(maps: Tensor, points: Tensor) -> Tensor:
    """Values of N maps at points, with gradient: `maps` float [N, h, w], `points` [N or 1, P, 2] -> float [N, P].

    One row of points serves all maps where `points` has length 1.
    """
    if not len(maps):
        # Still a function of the maps: their parameters get a gradient of 0 rather than none.
        return maps.flatten(1)[:, :1].expand(0, points.shape[1])
    grid = (2 * points - 1).to(maps.dtype)
    if len(points) == 1:
        return F.grid_sample(maps[None], grid[:, None], align_corners=False)[0, :, 0]
    return F.grid_sample(maps[:, None], grid[:, None], align_corners=False)[:, 0, 0]


def read_masks(masks: Tensor, points: Tensor, rows: Tensor | None = None) -> Tensor:
    """Values of binary masks at points, in the dtype of the points; fractional on a boundary.

    `masks` bool or uint8 [T, H, W]. Without `rows`, all masks at the same points: `points` [1, P, 2] -> [T, P]. With
    `rows` int64 [N], mask `rows[n]` at `points[n]`: [N, P, 2] -> [N, P].

    Reads the four neighbours of every point out of the bytes: a float copy of twenty masks of 1024 × 1024 would take
    longer than everything else in the criterion.
    """
    count, height, width = masks.shape
    # The order of operations is grid_sample's, so that logits and labels round to the same place.
    grid = 2 * points - 1
    x = ((grid[..., 0] + 1) * width - 1) / 2
    y = ((grid[..., 1] + 1) * height - 1) / 2
    left, top = x.floor(), y.floor()
    in_columns = [(left, left + 1 - x), (left + 1, x - left)]
    in_rows = [(top, top + 1 - y), (top + 1, y - top)]
    if rows is None:
        flat = masks.reshape(count, height * width)
        values = points.new_zeros(count, points.shape[1])
    else:
        flat = masks.reshape(-1)
        values = points.new_zeros(points.shape[:2])
    for column, weight_x in in_columns:
        for row, weight_y in in_rows:
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            index = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            if rows is None:
                corner = flat.index_select(1, index[0])
            else:
                corner = flat.take(index + rows[:, None] * (height * width))
            values += corner * (weight_x * weight_y * inside)
    return values


def uncertain_points(mask_logits: Tensor, candidates: Tensor, count: int) -> Tensor:
    """The `count` of each mask's candidates whose logit is nearest 0, most uncertain first.

    `mask_logits` float [N, h, w]; `candidates` [N, C, 2] with C >= `count`. Returns [N, count, 2], without gradient.
    """
    with torch.no_grad():
        uncertainty = -read_logits(mask_logits, candidates).abs()
        chosen = uncertainty.topk(count, dim=1).indices
        return candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
