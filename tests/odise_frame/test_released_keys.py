"""Every parameter of a full-size model has its name and shape in the released files, and the other way round.

`released_names.json.gz` has the names and shapes of the reference's parameters: what an ODISE checkpoint holds (`label`
and `caption`), and Stable Diffusion's and CLIP's (`frozen`).
"""

import gzip
import json
from typing import Literal

import pytest
import torch
from golden_rules import DATA

from odise_frame.model import Odise
from odise_frame.released_keys import autoencoder_key, fit_shape, odise_key, prompt_encoder_key, unet_key
from odise_frame.sizes import load_size

RELEASED = json.loads(gzip.decompress((DATA / "released_names.json.gz").read_bytes()))


@pytest.mark.parametrize("supervision", ["label", "caption"])
def test_full_size_models(supervision: Literal["label", "caption"]) -> None:
    with torch.device("meta"):
        model = Odise(load_size(f"odise-{supervision}"))
    trained = {odise_key(name, supervision): list(p.shape) for name, p in model.trained_parameters()}
    assert trained == RELEASED[supervision]
    frozen = {}
    for name, parameter in model.frozen.named_parameters():
        assert odise_key(f"frozen.{name}", supervision) is None
        part, rest = name.split(".", 1)
        key = {
            "autoencoder": lambda rest: f"first_stage_model.{autoencoder_key(rest)}",
            "unet": lambda rest: f"model.diffusion_model.{unet_key(rest)}",
            "prompt_encoder": lambda rest: f"cond_stage_model.transformer.{prompt_encoder_key(rest)}",
            "clip": lambda rest: f"clip.{rest}",
        }[part](rest)
        frozen[key] = parameter.shape
    assert set(frozen) == set(RELEASED["frozen"])
    for key, shape in RELEASED["frozen"].items():
        assert fit_shape(torch.empty(shape, device="meta"), frozen[key]).shape == frozen[key], key
    assert (
        sum(p.numel() for _, p in model.trained_parameters())
        == {"label": 28_067_009, "caption": 28_066_755}[supervision]
    )
    assert sum(p.numel() for p in model.frozen.parameters()) == 1_494_179_500
