"""`RecordedSegments`: somebody's per-frame segments on disk, whatever their format, frame by frame."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

ReadFrames = Callable[[str, int, int | None], Iterator[PanopticFrame]]
"""(video, start, stop) -> its frames number `start` to `stop` (exclusive)."""


@dataclass(frozen=True, slots=True)
class RecordedFrame:
    """One frame that can be read."""

    file: Path
    """The file that holds it, for messages: of most formats a PNG."""
    read: Callable[[], PanopticFrame]
    index: int | None = None
    """Its number in the video where the file says so; None where it goes by its place in the list."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedSegments:
    """Videos of per-frame panoptic segments. Files are read as frames are asked for, one frame at a time."""

    path: Path
    """The JSON file, or the folder of a format that has none."""
    format: str
    """Name of the format."""
    vocabulary: Vocabulary
    """The categories of the file, in its order."""
    tracked: bool
    """Whether the ids are stable over a video: then `Segment.track` is set."""
    recorded: Mapping[str, Sequence[RecordedFrame]]
    """Video -> its frames in order."""
    unlabelled: Literal["void", "background"] = "void"
    """What a pixel without a segment means: nobody knows (`void`), or surely none of the categories (`background`, as
    where only some things are annotated, but all of them)."""
    in_a_row: ReadFrames | None = None
    """A quicker way to frames that follow each other, for formats that have one; else each is read by itself."""
    category_ids: tuple[int, ...] = ()
    """Ids of the categories in the file, in the order of the vocabulary; empty where the format has none."""
    named: bool = True
    """Whether the file names its categories; where it doesn't, they are called by their ids."""

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
        name = self._name(video)
        listed = self.recorded[name][start:stop]
        read = (
            (each.read() for each in listed)
            if self.in_a_row is None
            else self.in_a_row(name, start, start + len(listed))
        )
        size: tuple[int, int] | None = None
        for each, frame in zip(listed, read, strict=True):
            if self.tracked and size is not None and frame.size != size:
                raise InputError(
                    f"{each.file} is {frame.size[1]}×{frame.size[0]} pixels, the frames before it in the video are "
                    f"{size[1]}×{size[0]}. The frames of a video must be of one size."
                )
            size = frame.size
            yield frame

    def checksum(self, video: str | None = None) -> str:
        """SHA-256, in hex, of the JSON file; of a format that has none, of the names and bytes of a video's files."""
        if self.path.is_file():
            return sha256(self.path.read_bytes()).hexdigest()
        total = sha256()
        for file in dict.fromkeys(each.file for each in self.recorded[self._name(video)]):
            total.update(f"{file.name}\n{sha256(file.read_bytes()).hexdigest()}\n".encode())
        return total.hexdigest()

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
