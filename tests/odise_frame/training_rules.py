"""The rules by which ODISE's golden training numbers were made, and how close is right.

The numbers in `tests/data/odise_training` come from the published code's training step on a tiny model with seeded
weights; `golden_rules` says what the weights and images are.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_rules import uniform
from numpy.typing import NDArray

from odise_frame.criterion import CriterionConfig, MaskTargets, pad_masks

DATA = Path(__file__).resolve().parent.parent / "data" / "odise_training"

RUNS = ("label_ragged", "caption_ragged", "label_sq")
CONFIG = CriterionConfig(points=256)
"""The tiny model's; everything else is as in real training."""
LOGIT_SCALE = 1 / 0.07
OUTPUTS = 4


def suffix(output: int) -> str:
    """Of an output's losses: none for the final one, `_0`.. for the auxiliary ones."""
    return f"_{output - 1}" if output else ""


def seeded_draws(key: str) -> Callable[[tuple[int, ...]], torch.Tensor]:
    """Draw n is U(key + n): `golden.train.label_sq.step0.rand`."""
    count = 0

    def draw(shape: tuple[int, ...]) -> torch.Tensor:
        nonlocal count
        count += 1
        return torch.from_numpy(uniform(f"{key}{count - 1}", shape))

    return draw


class TrainingGolden:
    """One file of golden training numbers."""

    def __init__(self, run: str) -> None:
        self.run = run
        with np.load(DATA / f"golden_train_{run}.npz", allow_pickle=False) as archive:
            self._arrays = {name: archive[name] for name in archive.files}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    @property
    def captioned(self) -> bool:
        return self.run.startswith("caption")

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self[name])

    def categories(self, image: int) -> torch.Tensor:
        categories = self.tensor(f"target{image}.classes")
        return torch.zeros_like(categories) if self.captioned else categories

    def masks(self, image: int) -> torch.Tensor:
        """bool [T, H, W] of the unpadded image."""
        shape = tuple(int(n) for n in self[f"target{image}.masks_shape"])
        bits = np.unpackbits(self[f"target{image}.masks_packed"], axis=1, count=shape[1] * shape[2])
        return torch.from_numpy(bits.reshape(shape).astype(bool))

    @property
    def padded(self) -> tuple[int, int]:
        shapes = [self[f"target{image}.masks_shape"] for image in (0, 1)]
        return max(int(s[1]) for s in shapes), max(int(s[2]) for s in shapes)

    def targets(self) -> list[MaskTargets]:
        return [MaskTargets(self.categories(image), pad_masks(self.masks(image), self.padded)) for image in (0, 1)]

    def probes_of(self, index: int) -> slice:
        """The probed elements of parameter `index` in all `probe.*` arrays."""
        return slice(int(self["probe.offset"][index]), int(self["probe.offset"][index + 1]))
