"""The command line as a person and as a program meets it."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import moving_shapes
import pytest
from command_lines import Answer, run_many, run_one

from pipelines.command_line.console import bytes_text
from pipelines.command_line.options import seconds
from pipelines.disk import estimate
from pipelines.settings import Products
from videoseg.errors import InputError
from videoseg.store.reader import open_run

WORDS = ("--vocab", moving_shapes.THINGS, "--stuff", moving_shapes.STUFF)


@pytest.fixture(scope="module")
def answers(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("lines")
    colours = [*WORDS, "--model", "colours", "--no-overlay"]
    lines: dict[str, list[str | Path]] = {
        "help": ["--help"],
        "segment help": ["segment", "--help"],
        "version": ["--version"],
        "nothing": ["segment"],
        "info": ["info", clip],
        "info json": ["info", clip, "--json"],
        "models": ["models", "list"],
        "models json": ["models", "list", "--json"],
        "segment": ["segment", clip, *colours, "-o", folder / "run", "--export", "vipseg"],
        "segment json": ["segment", clip, *colours, "-o", folder / "json", "--json", "--fps", "10", "--end", "0:01"],
        "labels": ["segment", clip, "--labels", "coco", "--vocab", "red ball", "--model", "colours", "--no-overlay",
                   "-o", folder / "labels", "--every", "24"],
        "track": ["track", folder / "run" / "exports" / "vipseg", "-o", folder / "track", "--no-overlay", "--json"],
        "export": ["export", folder / "run", "--format", "coco_panoptic"],
        "export again": ["export", folder / "run", "--format", "vipseg"],
        "eval": ["eval", folder / "run" / "exports" / "vipseg", folder / "run"],
        "eval json": ["eval", folder / "run" / "exports" / "vipseg", folder / "run", "--json"],
        "synth": ["synth", "-o", folder / "world", "--frames", "2", "--height", "64", "--width", "96", "--json"],
    }  # fmt: skip
    said, loaded = run_many(list(lines.values()))
    assert loaded == []
    return dict(zip(lines, said, strict=True)) | {"folder": Answer(0, str(folder), "")}


def test_help_teaches(answers: dict[str, Answer]) -> None:
    plain = answers["help"].out
    assert answers["help"].code == 0
    for command in ("segment", "track", "info", "export", "eval", "synth", "models", "doctor"):
        assert command in plain
    assert "Examples" in plain
    assert "videoseg segment walk.mp4" in answers["segment help"].out
    for option in ("--vocab", "--stuff", "--labels", "--overwrite", "--fps", "--executor", "--json"):
        assert option in answers["segment help"].out


def test_usage_errors_leave_with_2(answers: dict[str, Answer]) -> None:
    assert answers["nothing"].code == 2
    assert "Missing" in answers["nothing"].err


def test_info_for_people_and_programs(answers: dict[str, Answer], clip: Path) -> None:
    assert re.search(r"picture +160×90\nframes +48\nrate +30 frames/s", answers["info"].out)
    data = json.loads(answers["info json"].out)
    assert (data["width"], data["height"], data["num_frames"]) == (160, 90, 48)
    assert data["rate"] == {"numerator": 30, "denominator": 1, "value": 30.0}


def test_models_say_what_they_know_and_their_licence(answers: dict[str, Answer]) -> None:
    listed = {model["name"]: model for model in json.loads(answers["models json"].out)["models"]}
    assert set(listed) == {"small", "colours", "odise-label", "odise-caption"}
    assert listed["small"]["default"]
    assert listed["colours"]["installed"]
    for model in listed.values():
        assert model["licence"]
        assert model["installed"] or model["how_to_get"]
        assert model["name"] in answers["models"].out


def test_the_summary_is_for_people_and_stderr_is_silent(answers: dict[str, Answer]) -> None:
    said = answers["segment"]
    assert said.code == 0
    assert said.err == ""
    assert "48 frames" in said.out
    assert "red ball × 1" in said.out
    assert "decode" in said.out
    assert "vipseg: " in said.out


def test_json_is_one_object(answers: dict[str, Answer]) -> None:
    data = json.loads(answers["segment json"].out)
    assert data["complete"] is True
    assert data["frames"] == 10
    assert data["tracks"] == 5
    assert {row["name"] for row in data["categories"]} >= {"red ball", "cyan sky"}
    assert set(data["stages"]) >= {"decode", "segment", "track"}


def test_label_sets_mix_with_words(answers: dict[str, Answer]) -> None:
    words = open_run(Path(answers["folder"].out) / "labels").vocabulary
    assert len(words) == 134
    assert words[0].name == "red ball"


def test_track_export_and_eval_go_round(answers: dict[str, Answer]) -> None:
    folder = Path(answers["folder"].out)
    assert json.loads(answers["track"].out)["tracks"] == 5
    assert answers["export"].code == 0
    assert (folder / "run" / "exports" / "coco_panoptic" / "panoptic.json").is_file()
    assert answers["export again"].code == 2
    assert "not empty" in answers["export again"].err
    score = json.loads(answers["eval json"].out)
    assert score["vpq.1"] == pytest.approx(1)
    assert score["stq"] == pytest.approx(1)
    assert re.search(r"STQ +100\.0", answers["eval"].out)


def test_synth_writes_a_world(answers: dict[str, Answer]) -> None:
    made = json.loads(answers["synth"].out)
    assert [Path(path).is_file() for path in made["videos"]] == [True]
    assert (Path(made["ground_truth"]) / "pred.json").is_file()


def start(*arguments: str | Path, **options: object) -> "subprocess.Popen[str]":
    command = [str(Path(sys.executable).parent / "videoseg"), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options)  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Long enough to press Ctrl-C in its middle."""
    return moving_shapes.write(tmp_path_factory.mktemp("film") / "film.mp4", frames=900, width=64, height=36)


