"""A frame from pixels to panoptic segments."""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odise_frame.as_reference.backbone import Taps, describe_frame
from odise_frame.as_reference.classification import best_synonyms, embed_masks
from odise_frame.as_reference.mask_generator import predict
from odise_frame.as_reference.post_processing import Row, panoptic
from odise_frame.backbone import pad_frames
from odise_frame.blank import without_starting_values
from odise_frame.ensembling import caption_scores, label_scores
from odise_frame.inference import Geometry
from odise_frame.model import Odise
from odise_frame.open_vocabulary import CategoryHead, cosine_logits
from odise_frame.prompt_encoder import build_prompt_encoder
from odise_frame.timing import StageMeter
from odise_frame.vocabulary_text import VocabularyText


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceResult:
    """What came out, and what it was made from."""

    id_map: Tensor
    """int32 `[H, W]`."""
    segments: list[Row]
    scores: Tensor
    """Log-probabilities `[Q, K + 1]`."""
    mask_logits: Tensor
    """`[Q, h4, w4]`."""
    maps: dict[str, Tensor]
    taps: list[Taps]
    """The eight features of every window."""


class AsReference:
    """The published path over a model's weights.

    Args:
        model: in float32 and in PyTorch's own memory order.
        text: the vocabulary, encoded once, as the published code caches it, too.
        things: categories with instances.
    """

    def __init__(self, model: Odise, text: VocabularyText, things: Collection[int]) -> None:
        self.model, self.text, self.things = model, text, things
        # Its output is thrown away, so it needs no weights but some.
        self.prompt_encoder: nn.Module | None = model.frozen.prompt_encoder
        if self.prompt_encoder is None and model.size.prompt_encoder is not None:
            with without_starting_values():
                self.prompt_encoder = build_prompt_encoder(model.size.prompt_encoder, model.size.clip)
            for parameter in self.prompt_encoder.parameters():
                torch.nn.init.zeros_(parameter)
            self.prompt_encoder.to(model.frozen.empty_prompt.device)

    @torch.inference_mode()
    def segment(self, image: Tensor, output: tuple[int, int], meter: StageMeter) -> ReferenceResult:
        """A frame float32 `[1, 3, h, w]` in [0, 1], resized and not padded, to segments at the size `output`."""
        model, size = self.model, self.model.size
        padded = pad_frames(image, size.size_divisibility)
        maps, taps = describe_frame(model, self.prompt_encoder, padded, meter)
        with meter.stage("heads"):
            mask_logits, mask_embed, class_logits = predict(model.mask_generator, maps)
            own = self._own_logits(mask_embed)
        with meter.stage("mask classification"):
            clip_embed = embed_masks(model, image, mask_logits, (padded.shape[-2], padded.shape[-1]))
            scale = model.frozen.clip.logit_scale.exp().clamp(max=100.0)
            clip = best_synonyms(self.text.synonyms, cosine_logits(clip_embed, self.text.clip_embed, scale))
        with meter.stage("heads"):
            weights = {"seen_weight": size.ensemble_seen, "unseen_weight": size.ensemble_unseen}
            if class_logits is None:
                scores = label_scores(own, clip, self.text.seen, **weights)[0]
            else:
                scores = caption_scores(own, class_logits, clip, self.text.seen, **weights)[0]
        with meter.stage("post-processing"):
            id_map, rows = panoptic(
                scores,
                mask_logits[0],
                Geometry((image.shape[-2], image.shape[-1]), output),
                self.things,
                overlap_threshold=size.overlap_threshold,
                object_threshold=size.object_threshold,
            )
        return ReferenceResult(id_map, rows, scores, mask_logits[0], maps, taps)

    def _own_logits(self, mask_embed: Tensor) -> Tensor:
        model, text = self.model, self.text
        head, scale = model.classifier, model.mask_generator.predictor.post_mask_embed.scale()
        logits = cosine_logits(mask_embed, head.text_proj(text.head_embed), scale)
        best = best_synonyms(text.synonyms, logits)
        if not isinstance(head, CategoryHead):
            return best
        return torch.cat([best, cosine_logits(mask_embed, head.text_proj(head.null_embed), scale)], dim=-1)
