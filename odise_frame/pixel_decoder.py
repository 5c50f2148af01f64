"""The pixel decoder: features of four strides in, a fine feature map for masks and three memories out.

Mask2Former's pixel decoder (Cheng et al., CVPR 2022) on deformable attention. Parameter names are those of the
released ODISE checkpoints below `sem_seg_head.pixel_decoder.`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odise_frame.deformable_attention import DeformableAttention, Shapes, pixel_centres
from odise_frame.position_embedding import sine_positions
from odise_frame.sizes import MaskGeneratorSize

DEFORMABLE_LEVELS = ("s5", "s4", "s3")
"""Coarse to fine: the order of the levels in the encoder and of the memories that come out."""


@dataclass(frozen=True, slots=True)
class PixelFeatures:
    """What the pixel decoder gives out."""

    mask_features: Tensor
    """`[B, D, h4, w4]` at stride 4."""
    memories: tuple[Tensor, Tensor, Tensor]
    """`[B, D, h, w]` at strides 32, 16 and 8."""


class PixelDecoder(nn.Module):
    """A deformable transformer encoder over strides 32, 16 and 8, and one step of feature pyramid down to stride 4."""

    def __init__(self, feature_dim: int, size: MaskGeneratorSize) -> None:
        super().__init__()
        dim, groups = size.hidden_dim, size.norm_groups
        if size.levels != len(DEFORMABLE_LEVELS):
            raise ValueError(f"the pixel decoder has {len(DEFORMABLE_LEVELS)} levels, the size says {size.levels}")
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(feature_dim, dim, kernel_size=1), nn.GroupNorm(groups, dim))
            for _ in DEFORMABLE_LEVELS
        )
        self.transformer = _DeformableTransformer(size)
        self.adapter_1 = _NormedConvolution(feature_dim, dim, kernel_size=1, groups=groups)
        self.layer_1 = _NormedConvolution(dim, dim, kernel_size=3, groups=groups)
        self.mask_features = nn.Conv2d(dim, dim, kernel_size=1)
        for module in (*self.input_proj.modules(), self.mask_features):
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, features: Mapping[str, Tensor]) -> PixelFeatures:
        """Args:
        features: `s2` .. `s5` at strides 4 .. 32, each `[B, feature_dim, h, w]`. Padding is content like any other.
        """
        dtype = self.mask_features.weight.dtype
        levels = [
            projection(features[name].to(dtype))
            for name, projection in zip(DEFORMABLE_LEVELS, self.input_proj, strict=True)
        ]
        coarse, middle, fine = self.transformer(levels)
        lateral = self.adapter_1(features["s2"].to(dtype))
        finest = lateral + F.interpolate(fine, size=lateral.shape[-2:], mode="bilinear", align_corners=False)
        return PixelFeatures(self.mask_features(F.relu(self.layer_1(finest))), (coarse, middle, fine))


class _NormedConvolution(nn.Conv2d):
    """A convolution without bias that keeps its size, and the group norm that the checkpoints file below it."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int, groups: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.GroupNorm(groups, out_channels)
        nn.init.xavier_uniform_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        normed: Tensor = self.norm(super().forward(input))
        return normed


class _DeformableTransformer(nn.Module):
    def __init__(self, size: MaskGeneratorSize) -> None:
        super().__init__()
        self.level_embed = nn.Parameter(torch.randn(size.levels, size.hidden_dim))
        self.encoder = _DeformableEncoder(size)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        """Maps `[B, D, h, w]` in, maps of the same sizes out."""
        shapes = [(level.shape[2], level.shape[3]) for level in levels]
        device, features = levels[0].device, levels[0].shape[1] // 2
        source = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
        position = torch.cat(
            [
                sine_positions(*shape, features, device=device).flatten(1).transpose(0, 1).to(source.dtype) + embed
                for shape, embed in zip(shapes, self.level_embed, strict=True)
            ]
        )
        centres = torch.cat([pixel_centres(*shape, device=device) for shape in shapes]).to(source.dtype)
        output = self.encoder(source, position, centres, shapes)
        parts = output.transpose(1, 2).split([height * width for height, width in shapes], dim=2)
        return [part.view(*part.shape[:2], *shape) for part, shape in zip(parts, shapes, strict=True)]


class _DeformableEncoder(nn.Module):
    def __init__(self, size: MaskGeneratorSize) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DeformableEncoderLayer(size.hidden_dim, size.pixel_decoder_ffn, size.heads, size.levels, size.points)
            for _ in range(size.pixel_decoder_layers)
        )

    def forward(self, source: Tensor, position: Tensor, reference_points: Tensor, shapes: Shapes) -> Tensor:
        for layer in self.layers:
            source = layer(source, position, reference_points, shapes)
        return source


class DeformableEncoderLayer(nn.Module):
    """Deformable self-attention and a two-layer network, each added and then normalised."""

    def __init__(self, dim: int, ffn: int, heads: int, levels: int, points: int) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(dim, heads, levels, points)
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, ffn)
        self.linear2 = nn.Linear(ffn, dim)
        self.norm2 = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, source: Tensor, position: Tensor, reference_points: Tensor, shapes: Shapes) -> Tensor:
        """`source` `[B, S, dim]`, `position` broadcastable to it, `reference_points` as `DeformableAttention` takes."""
        source = self.norm1(source + self.self_attn(source + position, reference_points, source, shapes))
        output: Tensor = self.norm2(source + self.linear2(F.relu(self.linear1(source))))
        return output
