"""What a person sees of work under way, and how they end it: progress bar, metrics, signals."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.command_line import console
from pipelines.command_line.interruption import Interruption

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.progress import Counters, Progress


@dataclass(frozen=True, slots=True, eq=False)
class Watch:
    """What goes into a run to be told of it."""

    interrupted: Interruption
    counters: "Counters"
    _show: "Callable[[Progress], None]"

    def on_progress(self, progress: "Progress") -> None:
        """From the first word of progress on, a signal stops the run in order."""
        self.interrupted.armed = True
        self._show(progress)


@contextmanager
def watching(interrupted: Interruption, *, as_json: bool, metrics_port: int | None) -> Iterator[Watch]:
    """Shows progress (not where the command prints JSON) and serves metrics for the time of a run."""
    from pipelines.metrics import serving_metrics
    from pipelines.progress import Counters

    counters = Counters()
    with console.progress_bar(enabled=not as_json) as show, serving_metrics(metrics_port, counters):
        yield Watch(interrupted, counters, show)
