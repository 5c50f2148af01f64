"""A model with a part of it taken away, so that what the part brings can be seen."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odise_frame.diffusion_backbone import DiffusionBackbone
from odise_frame.diffusion_unet import build_unet
from odise_frame.model import Odise
from videoseg.vocabulary import Vocabulary

_SEED = 0
"""Of random weights and of the order of shuffled names."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table."""

    name: str
    asks: str
    """The question that the row answers."""
    change: Callable[[Odise], None] | None = None
    """Changes a model in place, before its segmenter is made."""
    rename: Callable[[Vocabulary], Vocabulary] | None = None
    """The vocabulary that the model is told in place of the right one: the same categories in number, kind and
    order."""
    mean_colours: bool = False
    """Masks are named by their mean colour."""
    other_masks: bool = False
    """The change is in the masks, not only in their names."""


class ZeroedUnet(DiffusionBackbone):
    """The diffusion backbone with nothing in the UNet's features."""

    def denoise(self, unet: Any, latent: Tensor, context: Tensor, time_offset: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.zeros_like(tap) for tap in super().denoise(unet, latent, context, time_offset))


def zero_unet(model: Odise) -> None:
    """The heads see zeros where the UNet's four features were."""
    model.backbone.diffusion = ZeroedUnet(model.size)


def randomize_unet(model: Odise) -> None:
    """A UNet that has learnt nothing, of the same shape."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model.frozen.unet = build_unet(model.size.unet).requires_grad_(False)


@torch.no_grad()
def empty_caption(model: Odise) -> None:
    """The UNet is told the empty text, whatever a window shows."""
    model.backbone.captioner.alpha_cond.zero_()
    model.backbone.captioner.alpha_cond_time_embed.zero_()


def diffusion_alone(model: Odise) -> None:
    """CLIP has no say in names."""
    model.size = replace(model.size, ensemble_seen=0.0, ensemble_unseen=0.0)


def clip_alone(model: Odise) -> None:
    """CLIP alone names masks; whether a mask is one at all stays the mask generator's to say."""
    model.size = replace(model.size, ensemble_seen=1.0, ensemble_unseen=1.0)


def stretch_masks(model: Odise) -> None:
    """CLIP sees the masks askew where there is padding, as in the published model."""
    model.quirks = replace(model.quirks, stretched_masks=True)
    model.look_at_masks = MethodType(Odise.look_at_masks, model)  # type: ignore[method-assign]


def shuffle_names(vocabulary: Vocabulary) -> Vocabulary:
    """Every category goes by the names of another one of its kind, by chance."""
    rng = np.random.default_rng(_SEED)
    categories = list(vocabulary)
    renamed = list(categories)
    for is_thing in (True, False):
        places = [i for i, category in enumerate(categories) if category.is_thing == is_thing]
        # A rotation of a random order: nobody keeps their own names.
        order = rng.permutation(places).tolist()
        for place, other in zip(order, order[1:] + order[:1], strict=True):
            renamed[place] = replace(categories[place], names=categories[other].names)
    return Vocabulary(tuple(renamed))


VARIANTS = (
    Variant("whole", "the model as it ships"),
    Variant("UNet zeroed", "do the heads use the UNet's features at all?", change=zero_unet, other_masks=True),
    Variant("random UNet", "is it what the UNet has learnt, or its shape?", change=randomize_unet, other_masks=True),
    Variant("empty caption", "does the implicit caption help?", change=empty_caption, other_masks=True),
    Variant("diffusion alone", "what does the mask embedding know without CLIP?", change=diffusion_alone),
    Variant("CLIP alone", "what does CLIP know without the mask embedding?", change=clip_alone),
    Variant("masks stretched", "what does the published misalignment of CLIP's masks cost?", change=stretch_masks),
    Variant("names shuffled", "do the words matter?", rename=shuffle_names),
    Variant("mean colour", "would a look-up of mean colours name the same masks as well?", mean_colours=True),
)
"""In the order of the table."""
