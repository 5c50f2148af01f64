"""The quick metrics against the same definitions mask by mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_worlds import drawn_video, spoiled_video

from eval import LabelledVideo, benchmark, evaluate_arrays
from eval.plain_evaluator import PlainVideo, plain_stq, plain_vpq

THINGS = [True] * 3 + [False] * 4


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_quick_and_plain_agree(seed):
    rng = np.random.default_rng(seed)
    plain = []
    for _ in range(2):
        gt, gt_segments = drawn_video(rng, frames=int(rng.integers(1, 7)), crowds=int(rng.integers(0, 4)))
        plain.append(PlainVideo(gt, gt_segments, *spoiled_video(rng, gt, gt_segments)))
    quick = [LabelledVideo(v.gt, v.gt_segments, v.pred, v.pred_segments) for v in plain]
    values = evaluate_arrays(quick, THINGS, metrics=["vpq", "stq"], windows=(1, 2, 3)).values
    for window in (1, 2, 3):
        wanted = plain_vpq(plain, len(THINGS), window)
        assert values[f"vpq.{window}"] == pytest.approx(wanted, abs=1e-12, nan_ok=True)
    assert [values["stq"], values["aq"], values["stq_sq"]] == pytest.approx(plain_stq(plain, THINGS), abs=1e-12)


def test_windows_across_batches_of_frames():
    """Longer than what is counted together, so that windows reach over its ends."""
    rng = np.random.default_rng(3)
    gt, gt_segments = drawn_video(rng, frames=75, height=12, width=20)
    video = PlainVideo(gt, gt_segments, *spoiled_video(rng, gt, gt_segments))
    quick = LabelledVideo(gt, gt_segments, video.pred, video.pred_segments)
    values = evaluate_arrays([quick], THINGS, metrics=["vpq", "stq"], windows=(1, 4, 8)).values
    for window in (1, 4, 8):
        assert values[f"vpq.{window}"] == pytest.approx(plain_vpq([video], len(THINGS), window), abs=1e-12)
    assert values["stq"] == pytest.approx(plain_stq([video], THINGS)[0], abs=1e-12)


def test_the_benchmark_runs_and_its_sides_agree(capsys):
    sizes = {"--videos": 2, "--frames": 3, "--height": 48, "--width": 64, "--plain": 1, "--repeats": 1}
    benchmark.main([str(part) for option in sizes.items() for part in option])
    said = capsys.readouterr().out
    assert "2 videos × 3 frames × 48×64" in said
    assert "times as long, largest difference" in said
    assert "peak memory above the inputs" in said
