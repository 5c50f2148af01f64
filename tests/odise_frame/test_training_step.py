"""A whole training step on a tiny model: the reference's losses, matches, gradients through the UNet, and AdamW step.

The quick runs are float32 at the README's limits for it. `label_sq` runs in float64, where a pixel on the threshold of
the mask pooling, which in float32 falls to either side, cannot blur the comparison; as in the reference's own float64
run, its masks are read at the points that float32 chose (two candidates that are equally uncertain to seven digits
give the same loss, but another gradient).
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from golden_rules import VOCABULARY, distances, fill, image, normal, probe, text_embeddings, tiny_size
from torch import Tensor, nn
from training_rules import CONFIG, OUTPUTS, TrainingGolden, seeded_draws

from odise_frame.criterion import CriterionResult, MaskCriterion, MaskTargets
from odise_frame.model import Odise
from odise_frame.open_vocabulary import Synonyms
from odise_frame.optimization import OptimizerConfig, build_optimizer, build_schedule, clip_gradients
from odise_frame.point_sampling import uniform_draws
from odise_frame.released_keys import autoencoder_key, odise_key, prompt_encoder_key, unet_key
from odise_frame.training_step import caption_losses, collate, label_losses
from odise_frame.vocabulary_text import VocabularyText
from videoseg.errors import InputError

NAMES = VocabularyText(
    synonyms=Synonyms.of(VOCABULARY),
    head_embed=torch.from_numpy(text_embeddings("category", 64)),
    clip_embed=torch.from_numpy(text_embeddings("clip", 64)),  # not read in training
    seen=torch.ones(len(VOCABULARY), dtype=torch.bool),
)


class Run:
    """A golden training run: its model, batch, optimiser, and steps made from its draws."""

    def __init__(self, name: str, dtype: torch.dtype = torch.float32) -> None:
        self.golden = TrainingGolden(name)
        self.dtype = dtype
        size = tiny_size("caption" if self.golden.captioned else "label")
        self.model = Odise(size)
        frozen = self.model.frozen
        fill(frozen.unet, lambda key: f"ldm.model.diffusion_model.{unet_key(key)}")
        fill(frozen.autoencoder, lambda key: f"ldm.first_stage_model.{autoencoder_key(key)}")
        assert frozen.prompt_encoder is not None
        fill(frozen.prompt_encoder, lambda key: f"ldm.cond_stage_model.transformer.{prompt_encoder_key(key)}")
        fill(frozen.clip, "clip.")
        frozen.encode_empty_prompt()
        fill(self.model, lambda key: odise_key(key, size.supervision))
        self.trained: dict[str, nn.Parameter] = {}
        for name_, parameter in self.model.trained_parameters():
            key = odise_key(name_, size.supervision)
            assert key is not None
            self.trained[key] = parameter
        for key in self.golden.names:
            if key.startswith("override."):
                self.trained[key.removeprefix("override.")].data.copy_(self.golden.tensor(key))
        self.model.to(dtype)
        pictures = [torch.from_numpy(image(str(self.golden[f"image{i}.case"]))).permute(2, 0, 1) for i in (0, 1)]
        targets = [MaskTargets(self.golden.tensor(f"target{i}.classes"), self.golden.masks(i)) for i in (0, 1)]
        self.batch = collate([picture.to(dtype) / 255 for picture in pictures], targets)
        self.features: dict[str, Tensor] = {}
        """Of the last step."""
        self.model.backbone.register_forward_hook(lambda module, arguments, maps: self.features.update(maps))
        self.optimizer = build_optimizer(self.model)
        self.schedule = build_schedule(self.optimizer)

    def losses(self, step: int) -> CriterionResult:
        draws = seeded_draws(f"golden.train.{self.golden.run}.step{step}.rand")
        criterion = MaskCriterion(CONFIG)
        if self.dtype == torch.float64:
            # As many candidates as uncertain points: all are taken.
            criterion = MaskCriterion(dataclasses.replace(CONFIG, oversampling=CONFIG.importance))
            draws = self._stored_points()

        def draw(shape: tuple[int, ...]) -> Tensor:
            points = draws(shape)
            assert points.shape == shape
            return points.to(self.dtype)

        if self.golden.captioned:
            words = torch.from_numpy(normal("golden.train.word_embed", (2, 8, 64))).to(self.dtype)
            return caption_losses(self.model, self.batch, words, torch.tensor([True, True]), draw, criterion=criterion)
        text = dataclasses.replace(NAMES, head_embed=NAMES.head_embed.to(self.dtype))
        return label_losses(self.model, self.batch, text, draw, criterion=criterion)

    def _stored_points(self) -> Callable[[tuple[int, ...]], Tensor]:
        """Instead of the draws of step 0: where the reference read the masks."""
        golden, points = self.golden, []
        for output in range(OUTPUTS):
            points += [matching[None] for matching in golden.tensor(f"out{output}.match_coords")]
            points += torch.split(golden.tensor(f"out{output}.loss_coords"), [192, 64], dim=1)
        waiting = iter(points)
        return lambda shape: next(waiting)

    def step(self, number: int) -> tuple[CriterionResult, dict[str, Tensor], float]:
        """One optimiser step: losses, gradients before clipping, their norm."""
        self.optimizer.zero_grad()
        result = self.losses(number)
        result.total.backward()
        gradients = {key: p.grad.detach().clone() for key, p in self.trained.items() if p.grad is not None}
        norm = clip_gradients(self.trained.values(), OptimizerConfig().gradient_limit).item()
        self.optimizer.step()
        self.schedule.step()
        return result, gradients, norm

    def probes(self) -> np.ndarray:
        """The recorded elements of the trained parameters."""
        index = self.golden["probe.flat_index"]
        values = [
            self.trained[str(key)].detach().flatten()[torch.from_numpy(index[self.golden.probes_of(number)])]
            for number, key in enumerate(self.golden["param.name"])
        ]
        return torch.cat(values).double().numpy()


@dataclass(frozen=True)
class Limits:
    """How far a step may be from the reference's float64 numbers."""

    loss: float
    """Relative."""
    tensor_norm: float
    """Relative, of a parameter's gradient."""
    global_norm: float
    moved: float
    """In learning rates."""


