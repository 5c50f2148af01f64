"""Optimiser: which parameters decay, the learning rate, the clipping, and the reference's first step."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from training_rules import DATA, RUNS, TrainingGolden

from odise_frame.optimization import (
    LearningRateSchedule,
    OptimizerConfig,
    build_optimizer,
    build_schedule,
    clip_gradients,
    parameter_groups,
)
from videoseg.errors import InputError


class Everything(nn.Module):
    """One of each kind of parameter that ODISE has."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2)
        self.convolution = nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))
        self.norm = nn.LayerNorm(4)
        self.queries = nn.Embedding(3, 4)
        self.gate = nn.Parameter(torch.zeros(4))
        self.tied = self.queries
        self.frozen = nn.Linear(4, 4).requires_grad_(False)


def test_normalisations_and_biases_are_not_decayed() -> None:
    decayed, exempt = parameter_groups(Everything(), 0.05)
    assert (decayed["weight_decay"], exempt["weight_decay"]) == (0.05, 0.0)
    assert set(decayed["names"]) == {
        "attention.in_proj_weight",
        "attention.in_proj_bias",
        "attention.out_proj.weight",
        "convolution.0.weight",
        "queries.weight",
        "gate",
    }
    assert set(exempt["names"]) == {
        "attention.out_proj.bias",
        "convolution.0.bias",
        "convolution.1.weight",
        "convolution.1.bias",
        "norm.weight",
        "norm.bias",
    }


def test_a_frozen_model_cannot_be_trained() -> None:
    with pytest.raises(InputError, match="frozen"):
        build_optimizer(nn.Linear(2, 2).requires_grad_(False))


def test_learning_rates_of_the_reference() -> None:
    golden = json.loads((DATA / "lr_schedule.json").read_text())
    schedule = LearningRateSchedule(golden["max_iter"])
    for iteration, rate in golden["lr_at_iteration"].items():
        assert golden["base_lr"] * schedule.factor(int(iteration)) == pytest.approx(rate, rel=1e-12), iteration


@pytest.mark.parametrize("iterations", [10, 1000, 92188, 400_000])
def test_the_schedule_climbs_once_and_drops_twice(iterations: int) -> None:
    factors = np.array([LearningRateSchedule(iterations).factor(i) for i in range(0, iterations, iterations // 10)])
    peak = int(factors.argmax())
    assert (np.diff(factors[: peak + 1]) >= 0).all()
    assert (np.diff(factors[peak:]) <= 0).all()
    assert LearningRateSchedule(iterations).factor(0) == pytest.approx(0.067)
    assert LearningRateSchedule(iterations).factor(iterations - 1) == pytest.approx(0.1 if iterations == 10 else 0.01)


def test_the_schedule_is_set_before_the_first_step_and_survives_a_restart() -> None:
    model = nn.Linear(2, 2)

    def start() -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
        optimizer = build_optimizer(model)
        return optimizer, build_schedule(optimizer, LearningRateSchedule(1000, warmup=0.01))

    def rates(optimizer: torch.optim.AdamW) -> list[float]:
        return [group["lr"] for group in optimizer.param_groups]

    optimizer, schedule = start()
    assert rates(optimizer) == pytest.approx([6.7e-6] * 2)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    again, schedule_again = start()
    again.load_state_dict(optimizer.state_dict())
    schedule_again.load_state_dict(schedule.state_dict())
    for _ in range(3):
        for one, its_schedule in ((optimizer, schedule), (again, schedule_again)):
            one.step()
            its_schedule.step()
    assert rates(again) == rates(optimizer) == pytest.approx([1e-4 * (0.067 + 0.933 * 0.8)] * 2)


@pytest.mark.parametrize("run", RUNS)
def test_clipping_of_the_reference(run: str) -> None:
    golden = TrainingGolden(run)
    norms = golden["grad.norm_f64"]
    parameters = [nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in norms]
    for parameter, norm in zip(parameters, norms, strict=True):
        parameter.grad = torch.full_like(parameter, norm)
    before = clip_gradients(parameters, OptimizerConfig().gradient_limit)
    assert before.item() == pytest.approx(float(golden["grad.global_norm_optimizer_f64"]), rel=1e-12)
    after = np.array([parameter.grad.item() for parameter in parameters if parameter.grad is not None])
    np.testing.assert_allclose(after, norms * float(golden["grad.clip_coefficient_f64"]), rtol=1e-12)
    assert np.linalg.norm(after) == pytest.approx(float(golden["grad.global_norm_after_clip_f64"]), rel=1e-12)


class Probes(nn.Module):
    """The recorded elements of a model, those that decay and those that don't."""

    def __init__(self, values: torch.Tensor, decays: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(values[decays].clone())
        self.bias = nn.Parameter(values[~decays].clone())


@pytest.mark.parametrize("run", RUNS)
def test_the_first_step_of_the_reference(run: str) -> None:
    """From its gradients, clipped, in float64: every recorded element moves as far."""
    golden = TrainingGolden(run)
    decays = np.zeros(len(golden["probe.flat_index"]), dtype=bool)
    for index, decay in enumerate(golden["param.weight_decay"]):
        assert decay in (0.0, 0.05)
        decays[golden.probes_of(index)] = decay > 0
    which = torch.from_numpy(decays)
    before = golden.tensor("probe.param_before").double()
    clipped = golden.tensor("probe.grad_f64") * float(golden["grad.clip_coefficient_f64"])
    model = Probes(before, which)
    model.weight.grad, model.bias.grad = clipped[which], clipped[~which]
    optimizer = build_optimizer(model)
    build_schedule(optimizer)
    optimizer.step()
    moved = torch.empty_like(before)
    moved[which] = model.weight.detach() - before[which]
    moved[~which] = model.bias.detach() - before[~which]
    rate = float(golden["opt.lr_step1"])
    assert (moved - golden.tensor("probe.delta_step1_f64")).abs().max() <= 1e-6 * rate
