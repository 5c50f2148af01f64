"""Stage 2: CLIP, on pictures and their captions."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor

from odise_frame.clip import build_clip, embed_images, embed_texts
from odise_frame.sizes import OdiseSize
from odise_frame.tokenizer import Tokenizer
from pipelines.training.loop import Stage, StageSettings, step_generator
from pipelines.training.pictures import Pictures

SETTINGS = StageSettings(steps=600, batch=48, learning_rate=1e-3, seed=2, weight_decay=0.05)

SCENE_SHARE = 0.35
"""Of a batch: scenes teach what stands beside what, single objects teach the words faster."""

MAX_SCALE = 100.0
"""OpenAI's limit on the temperature."""

_ARTICLE = re.compile(r"^(?:a picture of|a photo of|there is|there are|an? image of)\s+", re.IGNORECASE)


def build_stage(size: OdiseSize, objects: Pictures, scenes: Pictures, settings: StageSettings = SETTINGS) -> Stage:
    """Symmetric contrastive loss; equal captions in a batch count as equally right."""
    model = build_clip(size.clip).train()
    tokenizer = Tokenizer(size.clip)

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = step_generator(settings, step)
        crops, captions = [], []
        for _ in range(settings.batch):
            pictures = scenes if rng.random() < SCENE_SHARE else objects
            number = int(rng.integers(len(pictures)))
            crops.append(_crop(rng, pictures.rgb[number], size.clip.image_size))
            captions.append(_vary(rng, pictures.captions[number]))
        images = torch.cat(crops)
        return {"contrast": contrastive_loss(model, images, captions, tokenizer)}

    return Stage("clip", settings, model, losses)


def contrastive_loss(model: CLIP, images: Tensor, captions: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    """CLIP's symmetric cross-entropy for images `[B, 3, side, side]` in [0, 1] and their captions."""
    image_embed = F.normalize(embed_images(model, images), dim=-1)
    text_embed = F.normalize(embed_texts(model, tokenizer.clip_ids(captions)), dim=-1)
    scale = model.logit_scale.exp().clamp(max=MAX_SCALE)
    logits = scale * image_embed @ text_embed.T
    same = torch.tensor([[a == b for b in captions] for a in captions], dtype=torch.float32)
    right = same / same.sum(dim=1, keepdim=True)
    return 0.5 * (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right))


def _crop(rng: np.random.Generator, rgb: NDArray[np.uint8], side: int) -> Tensor:
    """A random part of at least 3/4 of each side, flipped half the time, with jittered light: `[1, 3, side, side]`."""
    extent = rgb.shape[0]
    kept = int(rng.integers(extent * 3 // 4, extent + 1))
    top, left = (int(v) for v in rng.integers(0, extent - kept + 1, 2))
    part = rgb[top : top + kept, left : left + kept]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    image = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float() / 255.0
    image = image * float(rng.uniform(0.8, 1.2)) + float(rng.uniform(-0.08, 0.08))
    return F.interpolate(image.clamp(0, 1), size=(side, side), mode="bilinear", align_corners=False)


def _vary(rng: np.random.Generator, caption: str) -> str:
    """Half the captions begin as prompts do: "a photo of …"."""
    return "a photo of " + _ARTICLE.sub("", caption) + "." if rng.random() < 0.5 else caption
