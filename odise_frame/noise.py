"""The diffusion schedule: how much noise a time step stands for.

Source: Rombach et al., 2022 (the "scaled linear" schedule of Stable Diffusion v1).
"""

import torch
from torch import Tensor

STEPS = 1000


def alphas_cumprod() -> Tensor:
    """Share of the signal's variance that is left after each time step: float64 `[1000]`, from 0.99915 down."""
    betas = torch.linspace(0.00085**0.5, 0.0120**0.5, STEPS, dtype=torch.float64, device="cpu") ** 2
    return torch.cumprod(1.0 - betas, dim=0)


def add_noise(latent: Tensor, noise: Tensor, steps: Tensor) -> Tensor:
    """The latent after `steps` of noising: sqrt(a) latent + sqrt(1 - a) noise.

    Args:
        latent: float `[B, C, h, w]`.
        noise: broadcastable to it, standard normal.
        steps: integer `[B]` or `[1]` in 0..999; 0 is one step of noise, not none.
    """
    share = alphas_cumprod().to(latent.device)[steps].view(-1, 1, 1, 1)
    return share.sqrt().to(latent.dtype) * latent + (1.0 - share).sqrt().to(latent.dtype) * noise
