"""`VideoFile`: a video file as a `Source`, through PyAV (FFmpeg) and an index of our own."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.motion import CodecVectors
from videoseg.protocols import Loss, SourceInfo
from videoseg.video.codec_vectors import vectors_of
from videoseg.video.colour import (
    HIGH_DYNAMIC_RANGE,
    Orientation,
    PictureColour,
    RgbConverter,
    colour_of,
    orientation_of,
)
from videoseg.video.index import FileIndex, build_index, plain
from videoseg.video.reader import NO_PICTURE, FrameReader, LossRecord, file_url
from videoseg.video.selection import Sampling

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Matroska states durations in milliseconds, and muxers differ in whether the last frame's own is in it.
_DURATION_TOLERANCE = 0.5

_ATTACHED_PICTURE = 0x400  # FFmpeg's AV_DISPOSITION_ATTACHED_PIC

# Containers that are written from a keyframe on; broadcasts (MPEG-TS) are joined anywhere.
_BEGIN_WITH_KEYFRAME = ("mp4", "matroska")

# A file in which more of the steps are long than this has a variable rate, not holes.
_RARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class OpenedFile:
    """All that opening a video file finds out: shared by every decoder back-end."""

    path: str
    stream_index: int
    index: FileIndex
    info: SourceInfo
    orientation: Orientation
    colour: PictureColour
    losses: LossRecord
    promised: tuple[Loss, ...]
    """What the file promises and no packet holds: holes, and what lies beyond its last packet."""

    def promised_within(self, selected: NDArray[np.intp], sampling: Sampling) -> tuple[Loss, ...]:
        """Those of the promised frames that the selected range would have held."""
        first, last = int(selected[0]), int(selected[-1])
        to_the_end = sampling.end is None or sampling.end > self.index.time(len(self.index) - 1)
        return tuple(
            loss
            for loss in self.promised
            if first < loss.index <= last or (loss.index == len(self.index) and to_the_end)
        )


class VideoFile:
    """Frames of a video file, frame-exact, in memory that does not grow with its length.

    The index takes 50 bytes a frame (5 MB an hour at 30 frames/s); pixels are held for a few frames only.

    Errors: `InputError` where the file cannot be used, where its frames change size, and where a selection is empty.
    """

    def __init__(self, path: str, sampling: Sampling, stream: str, *, codec_vectors: bool = False) -> None:
        opened = open_file(path, stream)
        self._path = path
        # Those of a turned picture would have to be turned with it.
        self._codec_vectors = codec_vectors and opened.orientation == Orientation()
        self._opened = opened
        self._sampling = sampling
        self._index = opened.index
        self._selected = sampling.select(opened.index.pts, opened.index.time_base, path)
        self._idle: FrameReader | None = None
        self._info = opened.info
        if self._selected[0] > 0:
            self._info = self._with_size_of_first_selected()

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
        return summarise_losses(self._opened.losses) + self._opened.promised_within(self._selected, self._sampling)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `Source.frames`. Going on where the last call ended costs nothing."""
        wanted = self._selected[start:stop]
        if len(wanted) == 0:
            return
        reader, self._idle = self._idle or self._new_reader(), None
        convert = RgbConverter(self._opened.orientation)
        try:
            for number in wanted:
                picture = self._decode(reader, int(number))
                if picture is not None:
                    self._require_size(picture, int(number))
                    vectors = vectors_of(picture) if self._codec_vectors else None
                    yield self._frame(int(number), convert(picture), vectors)
        finally:
            if self._idle is None:
                self._idle = reader
            else:
                reader.close()

    def close(self) -> None:
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def _new_reader(self) -> FrameReader:
        opened = self._opened
        return FrameReader(
            self._path, opened.stream_index, self._index, opened.losses, codec_vectors=self._codec_vectors
        )

    def _decode(self, reader: FrameReader, number: int) -> "VideoFrame | None":
        reader.seek(number)
        return reader.read_if(number)

    def _frame(self, number: int, rgb: NDArray[np.uint8], vectors: CodecVectors | None) -> Frame:
        index = self._index
        return Frame(
            stream=self._info.stream,
            epoch=0,
            index=number,
            pts=int(index.pts[number]),
            time_base=index.time_base,
            time=index.time(number),
            rgb=rgb,
            vectors=vectors,
        )

    def _require_size(self, picture: "VideoFrame", number: int) -> None:
        height, width = self._opened.orientation.size(picture.height, picture.width)
        if (height, width) == (self._info.height, self._info.width):
            return
        time = self._index.time(number)
        # Rounded down, so that this frame is outside --end and inside --start.
        border = f"{math.floor(time * 1000) / 1000:.3f}"
        raise InputError(
            f"{self._path} changes its frame size from {self._info.width}×{self._info.height} to {width}×{height} at "
            f"frame {number} ({time:.3f} s); the frames before it are read. Take the parts one by one, with "
            f"--end {border} and --start {border}."
        )

    def _with_size_of_first_selected(self) -> SourceInfo:
        # A file that changes its size is read part by part, and each part has the size of its own first frame.
        reader = self._new_reader()
        self._idle = reader
        reader.seek(int(self._selected[0]))
        picture = reader.peek()
        if picture is None:
            return self._info
        height, width = self._opened.orientation.size(picture.height, picture.width)
        return replace(self._info, width=width, height=height)


