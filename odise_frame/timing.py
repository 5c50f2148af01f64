"""Where the time of a frame goes."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import torch

STAGES = ("autoencoder", "unet", "captioner", "heads", "mask classification", "post-processing")
"""In the order of the work, roughly: `captioner` includes CLIP's view of every window, `heads` feature projections,
mask generator and naming, `mask classification` CLIP's view of every mask."""


class StageMeter(Protocol):
    """What the stages of a frame are measured with."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Its body is one piece of the stage `name`."""


@dataclass(slots=True)
class StageTimes:
    """Seconds by stage, summed over everything that was run with it."""

    seconds: dict[str, float] = field(default_factory=dict)
    synchronize: bool = False
    """Wait for the GPU at both ends of a stage: makes its figures true and the run a little slower."""

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
