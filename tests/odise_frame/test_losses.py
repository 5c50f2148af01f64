"""Losses: the reference's numbers from stored predictions, and what must hold for any."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_rules import VOCABULARY, normal, text_embeddings, weight
from hypothesis import given, settings
from hypothesis import strategies as st
from training_rules import CONFIG, DATA, LOGIT_SCALE, OUTPUTS, RUNS, TrainingGolden, suffix

from odise_frame.losses import category_cross_entropy, dice_loss, grounding_loss, mask_cross_entropy

LIMIT = 5e-7
"""Relative; the losses are computed from the very float32 numbers that the reference had."""


@pytest.fixture(scope="module", params=RUNS)
def golden(request: pytest.FixtureRequest) -> TrainingGolden:
    return TrainingGolden(request.param)


def test_point_losses_of_random_masks() -> None:
    with np.load(DATA / "golden_losses.npz") as stored:
        logits = torch.from_numpy(2 * normal("loss.point_logits", (3, 50)))
        labels = torch.from_numpy(normal("loss.point_labels", (3, 50)) > 0).float()
        assert dice_loss(logits, labels, 3).item() == pytest.approx(stored["loss.dice"], rel=LIMIT)
        assert mask_cross_entropy(logits, labels, 3).item() == pytest.approx(stored["loss.bce"], rel=LIMIT)


def test_category_loss_of_random_logits() -> None:
    with np.load(DATA / "golden_losses.npz") as stored:
        logits = torch.from_numpy(normal("loss.class_logits", (2, 5, 4)))
        loss = category_cross_entropy(logits, torch.from_numpy(stored["loss.ce_targets"]), 0.1)
        assert loss.item() == pytest.approx(stored["loss.ce"], rel=LIMIT)


def test_grounding_loss_of_random_embeddings() -> None:
    with np.load(DATA / "golden_losses.npz") as stored:
        masks = torch.from_numpy(normal("loss.mask_embed", (3, 6, 16)))
        words = torch.from_numpy(normal("loss.word_embed", (3, 4, 16)))
        valid = torch.tensor([True, True, True])
        assert grounding_loss(masks, words, 1 / 0.07, valid).item() == pytest.approx(
            stored["loss.grounding"], rel=LIMIT
        )
        valid[2] = False
        loss = grounding_loss(masks, words, 1 / 0.07, valid).item()
        assert loss == pytest.approx(stored["loss.grounding_one_invalid"], rel=LIMIT)


@pytest.mark.parametrize("output", range(OUTPUTS))
def test_training_step_mask_losses(golden: TrainingGolden, output: int) -> None:
    logits, labels = golden.tensor(f"out{output}.point_logits"), golden.tensor(f"out{output}.point_labels")
    for name, loss in (("loss_mask", mask_cross_entropy), ("loss_dice", dice_loss)):
        expected = float(golden[f"f32.unweighted.{name}{suffix(output)}"])
        assert loss(logits, labels, float(golden["f32.num_masks"])).item() == pytest.approx(expected, rel=LIMIT)


def category_targets(golden: TrainingGolden, output: int) -> torch.Tensor:
    """The category of every query under the stored matching."""
    logits = golden[f"out{output}.pred_logits"]
    wanted = torch.full(logits.shape[:2], logits.shape[2] - 1)
    for image in (0, 1):
        queries, targets = (golden.tensor(f"out{output}.match_{side}.{image}") for side in ("query", "target"))
        wanted[image, queries] = golden.categories(image)[targets]
    return wanted


@pytest.mark.parametrize("output", range(OUTPUTS))
def test_training_step_category_loss(golden: TrainingGolden, output: int) -> None:
    logits = golden.tensor(f"out{output}.pred_logits")
    loss = category_cross_entropy(logits, category_targets(golden, output), CONFIG.void_weight)
    assert loss.item() == pytest.approx(float(golden[f"f32.unweighted.loss_ce{suffix(output)}"]), rel=LIMIT)


@pytest.mark.parametrize("output", range(OUTPUTS))
@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("f64.weighted.loss_mask_word", [True, True]),
        ("f64.variant.image1_no_words.loss_mask_word", [True, False]),
        ("f64.variant.no_words_at_all.loss_mask_word", [False, False]),
    ],
)
def test_training_step_grounding_loss(name: str, valid: list[bool], output: int) -> None:
    golden = TrainingGolden("caption_ragged")
    masks, words = golden.tensor(f"out{output}.mask_embed"), golden.tensor("word_proj")
    loss = grounding_loss(masks, words, LOGIT_SCALE, torch.tensor(valid))
    assert loss.item() == pytest.approx(float(golden[name + suffix(output)]), rel=LIMIT)


@pytest.mark.parametrize("output", range(OUTPUTS))
def test_grounding_loss_of_real_words(output: int) -> None:
    golden = TrainingGolden("caption_ragged")
    projection = [
        torch.from_numpy(weight(f"word_head.text_proj.{n}", s)) for n, s in (("weight", (64, 64)), ("bias", (64,)))
    ]
    words = F.linear(golden.tensor("words.clip_text_embed"), *projection).reshape(2, 8, 64)
    loss = grounding_loss(golden.tensor(f"out{output}.mask_embed"), words, LOGIT_SCALE, torch.tensor([True, True]))
    expected = float(golden[f"f64.variant.real_words.loss_mask_word{suffix(output)}"])
    assert loss.item() == pytest.approx(expected, rel=LIMIT)


def leaf(key: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(weight(key, shape)).requires_grad_()


@pytest.mark.parametrize("run", [run for run in RUNS if run.startswith("label")])
def test_gradients_of_the_category_head(run: str) -> None:
    """They depend on the mask embeddings alone, which are stored."""
    golden = TrainingGolden(run)
    keys = {
        "category_head.text_proj.weight": (64, 64),
        "category_head.text_proj.bias": (64,),
        "category_head.null_embed": (1, 64),
        "sem_seg_head.predictor.post_mask_embed.logit_scale": (),
    }
    weights = {key: leaf(key, *shape) for key, shape in keys.items()}
    projection, bias, void, log_scale = weights.values()
    names = F.normalize(F.linear(torch.from_numpy(text_embeddings("category", 64)), projection, bias), dim=-1)
    none = F.normalize(F.linear(void, projection, bias), dim=-1)
    total = torch.zeros(())
    for output in range(OUTPUTS):
        masks = F.normalize(golden.tensor(f"out{output}.mask_embed"), dim=-1)
        cosines = (masks @ names.T).split([len(synonyms) for synonyms in VOCABULARY], dim=-1)
        logits = torch.cat([*(part.amax(-1, keepdim=True) for part in cosines), masks @ none.T], -1) * log_scale.exp()
        torch.testing.assert_close(logits, golden.tensor(f"out{output}.pred_logits"), rtol=0, atol=2e-5)
        total = total + CONFIG.category_weight * category_cross_entropy(
            logits, category_targets(golden, output), CONFIG.void_weight
        )
    total.backward()
    check_gradients(golden, weights, 5e-5 if golden.run.endswith("sq") else 5e-6)


def test_gradients_of_the_word_head() -> None:
    golden = TrainingGolden("caption_ragged")
    keys = {
        "word_head.text_proj.weight": (64, 64),
        "word_head.text_proj.bias": (64,),
        "sem_seg_head.predictor.post_mask_embed.logit_scale": (),
    }
    weights = {key: leaf(key, *shape) for key, shape in keys.items()}
    projection, bias, log_scale = weights.values()
    words = F.linear(torch.from_numpy(normal("golden.train.word_embed", (2, 8, 64))), projection, bias)
    torch.testing.assert_close(words.detach(), golden.tensor("word_proj"), rtol=0, atol=2e-6)
    valid = torch.tensor([True, True])
    embeds = [golden.tensor(f"out{output}.mask_embed") for output in range(OUTPUTS)]
    sum(grounding_loss(embed, words, log_scale.exp(), valid) for embed in embeds).backward()  # type: ignore[union-attr]
    check_gradients(golden, weights, 5e-6)


def check_gradients(golden: TrainingGolden, weights: dict[str, torch.Tensor], limit: float) -> None:
    names = list(golden["param.name"])
    for key, tensor in weights.items():
        assert tensor.grad is not None
        expected = float(golden["grad.norm_f64"][names.index(key)])
        assert tensor.grad.norm().item() == pytest.approx(expected, rel=limit), key
        if f"fullgrad.{key}" in golden:
            full = golden.tensor(f"fullgrad.{key}")
            assert (tensor.grad - full).abs().max() <= 10 * limit * full.abs().max(), key


def test_losses_without_masks_are_zero_and_finite() -> None:
    nothing = torch.zeros(0, 12, requires_grad=True)
    loss = dice_loss(nothing, nothing.detach(), 1) + mask_cross_entropy(nothing, nothing.detach(), 1)
    loss.backward()
    assert loss.item() == 0
    assert nothing.grad is not None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 60))
def test_a_perfect_mask_costs_nothing_and_a_wrong_one_everything(seed: int, count: int, points: int) -> None:
    labels = torch.randint(0, 2, (count, points), generator=torch.Generator().manual_seed(seed)).float()
    right = (2 * labels - 1) * 40
    assert dice_loss(right, labels, count).item() == pytest.approx(0, abs=1e-6)
    assert mask_cross_entropy(right, labels, count).item() == pytest.approx(0, abs=1e-6)
    assert mask_cross_entropy(-right, labels, count).item() == pytest.approx(40, rel=1e-6)
    # The + 1 above and below the fraction: a wrong mask of n points costs 1 - 1 / (n + 1).
    assert dice_loss(-right, labels, count).item() == pytest.approx(1 - 1 / (points + 1), abs=1e-6)


def test_grounding_prefers_the_right_caption() -> None:
    masks = torch.eye(4)[None].repeat(2, 1, 1).reshape(2, 4, 4) * torch.tensor([1.0, -1.0])[:, None, None]
    valid = torch.tensor([True, True])
    right = grounding_loss(masks, masks, 10.0, valid)
    wrong = grounding_loss(masks, masks.flip(0), 10.0, valid)
    assert right < 0.1 < wrong
