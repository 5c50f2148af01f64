"""A thread per worker in this process.

Threads suffice beside one network because the stages spend their time in FFmpeg, NumPy, torch and Arrow, which let go
of the interpreter.
"""

import concurrent.futures
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from pipelines.executors import Cancelled


@dataclass(frozen=True, slots=True)
class ThreadWorker:
    """An object that lives in a thread of its own."""

    name: str
    thread: ThreadPoolExecutor
    target: "concurrent.futures.Future[object]"


@dataclass(frozen=True, slots=True)
class ThreadFuture:
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


class Threads:
    """Workers in threads.

    A call waits in its worker's thread for the futures among its arguments. The calls before it in that thread were
    submitted earlier, and a future is always of an earlier call, so nothing can wait in a circle.
    """

    def __init__(self) -> None:
        self._threads: list[ThreadPoolExecutor] = []

    def spawn(self, factory: Callable[[], object], name: str) -> ThreadWorker:
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"videoseg-{name}")
        self._threads.append(thread)
        return ThreadWorker(name, thread, thread.submit(factory))

    def started(self, worker: ThreadWorker) -> ThreadFuture:
        """Over once the factory has run; raises what it raised."""
        return ThreadFuture(worker.thread.submit(lambda: worker.target.result() and None))

    def submit(self, worker: ThreadWorker, method: str, *arguments: object) -> ThreadFuture:
        def call() -> Any:
            # The factory ran first in this very thread; an error in it comes out of every call.
            target = worker.target.result()
            values = [argument.result() if isinstance(argument, ThreadFuture) else argument for argument in arguments]
            return getattr(target, method)(*values)

        try:
            return ThreadFuture(worker.thread.submit(call))
        except RuntimeError:  # the thread was ended
            never: concurrent.futures.Future[Any] = concurrent.futures.Future()
            never.cancel()
            never.set_running_or_notify_cancel()
            return ThreadFuture(never)

    def interrupt(self, worker: ThreadWorker) -> None:
        if worker.target.done() and worker.target.exception() is None:
            with contextlib.suppress(AttributeError):
                worker.target.result().interrupt()  # type: ignore[attr-defined]

    def end(self, worker: ThreadWorker) -> None:
        worker.thread.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        for thread in self._threads:
            thread.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.shutdown(wait=True)
        self._threads.clear()
