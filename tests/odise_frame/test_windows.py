"""Cutting and stitching, whatever the frame's size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from odise_frame.windows import cut_windows, plan_windows, stitch_windows

SIDES = st.integers(1, 9).map(lambda n: 64 * n)


@pytest.mark.parametrize(
    ("height", "width", "count"), [(1024, 1024, 4), (1024, 1408, 6), (1024, 1856, 8), (512, 640, 2), (192, 256, 2)]
)
def test_the_published_counts(height: int, width: int, count: int) -> None:
    assert len(plan_windows(height, width, 512)) == count


@given(SIDES, SIDES)
def test_windows_are_inside_cover_everything_and_lie_on_the_coarsest_cells(height: int, width: int) -> None:
    grid = plan_windows(height, width, 128)
    assert grid.side == min(128, height, width)
    seen = torch.zeros(height, width, dtype=torch.int64)
    for top, left in grid.corners:
        assert top % 32 == 0
        assert left % 32 == 0
        assert top + grid.side <= height
        assert left + grid.side <= width
        seen[top : top + grid.side, left : left + grid.side] += 1
    assert seen.min() >= 1


@given(SIDES, SIDES, st.sampled_from([4, 8, 16, 32]))
def test_stitching_undoes_cutting(height: int, width: int, stride: int) -> None:
    grid = plan_windows(height, width, 128)
    images = torch.randint(0, 100, (2, 1, height, width)).to(torch.float32)
    windows = cut_windows(images, grid)
    assert windows.shape == (2 * len(grid), 1, grid.side, grid.side)
    maps = windows[..., ::stride, ::stride]
    torch.testing.assert_close(stitch_windows(maps, grid, stride), images[..., ::stride, ::stride])


def test_overlaps_are_plain_averages() -> None:
    grid = plan_windows(64, 96, 64)
    maps = torch.stack([torch.full((1, 8, 8), 1.0), torch.full((1, 8, 8), 3.0)])
    stitched = stitch_windows(maps, grid, 8)[0, 0, 0]
    assert stitched.tolist() == [1.0] * 4 + [2.0] * 4 + [3.0] * 4


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        cut_windows(torch.zeros(1, 3, 64, 64), plan_windows(64, 128, 64))
