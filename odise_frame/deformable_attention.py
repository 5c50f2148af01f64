"""Multi-scale deformable attention: every query looks at a few learnt places of every level.

Zhu et al., Deformable DETR, ICLR 2021, section 4.1. Plain PyTorch, the same on every device.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odise_frame.constants import constant

Shapes = Sequence[tuple[int, int]]
"""Height and width of every level, in the order in which the levels are laid end to end."""


class DeformableAttention(nn.Module):
    """Attention over `points` sampled places per head and level, with learnt offsets and weights."""

    def __init__(self, dim: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        # Head h starts out looking in its own direction, point p at distance p + 1 pixels; all places count the same.
        angle = torch.arange(self.heads, dtype=torch.float32) * (2.0 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=-1)
        direction = direction / direction.abs().amax(dim=-1, keepdim=True)
        distance = torch.arange(1, self.points + 1, dtype=torch.float32)
        bias = direction[:, None, None, :] * distance[None, None, :, None]
        nn.init.zeros_(self.sampling_offsets.weight)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.levels, -1, -1).reshape(-1))
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, query: Tensor, reference_points: Tensor, source: Tensor, shapes: Shapes) -> Tensor:
        """Args:
            query: `[B, Q, dim]`.
            reference_points: `[Q, 2]`, (x, y) in units of the map's size, 0..1, the same in every level.
            source: `[B, S, dim]`, all levels end to end; S is the sum of their areas.

        Returns:
            `[B, Q, dim]`.
        """
        batch, queries, dim = query.shape
        split = (batch, queries, self.heads, self.levels, self.points, 2)
        value = self.value_proj(source).view(batch, -1, self.heads, dim // self.heads)
        # Queries go last from here on: `sample_and_sum` says why.
        # Eight bits of a number are not enough to say where to look.
        with not_autocasting(query):
            offsets = self.sampling_offsets(query.to(self.sampling_offsets.weight.dtype))
        offsets = offsets.view(split).permute(0, 2, 3, 4, 1, 5).contiguous()
        weights = torch.matmul(self.attention_weights.weight, query.transpose(1, 2))
        weights = (weights + self.attention_weights.bias[:, None]).view(batch, self.heads, -1, queries).softmax(dim=2)
        # From 0..1 to grid_sample's -1..1.
        per_pixel = _per_pixel(tuple(shapes), device=offsets.device, dtype=offsets.dtype)
        grids = torch.addcmul(2.0 * reference_points - 1.0, offsets, per_pixel[:, None, None, :])
        by_point = weights.view(batch, self.heads, self.levels, self.points, queries)
        output: Tensor = self.output_proj(sample_and_sum(value, shapes, grids, by_point))
        return output


def sample_and_sum(value: Tensor, shapes: Shapes, grids: Tensor, weights: Tensor) -> Tensor:
    """The core: bilinear samples of the values at places of the grids, summed with the weights.

    Args:
        value: `[B, S, heads, d]`, all levels end to end.
        grids: `[B, heads, levels, points, Q, 2]`, (x, y); a level spans -1..1 from edge to edge in both (the
            convention of `grid_sample` with align_corners False). What lies outside counts as zero.
        weights: `[B, heads, levels, points, Q]`.

    Returns:
        `[B, Q, heads * d]`.
    """
    batch, total, heads, channels = value.shape
    levels, points, queries = weights.shape[2:]
    maps = value.permute(0, 2, 3, 1).reshape(batch * heads, channels, total)
    # grid_sample's vector instructions run along the last axis of the grid, so the many queries lie there and not the
    # few points: 2 to 3 times as fast on a CPU as a [queries, points] grid.
    grids = grids.reshape(batch * heads, levels, 1, points * queries, 2)
    weights = weights.reshape(batch * heads, levels, 1, points, queries)
    output: Tensor | None = None
    start = 0
    for level, (height, width) in enumerate(shapes):
        plane = maps[:, :, start : start + height * width].reshape(batch * heads, channels, height, width)
        start += height * width
        sampled = F.grid_sample(plane, grids[:, level], mode="bilinear", padding_mode="zeros", align_corners=False)
        summed = (sampled.view(batch * heads, channels, points, queries) * weights[:, level]).sum(dim=2)
        output = summed if output is None else output + summed
    assert output is not None
    return output.view(batch, heads * channels, queries).transpose(1, 2)


def not_autocasting(like: Tensor) -> AbstractContextManager[object]:
    """Products in its body are computed in the type of their operands."""
    # Tensors without memory know no autocasting.
    return nullcontext() if like.device.type == "meta" else torch.autocast(like.device.type, enabled=False)


def autocasting(like: Tensor, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Products in its body are computed in `dtype`; None: nothing changes."""
    return nullcontext() if dtype is None else torch.autocast(like.device.type, dtype=dtype)


@constant
def _per_pixel(shapes: tuple[tuple[int, int], ...], *, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor([(2.0 / width, 2.0 / height) for height, width in shapes], device=device, dtype=dtype)


@constant
def pixel_centres(height: int, width: int, *, device: torch.device) -> Tensor:
    """float32 `[height * width, 2]`: (x, y) of every pixel's centre in units of the map's size, row by row."""
    y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
    x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], dim=-1).view(-1, 2)
