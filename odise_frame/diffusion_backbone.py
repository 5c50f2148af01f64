"""The frozen latent-diffusion feature extractor: what Stable Diffusion knows about a window, at eight places.

A window is encoded, noised by one step and passed once through the UNet; its clean latent enters the decoder. The
features are the inputs of eight blocks. Nothing behind the last of them is computed: neither the UNet's last block and
output nor the decoder's two largest levels.

Source: Xu et al., "Open-Vocabulary Panoptic Segmentation with Text-to-Image Diffusion Models", 2023, section 3.2.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odise_frame.autoencoder import LATENT_CHANNELS
from odise_frame.diffusion_blocks import Attend, autoencoder_middle, fused_attention, residual, transformer
from odise_frame.noise import alphas_cumprod
from odise_frame.sizes import OdiseSize, UnetSize, VaeSize

NOISE_SEED = 42

# Blocks whose input is a feature, as (level, residual block) in diffusers' numbering: in the decoder and on the UNet's
# way up, level 0 is the coarsest.
_ENCODER_BLOCKS = frozenset({(2, 1), (3, 1)})
_UNET_BLOCK = 2  # the last of its level, in all four levels
_DECODER_BLOCKS = frozenset({(0, 2), (1, 2)})


@dataclass(frozen=True, slots=True)
class Tap:
    """One of the eight features."""

    channels: int
    stride: int
    """Pixels of the window per cell, as the network makes it."""
    level: int
    """Which of the maps s2..s5 it becomes a part of; their stride is 2 to the power of it."""


def describe_taps(vae: VaeSize, unet: UnetSize) -> tuple[Tap, ...]:
    """The eight features in their order: two of the encoder, four of the UNet, two of the decoder."""
    return (
        Tap(vae.channels[2], 4, 2),
        Tap(vae.channels[3], 8, 3),
        # Joined with the skip connection from the next finer level (on the finest: from the first convolution).
        Tap(unet.channels[3] + unet.channels[2], 64, 5),
        Tap(unet.channels[2] + unet.channels[1], 32, 5),
        Tap(unet.channels[1] + unet.channels[0], 16, 4),
        Tap(unet.channels[0] + unet.channels[0], 8, 3),
        Tap(vae.channels[3], 8, 3),
        Tap(vae.channels[3], 4, 2),
    )


def shared_noise(side: int) -> Tensor:
    """The one noise tensor that every window gets: float32 `[1, 4, side, side]`."""
    generator = torch.Generator("cpu").manual_seed(NOISE_SEED)
    return torch.randn(1, LATENT_CHANNELS, side, side, generator=generator, device="cpu")


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """What the encoder makes of a batch of windows."""

    latent: Tensor
    """`[B, 4, h, w]`, the posterior's mean times the scale factor."""
    taps: tuple[Tensor, ...]
    """Features 0 and 1."""


