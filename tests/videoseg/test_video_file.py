"""The contract of a file source over files that are hard to read right. Every frame carries its number as a barcode."""

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import video_clips as clips

from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.protocols import Source, SourceInfo
from videoseg.video import open_source, probe

Recipe = Callable[[Path], Path]

SOUND: dict[str, tuple[Recipe, range]] = {
    "constant rate, B-frames": (clips.constant_rate, range(60)),
    "variable rate mp4": (lambda folder: clips.variable_rate(folder, ".mp4"), range(60)),
    "variable rate mkv": (lambda folder: clips.variable_rate(folder, ".mkv"), range(60)),
    "open groups": (clips.open_groups, range(60)),
    "edit list": (clips.edit_list, range(17, 60)),
    "transport stream": (clips.transport_stream, range(60)),
    "late start": (clips.late_start, range(60)),
    "AVI without stamps": (lambda folder: clips.no_stamps(folder, ".avi"), range(60)),
    "raw H.264": (lambda folder: clips.no_stamps(folder, ".h264"), range(60)),
    "turned 90": (lambda folder: clips.turned(folder, 90), range(24)),
    "turned 180": (lambda folder: clips.turned(folder, 180), range(24)),
    "turned 270": (lambda folder: clips.turned(folder, 270), range(24)),
    "10 bits": (clips.ten_bits, range(24)),
    "fragmented": (clips.fragmented, range(60)),
    "VP8": (lambda folder: clips.webm(folder, "libvpx"), range(60)),
    "VP9": (lambda folder: clips.webm(folder, "libvpx-vp9"), range(60)),
    "interlaced": (clips.interlaced, range(24)),
    "joined recordings": (clips.joined, range(100)),
    "begins in the middle of a group": (clips.middle_of_a_group, range(12, 60)),
    "begins with an open group, H.264": (
        lambda folder: clips.begins_with_an_open_group(folder, "libx264"),
        range(12, 60),
    ),
    "begins with an open group, HEVC": (
        lambda folder: clips.begins_with_an_open_group(folder, "libx265"),
        range(12, 60),
    ),
    "clock wraps": (clips.clock_wraps, range(60)),
    "intra refresh": (
        lambda folder: clips.write(
            folder / "refresh.mkv", options={"x264-params": "intra-refresh=1:keyint=12", "bf": "0"}
        ),
        range(60),
    ),
    "MPEG-4 AVI": (
        lambda folder: clips.write(folder / "mpeg4.avi", codec="mpeg4", options={"g": "12", "bf": "2", "qscale": "3"}),
        range(60),
    ),
    "one frame": (lambda folder: clips.write(folder / "one.mp4", 1), range(1)),
    "odd size": (
        lambda folder: clips.write(folder / "odd.mp4", 13, pixel_format="yuv444p", size=(321, 181)),
        range(13),
    ),
}


def read_all(source: Source) -> list[Frame]:
    return list(source.frames())


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.mark.parametrize("name", SOUND)
def test_shows_what_a_player_shows_in_order_and_from_anywhere(name: str, tmp_path: Path) -> None:
    recipe, expected = SOUND[name]
    source = open_source(recipe(tmp_path))
    frames = read_all(source)
    assert [clips.read_number(frame.rgb) for frame in frames] == list(expected)
    assert source.num_selected == source.info.num_frames == len(frames)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    times = [frame.time for frame in frames]
    assert times == sorted(set(times))
    assert all(frame.time == float(frame.pts * frame.time_base) for frame in frames)
    assert frames[0].size == (source.info.height, source.info.width)
    assert source.losses == ()
    for number in np.random.default_rng(0).permutation(len(frames))[:16].tolist():
        (alone,) = source.frames(number, number + 1)
        assert (alone.index, alone.pts) == (number, frames[number].pts)
        assert np.array_equal(alone.rgb, frames[number].rgb), f"frame {number} differs when reached by a seek"


def test_two_readings_at_once_do_not_disturb_each_other(folder: Path) -> None:
    source = open_source(clips.constant_rate(folder))
    pairs = zip(source.frames(0, 20), source.frames(30, 50), strict=True)
    assert [(a.index, b.index) for a, b in pairs] == [(i, i + 30) for i in range(20)]


def test_edit_list_clip_does_hide_packets(folder: Path) -> None:
    with av.open(str(clips.edit_list(folder))) as container:
        hidden = [packet.is_discard for packet in container.demux(video=0) if packet.size]
    assert sum(hidden) == 5
    assert len(hidden) == 48
    info = probe(clips.edit_list(folder))
    assert info.num_frames == 43
    assert info.first_time == 0.0
    assert "5 frames that are not shown" in "\n".join(info.oddities)


def test_open_group_clip_is_one(folder: Path) -> None:
    with av.open(str(clips.open_groups(folder))) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    keys = [at for at, packet in enumerate(packets) if packet.is_keyframe]
    assert any(packets[at + 1].pts < packets[at].pts for at in keys[1:])


