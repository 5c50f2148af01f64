"""`serving_metrics`: the numbers of a run for Prometheus, over HTTP, while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipelines.progress import Counters
from videoseg.errors import InputError

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric


class CountersCollector:
    """What Prometheus asks for, made of the run's counters at that moment (Prometheus text format 0.0.4)."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        now = self._counters.snapshot()
        for name, words, count in (
            ("frames_done", "Frames computed by this process.", now.frames_here),
            ("chunks_done", "Chunks finished, those of an earlier part of the run included.", now.chunks_done),
            ("worker_restarts", "Times that workers were replaced.", now.restarts),
            ("chunks_set_aside", "Chunks that were given up.", now.set_aside),
        ):
            yield CounterMetricFamily(f"videoseg_{name}", words, value=count)
        for name, words, value in (
            ("frames_selected", "Frames to compute in all; NaN where it cannot be known.", now.total),
            ("chunks", "Chunks to compute in all, of the files opened so far.", now.chunks),
            ("workers", "Chunks that are computed beside each other.", now.workers),
            ("frames_per_second", "Mean since the first frame was asked for.", now.frames_per_second),
            ("remaining_seconds", "Time to go at this pace; NaN where nobody can know.", now.remaining),
        ):
            yield GaugeMetricFamily(f"videoseg_{name}", words, value=float("nan") if value is None else value)
        busy = CounterMetricFamily(
            "videoseg_stage_busy_seconds", "Time that a stage was busy, over all workers.", labels=["stage"]
        )
        for stage, seconds in now.busy.items():
            busy.add_metric([stage], seconds)
        yield busy
        queued = GaugeMetricFamily("videoseg_windows_under_way", "Windows of frames under way.", labels=["worker"])
        for worker, depth in now.queued.items():
            queued.add_metric([worker], depth)
        yield queued


@contextmanager
def serving_metrics(port: int | None, counters: Counters) -> Iterator[None]:
    """Serves the counters at `http://<this machine>:port/metrics` for the time of a run; nothing where `port` is None.

    Raises:
        InputError: prometheus_client is not installed, or the port is taken.
    """
    if port is None:
        yield
        return
    if not 1 <= port <= 65535:
        raise InputError(f"--metrics-port takes a port from 1 to 65535, got {port}.")
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError:
        raise InputError(
            '--metrics-port needs the package prometheus-client. Install it with `pip install "videoseg[metrics]"`.'
        ) from None
    registry = CollectorRegistry()
    registry.register(CountersCollector(counters))
    try:
        server, thread = start_http_server(port, registry=registry)
    except OSError as error:
        raise InputError(f"--metrics-port {port} cannot be served: {error.strerror}. Name another port.") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
