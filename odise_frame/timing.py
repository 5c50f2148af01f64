"""Where the time of a frame goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch


@dataclass(slots=True)
class StageTimes:
    """Seconds by stage, summed over everything that was run with it.

    On a GPU a stage ends when its last kernel has: `synchronize` makes the figures true and the run a little slower.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    synchronize: bool = False

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of its body to the stage `name`."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def _now(self) -> float:
        if self.synchronize and torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()
