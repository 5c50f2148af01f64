"""Segments that are already on disk, as a `Source` and a `Segmenter`: `videoseg track` is the main job on them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipelines.colour_segmenter import NoMemory, appearance
from videoseg.errors import InputError
from videoseg.formats.recorded import RecordedSegments
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Loss, Source, SourceInfo, StreamState
from videoseg.vocabulary import Vocabulary

_GROUND = 40
"""Grey value of a frame whose picture is not known: dark, so that an overlay can be drawn on it."""


class RecordedSource:
    """The frames of recorded segments, with their pictures where those are given, else plain grey."""

    def __init__(self, segments: RecordedSegments, video: str, pictures: Source | None = None) -> None:
        """
        Args:
            pictures: frames of which number n belongs to the recorded frame number n.

        Raises:
            InputError: pictures and segments differ in number or size.
        """
        self._segments = segments
        self._video = video
        self._pictures = pictures
        self._count = segments.num_frames(video)
        self._numbers: dict[int, int] = {}
        first = next(iter(segments.frames(video, 0, 1)), None)
        if first is None:
            raise InputError(f"{segments.path} has no frames for the video {video!r}.")
        last = next(iter(segments.frames(video, self._count - 1, self._count)))
        height, width = first.size
        seconds = last.time - first.time
        rate = Fraction((self._count - 1) / seconds).limit_denominator(1001) if seconds > 0 else None
        self._info = SourceInfo(
            stream=video,
            kind="images",
            width=width,
            height=height,
            num_frames=self._count,
            rate=rate,
            duration=float(self._count / rate) if rate else None,
            container=segments.format,
            codec="png",
            pixel_format="ids",
            first_time=first.time,
        )
        if pictures is not None:
            self._require_same(pictures)

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def num_selected(self) -> int:
        return self._count

    def number_of(self, index: int) -> int:
        """See `Source.number_of`."""
        return self._numbers[index]

    @property
    def losses(self) -> tuple[Loss, ...]:
        return () if self._pictures is None else self._pictures.losses

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `Source.frames`."""
        for number in range(start, self._count if stop is None else min(stop, self._count)):
            recorded = next(iter(self._segments.frames(self._video, number, number + 1)))
            self._numbers[recorded.index] = number
            yield Frame(
                stream=self._info.stream,
                epoch=recorded.epoch,
                index=recorded.index,
                pts=recorded.pts,
                time_base=recorded.time_base,
                time=recorded.time,
                rgb=self._picture(number, recorded.size),
            )

    def close(self) -> None:
        if self._pictures is not None:
            self._pictures.close()

    def _picture(self, number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
        if self._pictures is not None:
            for frame in self._pictures.frames(number, number + 1):
                if frame.size == size:
                    return frame.rgb
        return np.full((*size, 3), _GROUND, dtype=np.uint8)

    def _require_same(self, pictures: Source) -> None:
        info, count = pictures.info, pictures.num_selected
        if (info.width, info.height) != (self._info.width, self._info.height):
            raise InputError(
                f"The pictures of {info.stream} are {info.width}×{info.height}, the segments of {self._segments.path} "
                f"{self._info.width}×{self._info.height}. Give the pictures that the segments were made from."
            )
        if count is not None and count != self._count:
            raise InputError(
                f"{info.stream} has {count} pictures, {self._segments.path} segments for {self._count} frames. "
                "Give the pictures that the segments were made from."
            )


class RecordedSegmenter:
    """Gives out recorded segments for the frames of a `RecordedSource`; ids of tracks in the record are passed over.

    Where frames have pictures, segments get an embedding of their colours, so that lost things can be found again.
    """

    def __init__(self, segments: RecordedSegments, video: str, *, has_pictures: bool = False) -> None:
        self._segments = segments
        self._video = video
        self._has_pictures = has_pictures
        self._next = 0

    @property
    def vocabulary(self) -> Vocabulary:
        return self._segments.vocabulary

    def describe(self) -> Mapping[str, str]:
        return {
            "segmenter": "recorded",
            "model": self._segments.path.name,
            "version": "1",
            "format": self._segments.format,
            "checksum": self._segments.checksum(self._video),
            "embeddings": "colours" if self._has_pictures else "none",
        }

    def new_state(self, stream: str) -> NoMemory:
        return NoMemory()

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        return [self._of(frame) for frame in frames]

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        raise InputError("Recorded segments have their categories from elsewhere and cannot be classified again.")

    def _of(self, frame: Frame) -> PanopticFrame:
        found = self._find(frame)
        embeddings = appearance(frame.rgb, found.id_map) if self._has_pictures else {}
        return replace(
            found,
            stream=frame.stream,
            segments=tuple(
                replace(segment, track=None, embedding=embeddings.get(segment.id)) for segment in found.segments
            ),
        )

    def _find(self, frame: Frame) -> PanopticFrame:
        """Frames come in order nearly always: the one after the last is tried first, then all from the start."""
        count = self._segments.num_frames(self._video)
        for number in (*range(self._next, count), *range(self._next)):
            recorded = next(iter(self._segments.frames(self._video, number, number + 1)))
            if (recorded.epoch, recorded.index, recorded.pts) == (frame.epoch, frame.index, frame.pts):
                self._next = number + 1
                return recorded
        raise InputError(f"{self._segments.path} has no segments for frame {frame.index} of {frame.stream}.")
