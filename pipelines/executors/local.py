"""A thread per worker in this process: decoding, motion and writing run beside the network.

Threads suffice because the stages spend their time in FFmpeg, NumPy, torch and Arrow, which let go of the interpreter.
"""

import concurrent.futures
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipelines.executors import Cancelled, Future, Worker


@dataclass(frozen=True, slots=True)
class LocalWorker:
    """An object that lives in a thread of its own."""

    name: str
    thread: ThreadPoolExecutor
    target: "concurrent.futures.Future[object]"


@dataclass(frozen=True, slots=True)
class LocalFuture:
    """The result of a call in another thread."""

    inner: "concurrent.futures.Future[Any]"

    def wait(self, timeout: float) -> bool:
        return bool(concurrent.futures.wait([self.inner], timeout=timeout).done)

    def result(self) -> Any:
        try:
            return self.inner.result()
        except concurrent.futures.CancelledError:
            raise Cancelled from None

    def cancel(self) -> bool:
        return self.inner.cancel()


class LocalExecutor:
    """One thread per worker.

    A call waits in its worker's thread for the futures among its arguments. The calls before it in that thread were
    submitted earlier, and a future is always of an earlier call, so nothing can wait in a circle.
    """

    name = "local"

    def __init__(self) -> None:
        self._threads: list[ThreadPoolExecutor] = []

    def spawn(self, factory: Callable[[], object], *, name: str, cpus: float = 1, gpus: float = 0) -> LocalWorker:
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"videoseg-{name}")
        self._threads.append(thread)
        return LocalWorker(name, thread, thread.submit(factory))

    def submit(self, worker: Worker, method: str, *arguments: object) -> Future[Any]:
        assert isinstance(worker, LocalWorker)

        def call() -> Any:
            # The factory ran first in this very thread; an error in it comes out of every call.
            target = worker.target.result()
            values = (argument.result() if isinstance(argument, LocalFuture) else argument for argument in arguments)
            return getattr(target, method)(*values)

        return LocalFuture(worker.thread.submit(call))

    def close(self) -> None:
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.shutdown(wait=True)
        self._threads.clear()
