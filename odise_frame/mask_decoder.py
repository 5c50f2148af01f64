"""The mask decoder: queries attend to the memories inside their own masks, layer by layer, and become masks.

Mask2Former's masked-attention transformer decoder (Cheng et al., CVPR 2022) with ODISE's pooled mask embedding (Xu et
al., CVPR 2023, section 3.3). Parameter names are those of the released ODISE checkpoints below
`sem_seg_head.predictor.`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odise_frame.deformable_attention import not_autocasting
from odise_frame.position_embedding import sine_positions
from odise_frame.sizes import MaskGeneratorSize

_LOGIT_SCALE_MAX = 100.0
"""CLIP's limit for the learnt temperature."""


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """What the queries predict after one layer; index 0 along a batch of images, then queries."""

    mask_logits: Tensor
    """`[B, Q, h4, w4]` at stride 4."""
    mask_embed: Tensor
    """`[B, Q, D]`: to be compared with projected text, by angle."""
    pooled_features: Tensor
    """`[B, Q, D]`: projected mask-pooled pixel features plus the query's state; `mask_embed` is computed from it."""
    class_logits: Tensor | None
    """`[B, Q, 2]` (mask, void) where supervision is by captions; None where it is by labels."""


@dataclass(frozen=True, slots=True)
class DecodedMasks:
    """All predictions of the decoder."""

    final: LayerPrediction
    auxiliary: tuple[LayerPrediction, ...]
    """From the learnt queries, then after every layer but the last; empty unless they were asked for."""
    blocked_counts: tuple[Tensor, ...]
    """Per layer `[B, Q]`: how many places of its memory a query's mask blocked; all of them: nothing was blocked."""


