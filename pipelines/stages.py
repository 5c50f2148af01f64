"""The stages that a frame passes, and the window of frames that travels through them.

Each stage is an object with one method, `advance`, that takes a window and gives it on, richer. What a stage remembers
of a stream begins with the first window of a chunk and ends with its last: nothing goes from one chunk to the next. The
stages know neither each other nor where they run.

What is remembered is explicit: `save` gives it out, `restore` takes it in, so that a stream can go on elsewhere in its
middle. And a stage that is given a window without remembering the one before says so (`LostState`) instead of going on.
"""

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from threading import Event
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from pipelines.crash_points import point
from pipelines.shared_segmenter import work_of
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
    token: str = ""
    """Which attempt at the chunk this is: what a stage remembers of another one is worth nothing."""
    open_source: Callable[[], Source] | None = None
    """Where the frames are from; None is the source that the stage was made with."""
    output: str | None = None
    """Run folder to write to; None is the one that the stage was made with."""
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
    work: dict[str, int] = field(default_factory=dict)
    """What the segmenter's network ran, where it counts that."""

    def with_time(self, stage: str, began: float) -> "Window":
        return replace(self, seconds={**self.seconds, stage: perf_counter() - began})


class Stage(Protocol):
    """One step of a window's way."""

    def advance(self, window: Window) -> Window: ...


class LostState(Exception):  # noqa: N818 (what happened, as the driver reads it)
    """A stage was given a window and does not remember the one before: it is not the stage that it is taken for."""


class Turn:
    """Which window of which attempt a stage expects next."""

    def __init__(self) -> None:
        self.expected: tuple[str, int] = ("", 0)

    def take(self, window: Window) -> None:
        """Raises LostState where the window does not follow the one before."""
        begins = window.number == 0
        if not begins and (window.token, window.number) != self.expected:
            raise LostState(f"window {window.number} of {window.chunk!r} came where {self.expected} was expected")
        self.expected = (window.token, window.number + 1)


class DecodeStage:
    """Takes the next frames of the chunk from the source."""

    def __init__(self, open_source: Callable[[], Source] | None = None) -> None:
        """Without a source here, every window names its own."""
        self._open_source = open_source
        self._source: Source | None = None if open_source is None else open_source()
        self._frames: Iterator[Frame] | None = None
        self._ahead: Frame | None = None
        """The first frame of the next window."""
        self._turn = Turn()
        self._at = 0
        """Number of the first frame that was not given out yet."""

    def save(self) -> bytes:
        """Where the chunk is; what was decoded ahead is decoded again."""
        return pickle.dumps((self._turn.expected, self._at, self._open_source, self._frames is not None))

    def restore(self, data: bytes) -> None:
        """Goes on where another stage was."""
        self._turn.expected, self._at, self._open_source, going_on = pickle.loads(data)
        self._source = None if self._open_source is None else self._open_source()
        self._frames, self._ahead = None, None
        if going_on and self._source is not None:
            self._frames = self._source.frames(self._at)

    def advance(self, window: Window) -> Window:
        began = perf_counter()
        self._turn.take(window)
        chunk = window.chunk
        if window.number == 0:
            self._begin(window)
        if self._source is None or self._frames is None:
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
            # What came before is kept, and the chunk ends here.
            failure, last = error, True
        losses = self._source.losses
        if last:
            self._frames = None
        if failure is not None:
            self._close()
        self._at = stop
        return replace(
            window,
            last=last,
            partial=failure is not None,
            numbers=tuple(number for number, _ in taken),
            frames=tuple(frame for _, frame in taken),
            losses=losses,
            failure=failure,
        ).with_time("decode", began)

    def _begin(self, window: Window) -> None:
        """Opens the source of the chunk, unless it is the one that is open."""
        if window.open_source is not None and window.open_source != self._open_source:
            self._close()
            self._open_source = window.open_source
        if self._source is None:
            assert self._open_source is not None
            self._source = self._open_source()
        first = window.chunk.start - window.chunk.overlap
        self._frames, self._ahead, self._at = self._source.frames(first, window.chunk.stop), None, first

    def _close(self) -> None:
        if self._source is not None:
            self._source.close()
        self._source, self._frames, self._ahead = None, None, None

    def _numbered(self, frames: Iterator[Frame]) -> Iterator[tuple[int, Frame]]:
        assert self._source is not None
        if self._ahead is not None:
            frame, self._ahead = self._ahead, None
            yield self._source.number_of(frame.index), frame
        for frame in frames:
            yield self._source.number_of(frame.index), frame