class DiffusionBackbone(nn.Module):
    """Eight features of a window from a frozen autoencoder and UNet, which belong to somebody else.

    The two networks are arguments of the methods rather than modules of this one: they are shared, never trained with
    it and not part of its state.
    """

    noise: Tensor
    attend: Attend = staticmethod(fused_attention)

    def __init__(self, size: OdiseSize) -> None:
        super().__init__()
        self.scale_factor = size.vae.scale_factor
        # Of time step 0: one step of noise, not none.
        share = alphas_cumprod()[0]
        self.signal_share, self.noise_share = float(share.sqrt()), float((1.0 - share).sqrt())
        self.register_buffer("noise", shared_noise(size.noise_size), persistent=False)

    def encode(self, autoencoder: Any, windows: Tensor) -> Encoded:
        """Windows float `[B, 3, H, W]` in [0, 1], sides divisible by 64; the latent has their type."""
        encoder = autoencoder.encoder
        taps = []
        hidden = encoder.conv_in(windows.to(encoder.conv_in.weight.dtype) * 2.0 - 1.0)
        for level, block in enumerate(encoder.down_blocks):
            for number, module in enumerate(block.resnets):
                if (level, number) in _ENCODER_BLOCKS:
                    taps.append(hidden)
                hidden = residual(module, hidden)
            for shrink in block.downsamplers or ():
                hidden = shrink(hidden)
        hidden = autoencoder_middle(encoder.mid_block, hidden, self.attend)
        hidden = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(hidden)))
        mean = autoencoder.quant_conv(hidden)[:, :LATENT_CHANNELS].to(windows.dtype)
        return Encoded(self.scale_factor * mean, tuple(taps))

    def noised(self, latent: Tensor) -> Tensor:
        """The latent after one step of noising with the shared noise, resized where the latent has another side."""
        noise = self.noise.to(latent.dtype)
        if noise.shape[-2:] != latent.shape[-2:]:
            noise = F.interpolate(noise, size=latent.shape[-2:], mode="bicubic", align_corners=False)
        return self.signal_share * latent + self.noise_share * noise

    def denoise(self, unet: Any, latent: Tensor, context: Tensor, time_offset: Tensor) -> tuple[Tensor, ...]:
        """Features 2 to 5, from one pass of the UNet at time step 0.

        Args:
            unet: frozen; gradients flow through it to `context` and `time_offset`.
            latent: `[B, 4, h, w]`, noised.
            context: `[B, T, context_dim]`, what the UNet cross-attends to.
            time_offset: `[B, time_embed_dim]`, added to the embedding of the time step.
        """
        return self.run_unet(unet, latent, context, time_offset, whole=False)[0]

    def predict_noise(self, unet: Any, latent: Tensor, context: Tensor, time_offset: Tensor) -> Tensor:
        """The UNet's output, which ODISE has no use for: `[B, 4, h, w]`. Arguments as of `denoise`."""
        output = self.run_unet(unet, latent, context, time_offset, whole=True)[1]
        assert output is not None
        return output

    def decode(self, autoencoder: Any, latent: Tensor) -> tuple[Tensor, ...]:
        """Features 6 and 7, from the clean latent `[B, 4, h, w]`."""
        decoder = autoencoder.decoder
        taps = []
        clean = (latent / self.scale_factor).to(decoder.conv_in.weight.dtype)
        hidden = decoder.conv_in(autoencoder.post_quant_conv(clean))
        hidden = autoencoder_middle(decoder.mid_block, hidden, self.attend)
        for level, block in enumerate(decoder.up_blocks):
            for number, module in enumerate(block.resnets):
                if (level, number) in _DECODER_BLOCKS:
                    taps.append(hidden)
                    if len(taps) == len(_DECODER_BLOCKS):
                        return tuple(taps)
                hidden = residual(module, hidden)
            for grow in block.upsamplers or ():
                hidden = grow(hidden)
        raise AssertionError("the decoder has fewer levels than features are taken from")

    def run_unet(
        self, unet: Any, latent: Tensor, context: Tensor, time_offset: Tensor, *, whole: bool
    ) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Features 2 to 5 and, where the `whole` network is run, its output. Arguments as of `denoise`."""
        dtype = unet.conv_in.weight.dtype
        # Time step 0 makes cosines of 1 and sines of 0.
        step = torch.zeros(len(latent), dtype=torch.int64, device=latent.device)
        time = unet.time_embedding(unet.time_proj(step).to(dtype)) + time_offset.to(dtype)
        context = context.to(dtype)
        hidden = unet.conv_in(latent.to(dtype))
        skips = [hidden]
        for block in unet.down_blocks:
            attentions = getattr(block, "attentions", None)
            for number, module in enumerate(block.resnets):
                hidden = residual(module, hidden, time)
                if attentions is not None:
                    hidden = transformer(attentions[number], hidden, context, self.attend)
                skips.append(hidden)
            for shrink in block.downsamplers or ():
                hidden = shrink(hidden)
                skips.append(hidden)
        middle = unet.mid_block
        hidden = residual(middle.resnets[0], hidden, time)
        hidden = residual(middle.resnets[1], transformer(middle.attentions[0], hidden, context, self.attend), time)
        taps = []
        for level, block in enumerate(unet.up_blocks):
            attentions = getattr(block, "attentions", None)
            for number, module in enumerate(block.resnets):
                hidden = torch.cat([hidden, skips.pop()], dim=1)
                if number == _UNET_BLOCK:
                    taps.append(hidden)
                    if level == len(unet.up_blocks) - 1 and not whole:
                        return tuple(taps), None
                hidden = residual(module, hidden, time)
                if attentions is not None:
                    hidden = transformer(attentions[number], hidden, context, self.attend)
            for grow in block.upsamplers or ():
                hidden = grow(hidden)
        return tuple(taps), unet.conv_out(unet.conv_act(unet.conv_norm_out(hidden)))
