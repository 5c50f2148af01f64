"""The backbone: padded frames to the four feature maps s2..s5, window by window."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odise_frame.captioner import Caption, ImplicitCaptioner
from odise_frame.clip import embed_images, resize_square
from odise_frame.deformable_attention import autocasting
from odise_frame.diffusion_backbone import DiffusionBackbone
from odise_frame.feature_projection import LEVELS, FeatureProjections
from odise_frame.frozen import FrozenParts
from odise_frame.quirks import PUBLISHED, Quirks
from odise_frame.sizes import OdiseSize
from odise_frame.timing import StageMeter, StageTimes
from odise_frame.windows import WindowGrid, cut_windows, plan_windows, stitch_windows

NAMES = tuple(f"s{level}" for level in LEVELS)

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]
"""What makes a faster function of a function of tensors, modules and numbers that gives a tensor or a tuple of them."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowFeatures:
    """Everything that is known of a batch of windows on the way to their feature maps."""

    image_embedding: Tensor
    """`[B, embed_dim]`, CLIP's, not normalised."""
    caption: Caption
    latent: Tensor
    """`[B, 4, h, w]`, scaled."""
    noisy_latent: Tensor
    taps: tuple[Tensor, ...]
    """The eight features, `[B, C, h, w]` each."""


class Backbone(nn.Module):
    """Captioner and feature projections are its own; the frozen networks are given to its methods."""

    def __init__(self, size: OdiseSize, quirks: Quirks = PUBLISHED) -> None:
        super().__init__()
        self.window = size.window
        self.clip_side = size.caption_image_size or size.clip.image_size
        self.quirks = quirks
        self.captioner = ImplicitCaptioner(size)
        # To be set to False for inference where the captioner's gates are closed: it says the empty prompt whatever it
        # sees, so not looking is exact and saves a fifth of the work.
        self.captioner_sees = True
        self.autocast: torch.dtype | None = None
        self.diffusion = DiffusionBackbone(size)
        self.feature_projections = FeatureProjections(size)

    def plan(self, height: int, width: int) -> WindowGrid:
        """The windows of a padded frame of this size in pixels."""
        return plan_windows(height, width, self.window)

    def forward(
        self, frozen: FrozenParts, images: Tensor, *, window_batch: int | None = None, meter: StageMeter | None = None
    ) -> dict[str, Tensor]:
        """The maps `s2`..`s5` of a batch of frames: `[B, feature_dim, H / stride, W / stride]`, strides 4 to 32.

        Args:
            frozen: gradients flow through its UNet to the captioner; nothing else of it needs any.
            images: float `[B, 3, H, W]` in [0, 1], padded to multiples of 64.
            window_batch: windows go through the networks this many at a time; the last batch is filled up with black,
                so that the shape of the arithmetic, and with it every bit of a window's maps, is the same whatever
                else is in the batch. None: all at once, as they are.
            meter: measures the stages.
        """
        meter = meter or StageTimes()
        grid = self.plan(images.shape[-2], images.shape[-1])
        windows = cut_windows(images, grid)
        count = len(windows)
        batch = window_batch or count
        parts = []
        for start in range(0, count, batch):
            part = windows[start : start + batch]
            if missing := batch - len(part):
                part = torch.cat([part, part.new_zeros(missing, *part.shape[1:])])
            features = self.describe_windows(frozen, part, meter=meter)
            with meter.stage("heads"):
                parts.append(self.project(features, grid.side))
        maps = {name: torch.cat([part[name] for part in parts])[:count] for name in parts[0]}
        return {f"s{level}": stitch_windows(maps[f"s{level}"], grid, 1 << level) for level in LEVELS}

    def describe_windows(
        self,
        frozen: FrozenParts,
        windows: Tensor,
        *,
        embedding: Tensor | None = None,
        meter: StageMeter | None = None,
    ) -> WindowFeatures:
        """Windows float `[B, 3, side, side]` in [0, 1]; a side other than the model's is resized to it.

        Args:
            embedding: what CLIP saw in them (`embed_windows`), where that is known already.
        """
        meter = meter or StageTimes()
        if windows.shape[-1] != self.window:
            windows = resize_square(windows, self.window, mode="bicubic", antialias=False)
        with torch.no_grad():
            if embedding is None:
                embedding = self.embed_windows(frozen, windows, meter=meter)
            with meter.stage("autoencoder"):
                latent, *autoencoder_taps = self._encode(frozen.autoencoder, windows)
        with meter.stage("captioner"):
            caption = self.captioner(embedding, frozen.empty_prompt)
        with meter.stage("unet"):
            noisy, *unet_taps = self._denoise(frozen.unet, latent, caption.context, caption.time_offset)
        taps = (*autoencoder_taps[:2], *unet_taps, *autoencoder_taps[2:])
        return WindowFeatures(embedding, caption, latent, noisy, taps)

    def _encode(self, autoencoder: nn.Module, windows: Tensor) -> tuple[Tensor, ...]:
        """The latent, then features 0, 1, 6 and 7."""
        encoded = self.diffusion.encode(autoencoder, windows)
        return (encoded.latent, *encoded.taps, *self.diffusion.decode(autoencoder, encoded.latent))

    def _denoise(self, unet: nn.Module, latent: Tensor, context: Tensor, time_offset: Tensor) -> tuple[Tensor, ...]:
        """The noised latent, then features 2 to 5."""
        noisy = self.diffusion.noised(latent)
        return (noisy, *self.diffusion.denoise(unet, noisy, context, time_offset))

    def embed_windows(self, frozen: FrozenParts, windows: Tensor, *, meter: StageMeter | None = None) -> Tensor:
        """What CLIP sees in windows float `[B, 3, side, side]`: `[B, embed_dim]`, zeros where nobody asks for it."""
        with (meter or StageTimes()).stage("captioner"), torch.no_grad():
            if not self.captioner_sees:
                return windows.new_zeros(len(windows), frozen.clip.visual.output_dim)
            if windows.shape[-1] != self.window:
                windows = resize_square(windows, self.window, mode="bicubic", antialias=False)
            return self._see(frozen.clip, windows)

    def _see(self, clip: nn.Module, windows: Tensor) -> Tensor:
        seen = resize_square(windows, self.clip_side, mode="bicubic", antialias=self.quirks.captioner_antialias)
        return embed_images(clip, seen)

    def project(self, features: WindowFeatures, side: int) -> dict[str, Tensor]:
        """The maps of the windows, each `[B, feature_dim, side / stride, side / stride]`."""
        return dict(zip(NAMES, self._project(features.taps, side), strict=True))

    def _project(self, taps: tuple[Tensor, ...], side: int) -> tuple[Tensor, ...]:
        """s2 to s5, in the type of the projections' weights."""
        dtype = self.captioner.alpha_cond.dtype
        with autocasting(taps[0], self.autocast):
            maps = self.feature_projections([tap if self.autocast else tap.to(dtype) for tap in taps], side)
        return tuple(maps[name].to(dtype) for name in NAMES)

    def accelerate(self, wrap: Wrap, autocast: torch.dtype | None) -> None:
        """Has the parts of the work on windows run as `wrap` makes them.

        Args:
            wrap: gets each part, a function of tensors, modules and numbers, and gives what is called in its place;
                what an earlier call put there goes.
            autocast: the type in which the projections' products are computed; None: that of their weights.
        """
        self.autocast = autocast
        for name in ("_see", "_encode", "_denoise", "_project"):
            setattr(self, name, wrap(getattr(type(self), name).__get__(self)))


def pad_frames(images: Tensor, divisibility: int) -> Tensor:
    """`[B, 3, H, W]` with black added at the right and below until both sides are multiples of `divisibility`."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % divisibility, 0, -height % divisibility))
