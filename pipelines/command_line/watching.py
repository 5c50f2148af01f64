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
    from pipelines.run import Resuming
    from pipelines.settings import Placement, Products


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFor:
    """How a run is to be done, as its command line says."""

    placement: "Placement"
    products: "Products"
    overwrite: bool = False
    resume: "Resuming | None" = None
    as_json: bool = False
    metrics_port: int | None = None


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
def watching(interrupted: Interruption, asked: AskedFor) -> Iterator[Watch]:
    """Shows progress (not where the command prints JSON) and serves metrics for the time of a run."""
    from pipelines.metrics import serving_metrics
    from pipelines.progress import Counters

    counters = Counters()
    with console.progress_bar(enabled=not asked.as_json) as show, serving_metrics(asked.metrics_port, counters):
        yield Watch(interrupted, counters, show)