class MotionStage:
    """Estimates how each frame came from the one before, once for everybody."""

    def __init__(self) -> None:
        self._previous: tuple[int, LumaPyramid] | None = None
        self._turn = Turn()

    def save(self) -> bytes:
        """The picture before."""
        return pickle.dumps((self._turn.expected, self._previous))

    def restore(self, data: bytes) -> None:
        """Goes on where another stage was."""
        self._turn.expected, self._previous = pickle.loads(data)

    def advance(self, window: Window) -> Window:
        self._turn.take(window)
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
                if before.size == pyramid.size:
                    motion = estimate_motion_between(before, pyramid, vectors=frame.vectors)
            motions.append(motion)
            self._previous = frame.epoch, pyramid
        if window.last:
            self._previous = None
        return replace(window, motions=tuple(motions)).with_time("motion", began)


class NoMotionStage:
    """Stands in where there are no pictures to compare."""

    def save(self) -> bytes:
        return b""

    def restore(self, data: bytes) -> None:
        pass

    def advance(self, window: Window) -> Window:
        return replace(window, motions=(None,) * len(window.frames))


class SegmentStage:
    """Frames to panoptic segments."""

    def __init__(self, make_segmenter: Callable[[], Segmenter]) -> None:
        self._segmenter = make_segmenter()
        self._state: StreamState | None = None
        self._turn = Turn()
        self._interrupted = Event()
        self._given_up: str | None = None
        """The attempt that was ended by the interruption."""

    def save(self) -> bytes:
        """What is remembered of the stream."""
        state = None if self._state is None else (type(self._state), self._state.to_bytes())
        return pickle.dumps((self._turn.expected, state))

    def restore(self, data: bytes) -> None:
        """Goes on where another stage was."""
        self._turn.expected, state = pickle.loads(data)
        self._state = None if state is None else state[0].from_bytes(state[1])

    def interrupt(self) -> None:
        """From another thread: the frame under way is the last."""
        self._interrupted.set()

    def describe(self, name: str = "") -> dict[str, str]:
        """What the segmenter says of itself: goes into the manifest."""
        return dict(self._segmenter.describe())

    def advance(self, window: Window) -> Window:
        self._turn.take(window)
        if window.ended or (self._interrupted.is_set() and window.token == self._given_up):
            return replace(window, ended=True, numbers=(), frames=(), motions=())
        began = perf_counter()
        if self._interrupted.is_set():
            # The chunk ends here, or never begins.
            self._given_up = window.token
            if window.number == 0:
                return replace(window, ended=True, numbers=(), frames=(), motions=())
        frames = window.frames
        if frames and (window.number == 0 or self._state is None):
            self._state = self._segmenter.new_state(frames[0].stream)
        work_before = work_of(self._segmenter)
        results: list[PanopticFrame] = []
        for frame, motion in zip(frames, window.motions, strict=True):
            if self._interrupted.is_set():
                self._given_up = window.token
                window = replace(window, last=True, partial=True)
                break
            # One frame of a stream at a time: the state after it is needed for the next.
            assert self._state is not None
            results += self._segmenter.segment([frame], [motion], [self._state])
        if window.last:
            self._state = None
        done = len(results)
        return replace(
            window,
            numbers=window.numbers[:done],
            motions=window.motions[:done],
            frames=(),
            results=tuple(results),
            work={name: count - work_before.get(name, 0) for name, count in work_of(self._segmenter).items()},
        ).with_time("segment", began)


