"""The goldens' tiny model with its seeded weights, for every test that needs a whole model."""

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from golden_rules import VOCABULARY, Golden, fill, override_biases, text_embeddings, tiny_size

from odise_frame import released_keys
from odise_frame.frozen import FrozenParts
from odise_frame.model import Odise
from odise_frame.open_vocabulary import Synonyms
from odise_frame.vocabulary_text import VocabularyText

Supervision = Literal["label", "caption"]


def frozen_key(name: str) -> str:
    """The canonical key of a parameter of `FrozenParts`."""
    part, rest = name.split(".", 1)
    if part == "autoencoder":
        return f"ldm.first_stage_model.{released_keys.autoencoder_key(rest)}"
    if part == "unet":
        return f"ldm.model.diffusion_model.{released_keys.unet_key(rest)}"
    if part == "prompt_encoder":
        return f"ldm.cond_stage_model.transformer.{released_keys.prompt_encoder_key(rest)}"
    assert part == "clip"
    return name


@lru_cache
def frozen_parts(supervision: Supervision = "label") -> FrozenParts:
    frozen = FrozenParts(tiny_size(supervision))
    fill(frozen, frozen_key)
    frozen.encode_empty_prompt()
    return frozen


def tiny_model(supervision: Supervision, golden: Golden | None = None, dtype: torch.dtype = torch.float32) -> Odise:
    """A fresh model; with the biases that `golden` overrides, if any."""
    model = Odise(tiny_size(supervision))
    fill(model, lambda name: released_keys.odise_key(name, supervision))
    model.frozen.load_state_dict(frozen_parts(supervision).state_dict())
    if golden is not None:
        override_biases(model.mask_generator, golden, "sem_seg_head.")
    model.to(dtype)
    model.frozen.encode_empty_prompt()
    return model


def injected_text(golden: Golden, dtype: torch.dtype = torch.float32, dim: int = 64) -> VocabularyText:
    """The goldens' text embeddings of this width, which no text tower has seen."""
    return VocabularyText(
        Synonyms.of(VOCABULARY),
        torch.from_numpy(text_embeddings("category", dim)).to(dtype),
        torch.from_numpy(text_embeddings("clip", dim)).to(dtype),
        torch.from_numpy(np.asarray(golden["overlap_mask"])),
    )
