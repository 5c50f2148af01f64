"""`DecordFile`: plain video files through decord, chosen by name; refused where decord's frames would be wrong.

decord (0.6 and its fork decord2) decodes ahead without bound while a reader is alive (measured: 4.9 GB for a minute of
720p), and shows other frames than players do for edit lists, MPEG-TS, AVI and open groups of pictures. So every span of
frames gets a reader of its own that is gone before the first frame is handed out, and what a file is decides our own
index, not decord's.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError, VideosegError
from videoseg.frame import Frame
from videoseg.protocols import Loss, SourceInfo
from videoseg.video.colour import RgbConverter
from videoseg.video.file import OpenedFile, open_file
from videoseg.video.reader import FrameReader, LossRecord
from videoseg.video.selection import Sampling

# A span is decoded whole before its first frame is handed out: enough for 64 frames of 720p, and the most that one
# source holds.
_SPAN_BYTES = 192 * 2**20
_SPAN_FRAMES = 64

_CONTAINERS = {"mp4": "MP4", "matroska": "Matroska"}

# decord's own time stamps are 32-bit floats in seconds.
_STAMP_TOLERANCE = 2e-3

# Mean absolute difference in 0..255 between the first frame of both decoders. Chroma is interpolated differently, which
# makes up to 2 on hard edges; another colour matrix or range makes more than 4 on anything coloured.
_PICTURE_TOLERANCE = 3.0


class DecordFile:
    """Frames of a plain video file through decord. Same frames and stamps as `VideoFile`, or an `InputError`."""

    def __init__(self, path: str, sampling: Sampling, stream: str) -> None:
        self._decord = _load_decord()
        self._path = path
        opened = open_file(path, stream)
        reason = reason_against(opened) or self._difference(opened)
        if reason:
            raise InputError(f"decord would give wrong frames of {path}: {reason}. Leave out --decoder decord.")
        self._index = opened.index
        self._info = opened.info
        self._selected = sampling.select(opened.index.pts, opened.index.time_base, path)
        size = max(1, self._info.width * self._info.height * 3)
        self._span = max(1, min(_SPAN_FRAMES, _SPAN_BYTES // size))

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def num_selected(self) -> int:
        return len(self._selected)

    def number_of(self, index: int) -> int:
        """See `Source.number_of`."""
        return int(np.searchsorted(self._selected, index))

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Always empty: a damaged part is an error here."""
        return ()

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `Source.frames`. Raises VideosegError where decord fails on a damaged part."""
        wanted = self._selected[start:stop]
        for first in range(0, len(wanted), self._span):
            numbers = wanted[first : first + self._span].tolist()
            pictures = self._read(numbers)
            for number, rgb in zip(numbers, pictures, strict=True):
                yield Frame(
                    stream=self._info.stream,
                    epoch=0,
                    index=number,
                    pts=int(self._index.pts[number]),
                    time_base=self._index.time_base,
                    time=self._index.time(number),
                    # A frame that is kept must not keep its whole span.
                    rgb=rgb.copy(),
                )

    def close(self) -> None:
        """Nothing is held between spans."""

    def _read(self, numbers: list[int]) -> NDArray[np.uint8]:
        try:
            reader = self._new_reader()
            pictures: NDArray[np.uint8] = reader.get_batch(numbers).asnumpy()
            del reader
        except (RuntimeError, IndexError, self._decord.DECORDError) as error:
            raise VideosegError(
                f"decord cannot decode {self._path} from frame {numbers[0]} on ({_plain(error)}). "
                "Leave out --decoder decord: the default decoder goes on behind damaged parts."
            ) from None
        return pictures

    def _new_reader(self) -> Any:
        # One thread: more change nothing but the order of work, and every span starts them anew.
        return self._decord.VideoReader(self._path, ctx=self._decord.cpu(0), num_threads=1)

    def _difference(self, opened: OpenedFile) -> str:
        """What decord reports otherwise than our index; empty where both agree."""
        index = opened.index
        try:
            reader = self._new_reader()
            count = len(reader)
            if count != len(index):
                return f"it counts {count} frames and {len(index)} are shown"
            stamps = np.asarray(reader.get_frame_timestamp(list(range(count))))[:, 0]
            first = reader[0].asnumpy()
            del reader
        except (RuntimeError, IndexError, AssertionError, self._decord.DECORDError) as error:
            return f"it fails on it ({_plain(error)})"
        ours = index.times
        if np.abs((stamps - stamps[0]) - (ours - ours[0])).max() > _STAMP_TOLERANCE:
            return "it gives the frames other times"
        if first.shape[:2] != (opened.info.height, opened.info.width):
            upright = f"{opened.info.width}×{opened.info.height}"
            return f"its frames are {first.shape[1]}×{first.shape[0]}, upright they are {upright}"
        ours_reader = FrameReader(self._path, opened.stream_index, index, LossRecord())
        try:
            item = ours_reader.read()
            truth = RgbConverter(opened.orientation)(item[1]) if item else first
        finally:
            ours_reader.close()
        if np.abs(first.astype(np.int16) - truth).mean() > _PICTURE_TOLERANCE:
            return "its colours or its orientation differ from what the file declares"
        return ""


def reason_against(opened: OpenedFile) -> str:
    """Why decord's frames of this file would be wrong, from our own index; empty where nothing speaks against it."""
    index, info = opened.index, opened.info
    if not any(name in info.container for name in _CONTAINERS):
        return f"it reads {' and '.join(_CONTAINERS.values())} files right, and this is {info.container}"
    if not index.timed:
        return "the file has no presentation time stamps"
    if len(index.clocks):
        return "the file's clock starts anew in the middle"
    if index.hidden:
        return "the file has an edit list or hidden frames"
    if index.open_groups:
        return "the file has open groups of pictures, where it seeks to wrong frames"
    if info.bit_depth > 8:
        return f"the file has {info.bit_depth} bits per channel"
    if info.interlaced:
        return "the file is interlaced, whose colour it spreads over the wrong lines"
    if not opened.colour.matrix_declared and opened.colour.matrix != "bt601":
        return f"the file does not say its colour matrix, and it takes bt601 in place of {opened.colour.matrix}"
    if opened.promised:
        return opened.promised[0].reason
    return ""


def _plain(error: BaseException) -> str:
    """decord's message without times, source lines and stack trace."""
    text = re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ?", "", str(error).split("Stack trace")[0])
    return " ".join(text.split())[:160].rstrip(".") or type(error).__name__


def _load_decord() -> Any:
    try:
        import decord
    except ImportError as error:
        raise InputError(
            f"decord is not installed or cannot be loaded ({error}). Install it with: pip install 'videoseg[decord]', "
            "or leave out --decoder decord."
        ) from None
    # It writes FFmpeg's chatter about damaged packets to the terminal.
    decord.logging.set_level(decord.logging.QUIET)
    return decord
