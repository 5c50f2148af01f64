"""The backbone, one window after the other, with all that its networks have."""

from typing import Any

import torch
from torch import Tensor, nn

from odise_frame.as_reference.attention import plain_attention
from odise_frame.clip import embed_patches, normalize_image, resize_square
from odise_frame.diffusion_backbone import DiffusionBackbone
from odise_frame.diffusion_blocks import autoencoder_middle, residual
from odise_frame.model import Odise
from odise_frame.prompt_encoder import encode_prompts
from odise_frame.timing import StageMeter
from odise_frame.windows import cut_windows, stitch_windows

Taps = tuple[Tensor, ...]

_DECODER_TAPS = ((0, 2), (1, 2))


class WholeDiffusion(DiffusionBackbone):
    """Everything that the networks can compute of a window, with plain attention."""

    attend = staticmethod(plain_attention)

    def denoise(self, unet: Any, latent: Tensor, context: Tensor, time_offset: Tensor) -> Taps:
        """The predicted noise is thrown away."""
        taps, _ = self.run_unet(unet, latent, context, time_offset, whole=True)
        return taps

    def decode(self, autoencoder: Any, latent: Tensor) -> Taps:
        """The decoded picture is thrown away."""
        decoder, taps = autoencoder.decoder, []
        clean = (latent / self.scale_factor).to(decoder.conv_in.weight.dtype)
        hidden = decoder.conv_in(autoencoder.post_quant_conv(clean))
        hidden = autoencoder_middle(decoder.mid_block, hidden, self.attend)
        for level, block in enumerate(decoder.up_blocks):
            for number, module in enumerate(block.resnets):
                if (level, number) in _DECODER_TAPS:
                    taps.append(hidden)
                hidden = residual(module, hidden)
            for grow in block.upsamplers or ():
                hidden = grow(hidden)
        decoder.conv_out(decoder.conv_act(decoder.conv_norm_out(hidden)))
        return tuple(taps)


def _see(clip: Any, images: Tensor) -> Tensor:
    """CLIP's embeddings, from all tokens of all layers."""
    visual = clip.visual
    tokens = visual.transformer(embed_patches(visual, normalize_image(images)))
    embedding: Tensor = visual.ln_post(tokens)[:, 0] @ visual.proj
    return embedding


def describe_frame(
    model: Odise, prompt_encoder: nn.Module | None, padded: Tensor, meter: StageMeter
) -> tuple[dict[str, Tensor], list[Taps]]:
    """The maps s2..s5 of a padded frame `[1, 3, H, W]`, and the eight features of every window."""
    backbone, frozen = model.backbone, model.frozen
    diffusion = WholeDiffusion(model.size).to(padded.device)
    grid = backbone.plan(padded.shape[-2], padded.shape[-1])
    empty = frozen.tokenizer.prompt_ids([""]).to(padded.device)
    parts: list[dict[str, Tensor]] = []
    features: list[Taps] = []
    for window in cut_windows(padded, grid):
        seen = window[None]
        if seen.shape[-1] != backbone.window:
            seen = resize_square(seen, backbone.window, mode="bicubic", antialias=False)
        with meter.stage("captioner"):
            small = resize_square(
                seen, backbone.clip_side, mode="bicubic", antialias=backbone.quirks.captioner_antialias
            )
            caption = backbone.captioner(_see(frozen.clip, small), frozen.empty_prompt)
            encode_prompts(prompt_encoder, frozen.clip, empty)
        with meter.stage("autoencoder"):
            encoded = diffusion.encode(frozen.autoencoder, seen)
        with meter.stage("unet"):
            noisy = diffusion.noised(encoded.latent)
            unet_taps = diffusion.denoise(frozen.unet, noisy, caption.context, caption.time_offset)
        with meter.stage("autoencoder"):
            decoder_taps = diffusion.decode(frozen.autoencoder, encoded.latent)
        taps = (*encoded.taps, *unet_taps, *decoder_taps)
        features.append(taps)
        with meter.stage("heads"):
            parts.append(backbone.feature_projections(taps, grid.side))
    maps = {
        name: stitch_windows(torch.cat([part[name] for part in parts]), grid, 1 << int(name[1:])) for name in parts[0]
    }
    return maps, features
