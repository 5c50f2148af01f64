"""Frames of the sizes that are measured, and weights where a model has none."""

from dataclasses import dataclass
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from odise_frame.blank import without_starting_values
from odise_frame.model import Odise
from odise_frame.open_vocabulary import Synonyms
from odise_frame.segmenter import resize_frame
from odise_frame.sizes import OdiseSize
from odise_frame.vocabulary_text import VocabularyText
from videoseg.vocabulary import Vocabulary

_POOL = 2**22 + 17
"""Random numbers from which weights are cut: 1.5 billion draws would take longer than what is measured."""


@dataclass(frozen=True, slots=True)
class BenchFrame:
    """A frame as the model gets it."""

    name: str
    image: Tensor
    """float32 `[1, 3, h, w]` in [0, 1]."""
    output: tuple[int, int]
    """Height and width of the results."""


def bench_frame(name: str, size: OdiseSize) -> BenchFrame:
    """`window`: one window; `square`: a square of the model's short side; else `HEIGHTxWIDTH` of a video, resized.

    Raises:
        ValueError: no such form.
    """
    if name in ("window", "square"):
        side = size.window if name == "window" else size.short_side
        height, width = side, side
    else:
        height, width = (int(part) for part in name.split("x"))
    rng = np.random.default_rng(crc32(b"engine bench"))
    # Squares for the masks to hold on to, noise because nothing real is without.
    block = max(1, min(height, width) // 16)
    base = rng.integers(0, 224, size=(-(-height // block), -(-width // block), 3))
    clean = base.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
    rgb = (clean + rng.integers(0, 32, size=clean.shape)).astype(np.uint8)
    if name in ("window", "square"):
        image = torch.from_numpy(rgb.transpose(2, 0, 1).copy())[None].to(torch.float32) / 255.0
    else:
        image = resize_frame(rgb, size)
    return BenchFrame(name, image, (height, width))


@torch.no_grad()
def random_model(size: OdiseSize) -> Odise:
    """A model of this size with seeded random weights that keep signals at their scale; its gates are open."""
    with without_starting_values():
        model = Odise(size)
    pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        last = name.rsplit(".", 1)[-1]
        if last == "logit_scale":
            parameter.fill_(np.log(100.0 if ".clip." in name else 1.0 / 0.07))
            continue
        start = crc32(name.encode()) % (_POOL // 2)
        count, flat = parameter.numel(), parameter.view(-1)
        for at in range(0, count, _POOL // 2):
            stop = min(count, at + _POOL // 2)
            flat[at:stop] = pool[start : start + stop - at]
        gain = parameter.ndim == 1 and last == "weight"
        gate = last.startswith("alpha_cond") or last in ("null_embed", "level_embed")
        if gate or name.endswith(("query_feat.weight", "query_embed.weight", "level_embed.weight")):
            scale = 1.0
        elif "embedding" in last or name.endswith("_embedding.weight"):
            scale = 0.5
        elif name.endswith("sampling_offsets.bias"):
            scale = 2.0
        elif parameter.ndim == 1:
            scale = 0.1 if gain else 0.05
        else:
            inputs = parameter.shape[0] if last in ("proj", "text_projection") else parameter[0].numel()
            scale = inputs**-0.5
        parameter.mul_(scale)
        if gain:
            parameter.add_(1.0)
    model.frozen.encode_empty_prompt()
    return model


def random_text(size: OdiseSize, vocabulary: Vocabulary) -> VocabularyText:
    """A vocabulary whose texts nobody has read: encoding them is not a frame's work."""
    synonyms = Synonyms.of([category.names for category in vocabulary])
    generator = torch.Generator().manual_seed(1)
    shape = (len(synonyms.strings), size.clip.embed_dim)
    head, clip = (torch.randn(shape, generator=generator) for _ in range(2))
    return VocabularyText(synonyms, head, clip, torch.ones(len(synonyms), dtype=torch.bool))
