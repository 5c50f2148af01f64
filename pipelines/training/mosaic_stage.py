"""Stage 2, second half: CLIP's image tower learns to look at parts of a picture, from pictures and captions alone.

Where masks are classified, tokens look at a few patches of a large image (MaskCLIP). A large CLIP can do that
unprepared; a small one that has seen one thing a picture cannot: it named 58 % of single things right, but 22 % in
masks of scenes. So many captioned pictures become one image, a mosaic, and a token confined to each is to match its
caption. No mask is involved, so novel concepts take part. The text tower stays as it is, because the UNet reads it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from torch import Tensor

from odise_frame.clip import embed_short_texts
from odise_frame.mask_classification import embed_masks
from odise_frame.sizes import OdiseSize
from odise_frame.tokenizer import Tokenizer
from pipelines.training.clip_stage import MAX_SCALE, cut_crop, things_of
from pipelines.training.loop import Stage, StageSettings, step_generator
from pipelines.training.pictures import Pictures


@dataclass(frozen=True, slots=True)
class Canvas:
    """How large mosaics are drawn, in pixels."""

    until: float
    """Share of a round's steps at which the next canvas takes over."""
    side: int
    smallest: int
    """Side of a tile. Things of 0.5 to 15 % of a frame are 7 to 39 % of its side long, and fill about half of the side
    of their picture."""
    largest: int


@dataclass(frozen=True, slots=True)
class Round:
    """One round of training on mosaics."""

    settings: StageSettings
    canvases: tuple[Canvas, ...]


ROUNDS: dict[str, Round] = {
    # A step holds 8 mosaics, about a hundred captions.
    "mosaic": Round(
        StageSettings(steps=1600, batch=8, learning_rate=8e-4, seed=6, weight_decay=0.05, save_every=50),
        (Canvas(1.0, side=240, smallest=30, largest=150),),
    ),
    # From a high rate again: after the first round the loss still fell (2.0), and more of it names more (base things in
    # masks 28 % after 900 steps, 46 % after 1,600).
    "mosaic-again": Round(
        StageSettings(steps=2400, batch=8, learning_rate=1e-3, seed=7, weight_decay=0.05, save_every=50),
        (Canvas(1.0, side=240, smallest=30, largest=150),),
    ),
    # With four times as many pictures, and at last as large as the frame is where masks are classified; small mosaics
    # teach most of what large ones do, at less than half the cost.
    "mosaic-large": Round(
        StageSettings(steps=3600, batch=8, learning_rate=1e-3, seed=9, weight_decay=0.05, save_every=50),
        (Canvas(0.65, side=240, smallest=30, largest=170), Canvas(1.0, side=336, smallest=42, largest=240)),
    ),
    # The loss was the same on new pictures (1.05) as on those trained on (1.03), and still fell.
    "mosaic-last": Round(
        StageSettings(steps=2400, batch=8, learning_rate=1e-3, seed=11, weight_decay=0.05, save_every=50),
        (Canvas(0.5, side=240, smallest=30, largest=170), Canvas(1.0, side=336, smallest=42, largest=240)),
    ),
}
"""In their order; each goes on from the weights of the one before."""

LOOK = (0.45, 1.0)
"""The share of a tile's width and height that a token looks at, around its middle: masks hold little of what is around
a thing."""

COLOURED = 0.15
"""Share of steps whose captions keep the word for the colour; in the others, equal things have equal captions and are
never told apart wrongly."""

_COLOURS = re.compile(r"\b(?:white|black|red|orange|yellow|green|turquoise|blue|purple|pink) (?=\w)")


@dataclass(frozen=True, slots=True)
class Tile:
    """A rectangle of a mosaic, in pixels."""

    top: int
    left: int
    height: int
    width: int


def build_stage(
    size: OdiseSize, clip: CLIP, pictures: Sequence[Pictures], name: str = "mosaic", plan: Round | None = None
) -> Stage:
    """Trains the image tower and the temperature of `clip` in place.

    Args:
        size: of the model.
        clip: with the weights of stage 2's first half, or of the round before.
        pictures: sets of pictures of one thing each.
        name: of the round.
        plan: of the round; None for `ROUNDS[name]`.
    """
    plan = plan or ROUNDS[name]
    settings = plan.settings
    chances = np.array([len(part) for part in pictures]) / sum(len(part) for part in pictures)
    for key, parameter in clip.named_parameters():
        parameter.requires_grad_(key.startswith("visual.") or key == "logit_scale")
    tokenizer = Tokenizer(size.clip)
    patch = size.clip.patch_size

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = step_generator(settings, step)
        canvas = next(canvas for canvas in plan.canvases if step < canvas.until * settings.steps)
        side = canvas.side
        coloured = rng.random() < COLOURED
        images, looks, captions = [], [], []
        for _ in range(settings.batch):
            tiles = draw_tiles(rng, canvas)
            image = torch.empty(3, side, side)
            for tile in tiles:
                objects = pictures[int(rng.choice(len(pictures), p=chances))] if len(pictures) > 1 else pictures[0]
                number = int(rng.integers(len(objects)))
                crop = cut_crop(rng, objects.rgb[number], tile.height, tile.width)
                image[:, tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] = crop[0]
                captions.append(name_things(objects.captions[number], coloured=coloured))
            images.append(image)
            looks.append(torch.from_numpy(np.stack([look_at(rng, tile, side, patch) for tile in tiles])))
        embed = embed_tiles(clip, torch.stack(images), looks)
        return {"contrast": _contrast(clip, embed, captions, tokenizer)}

    return Stage(name, settings, clip.train(), losses)


