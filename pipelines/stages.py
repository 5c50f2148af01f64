"""The stages that a frame passes, and the window of frames that travels through them.

Each stage is an object with one method, `advance`, that takes a window and gives it on, richer. What a stage remembers
of a stream begins with the first window of a chunk and ends with its last: nothing goes from one chunk to the next. The
stages know neither each other nor where they run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from videoseg.errors import VideosegError
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.motion_estimation import LumaPyramid, estimate_motion_between
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Loss, Segmenter, Source, StreamState, Tracker
from videoseg.store.manifest import ChunkPlan
from videoseg.tracks import TrackEvent

if TYPE_CHECKING:
    from videoseg.store.writer import ChunkWriter, RunWriter


@dataclass(frozen=True, slots=True)
class Window:
    """Some consecutive frames of one chunk, on their way through the stages."""

    chunk: ChunkPlan
    number: int
    """0.. within its chunk."""
    size: int
    """Frames of a full window of the chunk."""
    wanted: int
    """Frames of this window, fewer in the last; fewer come where the source has lost some."""
    last: bool = False
    """No window of the chunk comes after this one: stages finish what they hold and forget the chunk."""
    ended: bool = False
    """The window lies behind the end of a source of unknown length: nothing to do."""
    partial: bool = False
    """The chunk ends here because the run was stopped, not because it is whole."""
    numbers: tuple[int, ...] = ()
    """Number of each frame among the selected frames of the source; of `frames`, then of `results`."""
    frames: tuple[Frame, ...] = ()
    """Pictures; dropped after segmentation, nobody behind it needs them."""
    motions: tuple[Motion | None, ...] = ()
    results: tuple[PanopticFrame, ...] = ()
    events: tuple[TrackEvent, ...] = ()
    losses: tuple[Loss, ...] = ()
    """All that the source has lost so far."""
    failure: VideosegError | None = None
    """Why the source ends here although it should go on; the frames before are good."""
    frames_done: int = 0
    """Results that were written and count (not those of an overlap)."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Time spent by stage."""

    def with_time(self, stage: str, began: float) -> "Window":
        return replace(self, seconds={**self.seconds, stage: perf_counter() - began})


class Stage(Protocol):
    """One step of a window's way."""

    def advance(self, window: Window) -> Window: ...


class DecodeStage:
    """Takes the next frames of the chunk from the source."""

    def __init__(self, open_source: Callable[[], Source]) -> None:
        self._source = open_source()
        self._frames: Iterator[Frame] | None = None
        self._ahead: Frame | None = None
        """The first frame of the next window."""
        self._failed = False

    def advance(self, window: Window) -> Window:
        began = perf_counter()
        chunk = window.chunk
        if window.number == 0:
            self._frames, self._ahead = self._source.frames(chunk.start - chunk.overlap, chunk.stop), None
        if self._failed or self._frames is None:
            return replace(window, ended=True)
        taken: list[tuple[int, Frame]] = []
        last, failure = window.last, None
        stop = chunk.start - chunk.overlap + window.number * window.size + window.wanted
        try:
            for number, frame in self._numbered(self._frames):
                if number >= stop:
                    self._ahead = frame
                    break
                taken.append((number, frame))
                # The length is known: what follows belongs to the next window and can wait until that is asked for.
                if chunk.stop is not None and number == stop - 1:
                    break
            else:
                last = last or chunk.stop is None
        except VideosegError as error:
            # What came before is kept; after this the source is not asked again.
            self._failed, failure, last = True, error, False
        if last:
            self._frames = None
        return replace(
            window,
            last=last,
            numbers=tuple(number for number, _ in taken),
            frames=tuple(frame for _, frame in taken),
            losses=self._source.losses,
            failure=failure,
        ).with_time("decode", began)

    def _numbered(self, frames: Iterator[Frame]) -> Iterator[tuple[int, Frame]]:
        if self._ahead is not None:
            frame, self._ahead = self._ahead, None
            yield self._source.number_of(frame.index), frame
        for frame in frames:
            yield self._source.number_of(frame.index), frame


