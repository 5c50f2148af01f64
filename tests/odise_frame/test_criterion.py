"""MaskCriterion: the reference's loss, matches and gradients, from draws to total; points; batches without masks."""

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_rules import normal, uniform
from hypothesis import given, settings
from hypothesis import strategies as st
from training_rules import DATA, OUTPUTS, RUNS, TrainingGolden, seeded_draws

from odise_frame.criterion import (
    CaptionTargets,
    CriterionConfig,
    CriterionResult,
    MaskCriterion,
    MaskOutput,
    MaskTargets,
    pad_masks,
    targets_from_ids,
)
from odise_frame.point_sampling import read_logits, read_masks, uncertain_points, uniform_draws

Rectangle = tuple[int, int, int, int]

# README of the training numbers, §6. These rectangles overlap: unlike segments of an id map, none hides another.
SYNTHETIC: dict[str, list[list[tuple[int, Rectangle]]]] = {
    "two_images": [[(0, (2, 3, 20, 30)), (2, (10, 10, 32, 40))], [(1, (0, 0, 32, 8))]],
    "second_image_without_masks": [[(0, (2, 3, 20, 30)), (2, (10, 10, 32, 40))], []],
    "one_empty_mask": [[(0, (2, 3, 20, 30)), (2, (0, 0, 0, 0))], [(1, (0, 0, 32, 8))]],
    "no_masks_at_all": [[], []],
}


def rectangles(segments: list[tuple[int, Rectangle]]) -> MaskTargets:
    masks = torch.zeros(len(segments), 32, 40, dtype=torch.bool)
    for mask, (_, (top, left, bottom, right)) in zip(masks, segments, strict=True):
        mask[top:bottom, left:right] = True
    return MaskTargets(torch.tensor([category for category, _ in segments], dtype=torch.int64), masks)


