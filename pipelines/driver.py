"""The driver loop, written once for every executor: windows of frames through chains of stages.

Knows nothing of what the stages do. There are as many lanes as chunks are computed beside each other: chains of stages,
through which one chunk goes after the other. A window is handed to every stage at once; each call waits for the one
before it where it runs, so pictures never pass through here. Order within a chunk holds because a worker runs its calls
in the order of submission. What is bounded is the number of bytes of pictures under way.

A chunk is a pure function of the source and the settings. When a worker dies, or a stage fails, its lane is built anew
and the chunk begun anew; what fails three times is set aside, and the others go on. Lanes may share a worker (its
process, and in it a model): they live and die together.
"""

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from threading import Event
from time import monotonic

from pipelines.executors import Cancelled, Executor, Future, Needs, Worker, WorkerLost
from pipelines.settings import Placement
from pipelines.stages import Stage, StageChain, Window
from videoseg.errors import InputError, VideosegError, is_disk_full
from videoseg.protocols import Source
from videoseg.store.manifest import ChunkPlan

_SIGNAL_CHECK = 0.1
"""Seconds between looks at `stop` while a window is awaited: a person who presses Ctrl-C sees an answer at once."""

ATTEMPTS = 3
"""A worker may die once by chance and once because its neighbour took the memory; who fails thrice fails always."""

STOP_SECONDS = 20.0
"""Seconds for the frames under way to be finished after a stop; then they are given up, and with them their chunk."""


@dataclass(frozen=True, slots=True)
class StageSpec:
    """A stage and what it needs where it runs."""

    name: str
    factory: Callable[[], Stage]
    cpus: float = 1
    gpus: float = 0
    stop_before: bool = False
    """When the run is stopped, windows that wait before this stage are dropped: it is the one that takes long."""
    shared: bool = False
    """Lanes that share a worker share this stage's process, and what it needs is needed once."""
    actor: str = ""
    """Stages of the same actor stay in one worker where a hand-over costs a copy; empty is a worker of its own."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One piece of work: a chunk of a source."""

    chunk: ChunkPlan
    open_source: Callable[[], Source] | None = None
    """None is the source that the stages were made with."""
    output: str | None = None
    """Run folder; None is the one that the stages were made with."""
    size: "WindowSize | None" = None
    """For pictures of this source; None is the driver's own."""

    @property
    def key(self) -> tuple[str | None, int]:
        return self.output, self.chunk.number


@dataclass(frozen=True, slots=True)
class SetAside:
    """A unit that was given up."""

    unit: Unit
    error: Exception
    attempts: int

    def __str__(self) -> str:
        chunk = self.unit.chunk
        frames = f"frames {chunk.start} to {'the end' if chunk.stop is None else chunk.stop - 1}"
        tried = f", tried {self.attempts} times" if self.attempts > 1 else ""
        what = str(self.error) or type(self.error).__name__
        if not isinstance(self.error, VideosegError):
            what = f"{type(self.error).__name__}: {what}"
        return f"chunk {chunk.number} ({frames}{tried}): {what}"


@dataclass(slots=True, eq=False)
class Attempt:
    """A unit on its way through a lane."""

    unit: Unit
    number: int = 1
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Stages know by it whether what they remember belongs to this attempt."""
    alone: bool = False
    """It was in a lane that died, with others: to know who is to blame, it has the lane for itself this time."""
    over: bool = False
    """It came to its end or was given up: whatever else comes of it is passed over."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A window under way."""

    attempt: Attempt
    window: Window
    calls: tuple[Future[Window], ...]
    """One per stage; the last gives the window back."""