def test_packets_that_are_never_shown_are_no_frames(folder: Path) -> None:
    source = open_source(clips.hidden_references(folder))
    numbers = [number for number in range(60) if number % 10 != 5]
    assert [clips.read_number(frame.rgb) for frame in read_all(source)] == numbers
    assert source.num_selected == 54
    assert source.losses == ()


def test_variable_rate_keeps_the_containers_times(folder: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        source = open_source(clips.variable_rate(folder, suffix))
        times = [frame.time for frame in read_all(source)]
        assert times == pytest.approx([stamp / 1000 for stamp in clips.variable_stamps()], abs=1e-9)
        assert source.info.variable_rate
        assert "20 to 200 ms" in source.info.oddities[0]


def test_a_late_start_is_kept(folder: Path) -> None:
    info = probe(clips.late_start(folder))
    assert info.first_time == 3.0
    assert info.duration == pytest.approx(2.0, abs=0.002)
    assert info.rate == 30
    assert not info.variable_rate


def test_joined_recordings_go_on_in_time(folder: Path) -> None:
    source = open_source(clips.joined(folder))
    gaps = np.diff([frame.time for frame in read_all(source)])
    assert gaps == pytest.approx(np.full(99, 1 / 30), abs=1e-6)
    assert "clock starts anew" in source.info.oddities[0]


def test_probe_of_a_plain_file(folder: Path) -> None:
    info = probe(clips.constant_rate(folder))
    assert isinstance(info, SourceInfo)
    assert (info.kind, info.width, info.height, info.num_frames, info.rate) == ("file", 320, 180, 60, Fraction(30))
    assert (info.codec, info.pixel_format, info.bit_depth, info.rotation) == ("h264", "yuv420p", 8, 0)
    assert info.duration == pytest.approx(2.0)
    assert info.keyframe_interval == 12
    assert (info.interlaced, info.variable_rate, info.sample_aspect_ratio) == (False, False, 1)
    assert info.oddities == ("It does not say its colour matrix; bt601 is taken, as players do for this size.",)


@pytest.mark.parametrize("clockwise", [90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_orientation_is_applied_once(clockwise: int, mirrored: bool, folder: Path) -> None:
    path = clips.turned(folder, clockwise, mirrored)
    source = open_source(path)
    frame = next(source.frames())
    upright = frame.rgb[:, ::-1] if mirrored else frame.rgb
    assert frame.size == (clips.HEIGHT, clips.WIDTH)
    assert np.abs(upright.astype(int) - clips.picture(0)).mean() < 12
    assert frame.rgb.flags.c_contiguous
    # A mirror and a half turn make a matrix that a quarter turn the other way and a mirror make too.
    assert source.info.rotation == clockwise
    assert f"{clockwise} degrees" in source.info.oddities[0]


def test_interlaced_deep_and_wide_files_are_named(folder: Path) -> None:
    assert probe(clips.interlaced(folder)).interlaced
    assert "interlaced" in probe(clips.interlaced(folder)).oddities[0]
    deep = probe(clips.ten_bits(folder))
    assert deep.bit_depth == 10
    assert "10 bits" in deep.oddities[0]
    wide = probe(clips.wide_pixels(folder))
    assert (wide.width, wide.height, wide.sample_aspect_ratio) == (320, 180, 2)
    assert "players show 640×180" in wide.oddities[0]
    bright = probe(clips.high_dynamic_range(folder))
    assert (bright.colour_transfer, bright.colour_matrix) == ("pq", "bt2020")
    assert "high dynamic range (PQ)" in bright.oddities[1]


COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 100, 50), (12, 200, 180)]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", ["bt601", "bt709", "bt2020"])
@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p", "yuv420p10le"])
def test_colours_as_declared(matrix: str, full_range: bool, pixel_format: str, folder: Path) -> None:
    for colour in COLOURS:
        source = open_source(clips.colours(folder, colour, matrix, full_range, pixel_format=pixel_format))
        frame = next(source.frames())
        assert np.abs(frame.rgb.astype(int) - colour).max() <= 3, (colour, frame.rgb[0, 0])
        assert source.info.colour_matrix == matrix
        assert source.info.colour_range == ("full" if full_range else "limited")


@pytest.mark.parametrize(("size", "matrix"), [((720, 576), "bt601"), ((1280, 720), "bt709")])
def test_undeclared_colours_are_taken_by_size(size: tuple[int, int], matrix: str, folder: Path) -> None:
    path = clips.colours(folder, (200, 100, 50), matrix, False, declared=False, size=size)
    source = open_source(path)
    assert np.abs(next(source.frames()).rgb.astype(int) - (200, 100, 50)).max() <= 3
    assert f"{matrix} is taken" in source.info.oddities[0]


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 3)])
def test_small_sizes(size: tuple[int, int], tmp_path: Path) -> None:
    path, (width, height) = tmp_path / "size.mkv", size
    truth = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = width, height, "bgr0"
        for packet in [*video.encode(av.VideoFrame.from_ndarray(truth, format="rgb24")), *video.encode()]:
            container.mux(packet)
    (frame,) = open_source(path).frames()
    assert np.array_equal(frame.rgb, truth)


