"""Stage 3: the text-to-image UNet, on latents of captioned pictures; autoencoder and text tower are frozen."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from open_clip.model import CLIP
from torch import Tensor

from odise_frame.autoencoder import LATENT_CHANNELS
from odise_frame.clip import encode_tokens
from odise_frame.diffusion_unet import build_unet
from odise_frame.noise import STEPS, add_noise
from odise_frame.sizes import OdiseSize
from odise_frame.tokenizer import Tokenizer
from pipelines.training.loop import Stage, StageSettings, step_generator
from pipelines.training.pictures import Pictures

SETTINGS = StageSettings(steps=2800, batch=24, learning_rate=1e-3, seed=3)

EMPTY_SHARE = 0.15
"""Of captions that are dropped: the empty caption is what the implicit captioner starts from, so it must mean
"anything"."""


def build_stage(
    size: OdiseSize,
    clip: CLIP,
    latents: Tensor,
    captions: Sequence[str],
    settings: StageSettings = SETTINGS,
) -> Stage:
    """Noise prediction at all 1000 time steps, of what `encode_pictures` gives."""
    # A fifth faster on a CPU; the weights are the same.
    model = build_unet(size.unet).train().to(memory_format=torch.channels_last)
    tokenizer = Tokenizer(size.clip)
    ids = tokenizer.prompt_ids([*captions, ""])

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = step_generator(settings, step)
        chosen = rng.integers(len(latents), size=settings.batch)
        worded = np.where(rng.random(settings.batch) < EMPTY_SHARE, len(captions), chosen)
        with torch.no_grad():
            context = encode_tokens(clip, ids[torch.from_numpy(worded)])
        latent = latents[torch.from_numpy(chosen)]
        times = torch.from_numpy(rng.integers(STEPS, size=settings.batch))
        noise = torch.from_numpy(rng.standard_normal(tuple(latent.shape), dtype="float32"))
        predicted = model(add_noise(latent, noise, times), times, context).sample
        return {"noise": F.mse_loss(predicted, noise)}

    return Stage("unet", settings, model, losses)


@torch.no_grad()
def encode_pictures(
    size: OdiseSize, autoencoder: AutoencoderKL, sets: Sequence[Pictures], seed: int
) -> tuple[Tensor, list[str]]:
    """One window of every picture as a latent: float32 `[N, 4, h, w]` of about unit scale, and the N captions."""
    rng = np.random.default_rng(seed)
    latents: list[Tensor] = []
    captions: list[str] = []
    for pictures in sets:
        for start in range(0, len(pictures), 16):
            windows = []
            for rgb in pictures.rgb[start : start + 16]:
                top, left = (int(v) for v in rng.integers(0, rgb.shape[0] - size.window + 1, 2))
                window = rgb[top : top + size.window, left : left + size.window]
                windows.append(window[:, ::-1] if rng.random() < 0.5 else window)
            images = torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
            latents.append(size.vae.scale_factor * autoencoder.encode(images).latent_dist.mean)
        captions += pictures.captions
    stacked = torch.cat(latents)
    assert stacked.shape[1] == LATENT_CHANNELS
    return stacked, captions


def cache_latents(
    size: OdiseSize, autoencoder: AutoencoderKL, sets: Sequence[Pictures], folder: Path
) -> tuple[Tensor, list[str]]:
    """`encode_pictures`, computed once a set of weights: a stopped training goes on in seconds."""
    weights = b"".join(value.numpy().tobytes() for value in autoencoder.state_dict().values())
    path = folder / f"latents-{hashlib.sha256(weights).hexdigest()[:12]}.npy"
    if path.exists():
        return torch.from_numpy(np.load(path)), [caption for pictures in sets for caption in pictures.captions]
    latents, captions = encode_pictures(size, autoencoder, sets, SETTINGS.seed)
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        np.save(file, latents.numpy())
    unfinished.rename(path)
    return latents, captions


@torch.no_grad()
def measure_scale(size: OdiseSize, autoencoder: AutoencoderKL, sets: Sequence[Pictures], seed: int) -> float:
    """1 / standard deviation of the posterior's mean: what belongs into the size as `vae.scale_factor`."""
    latents, _ = encode_pictures(size, autoencoder, sets, seed)
    return size.vae.scale_factor / float(latents.std())
