"""Model sizes as data: one JSON file per model beside this file, one code for all of them."""

import dataclasses
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal, TypeVar

from videoseg.errors import InputError

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True)
class VaeSize:
    """Stable Diffusion's autoencoder (f8): 4 levels, 2 residual blocks each (3 in the decoder), 4 latent channels."""

    channels: tuple[int, int, int, int]
    norm_groups: int
    scale_factor: float
    """Multiplies the posterior mean to give the latent (1 / its standard deviation over the training images)."""


@dataclass(frozen=True, slots=True)
class UnetSize:
    """Stable Diffusion's UNet: 4 levels, 2 residual blocks each, attention in the first three and in the middle."""

    channels: tuple[int, int, int, int]
    norm_groups: int
    heads: int
    context_dim: int
    """Width of the tokens that it cross-attends to."""
    time_embed_dim: int


@dataclass(frozen=True, slots=True)
class ClipSize:
    """An OpenAI CLIP (ViT), QuickGELU, as open_clip builds it."""

    embed_dim: int
    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_layers: int
    text_heads: int
    context_length: int
    vocab_size: int


@dataclass(frozen=True, slots=True)
class PromptEncoderSize:
    """SD's own text encoder (Hugging Face `CLIPTextModel`, quick-GELU); `null` in JSON: CLIP's text tower serves."""

    width: int
    mlp_width: int
    layers: int
    heads: int


@dataclass(frozen=True, slots=True)
class MaskGeneratorSize:
    """Mask2Former: deformable pixel decoder and masked transformer decoder."""

    hidden_dim: int
    """Width of pixel decoder, mask features, queries and mask embeddings."""
    pixel_decoder_layers: int
    pixel_decoder_ffn: int
    decoder_layers: int
    decoder_ffn: int
    heads: int
    points: int
    levels: int
    queries: int
    norm_groups: int


@dataclass(frozen=True, slots=True)
class OdiseSize:
    """Everything that tells one ODISE model from another, weights aside."""

    name: str
    supervision: Literal["label", "caption"]
    window: int
    """Side in pixels of the square windows that the diffusion backbone sees."""
    short_side: int
    """Frames are resized so that their short side has this many pixels: 2 windows."""
    max_long_side: int
    size_divisibility: int
    noise_size: int
    """Side of the stored noise tensor; resized where a window's latent has another side."""
    feature_dim: int
    """Channels of s2..s5."""
    bottleneck_dim: int
    """Inner channels of the feature projections."""
    projection_norm_groups: int
    vae: VaeSize
    unet: UnetSize
    clip: ClipSize
    prompt_encoder: PromptEncoderSize | None
    mask_generator: MaskGeneratorSize
    ensemble_seen: float
    """Exponent alpha of CLIP's probability for categories of the training vocabulary (spec: geometric ensembling).
    `small` has 0.3 and 0.6: between the neighbours of its grid that name base and novel things best on development
    videos (`python -m pipelines.quality.tuning`)."""
    ensemble_unseen: float
    """Exponent beta for all other categories."""
    overlap_threshold: float
    """A mask is dropped when less than this share of it is won from the other masks."""
    object_threshold: float
    """A mask whose best category is less probable is dropped."""
    mask_image_size: int | None = None
    """Side in pixels of the square in which CLIP classifies masks, a multiple of its patch; None: CLIP's own."""
    caption_image_size: int | None = None
    """Side in pixels at which CLIP sees a window for the captioner, a multiple of its patch; None: CLIP's own."""


def names() -> tuple[str, ...]:
    """The names that `load_size` takes."""
    return tuple(
        sorted(entry.name.removesuffix(".json") for entry in files(__name__).iterdir() if entry.name.endswith(".json"))
    )


def load_size(name: str) -> OdiseSize:
    """The size with this name; InputError names the known ones."""
    entry = files(__name__) / f"{name}.json"
    if not entry.is_file():
        raise InputError(f"There is no model size {name!r}. Known sizes: {', '.join(names())}.")
    return parse_size(json.loads(entry.read_text(encoding="utf-8")))


def parse_size(data: dict[str, Any]) -> OdiseSize:
    """From the object of a size file."""
    prompt = data["prompt_encoder"]
    return OdiseSize(
        **{
            **data,
            "vae": _parse(VaeSize, data["vae"]),
            "unet": _parse(UnetSize, data["unet"]),
            "clip": _parse(ClipSize, data["clip"]),
            "prompt_encoder": None if prompt is None else _parse(PromptEncoderSize, prompt),
            "mask_generator": _parse(MaskGeneratorSize, data["mask_generator"]),
        }
    )


def size_to_json(size: OdiseSize) -> dict[str, Any]:
    """The inverse of `parse_size`."""
    return dataclasses.asdict(size)


def _parse(cls: type[_Part], data: dict[str, Any]) -> _Part:
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()})
