"""This machine without a cluster: a thread per worker, in this process or in one process per place.

Threads in this process start at once and share everything; a place in a process of its own can be killed (by a decoder
that crashes, by the system when memory is short) and be replaced.
"""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any

from pipelines.executors import Future, Needs, Worker
from pipelines.executors.process import ProcessFuture, ProcessPlace, ProcessWorker
from pipelines.executors.threads import ThreadFuture, Threads, ThreadWorker


class LocalExecutor:
    """Workers in threads of this process or, with `processes`, of one process per place."""

    name = "local"
    copies_arguments = False

    def __init__(self, *, processes: bool = False) -> None:
        self._processes = processes
        self._threads = Threads()
        self._places: dict[str, ProcessPlace] = {}
        self._spawned: dict[ProcessWorker, ProcessFuture] = {}

    def machines(self) -> int:
        return 1

    def require(self, needs: Sequence[Needs]) -> None:
        pass  # cores are shared, and devices were looked at when the job was made

    def spawn(self, factory: Callable[[], object], *, name: str, needs: Needs = Needs()) -> Worker:  # noqa: B008
        if not self._processes:
            return self._threads.spawn(factory, name)
        key = needs.place or f"{name}-{len(self._spawned)}"
        if key not in self._places:
            self._places[key] = ProcessPlace(key)
        worker, future = self._places[key].spawn(factory, name)
        self._spawned[worker] = future
        return worker

    def started(self, worker: Worker) -> Future[None]:
        if isinstance(worker, ThreadWorker):
            return self._threads.started(worker)
        assert isinstance(worker, ProcessWorker)
        return self._spawned[worker]

    def submit(self, worker: Worker, method: str, *arguments: object) -> Future[Any]:
        if isinstance(worker, ThreadWorker):
            return self._threads.submit(worker, method, *arguments)
        assert isinstance(worker, ProcessWorker)
        return worker.place.submit(worker, method, *arguments)

    def interrupt(self, worker: Worker) -> None:
        if isinstance(worker, ThreadWorker):
            self._threads.interrupt(worker)
        elif isinstance(worker, ProcessWorker):
            worker.place.interrupt(worker)

    def wait_any(self, futures: Sequence[Future[Any]], timeout: float) -> None:
        inner: list[concurrent.futures.Future[Any]] = [
            future.inner for future in futures if isinstance(future, ThreadFuture | ProcessFuture)
        ]
        concurrent.futures.wait(inner, timeout=timeout, return_when=concurrent.futures.FIRST_COMPLETED)

    def end(self, worker: Worker) -> None:
        if isinstance(worker, ThreadWorker):
            self._threads.end(worker)
            return
        assert isinstance(worker, ProcessWorker)
        worker.place.end()
        self._places = {key: place for key, place in self._places.items() if place is not worker.place}
        self._spawned = {known: future for known, future in self._spawned.items() if known.place is not worker.place}

    def pids(self) -> list[int]:
        """Of the processes there are."""
        return [place.pid for place in self._places.values()]

    def close(self) -> None:
        for place in self._places.values():
            place.end()
        self._places, self._spawned = {}, {}
        self._threads.close()
