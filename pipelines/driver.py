"""The driver loop, written once for every executor: windows of frames through a chain of stages, in order.

Knows nothing of what the stages do. A window is handed to every stage at once; each call waits for the one before it
where it runs, so pictures never pass through here. Order holds because a worker runs its calls in the order of
submission. What is bounded is the number of bytes of pictures under way.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event

from pipelines.executors import Executor, Future, Worker
from pipelines.settings import Placement
from pipelines.stages import Stage, Window
from videoseg.errors import VideosegError
from videoseg.store.manifest import ChunkPlan

_SIGNAL_CHECK = 0.1
"""Seconds between looks at `stop` while a window is awaited: a person who presses Ctrl-C sees an answer at once."""


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage and what it needs where it runs."""

    name: str
    factory: Callable[[], Stage]
    cpus: float = 1
    gpus: float = 0
    stop_before: bool = False
    """When the run is stopped, windows that wait before this stage are dropped: it is the one that takes long."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A window under way."""

    window: Window
    calls: tuple[Future[Window], ...]
    """One per stage; the last gives the window back."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """How many frames travel together, and how many windows may be under way."""

    frames: int
    in_flight: int

    @classmethod
    def of(cls, frame_bytes: int, placement: Placement) -> "WindowSize":
        """For pictures of so many bytes.

        At least one frame, and at least two windows where the bound allows: one being decoded, one with the network.
        """
        frames = max(1, min(placement.window_frames, placement.window_bytes // max(1, frame_bytes)))
        return cls(frames=frames, in_flight=max(2, placement.bytes_in_flight // max(1, frame_bytes * frames)))


class Driver:
    """Sends the windows of chunks through stages and gives the finished ones out in order."""

    def __init__(self, executor: Executor, stages: Sequence[StageSpec], size: WindowSize, stop: Event) -> None:
        """
        Args:
            stop: once set, no frame begins that has not begun; what has begun is finished and given out.
        """
        self._executor = executor
        self._stages = tuple(stages)
        self._size = size
        self._stop = stop
        self._gate = next((i for i, stage in enumerate(stages) if stage.stop_before), 0)
        self.stopped = False
        """Whether frames were left out because of `stop`."""
        self._workers: list[Worker] = [
            executor.spawn(stage.factory, name=stage.name, cpus=stage.cpus, gpus=stage.gpus) for stage in stages
        ]

    def describe(self, stage: str) -> dict[str, str]:
        """What the part inside the stage says of itself."""
        place = [spec.name for spec in self._stages].index(stage)
        answer: Future[dict[str, str]] = self._executor.submit(self._workers[place], "describe")
        return answer.result()

    def windows(self, chunks: Iterable[ChunkPlan]) -> Iterator[Window]:
        """Yields every window after its last stage, in the order of chunks and frames.

        When stopped, or when the source fails in its middle, the chunk under way ends with a window that is `partial`.

        Raises:
            VideosegError: the source failed; raised after everything before the failure was given out.
            Exception: what another stage raised, at the place of its window.
        """
        in_flight: deque[InFlight] = deque()
        ended: set[int] = set()
        done: Window | None = None
        failure: VideosegError | None = None
        planned = self._planned(chunks, ended)
        submitting = True
        while submitting or in_flight:
            if self._stop.is_set():
                self.stopped = self.stopped or submitting
                submitting = False
                self._drop_waiting(in_flight)
            submitting = submitting and failure is None
            if submitting and len(in_flight) < self._size.in_flight:
                window = next(planned, None)
                if window is None:
                    submitting = False
                else:
                    in_flight.append(self._submit(window))
            room = submitting and len(in_flight) < self._size.in_flight
            if not in_flight or not in_flight[0].calls[-1].wait(0 if room else _SIGNAL_CHECK):
                continue
            window = in_flight.popleft().calls[-1].result()
            if window.last or window.ended:
                ended.add(window.chunk.number)
            if window.ended:
                continue
            done, failure = window, failure or window.failure
            yield window
        if (self.stopped or failure is not None) and done is not None and not done.last:
            yield self._finish(done)
        if failure is not None:
            raise failure

    def _planned(self, chunks: Iterable[ChunkPlan], ended: set[int]) -> Iterator[Window]:
        """Every window of every chunk; a chunk of unknown length goes on until one of its windows came back last."""
        size = self._size.frames
        for chunk in chunks:
            if chunk.stop is None:
                number = 0
                while chunk.number not in ended:
                    yield Window(chunk, number, size, size)
                    number += 1
                continue
            frames = chunk.stop - chunk.start + chunk.overlap
            count = max(1, -(-frames // size))
            for number in range(count):
                yield Window(chunk, number, size, min(size, frames - number * size), last=number == count - 1)

    def _submit(self, window: Window) -> InFlight:
        calls: list[Future[Window]] = []
        value: object = window
        for worker in self._workers:
            call = self._executor.submit(worker, "advance", value)
            calls.append(call)
            value = call
        return InFlight(window, tuple(calls))

    def _drop_waiting(self, in_flight: deque[InFlight]) -> None:
        """Cancels, from the newest on, the windows that the slow stage has not begun."""
        while in_flight and in_flight[-1].calls[self._gate].cancel():
            for call in in_flight.pop().calls[: self._gate]:
                call.cancel()
            self.stopped = True

    def _finish(self, window: Window) -> Window:
        """Ends a chunk that was stopped in its middle: the stages behind the slow one finish what they hold."""
        value: object = Window(window.chunk, window.number + 1, 0, 0, last=True, partial=True)
        for worker in self._workers[self._gate + 1 :]:
            value = self._executor.submit(worker, "advance", value)
        window = value.result()  # type: ignore[attr-defined]
        assert isinstance(window, Window)
        return window
