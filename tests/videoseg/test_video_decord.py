"""decord, chosen by name: the same frames as the default decoder, or a clear refusal."""

import builtins
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import video_clips as clips

from videoseg.errors import InputError, VideosegError
from videoseg.video import open_source

pytest.importorskip("decord")

RIGHT: dict[str, Callable[[Path], Path]] = {
    "constant rate": clips.constant_rate,
    "variable rate mp4": lambda folder: clips.variable_rate(folder, ".mp4"),
    "variable rate mkv": lambda folder: clips.variable_rate(folder, ".mkv"),
    "late start": clips.late_start,
    "fragmented": clips.fragmented,
    "turned 90": lambda folder: clips.turned(folder, 90),
    "turned 270": lambda folder: clips.turned(folder, 270),
    "VP8": lambda folder: clips.webm(folder, "libvpx"),
}

REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "edit list": (clips.edit_list, "edit list"),
    "open groups": (clips.open_groups, "open groups"),
    "transport stream": (clips.transport_stream, "this is mpegts"),
    "AVI": (lambda folder: clips.no_stamps(folder, ".avi"), "this is avi"),
    "raw H.264": (lambda folder: clips.no_stamps(folder, ".h264"), "this is h264"),
    "hidden frames": (clips.hidden_references, "hidden frames"),
    "10 bits": (clips.ten_bits, "10 bits"),
    "interlaced": (clips.interlaced, "interlaced"),
    "truncated": (lambda folder: clips.cut_short(folder, ".mkv", 0.6), "ends early"),
    "mirrored": (lambda folder: clips.turned(folder, 90, mirrored=True), "orientation"),
    "undeclared colour": (
        lambda folder: clips.colours(folder, (200, 100, 50), "bt709", False, declared=False, size=(1280, 720)),
        "colour matrix",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_same_frames_as_the_default_decoder(name: str, tmp_path: Path) -> None:
    path = RIGHT[name](tmp_path)
    truth = list(open_source(path).frames())
    source = open_source(path, decoder="decord")
    frames = list(source.frames())
    assert [(f.index, f.pts, f.time_base, f.time) for f in frames] == [
        (f.index, f.pts, f.time_base, f.time) for f in truth
    ]
    for frame, true in zip(frames, truth, strict=True):
        assert np.abs(frame.rgb.astype(int) - true.rgb).mean() < 1
    for number in np.random.default_rng(0).permutation(len(frames))[:5].tolist():
        (alone,) = source.frames(number, number + 1)
        assert np.array_equal(alone.rgb, frames[number].rgb)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_where_its_frames_would_be_wrong(name: str, tmp_path: Path) -> None:
    recipe, reason = REFUSED[name]
    with pytest.raises(InputError, match=rf"decord would give wrong frames of .*{reason}.*Leave out --decoder decord"):
        open_source(recipe(tmp_path), decoder="decord")


def test_sampling_and_spans_longer_than_one(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "two_spans.mp4", 100)
    source = open_source(path, decoder="decord", start=0.1)
    assert [clips.read_number(frame.rgb) for frame in source.frames()] == list(range(3, 100))
    assert [frame.index for frame in open_source(path, decoder="decord", every=40).frames()] == [0, 40, 80]


def test_damage_is_an_error_that_names_the_way_out(tmp_path: Path) -> None:
    path = clips.damaged(tmp_path, (17, 40))
    # decord reads ahead in a thread, so the damage shows when the file is opened or when it is read.
    with pytest.raises(VideosegError, match="Leave out --decoder decord") as caught:
        list(open_source(path, decoder="decord").frames())
    assert "/github/" not in str(caught.value)


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = clips.constant_rate(tmp_path)
    real = builtins.__import__

    def without_decord(name: str, *rest: object) -> object:
        if name == "decord":
            raise ImportError("No module named 'decord'")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without_decord)
    with pytest.raises(InputError, match=r"pip install 'videoseg\[decord\]'"):
        open_source(path, decoder="decord")
