"""A whole model so small that a frame takes milliseconds, with seeded random weights that make segments."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from golden_rules import fill, tiny_size, uniform
from numpy.typing import NDArray

from odise_frame.checkpoints import save_model
from odise_frame.model import Odise
from odise_frame.quirks import MENDED
from odise_frame.sizes import OdiseSize, load_size
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="truck, pickup; person; zebra; bag", stuff="sky; grass, lawn")
TRAINING_NAMES = ("person", "sky")


@lru_cache
def micro_size() -> OdiseSize:
    tiny = tiny_size("label")
    return replace(
        tiny,
        name="micro",
        window=64,
        short_side=128,
        max_long_side=384,
        noise_size=8,
        vae=replace(tiny.vae, channels=(8, 8, 16, 16), norm_groups=4),
        unet=replace(tiny.unet, channels=(8, 8, 16, 16), norm_groups=4, heads=2),
        clip=replace(load_size("small").clip, image_size=28, patch_size=14, **_clip_widths()),
        prompt_encoder=None,
        # Random masks overlap a lot; every one that wins a pixel is to be seen.
        overlap_threshold=0.0,
    )


def _clip_widths() -> dict[str, int]:
    return {
        "embed_dim": 32,
        "vision_width": 32,
        "vision_layers": 2,
        "vision_heads": 2,
        "text_width": 64,
        "text_layers": 1,
        "text_heads": 2,
    }


def micro_model(size: OdiseSize | None = None) -> Odise:
    model = Odise(size or micro_size(), MENDED)
    fill(model, lambda name: f"micro.{name}")
    model.frozen.encode_empty_prompt()
    return model


def save_micro_model(folder: Path) -> Path:
    save_model(folder, micro_model(), training_names=TRAINING_NAMES, training={"steps": 0})
    return folder


def picture(key: str, height: int, width: int) -> NDArray[np.uint8]:
    """Random squares, uint8 `[height, width, 3]`."""
    side = max(1, min(height, width) // 6)
    base = uniform(f"micro.{key}", (-(-height // side), -(-width // side), 3)) * 255
    return base.astype(np.uint8).repeat(side, axis=0).repeat(side, axis=1)[:height, :width].copy()
