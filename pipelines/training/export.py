"""From checkpoints to the model folder that ships, with the facts of its training."""

import platform
from dataclasses import asdict
from pathlib import Path

import torch

from eval.synthetic_world.concepts import vocabulary
from odise_frame.checkpoints import ModelInfo, save_model
from odise_frame.model import Odise
from pipelines.training import autoencoder_stage, clip_stage, mask_generator_stage, mosaic_stage, unet_stage
from pipelines.training.loop import StageSettings, load_trained, newest, trained_seconds
from pipelines.training.mask_generator_stage import trained_modules, training_categories

STAGES: dict[str, StageSettings] = {
    "autoencoder": autoencoder_stage.SETTINGS,
    "clip": clip_stage.SETTINGS,
    **{name: plan.settings for name, plan in mosaic_stage.ROUNDS.items()},
    "unet": unet_stage.SETTINGS,
    "mask-generator": mask_generator_stage.HEADS,
    "mask-generator-again": mask_generator_stage.HEADS_AGAIN,
    "captioner": mask_generator_stage.CAPTIONER,
}
"""In the order of training."""


HEADS = ("captioner", "mask-generator-again", "mask-generator")
"""Stages that train heads, the last one first."""


def export(odise: Odise, checkpoints: Path, folder: Path, *, heads: str | None = None) -> ModelInfo:
    """Writes the model whose frozen parts are in `odise`.

    Args:
        odise: with trained frozen parts.
        checkpoints: where those of the stages are.
        folder: to write.
        heads: the stage whose heads are taken, one of `HEADS`; the newest where None. Without its own stage the
            captioner says what the empty prompt says.
    """
    heads = heads or newest(HEADS, checkpoints)
    load_trained(trained_modules(odise), heads, checkpoints)
    stages = {}
    left_out = HEADS[: HEADS.index(heads)]
    for name, settings in STAGES.items():
        if name in left_out:
            continue
        steps, seconds = trained_seconds(name, checkpoints)
        stages[name] = {"steps_made": steps, "seconds": round(seconds), **asdict(settings)}
    words = vocabulary()
    return save_model(
        folder,
        odise,
        training_names=[name for category in training_categories() for name in words[category].names],
        training={
            "data": "the synthetic world's training split (eval.synthetic_world); masks of base concepts only, "
            "captions of all concepts",
            "stages": stages,
            "machine": f"{platform.machine()}, CPU only, torch {torch.__version__}",
            "command": "python -m pipelines.training STAGE, in the order of `stages`",
        },
    )
