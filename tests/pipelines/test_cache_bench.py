"""`videoseg bench cache`: its planners and its deep cache, what a run of it reports, and cost at the official size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_lines import run_many

from odise_frame.checkpoints import load_model, shipped_folder
from odise_frame.temporal_cache import MODES, CacheSettings, Situation, WindowRequest
from odise_frame.temporal_cache.change import Change
from odise_frame.temporal_cache.loop import DiffusionWindows
from odise_frame.timing import StageTimes
from pipelines.cache_bench.deep_cache import DeepCacheWindows, shallow_unet_flops
from pipelines.cache_bench.drift import ByChance, DriftLog, EveryKth
from pipelines.settings import CACHE_MODES, RunSettings
from videoseg.errors import InputError


def situation(frame: int, *, credit: float = 2.0) -> Situation:
    nothing = np.zeros(8, np.float32)
    ages = np.ones(8, np.int32)
    change = Change(nothing, nothing, nothing, nothing, nothing, np.zeros(8, bool), np.zeros(8, bool))
    return Situation(change, nothing, ages, ages, credit, 1, 1, where=("s", frame))


def test_planners_by_the_clock_and_by_chance() -> None:
    settings = CacheSettings.of("balanced")
    assert [len(EveryKth(3).choose(situation(i), settings)) for i in range(5)] == [8, 0, 0, 8, 0]
    chosen = [ByChance().choose(situation(i), settings) for i in range(200)]
    assert all(len(set(windows)) == 2 for windows in chosen)
    counts = np.bincount(np.array(chosen).ravel(), minlength=8)
    assert counts.min() > 25
    assert ByChance().choose(situation(0, credit=0.5), settings) == ()


def test_drift_is_ranked_and_fitted() -> None:
    rng = np.random.default_rng(0)
    log = DriftLog()
    for _ in range(20):
        features = rng.uniform(0, 1, (8, 6)).astype(np.float32)
        log.features.append(features)
        log.true.append(features @ np.array([0, 0.5, 0, 0.25, 0, 0.125], np.float32))
        log.expected.append(np.sqrt(log.true[-1]))
    assert log.rank_correlation() == pytest.approx(1.0)
    assert log.fit() == pytest.approx([0, 0.5, 0, 0.25, 0, 0.125], abs=1e-4)


def test_deep_cache_is_whole_in_keyframes_and_in_between_where_nothing_moves() -> None:
    model, _ = load_model(shipped_folder("small"))
    pixels = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    deep = DeepCacheWindows(model, 4)

    def requests(frame: int, shown: torch.Tensor) -> list[WindowRequest]:
        return [WindowRequest("s", frame, i, one, None) for i, one in enumerate(shown)]

    with torch.inference_mode():
        whole = DiffusionWindows(model, StageTimes()).run(requests(0, pixels), 2)
        for frame in range(2):
            for ours, theirs in zip(deep.run(requests(frame, pixels), 2), whole, strict=True):
                for name, each in theirs.maps.items():
                    assert torch.equal(ours.maps[name], each), (frame, name)
        changed = deep.run(requests(2, 1 - pixels), 2)
        true = DiffusionWindows(model, StageTimes()).run(requests(2, 1 - pixels), 2)
    # The autoencoder is fresh, the UNet's depth is not.
    assert torch.equal(changed[0].maps["s2"], true[0].maps["s2"])
    assert not torch.equal(changed[0].maps["s5"], true[0].maps["s5"])
    flops = shallow_unet_flops(model.size)
    assert 0.05e9 < flops < 0.3e9


def test_the_command(tmp_path: Path) -> None:
    size = ["--frames", "3", "--height", "64", "--width", "96"]
    command: list[str | Path] = ["bench", "cache", tmp_path / "world", "--frames", "3", "--threads", "1"]
    [made, found, unknown, nowhere], _ = run_many(
        [
            ["synth", "-o", tmp_path / "world", *size],
            [*command, "--policies", "balanced,hold 4,keyframes 4", "--json", "--plot", tmp_path / "curve.png"],
            [*command, "--policies", "best"],
            ["bench", "cache", tmp_path / "nowhere"],
        ]
    )
    assert made.code == 0, made.err
    assert found.code == 0, found.err
    report = json.loads(found.out)
    rows = {row["policy"]: row for row in report["rows"]}
    assert list(rows) == ["off", "balanced", "hold 4", "keyframes 4"]
    off = rows["off"]
    assert off["cost"]["all"]["all"] == pytest.approx(1.0)
    assert off["values"]["all"]["agreement.frames"] == pytest.approx(1.0)
    assert off["differences"]["all"]["stq"]["difference"] == pytest.approx(0.0)
    assert rows["hold 4"]["cost"]["all"]["all"] == pytest.approx(3.0)
    assert rows["hold 4"]["work"]["all"]["heads"] == 1
    assert rows["balanced"]["work"]["all"]["heads"] < 3
    assert rows["keyframes 4"]["work"]["all"]["heads"] == 3
    assert 0 <= rows["off"]["flips"]["refreshed"] <= 1
    assert "others" not in rows["off"]["flips"]
    assert report["knob"]["policies"] == ["off"]
    assert -1 <= report["drift"]["rank_correlation"] <= 1
    assert rows["balanced"]["cost"]["all"]["backbone"] > 1.5
    assert 0 < report["floor"]["agreement.frames"] <= 1
    assert (tmp_path / "curve.png").stat().st_size > 10_000
    assert unknown.code == 2
    assert "balanced, fast" in unknown.err
    assert nowhere.code == 2


def test_settings_of_runs_know_the_modes() -> None:
    assert CACHE_MODES == MODES
    assert RunSettings().cache == "balanced"
    assert RunSettings.from_json(RunSettings(cache="fast", budget_flops=1e12).to_json()).budget_flops == 1e12
    with pytest.raises(InputError, match="no cache mode 'warm'"):
        RunSettings(cache="warm")
    with pytest.raises(InputError, match="--cache balanced or fast"):
        RunSettings(cache="exact", budget_flops=1e9)
