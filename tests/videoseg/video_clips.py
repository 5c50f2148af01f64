"""Recipes of small video files that are hard to read right; every frame carries its own number as a barcode.

PyAV makes them in the test run. Each recipe takes a folder and gives a path.
"""

import functools
import random
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 180
_BIT = 16  # side of a barcode cell: a chroma block and an 8×8 transform fit in, so the code survives coarse coding
_BITS = 12
RATE = 30

Picture = NDArray[np.uint8]


@functools.cache
def _canvas(width: int, height: int) -> Picture:
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, ((height + 64) // 16 + 1, (width + 64) // 16 + 1, 3), dtype=np.uint8)
    return np.kron(coarse, np.ones((16, 16, 1), dtype=np.uint8))


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """uint8 `[height, width, 3]`: a texture that pans, and the barcode of `number` at the upper left."""
    down, right = round(20 + 20 * np.sin(number / 7)), round(20 + 20 * np.sin(number / 11))
    image = _canvas(width, height)[down : down + height, right : right + width].copy()
    for bit in range(_BITS):
        image[4 : 4 + _BIT, 4 + bit * _BIT : 4 + (bit + 1) * _BIT] = 235 if number >> bit & 1 else 20
    return image


def read_number(rgb: Picture) -> int:
    """The number that a picture carries."""
    cells = rgb[8:16, 4 : 4 + _BITS * _BIT].astype(np.float64).mean(axis=(0, 2)).reshape(_BITS, _BIT)[:, 4:12].mean(1)
    return int(sum(1 << bit for bit in range(_BITS) if cells[bit] > 128))


def write(
    path: Path,
    numbers: int | range = 60,
    *,
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    time_base: Fraction = Fraction(1, RATE),
    size: tuple[int, int] = (WIDTH, HEIGHT),
    shift: int = 0,
    turn: int = 0,
) -> Path:
    """Encodes numbered pictures. `shift`: taken from every packet's stamps, so that a start lies before zero."""
    numbers = range(numbers) if isinstance(numbers, int) else numbers
    settings = {"preset": "veryfast", "bf": "3", "g": "12", "crf": "20"} if codec == "libx264" else {}
    with av.open(str(path), "w", options=container_options or {}) as container:
        video = container.add_stream(codec, rate=RATE, options=settings | (options or {}))
        video.width, video.height, video.pix_fmt = size[0], size[1], pixel_format
        video.codec_context.time_base = time_base
        video.codec_context.thread_count = 1
        for at, number in enumerate(numbers):
            image = np.ascontiguousarray(np.rot90(picture(number, *(size if turn % 2 == 0 else size[::-1])), turn))
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = pts[at] if pts else at, time_base
            for packet in video.encode(frame):
                _mux(container, packet, shift)
        for packet in video.encode():
            _mux(container, packet, shift)
    return path


def _mux(container: av.container.OutputContainer, packet: av.Packet, shift: int) -> None:
    if shift:
        packet.pts -= round(shift / (RATE * packet.time_base))
        packet.dts -= round(shift / (RATE * packet.time_base))
    container.mux(packet)


def constant_rate(folder: Path) -> Path:
    return write(folder / "constant.mp4")


def variable_stamps(count: int = 60) -> list[int]:
    """Milliseconds with gaps from 20 to 200."""
    rng = random.Random(1)
    stamps = [0]
    while len(stamps) < count:
        stamps.append(stamps[-1] + rng.choice([20, 33, 33, 34, 50, 100, 200]))
    return stamps


def variable_rate(folder: Path, suffix: str) -> Path:
    return write(folder / f"variable{suffix}", pts=variable_stamps(), time_base=Fraction(1, 1000))


def open_groups(folder: Path) -> Path:
    return write(folder / "open_groups.mp4", options={"x264-params": "open-gop=1:scenecut=0"})


def edit_list(folder: Path) -> Path:
    """60 frames, of which the first 17 lie before zero: the muxer writes an edit list that hides them."""
    return write(folder / "edit_list.mp4", shift=17)


def transport_stream(folder: Path) -> Path:
    return write(folder / "stream.ts")


def late_start(folder: Path) -> Path:
    return write(folder / "late.mkv", pts=[number + 90 for number in range(60)])


def no_stamps(folder: Path, suffix: str) -> Path:
    return write(folder / f"no_stamps{suffix}")


def turned(folder: Path, clockwise: int, mirrored: bool = False) -> Path:
    """Pictures stored lying, and a display matrix that sets them upright."""
    # Stored pictures are turned counter-clockwise, so that turning them clockwise makes them upright.
    size = (HEIGHT, WIDTH) if clockwise in (90, 270) else (WIDTH, HEIGHT)
    path = write(folder / f"turned{clockwise}{mirrored}.mp4", 24, size=size, turn=clockwise // 90)
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise]
    a, b, c, d = cosine, sine, -sine, cosine
    if mirrored:
        a, c = -a, -c
    data = bytearray(path.read_bytes())
    # Track header box, version 0 (ISO/IEC 14496-12, 8.3.2): the matrix follows 40 bytes after the box type.
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def ten_bits(folder: Path) -> Path:
    return write(folder / "ten_bits.mp4", 24, pixel_format="yuv420p10le")


def packet_positions(path: Path) -> list[tuple[int, int]]:
    """Byte position and size of every packet, in the order of the file."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]


def damaged(folder: Path, packets: tuple[int, ...], suffix: str = ".mp4") -> Path:
    """A sound file in which the bytes of some packets are replaced by noise."""
    path = write(folder / f"damaged{suffix}")
    data, noise = bytearray(path.read_bytes()), random.Random(2)
    positions = packet_positions(path)
    for number in packets:
        start, size = positions[number]
        data[start : start + size] = bytes(noise.randrange(256) for _ in range(size))
    path.write_bytes(data)
    return path


def cut_short(folder: Path, suffix: str, share: float, container_options: dict[str, str] | None = None) -> Path:
    path = write(folder / f"cut{suffix}", container_options=container_options)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def fragmented(folder: Path) -> Path:
    return write(folder / "fragmented.mp4", container_options={"movflags": "frag_keyframe+empty_moov"})


def webm(folder: Path, codec: str) -> Path:
    options = {"b": "1M", "deadline": "realtime", "cpu-used": "8", "g": "12"}
    return write(folder / f"{codec}.webm", codec=codec, options=options)


def hidden_references(folder: Path) -> Path:
    """VP8 with packets that are decoded and never shown, every tenth: their show_frame bit is off (RFC 6386, 9.1)."""
    plain, path = webm(folder, "libvpx"), folder / "hidden.webm"
    with av.open(str(plain)) as source, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.size:
                data = bytearray(bytes(packet))
                if number % 10 == 5:
                    data[0] &= ~0x10
                copy = av.Packet(bytes(data))
                copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
                copy.stream, copy.is_keyframe = video, packet.is_keyframe
                container.mux(copy)
    return path


def interlaced(folder: Path) -> Path:
    return write(folder / "interlaced.mp4", 24, options={"x264-params": "tff=1"}, size=(WIDTH, 192))


def joined(folder: Path) -> Path:
    """Two recordings end to end: the clock starts anew in the middle."""
    first = write(folder / "first.ts", range(60)).read_bytes()
    second = write(folder / "second.ts", range(60, 100)).read_bytes()
    path = folder / "joined.ts"
    path.write_bytes(first + second)
    return path


def middle_of_a_group(folder: Path) -> Path:
    """A transport stream that begins in the middle of a group of pictures."""
    whole = write(folder / "whole.ts")
    start, _ = packet_positions(whole)[5]
    path = folder / "middle.ts"
    data = whole.read_bytes()
    # Programme tables repeat at the head of the file: keep the first packets, then go on in the middle.
    path.write_bytes(data[: 188 * 3] + data[start - start % 188 :])
    return path


def begins_with_an_open_group(folder: Path, codec: str) -> Path:
    """A copy from the second keyframe on, whose first packets are frames that lean on pictures that are gone."""
    options = {"x264-params": "open-gop=1:scenecut=0"}
    if codec == "libx265":
        fixed = "keyint=12:min-keyint=12:open-gop=1:bframes=3:scenecut=0:pools=1:log-level=error"
        options = {"preset": "ultrafast", "x265-params": fixed}
    whole, path = write(folder / "groups.mkv", codec=codec, options=options), folder / "second_group.mkv"
    with av.open(str(whole)) as source, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        keyframes = 0
        for packet in source.demux(video=0):
            keyframes += packet.is_keyframe
            if packet.size and keyframes >= 2:
                packet.stream = video
                container.mux(packet)
    return path


def clock_wraps(folder: Path) -> Path:
    """A transport stream whose 33-bit clock of 90 kHz runs over in the middle."""
    before = (1 << 33) // (90000 // RATE) - 76
    return write(folder / "wraps.ts", pts=[before + number for number in range(60)])


def cover_picture(folder: Path) -> Path:
    """Music with a cover picture, which FFmpeg shows as a video track."""
    path = folder / "music.mp3"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("libmp3lame", rate=48000)
        sound.layout = "mono"
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        packets = [*cover.encode(av.VideoFrame(64, 48, "rgb24")), *cover.encode()]
        for number in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1152), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, number * 1152
            packets += sound.encode(frame)
        for packet in packets + sound.encode():
            container.mux(packet)
    return path


def changing_size(folder: Path) -> Path:
    """30 frames of 320×180, then 30 of 160×96, in one transport stream."""
    path = folder / "changing.ts"
    with av.open(str(path), "w") as container:
        muxed = None
        at = 0
        for size in ((WIDTH, HEIGHT), (256, 96)):
            encoder = av.CodecContext.create("libx264", "w")
            encoder.width, encoder.height, encoder.pix_fmt = size[0], size[1], "yuv420p"
            encoder.time_base = Fraction(1, RATE)
            encoder.options = {"preset": "veryfast", "bf": "0", "g": "12"}
            if muxed is None:
                muxed = container.add_stream("libx264", rate=RATE)
                muxed.width, muxed.height, muxed.pix_fmt = size[0], size[1], "yuv420p"
                muxed.time_base = Fraction(1, 90000)
            packets = []
            for _ in range(30):
                frame = av.VideoFrame.from_ndarray(picture(at, *size), format="rgb24")
                frame.pts, frame.time_base = at, Fraction(1, RATE)
                packets += encoder.encode(frame)
                at += 1
            for packet in packets + encoder.encode(None):
                packet.stream = muxed
                container.mux(packet)
    return path


def colours(
    folder: Path,
    colour: tuple[int, int, int],
    matrix: str,
    full_range: bool,
    *,
    pixel_format: str = "yuv444p",
    declared: bool = True,
    size: tuple[int, int] = (64, 48),
) -> Path:
    """Two frames of one colour, converted here by the formulas of ITU-T H.273 (8.3)."""
    red, blue, code = {"bt601": (0.299, 0.114, 5), "bt709": (0.2126, 0.0722, 1), "bt2020": (0.2627, 0.0593, 9)}[matrix]
    bits = 10 if "10" in pixel_format else 8
    scale = 1 << (bits - 8)
    r, g, b = (value / 255 for value in colour)
    luma = red * r + (1 - red - blue) * g + blue * b
    chroma = ((b - luma) / (2 * (1 - blue)), (r - luma) / (2 * (1 - red)))
    top = (1 << bits) - 1
    if full_range:
        values = [luma * top, *(part * top + (1 << (bits - 1)) for part in chroma)]
    else:
        values = [scale * (16 + 219 * luma), *(scale * (128 + 224 * part) for part in chroma)]
    path = folder / f"{matrix}{full_range}{pixel_format}{declared}{'-'.join(map(str, colour))}.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"qp": "0", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = size[0], size[1], pixel_format
        context = video.codec_context
        if declared:
            context.colorspace, context.color_range = code, 2 if full_range else 1
        for number in range(2):
            frame = av.VideoFrame(size[0], size[1], pixel_format)
            for plane, value in zip(frame.planes, values, strict=True):
                kind = np.uint8 if bits == 8 else np.uint16
                level = min(max(round(value), 0), top)
                plane.update(np.full(plane.buffer_size // np.dtype(kind).itemsize, level, dtype=kind).tobytes())
            if declared:
                frame.colorspace, frame.color_range = code, 2 if full_range else 1
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            for packet in video.encode(frame):
                container.mux(packet)
        for packet in video.encode():
            container.mux(packet)
    return path


def sound_only(folder: Path) -> Path:
    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000)
        sound.layout = "mono"
        for number in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 48000, number * 1024
            for packet in sound.encode(frame):
                container.mux(packet)
        for packet in sound.encode():
            container.mux(packet)
    return path


def long_clip(folder: Path, repeats: int) -> Path:
    """`repeats` times the same 120 frames, one after the other: long to read, quick to make."""
    short, path = write(folder / "short.mp4", 120), folder / f"long{repeats}.mp4"
    with av.open(str(short)) as source, av.open(str(path), "w") as container:
        video = container.add_stream_from_template(source.streams.video[0])
        for repeat in range(repeats):
            source.seek(0)
            for packet in source.demux(video=0):
                if packet.size:
                    packet.pts += round(repeat * 120 / (RATE * packet.time_base))
                    packet.dts += round(repeat * 120 / (RATE * packet.time_base))
                    packet.stream = video
                    container.mux(packet)
    return path


def wide_pixels(folder: Path) -> Path:
    """Pixels twice as wide as high, declared in the H.264 stream."""
    return write(folder / "wide.mp4", 5, options={"x264-params": "sar=2/1"})


def high_dynamic_range(folder: Path) -> Path:
    return write(
        folder / "pq.mp4",
        5,
        pixel_format="yuv420p10le",
        options={"x264-params": "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"},
    )
