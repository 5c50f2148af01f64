"""The mask generator: diffusion features in, class-agnostic masks and their embeddings out."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from odise_frame.mask_decoder import LayerPrediction, MaskDecoder
from odise_frame.pixel_decoder import PixelDecoder
from odise_frame.sizes import OdiseSize


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
        self.pixel_decoder = PixelDecoder(size.feature_dim, size.mask_generator)
        self.predictor = MaskDecoder(size.mask_generator, class_agnostic=size.supervision == "caption")

    def forward(self, features: Mapping[str, Tensor], all_layers: bool = False) -> MaskPredictions:
        """Args:
        features: `s2` .. `s5`: `[B, feature_dim, h, w]` at strides 4, 8, 16 and 32.
        all_layers: also predict after every layer (`auxiliary`), as the losses want; costs more.
        """
        pixels = self.pixel_decoder(features)
        decoded = self.predictor(pixels.mask_features, pixels.memories, all_layers=all_layers)
        return MaskPredictions(
            mask_logits=decoded.final.mask_logits,
            mask_embed=decoded.final.mask_embed,
            pooled_features=decoded.final.pooled_features,
            class_logits=decoded.final.class_logits,
            logit_scale=self.predictor.post_mask_embed.scale(),
            mask_features=pixels.mask_features,
            auxiliary=decoded.auxiliary,
            blocked_counts=decoded.blocked_counts,
        )