class MotionStage:
    """Estimates how each frame came from the one before, once for everybody."""

    def __init__(self) -> None:
        self._previous: tuple[int, LumaPyramid] | None = None

    def advance(self, window: Window) -> Window:
        if window.ended:
            return window
        began = perf_counter()
        if window.number == 0:
            self._previous = None
        motions: list[Motion | None] = []
        for frame in window.frames:
            pyramid = LumaPyramid.of(frame.rgb)
            motion = None
            # Pictures of different sizes cannot be compared, and over a reconnection any time may have passed.
            if self._previous is not None and self._previous[0] == frame.epoch:
                before = self._previous[1]
                motion = estimate_motion_between(before, pyramid) if before.size == pyramid.size else None
            motions.append(motion)
            self._previous = frame.epoch, pyramid
        if window.last:
            self._previous = None
        return replace(window, motions=tuple(motions)).with_time("motion", began)


class NoMotionStage:
    """Stands in where there are no pictures to compare."""

    def advance(self, window: Window) -> Window:
        return replace(window, motions=(None,) * len(window.frames))


class SegmentStage:
    """Frames to panoptic segments."""

    def __init__(self, make_segmenter: Callable[[], Segmenter]) -> None:
        self._segmenter = make_segmenter()
        self._state: StreamState | None = None

    def describe(self) -> dict[str, str]:
        """What the segmenter says of itself: goes into the manifest."""
        return dict(self._segmenter.describe())

    def advance(self, window: Window) -> Window:
        if window.ended:
            return window
        began = perf_counter()
        frames = window.frames
        if frames and (window.number == 0 or self._state is None):
            self._state = self._segmenter.new_state(frames[0].stream)
        results: list[PanopticFrame] = []
        for frame, motion in zip(frames, window.motions, strict=True):
            # One frame of a stream at a time: the state after it is needed for the next.
            assert self._state is not None
            results += self._segmenter.segment([frame], [motion], [self._state])
        if window.last:
            self._state = None
        return replace(window, frames=(), results=tuple(results)).with_time("segment", began)


class TrackStage:
    """Segments to tracks; a tracker may hold frames back and give them out later."""

    def __init__(self, make_tracker: Callable[[], Tracker[Any]]) -> None:
        self._tracker = make_tracker()
        self._state: Any = None
        self._numbers: dict[int, int] = {}

    def describe(self) -> dict[str, str]:
        """What the tracker says of itself: goes into the manifest."""
        return dict(self._tracker.describe())

    def advance(self, window: Window) -> Window:
        if window.ended:
            return window
        began = perf_counter()
        if window.number == 0:
            self._state, self._numbers = None, {}
        frames: list[PanopticFrame] = []
        events: list[TrackEvent] = []
        for number, frame, motion in zip(window.numbers, window.results, window.motions, strict=True):
            if self._state is None:
                self._state = self._tracker.new_state(frame.stream)
            self._numbers[frame.index] = number
            step = self._tracker.step(frame, motion, self._state)
            frames += step.frames
            events += step.events
        if window.last and self._state is not None:
            step = self._tracker.finish(self._state)
            frames += step.frames
            events += step.events
            self._state = None
        numbers = tuple(self._numbers.pop(frame.index) for frame in frames)
        return replace(window, motions=(), numbers=numbers, results=tuple(frames), events=tuple(events)).with_time(
            "track", began
        )


class WriteStage:
    """Writes results into the shards of a run folder; a chunk counts once its last window is written."""

    def __init__(self, location: str) -> None:
        self._location = location
        self._run: RunWriter | None = None
        self._chunk: ChunkWriter | None = None

    def advance(self, window: Window) -> Window:
        if window.ended:
            return window
        began = perf_counter()
        if window.number == 0:
            # The folder is made after the workers: its manifest names what they say of themselves.
            from videoseg.store.writer import RunWriter

            self._run = self._run or RunWriter.open(self._location)
            self._chunk = self._run.begin_chunk(window.chunk.number)
        assert self._chunk is not None
        done = 0
        try:
            for number, frame in zip(window.numbers, window.results, strict=True):
                overlap = number < window.chunk.start
                self._chunk.append(frame, number=number, overlap=overlap)
                done += not overlap
            self._chunk.add_events(window.events)
            if window.last:
                self._chunk.commit()
                self._chunk = None
        except BaseException:
            if self._chunk is not None:
                self._chunk.abandon()
            raise
        return replace(window, results=(), numbers=(), events=(), frames_done=done).with_time("write", began)
