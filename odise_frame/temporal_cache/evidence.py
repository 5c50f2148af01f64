"""What CLIP saw in a mask, as long as it is the same mask.

When CLIP looks at the masks of a frame, which mask every place belonged to is remembered. Later that map is moved along
with the picture; a new mask that mostly covers one mask's moved places is that mask still, whatever its query's number.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from odise_frame.temporal_cache.flow import Floats, Step, block_of
from odise_frame.temporal_cache.state import MaskMemory

_SAME = 0.5
"""Intersection over union from which two masks are one: above it there is at most one such."""
_SIMILAR = 0.1
"""And from which what CLIP saw in one says more of the other than nothing does: a part of the same thing, mostly."""
_LEAST_CELLS = 8
"""Cells of stride 4: CLIP tells nothing of smaller masks, so they alone are no reason to look again."""
_STRIDE = 4

Label = TypeVar("Label", bound=np.integer)


@dataclass(frozen=True, slots=True, eq=False)
class Recalled:
    """What is remembered of Q masks."""

    embedding: Tensor
    """float32 `[Q, E]`; zeros, which say nothing about any word, where nothing like the mask was there."""
    known: Tensor
    """bool `[Q]`."""


def remember(mask_logits: Tensor, strength: Tensor, embedding: Tensor) -> MaskMemory:
    """What CLIP saw, by place.

    Args:
        mask_logits: `[Q, h4, w4]`.
        strength: `[Q]` in 0..1: how sure it is that there is something; where masks meet, the surer one owns the place.
        embedding: `[Q, E]`.
    """
    values = mask_logits.sigmoid() * strength[:, None, None]
    owner = values.argmax(dim=0)
    inside = mask_logits.gather(0, owner[None])[0] > 0
    used, number = torch.unique(torch.where(inside, owner + 1, 0), return_inverse=True)
    first = int(used[0] != 0)  # no place is void
    kept = used[used > 0] - 1
    places = (number + first).to(torch.uint8).cpu().numpy()
    return MaskMemory(places, embedding[kept].to(torch.float32))


def recall(memory: MaskMemory, mask_logits: Tensor, flow: Floats | None, step: Step | None) -> Recalled:
    """Which of the masks are remembered.

    Args:
        mask_logits: `[Q, h4, w4]` of this frame.
        flow: float32 `[R, C, 2]`, back to the frame that CLIP looked at; None: nothing moved.
        step: says where its blocks lie.
    """
    owner = memory.owner if flow is None or step is None else move_labels(memory.owner, flow, step, _STRIDE)
    places = torch.from_numpy(owner.astype(np.int64)).to(mask_logits.device).flatten()
    masks = (mask_logits > 0).flatten(1).to(torch.float32)
    count = len(memory.embedding) + 1
    shared = masks.new_zeros(len(masks), count).index_add_(1, places, masks)
    areas = torch.bincount(places, minlength=count).to(torch.float32)
    ratio = shared / (masks.sum(dim=1, keepdim=True) + areas - shared).clamp(min=1)
    best, which = ratio[:, 1:].max(dim=1) if count > 1 else (masks.new_zeros(len(masks)), places.new_zeros(len(masks)))
    similar = best > _SIMILAR
    embedding = memory.embedding.new_zeros(len(masks), memory.embedding.shape[1])
    embedding[similar] = memory.embedding[which[similar]]
    return Recalled(embedding, best > _SAME)


def is_new(recalled: Recalled, mask_logits: Tensor, strength: Tensor) -> bool:
    """Whether there is a mask worth looking at of which nothing is remembered."""
    matters = (strength > 0.5) & ((mask_logits > 0).flatten(1).sum(dim=1) >= _LEAST_CELLS)
    return bool((matters & ~recalled.known).any())


def move_labels(
    labels: NDArray[Label], flow: Floats, step: Step, stride: float | tuple[float, float]
) -> NDArray[Label]:
    """A map of labels moved to this frame: every place takes the label of where it was.

    Args:
        labels: `[h, w]`.
        flow: float32 `[R, C, 2]`.
        step: says where its blocks lie.
        stride: pixels of the image per cell of the map, or those down and across.
    """
    down, across = stride if isinstance(stride, tuple) else (stride, stride)
    y = (np.arange(labels.shape[0], dtype=np.float32) + np.float32(0.5)) * np.float32(down)
    x = (np.arange(labels.shape[1], dtype=np.float32) + np.float32(0.5)) * np.float32(across)
    row, column = block_of(y, x, step)
    moved = flow[np.ix_(row, column)]
    then_y = np.floor((y[:, None] + moved[..., 0]) / np.float32(down)).astype(np.intp)
    then_x = np.floor((x[None] + moved[..., 1]) / np.float32(across)).astype(np.intp)
    rows, columns = np.clip(then_y, 0, labels.shape[0] - 1), np.clip(then_x, 0, labels.shape[1] - 1)
    result: NDArray[Label] = labels[rows, columns]
    return result
