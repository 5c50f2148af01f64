"""`Odise`: one frame to masks, and masks to probabilities over any vocabulary.

Source: Xu et al., "Open-Vocabulary Panoptic Segmentation with Text-to-Image Diffusion Models", 2023.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odise_frame.backbone import Backbone
from odise_frame.ensembling import caption_scores, label_scores
from odise_frame.frozen import FrozenParts
from odise_frame.mask_classification import allowed_patches, embed_masks
from odise_frame.mask_generator import MaskGenerator, MaskPredictions
from odise_frame.open_vocabulary import CategoryHead, WordHead, cosine_logits
from odise_frame.quirks import PUBLISHED, Quirks
from odise_frame.sizes import OdiseSize
from odise_frame.timing import StageMeter, StageTimes
from odise_frame.vocabulary_text import VocabularyText

_CLIP_SCALE_MAX = 100.0
"""CLIP's limit for its learnt temperature."""


@dataclass(frozen=True, slots=True, eq=False)
class MaskEvidence:
    """All that is needed to name masks, now or later, in any vocabulary."""

    mask_embed: Tensor
    """float `[..., D]`, of the mask generator."""
    clip_embed: Tensor
    """float `[..., E]`, of CLIP."""
    class_logits: Tensor | None
    """float `[..., 2]` (mask, void) under caption supervision."""

    def packed(self) -> Tensor:
        """One vector per mask: float `[..., D + E (+ 2)]`."""
        parts = [self.mask_embed, self.clip_embed]
        return torch.cat(parts if self.class_logits is None else [*parts, self.class_logits], dim=-1)


class Odise(nn.Module):
    """Backbone, mask generator and two classifiers, of any size.

    The state dict without `frozen.` is what training learns.
    """

    def __init__(self, size: OdiseSize, quirks: Quirks = PUBLISHED) -> None:
        super().__init__()
        self.size = size
        self.quirks = quirks
        self.frozen = FrozenParts(size)
        self.backbone = Backbone(size, quirks)
        self.mask_generator = MaskGenerator(size)
        head = CategoryHead if size.supervision == "label" else WordHead
        self.classifier: CategoryHead | WordHead = head(size.clip.embed_dim, size.mask_generator.hidden_dim)
        self.eval()

    def trained_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Name and parameter of all that training learns."""
        return ((name, p) for name, p in self.named_parameters() if not name.startswith("frozen."))

    def predict_masks(
        self,
        images: Tensor,
        *,
        all_layers: bool = False,
        window_batch: int | None = None,
        meter: StageMeter | None = None,
    ) -> MaskPredictions:
        """Masks without names.

        Args:
            images: float `[B, 3, H, W]` in [0, 1], padded to multiples of 64 (`pad_frames`).
            all_layers: also predict after every decoder layer, as the losses want.
            window_batch: see `Backbone.forward`.
            meter: measures the stages.
        """
        meter = meter or StageTimes()
        features = self.backbone(self.frozen, images, window_batch=window_batch, meter=meter)
        with meter.stage("heads"):
            predictions: MaskPredictions = self.mask_generator(features, all_layers=all_layers)
        return predictions

    def look_at_masks(self, images: Tensor, mask_logits: Tensor, padded: tuple[int, int]) -> Tensor:
        """What CLIP sees in the masks: float `[B, Q, embed_dim]`, not normalised.

        Args:
            images: float `[B, 3, H, W]` in [0, 1], without padding.
            mask_logits: `[B, Q, h, w]`, over the padded images.
            padded: height and width of those in pixels.
        """
        unpadded = (images.shape[-2], images.shape[-1])
        clip, side = self.frozen.clip, self.size.mask_image_size
        allowed = allowed_patches(
            mask_logits, clip, padded=padded, unpadded=unpadded, stretched=self.quirks.stretched_masks, side=side
        )
        return embed_masks(clip, images, allowed, side)

    def category_logits(self, mask_embed: Tensor, text: VocabularyText) -> Tensor:
        """The mask generator's opinion of `[..., Q, D]`: `[..., Q, K + 1]` with void last, under caption supervision
        `[..., Q, K]` without."""
        scale = self.mask_generator.predictor.post_mask_embed.scale()
        logits: Tensor = self.classifier(mask_embed, text.head_embed, text.synonyms, scale)
        return logits

    def clip_logits(self, clip_embed: Tensor, text: VocabularyText) -> Tensor:
        """CLIP's opinion of `[..., Q, E]`: `[..., Q, K]`."""
        scale = self.frozen.clip.logit_scale.exp().clamp(max=_CLIP_SCALE_MAX)
        return text.synonyms.best(cosine_logits(clip_embed, text.clip_embed, scale))

    def score(self, evidence: MaskEvidence, text: VocabularyText) -> Tensor:
        """Both opinions as one: log-probabilities `[..., Q, K + 1]`, void last."""
        own = self.category_logits(evidence.mask_embed, text)
        clip = self.clip_logits(evidence.clip_embed, text)
        seen_weight, unseen_weight = self.size.ensemble_seen, self.size.ensemble_unseen
        if evidence.class_logits is None:
            return label_scores(own, clip, text.seen, seen_weight=seen_weight, unseen_weight=unseen_weight)
        return caption_scores(
            own, evidence.class_logits, clip, text.seen, seen_weight=seen_weight, unseen_weight=unseen_weight
        )

    def unpack_evidence(self, packed: Tensor) -> MaskEvidence:
        """The inverse of `MaskEvidence.packed`; ValueError where the vectors have another length."""
        widths = [self.size.mask_generator.hidden_dim, self.size.clip.embed_dim]
        widths += [2] if self.size.supervision == "caption" else []
        if packed.shape[-1] != sum(widths):
            raise ValueError(f"evidence of this model has {sum(widths)} numbers a mask, got {packed.shape[-1]}")
        mask_embed, clip_embed, *rest = torch.split(packed, widths, dim=-1)
        return MaskEvidence(mask_embed, clip_embed, rest[0] if rest else None)
