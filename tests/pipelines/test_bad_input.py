"""Every bad input that the product promises to answer: a clear sentence, exit code 2, and nothing lost.

All through the command line in another process. What a case leaves behind on disk is checked here.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

import moving_shapes
import numpy as np
import pytest
from command_lines import Answer, run_many, run_one

from videoseg.errors import InputError
from videoseg.store.reader import open_run
from videoseg.video.writer import VideoWriter

WORDS = ("--vocab", moving_shapes.THINGS, "--stuff", moving_shapes.STUFF)


@dataclass
class Cases:
    """Command lines and what is expected of them, by name."""

    folder: Path
    lines: dict[str, list[str | Path]] = field(default_factory=dict)

    def segment(self, name: str, source: str | Path, *more: str | Path, words: tuple[str, ...] = WORDS) -> None:
        self.lines[name] = [
            "segment", source, *words, "--model", "colours", "--no-overlay", "-o", self.folder / f"out-{name}", *more
        ]  # fmt: skip


def still(path: Path, width: int, height: int, frames: int = 1) -> Path:
    with VideoWriter(path, width, height, rate=Fraction(30)) as out:
        for number in range(frames):
            out.write(moving_shapes.picture(number, width, height), time=number / 30)
    return path


def sound_only(path: Path) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16_000, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def changing_size(path: Path) -> Path:
    """A raw H.264 stream whose second half is of another size."""
    import av

    parts = []
    for width, height in ((160, 90), (128, 128)):
        part = path.with_name(f"{width}.h264")
        with av.open(str(part), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=30)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for number in range(20):
                rgb = moving_shapes.picture(number, width, height)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
            container.mux(stream.encode(None))
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    return path


def damaged(clip: Path, path: Path) -> Path:
    """Noise over the pictures in the middle of a Matroska copy."""
    import av

    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    middle = len(data) // 2
    data[middle : middle + 400] = rng.bytes(400)
    path.write_bytes(bytes(data))
    return path


def truncated(clip: Path, path: Path) -> Path:
    """A Matroska copy that was cut off."""
    whole = damaged(clip, path.with_name("whole.mkv"))
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    return path


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory, clip: Path) -> Cases:
    made = Cases(tmp_path_factory.mktemp("bad"))
    folder = made.folder
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("This is a letter, not a film.\n" * 200)
    (folder / "nothing").mkdir()
    made.segment("missing", folder / "missing.mp4")
    made.segment("empty", folder / "empty.mp4")
    made.segment("text", folder / "text.mp4")
    made.segment("sound", sound_only(folder / "sound.mp4"))
    made.segment("empty folder", folder / "nothing")
    made.segment("changing size", changing_size(folder / "changing.h264"))
    made.segment("truncated", truncated(clip, folder / "truncated.mkv"))
    made.segment("damaged", damaged(clip, folder / "damaged.mkv"))
    made.segment("one frame", still(folder / "one.mp4", 64, 48))
    made.segment("1x1", still(folder / "1x1.mp4", 1, 1, 3))
    made.segment("16x16", still(folder / "16x16.mp4", 16, 16, 3))
    made.segment("odd", still(folder / "odd.mp4", 101, 67, 3), "--overlay")
    made.segment("no words", clip, words=())
    made.segment("twice", clip, words=("--vocab", "dog; cat; dog"))
    made.segment("synonym twice", clip, words=("--vocab", "dog, puppy; young animal, puppy"))
    many = "; ".join(f"thing number {i}" for i in range(2000))
    made.segment("2,000 categories", clip, "--every", "12", words=("--vocab", many))
    made.segment("unknown labels", clip, words=("--labels", "cocoa"))
    made.segment("unknown model", clip, "--model", "colors")
    made.segment("unknown executor", clip, "--executor", "cluster")
    made.segment("unknown decoder", clip, "--decoder", "ffmpeg")
    made.segment("unknown format", clip, "--export", "yolo")
    made.segment("every and fps", clip, "--every", "2", "--fps", "5")
    made.segment("beyond the end", clip, "--start", "0:01:00")
    made.segment("no time", clip, "--start", "soon")
    (folder / "out-not empty").mkdir()
    (folder / "out-not empty" / "letter.txt").write_text("dear")
    made.segment("not empty", clip)
    shutil.copytree(folder / "out-not empty", folder / "out-foreign")
    made.segment("foreign", clip, "--overwrite")
    (folder / "out-a file").write_text("dear")
    made.segment("a file", clip)
    made.lines["unwritable"] = [
        "segment", clip, *WORDS, "--model", "colours", "-o", Path("/proc/no-such-place/out")
    ]  # fmt: skip
    made.lines["track nothing"] = ["track", folder / "nothing", "-o", folder / "out-track"]
    made.lines["open no run"] = ["export", folder / "nothing"]
    return made


@pytest.fixture(scope="module")
def answers(cases: Cases) -> dict[str, Answer]:
    answers, loaded = run_many(list(cases.lines.values()))
    assert loaded == [], "the colours model needs neither torch nor ray"
    return dict(zip(cases.lines, answers, strict=True))


REFUSED = {
    "missing": "There is no file",
    "empty": "is an empty file",
    "text": "text.mp4 cannot be read as a video|no video track",
    "sound": "only audio",
    "empty folder": "has no images",
    "changing size": "changes its frame size from 160×90 to 128×128",
    "no words": "vocabulary is empty",
    "twice": "'dog' is given twice",
    "synonym twice": "'puppy' is given twice",
    "unknown labels": "no label set 'cocoa'",
    "unknown model": "no model 'colors'.*Did you mean 'colours'",
    "unknown executor": "no executor 'cluster'",
    "unknown decoder": "no decoder 'ffmpeg'",
    "unknown format": "no export format 'yolo'",
    "every and fps": "--every and --fps",
    "beyond the end": "has no frame from 60 s",
    "no time": "--start takes seconds or H:M:S",
    "not empty": "is not empty",
    "foreign": "holds no run of videoseg",
    "a file": "is a file",
    "unwritable": "cannot be written to",
    "track nothing": "no per-frame segments",
    "open no run": "no manifest.json",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_one_clear_sentence_and_code_2(answers: dict[str, Answer], name: str) -> None:
    import re

    answer = answers[name]
    assert answer.code == InputError.exit_code == 2, answer.err
    assert re.search(REFUSED[name], answer.err), answer.err
    assert answer.err.startswith("videoseg: ")
    assert "Traceback" not in answer.err
    assert len(answer.err.strip().splitlines()) == 1
    assert answer.out == ""


@pytest.mark.parametrize("name", ["one frame", "1x1", "16x16", "odd", "2,000 categories"])
def test_unusual_but_fine(answers: dict[str, Answer], cases: Cases, name: str) -> None:
    assert answers[name].code == 0, answers[name].err
    run = open_run(cases.folder / f"out-{name}")
    assert run.complete
    assert run.num_frames == {"one frame": 1, "2,000 categories": 4}.get(name, 3)
    assert all(frame.segments for frame in run.frames())
    if name == "2,000 categories":
        assert len(run.vocabulary) == 2000


def test_what_decodes_of_a_damaged_file_is_kept_and_the_loss_is_said(answers: dict[str, Answer], cases: Cases) -> None:
    for name in ("truncated", "damaged"):
        answer = answers[name]
        assert answer.code == 0, answer.err
        assert "Lost:" in answer.out
        run = open_run(cases.folder / f"out-{name}")
        assert run.complete
        assert 20 <= run.num_frames <= 48
        assert run.report["losses"]
    assert open_run(cases.folder / "out-truncated").num_frames < 40


def test_frames_before_a_change_of_size_are_kept(answers: dict[str, Answer], cases: Cases) -> None:
    run = open_run(cases.folder / "out-changing size")
    assert not run.complete
    assert run.num_frames == 20
    assert len(run.tracks()) == 5
    assert "changes its frame size" in run.report["failure"]


def test_nothing_of_others_is_touched(answers: dict[str, Answer], cases: Cases) -> None:
    for name in ("not empty", "foreign"):
        left = cases.folder / f"out-{name}"
        assert [path.name for path in left.iterdir()] == ["letter.txt"]
    assert (cases.folder / "out-a file").read_text() == "dear"
    for name in REFUSED.keys() - {"not empty", "foreign", "a file", "changing size"}:
        assert not (cases.folder / f"out-{name}" / "manifest.json").exists()


def test_an_earlier_run_is_replaced_only_when_asked(cases: Cases, answers: dict[str, Answer]) -> None:
    source = cases.folder / "one.mp4"
    out = cases.folder / "out-one frame"
    (out / "note.txt").write_text("mine")
    line = ["segment", source, *WORDS, "--model", "colours", "--no-overlay", "-o", out]
    (kept, replaced, as_json), _ = run_many([line, [*line, "--overwrite"], [*line, "--json"]])
    assert kept.code == 2
    assert "--overwrite" in kept.err
    assert replaced.code == 0
    assert (out / "note.txt").read_text() == "mine", "only a run's own files are replaced"
    assert as_json.code == 2
    assert json.loads(as_json.out) == {"error": json.loads(as_json.out)["error"], "exit_code": 2}


def test_8k(tmp_path: Path) -> None:
    source = still(tmp_path / "8k.mp4", 7680, 4320)
    answer = run_one("segment", source, *WORDS, "--model", "colours", "-o", tmp_path / "out")
    assert answer.code == 0, answer.err
    run = open_run(tmp_path / "out")
    (frame,) = run.frames()
    assert frame.size == (4320, 7680)
    assert {run.vocabulary[s.category].name for s in frame.segments} >= {"red ball", "cyan sky", "grey road"}


_FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pipelines.command_line import console
from pipelines.jobs import segment_job
from pipelines.run import run_job
from pipelines.settings import Placement, Products, RunSettings
from videoseg.errors import VideosegError
from videoseg.vocabulary import Vocabulary

source, out = sys.argv[1:]
placement, settings = Placement(), RunSettings(frames_per_chunk=20, overlap=4)
job = segment_job(source, Vocabulary.build(things="a; b; c"), model="colours", settings=settings, placement=placement)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    run_job(job, out, placement=placement, products=Products(overlay=False))
except VideosegError as error:
    sys.exit(console.fail(str(error), console.exit_code(error)))
"""


