"""The mask generator: diffusion features in, class-agnostic masks and their embeddings out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from odise_frame.deformable_attention import autocasting
from odise_frame.mask_decoder import LayerPrediction, MaskDecoder
from odise_frame.pixel_decoder import PixelDecoder
from odise_frame.sizes import OdiseSize

FEATURES = ("s2", "s3", "s4", "s5")
"""Of strides 4, 8, 16 and 32."""


@dataclass(frozen=True, slots=True)
class MaskPredictions:
    """Q masks per image with what is needed to name them. B images, D = hidden width."""

    mask_logits: Tensor
    """`[B, Q, h4, w4]` at stride 4 of the padded image; a pixel is in the mask where it is positive."""
    mask_embed: Tensor
    """`[B, Q, D]`: its angle to projected text says what the mask is."""
    pooled_features: Tensor
    """`[B, Q, D]`: mask-pooled features plus query state, before the last network."""
    class_logits: Tensor | None
    """`[B, Q, 2]` (mask, void) for caption supervision; None for label supervision, whose void is a text embedding."""
    logit_scale: Tensor
    """Scalar in (0, 100] by which cosines are multiplied."""
    mask_features: Tensor
    """`[B, D, h4, w4]`."""
    auxiliary: tuple[LayerPrediction, ...]
    """Predictions of the learnt queries and of every layer but the last, for training; else empty."""
    blocked_counts: tuple[Tensor, ...]
    """Per layer `[B, Q]`: places of the memory that a query's mask blocked (the memory's size: blocked nothing)."""


class MaskGenerator(nn.Module):
    """Pixel decoder and mask decoder; named as the released checkpoints name them below `sem_seg_head.`."""

    def __init__(self, size: OdiseSize) -> None:
        super().__init__()
        self.autocast: torch.dtype | None = None
        self.pixel_decoder = PixelDecoder(size.feature_dim, size.mask_generator)
        self.predictor = MaskDecoder(size.mask_generator, class_agnostic=size.supervision == "caption")

    def forward(self, features: Mapping[str, Tensor], all_layers: bool = False) -> MaskPredictions:
        """Args:
        features: `s2` .. `s5`: `[B, feature_dim, h, w]` at strides 4, 8, 16 and 32.
        all_layers: also predict after every layer (`auxiliary`), as the losses want; costs more.
        """
        scale = self.predictor.post_mask_embed.scale()
        if all_layers:
            pixels = self.pixel_decoder(features)
            decoded = self.predictor(pixels.mask_features, pixels.memories, all_layers=True)
            final, mask_features = decoded.final, pixels.mask_features
            auxiliary, blocked_counts = decoded.auxiliary, decoded.blocked_counts
        else:
            found = self._predict(*(features[name] for name in FEATURES))
            layers = len(self.predictor.transformer_cross_attention_layers)
            mask_features, blocked_counts, rest = found[0], found[1 : 1 + layers], found[1 + layers :]
            final = LayerPrediction(rest[0], rest[1], rest[2], rest[3] if len(rest) > 3 else None)
            auxiliary = ()
        return MaskPredictions(
            mask_logits=final.mask_logits,
            mask_embed=final.mask_embed,
            pooled_features=final.pooled_features,
            class_logits=final.class_logits,
            logit_scale=scale,
            mask_features=mask_features,
            auxiliary=auxiliary,
            blocked_counts=blocked_counts,
        )

    def _predict(self, *features: Tensor) -> tuple[Tensor, ...]:
        """Mask features, blocked counts of every layer, then what `LayerPrediction` has of the last."""
        with autocasting(features[0], self.autocast):
            pixels = self.pixel_decoder(dict(zip(FEATURES, features, strict=True)))
            decoded = self.predictor(pixels.mask_features, pixels.memories)
        final = decoded.final
        class_logits = () if final.class_logits is None else (final.class_logits,)
        predicted = (final.mask_logits, final.mask_embed, final.pooled_features, *class_logits)
        dtype = self.predictor.query_feat.weight.dtype
        return (pixels.mask_features, *decoded.blocked_counts, *(value.to(dtype) for value in predicted))

    def accelerate(
        self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]], autocast: torch.dtype | None
    ) -> None:
        """As `Backbone.accelerate`: of the work on a frame outside training."""
        self.autocast = autocast
        setattr(self, "_predict", wrap(type(self)._predict.__get__(self)))  # noqa: B010