@pytest.mark.parametrize("name", SYNTHETIC)
def test_synthetic_predictions(name: str) -> None:
    class_logits = torch.from_numpy(2 * normal("golden.crit.logits", (2, 6, 4))).requires_grad_()
    mask_logits = torch.from_numpy(2 * normal("golden.crit.masks", (2, 6, 8, 10))).requires_grad_()
    result = MaskCriterion(CriterionConfig(points=32))(
        [MaskOutput(class_logits, mask_logits)],
        [rectangles(segments) for segments in SYNTHETIC[name]],
        seeded_draws(f"golden.crit.{name}.rand"),
    )
    result.total.backward()
    (losses,) = result.outputs
    with np.load(DATA / "golden_criterion_small.npz") as archive:
        golden: dict[str, Any] = {key: archive[key] for key in archive.files}
    for key, loss in (("loss_ce", losses.category), ("loss_mask", losses.mask), ("loss_dice", losses.dice)):
        assert loss.item() == pytest.approx(float(golden[f"{name}.{key}"]), abs=1e-7)
    assert result.total.item() == pytest.approx(float(golden[f"{name}.total_weighted"]), abs=1e-6)
    for image, match in enumerate(losses.matches):
        np.testing.assert_array_equal(match.queries, golden[f"{name}.match_query.{image}"])
        np.testing.assert_array_equal(match.targets, golden[f"{name}.match_target.{image}"])
    np.testing.assert_array_equal(losses.points.numpy(), golden[f"{name}.loss_coords"])
    assert class_logits.grad is not None
    assert mask_logits.grad is not None
    np.testing.assert_allclose(class_logits.grad, golden[f"{name}.grad_logits"], rtol=0, atol=1e-7)
    np.testing.assert_allclose(mask_logits.grad, golden[f"{name}.grad_masks"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("output", range(OUTPUTS))
@pytest.mark.parametrize("run", RUNS)
def test_labels_at_the_points_of_training_steps(run: str, output: int) -> None:
    golden = TrainingGolden(run)
    start = 0
    for image, target in enumerate(golden.targets()):
        matching = golden.tensor(f"out{output}.match_coords")[image][None]
        expected = golden.tensor(f"out{output}.match_tgt_vals.{image}")
        torch.testing.assert_close(read_masks(target.masks, matching), expected, rtol=0, atol=1e-6)
        rows = golden.tensor(f"out{output}.match_target.{image}")
        points = golden.tensor(f"out{output}.loss_coords")[start : start + len(rows)]
        expected = golden.tensor(f"out{output}.point_labels")[start : start + len(rows)]
        torch.testing.assert_close(read_masks(target.masks, points, rows), expected, rtol=0, atol=1e-6)
        start += len(rows)
    assert start == golden[f"out{output}.loss_coords"].shape[0]


@pytest.mark.parametrize("output", range(OUTPUTS))
@pytest.mark.parametrize("run", RUNS)
def test_draws_of_training_steps(run: str, output: int) -> None:
    """The stored points are the documented draws in the documented order."""
    golden = TrainingGolden(run)
    shapes = [tuple(int(n) for n in text.strip("()").split(",")) for text in golden["rand.shapes"]]
    first, second, candidates, rest = (
        uniform(str(golden["rand.keys"][4 * output + n]), shapes[4 * output + n]) for n in range(4)
    )
    np.testing.assert_array_equal(np.concatenate([first, second]), golden[f"out{output}.match_coords"])
    points = golden[f"out{output}.loss_coords"]
    np.testing.assert_array_equal(points[:, 192:], rest)
    uncertainty = np.abs(golden[f"out{output}.point_logits"][:, :192])
    assert (np.diff(uncertainty, axis=1) >= 0).all()
    for own, offered in zip(points[:, :192], candidates, strict=True):
        assert {tuple(point) for point in own} <= {tuple(point) for point in offered}


def random_batch(seed: int, targets: tuple[int, ...]) -> tuple[list[MaskOutput], list[MaskTargets]]:
    generator = torch.Generator().manual_seed(seed)
    batch = len(targets)
    outputs = [
        MaskOutput(
            torch.randn(batch, 5, 4, generator=generator).requires_grad_(),
            torch.randn(batch, 5, 6, 7, generator=generator).requires_grad_(),
            torch.randn(batch, 5, 8, generator=generator).requires_grad_(),
        )
        for _ in range(2)
    ]
    return outputs, [
        MaskTargets(
            torch.randint(0, 3, (count,), generator=generator),
            torch.randint(0, 2, (count, 24, 28), generator=generator).bool(),
        )
        for count in targets
    ]


def criterion_of(outputs: list[MaskOutput], targets: list[MaskTargets], seed: int = 0, **named: Any) -> CriterionResult:
    draw = uniform_draws(torch.Generator().manual_seed(seed))
    return MaskCriterion(CriterionConfig(points=64))(outputs, targets, draw, **named)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.lists(st.integers(0, 8), min_size=1, max_size=3))
def test_any_number_of_targets_gives_finite_losses_and_gradients(seed: int, counts: list[int]) -> None:
    outputs, targets = random_batch(seed, tuple(counts))
    result = criterion_of(outputs, targets)
    result.total.backward()
    assert torch.isfinite(result.total)
    for output, losses in zip(outputs, result.outputs, strict=True):
        assert [len(match) for match in losses.matches] == [min(count, 5) for count in counts]
        for tensor in (output.class_logits, output.mask_logits):
            assert tensor.grad is not None
            assert torch.isfinite(tensor.grad).all()


def test_unmatched_masks_get_no_gradient() -> None:
    outputs, targets = random_batch(1, (2, 1))
    result = criterion_of(outputs, targets)
    result.total.backward()
    for output, losses in zip(outputs, result.outputs, strict=True):
        assert output.mask_logits.grad is not None
        touched = output.mask_logits.grad.abs().sum((2, 3)) > 0
        expected = torch.zeros(2, 5, dtype=torch.bool)
        for image, match in enumerate(losses.matches):
            expected[image, torch.from_numpy(match.queries)] = True
        assert torch.equal(touched, expected)


def test_the_total_is_the_sum_of_the_named_terms() -> None:
    outputs, targets = random_batch(2, (3, 1))
    captions = CaptionTargets(torch.randn(2, 4, 8), torch.tensor([True, False]), 10.0)
    result = criterion_of(outputs, targets, captions=captions)
    terms = result.weighted()
    assert set(terms) == {
        f"{name}{end}" for name in ("loss_ce", "loss_mask", "loss_dice", "loss_mask_word") for end in ("", "_0")
    }
    assert result.total.item() == pytest.approx(sum(term.item() for term in terms.values()), rel=1e-6)


def test_mask_losses_are_divided_by_the_masks_of_the_whole_batch() -> None:
    outputs, targets = random_batch(3, (3, 1))
    once, twice = criterion_of(outputs, targets), criterion_of(outputs, targets, mask_count=8)
    for four, eight in zip(once.outputs, twice.outputs, strict=True):
        assert four.mask.item() == pytest.approx(2 * eight.mask.item(), rel=1e-6)
        assert four.dice.item() == pytest.approx(2 * eight.dice.item(), rel=1e-6)
        assert four.category.item() == eight.category.item()


def test_caption_supervision_needs_mask_embeddings() -> None:
    outputs, targets = random_batch(4, (1,))
    captions = CaptionTargets(torch.randn(1, 4, 8), torch.tensor([True]), 10.0)
    with pytest.raises(ValueError, match="mask_embed"):
        criterion_of([MaskOutput(outputs[0].class_logits, outputs[0].mask_logits)], targets, captions=captions)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4))
