"""`RecordedSegments`: somebody's per-frame segments on disk, whatever their format, frame by frame."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One frame that can be read."""

    png: Path
    read: Callable[[], PanopticFrame]


@dataclass(frozen=True, slots=True, eq=False)
class RecordedSegments:
    """Videos of per-frame panoptic segments. PNGs are read as frames are asked for, one at a time."""

    path: Path
    """The JSON file."""
    format: str
    """Name of the format."""
    vocabulary: Vocabulary
    """The categories of the file, in its order."""
    tracked: bool
    """Whether the ids are stable over a video: then `Segment.track` is set."""
    recorded: Mapping[str, Sequence[RecordedFrame]]
    """Video -> its frames in order."""

    @property
    def videos(self) -> tuple[str, ...]:
        return tuple(self.recorded)

    def num_frames(self, video: str | None = None) -> int:
        """Of one video; None means the only one."""
        return len(self.recorded[self._name(video)])

    def frames(self, video: str | None = None, start: int = 0, stop: int | None = None) -> Iterator[PanopticFrame]:
        """Frames number `start` to `stop` (exclusive) of a video.

        Args:
            video: its name; None means the only one.

        Raises:
            InputError: no such video, or a frame is damaged (it names file and field).
        """
        size: tuple[int, int] | None = None
        for recorded in self.recorded[self._name(video)][start:stop]:
            frame = recorded.read()
            if self.tracked and size is not None and frame.size != size:
                raise InputError(
                    f"The PNG {recorded.png} is {frame.size[1]}×{frame.size[0]} pixels, the frames before it in the "
                    f"video are {size[1]}×{size[0]}. The frames of a video must be of one size."
                )
            size = frame.size
            yield frame

    def _name(self, video: str | None) -> str:
        if video is None:
            if len(self.recorded) != 1:
                raise InputError(
                    f"{self.path} holds {len(self.recorded)} videos; say which: {', '.join(self.videos[:5])}"
                    f"{', …' if len(self.recorded) > 5 else ''}."
                )
            return next(iter(self.recorded))
        if video not in self.recorded:
            raise InputError(f"{self.path} holds no video {video!r}. It holds: {', '.join(self.videos[:5])}.")
        return video
