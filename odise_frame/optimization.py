"""How ODISE's weights move: AdamW with two groups, a short warm-up and two late drops, and a tight gradient limit.

Only what has `requires_grad` is optimised; Stable Diffusion and CLIP stay frozen. All numbers are the reference's as
measured on it; the learning-rate fractions keep their meaning for any number of iterations.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from videoseg.errors import InputError

NORMALISATIONS: tuple[type[nn.Module], ...] = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
    nn.LocalResponseNorm,
    nn.RMSNorm,
)
"""Modules whose parameters are never decayed: their gain belongs near 1, not near 0."""


@dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """Numbers of the optimiser; the defaults are ODISE's, for a batch of 64."""

    learning_rate: float = 1e-4
    """Scale it with the batch."""
    weight_decay: float = 0.05
    """Decoupled (AdamW). 0 for normalisation layers and for parameters named exactly `bias`."""
    gradient_limit: float = 0.01
    """L2 norm over all optimised parameters. Norms are 100 and more, so this always acts: with Adam, which divides by
    the gradients' own scale, it makes every step count the same whatever the loss of its batch."""


@dataclass(frozen=True, slots=True)
class LearningRateSchedule:
    """The factor on the learning rate over a training of `iterations` steps; the defaults are ODISE's."""

    iterations: int = 92188
    """50 epochs of COCO's 118,000 images at batch 64."""
    warmup: float = 500 / 184375
    """Share of the training in which the factor climbs to 1, on a straight line (250 of 92188 iterations)."""
    warmup_start: float = 0.067
    """The factor of the first step."""
    drops: tuple[float, ...] = (163889 / 184375, 177546 / 184375)
    """Shares of the training (88.9 %, 96.3 %) from which on the factor is divided by 10 once more."""

    def factor(self, iteration: int) -> float:
        """The factor that step `iteration` (from 0) is made with."""
        done = iteration / self.iterations
        # A boundary within a millionth of the training is reached: the reference's 250th step, at 0.0027118497 of
        # 0.0027118644, has the full rate.
        if done < self.warmup - 1e-6:
            return self.warmup_start + (1 - self.warmup_start) * done / self.warmup
        return float(0.1 ** sum(done >= drop for drop in self.drops))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The trainable parameters of `model`, each once, in two groups: with `weight_decay`, and without.

    Without: parameters of normalisation layers and parameters whose own name is exactly `bias`. So attention's
    `in_proj_bias`, embeddings, learnable scales and gates do decay (plain Mask2Former exempts embeddings; ODISE does
    not). Each group names its parameters in "names". InputError where nothing is trainable.
    """
    groups: list[dict[str, Any]] = [
        {"params": [], "names": [], "weight_decay": weight_decay},
        {"params": [], "names": [], "weight_decay": 0.0},
    ]
    seen: set[Tensor] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            group = groups[isinstance(module, NORMALISATIONS) or name == "bias"]
            group["params"].append(parameter)
            group["names"].append(f"{prefix}.{name}" if prefix else name)
    if not seen:
        raise InputError("There is nothing to train: every parameter of the model is frozen.")
    return groups


def build_optimizer(model: nn.Module, config: OptimizerConfig | None = None) -> torch.optim.AdamW:
    """AdamW over the trainable parameters of `model`: betas 0.9 and 0.999, eps 1e-8."""
    config = config or OptimizerConfig()
    groups = [group for group in parameter_groups(model, config.weight_decay) if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-8)


def build_schedule(optimizer: torch.optim.Optimizer, schedule: LearningRateSchedule | None = None) -> LambdaLR:
    """Sets the learning rate of step 0 at once; call its `step()` after each of the optimiser's."""
    return LambdaLR(optimizer, (schedule or LearningRateSchedule()).factor)


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> Tensor:
    """Scales all gradients in place by limit / (norm + 1e-6) where their common L2 norm is larger.

    Returns the norm before. Pass the optimised parameters: those of a frozen UNet don't count.
    """
    return nn.utils.clip_grad_norm_(list(parameters), limit)
