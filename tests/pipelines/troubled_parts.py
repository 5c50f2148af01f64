"""Parts of jobs that die, fail or dawdle when a test wants it; they can travel to other processes."""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Trouble:
    """What happens at a frame."""

    at: int = -1
    """`Frame.index`."""
    kind: str = "kill"
    """`kill` (this process, as kill -9 does) or `raise`."""
    times: int = 1
    """So often over all processes; then never again."""
    marks: str = ""
    """Folder in which is noted how often it happened."""
    seconds: tuple[float, ...] = ()
    """Time that frame number n takes: the one at n modulo their count."""

    def meet(self, index: int) -> None:
        if self.seconds:
            time.sleep(self.seconds[index % len(self.seconds)])
        if index != self.at:
            return
        for number in range(self.times):
            try:
                os.close(os.open(Path(self.marks) / f"{number}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise LookupError(f"frame {index} is not to be had")


@dataclass(frozen=True)
class Troubled:
    """Makes the part that `make` makes, and meets trouble in the method of that name."""

    make: Callable[[], Any]
    trouble: Trouble
    method: str
    """`frames`, `segment` or `step`."""

    def __call__(self) -> Any:
        return _Wrapped(self.make(), self.trouble, self.method)


class _Wrapped:
    def __init__(self, inner: Any, trouble: Trouble, method: str) -> None:
        self._inner, self._trouble, self._method = inner, trouble, method

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name != self._method:
            return found
        if name == "frames":
            return lambda *arguments: self._frames(found(*arguments))

        def call(first: Any, *others: Any) -> Any:
            for frame in first if isinstance(first, list) else [first]:
                self._trouble.meet(frame.index)
            return found(first, *others)

        return call

    def _frames(self, frames: Iterator[Any]) -> Iterator[Any]:
        for frame in frames:
            self._trouble.meet(frame.index)
            yield frame


@dataclass(frozen=True)
class ByChance:
    """Makes segmenters that dawdle now and then, each in its own way, so that chunks come home in no order."""

    make: Callable[[], Any]
    seed: int

    def __call__(self) -> Any:
        rng = random.Random()  # every process by a seed of its own: what comes out must not depend on it
        pauses = tuple(rng.choice((0.0, 0.0, 0.0, 0.01)) for _ in range(97 + self.seed))
        return Troubled(self.make, Trouble(seconds=pauses), "segment")()


@dataclass(frozen=True)
class CrashAt:
    """Makes the part that `make` makes; the process where that is dies at a point of `pipelines.crash_points`."""

    make: Callable[[], Any]
    point: str

    def __call__(self) -> Any:
        os.environ["VIDEOSEG_CRASH_AT"] = self.point
        return self.make()


def kill_me() -> Any:
    """A source that ends the process that opens it."""
    os.kill(os.getpid(), signal.SIGKILL)
