"""From the eight diffusion features of a window to the four maps s2..s5 that the mask generator reads.

Source: Xu et al., 2023, section 3.2 and the supplement: a residual bottleneck (He et al., 2016) for every feature,
features of one stride summed.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from odise_frame.diffusion_backbone import describe_taps
from odise_frame.sizes import OdiseSize

LEVELS = (2, 3, 4, 5)
"""s2..s5 have strides of 4, 8, 16 and 32 pixels."""


class NormedConvolution(nn.Conv2d):
    """A convolution without bias, then GroupNorm (eps 1e-5)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, groups: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = nn.GroupNorm(groups, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(super().forward(x))
        return normed


class Bottleneck(nn.Module):
    """A residual block: 1x1 to fewer channels, 3x3, 1x1 to `out_channels`."""

    def __init__(self, in_channels: int, middle: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.shortcut = (
            NormedConvolution(in_channels, out_channels, 1, groups) if in_channels != out_channels else nn.Identity()
        )
        self.conv1 = NormedConvolution(in_channels, middle, 1, groups)
        self.conv2 = NormedConvolution(middle, middle, 3, groups)
        self.conv3 = NormedConvolution(middle, out_channels, 1, groups)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, in_channels, h, w]` to `[B, out_channels, h, w]`."""
        hidden = F.relu(self.conv1(x))
        hidden = F.relu(self.conv2(hidden))
        return F.relu(self.conv3(hidden) + self.shortcut(x))


class FeatureProjections(nn.ModuleList):
    """One `Bottleneck` per feature, and the sums over features of one stride.

    Works window by window: GroupNorm's statistics are those of a window.
    """

    def __init__(self, size: OdiseSize) -> None:
        taps = describe_taps(size.vae, size.unet)
        super().__init__(
            Bottleneck(tap.channels, size.bottleneck_dim, size.feature_dim, size.projection_norm_groups) for tap in taps
        )
        self.taps = taps

    def forward(self, features: Sequence[Tensor], side: int) -> dict[str, Tensor]:
        """The maps `s2`..`s5`, each `[B, feature_dim, side / stride, side / stride]`.

        Args:
            features: the eight of `DiffusionBackbone`, each `[B, C, h, w]`.
            side: of the window in the frame, in pixels: a multiple of 32.
        """
        maps: dict[str, Tensor] = {}
        for tap, project, feature in zip(self.taps, self, features, strict=True):
            cells = side >> tap.level
            if feature.shape[-2:] != (cells, cells):
                feature = F.interpolate(feature, size=(cells, cells), mode="nearest")
            name = f"s{tap.level}"
            projected = project(feature)
            maps[name] = maps[name] + projected if name in maps else projected
        return {f"s{level}": maps[f"s{level}"] for level in LEVELS}
