"""Stage 4: captioner, feature projections and mask generator on the three frozen networks, from masks of base concepts.

In two parts, which is cheaper by half than one and ends in the same place. An untrained captioner says what the empty
prompt says, so as long as it is not trained the diffusion features of a picture never change: they are computed once
(`cache_taps`), and the heads learn on them. Then everything is trained as in the paper, through the frozen UNet into
the captioner.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from eval.synthetic_world.concepts import STUFF, THINGS, thing_indices, vocabulary
from odise_frame.clip import embed_texts
from odise_frame.criterion import CriterionConfig, MaskCriterion, MaskOutput, MaskTargets, targets_from_ids
from odise_frame.mask_decoder import LayerPrediction
from odise_frame.mask_generator import MaskPredictions
from odise_frame.model import Odise
from odise_frame.open_vocabulary import CategoryHead, Synonyms
from odise_frame.point_sampling import uniform_draws
from odise_frame.windows import cut_windows, plan_windows, stitch_windows
from pipelines.training.loop import Stage, StageSettings, step_generator
from pipelines.training.pictures import Pictures
from videoseg.errors import InputError

HEADS = StageSettings(
    steps=4500, batch=4, learning_rate=6e-4, seed=4, weight_decay=0.05, gradient_limit=0.01, save_every=100
)
HEADS_AGAIN = StageSettings(
    steps=4500, batch=4, learning_rate=6e-4, seed=8, weight_decay=0.05, gradient_limit=0.01, save_every=100
)
"""A second round from a high rate: after the first all losses still fell."""

CAPTIONER = StageSettings(
    steps=1800, batch=4, learning_rate=4e-4, seed=5, weight_decay=0.05, gradient_limit=0.01, save_every=25
)
"""High enough for the heads to go on learning from new pictures: 150 steps at a quarter of it made them worse."""

CACHED_PICTURES = 5000
"""Pictures whose features are cached: 6 GB as float16, 40 minutes of one core."""

CRITERION = CriterionConfig(points=784)
"""ODISE's share of the logits (a fifth) for pictures of 256 pixels."""


def training_categories() -> tuple[int, ...]:
    """The categories (of the world's vocabulary) that masks are learnt of: base things and all stuff."""
    return (*thing_indices("base"), *range(len(THINGS), len(THINGS) + len(STUFF)))


@dataclass(frozen=True, slots=True, eq=False)
class TapCache:
    """The eight diffusion features of N pictures of W windows each."""

    taps: tuple[NDArray[np.float16], ...]
    """Eight of float16 `[N, W, C, h, w]`, read from disk as they are needed."""


@torch.no_grad()
def cache_taps(odise: Odise, pictures: Pictures, count: int, folder: Path) -> TapCache:
    """Computes the features of the first `count` pictures with the empty prompt, or reads those that are there.

    A stopped call goes on where it was.
    """
    paths = [folder / f"taps-{number}.npy" for number in range(8)]
    progress = folder / "taps-done"
    done = int(progress.read_text()) if progress.exists() else 0
    files = [np.load(path, mmap_mode="r+") for path in paths] if done else []
    for start in range(done, count):
        windows = _windows(pictures.rgb[start : start + 1], odise.size.window)
        taps = odise.backbone.describe_windows(odise.frozen, windows).taps
        if not files:
            folder.mkdir(parents=True, exist_ok=True)
            files = [
                np.lib.format.open_memmap(path, "w+", np.float16, (count, *tap.shape))
                for path, tap in zip(paths, taps, strict=True)
            ]
        for file, tap in zip(files, taps, strict=True):
            file[start] = tap.numpy()
        if (start + 1) % 50 == 0 or start + 1 == count:
            for file in files:
                file.flush()
            progress.write_text(f"{start + 1}\n")
    if len(files[0]) < count:
        raise InputError(f"{folder} has room for {len(files[0])} pictures, not for {count}. Take it away.")
    return TapCache(tuple(np.load(path, mmap_mode="r")[:count] for path in paths))


def prepare_category_head(odise: Odise) -> None:
    """Where the category head starts: void is the empty text, and the names point in different directions."""
    with torch.no_grad():
        nothing = odise.frozen.tokenizer.clip_ids([""])
        _category_head(odise).null_embed.copy_(embed_texts(odise.frozen.clip, nothing))
    spread_names(odise)


def build_heads_stage(
    odise: Odise,
    pictures: Pictures,
    cache: TapCache,
    settings: StageSettings = HEADS,
    *,
    name: str = "mask-generator",
) -> Stage:
    """Part one: projections and heads, on cached features. Trains the modules of `odise` in place.

    Args:
        odise: after `prepare_category_head`, or with the weights of the round before.
        pictures: of base concepts.
        cache: features of the first of them.
        settings: of this round.
        name: of this round.
    """
    odise.backbone.captioner.requires_grad_(False)
    grid = plan_windows(pictures.rgb.shape[1], pictures.rgb.shape[2], odise.size.window)

    def features(numbers: NDArray[np.int64]) -> dict[str, Tensor]:
        # The order of cut_windows: all pictures' first window, then all their second.
        taps = [
            torch.from_numpy(np.stack([tap[n] for n in numbers], axis=1).reshape(-1, *tap.shape[2:]).astype(np.float32))
            for tap in cache.taps
        ]
        maps = odise.backbone.feature_projections(taps, grid.side)
        return {name: stitch_windows(part, grid, 1 << int(name[1:])) for name, part in maps.items()}

    return _stage(name, odise, pictures, len(cache.taps[0]), features, settings)


