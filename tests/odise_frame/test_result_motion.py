"""Moving results: displacements searched for again in the pictures, and outlines that run through blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from odise_frame.temporal_cache.result_motion import (
    block_luma,
    displacement_of_pixels,
    move_pixels,
    reduced_factor,
    search_again,
)

HEIGHT, WIDTH = 96, 160
ROWS, COLUMNS = HEIGHT // 8, WIDTH // 8


def ground(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1), dtype=np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]


@given(
    dy=st.integers(-10, 10),
    dx=st.integers(-10, 10),
    wrong_y=st.integers(-2, 2),
    wrong_x=st.integers(-2, 2),
    seed=st.integers(0, 50),
)
@settings(deadline=None, max_examples=30)
def test_what_rounding_added_up_to_is_taken_back(dy: int, dx: int, wrong_y: int, wrong_x: int, seed: int) -> None:
    key = ground(seed)
    now = np.roll(key, (-dy, -dx), axis=(0, 1))
    flow = np.broadcast_to(np.array([dy + wrong_y, dx + wrong_x], np.float32), (ROWS, COLUMNS, 2))
    found = search_again(flow, key, now)
    inside = found[2:-2, 2:-2]
    assert (inside == np.array([dy, dx], np.float32)).all(axis=-1).mean() > 0.98


def test_fractions_are_kept_where_nothing_is_better() -> None:
    key = ground(1)
    flow = np.full((ROWS, COLUMNS, 2), 0.375, np.float32)
    assert np.array_equal(search_again(flow, key, key), flow)


def scene(left: int) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """A disc over a ground, and its labels."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    disc = np.hypot(y - 50, x - left) < 19
    shifted = np.roll(ground(3), left - 60, axis=1)
    return np.where(disc, shifted, ground(2)).astype(np.uint8), np.where(disc, 2, 1).astype(np.uint16)


def test_outlines_run_through_blocks() -> None:
    """Blocks at the rim of a disc that moved by 6 pixels over a still ground know one displacement each; pixels find
    the other one in a neighbour."""
    (key, before), (now, after) = scene(60), scene(66)
    flow = np.zeros((ROWS, COLUMNS, 2), np.float32)
    shares = (after == 2).reshape(ROWS, 8, COLUMNS, 8).mean(axis=(1, 3))
    flow[shares > 0.5] = (0, -6)
    whole = np.rint(flow).astype(np.int32).repeat(8, axis=0).repeat(8, axis=1)
    by_blocks = move_pixels(before, whole)
    by_pixels = move_pixels(before, displacement_of_pixels(flow, key, now))

    # What the disc gave free was not to be seen before: no displacement leads there.
    seen = ~((before == 2) & (after == 1))

    def overlap(found: NDArray[np.uint16]) -> float:
        return float(((found == 2) & (after == 2) & seen).sum() / (((found == 2) | (after == 2)) & seen).sum())

    assert overlap(by_blocks) < 0.96
    assert overlap(by_pixels) > 0.99


def test_where_all_move_alike_nothing_is_chosen() -> None:
    flow = np.full((ROWS, COLUMNS, 2), 3.0, np.float32)
    assert (displacement_of_pixels(flow, ground(1), ground(2)) == 3).all()


@pytest.mark.parametrize(("height", "width"), [(96, 160), (100, 163), (720, 1280), (1080, 1920), (5, 9)])
def test_pictures_are_reduced_to_whole_blocks(height: int, width: int) -> None:
    luma = block_luma(np.full((height, width, 3), 77, np.uint8))
    side = 8 * reduced_factor((height, width))
    assert luma.shape == (-(-height // side) * 8, -(-width // side) * 8)
    assert (luma == 77).all()
    labels = np.arange(height * width, dtype=np.int64).reshape(height, width)
    still = np.zeros((*luma.shape, 2), np.int32)
    assert np.array_equal(move_pixels(labels, still), labels)


def test_large_frames_move_by_whole_cells() -> None:
    labels = np.zeros((720, 1280), np.uint8)
    labels[300:330, 600:660] = 1
    luma = block_luma(np.zeros((720, 1280, 3), np.uint8))
    moved = move_pixels(labels, np.broadcast_to(np.array([-2, 5], np.int32), (*luma.shape, 2)))
    rows, columns = np.nonzero(moved)
    assert (rows.min(), rows.max()) == (306, 335)
    assert (columns.min(), columns.max()) == (585, 644)
