"""Which query answers for which target: pairwise costs and their cheapest assignment (Hungarian, by SciPy).

Without gradient: the assignment is a constant of the loss. Source: DETR, with Mask2Former's costs at points.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from videoseg.errors import VideosegError


@dataclass(frozen=True, slots=True)
class Match:
    """The matched pairs of one image, by ascending query; min(queries, targets) of them."""

    queries: NDArray[np.int64]
    targets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.queries)


def mask_costs(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean binary cross-entropy of every query against every target: [Q, P] and [T, P] -> [Q, T], unweighted."""
    # bce(x, t) = softplus(x) - x t: one matrix product for all pairs.
    return (F.softplus(logits).sum(1, keepdim=True) - logits @ labels.T) / logits.shape[1]


def dice_costs(logits: Tensor, labels: Tensor) -> Tensor:
    """Dice loss of every query against every target: [Q, P] and [T, P] -> [Q, T], unweighted."""
    probabilities = logits.sigmoid()
    overlap = 2 * probabilities @ labels.T + 1
    size = probabilities.sum(1, keepdim=True) + labels.sum(1) + 1
    return 1 - overlap / size


def category_costs(class_logits: Tensor, categories: Tensor) -> Tensor:
    """Minus the probability (softmax over categories and void) of each target's category: [Q, K + 1], [T] -> [Q, T]."""
    return -class_logits.softmax(-1)[:, categories]


def match_costs(costs: NDArray[np.floating]) -> Match:
    """The cheapest assignment for costs [Q, T]; VideosegError where they are not finite (the training diverged)."""
    try:
        queries, targets = linear_sum_assignment(costs)
    except ValueError as error:
        raise VideosegError(
            "Queries and targets cannot be matched because the costs are not finite: the training diverged; "
            "go back to the last checkpoint with a lower learning rate."
        ) from error
    return Match(queries.astype(np.int64), targets.astype(np.int64))


def match_all(costs: list[Tensor]) -> list[Match]:
    """`match_costs` of many matrices [Q, T_i] with one transfer from the device: waiting costs more than solving."""
    if not costs:
        return []
    flat = torch.cat([cost.detach().flatten() for cost in costs]).cpu().numpy()
    ends = np.cumsum([cost.numel() for cost in costs])[:-1]
    return [match_costs(part.reshape(cost.shape)) for part, cost in zip(np.split(flat, ends), costs, strict=True)]
