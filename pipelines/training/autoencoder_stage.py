"""Stage 1: the autoencoder, on crops from pictures of all kinds."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from odise_frame.autoencoder import LATENT_CHANNELS, build_autoencoder
from odise_frame.sizes import OdiseSize
from pipelines.training.loop import Stage, StageSettings, step_generator
from pipelines.training.pictures import Pictures

SETTINGS = StageSettings(steps=2400, batch=8, learning_rate=2e-3, seed=1)

CROP = 64
"""Pixels: half a window. Four times as many different pictures a step for the same work."""

KL_WEIGHT = 1e-4
"""Per latent number, against a mean absolute pixel error of about 0.05: keeps latents near unit scale without costing
detail."""

EDGE_WEIGHT = 0.25
"""Of the error of horizontal and vertical differences: without it a small autoencoder blurs outlines, with 1.0 it
learns nothing but grey for hundreds of steps (measured)."""

RANDOM_SHARE = 0.3
"""Of the usual random weights, beside the copies: enough to make the channels differ."""

INITIAL_LOG_VARIANCE = -6.0
"""Of the posterior. From 0 a small decoder sees more noise than latent, and learns mean colours only for hundreds of
steps (measured: pixel error 0.27 after 200 steps)."""


def build_stage(size: OdiseSize, sets: Sequence[Pictures], settings: StageSettings = SETTINGS) -> Stage:
    """Crops, flipped half the time, reconstructed."""
    model = build_autoencoder(size.vae).train()
    start_as_pyramid(model)

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = step_generator(settings, step)
        crops = []
        for _ in range(settings.batch):
            rgb = sets[int(rng.integers(len(sets)))].rgb
            number = int(rng.integers(len(rgb)))
            top, left = (int(v) for v in rng.integers(0, rgb.shape[1] - CROP + 1, 2))
            crop = rgb[number, top : top + CROP, left : left + CROP]
            crops.append(torch.from_numpy(crop[:, ::-1].copy() if rng.random() < 0.5 else crop))
        images = torch.stack(crops).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        posterior = model.encode(images).latent_dist
        noise = torch.from_numpy(rng.standard_normal(tuple(posterior.mean.shape), dtype="float32"))
        restored = model.decode(posterior.mean + posterior.std * noise).sample
        edges = sum(F.l1_loss(restored.diff(dim=d), images.diff(dim=d)) for d in (-1, -2))
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        return {
            "pixels": F.l1_loss(restored, images),
            "squares": F.mse_loss(restored, images),
            "edges": EDGE_WEIGHT * torch.as_tensor(edges),
            "divergence": KL_WEIGHT * divergence,
        }

    return Stage("autoencoder", settings, model, losses)


@torch.no_grad()
def start_as_pyramid(model: AutoencoderKL) -> None:
    """Initial weights with which the autoencoder shrinks and enlarges the picture, colour by colour.

    Residual blocks and attention start as the identity, the convolutions between them as copies of channels plus a
    little of their random weights. From purely random weights all four latent channels learn brightness first, and
    nothing leads from there to colour for a long time (measured: grey after 700 steps).
    """
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if isinstance(module, nn.Conv2d):
            if last == "conv2":
                module.weight.zero_()
            elif last != "conv1":
                random = module.weight.clone()
                nn.init.dirac_(module.weight)
                module.weight.add_(RANDOM_SHARE * random)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, Attention):
            module.to_out[0].weight.zero_()
            module.to_out[0].bias.zero_()
    model.quant_conv.weight[LATENT_CHANNELS:] = 0.0
    model.quant_conv.bias[LATENT_CHANNELS:] = INITIAL_LOG_VARIANCE
