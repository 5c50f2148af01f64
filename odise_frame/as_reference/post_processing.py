"""Panoptic inference over masks at the frame's size, one query after the other."""

from collections.abc import Collection

import torch
from torch import Tensor

from odise_frame.inference import Geometry, resize_masks

Row = tuple[int, int, bool]
"""Id, category, whether it is a thing."""


def panoptic(
    log_probabilities: Tensor,
    mask_logits: Tensor,
    geometry: Geometry,
    things: Collection[int],
    *,
    overlap_threshold: float,
    object_threshold: float,
) -> tuple[Tensor, list[Row]]:
    """Arguments as of `panoptic_inference`; an id map int32 `[H, W]` and its segments."""
    masks = resize_masks(mask_logits, geometry).sigmoid()
    scores, labels = log_probabilities.softmax(dim=-1).max(dim=-1)
    keep = labels.ne(log_probabilities.shape[-1] - 1) & (scores > object_threshold)
    kept_scores, kept_labels, kept = scores[keep], labels[keep], masks[keep]
    id_map = torch.zeros(geometry.output, dtype=torch.int32, device=masks.device)
    rows: list[Row] = []
    if len(kept) == 0:
        return id_map, rows
    winner = (kept_scores.view(-1, 1, 1) * kept).argmax(dim=0)
    stuff: dict[int, int] = {}
    for query in range(len(kept)):
        category = int(kept_labels[query].item())
        won = winner == query
        area = won.sum().item()
        claimed = (kept[query] >= 0.5).sum().item()
        final = won & (kept[query] >= 0.5)
        if area == 0 or claimed == 0 or final.sum().item() == 0 or area / claimed < overlap_threshold:
            continue
        if category in stuff:
            id_map[final] = stuff[category]
            continue
        rows.append((len(rows) + 1, category, category in things))
        if category not in things:
            stuff[category] = len(rows)
        id_map[final] = len(rows)
    return id_map, rows
