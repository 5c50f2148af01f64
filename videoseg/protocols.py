"""The seams between the rooms: what a source, a segmenter and a tracker are to everybody else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame
from videoseg.tracks import TrackEvent
from videoseg.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source is, as far as can be known before decoding it."""

    stream: str
    kind: str
    """`file`, `images` or `live`."""
    width: int
    """Of the upright picture, in pixels."""
    height: int
    num_frames: int | None
    """Shown frames, counted from the packets; None where it cannot be known."""
    rate: Fraction | None
    """Average frames per second; None where it cannot be known."""
    duration: float | None
    """Seconds from the first shown frame to the end of the last; None where it cannot be known."""
    container: str = ""
    codec: str = ""
    pixel_format: str = ""
    bit_depth: int = 8
    rotation: int = 0
    """Degrees clockwise by which decoded pictures are turned to be upright: 0, 90, 180 or 270."""
    colour_matrix: str = ""
    colour_range: str = ""
    colour_transfer: str = ""
    sample_aspect_ratio: Fraction = Fraction(1)
    interlaced: bool = False
    variable_rate: bool = False
    first_time: float = 0.0
    """`Frame.time` of the first shown frame, in seconds."""
    keyframe_interval: int | None = None
    """Longest distance between keyframes in frames, so the longest way to a frame in the middle; None: unknown."""
    oddities: tuple[str, ...] = ()
    """One sentence for each thing about the source that a user would want to know."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A part of a source that could not be decoded."""

    index: int
    """Shown-frame index at or near which it happened."""
    reason: str
    frames: int | None = None
    """How many shown frames were lost; None where it cannot be known."""


class Source(Protocol):
    """Frames in presentation order, already sampled (`--fps`, `--every`) and limited (`--start`, `--end`)."""

    @property
    def info(self) -> SourceInfo: ...

    @property
    def num_selected(self) -> int | None:
        """How many frames `frames()` yields if nothing is lost; None for live streams and unknown lengths."""

    def number_of(self, index: int) -> int:
        """Number among the selected frames of a frame that `frames()` gave, by its `Frame.index`."""

    @property
    def losses(self) -> tuple[Loss, ...]:
        """What could not be decoded so far."""

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Yields the selected frames number `start` to `stop` (exclusive), counted after sampling.

        Memory does not grow with the length. A live source only takes `start=0` and yields until it ends.
        """

    def close(self) -> None: ...


class StreamState(Protocol):
    """All that a stage remembers of one stream. The caller owns it: it can be saved, moved and gone on with."""

    format_version: ClassVar[int]

    @property
    def nbytes(self) -> int: ...

    def to_bytes(self) -> bytes: ...

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises InputError where `data` has another format version or is damaged."""


@runtime_checkable
class Segmenter(Protocol):
    """Frames to panoptic segments. Stateless but for the explicit per-stream states."""

    @property
    def vocabulary(self) -> Vocabulary: ...

    def describe(self) -> Mapping[str, str]:
        """Name, checksum of the weights and settings that change results: goes into the manifest."""

    def new_state(self, stream: str) -> StreamState: ...

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        """One result per frame. `motions[i]` is None for the first frame of a stream or chunk."""

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        """Probabilities float32 `[N, len(vocabulary)]` for stacked `Segment.open_vocabulary` `[N, E]`.

        Raises InputError where the segmenter cannot classify again.
        """


@dataclass(frozen=True, slots=True)
class TrackingStep:
    """What a tracker gives out: zero or more finished frames (in order) and what happened to tracks."""

    frames: tuple[PanopticFrame, ...] = field(default=())
    events: tuple[TrackEvent, ...] = field(default=())


State = TypeVar("State", bound=StreamState)


class Tracker(Protocol[State]):
    """Segments to tracks, one frame at a time."""

    def describe(self) -> Mapping[str, str]:
        """Name and settings: goes into the manifest."""

    def new_state(self, stream: str) -> State: ...

    def step(self, frame: PanopticFrame, motion: Motion | None, state: State) -> TrackingStep:
        """Takes the next frame; changes `state` in place."""

    def finish(self, state: State) -> TrackingStep:
        """Ends the stream: gives out held frames and the `ended` events."""
