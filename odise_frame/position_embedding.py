"""Sine position embedding of pixels, as both decoders of the mask generator use it."""

import math

import torch
from torch import Tensor

from odise_frame.constants import constant


@constant
def sine_positions(height: int, width: int, features: int, *, device: torch.device | None = None) -> Tensor:
    """Where every pixel is, as sines and cosines of its row and column number (Vaswani et al. 2017, in two axes).

    Rows and columns are counted from 1 and scaled so that the last is 2π; sines and cosines alternate.

    Args:
        features: channels per axis, even.

    Returns:
        float32 `[2 * features, height, width]`, first the channels of y, then those of x.
    """
    exponent = torch.arange(features, device=device).div(2, rounding_mode="floor").to(torch.float32) * 2 / features
    wavelength = torch.pow(torch.tensor(10000.0, device=device), exponent)

    def along(size: int) -> Tensor:
        place = torch.arange(1, size + 1, dtype=torch.float32, device=device)
        place = place / (place[-1] + 1e-6) * (2.0 * math.pi)
        angle = place / wavelength[:, None]
        return torch.stack([angle[0::2].sin(), angle[1::2].cos()], dim=1).flatten(0, 1)

    rows = along(height)[:, :, None].expand(-1, -1, width)
    columns = along(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])
