"""What a file of weights is, from the names and shapes in it: the likely cause where it is not what was asked for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from odise_frame.checkpoint_files.sources import Described

Role = Literal["odise", "stable-diffusion", "clip"]
"""The three files that a full-size model is made of."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A guess from names and shapes."""

    role: Role | None
    """None where the file is none of those three, or another version of them that cannot be used."""
    what: str
    """For a person: `the label-supervised ODISE`, `Stable Diffusion 2`."""
    supervision: Literal["label", "caption"] | None = None


def recognise(tensors: Mapping[str, Described]) -> Recognised:
    """What a file is, as far as its tensors tell."""
    names = list(tensors)
    if not names:
        return Recognised(None, "a file without tensors by name")
    if _any(names, "sem_seg_head.") and _any(names, "category_head."):
        return Recognised("odise", "the label-supervised ODISE", "label")
    if _any(names, "sem_seg_head.") and _any(names, "word_head."):
        return Recognised("odise", "the caption-supervised ODISE", "caption")
    if _any(names, "module."):
        return Recognised(None, "a checkpoint saved from DataParallel, each name behind `module.`")
    if _any(names, "sem_seg_head."):
        return Recognised(None, "a Mask2Former without ODISE's classifiers")
    if _any(names, "lora_"):
        return Recognised(None, "a LoRA, which holds differences and no whole weights")
    if _any(names, "model.diffusion_model."):
        return _diffusion(tensors, "model.diffusion_model.input_blocks.0.0.weight", "model.diffusion_model.", "")
    if _any(names, "unet.") and _any(names, "vae."):
        return _diffusion(tensors, "unet.conv_in.weight", "unet.", " in diffusers' layout")
    if _any(names, "visual."):
        return _clip(tensors)
    if _any(names, "text_model.") and _any(names, "vision_model."):
        return Recognised(None, "a CLIP in the layout of transformers (OpenAI's archive or open_clip's file is needed)")
    return Recognised(None, f"unknown, {len(names):,} tensors such as {', '.join(names[:3])}")


def _any(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _diffusion(tensors: Mapping[str, Described], first: str, prefix: str, layout: str) -> Recognised:
    if _any(tensors, "conditioner."):
        return Recognised(None, f"Stable Diffusion XL{layout}")
    if _any(tensors, "control_model."):
        return Recognised(None, f"a ControlNet{layout}")
    channels = tensors[first].shape[1] if first in tensors and len(tensors[first].shape) == 4 else 4
    if channels != 4:
        return Recognised(None, f"a Stable Diffusion for inpainting or editing{layout} ({channels} input channels)")
    contexts = {
        described.shape[1]
        for name, described in tensors.items()
        if name.startswith(prefix) and name.endswith("attn2.to_k.weight") and len(described.shape) == 2
    }
    if contexts == {1024}:
        return Recognised(None, f"Stable Diffusion 2{layout}")
    return Recognised("stable-diffusion", f"Stable Diffusion 1{layout}")


def _clip(tensors: Mapping[str, Described]) -> Recognised:
    if _any(tensors, "visual.layer1."):
        return Recognised(None, "a CLIP with a ResNet for images")
    if _any(tensors, "visual.trunk."):
        return Recognised(None, "an open_clip model with a timm network for images")
    kernel = tensors.get("visual.conv1.weight")
    positions = tensors.get("visual.positional_embedding")
    if kernel is None or positions is None or len(kernel.shape) != 4 or "token_embedding.weight" not in tensors:
        return Recognised(None, "a part of a CLIP")
    patch = kernel.shape[-1]
    side = patch * round(max(0, positions.shape[0] - 1) ** 0.5)
    size = {768: "B", 1024: "L", 1280: "H", 1408: "g"}.get(kernel.shape[0], f"{kernel.shape[0]} wide")
    return Recognised("clip", f"CLIP ViT-{size}/{patch} for images of {side} pixels")
