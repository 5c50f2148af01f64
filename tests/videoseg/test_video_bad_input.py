"""Files that cannot be used: one sentence that says what, where and what to do."""

from pathlib import Path

import pytest
import video_clips as clips

from videoseg.errors import InputError
from videoseg.video import open_source


def refused(path: Path | str, **options: object) -> str:
    with pytest.raises(InputError) as caught:
        open_source(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert "Errno" not in message
    assert message.endswith(".")
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "There is no file" in refused(tmp_path / "nothing.mp4")


def test_address() -> None:
    assert "is an address" in refused("rtsp://camera.example/stream")


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "is an empty file" in refused(path)


@pytest.mark.parametrize("name", ["notes.mp4", "notes.txt", "notes.mkv"])
def test_text(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("Dear diary, today I filmed nothing at all.\n" * 50)
    message = refused(path)
    assert str(path) in message
    assert "no video file" in message or "no video track" in message


def test_noise_named_as_a_video(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(range(256)) * 40)
    assert str(path) in refused(path)


def test_sound_only(tmp_path: Path) -> None:
    assert "only audio" in refused(clips.sound_only(tmp_path))


def test_music_with_a_cover_picture(tmp_path: Path) -> None:
    assert "only audio" in refused(clips.cover_picture(tmp_path))


def test_truncated_before_the_table(tmp_path: Path) -> None:
    assert "cut off before the part that describes it" in refused(clips.cut_short(tmp_path, ".mp4", 0.6))


def test_no_packet_decodes(tmp_path: Path) -> None:
    path = clips.write(tmp_path / "broken.mp4", 12)
    data = bytearray(path.read_bytes())
    for start, size in clips.packet_positions(path):
        data[start : start + size] = b"\x55" * size
    path.write_bytes(data)
    assert "No frame of" in refused(path)


def test_damage_at_the_very_beginning_is_a_loss(tmp_path: Path) -> None:
    path = clips.damaged(tmp_path, (0,))
    source = open_source(path)
    frames = list(source.frames())
    assert source.num_selected == 60
    assert frames[-1].index == 59
    assert [clips.read_number(frame.rgb) for frame in frames if frame.index >= 12] == list(range(12, 60))
    lost = sum(loss.frames or 0 for loss in source.losses)
    assert lost == 60 - len(frames) > 0


def test_unknown_decoder(tmp_path: Path) -> None:
    assert "Choose one of: pyav, decord" in refused(clips.constant_rate(tmp_path), decoder="quick")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"every": 0}, "every must be 1 or more"),
        ({"fps": 0.0}, "fps must be above 0"),
        ({"fps": float("nan")}, "fps must be above 0"),
        ({"fps": 5.0, "every": 2}, "exclude each other"),
        ({"start": 1.0, "end": 1.0}, "must come before"),
        ({"start": 2.0}, "has no frame from 2 s to the end: its frames lie from 0.000 s to 1.967 s"),
        ({"start": float("inf")}, "must be a number of seconds"),
        ({"end": -1.0}, "has no frame from the beginning to -1 s"),
    ],
)
def test_options_that_select_nothing(options: dict[str, object], part: str, tmp_path: Path) -> None:
    assert part in refused(clips.constant_rate(tmp_path), **options)
