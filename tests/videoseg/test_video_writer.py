"""What the writer wrote, read back with another hand (PyAV itself): times, colours, sizes."""

import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from videoseg.errors import InputError
from videoseg.video.writer import VideoWriter


def flat(height: int, width: int, colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def decoded(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def stream_facts(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        return {
            "codec": context.name,
            "format": context.pix_fmt,
            "size": (context.width, context.height),
            "colours": (context.color_primaries, context.color_trc, context.colorspace, context.color_range),
            "seconds": float(stream.duration * stream.time_base),
            "start": stream.start_time,
        }


class TestTimes:
    def test_variable_frame_times_are_kept(self, tmp_path: Path) -> None:
        times = [5.0, 5.1, 5.15, 5.9, 6.0, 6.0 + 1001 / 30000]
        with VideoWriter(tmp_path / "x.mp4", 16, 16, Fraction(30)) as writer:
            for i, time in enumerate(times):
                writer.write(flat(16, 16, (40 * i, 0, 0)), time=time)
        frames = decoded(tmp_path / "x.mp4")
        assert [frame.pts * frame.time_base for frame in frames] == [
            Fraction(ticks, 90000) for ticks in (0, 9000, 13500, 81000, 90000, 93003)
        ]
        facts = stream_facts(tmp_path / "x.mp4")
        assert facts["start"] == 0
        assert facts["seconds"] == pytest.approx(93003 / 90000 + 1 / 30)

    def test_times_that_stand_still_or_go_back(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "x.mp4", 16, 16) as writer:
            for time in (1.0, 1.0, 0.5, 2.0):
                writer.write(flat(16, 16, (0, 0, 0)), time=time)
        assert [frame.pts for frame in decoded(tmp_path / "x.mp4")] == [0, 1, 2, 90000]

    def test_one_picture_lasts_as_the_rate_says(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "x.mp4", 16, 16, Fraction(5)) as writer:
            writer.write(flat(16, 16, (0, 0, 0)), time=3.0)
        assert stream_facts(tmp_path / "x.mp4")["seconds"] == pytest.approx(0.2)

    def test_many_pictures_and_keyframes_every_two_seconds(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "x.mp4", 32, 16, Fraction(10)) as writer:
            for i in range(50):
                writer.write(flat(16, 32, (90, 30, 0)), time=i / 10)
        frames = decoded(tmp_path / "x.mp4")
        assert len(frames) == 50
        assert [i for i, frame in enumerate(frames) if frame.key_frame] == [0, 20, 40]


class TestColours:
    @pytest.mark.parametrize(
        "colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (250, 200, 30)]
    )
    def test_the_marked_matrix_gives_the_colours_back(self, tmp_path: Path, colour: tuple[int, int, int]) -> None:
        with VideoWriter(tmp_path / "x.mp4", 64, 48) as writer:
            writer.write(flat(48, 64, colour), time=0.0)
        frame = decoded(tmp_path / "x.mp4")[0]
        # From the planes by the formula of BT.709 in limited range (ITU-R BT.709-6, 3.2 to 3.5), without FFmpeg.
        planes = frame.to_ndarray(format="yuv420p").astype(float)
        luma = (planes[24, 32] - 16) / 219
        blue_difference = (planes[48 + 6, 32] - 128) / 224
        red_difference = (planes[48 + 12 + 6, 32] - 128) / 224
        red = luma + 1.5748 * red_difference
        blue = luma + 1.8556 * blue_difference
        green = (luma - 0.2126 * red - 0.0722 * blue) / 0.7152
        np.testing.assert_allclose(np.array([red, green, blue]) * 255, colour, atol=3)
        # And as a player does it, that believes the marks.
        np.testing.assert_allclose(frame.to_ndarray(format="rgb24")[24, 32].astype(float), colour, atol=3)

    def test_the_marks(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "x.mp4", 64, 48) as writer:
            writer.write(flat(48, 64, (9, 9, 9)), time=0.0)
        facts = stream_facts(tmp_path / "x.mp4")
        assert (facts["codec"], facts["format"]) == ("h264", "yuv420p")
        assert facts["colours"] == (1, 1, 1, 1)  # BT.709 thrice, limited range


class TestSizes:
    @pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (5, 3), (16, 16), (361, 641), (17, 1000)])
    def test_any_size(self, tmp_path: Path, height: int, width: int) -> None:
        picture = np.zeros((height, width, 3), dtype=np.uint8)
        picture[:] = np.linspace(60, 200, width).astype(np.uint8)[:, None]
        with VideoWriter(tmp_path / "x.mp4", width, height) as writer:
            writer.write(picture, time=0.0)
            writer.write(picture, time=0.04)
        assert stream_facts(tmp_path / "x.mp4")["size"] == (width + width % 2, height + height % 2)
        shown = decoded(tmp_path / "x.mp4")[1].to_ndarray(format="rgb24")[:height, :width]
        np.testing.assert_allclose(shown.astype(int), picture, atol=6)

    def test_pictures_of_other_sizes_are_fitted_in(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "x.mp4", 64, 32) as writer:
            writer.write(flat(32, 64, (200, 200, 200)), time=0.0)
            writer.write(flat(100, 100, (200, 200, 200)), time=0.1)
        shown = decoded(tmp_path / "x.mp4")[1].to_ndarray(format="rgb24")
        np.testing.assert_allclose(shown[:, 20:44], 200, atol=4)
        np.testing.assert_allclose(shown[:, :12], 0, atol=4)


class TestTheFile:
    def test_the_index_is_at_the_front(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "x.mp4", 16, 16) as writer:
            writer.write(flat(16, 16, (0, 0, 0)), time=0.0)
        data = (tmp_path / "x.mp4").read_bytes()
        assert data.index(b"moov") < data.index(b"mdat")

    def test_without_pictures_there_is_none(self, tmp_path: Path) -> None:
        with VideoWriter(tmp_path / "x.mp4", 16, 16):
            pass
        assert list(tmp_path.iterdir()) == []

    def test_it_plays_after_an_interruption(self, tmp_path: Path) -> None:
        def interrupted() -> None:
            with VideoWriter(tmp_path / "x.mp4", 16, 16) as writer:
                writer.write(flat(16, 16, (0, 0, 0)), time=0.0)
                writer.write(flat(16, 16, (9, 0, 0)), time=1.0)
                assert not (tmp_path / "x.mp4").exists()
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert len(decoded(tmp_path / "x.mp4")) == 2
        assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]

    def test_the_array_may_be_used_again(self, tmp_path: Path) -> None:
        picture = flat(16, 16, (200, 200, 200))
        with VideoWriter(tmp_path / "x.mp4", 16, 16) as writer:
            writer.write(picture, time=0.0)
            picture[:] = 0
            writer.write(picture, time=1.0)
        assert [int(f.to_ndarray(format="rgb24").mean()) // 100 for f in decoded(tmp_path / "x.mp4")] == [2, 0]

    def test_a_place_that_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"none/x\.mp4 cannot be written: No such file or directory"):
            VideoWriter(tmp_path / "none" / "x.mp4", 16, 16)

    def test_wrong_pictures(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="0×16"):
            VideoWriter(tmp_path / "x.mp4", 0, 16)
        with VideoWriter(tmp_path / "x.mp4", 16, 16) as writer, pytest.raises(ValueError, match="must be uint8"):
            writer.write(np.zeros((16, 16)), time=0.0)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="is closed"):
            writer.write(flat(16, 16, (0, 0, 0)), time=0.0)

    @pytest.mark.skipif(sys.platform == "win32", reason="the limit is POSIX's")
    def test_a_full_disk(self, tmp_path: Path) -> None:
        """A real limit of the operating system on the size of files, in a process of its own."""
        program = """
import resource, sys
import numpy as np
from videoseg.errors import VideosegError
from videoseg.video.writer import VideoWriter
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0)
try:
    with VideoWriter(sys.argv[1], 320, 240) as writer:
        for i in range(200):
            writer.write(noise.integers(0, 256, (240, 320, 3), dtype=np.uint8), time=i / 25)
except VideosegError as error:
    print(error)
"""
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / "x.mp4")], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "x.mp4 could not be written" in done.stdout
        assert os.listdir(tmp_path) == []
