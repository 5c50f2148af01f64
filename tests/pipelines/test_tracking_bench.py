"""The tracking benchmark: degraded segments with their truth, rows that all see the same, scores."""

import json
from dataclasses import replace

import numpy as np
import pytest

from eval.synthetic_world import vocabulary
from pipelines.command_line.app import run
from pipelines.tracking_bench.ablation import ablation_rows, chunk_rows
from pipelines.tracking_bench.calibration import Shares, calibration, collect
from pipelines.tracking_bench.degradation import FALSE, PERFECT, Degradation, degrade
from pipelines.tracking_bench.report import BenchReport, Sample, run_bench, samples
from pipelines.tracking_bench.rivals import GRID, TUNED, rivals
from pipelines.tracking_bench.rows import all_rows, oracle, ours
from pipelines.tracking_bench.scoring import interval, score
from pipelines.tracking_bench.worlds import World, worlds

VOCABULARY = vocabulary()


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    cache = tmp_path_factory.mktemp("worlds")
    (drawn,) = worlds("dev", videos=1, levels=("medium",), frames=36, height=96, width=160, cache=cache)
    (kept,) = worlds("dev", videos=1, levels=("medium",), frames=36, height=96, width=160, cache=cache)
    # What comes from the disk is what was drawn.
    for first, second in zip(drawn.frames, kept.frames, strict=True):
        assert np.array_equal(first.id_map, second.id_map)
        assert first.ids.tolist() == second.ids.tolist()
        assert (first.motion is None) == (second.motion is None)
        if first.motion is not None and second.motion is not None:
            assert np.array_equal(first.motion.displacement, second.motion.displacement)
    return kept


def test_degradation_is_by_seed_and_keeps_the_truth(world: World) -> None:
    spoiled, again = (degrade(world, Degradation(), VOCABULARY, seed=3) for _ in range(2))
    other = degrade(world, Degradation(), VOCABULARY, seed=4)
    for first, second in zip(spoiled, again, strict=True):
        assert first.frame.id_map.tobytes() == second.frame.id_map.tobytes()
        assert first.owner == second.owner
        assert [s.probabilities for s in first.frame.segments] == [s.probabilities for s in second.frame.segments]
    assert any(a.frame.id_map.tobytes() != b.frame.id_map.tobytes() for a, b in zip(spoiled, other, strict=True))
    for truth, frame in zip(world.frames, spoiled, strict=True):
        assert set(frame.owner) == {s.id for s in frame.frame.segments}
        assert {o for o in frame.owner.values() if o < FALSE} <= set(truth.ids.tolist())
        assert all(abs(float(np.linalg.norm(s.embedding)) - 1) < 1e-5 for s in frame.frame.segments)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_as_many_are_dropped_as_asked_for(world: World, share: float) -> None:
    only = replace(PERFECT, drops=share)
    there, kept = 0, 0
    for seed in range(6):
        for truth, frame in zip(world.frames, degrade(world, only, VOCABULARY, seed=seed), strict=True):
            there += int(np.count_nonzero(truth.is_thing))
            kept += sum(s.is_thing for s in frame.frame.segments)
    assert kept / there == pytest.approx(1 - share, abs=0.05)


def test_nothing_degraded_is_the_truth_and_the_oracle_is_perfect(world: World) -> None:
    spoiled = degrade(world, PERFECT, VOCABULARY, seed=0)
    for truth, frame in zip(world.frames, spoiled, strict=True):
        owner = np.array([0, *(frame.owner[s.id] for s in frame.frame.segments)])
        assert np.array_equal(owner[frame.frame.id_map], truth.id_map)
    values = score(world, oracle(world, spoiled, VOCABULARY), VOCABULARY, frozenset())
    assert values == pytest.approx(dict.fromkeys(values, 1.0))


def test_ours_is_near_the_oracle_and_above_overlap_alone(world: World) -> None:
    chosen = {"oracle": oracle, "ours": ours(), "overlap only": all_rows()["overlap only"]}
    given = [
        Sample("drops 20 %", replace(world, name=f"{seed}"), degrade(world, Degradation(), VOCABULARY, seed=seed))
        for seed in range(3)
    ]
    report = run_bench(chosen, given, VOCABULARY)
    shares = report.shares("drops 20 %")
    assert shares["ours"]["idf1"] > 0.93
    assert shares["ours"]["idf1"] > shares["overlap only"]["idf1"] + 0.2
    low, high = report.against("drops 20 %", "hota")["overlap only"]
    assert 0 < low <= high
    assert "surely better" in report.verdict("ours")
    assert BenchReport(report.scores).to_json()["means"] == report.to_json()["means"]


@pytest.mark.parametrize("name", ["SORT", "ByteTrack", "OCSORT", "BoTSORT", "norfair"])
@pytest.mark.parametrize("tuned", [False, True])
def test_public_trackers_give_ids_to_things_and_never_one_twice(world: World, name: str, tuned: bool) -> None:
    pytest.importorskip("norfair" if name == "norfair" else "trackers")
    tracker = rivals(tuned=tuned)[name](world.rate)
    given = 0
    for truth, frame in zip(world.frames[:20], degrade(world, PERFECT, VOCABULARY, seed=0), strict=False):
        things = [s for s in frame.frame.segments if s.is_thing]
        found = tracker.step(frame.frame, things, truth.rgb)
        named = [track for track in found if track is not None]
        assert len(found) == len(things)
        assert len(set(named)) == len(named)
        given += len(named)
    assert given > 40