def open_file(path: str, stream: str) -> OpenedFile:
    """Opens, indexes and describes a video file.

    Raises:
        InputError: there is no such file, or it holds no video that can be decoded.
    """
    import av

    _require_file(path)
    try:
        container = av.open(file_url(path))
    except (av.FFmpegError, EOFError) as error:
        raise InputError(
            f"{path} cannot be read as a video ({plain(error)}): it is no video file, or it is cut off before the part "
            "that describes it. Check that it was copied completely and plays elsewhere."
        ) from None
    with container:
        video = _choose_stream(container, path)
        stream_index = video.index
        index = build_index(container, video)
        if len(index) == 0:
            raise InputError(f"{path} has a video track without frames in it. Check that it was copied completely.")
        promised = _promised_losses(container, video, index)
        losses = LossRecord()
        whole = any(name in container.format.name for name in _BEGIN_WITH_KEYFRAME)
        first, index = _first_picture(path, stream_index, index, whole)
        orientation = orientation_of(first)
        info = describe(container, video, index, first, orientation, stream)
    return OpenedFile(path, stream_index, index, info, orientation, colour_of(first), losses, promised)


def _require_file(path: str) -> None:
    if not os.path.exists(path):
        if "://" in path:
            raise InputError(f"{path} is an address, and this reads files and folders. Download it first.")
        raise InputError(f"There is no file {path}. Check the path.")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} may not be read. Check its permissions.")
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        raise InputError(f"{path} is an empty file. Check that it was copied completely.")


def _choose_stream(container: "InputContainer", path: str) -> "VideoStream":
    videos = [video for video in container.streams.video if not _is_cover(video)]
    # FFmpeg reads any text as pictures of a terminal; nobody means that.
    if not videos or container.format.name == "tty":
        kinds = sorted({stream.type for stream in container.streams if stream not in container.streams.video})
        found = f"only {' and '.join(kinds)}" if kinds else "no video"
        raise InputError(f"{path} has {found} in it, no video track. Give a file with video.")
    best = container.streams.best("video")
    chosen = next((video for video in videos if best is not None and video.index == best.index), videos[0])
    if chosen.codec_context is None:
        raise InputError(f"{path} holds video in a format that this FFmpeg cannot decode. Convert it to H.264 first.")
    return chosen


def _is_cover(video: "VideoStream") -> bool:
    """Whether the track is the cover picture of a piece of music."""
    disposition = getattr(video, "disposition", 0)
    return bool(getattr(disposition, "value", disposition) & _ATTACHED_PICTURE)


def _first_picture(path: str, stream: int, index: FileIndex, whole: bool) -> "tuple[VideoFrame, FileIndex]":
    """The first picture that decodes, and the index without the leading frames that no player can show.

    Those are frames before the first keyframe of a recording that begins in the middle of a group, and frames of an
    open first group that lean on pictures before the beginning. In a file that is known to be `whole` at its beginning
    such frames decode without an error to nothing; frames that fail are damaged, and stay in the index as losses.
    """
    losses = LossRecord()
    reader = FrameReader(path, stream, index, losses)
    try:
        item = reader.read()
    finally:
        reader.close()
    if item is None:
        reason = next(iter(losses.missing.values()), "no picture in it")
        raise InputError(f"No frame of {path} can be decoded ({reason}). Check that it was copied completely.")
    number, picture = item
    first_key = int(index.keyframes[0]) if len(index.keyframes) else 0
    leading = 0
    while (
        leading < number
        and (not whole or losses.missing[leading] == NO_PICTURE)
        and (index.shown[leading] < first_key or index.packet_pts[index.shown[leading]] < index.packet_pts[first_key])
    ):
        leading += 1
    return picture, index.without_first(leading) if index.timed else index


