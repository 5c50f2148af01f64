"""The four losses that train ODISE: cross-entropy of the categories, cross-entropy and dice of the masks, grounding.

Knows: predictions and labels that already lie side by side. Doesn't know: which query belongs to which target
(`matching`), where the masks are read (`point_sampling`), how the losses are weighed and summed (`criterion`).
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def category_cross_entropy(class_logits: Tensor, categories: Tensor, void_weight: float) -> Tensor:
    """Cross-entropy over K categories and void, where void counts less.

    `class_logits` float [B, Q, K + 1], void last; `categories` int64 [B, Q] in 0..K. Returns a scalar: the sum of
    the weighted terms divided by the sum of the weights (not by the number of queries). Source: Mask2Former.
    """
    weights = class_logits.new_ones(class_logits.shape[-1])
    weights[-1] = void_weight
    return F.cross_entropy(class_logits.flatten(0, 1), categories.flatten(), weights)


def mask_cross_entropy(logits: Tensor, labels: Tensor, mask_count: float) -> Tensor:
    """Binary cross-entropy of N masks at P points each, mean over the points, sum over the masks / `mask_count`.

    `logits` float [N, P]; `labels` float [N, P] in [0, 1] (fractional on a boundary). 0 for N = 0.
    """
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1).sum() / mask_count


def dice_loss(logits: Tensor, labels: Tensor, mask_count: float) -> Tensor:
    """1 - (2 sum(p t) + 1) / (sum(p) + sum(t) + 1) of each mask, summed over the masks / `mask_count`.

    `logits` float [N, P]; `labels` float [N, P] in [0, 1]. The ones keep an empty target finite. 0 for N = 0.
    """
    probabilities = logits.sigmoid()
    overlap = 2 * (probabilities * labels).sum(1) + 1
    size = probabilities.sum(1) + labels.sum(1) + 1
    return (1 - overlap / size).sum() / mask_count


def grounding_loss(mask_embed: Tensor, word_embed: Tensor, logit_scale: Tensor | float, valid: Tensor) -> Tensor:
    """Contrast of images with captions: which caption's words find their masks in this image (symmetric InfoNCE).

    `mask_embed` float [B, Q, D] and `word_embed` float [B, W, D], not normalised; `logit_scale` multiplies their
    cosine; `valid` bool [B]: the caption holds at least one word. Returns a scalar. The similarity of an image and a
    caption is the mean over all its words (also invalid ones) of the masks' scaled cosines, averaged by their own
    softmax over the masks. A caption without words contributes 0 to its own row (the sum is still divided by B) and
    weighs 0 as a target; where no caption has words all weigh 1 there. It stays a negative for the others.

    With many workers, pass the embeddings of the global batch. Source: ODISE, section 3.4 (caption supervision).
    """
    masks, words = F.normalize(mask_embed, dim=-1), F.normalize(word_embed, dim=-1)
    scores = logit_scale * torch.einsum("iqd,twd->itqw", masks, words)
    image_to_text = (scores.softmax(2) * scores).sum(2).mean(-1)
    own = torch.arange(len(scores), device=scores.device)
    weights = torch.where(valid.any(), valid, torch.ones_like(valid)).to(scores.dtype)
    to_text = F.cross_entropy(image_to_text, own, weights)
    to_image = (F.cross_entropy(image_to_text.T, own, reduction="none") * valid).mean()
    return (to_text + to_image) / 2