SINGLE = Limits(loss=5e-6, tensor_norm=3e-3, global_norm=1e-4, moved=0.05)
DOUBLE = Limits(loss=1e-6, tensor_norm=1e-6, global_norm=1e-6, moved=1e-4)
"""The reference keeps positions and sampling centres in float32 here, too: 1e-7."""


@dataclass(frozen=True)
class FirstStep:
    run: Run
    rate: float
    result: CriterionResult
    gradients: dict[str, Tensor]
    norm: float
    moved: np.ndarray
    frozen_before: list[Tensor]

    @property
    def limits(self) -> Limits:
        return DOUBLE if self.run.dtype == torch.float64 else SINGLE


@pytest.fixture(
    scope="module", params=["label_ragged", "caption_ragged", pytest.param("label_sq", marks=pytest.mark.full)]
)
def first(request: pytest.FixtureRequest) -> FirstStep:
    run = Run(request.param, torch.float64 if request.param == "label_sq" else torch.float32)
    frozen_before = [parameter.clone() for parameter in run.model.frozen.parameters()]
    before, rate = run.probes(), run.optimizer.param_groups[0]["lr"]
    result, gradients, norm = run.step(0)
    return FirstStep(run, rate, result, gradients, norm, run.probes() - before, frozen_before)


def test_trained_parameters_and_their_decay(first: FirstStep) -> None:
    golden, run = first.run.golden, first.run
    assert sorted(run.trained) == list(golden["param.name"])
    assert [str(tuple(run.trained[key].shape)) for key in golden["param.name"]] == list(golden["param.shape"])
    decays = {id(p): group["weight_decay"] for group in run.optimizer.param_groups for p in group["params"]}
    assert [decays[id(run.trained[key])] for key in golden["param.name"]] == list(golden["param.weight_decay"])


def test_losses_matches_and_points(first: FirstStep) -> None:
    golden = first.run.golden
    limit = first.limits.loss
    for name, loss in first.result.weighted().items():
        assert loss.item() == pytest.approx(float(golden[f"f64.weighted.{name}"]), rel=limit), name
    assert first.result.total.item() == pytest.approx(float(golden["f64.total"]), rel=limit)
    for output in range(OUTPUTS):
        losses = first.result.outputs[output]
        for number, match in enumerate(losses.matches):
            np.testing.assert_array_equal(match.queries, golden[f"out{output}.match_query.{number}"])
            np.testing.assert_array_equal(match.targets, golden[f"out{output}.match_target.{number}"])
        for found, expected in zip(losses.points.float().numpy(), golden[f"out{output}.loss_coords"], strict=True):
            assert len({tuple(point) for point in found} ^ {tuple(point) for point in expected}) <= 2 * 2


def test_gradients_reach_everything_that_is_trained(first: FirstStep) -> None:
    golden = first.run.golden
    norms = np.array([first.gradients[str(key)].norm().item() for key in golden["param.name"]])
    np.testing.assert_allclose(norms, golden["grad.norm_f64"], rtol=first.limits.tensor_norm)
    assert first.norm == pytest.approx(float(golden["grad.global_norm_optimizer_f64"]), rel=first.limits.global_norm)
    for name in golden.names:
        if name.startswith("fullgrad."):
            key, _, part = name.removeprefix("fullgrad.").partition("[0,")
            gradient = first.gradients[key]
            if part:
                gradient = gradient[0, :4] if part.startswith(":4") else gradient[0, 76]
            assert distances(gradient.numpy(), golden[name])[0] <= 3e-3, name  # stored from float32