def draw_tiles(rng: np.random.Generator, canvas: Canvas) -> list[Tile]:
    """A random partition of a square canvas: cut across the longer side until the tiles are small enough."""
    smallest, largest = canvas.smallest, canvas.largest
    open_tiles, done = [Tile(0, 0, canvas.side, canvas.side)], []
    while open_tiles:
        tile = open_tiles.pop()
        longer = max(tile.height, tile.width)
        # The limit is drawn anew for every tile, evenly in the logarithm: there are more small things than large ones.
        limit = np.exp(rng.uniform(np.log(smallest * 2), np.log(largest)))
        if longer <= limit or longer < 2 * smallest:
            done.append(tile)
            continue
        cut = round(float(rng.uniform(max(0.35, smallest / longer), min(0.65, 1 - smallest / longer))) * longer)
        if tile.height >= tile.width:
            open_tiles.append(Tile(tile.top, tile.left, cut, tile.width))
            open_tiles.append(Tile(tile.top + cut, tile.left, tile.height - cut, tile.width))
        else:
            open_tiles.append(Tile(tile.top, tile.left, tile.height, cut))
            open_tiles.append(Tile(tile.top, tile.left + cut, tile.height, tile.width - cut))
    return done


def look_at(rng: np.random.Generator, tile: Tile, side: int, patch: int) -> NDArray[np.bool_]:
    """The patches that an ellipse around the tile's middle reaches: bool `[patches]`, row by row, at least one."""
    height, width = (length * float(rng.uniform(*LOOK)) / 2 for length in (tile.height, tile.width))
    middle_y, middle_x = tile.top + tile.height / 2, tile.left + tile.width / 2
    edges = np.arange(0, side, patch)
    # The point of each patch that is nearest to the middle.
    y = np.clip(middle_y, edges, edges + patch - 1) - middle_y
    x = np.clip(middle_x, edges, edges + patch - 1) - middle_x
    reached: NDArray[np.bool_] = ((y / height) ** 2)[:, None] + ((x / width) ** 2)[None, :] <= 1.0
    return reached.ravel()


def embed_tiles(clip: CLIP, images: Tensor, looks: list[Tensor]) -> Tensor:
    """Embeddings `[tiles of all, D]`, of unit length, of what the tokens confined to `looks` see in each image."""
    most = max(len(look) for look in looks)
    allowed = torch.stack([F.pad(look, (0, 0, 0, most - len(look))) for look in looks])
    embed = embed_masks(clip, images, allowed, images.shape[-1])
    return F.normalize(torch.cat([part[: len(look)] for part, look in zip(embed, looks, strict=True)]), dim=-1)


def name_things(caption: str, *, coloured: bool) -> str:
    """What a caption says of things, as a prompt: "a photo of a red apple." """
    words = things_of(caption)
    if not coloured:
        words = _COLOURS.sub("", words)
        # "an orange car" has become "an car".
        words = re.sub(r"\ban? (?=\w)", lambda found: _article(words, found.end()), words)
    return f"a photo of {words}."


def _article(words: str, place: int) -> str:
    return "an " if words[place] in "aeiou" else "a "


def _contrast(clip: CLIP, embed: Tensor, captions: list[str], tokenizer: Tokenizer) -> Tensor:
    """CLIP's symmetric cross-entropy over all tiles of a step; each different caption stands there once."""
    distinct = sorted(set(captions))
    with torch.no_grad():
        text = F.normalize(embed_short_texts(clip, tokenizer.clip_ids(distinct)), dim=-1)
    place = torch.tensor([distinct.index(caption) for caption in captions])
    logits = clip.logit_scale.exp().clamp(max=MAX_SCALE) * embed @ text.T
    right = F.one_hot(place, len(distinct)).to(logits.dtype)
    to_image = F.cross_entropy(logits.T, (right / right.sum(dim=0)).T)
    return 0.5 * (F.cross_entropy(logits, place) + to_image)
