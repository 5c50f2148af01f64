"""`VideoWriter`: pictures into an H.264 file that plays everywhere and shows the right colours at the right times."""

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError, VideosegError

# MPEG's clock: whole at 24, 25, 30, 50, 60 and all their NTSC kin.
_CLOCK = 90_000

_QUALITY = 20  # CRF: flat colours and text without visible blocks
_PRESET = "veryfast"  # half the time of `medium` for a tenth more bytes
_SECONDS_PER_KEYFRAME = 2  # how far a player must decode when someone drags the slider
_USUAL_RATE = Fraction(25)  # only for the length of a single picture, where no rate is known

_BT709 = 1  # ITU-T H.273: primaries, transfer and matrix all have the number 1
_LIMITED_RANGE = 1  # AVCOL_RANGE_MPEG


class VideoWriter:
    """Writes an MP4 file: H.264, 8-bit 4:2:0, BT.709 in limited range and marked so, index at the front.

    The file appears under its name when it is closed, also after an exception: what was written until then plays.
    Without any picture there is no file.

        with VideoWriter("overlay.mp4", 1280, 720, rate=Fraction(30)) as writer:
            writer.write(rgb, time=frame.time)
    """

    def __init__(self, path: str | Path, width: int, height: int, rate: Fraction | None = None) -> None:
        """Opens the file.

        Args:
            path: of the file; a local path.
            width: of the pictures in pixels, any ≥ 1; 4:2:0 needs even sizes, so an odd one gets its last column or
                row twice.
            height: likewise.
            rate: frames per second, for the length of the last picture; the others last until the next.

        Raises:
            InputError: the file cannot be made.
        """
        import av
        from av.video.reformatter import ColorRange, Colorspace

        if width < 1 or height < 1:
            raise ValueError(f"a video needs at least 1×1 pixels, got {width}×{height}")
        self.path = os.fspath(path)
        self.size = (height, width)
        self._partial = self.path + ".partial"
        self._rate = rate if rate is not None and rate > 0 else _USUAL_RATE
        self._first_time: float | None = None
        self._last: tuple[int, NDArray[np.uint8]] | None = None
        self._closed = False
        self._av = av
        self._colours = {
            "dst_colorspace": Colorspace.ITU709,
            "src_color_range": ColorRange.JPEG,
            "dst_color_range": ColorRange.MPEG,
        }
        try:
            # FFmpeg opens the file only with the first picture; who named a wrong place wants to know now.
            Path(self._partial).touch()
            self._container: Any = av.open(self._partial, "w", format="mp4", options={"movflags": "+faststart"})
        except OSError as error:
            raise InputError(f"The video {self.path} cannot be written: {error.strerror or error}.") from None
        codec = "libx264" if "libx264" in av.codecs_available else "h264"
        # Without B-frames the first picture is at 0 and no edit list shifts it, which several decoders
        # misread.
        options = {"crf": str(_QUALITY), "preset": _PRESET, "bf": "0"}
        stream: Any = self._container.add_stream(codec, rate=self._rate, options=options)
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _CLOCK)
        stream.time_base = Fraction(1, _CLOCK)
        stream.codec_context.gop_size = max(1, round(self._rate * _SECONDS_PER_KEYFRAME))
        stream.codec_context.color_primaries = _BT709
        stream.codec_context.color_trc = _BT709
        stream.codec_context.colorspace = _BT709
        stream.codec_context.color_range = _LIMITED_RANGE
        self._stream = stream

    def write(self, rgb: NDArray[np.uint8], *, time: float) -> None:
        """Adds a picture.

        Args:
            rgb: uint8 `[H, W, 3]`; one of another size than the video's is fitted into it, on black.
            time: when it is shown, in seconds, later than the one before (else as soon after it as the file can say);
                the first is shown at the start of the video, whatever its time.

        Raises:
            VideosegError: the disk is full.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
            raise ValueError(f"rgb must be uint8 [H, W, 3], got {rgb.dtype} {rgb.shape}")
        if self._closed:
            raise ValueError(f"the video {self.path} is closed")
        if self._first_time is None:
            self._first_time = time
        clock = round((time - self._first_time) * _CLOCK)
        if self._last is not None:
            clock = max(clock, self._last[0] + 1)
            self._encode(duration=clock - self._last[0])
        self._last = (clock, self._fitted(rgb))

    def close(self) -> None:
        """Finishes the file; a second call does nothing."""
        if self._closed:
            return
        try:
            if self._last is None:
                self._discard()
                return
            self._encode(duration=max(1, round(_CLOCK / self._rate)))
            try:
                for packet in self._stream.encode(None):
                    self._container.mux(packet)
                self._container.close()
                os.replace(self._partial, self.path)
            except OSError as error:
                raise self._failure(error) from error
            self._closed = True
        finally:
            if not self._closed:
                self._discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            # The first error is the one to hear about.
            with contextlib.suppress(VideosegError):
                self.close()

    def _encode(self, *, duration: int) -> None:
        assert self._last is not None
        clock, rgb = self._last
        picture = self._av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format="yuv420p", **self._colours)
        picture.pts, picture.time_base, picture.duration = clock, Fraction(1, _CLOCK), duration
        try:
            for packet in self._stream.encode(picture):
                self._container.mux(packet)
        except OSError as error:
            self._discard()
            raise self._failure(error) from error

    def _fitted(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = self.size
        if rgb.shape[:2] != self.size:
            from PIL import Image

            scale = min(height / rgb.shape[0], width / rgb.shape[1])
            shown_height = min(height, max(1, round(rgb.shape[0] * scale)))
            shown_width = min(width, max(1, round(rgb.shape[1] * scale)))
            resized = Image.fromarray(rgb).resize((shown_width, shown_height), Image.Resampling.BILINEAR)
            top, left = (height - shown_height) // 2, (width - shown_width) // 2
            rgb = np.zeros((height, width, 3), dtype=np.uint8)
            rgb[top : top + shown_height, left : left + shown_width] = np.asarray(resized)
        if height % 2 or width % 2:
            return np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        # Held until the next picture is known: the caller may reuse its array.
        return rgb.copy()

    def _failure(self, error: OSError) -> VideosegError:
        return VideosegError(
            f"The video {self.path} could not be written: {error.strerror or error}. Free some space and run again."
        )

    def _discard(self) -> None:
        self._closed = True
        # A container that never saw a picture cannot be closed in the ordinary way.
        with contextlib.suppress(Exception):
            self._container.close()
        with contextlib.suppress(OSError):
            os.unlink(self._partial)