class MaskDecoder(nn.Module):
    """Queries to masks and mask embeddings."""

    def __init__(self, size: MaskGeneratorSize, *, class_agnostic: bool) -> None:
        super().__init__()
        dim, layers = size.hidden_dim, range(size.decoder_layers)
        self.transformer_cross_attention_layers = nn.ModuleList(_CrossAttentionLayer(dim, size.heads) for _ in layers)
        self.transformer_self_attention_layers = nn.ModuleList(_SelfAttentionLayer(dim, size.heads) for _ in layers)
        self.transformer_ffn_layers = nn.ModuleList(_FeedForwardLayer(dim, size.decoder_ffn) for _ in layers)
        self.decoder_norm = nn.LayerNorm(dim)
        self.query_feat = nn.Embedding(size.queries, dim)
        self.query_embed = nn.Embedding(size.queries, dim)
        self.level_embed = nn.Embedding(size.levels, dim)
        self.class_embed = nn.Linear(dim, 2) if class_agnostic else None
        self.mask_embed = Perceptron(dim, layers=3)
        self.post_mask_embed = PooledMaskEmbed(dim)

    def forward(self, mask_features: Tensor, memories: Sequence[Tensor], *, all_layers: bool = False) -> DecodedMasks:
        """Args:
        mask_features: `[B, D, h4, w4]`.
        memories: `[B, D, h, w]` per level, coarse to fine; layer i attends to level i modulo their number.
        all_layers: also give the predictions of the layers before the last, for training.
        """
        batch, dim = mask_features.shape[:2]
        keys, values = [], []
        sizes = [(memory.shape[-2], memory.shape[-1]) for memory in memories]
        for memory, size, embed in zip(memories, sizes, self.level_embed.weight, strict=True):
            position = sine_positions(*size, dim // 2, device=memory.device).to(memory.dtype)
            value = memory.flatten(2).transpose(1, 2) + embed
            keys.append(value + position.flatten(1).transpose(0, 1))
            values.append(value)
        if all_layers:
            small_features: list[Tensor] = []
        else:
            # Resizing and the product with a query commute, so the masks between the layers, which only say where to
            # look, are made at the memory's size straight away: a fraction of the work at stride 4.
            small_features = [_resize(mask_features, size) for size in sizes]

        position = self.query_embed.weight
        state = self.query_feat.weight.expand(batch, -1, -1)
        auxiliary, blocked_counts = [], []
        for i, (cross_attention, self_attention, feed_forward) in enumerate(
            zip(
                self.transformer_cross_attention_layers,
                self.transformer_self_attention_layers,
                self.transformer_ffn_layers,
                strict=True,
            )
        ):
            level = i % len(memories)
            if all_layers:
                prediction = self._predict(self.decoder_norm(state), mask_features)
                auxiliary.append(prediction)
                small_mask = _resize(prediction.mask_logits.detach(), sizes[level])
            else:
                small_mask = _masks(self.mask_embed(self.decoder_norm(state)), small_features[level]).detach()
            # Compared after the sigmoid, as the model was trained: a logit of -1e-8 is not blocked.
            blocked = small_mask.flatten(2).sigmoid() < 0.5
            count = blocked.sum(dim=-1)
            blocked_counts.append(count)
            allowed = ~blocked | (count == blocked.shape[-1])[..., None]
            state = cross_attention(state, position, keys[level], values[level], allowed)
            state = self_attention(state, position)
            state = feed_forward(state)
        final = self._predict(self.decoder_norm(state), mask_features)
        return DecodedMasks(final, tuple(auxiliary), tuple(blocked_counts))

    def _predict(self, normed: Tensor, mask_features: Tensor) -> LayerPrediction:
        mask_logits = _masks(self.mask_embed(normed), mask_features)
        mask_embed, pooled = self.post_mask_embed(normed, mask_features, mask_logits)
        class_logits = None if self.class_embed is None else self.class_embed(normed)
        return LayerPrediction(mask_logits, mask_embed, pooled, class_logits)


class PooledMaskEmbed(nn.Module):
    """A mask's embedding for classification: pixel features pooled inside the mask, and the query's state."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.pool_proj = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, dim))
        self.mask_embed = nn.Sequential(nn.LayerNorm(dim), Perceptron(dim, layers=3))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1.0 / 0.07)))

    def forward(self, normed: Tensor, mask_features: Tensor, mask_logits: Tensor) -> tuple[Tensor, Tensor]:
        """Args:
            normed: `[B, Q, D]`, the queries' states after the decoder's norm.
            mask_features: `[B, D, h, w]`; gradients flow into them.
            mask_logits: `[B, Q, h, w]`; used as a hard mask, without gradient. An empty mask pools zeros.

        Returns:
            mask embedding `[B, Q, D]`, pooled features plus state `[B, Q, D]`.
        """
        mask = (mask_logits.detach().sigmoid() > 0.5).flatten(2).to(mask_features.dtype)
        pooled = mask @ mask_features.flatten(2).transpose(1, 2) / (mask.sum(dim=-1, keepdim=True) + 1e-8)
        features = self.pool_proj(pooled) + normed
        return self.mask_embed(features), features

    def scale(self) -> Tensor:
        """What cosines are multiplied with: a scalar in (0, 100]."""
        return self.logit_scale.exp().clamp(max=_LOGIT_SCALE_MAX)


class Perceptron(nn.Module):
    """Linear layers of one width with ReLU between them."""

    def __init__(self, dim: int, *, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(dim, dim) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(F.relu(x) if i else x)
        return x


class _Attention(nn.Module):
    """Multi-head attention with the parameters of `torch.nn.MultiheadAttention`, and masks that all heads share."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        for weight in (self.in_proj_weight, self.out_proj.weight):
            nn.init.xavier_uniform_(weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None = None) -> Tensor:
        """`[B, Q, D]`, `[B, N, D]`, `[B, N, D]` and bool `[B, Q, N]` to `[B, Q, D]`."""
        q, k, v = (
            F.linear(x, weight, bias).view(*x.shape[:2], self.heads, -1).transpose(1, 2)
            for x, weight, bias in zip(
                (query, key, value), self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3), strict=True
            )
        )
        mask = None if allowed is None else allowed[:, None]
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        output: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return output


class _CrossAttentionLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn = _Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, state: Tensor, position: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
        output: Tensor = self.norm(state + self.multihead_attn(state + position, key, value, allowed))
        return output


class _SelfAttentionLayer(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.self_attn = _Attention(dim, heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, state: Tensor, position: Tensor) -> Tensor:
        placed = state + position
        output: Tensor = self.norm(state + self.self_attn(placed, placed, state))
        return output


class _FeedForwardLayer(nn.Module):
    def __init__(self, dim: int, ffn: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, ffn)
        self.linear2 = nn.Linear(ffn, dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, state: Tensor) -> Tensor:
        output: Tensor = self.norm(state + self.linear2(F.relu(self.linear1(state))))
        return output


def _masks(embed: Tensor, features: Tensor) -> Tensor:
    """`[B, Q, D]` and `[B, D, h, w]` to logits `[B, Q, h, w]`, of full precision whatever is around: edges are where
    they are almost 0."""
    height, width = features.shape[-2:]
    dtype = torch.promote_types(embed.dtype, torch.float32)
    with not_autocasting(embed):
        return (embed.to(dtype) @ features.to(dtype).flatten(2)).view(*embed.shape[:2], height, width)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
