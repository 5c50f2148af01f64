"""DeepCache over time: the UNet's deep blocks of a keyframe with shallow blocks of every frame.

Source: Ma et al., "DeepCache: Accelerating Diffusion Models for Free", CVPR 2024; there over the steps of one image's
denoising, here over frames. Autoencoder and captioner run in every frame; of the UNet the first level down and the last
level up do, so the three coarser features are those of the keyframe.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from odise_frame.diffusion_backbone import DiffusionBackbone
from odise_frame.diffusion_blocks import residual, transformer
from odise_frame.flops import StageFlops
from odise_frame.model import Odise
from odise_frame.sizes import OdiseSize
from odise_frame.temporal_cache import WindowNetwork, WindowRequest, WindowResult
from odise_frame.timing import StageMeter


class DeepCacheWindows(WindowNetwork):
    """Every window of every frame, its UNet whole only in every k-th frame."""

    def __init__(self, model: Odise, k: int, meter: StageMeter | None = None) -> None:
        self.model, self.k, self.meter = model, k, meter
        self.diffusion = _Diffusion(model)
        self._kept: dict[tuple[str, int], tuple[Tensor, ...]] = {}

    def run(self, requests: Sequence[WindowRequest], batch: int) -> list[WindowResult]:
        """See `WindowNetwork`; requests of one frame, the order of its windows."""
        model, backbone = self.model, self.model.backbone
        keys = [(request.stream, request.window) for request in requests]
        whole = requests[0].frame % self.k == 0 or any(key not in self._kept for key in keys)
        own = backbone.diffusion
        self.diffusion.kept = (
            None
            if whole
            else tuple(torch.stack(parts) for parts in zip(*(self._kept[key] for key in keys), strict=True))
        )
        backbone.diffusion = self.diffusion
        try:
            pixels = torch.stack([request.pixels for request in requests])
            features = backbone.describe_windows(model.frozen, pixels, meter=self.meter)
        finally:
            backbone.diffusion = own
        if whole:
            for i, key in enumerate(keys):
                self._kept[key] = tuple(part[i] for part in self.diffusion.seen)
        maps = backbone.project(features, requests[0].pixels.shape[-1])
        return [
            WindowResult({name: each[i] for name, each in maps.items()}, features.image_embedding[i])
            for i in range(len(requests))
        ]


@torch.no_grad()
def shallow_unet_flops(size: OdiseSize) -> int:
    """Operations of the UNet for one window of a frame that is no keyframe."""
    with torch.device("meta"):
        model = Odise(size)
    model = model.to("meta").requires_grad_(False)
    meter = StageFlops()
    network = DeepCacheWindows(model, 2, meter)
    pixels = torch.zeros(3, size.window, size.window, device="meta")
    network.run([WindowRequest("", 0, 0, pixels, None)], 1)
    whole = meter.flops["unet"]
    network.run([WindowRequest("", 1, 0, pixels, None)], 1)
    return meter.flops["unet"] - whole


class _Diffusion(DiffusionBackbone):
    """Takes the deep part from `kept` or writes it to `seen`: what enters the last level, then the coarser features."""

    def __init__(self, model: Odise) -> None:
        super().__init__(model.size)
        self.to(model.frozen.empty_prompt.device)
        self.kept: tuple[Tensor, ...] | None = None
        self.seen: tuple[Tensor, ...] = ()

    def denoise(self, unet: Any, latent: Tensor, context: Tensor, time_offset: Tensor) -> tuple[Tensor, ...]:
        """See `DiffusionBackbone`."""
        if self.kept is None:
            entering: list[Tensor] = []
            (grow,) = unet.up_blocks[-2].upsamplers
            hook = grow.register_forward_hook(lambda module, inputs, output: entering.append(output))
            try:
                taps = super().denoise(unet, latent, context, time_offset)
            finally:
                hook.remove()
            self.seen = (entering[0], *taps[:-1])
            return taps
        step = torch.zeros(len(latent), dtype=torch.int64, device=latent.device)
        time = unet.time_embedding(unet.time_proj(step).to(latent.dtype)) + time_offset
        hidden = unet.conv_in(latent)
        skips = [hidden]
        first, last = unet.down_blocks[0], unet.up_blocks[-1]
        for module, attention in zip(first.resnets, first.attentions, strict=True):
            hidden = transformer(attention, residual(module, hidden, time), context, self.attend)
            skips.append(hidden)
        hidden = self.kept[0]
        for module, attention in list(zip(last.resnets, last.attentions, strict=True))[:-1]:
            hidden = residual(module, torch.cat([hidden, skips.pop()], dim=1), time)
            hidden = transformer(attention, hidden, context, self.attend)
        return (*self.kept[1:], torch.cat([hidden, skips.pop()], dim=1))