def test_the_step_moves_every_parameter_as_far(first: FirstStep) -> None:
    golden = first.run.golden
    assert first.rate == pytest.approx(float(golden["opt.lr_step1"]), rel=1e-12)
    assert np.abs(first.moved - golden["probe.delta_step1_f64"]).max() <= first.limits.moved * first.rate


def test_frozen_networks_stay_as_they_are(first: FirstStep) -> None:
    for before, parameter in zip(first.frozen_before, first.run.model.frozen.parameters(), strict=True):
        assert parameter.grad is None
        assert torch.equal(before.to(parameter.dtype), parameter)


def test_features_of_the_batch(first: FirstStep) -> None:
    """In training, too, windows overlap and the padding is black: the first thing to look at when a loss is wrong."""
    golden = first.run.golden
    assert set(first.run.features) == {"s2", "s3", "s4", "s5"}
    for name, feature in first.run.features.items():
        expected = golden[f"backbone.{name}|probe"]
        assert distances(probe(feature.detach().numpy(), len(expected)), expected)[0] <= 2e-5, name


def test_a_model_learns_from_its_own_kind_of_supervision_only(first: FirstStep) -> None:
    run, draw = first.run, uniform_draws(torch.Generator().manual_seed(0))
    if run.golden.captioned:
        with pytest.raises(InputError, match="learns from captions"):
            label_losses(run.model, run.batch, NAMES, draw)
    else:
        with pytest.raises(InputError, match="learns from categories"):
            caption_losses(run.model, run.batch, torch.zeros(2, 8, 64), torch.tensor([True, True]), draw)


@pytest.mark.full
@pytest.mark.parametrize("name", ["label_ragged", "caption_ragged"])
def test_four_steps(name: str) -> None:
    run = Run(name)
    golden, before = run.golden, run.probes()
    order = list(golden["trajectory.loss_names"])
    for number in range(4):
        rate = run.optimizer.param_groups[0]["lr"]
        assert rate == pytest.approx(float(golden["trajectory.lr"][number]), rel=1e-12)
        result, _, norm = run.step(number)
        assert result.total.item() == pytest.approx(float(golden["trajectory.total_f64"][number]), rel=1e-4)
        assert norm == pytest.approx(float(golden["trajectory.grad_norm_f64"][number]), rel=6e-4)
        for loss_name, loss in result.weighted().items():
            expected = float(golden["trajectory.losses_f64"][number][order.index(loss_name)])
            assert loss.item() == pytest.approx(expected, rel=1e-4), (number, loss_name)
    # Four steps, each as near as the first must be.
    moved = run.probes() - before
    assert np.abs(moved - golden["probe.delta_after_4_steps_f64"]).max() <= 4 * 0.05 * rate


@pytest.mark.full
def test_closed_gates_let_only_the_gates_learn() -> None:
    """The initial state: what is behind a gate of 0 gets no gradient, the gate does."""
    run = Run("label_ragged")
    captioner = "backbone.feature_extractor."
    for gate in ("alpha_cond", "alpha_cond_time_embed"):
        run.trained[captioner + gate].data.zero_()
    run.losses(0).total.backward()
    for key, parameter in run.trained.items():
        assert parameter.grad is not None
        behind = key.startswith((captioner + "clip_project", captioner + "time_embed_project"))
        assert bool((parameter.grad == 0).all()) == behind, key


def test_collating_images_of_different_sizes() -> None:
    images = [torch.full((3, 40, 70), 255, dtype=torch.uint8), torch.full((3, 64, 30), 51, dtype=torch.uint8)]
    targets = [
        MaskTargets(torch.tensor([2]), torch.ones(1, 40, 70, dtype=torch.bool)),
        MaskTargets(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 64, 30, dtype=torch.bool)),
    ]
    batch = collate(images, targets)
    assert batch.images.shape == (2, 3, 64, 128)
    assert batch.images.dtype == torch.float32
    assert batch.images[0].sum().item() == 3 * 40 * 70
    assert batch.images[1, :, :, :30].unique().tolist() == pytest.approx([0.2])
    assert batch.images[1, :, :, 30:].abs().sum() == 0
    assert batch.targets[0].masks.shape == (1, 64, 128)
    assert batch.targets[0].masks.sum() == 40 * 70
    assert batch.targets[1].masks.shape == (0, 64, 128)
