"""`SharedMasks`: several readings of the same masks, found once a frame."""

import copy
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from torch import Tensor

from odise_frame.mask_generator import MaskPredictions
from odise_frame.model import Odise


class SharedMasks:
    """Copies of a model that share its weights and, of the frame that was looked at last, its masks.

    Such copies may differ in all that comes after the masks: names, and how the two classifiers are weighed.
    """

    def __init__(self, model: Odise) -> None:
        self._model = model
        self._masks: tuple[bytes, MaskPredictions] | None = None
        self._seen: tuple[bytes, Tensor] | None = None

    def reader(self, change: Callable[[Odise], None] | None = None) -> Odise:
        """A copy, changed."""
        reader = copy.copy(self._model)
        reader.predict_masks = self._predict_masks  # type: ignore[method-assign]
        reader.look_at_masks = self._look_at_masks  # type: ignore[method-assign]
        if change is not None:
            change(reader)
        return reader

    def _predict_masks(self, images: Tensor, **options: Any) -> MaskPredictions:
        key = _digest(images)
        if self._masks is None or self._masks[0] != key:
            self._masks = key, self._model.predict_masks(images, **options)
        return self._masks[1]

    def _look_at_masks(self, images: Tensor, mask_logits: Tensor, padded: tuple[int, int]) -> Tensor:
        key = _digest(images)
        if self._seen is None or self._seen[0] != key:
            self._seen = key, self._model.look_at_masks(images, mask_logits, padded)
        return self._seen[1]


def _digest(images: Tensor) -> bytes:
    return sha256(images.cpu().numpy().tobytes()).digest()