@torch.no_grad()
def spread_names(odise: Odise) -> None:
    """Sets the text projection so that the names of the training categories point in different directions.

    A small CLIP puts names close together, and a random projection keeps them so; then categories are learnt slowly.
    This is the whitening of the names' embeddings, as weights and bias.
    """
    words = vocabulary()
    names = [name for category in training_categories() for name in words[category].names]
    embed = embed_texts(odise.frozen.clip, odise.frozen.tokenizer.clip_ids(names))
    mean = embed.mean(dim=0)
    _, spread, directions = torch.linalg.svd(embed - mean, full_matrices=False)
    projection = _category_head(odise).text_proj
    kept = min(projection.out_features, len(spread))
    # The weakest directions are noise; they are not blown up beyond a twentieth of the strongest.
    scale = 1.0 / (spread[:kept] + 0.05 * spread[0])
    weight = torch.zeros_like(projection.weight)
    weight[:kept] = directions[:kept] * scale[:, None] * len(names) ** 0.5 / kept**0.5
    projection.weight.copy_(weight)
    projection.bias.copy_(-weight @ mean)


def build_captioner_stage(odise: Odise, pictures: Pictures, settings: StageSettings = CAPTIONER) -> Stage:
    """Part two: everything, from pictures; `odise` comes with part one's weights."""

    def features(numbers: NDArray[np.int64]) -> dict[str, Tensor]:
        rgb = torch.from_numpy(np.stack([pictures.rgb[n] for n in numbers]))
        maps: dict[str, Tensor] = odise.backbone(odise.frozen, rgb.permute(0, 3, 1, 2).float() / 255.0)
        return maps

    return _stage("captioner", odise, pictures, len(pictures), features, settings)


def trained_modules(odise: Odise) -> nn.ModuleDict:
    """What this stage trains, under the names that it has in `odise`."""
    return nn.ModuleDict(
        {"backbone": odise.backbone, "mask_generator": odise.mask_generator, "classifier": odise.classifier}
    )


def _category_head(odise: Odise) -> CategoryHead:
    if not isinstance(odise.classifier, CategoryHead):
        raise InputError("The synthetic world trains label-supervised models only.")
    return odise.classifier


def _stage(
    name: str,
    odise: Odise,
    pictures: Pictures,
    count: int,
    features: Callable[[NDArray[np.int64]], dict[str, Tensor]],
    settings: StageSettings,
) -> Stage:
    categories = training_categories()
    place = {category: number for number, category in enumerate(categories)}
    words = vocabulary()
    synonyms = Synonyms.of([words[category].names for category in categories])
    with torch.no_grad():
        text_embed = embed_texts(odise.frozen.clip, odise.frozen.tokenizer.clip_ids(synonyms.strings))
    head = _category_head(odise)
    criterion = MaskCriterion(CRITERION)

    def losses(step: int) -> Mapping[str, Tensor]:
        rng = step_generator(settings, step)
        numbers = rng.integers(count, size=settings.batch)
        predictions = odise.mask_generator(features(numbers), all_layers=True)
        generator = torch.Generator().manual_seed(int(rng.integers(1 << 62)))
        result = criterion(
            _outputs(predictions, head, text_embed, synonyms),
            [_targets(pictures, int(n), place) for n in numbers],
            uniform_draws(generator),
        )
        terms = result.weighted()
        last = {key: value for key, value in terms.items() if not key[-1].isdigit()}
        return {**last, "auxiliary": torch.stack([v for key, v in terms.items() if key not in last]).sum()}

    return Stage(name, settings, trained_modules(odise).train(), losses)


def _outputs(
    predictions: MaskPredictions, head: CategoryHead, text_embed: Tensor, synonyms: Synonyms
) -> list[MaskOutput]:
    layers: list[MaskPredictions | LayerPrediction] = [predictions, *predictions.auxiliary]
    return [
        MaskOutput(
            class_logits=head(layer.mask_embed, text_embed, synonyms, predictions.logit_scale),
            mask_logits=layer.mask_logits,
            mask_embed=layer.mask_embed,
        )
        for layer in layers
    ]


def _targets(pictures: Pictures, number: int, place: Mapping[int, int]) -> MaskTargets:
    id_map = torch.from_numpy(pictures.id_maps[number].astype(np.int32))
    return targets_from_ids(id_map, [(id, place[category]) for id, category in pictures.segments[number]])


def _windows(rgb: NDArray[np.uint8], window: int) -> Tensor:
    images = torch.from_numpy(rgb.copy()).permute(0, 3, 1, 2).float() / 255.0
    return cut_windows(images, plan_windows(images.shape[2], images.shape[3], window))
