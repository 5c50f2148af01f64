"""Which frames --every, --fps, --start and --end take."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import video_clips as clips
from hypothesis import given, settings
from hypothesis import strategies as st

from videoseg.video import open_source
from videoseg.video.selection import Sampling

MILLISECOND = Fraction(1, 1000)


def taken(path: Path, **options: object) -> list[int]:
    source = open_source(path, **options)  # type: ignore[arg-type]
    numbers = [frame.index for frame in source.frames()]
    assert source.num_selected == len(numbers)
    return numbers


@pytest.fixture(scope="module")
def constant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips.constant_rate(tmp_path_factory.mktemp("sampling"))


def test_every(constant: Path) -> None:
    assert taken(constant, every=7) == list(range(0, 60, 7))
    assert taken(constant, every=7, start=0.5) == list(range(15, 60, 7))
    assert taken(constant, every=1000) == [0]


def test_range_is_in_frame_time_and_its_end_is_outside(constant: Path) -> None:
    times = [frame.time for frame in open_source(constant).frames()]
    assert taken(constant, start=times[10], end=times[20]) == list(range(10, 20))
    assert taken(constant, start=times[10] + 1e-6) == list(range(11, 60))


def test_fps_below_above_and_beside_the_rate(constant: Path) -> None:
    assert taken(constant, fps=10) == list(range(0, 60, 3))
    assert taken(constant, fps=30) == list(range(60))
    assert taken(constant, fps=500) == list(range(60))
    # Ticks at 0, 1.2, 2.4, 3.6, 4.8, 6 frames: the first frame at or after each.
    assert taken(constant, fps=25)[:6] == [0, 2, 3, 4, 5, 6]


def test_fps_takes_every_frame_of_a_file_with_rounded_stamps(tmp_path: Path) -> None:
    assert taken(clips.late_start(tmp_path), fps=30) == list(range(60))


def test_selected_frames_are_counted_after_sampling(constant: Path) -> None:
    source = open_source(constant, every=5, start=0.5)
    assert [frame.index for frame in source.frames(2, 5)] == [25, 30, 35]
    assert [clips.read_number(frame.rgb) for frame in source.frames(6)] == [45, 50, 55]
    assert list(source.frames(9)) == []
    assert [frame.index for frame in source.frames(0, 1)] == [15]


def test_numbers_among_the_selected_frames(constant: Path) -> None:
    source = open_source(constant, every=5, start=0.5)
    assert [source.number_of(frame.index) for frame in source.frames()] == list(range(9))


def test_missing_frames_outside_the_range_are_no_losses(tmp_path: Path) -> None:
    path = clips.cut_short(tmp_path, ".mkv", 0.6)
    assert open_source(path, end=1.0).losses == ()
    assert len(open_source(path, start=0.5).losses) == 1


stamps = st.lists(st.integers(1, 400), min_size=1, max_size=30).map(lambda gaps: np.cumsum(gaps, dtype=np.int64))


@settings(deadline=None)  # other processes on the machine are no fault of the code
@given(pts=stamps, fps=st.fractions(Fraction(1, 4), 60, max_denominator=12))
def test_fps_is_the_first_frame_at_or_after_each_tick(pts: np.ndarray, fps: Fraction) -> None:
    chosen = Sampling(fps=fps).select(pts, MILLISECOND, "x").tolist()
    expected = []
    tick = Fraction(int(pts[0]), 1000)
    while tick <= Fraction(int(pts[-1]), 1000) + MILLISECOND:
        at_or_after = [i for i, stamp in enumerate(pts.tolist()) if Fraction(stamp, 1000) > tick - MILLISECOND]
        expected += at_or_after[:1]
        tick += 1 / fps
    assert chosen == sorted(set(expected))


@settings(deadline=None)
@given(pts=stamps, start=st.floats(0, 20), length=st.floats(0.01, 10), fps=st.integers(1, 60))
def test_a_range_and_its_parts_select_the_same_times(pts: np.ndarray, start: float, length: float, fps: int) -> None:
    times = pts / 1000
    inside = np.flatnonzero((times >= start) & (times < start + length))
    if len(inside) == 0:
        return
    chosen = Sampling(fps=fps, start=start, end=start + length).select(pts, MILLISECOND, "x")
    assert set(chosen.tolist()) <= set(inside.tolist())
    assert np.all(np.diff(chosen) > 0)
    all_of_it = Sampling(start=start, end=start + length).select(pts, MILLISECOND, "x")
    assert all_of_it.tolist() == inside.tolist()
