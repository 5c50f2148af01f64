"""The blocks of Stable Diffusion's networks, computed from the modules that diffusers builds.

Same outputs as the modules' own, to the last bit, with fewer passes over memory: nothing is divided by 1, nothing is
copied only to lie in another order, and what nobody reads again is overwritten.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Attend(Protocol):
    """How attention is computed."""

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """`[B, heads, N, d]`, `[B, heads, M, d]` twice, to `[B, heads, N, d]`; scaled by 1 / sqrt(d)."""


def fused_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As `Attend`, without ever holding the N x M weights where the device can do without."""
    return F.scaled_dot_product_attention(query, key, value)


def residual(block: Any, hidden: Tensor, time: Tensor | None = None) -> Tensor:
    """A residual block (diffusers' `ResnetBlock2D`): `[B, C, h, w]` to `[B, C', h, w]`.

    Args:
        block: its modules.
        hidden: not changed.
        time: `[B, time_embed_dim]`, the embedding of the time step; None in the autoencoder.
    """
    inner = block.conv1(_activated(block.norm1(hidden)))
    if time is not None:
        inner = inner.add_(block.time_emb_proj(F.silu(time))[:, :, None, None])
    inner = block.conv2(_activated(block.norm2(inner)))
    if block.conv_shortcut is not None:
        hidden = block.conv_shortcut(hidden)
    output: Tensor = inner.add_(hidden)
    return output


def _activated(normed: Tensor) -> Tensor:
    # What a norm gave out nobody else has; autograd would want it back.
    return F.silu(normed, inplace=not torch.is_grad_enabled())


def transformer(module: Any, hidden: Tensor, context: Tensor, attend: Attend = fused_attention) -> Tensor:
    """A spatial transformer (diffusers' `Transformer2DModel` with 1x1 convolutions at its ends): `[B, C, h, w]`.

    Args:
        module: its modules.
        hidden: not changed.
        context: `[B, T, context_dim]`, cross-attended to.
        attend: computes all attention.
    """
    tokens = _tokens(module.proj_in(module.norm(hidden)))
    for block in module.transformer_blocks:
        tokens = tokens + _attention(block.attn1, block.norm1(tokens), None, attend)
        tokens = tokens + _attention(block.attn2, block.norm2(tokens), context, attend)
        tokens = tokens + block.ff(block.norm3(tokens))
    output: Tensor = module.proj_out(_map(tokens, hidden)).add_(hidden)
    return output


def autoencoder_middle(block: Any, hidden: Tensor, attend: Attend = fused_attention) -> Tensor:
    """The autoencoder's middle (diffusers' `UNetMidBlock2D`): two residual blocks, single-headed attention between."""
    hidden = residual(block.resnets[0], hidden)
    attention = block.attentions[0]
    # The norm runs over pixels as they lie; diffusers lays them out as tokens first, to the same statistics.
    attended = _attention(attention, _tokens(attention.group_norm(hidden)), None, attend)
    return residual(block.resnets[1], hidden + _map(attended, hidden))


def _attention(module: Any, tokens: Tensor, context: Tensor | None, attend: Attend) -> Tensor:
    source = tokens if context is None else context
    query, key, value = module.to_q(tokens), module.to_k(source), module.to_v(source)
    query, key, value = (x.view(*x.shape[:2], module.heads, -1).transpose(1, 2) for x in (query, key, value))
    output: Tensor = module.to_out[0](attend(query, key, value).transpose(1, 2).flatten(2))
    return output


def _tokens(maps: Tensor) -> Tensor:
    """`[B, C, h, w]` to `[B, h * w, C]`; no copy where the map has its channels last in memory."""
    return maps.flatten(2).transpose(1, 2)


def _map(tokens: Tensor, like: Tensor) -> Tensor:
    """The inverse, for a map of the size and the order in memory of `like`."""
    maps = tokens.transpose(1, 2).view(len(tokens), -1, *like.shape[-2:])
    return maps.contiguous() if like.is_contiguous() else maps
