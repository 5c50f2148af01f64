"""Attention as a product, a softmax and a product."""

import torch
from torch import Tensor


def plain_attention(query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None = None) -> Tensor:
    """`[B, heads, N, d]` and `[B, heads, M, d]` twice to `[B, heads, N, d]`, all N x M weights in memory.

    Args:
        blocked: bool `[B * heads, N, M]`, every head its own copy, as `torch.nn.MultiheadAttention` takes it.
    """
    batch, heads, _, width = query.shape
    weights = torch.matmul(query, key.transpose(-2, -1)) * width**-0.5
    if blocked is not None:
        weights = weights.masked_fill(blocked.view(batch, heads, *blocked.shape[1:]), float("-inf"))
    return torch.matmul(weights.softmax(dim=-1), value)
