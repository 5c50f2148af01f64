"""The parts of the temporal cache: composed displacements, sources of moved windows, change, evidence of masks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from odise_frame.temporal_cache.change import Change, measure_change, reduced_luma, window_digests
from odise_frame.temporal_cache.evidence import is_new, move_labels, recall, remember
from odise_frame.temporal_cache.flow import Picture, Step, compose
from odise_frame.temporal_cache.planner import Situation, WorstFirst, make_plan
from odise_frame.temporal_cache.sampling import cell_centres, find_sources, sample_maps
from odise_frame.temporal_cache.settings import CacheSettings
from odise_frame.windows import plan_windows
from videoseg.motion import Motion

HEIGHT, WIDTH = 64, 128
GRID = plan_windows(HEIGHT, WIDTH, 64)
ROWS, COLUMNS = HEIGHT // 8, WIDTH // 8


def motion(dx: float, dy: float, *, similarity: object = None) -> Motion:
    """Everything moves alike."""
    displacement = np.broadcast_to(np.array([round(dx), round(dy)], np.int16), (ROWS, COLUMNS, 2)).copy()
    camera = np.array([[1, 0, dx], [0, 1, dy]], np.float32) if similarity is None else np.asarray(similarity)
    zeros = np.zeros((ROWS, COLUMNS), np.float32)
    return Motion(8, displacement, zeros, np.ones((ROWS, COLUMNS), bool), camera.astype(np.float32), False)


def step(dx: float, dy: float, *, image: tuple[int, int] = (HEIGHT, WIDTH)) -> Step:
    return Step.of(motion(dx, dy), Picture((HEIGHT, WIDTH), image))


def flows(dx: float, dy: float) -> NDArray[np.float32]:
    return np.broadcast_to(np.array([dy, dx], np.float32), (2, ROWS, COLUMNS, 2)).copy()


@given(
    moves=st.lists(
        st.tuples(st.floats(-4, 4, allow_nan=False, width=32), st.floats(-4, 4, allow_nan=False, width=32)),
        min_size=1,
        max_size=20,
    )
)
@settings(deadline=None, max_examples=40)
def test_displacements_add_up_to_fractions_of_a_pixel(moves: list[tuple[float, float]]) -> None:
    """Blocks carry whole pixels; what goes with the camera takes its fractions, or slow pans would get nowhere."""
    total = np.zeros((1, ROWS, COLUMNS, 2), np.float32)
    for dx, dy in moves:
        total = compose(total, step(dx, dy))
    np.testing.assert_allclose(total[..., 1], sum(dx for dx, _ in moves), atol=1e-3)
    np.testing.assert_allclose(total[..., 0], sum(dy for _, dy in moves), atol=1e-3)


def test_displacements_are_in_pixels_of_the_resized_image() -> None:
    doubled = step(3, -2, image=(2 * HEIGHT, WIDTH))
    np.testing.assert_allclose(doubled.displacement[..., 0], -4)
    np.testing.assert_allclose(doubled.displacement[..., 1], 3)
    assert doubled.block == (16, 8)


def test_a_block_takes_the_way_of_the_block_that_it_came_from() -> None:
    """An object that moves 8 pixels a frame over a still ground keeps its own history."""
    before = np.zeros((1, ROWS, COLUMNS, 2), np.float32)
    before[0, 2, 4] = (0, -8)  # was at column 3 two frames ago
    now = motion(0, 0)
    now.displacement[2, 5] = (-8, 0)  # and is at column 5 now
    after = compose(before, Step.of(now, Picture((HEIGHT, WIDTH), (HEIGHT, WIDTH))))
    assert after[0, 2, 5].tolist() == [0, -16]
    assert after[0, 2, 4].tolist() == [0, -8]
    assert np.count_nonzero(after) == 2


@given(dx=st.integers(-20, 20), dy=st.integers(-12, 12), level=st.sampled_from((2, 3, 4)), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=40)
def test_moved_maps_are_the_picture_moved(dx: int, dy: int, level: int, seed: int) -> None:
    """A map that is linear in its place shows where every cell was taken from."""
    stride = 1 << level
    centres = cell_centres(64, stride)
    cells = 64 // stride
    maps = torch.zeros(2, cells, cells, 2)
    for window, (top, left) in enumerate(GRID.corners):
        maps[window] = torch.from_numpy(centres + np.array([top, left], np.float32)).view(cells, cells, 2)
    every = np.arange(2)
    order = np.random.default_rng(seed).permutation(2)
    found = find_sources(centres, every, flows(dx, dy), step(dx, dy), GRID, (HEIGHT, WIDTH), order)
    moved = sample_maps(maps, found, stride, torch.float32).numpy().reshape(2, -1, 2)
    for window, (top, left) in enumerate(GRID.corners):
        expected = centres + np.array([top + dy, left + dx], np.float32)
        half = stride / 2
        # Away from the rims of the windows, where there is nothing to interpolate with.
        inside = (expected[:, 0] >= half) & (expected[:, 0] <= HEIGHT - half)
        inside &= (np.abs(expected[:, 1] - 64) >= half) & (expected[:, 1] >= half) & (expected[:, 1] <= WIDTH - half)
        np.testing.assert_allclose(moved[window][inside], expected[inside], atol=1e-3)
        assert found.covered[window][inside].all()
    # What was outside of the frame is taken from its edge.
    assert moved.min() >= 0
    assert moved[..., 0].max() <= HEIGHT
    assert moved[..., 1].max() <= WIDTH


def test_what_came_from_a_refreshed_neighbour_is_uncovered() -> None:
    moving = flows(-16, 0)
    moving[0] = 0  # the left window was computed in this frame: it shows nothing of what went to the right
    centres = cell_centres(64, 4)
    found = find_sources(centres, np.array([1]), moving, step(-16, 0), GRID, (HEIGHT, WIDTH), np.array([0, 1]))
    uncovered = ~found.covered[0].reshape(16, 16)
    assert uncovered[:, :3].all()
    assert not uncovered[:, 4:].any()
    assert (found.window == 1).all()


def test_the_padding_stays_where_it_is() -> None:
    image = (HEIGHT, 100)
    centres = cell_centres(64, 4)
    found = find_sources(centres, np.array([1]), flows(-40, 0), step(-40, 0), GRID, image, np.array([0, 1]))
    padding = centres[:, 1] + 64 >= 100
    assert np.array_equal(found.x[0][padding], centres[padding, 1])
    assert (found.x[0] + 64 * found.window[0])[~padding].max() < 100


# --- change -----------------------------------------------------------------------------------------------------------


def ground(seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (HEIGHT // 4, WIDTH // 4, 3), dtype=np.uint8).repeat(4, axis=0).repeat(4, axis=1)


def change_of(now: NDArray[np.uint8], key: NDArray[np.uint8], dx: float = 0, dy: float = 0) -> Change:
    image = (HEIGHT, WIDTH)
    equal = np.array([a == b for a, b in zip(window_digests(now, GRID), window_digests(key, GRID), strict=True)])
    keys = np.stack([reduced_luma(key)] * 2)
    age = np.ones(2, np.int32)
    return measure_change(reduced_luma(now), keys, flows(dx, dy), step(dx, dy), GRID, image, equal, age)


def test_what_is_bit_for_bit_the_same_has_not_changed() -> None:
    key = ground()
    now = key.copy()
    now[10, 100] ^= 1
    found = change_of(now, key)
    assert found.equal.tolist() == [True, False]
    assert found.worst[0] == 0
    assert found.still.all()


def test_a_small_new_object_is_seen_in_the_worst_cells_not_in_the_mean() -> None:
    key = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
    now = key.copy()
    now[24:40, 80:96] = 250
    found = change_of(now, key)
    assert found.worst[1] == pytest.approx(150, abs=1)
    assert found.mean[1] < 12


def test_what_moved_as_it_was_said_to_has_not_changed() -> None:
    key = ground(1)
    now = np.roll(key, 8, axis=1)
    now[:, :8] = key[:, :8]
    moved = change_of(now, key, dx=-8)
    stale = change_of(now, key)
    assert moved.mean[1] < 1 < 20 < stale.mean[1]
    assert moved.moved[1] == pytest.approx(8)
    assert not moved.still[1]


def test_a_slow_fade_adds_up() -> None:
    key = ground(2)
    levels = [change_of((key * (1 - 0.02 * t)).astype(np.uint8), key).mean[0] for t in range(1, 6)]
    assert all(after > before + 1 for before, after in pairwise(levels))


# --- planning ---------------------------------------------------------------------------------------------------------


def situation(error: list[float], *, credit: float, heads_age: int = 3, age: int = 3) -> Situation:
    count = len(error)
    nothing, ages = np.zeros(count, np.float32), np.full(count, age, np.int32)
    moving = np.zeros(count, bool)
    change = Change(nothing, nothing, nothing, nothing, nothing, moving, moving)
    return Situation(change, np.array(error, np.float32), ages, ages, credit, heads_age, heads_age)


def test_windows_are_refreshed_all_or_none() -> None:
    chosen = CacheSettings.of("balanced")
    alike = [0.3] * 8
    assert not make_plan(situation(alike, credit=8.0), chosen, WorstFirst()).heads
    assert make_plan(situation(alike, credit=8.0, heads_age=8), chosen, WorstFirst()).actions == "r" * 8
    # Not yet earned: the frame after will do.
    assert make_plan(situation(alike, credit=7.0, heads_age=8), chosen, WorstFirst()).actions == "w" * 8
    far_off = [0.7] * 8
    assert make_plan(situation(far_off, credit=6.0), chosen, WorstFirst()).actions == "r" * 8
    assert make_plan(situation(far_off, credit=5.0), chosen, WorstFirst()).actions == "w" * 8


def test_a_window_that_stands_out_does_not_wait() -> None:
    chosen = CacheSettings.of("balanced")
    one = [0.01] * 7 + [0.12]
    plan = make_plan(situation(one, credit=1.0), chosen, WorstFirst())
    assert (plan.actions, plan.heads) == ("wwwwwwwr", True)
    assert make_plan(situation(one, credit=-1.0), chosen, WorstFirst()).actions == "w" * 8
    # In a pan all are off alike.
    assert make_plan(situation([0.1] * 7 + [0.2], credit=6.0), chosen, WorstFirst()).actions == "w" * 8
    # Under a budget of operations nothing is urgent.
    budget = replace(chosen, urgent=float("inf"))
    assert make_plan(situation(one, credit=6.0), budget, WorstFirst()).actions == "w" * 8


def test_windows_take_turns_where_a_frame_may_not_refresh_them_all() -> None:
    chosen = replace(CacheSettings.of("balanced", budget_ms=40.0), budget_ms=None)
    error = [0.1, 0.4, 0.2, 0.1, 0.1, 0.3, 0.1, 0.1]
    plan = make_plan(situation(error, credit=1.0, heads_age=1), chosen, WorstFirst())
    assert (plan.refreshed, plan.heads) == ((1,), True)


def test_a_stream_that_earns_next_to_nothing_does_not_wait_forever() -> None:
    chosen = CacheSettings.of("balanced")
    assert make_plan(situation([0.3] * 8, credit=2.0, heads_age=16), chosen, WorstFirst()).refreshed == (0, 1)


# --- evidence ---------------------------------------------------------------------------------------------------------


def discs(*centres: tuple[int, int], radius: int = 4) -> torch.Tensor:
    """Mask logits `[Q, 16, 32]`, stride 4 of a picture of 64 × 128."""
    y, x = np.mgrid[0:16, 0:32]
    masks = [radius - np.hypot(y - cy, x - cx) for cy, cx in centres]
    return torch.from_numpy(np.stack(masks)).to(torch.float32) * 4


def test_masks_keep_their_evidence_whatever_their_number() -> None:
    seen = torch.eye(3)
    memory = remember(discs((6, 6), (6, 16), (6, 26)), torch.ones(3), seen)
    recalled = recall(memory, discs((6, 26), (6, 6), (6, 16)), None, None)
    assert recalled.known.all()
    assert torch.equal(recalled.embedding, seen[[2, 0, 1]])
    assert not is_new(recalled, discs((6, 26), (6, 6), (6, 16)), torch.ones(3))


def test_masks_are_known_again_where_they_moved_to() -> None:
    memory = remember(discs((6, 6), (6, 16)), torch.ones(2), torch.eye(2))
    now = discs((8, 11), (8, 21))
    assert not recall(memory, now, None, None).known.any()
    moved = recall(memory, now, flows(-20, -8)[0], step(-20, -8))
    assert moved.known.all()
    assert torch.equal(moved.embedding, torch.eye(2))


def test_a_new_mask_asks_for_a_look_unless_it_is_tiny_or_doubtful() -> None:
    memory = remember(discs((6, 6)), torch.ones(1), torch.ones(1, 2))
    now = discs((6, 6), (8, 24))
    recalled = recall(memory, now, None, None)
    assert recalled.known.tolist() == [True, False]
    assert not recalled.embedding[1].any()
    assert is_new(recalled, now, torch.tensor([0.9, 0.9]))
    assert not is_new(recalled, now, torch.tensor([0.9, 0.2]))
    tiny = torch.cat([discs((6, 6)), discs((8, 24), radius=1)])
    assert not is_new(recall(memory, tiny, None, None), tiny, torch.ones(2))


def test_where_masks_meet_the_surer_one_is_remembered() -> None:
    both = discs((8, 8), (8, 9), radius=5)
    memory = remember(both, torch.tensor([0.2, 0.9]), torch.eye(2))
    assert torch.equal(recall(memory, both[1:], None, None).embedding, torch.tensor([[0.0, 1.0]]))


def test_nothing_is_remembered_of_no_masks() -> None:
    memory = remember(torch.full((2, 16, 32), -5.0), torch.ones(2), torch.eye(2))
    recalled = recall(memory, discs((6, 6)), None, None)
    assert not recalled.known.any()


def test_labels_move_by_whole_cells() -> None:
    labels = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    moved = move_labels(labels, flows(-5, 3)[0], step(-5, 3), 1.0)
    assert np.array_equal(moved[:-3, 5:], labels[3:, :-5])