def test_tuned_thresholds_are_of_the_grid() -> None:
    assert set(TUNED) == set(GRID)
    for name, options in TUNED.items():
        assert all(value in GRID[name][key] for key, value in options.items())


def test_chunks_join_to_nearly_what_one_piece_gives(world: World) -> None:
    spoiled = degrade(world, Degradation(drops=0.1), VOCABULARY, seed=0)
    whole, parts = (
        score(world, row(world, spoiled, VOCABULARY), VOCABULARY, frozenset())
        for row in (ours(), ours(chunk=12, overlap=8))
    )
    assert parts["stq"] == pytest.approx(whole["stq"], abs=0.03)


def test_every_part_can_be_taken_away(world: World) -> None:
    short = replace(world, frames=world.frames[:12])
    given = [Sample("drops", short, degrade(short, Degradation(), VOCABULARY, seed=0))]
    report = run_bench(ablation_rows(), given, VOCABULARY)
    means = report.means("drops")
    assert {"no overlap", "no embeddings", "no classes", "no size and motion", "no gallery"} <= set(means)
    assert all(0.2 < row["hota"] <= 1.0 for row in means.values())
    assert means["no embeddings"] != means["ours"]


def test_the_interval_of_a_difference_holds_it_and_knows_no_difference() -> None:
    random = np.random.default_rng(0)
    ours_, theirs = random.random(20) + 0.2, random.random(20)
    low, high = interval(ours_.tolist(), theirs.tolist())
    assert low < float(np.mean(ours_ - theirs)) < high
    assert interval([0.5] * 5, [0.5] * 5) == (0.0, 0.0)


def test_the_command(capsys, tmp_path) -> None:
    arguments = ["bench", "tracking", "--videos", "1", "--frames", "8", "--drops", "20", "--no-perfect", "--chunks"]
    assert run([*arguments, "--json", "--cache", str(tmp_path)]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["shares"]["drops 20 %"]) == set(chunk_rows())
    assert len(report["scores"]["drops 20 %"]["ours"]) == 3
    assert run(["bench", "tracking", "--drops", "many"]) == 2
    assert run(["bench", "tracking", "--set", "train"]) == 2
    assert run(["bench", "tracking", "--segments", "somewhere"]) == 2


def test_samples_leave_out_what_looks_the_same_only_where_nothing_is_degraded() -> None:
    settings = {"perfect": PERFECT, "drops": Degradation(drops=0.2)}
    found = {s.setting: s.left_out for s in samples("dev", videos=1, levels=("medium",), settings=settings, frames=8)}
    assert found["drops"] == frozenset()


def test_probabilities_that_say_how_often_they_are_right_are_calibrated(world: World) -> None:
    right = np.arange(1000) % 10 < 8
    share = np.tile([0.8, 0.2], (1000, 1))
    shares = Shares(share, np.stack([right, ~right], axis=1))
    assert calibration(shares, 1.0).error == pytest.approx(0.0, abs=1e-9)
    assert calibration(shares, 1.0).accuracy == 0.8
    assert calibration(shares, 2.0).error == pytest.approx(0.64 / 0.68 - 0.8)
    assert calibration(shares, 1.0).log_loss < min(calibration(shares, p).log_loss for p in (0.5, 2.0))
    found = collect([Sample("drops", world, degrade(world, Degradation(), VOCABULARY, seed=0))])
    assert found.share.shape[1] == 5
    assert calibration(found, 2.0).error < calibration(found, 1.0).error


def test_trackers_are_measured_on_what_a_model_really_gave(capsys, tmp_path) -> None:
    """A world, two runs of `videoseg segment` over its videos, the benchmark on their segments."""
    world, runs = tmp_path / "world", tmp_path / "runs"
    arguments = ["--videos", "2", "--frames", "10", "--height", "64", "--width", "96"]
    assert run(["synth", "-o", str(world), *arguments]) == 0
    films = sorted((world / "videos").glob("*.mp4"))
    assert len(films) == 2
    for film in films:
        words = ["--vocab-file", str(world / "vocabulary.yaml"), "--model", "colours", "--no-overlay", "--fill", "0.5"]
        assert run(["segment", str(film), "-o", str(runs / film.stem), *words]) == 0
    capsys.readouterr()
    truth = str(world / "ground_truth")
    assert run(["bench", "tracking", "--segments", str(runs), "--truth", truth, "--chunks", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (setting,) = report["scores"]
    assert set(report["scores"][setting]["ours"]) == {film.stem for film in films}
    means = report["means"][setting]
    # Colours are no objects: few segments are right, and the oracle knows which.
    assert 0 < means["ours"]["assa"] <= 1
    assert means["oracle"]["deta"] == pytest.approx(means["ours"]["deta"], abs=0.02)
    one = ["bench", "tracking", "--segments", str(runs / films[1].stem), "--truth", truth, "--chunks", "--json"]
    assert run(one) == 0
    again = json.loads(capsys.readouterr().out)["scores"][setting]["ours"]
    assert again == {films[1].stem: report["scores"][setting]["ours"][films[1].stem]}
