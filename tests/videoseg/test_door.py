"""The public door: what `import videoseg` offers, what it costs, and what stands in its way."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import videoseg
from videoseg.shadowing import PACKAGES, shadows
from videoseg.video.writer import VideoWriter

WORDS = {"vocabulary": "red ball", "stuff": "grey road"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 frames of a red square that moves over grey."""
    path = tmp_path_factory.mktemp("door") / "film.mp4"
    with VideoWriter(path, 96, 64, rate=Fraction(30)) as out:
        for number in range(12):
            rgb = np.full((64, 96, 3), 128, dtype=np.uint8)
            rgb[20:40, 10 + 3 * number : 30 + 3 * number] = (220, 40, 40)
            out.write(rgb, time=number / 30)
    return path


def python(program: str, *, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd)


def test_every_public_name_is_there_and_typed() -> None:
    for name in videoseg.__all__:
        assert getattr(videoseg, name) is not None
    assert set(videoseg.__all__) <= set(dir(videoseg))
    assert (Path(videoseg.__file__).parent / "py.typed").is_file()
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        videoseg.segmnt  # noqa: B018


def test_segment_yields_tracked_frames(film: Path) -> None:
    frames = list(videoseg.segment(film, model="colours", every=2, **WORDS))
    assert [frame.index for frame in frames] == [0, 2, 4, 6, 8, 10]
    (ball,) = {s.track for f in frames for s in f.segments if s.is_thing}
    moved = [next(s.box[0] for s in f.segments if s.track == ball) for f in frames]
    assert moved == pytest.approx([10 + 6 * i for i in range(6)], abs=1)


def test_run_writes_what_open_run_reads(film: Path, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int | None]] = []
    made = videoseg.run(
        film, tmp_path / "out", model="colours", exports=["vipseg"], on_progress=lambda *p: heard.append(p), **WORDS
    )
    read = videoseg.open_run(tmp_path / "out")
    assert made.complete
    assert read.num_frames == 12
    assert {read.vocabulary[t.category].name for t in read.tracks()} == {"red ball", "grey road"}
    assert (tmp_path / "out" / "overlay.mp4").is_file()
    assert heard[-1] == ("overlay", 12, 12)
    with pytest.raises(videoseg.InputError, match="not empty"):
        videoseg.run(film, tmp_path / "out", model="colours", **WORDS)


def test_track_takes_anyones_frames() -> None:
    def made() -> "videoseg.PanopticFrame":
        for i in range(5):
            id_map = np.zeros((20, 30), dtype=np.uint16)
            id_map[5:15, 5 + i : 15 + i] = 3 + i  # another id in every frame
            segment = videoseg.Segment(3 + i, 0, True, 0.9, 100, (5 + i, 5, 15 + i, 15))
            yield videoseg.PanopticFrame("mine", 0, i, i, Fraction(1, 25), i / 25, id_map, (segment,))

    tracked = list(videoseg.track(made()))
    assert [frame.segments[0].track for frame in tracked] == [1] * 5


def test_an_iterator_may_be_left_early(film: Path) -> None:
    frames = videoseg.segment(film, model="colours", **WORDS)
    assert next(frames).index == 0
    frames.close()
    assert list(frames) == []


def test_bad_input_is_an_input_error(film: Path, tmp_path: Path) -> None:
    with pytest.raises(videoseg.InputError, match="empty"):
        videoseg.segment(film, model="colours")
    with pytest.raises(videoseg.InputError, match="whole Vocabulary"):
        videoseg.segment(film, vocabulary=videoseg.Vocabulary.build(things="a"), stuff="b")
    with pytest.raises(videoseg.InputError, match="There is no file"):
        next(videoseg.segment(tmp_path / "none.mp4", model="colours", **WORDS))
    with pytest.raises(videoseg.InputError, match="does not exist"):
        videoseg.open_run(tmp_path / "none")


def test_nothing_is_in_the_way_here() -> None:
    assert shadows() == []


@pytest.mark.parametrize("package", ["eval", "tracking", "pipelines"])
def test_a_users_own_file_of_our_name_is_pointed_out(tmp_path: Path, package: str) -> None:
    assert package in PACKAGES
    own = tmp_path / f"{package}.py"
    own.write_text("print('mine')\n")
    done = python("import videoseg; print(videoseg.__version__)", cwd=tmp_path)
    assert done.returncode == 0
    assert f"{own} is in the way" in done.stderr
    assert repr(package) in done.stderr
    assert done.stdout.strip() == videoseg.__version__, "and it was not run"
    used = python("import videoseg; list(videoseg.track([]))", cwd=tmp_path)
    assert used.returncode != 0
    assert "InputError" in used.stderr.splitlines()[-1]


def test_a_folder_without_init_is_not_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "eval").mkdir()
    done = python("import videoseg", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