def test_a_disk_that_fills_up_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: flat pictures fit, and noise in the third chunk does not."""
    source, out = tmp_path / "noisier.mp4", tmp_path / "out"
    rng = np.random.default_rng(0)
    with VideoWriter(source, 320, 180, rate=Fraction(30)) as film:
        for number in range(60):
            coarse = rng.integers(0, 4, (9, 16, 3), dtype=np.uint8) * np.uint8(85 * (number >= 40))
            film.write(np.kron(coarse, np.ones((20, 20, 1), np.uint8)), time=number / 30)
    done = subprocess.run([sys.executable, "-c", _FULL_DISK, source, out], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "No room left on the disk" in done.stderr
    assert "Traceback" not in done.stderr
    run = open_run(out)
    assert not run.complete
    assert [frame.index for frame in run.frames()] == list(range(40))
    assert "No room left" in run.report["failure"]


def test_damaged_weights_are_noticed_by_their_checksum(clip: Path, tmp_path: Path) -> None:
    from odise_frame.quirks import MENDED
    from odise_frame.sizes import load_size, size_to_json

    model = tmp_path / "model"
    model.mkdir()
    parts = [f"{part}.safetensors" for part in ("autoencoder", "unet", "clip", "odise")]
    for part in parts:
        (model / part).write_bytes(b"a copy that went wrong")
    (model / "model.json").write_text(
        json.dumps(
            {
                "format_version": 1,
                "size": size_to_json(load_size("small")),
                "quirks": asdict(MENDED),
                "sha256": dict.fromkeys(parts, "0" * 64),
                "training_names": ["dog"],
                "training": {"data": "nothing"},
            }
        )
    )
    answer = run_one("segment", clip, *WORDS, "--model", model, "-o", tmp_path / "out")
    assert answer.code == 2, answer.err
    assert "SHA-256" in answer.err
    assert "Traceback" not in answer.err
    assert not (tmp_path / "out" / "manifest.json").exists()