class TrackStage:
    """Segments to tracks; a tracker may hold frames back and give them out later."""

    def __init__(self, make_tracker: Callable[[], Tracker[Any]]) -> None:
        self._tracker = make_tracker()
        self._state: Any = None
        self._numbers: dict[int, int] = {}
        self._turn = Turn()

    def save(self) -> bytes:
        """What is remembered of the stream."""
        state = None if self._state is None else (type(self._state), self._state.to_bytes())
        return pickle.dumps((self._turn.expected, self._numbers, state))

    def restore(self, data: bytes) -> None:
        """Goes on where another stage was."""
        self._turn.expected, self._numbers, state = pickle.loads(data)
        self._state = None if state is None else state[0].from_bytes(state[1])

    def describe(self, name: str = "") -> dict[str, str]:
        """What the tracker says of itself: goes into the manifest."""
        return dict(self._tracker.describe())

    def advance(self, window: Window) -> Window:
        self._turn.take(window)
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
    """Writes results into the shards of a run folder; a chunk counts once its last window is written.

    What it holds cannot move: a chunk is written by one stage, or again from its start.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        self._run: RunWriter | None = None
        self._chunk: ChunkWriter | None = None
        self._turn = Turn()

    def advance(self, window: Window) -> Window:
        self._turn.take(window)
        if window.ended:
            return window
        began = perf_counter()
        if window.number == 0:
            self._begin(window)
        if self._chunk is None:
            raise LostState(f"{window.chunk!r} is not being written here")
        done = 0
        try:
            for number, frame in zip(window.numbers, window.results, strict=True):
                overlap = number < window.chunk.start
                self._chunk.append(frame, number=number, overlap=overlap)
                done += not overlap
            self._chunk.add_events(window.events)
            if window.last:
                point("before commit", window.chunk.number)
                self._chunk.commit(partial=window.partial)
                self._chunk = None
                point("after commit", window.chunk.number)
        except BaseException:
            self._abandon()
            raise
        return replace(window, results=(), numbers=(), events=(), frames_done=done).with_time("write", began)

    def _begin(self, window: Window) -> None:
        # The folder is made after the workers: its manifest names what they say of themselves.
        from videoseg.store.writer import RunWriter

        self._abandon()
        location = window.output or self._location
        if self._run is None or self._run.location != location:
            self._run = RunWriter.open(location)
        self._chunk = self._run.begin_chunk(window.chunk.number)

    def _abandon(self) -> None:
        """A chunk that was begun and given up, by an error or by the driver, leaves nothing."""
        if self._chunk is not None:
            self._chunk.abandon()
            self._chunk = None


class StageChain:
    """Several stages in one worker: where a hand-over costs a copy, those that belong together stay together."""

    def __init__(self, factories: Sequence[tuple[str, Callable[[], Stage]]]) -> None:
        self._stages = {name: factory() for name, factory in factories}

    def advance(self, window: Window) -> Window:
        for stage in self._stages.values():
            window = stage.advance(window)
        return window

    def describe(self, name: str = "") -> dict[str, str]:
        """What the part inside that stage says of itself."""
        description: dict[str, str] = self._stages[name].describe()  # type: ignore[attr-defined]
        return description

    def save(self) -> list[bytes]:
        """What each of the stages remembers."""
        return [stage.save() for stage in self._stages.values()]  # type: ignore[attr-defined]

    def restore(self, data: Sequence[bytes]) -> None:
        """Goes on where other stages were."""
        for stage, state in zip(self._stages.values(), data, strict=True):
            stage.restore(state)  # type: ignore[attr-defined]

    def interrupt(self) -> None:
        """From another thread: passed on to the stages that can be interrupted."""
        for stage in self._stages.values():
            getattr(stage, "interrupt", lambda: None)()
