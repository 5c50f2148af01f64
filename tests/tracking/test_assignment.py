"""The assignment: optimal, gated, the same by either solver, ties in order."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tracking.assignment import assign, total_cost


def matrices(step: float | None = None):
    """Costs in [0, 1], rectangular; on a coarse grid they tie all the time."""
    element = st.floats(0, 1) if step is None else st.integers(0, int(1 / step)).map(lambda n: n * step)
    shape = st.tuples(st.integers(1, 7), st.integers(1, 7))
    return shape.flatmap(lambda s: st.tuples(arrays(np.float64, s, elements=element), arrays(bool, s)))


def best_by_trial(cost: np.ndarray, allowed: np.ndarray, limit: float) -> tuple[float, list[tuple[int, int]]]:
    """Least total cost and the first assignment in lexicographic order that has it."""
    rows, columns = cost.shape
    options = []
    for order in permutations(list(range(columns)) + [-1] * rows, rows):
        pairs = [(i, j) for i, j in enumerate(order) if j >= 0]
        if all(allowed[i, j] and cost[i, j] < limit for i, j in pairs):
            options.append((total_cost(cost, pairs, limit=limit), [j if j >= 0 else columns for j in order], pairs))
    least = min(total for total, _, _ in options)
    return least, min((order, pairs) for total, order, pairs in options if total == least)[1]


@given(data=st.one_of(matrices(), matrices(0.25)), limit=st.floats(0.2, 1))
@settings(max_examples=150, deadline=None)
def test_both_solvers_give_the_same_pairs(data, limit: float) -> None:
    cost, allowed = data
    first = assign(cost, limit=limit, allowed=allowed, solver="lap")
    second = assign(cost, limit=limit, allowed=allowed, solver="scipy")
    assert first == second
    assert total_cost(cost, first, limit=limit) == total_cost(cost, second, limit=limit)
    assert len({i for i, _ in first}) == len({j for _, j in first}) == len(first)
    assert all(allowed[i, j] and cost[i, j] < limit for i, j in first)


@given(data=st.integers(1, 3).flatmap(lambda n: st.tuples(
    arrays(np.float64, (n, 3), elements=st.integers(0, 4).map(lambda k: k / 4)), arrays(bool, (n, 3))
)), limit=st.sampled_from([0.5, 0.75, 1.0]))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_least_cost_and_first_in_order_among_equals(data, limit: float) -> None:
    cost, allowed = data
    pairs = assign(cost, limit=limit, allowed=allowed)
    least, first = best_by_trial(cost, allowed, limit)
    assert total_cost(cost, pairs, limit=limit) == least
    assert pairs == first


def test_a_cheap_pair_is_given_up_for_two() -> None:
    cost = np.array([[0.1, 0.3], [0.3, 0.9]])
    assert assign(cost, limit=0.6) == [(0, 1), (1, 0)]
    assert assign(cost, limit=0.35) == [(0, 0)]


@pytest.mark.parametrize("solver", ["lap", "scipy"])
def test_equal_rows_and_columns_pair_in_order(solver) -> None:
    assert assign(np.full((4, 4), 0.5), limit=1.0, solver=solver) == [(i, i) for i in range(4)]
    assert assign(np.full((2, 5), 0.5), limit=1.0, solver=solver) == [(0, 0), (1, 1)]
    assert assign(np.full((5, 2), 0.5), limit=1.0, solver=solver) == [(0, 0), (1, 1)]


def test_nothing_to_pair() -> None:
    assert assign(np.zeros((0, 3)), limit=1.0) == []
    assert assign(np.zeros((3, 0)), limit=1.0) == []
    assert assign(np.ones((2, 2)), limit=1.0) == []


@pytest.mark.parametrize("solver", ["lap", "scipy"])
def test_a_hundred_by_a_hundred_and_twenty(solver) -> None:
    cost = np.random.default_rng(0).random((100, 120))
    pairs = assign(cost, limit=1.0, solver=solver)
    assert len(pairs) == 100
    assert total_cost(cost, pairs, limit=1.0) == pytest.approx(1.4146, abs=0.5)
    assert pairs == assign(cost, limit=1.0, solver="scipy")