def _promised_losses(container: "InputContainer", video: "VideoStream", index: FileIndex) -> tuple[Loss, ...]:
    """What the container's tables or its regular stamps promise, and no packet holds."""
    losses = []
    if index.timed:
        for number, missing in zip(*holes(index), strict=True):
            seconds = missing * _typical_gap(index)
            reason = f"the file has no frames for {seconds:.2f} s after {index.time(int(number) - 1):.3f} s"
            losses.append(Loss(index=int(number), reason=reason, frames=int(missing)))
    # MP4's own table of samples, as the edit list leaves it.
    listed = len(getattr(video, "index_entries", ())) if "mp4" in container.format.name else 0
    if listed > len(index.packet_pts):
        missing = listed - len(index.packet_pts)
        reason = f"the file ends early: {missing} of {listed} frames are not in it"
        return (*losses, Loss(index=len(index), reason=reason, frames=missing))
    promised = _declared_seconds(container, video)
    end = index.time(len(index) - 1) + float(index.frame_duration)
    if promised is not None and promised > end + _DURATION_TOLERANCE:
        reason = f"the file ends early: it says {promised:.1f} s and has frames up to {end:.1f} s"
        losses.append(Loss(index=len(index), reason=reason))
    elif index.read_errors:
        losses.append(Loss(index=len(index), reason=f"a part of the file cannot be read ({index.read_errors[0]})"))
    return tuple(losses)


def _declared_seconds(container: "InputContainer", video: "VideoStream") -> float | None:
    """Where a Matroska file says that its video ends; other containers have a count or make the figure up."""
    if "matroska" not in container.format.name:
        return None
    stated = video.metadata.get("DURATION", "")
    parts = stated.replace("\x00", "").split(":")
    if len(parts) == 3:
        try:
            return int(parts[0]) * 3600 + int(parts[1]) * 60 + float(parts[2])
        except ValueError:
            return None
    alone = len(container.streams) == 1 and container.duration is not None
    return container.duration / 1_000_000 if alone and container.duration is not None else None


def summarise_losses(record: LossRecord) -> tuple[Loss, ...]:
    """Neighbouring frames with one reason become one loss; damaged frames that are shown count as 0 lost."""
    losses = [
        Loss(first, reason if count == 1 else f"{count} frames: {reason}", count)
        for first, count, reason in _runs(record.missing)
    ]
    losses += [
        Loss(first, f"kept, but {reason}" if count == 1 else f"{count} frames, kept: {reason}", 0)
        for first, count, reason in _runs(record.damaged)
    ]
    return tuple(sorted(losses, key=lambda loss: loss.index))


def _runs(reasons: dict[int, str]) -> Iterator[tuple[int, int, str]]:
    first, count, reason = 0, 0, ""
    for number in sorted(reasons):
        if count and number == first + count and reasons[number] == reason:
            count += 1
            continue
        if count:
            yield first, count, reason
        first, count, reason = number, 1, reasons[number]
    if count:
        yield first, count, reason


def describe(
    container: "InputContainer",
    video: "VideoStream",
    index: FileIndex,
    first: "VideoFrame",
    orientation: Orientation,
    stream: str,
) -> SourceInfo:
    """What a user wants to know of a file, from its index and its first picture."""
    colour = colour_of(first)
    height, width = orientation.size(first.height, first.width)
    stated_aspect = video.sample_aspect_ratio
    aspect = Fraction(stated_aspect) if stated_aspect else Fraction(1)
    if orientation.rotation in (90, 270):
        aspect = 1 / aspect
    rate, variable = frame_rate(index, video.average_rate)
    bits = max(component.bits for component in first.format.components)
    interlaced = bool(first.interlaced_frame)
    keys = np.intersect1d(index.shown, index.keyframes, assume_unique=True)
    return SourceInfo(
        stream=stream,
        kind="file",
        width=width,
        height=height,
        num_frames=len(index),
        rate=rate,
        duration=index.time(len(index) - 1) - index.time(0) + float(index.frame_duration),
        container=container.format.name,
        codec=video.codec_context.codec.canonical_name,
        pixel_format=first.format.name,
        bit_depth=bits,
        rotation=orientation.rotation,
        colour_matrix=colour.matrix,
        colour_range="full" if colour.full_range else "limited",
        colour_transfer=colour.transfer,
        sample_aspect_ratio=aspect,
        interlaced=interlaced,
        variable_rate=variable,
        first_time=index.time(0),
        keyframe_interval=_longest_group(index, keys),
        oddities=tuple(
            _oddities(container, index, colour, orientation, aspect, interlaced, variable, bits, width, height)
        ),
    )


