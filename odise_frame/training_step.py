"""One training step of ODISE up to its loss: images and targets in, losses out, gradients as far as the captioner.

Trained are the captioner, the feature projections, the mask generator and the text projection. Stable Diffusion and
CLIP are frozen; gradients pass through the UNet's activations to the captioner without touching its weights.
Doesn't know: where images come from (`pipelines.training`) and how weights move (`optimization`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from odise_frame.criterion import (
    CaptionTargets,
    CriterionResult,
    MaskCriterion,
    MaskOutput,
    MaskTargets,
    pad_masks,
)
from odise_frame.mask_decoder import LayerPrediction
from odise_frame.mask_generator import MaskPredictions
from odise_frame.model import Odise
from odise_frame.point_sampling import UniformDraws
from odise_frame.vocabulary_text import VocabularyText
from videoseg.errors import InputError


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """B images with what they show; made by `collate`."""

    images: Tensor
    """float [B, 3, H, W] in [0, 1], H and W multiples of 64, black where an image is smaller."""
    targets: tuple[MaskTargets, ...]
    """Masks at the size of the padded batch."""


def collate(images: Sequence[Tensor], targets: Sequence[MaskTargets], divisibility: int = 64) -> TrainingBatch:
    """A batch from images uint8 [3, h, w] or float [3, h, w] in [0, 1], of any sizes, each with its own targets.

    Each image lies in the upper left corner; masks of T targets come as [T, h, w].
    """
    height = max(image.shape[1] for image in images)
    width = max(image.shape[2] for image in images)
    size = (height + -height % divisibility, width + -width % divisibility)
    dtype = images[0].dtype if images[0].is_floating_point() else torch.float32
    batch = images[0].new_zeros(len(images), 3, *size, dtype=dtype)
    for place, image in zip(batch, images, strict=True):
        place[:, : image.shape[1], : image.shape[2]] = image if image.is_floating_point() else image.to(dtype) / 255
    padded = tuple(MaskTargets(target.categories, pad_masks(target.masks, size)) for target in targets)
    return TrainingBatch(batch, padded)


def label_losses(
    model: Odise,
    batch: TrainingBatch,
    text: VocabularyText,
    draw: UniformDraws,
    *,
    criterion: MaskCriterion | None = None,
    mask_count: float | None = None,
) -> CriterionResult:
    """The losses of a batch whose targets have categories of the vocabulary `text`.

    `draw`, `criterion` (by default ODISE's) and `mask_count` as in `MaskCriterion`.
    """
    if model.size.supervision != "label":
        raise InputError(f"The model size {model.size.name!r} learns from captions; it cannot learn from categories.")
    predictions = model.predict_masks(batch.images, all_layers=True)
    outputs = [
        MaskOutput(model.category_logits(layer.mask_embed, text), layer.mask_logits) for layer in _layers(predictions)
    ]
    return (criterion or MaskCriterion())(outputs, batch.targets, draw, mask_count=mask_count)


def caption_losses(
    model: Odise,
    batch: TrainingBatch,
    word_embed: Tensor,
    valid: Tensor,
    draw: UniformDraws,
    *,
    criterion: MaskCriterion | None = None,
    mask_count: float | None = None,
) -> CriterionResult:
    """The losses of a batch whose masks have no category, and whose images have words from a caption.

    `word_embed` float [B, W, text_dim]: W words of each image's caption, prompted, by CLIP's text tower, not
    normalised; `valid` bool [B]: the caption has any. The categories of the targets are not looked at.
    """
    if model.size.supervision != "caption":
        raise InputError(f"The model size {model.size.name!r} learns from categories; it cannot learn from captions.")
    predictions = model.predict_masks(batch.images, all_layers=True)
    outputs = []
    for layer in _layers(predictions):
        assert layer.class_logits is not None  # by this supervision
        outputs.append(MaskOutput(layer.class_logits, layer.mask_logits, layer.mask_embed))
    targets = [MaskTargets(torch.zeros_like(target.categories), target.masks) for target in batch.targets]
    captions = CaptionTargets(model.classifier.text_proj(word_embed), valid, predictions.logit_scale)
    return (criterion or MaskCriterion())(outputs, targets, draw, captions=captions, mask_count=mask_count)


def _layers(predictions: MaskPredictions) -> list[MaskPredictions | LayerPrediction]:
    """The final output, then the auxiliary ones: the order of the losses."""
    return [predictions, *predictions.auxiliary]