def test_8k(tmp_path: Path) -> None:
    path = tmp_path / "large.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 7680, 4320, "yuvj420p"
        picture = av.VideoFrame(7680, 4320, "yuvj420p")
        for plane, value in zip(picture.planes, (90, 128, 128), strict=True):
            plane.update(bytes([value]) * plane.buffer_size)
        for packet in [*video.encode(picture), *video.encode()]:
            container.mux(packet)
    (frame,) = open_source(path).frames()
    assert frame.rgb.shape == (4320, 7680, 3)
    assert 88 <= int(frame.rgb.min()) <= int(frame.rgb.max()) <= 92


def test_damage_in_the_middle_loses_those_frames_only(folder: Path) -> None:
    path = clips.damaged(folder, (17, 40))
    source = open_source(path)
    frames = read_all(source)
    lost = sorted(set(range(60)) - {frame.index for frame in frames})
    assert lost == [20, 38]
    assert [(loss.index, loss.frames) for loss in source.losses if loss.frames] == [(20, 1), (38, 1)]
    suspect = {
        number
        for loss in source.losses
        if loss.frames == 0
        for number in range(
            loss.index, loss.index + (1 if loss.reason.startswith("kept") else int(loss.reason.split()[0]))
        )
    }
    wrong = {frame.index for frame in frames if clips.read_number(frame.rgb) != frame.index}
    assert wrong, "the damage does not show: the clip is no test"
    assert wrong <= suspect, "a frame with damage in it is not named"
    before = source.losses
    read_all(source)
    assert source.losses == before, "reading again counts losses again"


def test_damaged_results_do_not_depend_on_where_reading_starts(folder: Path) -> None:
    source = open_source(clips.damaged(folder, (17, 40)))
    whole = {frame.index: frame.rgb for frame in source.frames()}
    for start in range(0, 60, 7):
        for frame in source.frames(start, start + 3):
            assert np.array_equal(frame.rgb, whole[frame.index])


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_holes_in_a_regular_file_are_losses(suffix: str, folder: Path) -> None:
    source = open_source(clips.damaged(folder, (17, 40), suffix))
    frames = read_all(source)
    assert sum(loss.frames or 0 for loss in source.losses) == 60 - len(frames) > 0
    assert not source.info.variable_rate
    assert source.info.rate == 30
    last = frames[-1]
    assert clips.read_number(last.rgb) == 59


@pytest.mark.parametrize(
    ("suffix", "options", "missing"), [(".mp4", {"movflags": "faststart"}, 23), (".mkv", None, None)]
)
def test_truncated_files_give_what_is_there(
    suffix: str, options: dict[str, str] | None, missing: int | None, folder: Path
) -> None:
    source = open_source(clips.cut_short(folder, suffix, 0.6, options))
    frames = read_all(source)
    assert [clips.read_number(frame.rgb) for frame in frames] == list(range(36))
    assert source.losses[-1].frames == missing
    assert "the file ends early" in source.losses[-1].reason


def test_a_change_of_size_stops_with_what_to_do(folder: Path) -> None:
    path = clips.changing_size(folder)
    source = open_source(path)
    read = []
    with pytest.raises(
        InputError, match=r"320×180 to 256×96 at frame 30 \(1\.000 s\).*--end 1\.000 and --start 1\.000"
    ):
        read.extend(source.frames())
    source = open_source(path)
    iterator = source.frames()
    assert [next(iterator).index for _ in range(30)] == list(range(30))
    assert [f.size for f in open_source(path, end=1.0).frames()] == [(180, 320)] * 30
    second = open_source(path, start=1.0)
    assert (second.info.width, second.info.height) == (256, 96)
    assert [clips.read_number(frame.rgb) for frame in second.frames()] == list(range(30, 60))


MEMORY = """
import resource, sys
from videoseg.video import open_source
source = open_source(sys.argv[1])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
for frame in source.frames():
    if frame.index == 240:
        early = peak()
print(source.num_selected, frame.index, early, peak())
"""


def test_memory_stays_flat_over_a_long_file(folder: Path) -> None:
    path = clips.long_clip(folder, 12)
    command = [sys.executable, "-c", MEMORY, str(path)]
    count, last, early, late = map(int, subprocess.check_output(command, text=True).split())
    assert (count, last) == (1440, 1439)
    # The 1,200 frames between the two figures are 207 MB.
    assert late - early < 4096, f"{early} kB after 240 frames, {late} kB after 1440"


def test_importing_the_package_loads_no_decoder() -> None:
    code = (
        "import sys, videoseg.video; print([name for name in ('av', 'decord', 'PIL', 'torch') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_names_that_ffmpeg_reads_as_something_else(tmp_path: Path) -> None:
    for name in ("12:30 cam%03d.mp4", "-i.mp4", "concat:a|b.mp4", "ünï côde.mp4"):
        path = tmp_path / name
        path.write_bytes(clips.write(tmp_path / "plain.mp4", 3).read_bytes())
        assert len(read_all(open_source(path))) == 3
