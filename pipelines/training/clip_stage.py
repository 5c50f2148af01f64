"""Stage 2: CLIP, on pictures and their captions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor

from odise_frame.clip import build_clip, embed_images, embed_short_texts
from odise_frame.sizes import OdiseSize
from odise_frame.tokenizer import Tokenizer
from pipelines.training.loop import Stage, StageSettings, step_generator
from pipelines.training.pictures import Pictures

SETTINGS = StageSettings(steps=3600, batch=64, learning_rate=1e-3, seed=2, weight_decay=0.05)


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of the training."""

    until: float
    """Share of the steps at which it ends."""
    sides: tuple[tuple[int, float], ...]
    """Sides of the images in pixels and how often each is drawn, a side a step."""
    scenes: float
    """Share of scenes in a batch, the rest are single objects."""
    trains_text: bool = True


PHASES = (
    # A small image costs a quarter and teaches most of what a large one does: Li, Wang and Xie, "An inverse scaling
    # law for CLIP training", 2023. Scenes come when words are known; single objects teach those faster. Objects in a
    # frame have few patches where masks are classified: as few as at 48 pixels.
    Phase(0.75, sides=((48, 0.25), (72, 0.75)), scenes=0.1),
    # The text tower stays as it is from here on, so that the UNet, which reads it, can be trained at the same time.
    Phase(1.0, sides=((48, 0.15), (72, 0.3), (144, 0.45), (240, 0.1)), scenes=0.4, trains_text=False),
)

TEXT_READY = round(next(phase.until for phase in PHASES if phase.trains_text) * SETTINGS.steps)
"""Steps after which the text tower no longer changes."""

MAX_STRETCH = 1.8
"""A 16:9 frame is squashed by 1.78 into the square that CLIP sees."""

MAX_SCALE = 100.0
"""OpenAI's limit on the temperature."""

THINGS_ONLY = 0.65
"""Of captions that say nothing of the ground and what is behind. Where all do, a batch can be told apart by its
textures, and things are hardly learnt (measured: loss 1.0 after 900 steps, but 8 % of single things named right)."""

_GROUND = re.compile(r"\s+(?:on|near|in front of|under) ")
_OPENING = re.compile(r"^(?:an? (?:picture|photo|image) of|there (?:is|are)|a scene with)\s+", re.IGNORECASE)
_ARTICLE = re.compile(r"^(?:a picture of|a photo of|there is|there are|an? image of)\s+", re.IGNORECASE)


def build_stage(size: OdiseSize, objects: Pictures, scenes: Pictures, settings: StageSettings = SETTINGS) -> Stage:
    """Symmetric contrastive loss; equal captions in a batch count as equally right."""
    model = build_clip(size.clip).train()
    tokenizer = Tokenizer(size.clip)

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = step_generator(settings, step)
        phase = next(phase for phase in PHASES if step < phase.until * settings.steps)
        sides, shares = zip(*phase.sides, strict=True)
        side = int(rng.choice(sides, p=shares))
        crops, captions = [], []
        for _ in range(settings.batch):
            pictures = scenes if rng.random() < phase.scenes else objects
            number = int(rng.integers(len(pictures)))
            crops.append(cut_crop(rng, pictures.rgb[number], side, side))
            captions.append(_vary(rng, pictures.captions[number]))
        images = torch.cat(crops)
        for part in (model.transformer, model.token_embedding, model.ln_final):
            part.requires_grad_(phase.trains_text)
        for parameter in (model.positional_embedding, model.text_projection):
            parameter.requires_grad_(phase.trains_text)
        return {"contrast": contrastive_loss(model, images, captions, tokenizer)}

    return Stage("clip", settings, model, losses)


def contrastive_loss(model: CLIP, images: Tensor, captions: Sequence[str], tokenizer: Tokenizer) -> Tensor:
    """CLIP's symmetric cross-entropy for images `[B, 3, side, side]` in [0, 1] and their captions."""
    image_embed = F.normalize(embed_images(model, images), dim=-1)
    text_embed = F.normalize(embed_short_texts(model, tokenizer.clip_ids(captions)), dim=-1)
    scale = model.logit_scale.exp().clamp(max=MAX_SCALE)
    logits = scale * image_embed @ text_embed.T
    same = torch.tensor([[a == b for b in captions] for a in captions], dtype=torch.float32)
    right = same / same.sum(dim=1, keepdim=True)
    return 0.5 * (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right))


def cut_crop(rng: np.random.Generator, rgb: NDArray[np.uint8], to_height: int, to_width: int) -> Tensor:
    """A random part, stretched, flipped half the time, with jittered light: `[1, 3, to_height, to_width]`.

    At least 3/4 of one side is kept, and of the other what a stretch by up to `MAX_STRETCH` leaves of it.
    """
    extent = rgb.shape[0]
    kept = rng.uniform(0.75, 1.0) * extent
    stretch = MAX_STRETCH ** -rng.uniform(0.0, 0.6)
    height, width = (round(kept), round(kept * stretch)) if rng.random() < 0.5 else (round(kept * stretch), round(kept))
    top, left = int(rng.integers(0, extent - height + 1)), int(rng.integers(0, extent - width + 1))
    part = rgb[top : top + height, left : left + width]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    image = torch.from_numpy(part.copy()).permute(2, 0, 1)[None].float() / 255.0
    image = image * float(rng.uniform(0.8, 1.2)) + float(rng.uniform(-0.08, 0.08))
    size = (to_height, to_width)
    return F.interpolate(image.clamp(0, 1), size=size, mode="bilinear", align_corners=False, antialias=True)


def things_of(caption: str) -> str:
    """The part of a caption that names things: without how it begins, the ground, and what is behind."""
    return _OPENING.sub("", _GROUND.split(caption, maxsplit=1)[0])


def _vary(rng: np.random.Generator, caption: str) -> str:
    """A caption in other words: things only or all, and half the time begun as prompts are ("a photo of …")."""
    if rng.random() < THINGS_ONLY:
        caption = _GROUND.split(caption, maxsplit=1)[0]
    return "a photo of " + _ARTICLE.sub("", caption) + "." if rng.random() < 0.5 else caption
