"""Two classifiers' opinions become one: diffusion's mask embedding and CLIP's, by a weighted geometric mean.

Xu et al., ODISE, CVPR 2023, equation 6. All in logarithms, so that a class that one of the two finds impossible comes
out very improbable and never as not-a-number.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

_FLOOR = 1e-8
"""Added to probabilities before the last logarithm, as the published numbers have it."""


def seen_categories(names: Sequence[Sequence[str]], training_names: Iterable[str]) -> Tensor:
    """Which categories the mask generator was trained on: bool `[K]`, any synonym equal to any training string."""
    known = frozenset(training_names)
    return torch.tensor([not known.isdisjoint(category) for category in names], dtype=torch.bool)


def ensemble_open(
    open_logits: Tensor, clip_logits: Tensor, seen: Tensor, *, seen_weight: float, unseen_weight: float
) -> Tensor:
    """The weighted geometric mean of two classifiers over the K open categories, unnormalised, in logarithms.

    Args:
        open_logits: `[..., K]` from the mask embedding, void removed.
        clip_logits: `[..., K]` from CLIP.
        seen: bool `[K]`.
        seen_weight: CLIP's exponent for seen categories (alpha), in [0, 1].
        unseen_weight: CLIP's exponent for the others (beta), in [0, 1].

    Returns:
        `[..., K]`.
    """
    weight = torch.where(
        seen.to(open_logits.device),
        open_logits.new_tensor(seen_weight),
        open_logits.new_tensor(unseen_weight),
    )
    return (1.0 - weight) * open_logits.log_softmax(dim=-1) + weight * clip_logits.log_softmax(dim=-1)


def attach_void(open_logits: Tensor, log_void: Tensor, log_not_void: Tensor) -> Tensor:
    """Final log-probabilities `[..., K + 1]` from `[..., K]` and the logarithms `[...]` of void and its opposite."""
    open_log = open_logits.log_softmax(dim=-1) + log_not_void[..., None]
    return (torch.cat([open_log, log_void[..., None]], dim=-1).exp() + _FLOOR).log()


def label_scores(
    category_logits: Tensor, clip_logits: Tensor, seen: Tensor, *, seen_weight: float, unseen_weight: float
) -> Tensor:
    """Log-probabilities of the label-supervised model.

    The void's probability is the mask generator's own, among all K + 1; CLIP has no say in it.

    Args:
        category_logits: `[..., K + 1]`, void last.
        clip_logits: `[..., K]`.

    Returns:
        `[..., K + 1]`, void last.
    """
    open_logits = category_logits[..., :-1]
    total = category_logits.logsumexp(dim=-1)
    ensembled = ensemble_open(open_logits, clip_logits, seen, seen_weight=seen_weight, unseen_weight=unseen_weight)
    return attach_void(ensembled, category_logits[..., -1] - total, open_logits.logsumexp(dim=-1) - total)


def caption_scores(
    open_logits: Tensor,
    class_logits: Tensor,
    clip_logits: Tensor,
    seen: Tensor,
    *,
    seen_weight: float,
    unseen_weight: float,
) -> Tensor:
    """Log-probabilities of the caption-supervised model.

    Args:
        open_logits: `[..., K]`.
        class_logits: `[..., 2]` (mask, void).
        clip_logits: `[..., K]`.

    Returns:
        `[..., K + 1]`, void last.
    """
    ensembled = ensemble_open(open_logits, clip_logits, seen, seen_weight=seen_weight, unseen_weight=unseen_weight)
    mask, void = class_logits.log_softmax(dim=-1).unbind(dim=-1)
    return attach_void(ensembled, void, mask)