@pytest.mark.parametrize(
    ("number", "code", "executor"), [(signal.SIGINT, 130, "local"), (signal.SIGTERM, 143, "inline")]
)
def test_a_signal_leaves_a_valid_folder(film: Path, tmp_path: Path, number: int, code: int, executor: str) -> None:
    out = tmp_path / "out"
    running = start("segment", film, *WORDS, "--model", "colours", "-o", out, "--executor", executor)
    began = time.monotonic()
    while not (out / "chunks" / "00000").is_dir():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() - began < 120
        time.sleep(0.01)
    time.sleep(0.3)
    running.send_signal(number)
    said, complaint = running.communicate(timeout=120)
    assert running.returncode == code, complaint
    assert "Traceback" not in complaint
    assert "can be read" in complaint
    run = open_run(out)
    assert not run.complete
    assert run.report["stopped"]
    assert 0 < run.num_frames < 900
    assert [frame.index for frame in run.frames()] == list(range(run.num_frames))
    assert run.tracks()
    assert f"{run.num_frames} frame" in said
    assert not [path for path in out.rglob("*") if path.name.endswith(".partial")]


def test_ctrl_c_before_the_first_frame_is_no_defect(tmp_path: Path) -> None:
    """A pipe without a writer stands for a disk that does not answer: the command waits before its first frame."""
    os.mkfifo(tmp_path / "slow.yaml")
    running = start("segment", tmp_path / "x.mp4", "--vocab-file", tmp_path / "slow.yaml", "-o", tmp_path / "out")
    writer: list[int] = []
    opening = threading.Thread(target=lambda: writer.append(os.open(tmp_path / "slow.yaml", os.O_WRONLY)))
    opening.start()
    opening.join(120)  # until the command opens the pipe to read
    running.send_signal(signal.SIGINT)
    _, complaint = running.communicate(timeout=120)
    os.close(writer[0])
    assert running.returncode == 130
    assert "nothing is lost" in complaint
    assert "Traceback" not in complaint


def test_the_bar_is_for_terminals_and_shows_rate_and_remaining_time(clip: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    running = subprocess.Popen(
        [str(Path(sys.executable).parent / "videoseg"), "segment", str(clip), *WORDS, "--model", "colours",
         "--no-overlay", "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE, stderr=slave, env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(slave)
    shown = b""
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        shown += piece
    assert running.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "Segmenting" in text
    assert "48/48" in text
    assert re.search(r"[\d.]+ frames/s", text)
    assert "left" in text


def test_doctor_finds_every_part() -> None:
    answer = run_one("doctor", "--json")
    data = json.loads(answer.out)
    assert answer.code == (0 if data["healthy"] else 1)
    found = {finding["part"]: finding for finding in data["findings"]}
    assert {"python", "numpy", "torch", "av", "decord", "ray", "gpu", "cores", "disk", "model small"} <= set(found)
    for finding in found.values():
        assert finding["state"] in ("ok", "missing", "broken", "note")
        assert finding["state"] != "missing" or finding["mend"] or finding["text"]
    assert found["ray"]["state"] == "ok" or "pip install" in found["ray"]["mend"]


def test_times_are_seconds_or_clocks() -> None:
    assert seconds("90", "--start") == 90
    assert seconds("1:30", "--start") == 90
    assert seconds("1:01:30.5", "--start") == 3690.5
    assert seconds(None, "--start") is None
    for wrong in ("soon", "1:2:3:4", "-3", "", "1:", "nan"):
        with pytest.raises(InputError, match="--end takes seconds"):
            seconds(wrong, "--end")


def test_a_run_that_cannot_fit_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="are free where"):
        estimate(str(tmp_path / "not" / "there" / "yet"), 3840, 2160, 10**12, Products())
    small = estimate(str(tmp_path), 160, 90, 48, Products())
    assert small is not None
    assert small.note == ""
    large = estimate(str(tmp_path), 1280, 720, 100_000, Products())
    assert large is not None
    assert "GB" in large.note
    assert estimate(str(tmp_path), 1280, 720, None, Products()) is None
    assert estimate("s3://bucket/run", 1280, 720, 10**12, Products()) is None


def test_sizes_are_said_as_people_say_them() -> None:
    assert [bytes_text(n) for n in (0, 999, 1500, 15_000, 2_500_000, 76e9, 5e12)] == [
        "0 B", "999 B", "1.5 kB", "15 kB", "2.5 MB", "76 GB", "5.0 TB"
    ]  # fmt: skip
