"""`Progress`: what a running job tells the one who waits; `Counters`: the numbers behind it, for who reads along."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import monotonic


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The numbers of a run at one moment."""

    seconds: float
    """Since the first frame was asked for."""
    frames: int
    """Frames that count and are done, those of an earlier part of a resumed run included."""
    frames_here: int
    """Frames computed by this process, warm-up frames and those of failed attempts left out."""
    total: int | None
    chunks_done: int
    chunks: int
    busy: Mapping[str, float]
    """Stage -> seconds that it was busy, over all workers."""
    queued: Mapping[str, int]
    """Worker -> windows under way."""
    workers: int
    restarts: int
    """Times that workers were replaced."""
    set_aside: int
    """Chunks that were given up."""

    @property
    def frames_per_second(self) -> float:
        return self.frames_here / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds to go at this pace; None where nobody can know."""
        if self.total is None or not self.frames_here:
            return None
        return (self.total - self.frames) / self.frames_per_second

    @property
    def utilisation(self) -> dict[str, float]:
        """Stage -> share of the time that it was busy, averaged over the workers."""
        span = self.seconds * max(1, self.workers)
        return {stage: seconds / span if span else 0.0 for stage, seconds in self.busy.items()}


@dataclass(slots=True)
class Counters:
    """What a run counts while it goes; written by the driver, read from any thread by `snapshot`."""

    total: int | None = None
    chunks: int = 0
    workers: int = 1
    frames_before: int = 0
    """Of chunks that an earlier part of the run had finished."""
    chunks_before: int = 0
    by_chunk: dict[object, int] = field(default_factory=dict)
    """Frames done of each chunk under way; a chunk that is begun anew begins at 0."""
    finished: int = 0
    chunks_done: int = 0
    busy: dict[str, float] = field(default_factory=dict)
    queued: dict[str, int] = field(default_factory=dict)
    restarts: int = 0
    set_aside: int = 0
    began: float = field(default_factory=monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, chunk: object, *, first: bool, last: bool, frames: int, seconds: Mapping[str, float]) -> None:
        """Takes note of a window that came back."""
        with self.lock:
            if first:
                self.by_chunk[chunk] = 0
            self.by_chunk[chunk] = self.by_chunk.get(chunk, 0) + frames
            for stage, value in seconds.items():
                self.busy[stage] = self.busy.get(stage, 0.0) + value
            if last:
                self.finished += self.by_chunk.pop(chunk)
                self.chunks_done += 1

    @property
    def frames(self) -> int:
        """Frames that count and are done, those of an earlier part of the run included."""
        return self.frames_before + self.finished + sum(self.by_chunk.values())

    def snapshot(self) -> Snapshot:
        """The numbers now."""
        with self.lock:
            return Snapshot(
                seconds=monotonic() - self.began,
                frames=self.frames,
                frames_here=self.frames - self.frames_before,
                total=self.total,
                chunks_done=self.chunks_before + self.chunks_done,
                chunks=self.chunks,
                busy=dict(self.busy),
                queued=dict(self.queued),
                workers=self.workers,
                restarts=self.restarts,
                set_aside=self.set_aside,
            )


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job is."""

    phase: str
    """`segment`, `overlay`, `export`."""
    done: int
    """Frames."""
    total: int | None
    """None where it cannot be known."""
    snapshot: Snapshot | None = None
    """The numbers behind it, while frames are segmented."""


def silent(progress: Progress) -> None:
    """Tells nobody."""