@dataclass(frozen=True, slots=True)
class WindowSize:
    """How many frames travel together, and how many windows may be under way in a lane."""

    frames: int
    in_flight: int

    @classmethod
    def of(cls, frame_bytes: int, placement: Placement, lanes: int = 1) -> "WindowSize":
        """For pictures of so many bytes and so many lanes on one machine.

        At least one frame, and at least two windows where the bound allows: one being decoded, one with the network.
        """
        bound = placement.bytes_in_flight // max(1, lanes)
        frames = min(placement.window_frames, placement.window_bytes // max(1, frame_bytes))
        if lanes > 1:
            frames = min(frames, bound // (2 * max(1, frame_bytes)))
        frames = max(1, frames)
        return cls(frames=frames, in_flight=max(2, bound // max(1, frame_bytes * frames)))


class Lane:
    """The workers that a chunk passes, and what is under way through them."""

    def __init__(self, number: int, worker: int) -> None:
        self.number = number
        self.worker = worker
        """Lanes with the same one live and die together."""
        self.generation = 0
        self.workers: list[Worker] = []
        self.starting: list[Future[None]] = []
        self.since = 0.0
        self.in_flight: deque[InFlight] = deque()
        self.attempts: deque[Attempt] = deque()
        """Begun and not yet ended, in order; only the last is still being submitted."""
        self.planned: Iterator[Window] | None = None
        self.done: Window | None = None
        """The last window that came back of the first attempt."""

    @property
    def idle(self) -> bool:
        return not self.in_flight and not self.attempts


class Driver:
    """Sends the windows of chunks through lanes of stages and gives the finished ones out, in order within a chunk."""

    def __init__(
        self,
        executor: Executor,
        stages: Sequence[StageSpec] | Callable[[int], Sequence[StageSpec]],
        size: WindowSize,
        stop: Event,
        *,
        lanes: int = 1,
        lanes_per_worker: int = 1,
        attempts: int = ATTEMPTS,
        start_seconds: float = 180.0,
        hopeless_after: int | None = None,
    ) -> None:
        """
        Args:
            stages: of every lane, or of the lane with that number where they differ (by their device).
            stop: once set, no frame begins that has not begun; what has begun is finished and given out.
            lanes: how many chunks are computed beside each other.
            lanes_per_worker: so many lanes, one after the other, live and die together.
            attempts: after so many failures a unit is set aside.
            start_seconds: after which a lane whose workers did not come is given up.
            hopeless_after: so many units set aside and none done end it all; None is as many as `attempts`.

        Raises:
            InputError: there is no room for so many workers.
        """
        self._executor = executor
        make = stages if callable(stages) else (lambda lane: stages)
        self._specs = [_workers_of(make(lane), executor.copies_arguments) for lane in range(lanes)]
        self._size = size
        self._stop = stop
        self._attempts = attempts
        self._start_seconds = start_seconds
        self._hopeless_after = attempts if hopeless_after is None else hopeless_after
        first = self._specs[0]
        self._gate = next((i for i, spec in enumerate(first) if spec.stop_before), 0)
        self._homes = {stage.name: _home_of(stage.name, first) for stage in make(0)}
        self._lanes = [Lane(number, number // lanes_per_worker) for number in range(lanes)]
        executor.require(
            [
                _needs(spec, lane)
                for lane, specs in zip(self._lanes, self._specs, strict=True)
                for spec in specs
                if not spec.shared or lane.number % lanes_per_worker == 0
            ]
        )
        self.stopped = False
        """Whether frames were left out because of `stop`."""
        self.set_aside: list[SetAside] = []
        """What was given up."""
        self.notes: list[str] = []
        """Sentences about what went wrong and was mended."""
        self.restarts = 0
        """Lanes that were built anew."""
        self._again: deque[Attempt] = deque()
        self._successes = 0
        self._failed_starts = 0
        for lane in self._lanes:
            self._start(lane)

    def describe(self, stage: str) -> dict[str, str]:
        """What the part inside the stage says of itself."""
        worker = self._lanes[0].workers[self._homes[stage]]
        answer: Future[dict[str, str]] = self._executor.submit(worker, "describe", stage)
        # Until it is there: a large model may take its time, a worker that finds no room says nothing at all.
        if not answer.wait(self._start_seconds):
            raise VideosegError(f"The worker {worker.name} did not start within {self._start_seconds:g} s.")
        return answer.result()

    def queue_depths(self) -> dict[str, int]:
        """Windows under way, by lane."""
        return {f"{lane.number}": len(lane.in_flight) for lane in self._lanes}

    def move(self, lane: int, stage: str) -> None:
        """Gives a stage of a lane a new worker, which goes on where the old one was, in the middle of a chunk.

        Between machines or processes the stage's stream moves as bytes; nothing of the result changes.
        """
        self._move(self._lanes[lane], self._homes[stage])

    def windows(self, units: Iterable[Unit]) -> Iterator[Window]:
        """Yields every window after its last stage: in the order of frames within a chunk, and where there is one
        lane in the order of chunks. A chunk that is begun anew comes again from its window 0 on.

        When stopped, or when the source fails in its middle, a chunk ends with a window that is `partial`.

        Raises:
            VideosegError: nothing can go on: the disk is full, no worker starts, nothing has ever succeeded.
        """
        pending = iter(units)
        asked_to_stop: float | None = None
        more = True
        while True:
            if self._stop.is_set() and asked_to_stop is None:
                asked_to_stop = monotonic()
                more = self._leave_out(pending)
            self._look_after_starts()
            room = False
            if asked_to_stop is None:
                more, room = self._fill(pending)
            busy = [lane for lane in self._lanes if lane.in_flight]
            if not busy:
                if asked_to_stop is None and (more or self._again) and any(lane.workers for lane in self._lanes):
                    self._await_start()
                    continue
                break
            self._executor.wait_any([lane.in_flight[0].calls[-1] for lane in busy], 0 if room else _SIGNAL_CHECK)
            for lane in busy:
                if lane.in_flight and lane.in_flight[0].calls[-1].wait(0):
                    yield from self._take(lane)
            if asked_to_stop is not None and monotonic() - asked_to_stop > STOP_SECONDS:
                self.notes.append(f"What was under way took longer than {STOP_SECONDS:g} s to finish and was given up.")
                break
        if self.stopped:
            yield from self._finish_all()

    def _fill(self, pending: Iterator[Unit]) -> tuple[bool, bool]:
        """Submits a window to each lane that has room.

        Returns:
            Whether there are units left, and whether there is room for more windows.
        """
        more, room = True, False
        for lane in self._lanes:
            if not lane.workers or lane.starting or len(lane.in_flight) >= self._room(lane):
                continue
            window = self._next(lane, pending)
            if window is None:
                more = False
                continue
            self._submit(lane, window)
            room = room or len(lane.in_flight) < self._room(lane)
        return more, room

    def _room(self, lane: Lane) -> int:
        """How many windows may be under way in the lane, for pictures of the size that it works on."""
        size = lane.attempts[-1].unit.size if lane.attempts else None
        return (size or self._size).in_flight

    def _next(self, lane: Lane, pending: Iterator[Unit]) -> Window | None:
        """The next window of the lane's chunk, or the first of the next chunk."""
        while True:
            if lane.planned is not None:
                window = next(lane.planned, None)
                if window is not None:
                    return window
                lane.planned = None
            if self._must_wait(lane):
                return None
            attempt = self._again.popleft() if self._again else None
            if attempt is None:
                unit = next(pending, None)
                if unit is None:
                    return None
                attempt = Attempt(unit)
            lane.attempts.append(attempt)
            lane.planned = self._planned(attempt)

    def _must_wait(self, lane: Lane) -> bool:
        """Whether no further unit may begin because one has the worker for itself, or will have it next."""
        there = [attempt for other in self._together(lane) for attempt in other.attempts]
        return any(attempt.alone for attempt in there) or bool(there and self._again and self._again[0].alone)

    def _together(self, lane: Lane) -> list[Lane]:
        """The lanes that share its worker, itself included."""
        return [other for other in self._lanes if other.worker == lane.worker]

    def _planned(self, attempt: Attempt) -> Iterator[Window]:
        """Every window of the chunk; one of unknown length goes on until one of its windows came back last."""
        unit = attempt.unit
        chunk, size = unit.chunk, (unit.size or self._size).frames
        frames = None if chunk.stop is None else chunk.stop - chunk.start + chunk.overlap
        count = None if frames is None else max(1, -(-frames // size))
        number = 0
        while not attempt.over and (count is None or number < count):
            yield Window(
                chunk,
                number,
                size,
                size if frames is None else min(size, frames - number * size),
                token=attempt.token,
                open_source=unit.open_source,
                output=unit.output,
                last=count is not None and number == count - 1,
            )
            number += 1

    def _submit(self, lane: Lane, window: Window) -> None:
        calls: list[Future[Window]] = []
        value: object = window
        for worker in lane.workers:
            call = self._executor.submit(worker, "advance", value)
            calls.append(call)
            value = call
        lane.in_flight.append(InFlight(lane.attempts[-1], window, tuple(calls)))

    def _take(self, lane: Lane) -> Iterator[Window]:
        """The first window of a lane is over, in whatever way."""
        flight = lane.in_flight.popleft()
        try:
            window = flight.calls[-1].result()
        except Cancelled:
            return
        except Exception as error:
            self._fail(lane, flight, error)
            return
        if flight.attempt.over:
            return  # behind the end of its chunk
        if window.ended:
            self._settle(lane, flight.attempt)
            return
        lane.done = window
        if window.last:
            self._settle(lane, flight.attempt)
            self._successes += 1
            self._failed_starts = 0
            if window.failure is not None:
                self.set_aside.append(SetAside(flight.attempt.unit, window.failure, flight.attempt.number))
            if window.partial and window.failure is None:
                self.stopped = True
        yield window

    def _settle(self, lane: Lane, attempt: Attempt) -> None:
        attempt.over = True
        lane.attempts.remove(attempt)
        lane.done = None

    def _fail(self, lane: Lane, flight: InFlight, error: Exception) -> None:
        """A window failed: its unit is tried again or set aside, the worker's other units begin anew."""
        attempt = flight.attempt
        if is_disk_full(error.__cause__):
            raise error
        others = [other for each in self._together(lane) for other in each.attempts if other is not attempt]
        if isinstance(error, WorkerLost) and others and not self._stop.is_set():
            self._again.append(Attempt(attempt.unit, attempt.number, alone=True))
            self.notes.append(f"Chunk {attempt.unit.chunk.number} was begun anew: {error}")
        elif isinstance(error, InputError) or attempt.number >= self._attempts:
            self.set_aside.append(SetAside(attempt.unit, error, attempt.number))
            if self._successes == 0 and len(self.set_aside) >= self._hopeless_after:
                raise error  # nothing has ever come out: this is not about one chunk
        elif self._stop.is_set():
            self.stopped = True
        else:
            self._again.append(Attempt(attempt.unit, attempt.number + 1))
            self.notes.append(f"Chunk {attempt.unit.chunk.number} was begun anew: {error}")
        lost = isinstance(error, WorkerLost)
        self._again.extend(Attempt(other.unit, other.number, alone=lost or other.alone) for other in others)
        self._restart(lane)

    def _restart(self, lane: Lane) -> None:
        """New workers for a lane, and for those that live and die with it: whatever the old ones remember is worth
        nothing now."""
        together = self._together(lane)
        for each in together:
            self._abandon(each)
        self.restarts += 1
        if not self._stop.is_set():
            for each in together:
                self._start(each)

    def _abandon(self, lane: Lane) -> None:
        for worker in lane.workers:
            self._executor.end(worker)
        for attempt in lane.attempts:
            attempt.over = True
        lane.workers, lane.starting, lane.planned, lane.done = [], [], None, None
        lane.in_flight.clear()
        lane.attempts.clear()

    def _start(self, lane: Lane) -> None:
        lane.generation += 1
        lane.workers = [
            self._executor.spawn(spec.factory, name=_name(spec.name, lane, len(self._lanes)), needs=_needs(spec, lane))
            for spec in self._specs[lane.number]
        ]
        lane.starting = [self._executor.started(worker) for worker in lane.workers]
        lane.since = monotonic()

    def _look_after_starts(self) -> None:
        """Lanes whose workers are there may begin; one whose workers do not come is given up if others go on.

        Raises:
            VideosegError: no worker can be started.
        """
        for lane in self._lanes:
            try:
                while lane.starting and lane.starting[0].wait(0):
                    lane.starting.pop(0).result()
            except InputError:
                raise
            except Exception as error:
                self._failed_starts += 1
                if self._failed_starts >= self._attempts * len(self._lanes):
                    raise VideosegError(f"No worker can be started: {error}") from error
                self._restart(lane)
            if lane.starting and monotonic() - lane.since > self._start_seconds:
                for each in self._together(lane):
                    self._abandon(each)
                self.notes.append(
                    f"Worker {lane.worker} did not start within {self._start_seconds:g} s; the run went on without it."
                )
                if not any(other.workers for other in self._lanes):
                    raise VideosegError(
                        f"No worker started within {self._start_seconds:g} s: the machines that are left are too busy, "
                        "full or gone. What was done is kept; go on with --resume."
                    )

    def _await_start(self) -> None:
        starting = [lane.starting[0] for lane in self._lanes if lane.starting]
        if starting:
            self._executor.wait_any(starting, _SIGNAL_CHECK)

    def _move(self, lane: Lane, place: int) -> None:
        spec, old = self._specs[lane.number][place], lane.workers[place]
        lane.generation += 1
        new = self._executor.spawn(
            spec.factory,
            name=_name(spec.name, lane, len(self._lanes)),
            needs=Needs(cpus=spec.cpus, gpus=spec.gpus, place=f"worker-{lane.number}-{lane.generation}"),
        )
        # What the old worker was given before is done first, and what the new one is given from now on comes after.
        self._executor.submit(new, "restore", self._executor.submit(old, "save"))
        lane.workers[place] = new

    def _leave_out(self, pending: Iterator[Unit]) -> bool:
        """Stops: drops what the slow stage has not begun, and asks it to end after the frame under way."""
        left = bool(self._again) or next(pending, None) is not None
        for lane in self._lanes:
            left = left or (lane.planned is not None and next(lane.planned, None) is not None)
            lane.planned = None
            # From the newest on, the windows that the slow stage has not begun.
            while lane.in_flight and lane.in_flight[-1].calls[self._gate].cancel():
                for call in lane.in_flight.pop().calls[: self._gate]:
                    call.cancel()
                left = True
            if lane.in_flight:
                self._executor.interrupt(lane.workers[self._gate])
        self.stopped = self.stopped or left
        return False

    def _finish_all(self) -> Iterator[Window]:
        """Ends the chunks that were stopped in their middle: the stages behind the slow one finish what they hold."""
        for lane in self._lanes:
            done = lane.done
            if done is None or done.last or lane.in_flight:
                continue
            value: object = Window(
                done.chunk,
                done.number + 1,
                0,
                0,
                token=done.token,
                open_source=done.open_source,
                output=done.output,
                last=True,
                partial=True,
            )
            for worker in lane.workers[self._gate + 1 :]:
                value = self._executor.submit(worker, "advance", value)
            try:
                window = value.result()  # type: ignore[attr-defined]
            except Exception as error:
                # The chunk is not written, and computed when the run is gone on with.
                self.notes.append(f"Chunk {done.chunk.number} could not be ended: {error}")
                continue
            assert isinstance(window, Window)
            yield window


def _workers_of(stages: Sequence[StageSpec], together: bool) -> list[StageSpec]:
    """The stages of a lane, those of the same actor joined where that saves a copy."""
    if not together:
        return list(stages)
    joined: list[StageSpec] = []
    members: dict[str, list[tuple[str, Callable[[], Stage]]]] = {}
    for stage in stages:
        members.setdefault(stage.actor or stage.name, []).append((stage.name, stage.factory))
    for actor, factories in members.items():
        those = [stage for stage in stages if (stage.actor or stage.name) == actor]
        joined.append(
            StageSpec(
                actor,
                MakeChain(tuple(factories)),
                cpus=max(stage.cpus for stage in those),
                gpus=sum(stage.gpus for stage in those),
                stop_before=any(stage.stop_before for stage in those),
                shared=any(stage.shared for stage in those),
                actor=actor,
            )
        )
    return joined


@dataclass(frozen=True, slots=True)
class MakeChain:
    """Makes a chain of stages; an object, because it travels to where the chain will live."""

    factories: tuple[tuple[str, Callable[[], Stage]], ...]

    def __call__(self) -> StageChain:
        return StageChain(self.factories)


def _home_of(stage: str, workers: Sequence[StageSpec]) -> int:
    """Which worker of a lane a stage lives in."""
    for number, spec in enumerate(workers):
        inside = spec.factory.factories if isinstance(spec.factory, MakeChain) else ((spec.name, spec.factory),)
        if any(name == stage for name, _ in inside):
            return number
    raise ValueError(f"no stage {stage!r}")


def _needs(spec: StageSpec, lane: Lane) -> Needs:
    return Needs(cpus=spec.cpus, gpus=spec.gpus, place=f"worker-{lane.worker}", shared=spec.shared)


def _name(stage: str, lane: Lane, lanes: int) -> str:
    return stage if lanes == 1 else f"{stage}-{lane.number}"
