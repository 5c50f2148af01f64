"""The training loop that all stages share: steps, learning rate, log, checkpoints that a run resumes from.

What a step does is a function of its number: every random draw of a stage comes from `step_generator`, so a stopped
and resumed training is the same training.
"""

import json
import math
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from odise_frame.optimization import clip_gradients, parameter_groups
from videoseg.errors import InputError


@dataclass(frozen=True, slots=True)
class StageSettings:
    """Numbers of one stage."""

    steps: int
    batch: int
    learning_rate: float
    seed: int
    weight_decay: float = 0.01
    """Light: the models are small for their data."""
    gradient_limit: float = 1.0
    warmup: float = 0.03
    """Share of the steps in which the rate climbs from 0; after it, a half cosine to a hundredth."""
    log_every: int = 20
    save_every: int = 100

    def rate(self, step: int) -> float:
        """The learning rate of step `step` (from 0)."""
        warm = max(1, round(self.warmup * self.steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = (step - warm) / max(1, self.steps - warm)
        return self.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage, ready to be trained."""

    name: str
    settings: StageSettings
    model: nn.Module
    """What is trained and saved: its parameters with `requires_grad`, its whole state dict."""
    losses: Callable[[int], Mapping[str, Tensor]]
    """Step number -> named terms; their sum is minimised."""


def step_generator(settings: StageSettings, step: int) -> np.random.Generator:
    """The source of all randomness of one step."""
    return np.random.default_rng([settings.seed, step])


def train(stage: Stage, folder: Path, *, stop_at: int | None = None) -> bool:
    """Trains until the stage's last step, from its checkpoint if there is one; True when it is finished.

    SIGTERM and Ctrl-C save a checkpoint and stop. The log is one JSON object a line in `<name>.log`.

    Args:
        stage: what to train.
        folder: where checkpoint and log live.
        stop_at: pause before this step.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = stage.settings
    optimizer = torch.optim.AdamW(parameter_groups(stage.model, settings.weight_decay), lr=settings.learning_rate)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    path = folder / f"{stage.name}.checkpoint"
    step, seconds = 0, 0.0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        if saved["settings"] != asdict(settings):
            raise InputError(
                f"The checkpoint {path} was made with other settings. Take it away to train stage {stage.name!r} anew."
            )
        stage.model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        step, seconds = saved["step"], saved["seconds"]

    def save() -> None:
        unfinished = path.with_suffix(".unfinished")
        torch.save(
            {
                "settings": asdict(settings),
                "model": stage.model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "seconds": seconds,
            },
            unfinished,
        )
        unfinished.rename(path)

    asked_to_stop = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal asked_to_stop
        asked_to_stop = True

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    end = settings.steps if stop_at is None else min(stop_at, settings.steps)
    means: dict[str, list[float]] = {}
    try:
        while step < end and not asked_to_stop:
            began = time.monotonic()
            for group in optimizer.param_groups:
                group["lr"] = settings.rate(step)
            optimizer.zero_grad(set_to_none=True)
            terms = stage.losses(step)
            torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
            norm = clip_gradients(trained, settings.gradient_limit)
            if not torch.isfinite(norm):
                raise FloatingPointError(f"stage {stage.name!r}, step {step}: the gradient is not finite")
            optimizer.step()
            step += 1
            seconds += time.monotonic() - began
            for name, value in terms.items():
                means.setdefault(name, []).append(float(value.detach()))
            if step % settings.log_every == 0 or step == end:
                record: dict[str, Any] = {"step": step, "of": settings.steps, "seconds": round(seconds, 1)}
                record |= {name: round(float(np.mean(values)), 5) for name, values in means.items()}
                with (folder / f"{stage.name}.log").open("a") as log:
                    log.write(json.dumps(record) + "\n")
                means = {}
            if step % settings.save_every == 0:
                save()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    save()
    return step >= settings.steps


def trained_seconds(stage_name: str, folder: Path) -> tuple[int, float]:
    """Steps made and seconds spent, from a stage's checkpoint; (0, 0) where there is none."""
    path = folder / f"{stage_name}.checkpoint"
    if not path.exists():
        return 0, 0.0
    saved = torch.load(path, weights_only=True)
    return int(saved["step"]), float(saved["seconds"])


def newest(stage_names: Sequence[str], folder: Path) -> str:
    """The first of these stages, given from the last to the first, that has a checkpoint; else the last in the list."""
    return next((name for name in stage_names if trained_seconds(name, folder)[0]), stage_names[-1])


def load_trained(model: nn.Module, stage_name: str, folder: Path) -> None:
    """Puts a stage's newest weights into `model`; InputError where the stage has not been trained."""
    path = folder / f"{stage_name}.checkpoint"
    if not path.exists():
        raise InputError(
            f"Stage {stage_name!r} has no checkpoint in {folder}. "
            f"Run `python -m pipelines.training {stage_name}` first."
        )
    model.load_state_dict(torch.load(path, weights_only=True)["model"])