def frame_rate(index: FileIndex, stated: Fraction | None) -> tuple[Fraction | None, bool]:
    """Average frames per second over the shown frames, and whether their distances vary (holes apart)."""
    if len(index) < 2:
        return (Fraction(stated) if stated else None), False
    span = int(index.pts[-1] - index.pts[0]) * index.time_base
    gaps = np.diff(index.pts)
    missing = holes(index)[1]
    variable = int(gaps.max()) - int(gaps.min()) > _stamp_tolerance(index) and len(missing) == 0
    if span == 0:
        return None, variable
    counted = (len(index) - 1 + int(missing.sum())) / span
    if stated and not variable and abs(counted / Fraction(stated) - 1) < Fraction(1, 200):
        return Fraction(stated), variable
    return counted.limit_denominator(1001), variable


def _typical_gap(index: FileIndex) -> float:
    return float(np.median(np.diff(index.pts)) * float(index.time_base))


def _stamp_tolerance(index: FileIndex) -> float:
    """In units of the time base: stamps are rounded to it, Matroska's and FLV's to a millisecond."""
    return max(1 + float(Fraction(1, 1000) / index.time_base), 0.02 * float(np.median(np.diff(index.pts))))


def holes(index: FileIndex) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where frames are missing from an otherwise regular file: the frames after the holes, and how many are missing.

    Only distances that are whole multiples of the usual one are holes, and only if they are rare: else the file simply
    has a variable rate.
    """
    none = np.zeros(0, dtype=np.intp)
    if len(index) < 3:
        return none, none
    gaps = np.diff(index.pts)
    usual = float(np.median(gaps))
    if usual <= 0:
        return none, none
    steps = np.rint(gaps / usual)
    regular = bool(np.all(np.abs(gaps - steps * usual) <= _stamp_tolerance(index) * np.maximum(steps, 1)))
    after = np.flatnonzero(steps >= 2) + 1
    if not regular or bool(np.any(steps < 1)) or len(after) > _RARE * len(gaps):
        return none, none
    return after, (steps[after - 1] - 1).astype(np.intp)


def _longest_group(index: FileIndex, keys: NDArray[np.intp]) -> int | None:
    if not index.timed or len(keys) == 0:
        return None
    at = np.flatnonzero(np.isin(index.shown, keys))
    return int(np.diff(np.append(at, len(index))).max())


def _oddities(
    container: "InputContainer",
    index: FileIndex,
    colour: PictureColour,
    orientation: Orientation,
    aspect: Fraction,
    interlaced: bool,
    variable: bool,
    bits: int,
    width: int,
    height: int,
) -> Iterator[str]:
    if variable:
        gaps = np.diff(index.pts) * float(index.time_base) * 1000
        yield f"The frame rate varies: {gaps.min():.0f} to {gaps.max():.0f} ms from frame to frame."
    if not index.timed:
        yield (
            "It has no presentation time stamps: times are made up from the frame rate, the number of frames is an "
            "estimate, and a part in the middle is reached by decoding from the beginning."
        )
    if len(index.clocks):
        yield (
            f"Its clock starts anew {len(index.clocks)} time(s), as in recordings joined end to end; time goes on "
            "without a gap, and a part in the middle is reached by reading from the beginning."
        )
    if index.hidden:
        yield f"It holds {index.hidden} frames that are not shown (an edit list or hidden reference frames)."
    if orientation.rotation or orientation.mirrored:
        mirrored = " and mirrored" if orientation.mirrored else ""
        yield f"Pictures are turned by {orientation.rotation} degrees clockwise{mirrored}, as the file says."
    if orientation.rounded_from is not None:
        yield f"It declares a turn by {orientation.rounded_from:.1f} degrees; the nearest quarter turn is taken."
    if aspect != 1:
        shown = round(width * aspect)
        yield (
            f"Its pixels are {aspect.numerator}:{aspect.denominator}, not square: players show {shown}×{height}. "
            f"Frames and results keep the file's own {width}×{height} pixels, so masks fit them one to one."
        )
    if interlaced:
        yield "It is interlaced: frames are used as they are, and moving edges show comb lines."
    if bits > 8:
        yield f"It has {bits} bits per channel; frames are converted to 8."
    if colour.transfer in HIGH_DYNAMIC_RANGE:
        yield (
            f"It is high dynamic range ({HIGH_DYNAMIC_RANGE[colour.transfer]}), converted without tone mapping: frames "
            "look flat. Convert the video to standard range first for best results."
        )
    if colour.unsupported:
        yield f"Its colour matrix {colour.unsupported} is not supported; {colour.matrix} is taken in its place."
    elif not colour.matrix_declared:
        yield f"It does not say its colour matrix; {colour.matrix} is taken, as players do for this size."
    streams = [video for video in container.streams.video if not _is_cover(video)]
    if len(streams) > 1:
        yield f"It has {len(streams)} video tracks; one of them is used."
