"""How the released files name what our modules name otherwise.

Several naming schemes meet in a full-size model: the ODISE checkpoint (the trained parts), Stable Diffusion's
(autoencoder, UNet and text encoder in one file) and OpenAI's CLIP, which open_clip keeps.
"""

import re
from typing import Literal

import torch
from torch import Tensor


def odise_key(name: str, supervision: Literal["label", "caption"]) -> str | None:
    """The released name of a parameter of `Odise`; None for the frozen networks, which that file does not hold."""
    part, rest = name.split(".", 1)
    if part == "frozen":
        return None
    if part == "mask_generator":
        return f"sem_seg_head.{rest}"
    if part == "classifier":
        return f"{'category_head' if supervision == 'label' else 'word_head'}.{rest}"
    if rest.startswith("captioner."):
        return f"backbone.feature_extractor.{rest.removeprefix('captioner.')}"
    return re.sub(r"^backbone\.feature_projections\.(\d)\.", r"backbone.feature_projections.\1.0.", name)


def unet_key(name: str) -> str:
    """Below `model.diffusion_model.` in Stable Diffusion's file, for a parameter of diffusers' UNet."""
    for ours, theirs in (
        ("time_embedding.linear_1.", "time_embed.0."),
        ("time_embedding.linear_2.", "time_embed.2."),
        ("conv_in.", "input_blocks.0.0."),
        ("conv_norm_out.", "out.0."),
        ("conv_out.", "out.2."),
    ):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    path, level, kind, number, rest = _split_unet(name)
    if path == "mid":
        block = f"middle_block.{2 * number if kind == 'resnets' else 1}"
    elif path == "down":
        # Block 0 is the first convolution; a level has two residual blocks, then what halves the size.
        block = f"input_blocks.{1 + 3 * level + (2 if kind == 'downsamplers' else number)}"
    else:
        block = f"output_blocks.{3 * level + (2 if kind == 'upsamplers' else number)}"
    if kind == "resnets":
        return f"{block}{'' if path == 'mid' else '.0'}.{_residual_key(rest, 'skip_connection', time=True)}"
    if kind == "attentions":
        return f"{block}{'' if path == 'mid' else '.1'}.{rest}"
    if kind == "downsamplers":
        return f"{block}.0.{rest.replace('conv.', 'op.', 1)}"
    # The coarsest level has no attention between its last residual block and what doubles the size.
    return f"{block}.{1 if level == 0 else 2}.{rest}"


def autoencoder_key(name: str) -> str:
    """Below `first_stage_model.` in Stable Diffusion's file, for a parameter of diffusers' autoencoder."""
    if name.startswith(("quant_conv.", "post_quant_conv.")):
        return name
    half, rest = name.split(".", 1)
    if rest.startswith("conv_norm_out."):
        return f"{half}.{rest.replace('conv_norm_out', 'norm_out', 1)}"
    if rest.startswith(("conv_in.", "conv_out.")):
        return name
    path, level, kind, number, rest = _split_unet(rest)
    if kind == "attentions":
        for ours, theirs in (
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ):
            rest = rest.replace(f"{ours}.", f"{theirs}.", 1)
        return f"{half}.mid.attn_1.{rest}"
    rest = rest if kind.endswith("samplers") else _residual_key(rest, "nin_shortcut", time=False)
    if path == "mid":
        return f"{half}.mid.block_{number + 1}.{rest}"
    # The released decoder counts its levels from the finest.
    block = f"{half}.{path}.{level if path == 'down' else 3 - level}"
    if kind == "resnets":
        return f"{block}.block.{number}.{rest}"
    return f"{block}.{'downsample' if kind == 'downsamplers' else 'upsample'}.{rest}"


def prompt_encoder_key(name: str) -> str:
    """Below `cond_stage_model.transformer.` in Stable Diffusion's file, for a parameter of transformers' text model."""
    # transformers 5 dropped this level of the name.
    return f"text_model.{name.removeprefix('text_model.')}"


def fit_shape(value: Tensor, shape: torch.Size) -> Tensor:
    """Stable Diffusion's file has the autoencoder's attention as 1x1 convolutions where diffusers has linear layers."""
    return value.reshape(shape) if value.ndim == 4 and len(shape) == 2 and value.shape[2:] == (1, 1) else value


def _split_unet(name: str) -> tuple[str, int, str, int, str]:
    """`down_blocks.1.resnets.0.conv1.weight` -> (`down`, 1, `resnets`, 0, `conv1.weight`); `mid_block` has level 0."""
    match = re.fullmatch(r"(?:(down|up)_blocks\.(\d)|(mid)_block)\.(\w+)\.(\d)\.(.+)", name)
    if match is None:
        raise ValueError(f"not a parameter of a UNet or an autoencoder: {name}")
    return match[1] or match[3], int(match[2] or 0), match[4], int(match[5]), match[6]


def _residual_key(rest: str, shortcut: str, *, time: bool) -> str:
    layer, last = rest.split(".", 1)
    if layer == "conv_shortcut":
        return f"{shortcut}.{last}"
    if not time:
        return rest
    names = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1"}
    names |= {"norm2": "out_layers.0", "conv2": "out_layers.3"}
    return f"{names[layer]}.{last}"


def diffusers_keys(part: str, name: str) -> tuple[str, ...]:
    """In a folder that diffusers wrote (folder and name joined by a dot), for a parameter of ours: the names of today
    and of the days of Stable Diffusion v1."""
    if part == "unet":
        return (f"unet.{name}",)
    if part == "prompt_encoder":
        return (f"text_encoder.{prompt_encoder_key(name)}", f"text_encoder.{name}")
    old = name
    for today, then in (("to_q.", "query."), ("to_k.", "key."), ("to_v.", "value."), ("to_out.0.", "proj_attn.")):
        old = old.replace(f".attentions.0.{today}", f".attentions.0.{then}")
    return (f"vae.{name}", f"vae.{old}")