def test_bytes_are_read_as_floats_would_be(seed: int, height: int, width: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(0, 2, (count, height, width), generator=generator).bool()
    points = torch.rand(count, 20, 2, generator=generator)
    points[:, :3] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.5, 0.0]])
    rows = torch.randint(0, count, (count,), generator=generator)
    torch.testing.assert_close(read_masks(masks, points, rows), read_logits(masks[rows].float(), points))
    torch.testing.assert_close(read_masks(masks, points[:1]), read_logits(masks.float(), points[:1]))


def test_a_point_at_a_pixel_centre_reads_that_pixel() -> None:
    maps = torch.arange(12.0).reshape(1, 3, 4)
    centres = torch.tensor([[(column + 0.5) / 4, (row + 0.5) / 3] for row in range(3) for column in range(4)])[None]
    torch.testing.assert_close(read_logits(maps, centres)[0], maps.flatten(), rtol=0, atol=1e-5)


def test_uncertain_points_lie_on_the_boundary() -> None:
    ramp = torch.linspace(-8, 8, 64).expand(1, 64, 64)
    candidates = torch.rand(1, 600, 2, generator=torch.Generator().manual_seed(0))
    candidates[..., 1] = 0.1 + 0.8 * candidates[..., 1]  # at the border a map fades to the zero outside
    chosen = uncertain_points(ramp, candidates, 60)
    distance = (chosen[0, :, 0] - 0.5).abs()
    assert distance.max() < 0.1
    assert (distance.diff() >= -1e-6).all()
    assert distance.max() <= (candidates[0, :, 0] - 0.5).abs().sort().values[59] + 1e-6


def test_padding_a_mask_adds_nothing() -> None:
    mask = torch.ones(2, 3, 4, dtype=torch.bool)
    padded = pad_masks(mask, (5, 8))
    assert torch.equal(F.pad(mask, (0, 4, 0, 2)), padded)


def test_targets_of_an_id_map() -> None:
    ids = torch.tensor([[0, 7, 7], [9, 9, 0]], dtype=torch.int32)
    targets = targets_from_ids(ids, [(9, 2), (7, 0), (5, 1)])
    assert targets.categories.tolist() == [2, 0, 1]
    assert targets.masks.int().tolist() == [[[0, 0, 0], [1, 1, 0]], [[0, 1, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert targets_from_ids(ids, []).masks.shape == (0, 2, 3)


def test_the_criterion_is_as_exact_in_float64() -> None:
    outputs, targets = random_batch(5, (2, 3))
    double = [MaskOutput(output.class_logits.double(), output.mask_logits.double()) for output in outputs]
    single, exact = criterion_of(outputs, targets), criterion_of(double, targets)
    assert exact.total.dtype == torch.float64
    assert single.total.item() == pytest.approx(exact.total.item(), rel=1e-6)
