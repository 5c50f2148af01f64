"""`videoseg bench engine`: what it measures, and `--short-side`."""

import json
from pathlib import Path

import pytest
import torch

from odise_frame.sizes import load_size
from pipelines.command_line.app import run as run_command_line
from pipelines.engine_bench.frames import bench_frame, random_model
from pipelines.engine_bench.measure import PUBLISHED_SECONDS, Report, Row


@pytest.fixture(autouse=True)
def threads_stay() -> None:
    torch.set_num_threads(1)


def test_both_paths_agree_and_the_exact_one_is_faster(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run_command_line(["bench", "engine", "--size", "small", "--frames", "window", "--repeats", "2", "--json"]) == 0
    )
    report = json.loads(capsys.readouterr().out)
    reference, exact = report["rows"]
    assert (reference["path"], exact["path"]) == ("as-reference float32", "exact float32")
    assert exact["taps_relative_l2"] <= 1e-5
    assert exact["differing_pixels"] <= 1e-3
    assert exact["speedup"] > 1.2
    assert sum(exact["stages"].values()) == pytest.approx(exact["seconds"], rel=0.3)
    assert report["weights"] == "its own"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--frames", "huge"], "--frames takes window, square or HEIGHTxWIDTH"),
        (["--size", "small", "--paths", "warp"], "There is no path 'warp' on cpu"),
        (["--size", "smal"], "There is no model size 'smal'"),
    ],
)
def test_what_cannot_be_measured(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["bench", "engine", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_random_weights_keep_signals_at_their_scale() -> None:
    size = load_size("small")
    model = random_model(size)
    assert not model.backbone.captioner.is_closed
    window = bench_frame("window", size).image
    with torch.no_grad():
        features = model.backbone.describe_windows(model.frozen, window)
    for tap in features.taps:
        assert 0.05 < float(tap.std()) < 50


def test_frames_are_the_same_every_time_and_of_the_size_asked_for() -> None:
    size = load_size("odise-label")
    assert bench_frame("square", size).image.shape == (1, 3, 1024, 1024)
    video = bench_frame("720x1280", size)
    assert video.image.shape == (1, 3, 1024, 1820)
    assert video.output == (720, 1280)
    assert torch.equal(bench_frame("window", size).image, bench_frame("window", size).image)


def test_speed_is_told_against_the_first_path_on_the_same_frame() -> None:
    reference = Row("as-reference float32", "window", 1, [51.0, 50.0], {}, None)
    exact = Row("exact float32", "window", 1, [26.0, 25.0], {}, None)
    report = Report("odise-label", "random", "cpu", 1, "2.8", [reference, exact])
    assert report.speedup(reference) is None
    assert report.speedup(exact) == 2.0
    assert report.of_published(reference) == pytest.approx(50.0 / PUBLISHED_SECONDS["odise-label", "window", 1])
    assert report.of_published(exact) is None


def test_latencies_of_a_gpu_are_percentiles() -> None:
    row = Row("exact bfloat16", "720x1280", 8, [i / 1000 for i in range(1, 101)], {}, 3_000_000_000)
    facts = row.to_json()
    assert facts["p50_ms"] == pytest.approx(50.5)
    assert facts["p99_ms"] == pytest.approx(99.01)
    assert facts["frames_per_second"] == pytest.approx(1 / 0.0505, rel=1e-3)
    assert facts["peak_gb"] == 3.0


def test_the_short_side_is_the_users_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = Path(__file__).resolve().parents[2] / "pipelines" / "demo_clip" / "walk.mp4"
    given = ["segment", str(clip), "--vocab", "dog", "--end", "0.1", "--no-overlay", "--threads", "1"]
    assert run_command_line([*given, "-o", str(tmp_path / "run"), "--short-side", "128", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["short_side"] == 128
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["settings"]["short_side"] == 128
    assert manifest["model"]["short_side"] == "128"
    assert run_command_line([*given, "-o", str(tmp_path / "no"), "--short-side", "8"]) == 2
    assert "--short-side takes pixels" in capsys.readouterr().err
