"""Matching: the reference's costs and assignments, and optimality by exhaustion."""

import itertools

import numpy as np
import pytest
import torch
from golden_rules import normal
from hypothesis import given, settings
from hypothesis import strategies as st
from training_rules import CONFIG, DATA, OUTPUTS, RUNS, TrainingGolden

from odise_frame.matching import category_costs, dice_costs, mask_costs, match_all, match_costs
from videoseg.errors import VideosegError


def test_costs_of_random_masks() -> None:
    logits = torch.from_numpy(2 * normal("loss.match_logits", (5, 50)))
    labels = torch.from_numpy(normal("loss.point_labels", (3, 50)) > 0).float()
    with np.load(DATA / "golden_losses.npz") as stored:
        np.testing.assert_allclose(dice_costs(logits, labels), stored["loss.match_dice"], rtol=0, atol=3e-7)
        np.testing.assert_allclose(mask_costs(logits, labels), stored["loss.match_bce"], rtol=3e-7, atol=0)


@pytest.mark.parametrize("output", range(OUTPUTS))
@pytest.mark.parametrize("run", RUNS)
def test_costs_and_assignments_of_training_steps(run: str, output: int) -> None:
    golden = TrainingGolden(run)
    costs = []
    for image in (0, 1):
        logits = golden.tensor(f"out{output}.match_logits.{image}")
        labels = golden.tensor(f"out{output}.match_tgt_vals.{image}")
        mask, dice = mask_costs(logits, labels), dice_costs(logits, labels)
        category = category_costs(golden.tensor(f"out{output}.pred_logits")[image], golden.categories(image))
        total = CONFIG.mask_weight * mask + CONFIG.dice_weight * dice + CONFIG.category_weight * category
        for name, cost in (("mask", mask), ("dice", dice), ("total", total)):
            expected = golden.tensor(f"out{output}.cost_{name}.{image}")
            assert (cost - expected).abs().max() <= 3e-7 * max(1.0, expected.abs().max().item()), name
        costs.append(total)
    for image, match in enumerate(match_all(costs)):
        np.testing.assert_array_equal(match.queries, golden[f"out{output}.match_query.{image}"])
        np.testing.assert_array_equal(match.targets, golden[f"out{output}.match_target.{image}"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(0, 5))
def test_no_other_assignment_is_cheaper(seed: int, queries: int, targets: int) -> None:
    costs = np.random.default_rng(seed).normal(size=(queries, targets))
    match = match_costs(costs)
    assert len(match) == min(queries, targets)
    assert (np.diff(match.queries) > 0).all()
    assert len(set(match.targets)) == len(match)
    if queries >= targets:
        orders = ((list(order), list(range(targets))) for order in itertools.permutations(range(queries), targets))
    else:
        orders = ((list(range(queries)), list(order)) for order in itertools.permutations(range(targets), queries))
    cheapest = min(costs[rows, columns].sum() for rows, columns in orders)
    assert costs[match.queries, match.targets].sum() == pytest.approx(cheapest)


def test_costs_that_are_not_finite_say_that_the_training_diverged() -> None:
    with pytest.raises(VideosegError, match="diverged"):
        match_costs(np.full((3, 2), np.nan))
