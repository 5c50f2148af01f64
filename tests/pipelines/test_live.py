"""`videoseg live`: a budget in milliseconds, whose plans are written down and replay bit for bit."""

import json
from pathlib import Path

import moving_shapes
from command_lines import run_many

from videoseg.formats import read_segments


def test_a_live_run_replays_bit_for_bit(tmp_path: Path) -> None:
    clip = moving_shapes.write(tmp_path / "clip.mp4", frames=10, width=96, height=54)
    command: list[str | Path] = [
        "live",
        clip,
        "--vocab",
        "ball; box",
        "--stuff",
        "sky",
        "--short-side",
        "64",
        "--threads",
        "1",
    ]
    plans = tmp_path / "first" / "plans.jsonl"
    [first, again, other, short, nowhere, exact], _ = run_many(
        [
            [*command, "--budget-ms", "60", "-o", tmp_path / "first", "--json"],
            [*command, "--budget-ms", "60", "--replay", plans, "-o", tmp_path / "again"],
            [*command, "--budget-ms", "61", "--replay", plans, "-o", tmp_path / "other"],
            [*command, "--budget-ms", "60", "--replay", tmp_path / "short.jsonl", "-o", tmp_path / "short"],
            [*command, "--replay", tmp_path / "none.jsonl", "-o", tmp_path / "nowhere"],
            [*command, "--budget-ms", "60", "--cache", "exact", "-o", tmp_path / "exact"],
        ]
    )
    assert first.code == 0, first.err
    said = json.loads(first.out)
    assert said["frames"] == 10
    assert 0 <= said["over budget"] <= 1
    assert again.code == 0, again.err
    header, *lines = plans.read_text().splitlines()
    assert json.loads(header)["made_by"]["segmenter"]["cache_budget_ms"] == "60.0"
    assert [json.loads(line)["frame"] for line in lines] == list(range(10))
    files = sorted(path.relative_to(tmp_path / "first") for path in (tmp_path / "first").rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file
    (video,) = read_segments(tmp_path / "first" / "vipseg").videos
    assert video == "clip"
    assert other.code == 2
    assert "another cache_budget_ms (60.0, now 61.0)" in other.err
    assert short.code == 2
    assert "name the plans.jsonl" in short.err
    assert nowhere.code == 2
    assert exact.code == 2


def test_plans_that_end_early_are_told(tmp_path: Path) -> None:
    clip = moving_shapes.write(tmp_path / "clip.mp4", frames=3, width=96, height=54)
    command: list[str | Path] = [
        "live",
        clip,
        "--vocab",
        "ball",
        "--short-side",
        "64",
        "--threads",
        "1",
        "--budget-ms",
        "60",
    ]
    [first], _ = run_many([[*command, "-o", tmp_path / "first"]])
    assert first.code == 0, first.err
    lines = (tmp_path / "first" / "plans.jsonl").read_text().splitlines()
    (tmp_path / "plans.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    [ended], _ = run_many([[*command, "--replay", tmp_path / "plans.jsonl", "-o", tmp_path / "again"]])
    assert ended.code == 2
    assert "say nothing of frame 2" in ended.err
