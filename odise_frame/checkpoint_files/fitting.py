"""Which tensor of which file becomes which tensor of ours, and what to say where that does not come out even."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from odise_frame import released_keys
from odise_frame.checkpoint_files.recognition import Role, recognise
from odise_frame.checkpoint_files.sources import Weights
from odise_frame.model import Odise
from odise_frame.sizes import OdiseSize
from videoseg.errors import InputError

PART_ROLES: Mapping[str, Role] = {
    "autoencoder": "stable-diffusion",
    "unet": "stable-diffusion",
    "prompt_encoder": "stable-diffusion",
    "clip": "clip",
    "odise": "odise",
}
"""Which of the three files each part of a model comes from."""

ROLE_NAMES: Mapping[Role, str] = {
    "odise": "the ODISE checkpoint",
    "stable-diffusion": "Stable Diffusion v1.3",
    "clip": "OpenAI's CLIP ViT-L/14-336",
}

# What the official files hold beside the weights that are used.
_NOT_NEEDED: Mapping[Role, re.Pattern[str]] = {
    # Frozen parts, were they stored; the weights of the loss; constants.
    "odise": re.compile(
        r"backbone\.feature_extractor\.(ldm_extractor|clip)\.|(category_head|word_head|clip_head)\.(clip\.|text_embed$)"
        r"|clip_head\.|criterion\.|pixel_mean$|pixel_std$"
    ),
    # Anything beside the three networks (schedules, moving averages), the autoencoder's loss, a constant.
    "stable-diffusion": re.compile(
        r"(?!model\.diffusion_model\.|first_stage_model\.|cond_stage_model\.|unet\.|vae\.|text_encoder\.)"
        r"|first_stage_model\.loss\.|.*\bposition_ids$"
    ),
    "clip": re.compile(r"(input_resolution|context_length|vocab_size)$|.*\battn_mask$"),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a tensor of ours comes from."""

    key: str
    """Its name in the file."""
    shape: tuple[int, ...]
    """That it takes with us."""


def part_shapes(size: OdiseSize) -> dict[str, dict[str, tuple[int, ...]]]:
    """Names and shapes of all weights of a model of this size, part by part. Takes no memory for weights."""
    with torch.device("meta"):
        model = Odise(size)
    shapes: dict[str, dict[str, tuple[int, ...]]] = {part: {} for part in PART_ROLES}
    if size.prompt_encoder is None:
        del shapes["prompt_encoder"]
    for name, value in model.state_dict().items():
        part, rest = ("odise", name) if not name.startswith("frozen.") else name.removeprefix("frozen.").split(".", 1)
        shapes[part][rest] = tuple(value.shape)
    return shapes


def fit(
    size: OdiseSize, shapes: Mapping[str, Mapping[str, tuple[int, ...]]], role: Role, weights: Weights
) -> dict[str, dict[str, Origin]]:
    """For every part that comes from this file: our names to their origins, one to one.

    Raises:
        InputError: tensors that are missing, too many or of another shape; it says what the file seems to be.
    """
    origins = {
        part: {name: Origin(_key(part, name, size, weights), shape) for name, shape in shapes[part].items()}
        for part in shapes
        if PART_ROLES[part] == role
    }
    wanted = {origin.key: origin.shape for part in origins.values() for origin in part.values()}
    problems = [f"{key} is missing" for key in wanted if key not in weights.tensors]
    problems += [
        f"{key} has the shape {list(weights.tensors[key].shape)} instead of {list(shape)}"
        for key, shape in wanted.items()
        if key in weights.tensors and not _fits(weights.tensors[key].shape, shape)
    ]
    problems += [
        f"{key} is of the type {str(weights.tensors[key].dtype).removeprefix('torch.')}, which no weight is"
        for key in wanted
        if key in weights.tensors and not weights.tensors[key].dtype.is_floating_point
    ]
    problems += [
        f"{key} is unexpected" for key in weights.tensors if key not in wanted and not _NOT_NEEDED[role].match(key)
    ]
    if problems:
        raise InputError(_complaint(weights, role, size, problems))
    return origins


def _key(part: str, name: str, size: OdiseSize, weights: Weights) -> str:
    """The file's name for our tensor; where the file could have several, the one that it has."""
    if part == "odise":
        key = released_keys.odise_key(name, size.supervision)
        assert key is not None
        return key
    if part == "clip":
        return name
    if "unet.conv_in.weight" in weights.tensors:  # diffusers' layout
        keys: Iterable[str] = released_keys.diffusers_keys(part, name)
    elif part == "autoencoder":
        keys = (f"first_stage_model.{released_keys.autoencoder_key(name)}",)
    elif part == "unet":
        keys = (f"model.diffusion_model.{released_keys.unet_key(name)}",)
    else:
        keys = (f"cond_stage_model.transformer.{released_keys.prompt_encoder_key(name)}",)
    candidates = list(keys)
    return next((key for key in candidates if key in weights.tensors), candidates[0])


def _fits(found: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    return found == expected or (len(expected) == 2 and found == (*expected, 1, 1))


def _complaint(weights: Weights, role: Role, size: OdiseSize, problems: list[str]) -> str:
    looks = recognise(weights.tensors)
    more = f" and {len(problems) - 3:,} more like it" if len(problems) > 3 else ""
    needed = ROLE_NAMES[role] if role != "odise" else f"the {size.supervision}-supervised ODISE"
    cause = f"The file looks like {looks.what}; {size.name} needs {needed}."
    if looks.role == role and looks.supervision in (None, size.supervision):
        cause += " It may be another version or size of it, or incomplete."
    return f"{weights.path} does not fit {size.name}: {'; '.join(problems[:3])}{more}. {cause}"
