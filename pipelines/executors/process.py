"""A process with workers in threads, held by a pipe: `ProcessPlace` is this end, `main` is what runs at the other.

The other process is started afresh (not forked: threads and a network would not survive that; not by `multiprocessing`:
that would run a user's script again). It ends when the pipe does, however this process came to its end. Results stay
where they were made until they are asked for, so pictures that go from stage to stage never leave the process.
"""

import concurrent.futures
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from pipelines.executors import Cancelled, Raised, WorkerLost, raised
from pipelines.executors.threads import ThreadFuture, Threads, ThreadWorker

_GRACE = 5.0
"""Seconds for a process to answer something that takes none, or to go once it was killed."""


@dataclass(frozen=True, slots=True)
class _Ref:
    """Stands for the result of an earlier call in the same process."""

    ticket: int


@dataclass(frozen=True, slots=True)
class ProcessWorker:
    """An object in a thread of another process."""

    name: str
    number: int
    place: "ProcessPlace"


class ProcessFuture:
    """The result of a call in another process; it stays there until `result` asks for it."""

    def __init__(self, place: "ProcessPlace", ticket: int) -> None:
        self.place = place
        self.ticket = ticket
        self.inner: concurrent.futures.Future[bool] = concurrent.futures.Future()
        """Over when the call is; holds no result."""
        weakref.finalize(self, place.release, ticket)

    def wait(self, timeout: float) -> bool:
        return bool(concurrent.futures.wait([self.inner], timeout=timeout).done)

    def result(self) -> Any:
        try:
            self.inner.result()
        except concurrent.futures.CancelledError:
            raise Cancelled from None
        return self.place.fetch(self.ticket)

    def cancel(self) -> bool:
        return not self.inner.done() and self.place.cancel(self.ticket)


class ProcessPlace:
    """A process and the workers in it."""

    def __init__(self, name: str) -> None:
        self.name = name
        ours, theirs = socket.socketpair()
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from pipelines.executors.process import main; main()", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": paths},
            process_group=0,  # Ctrl-C at the terminal is for the driver to answer
        )
        theirs.close()
        self._pipe = Connection(ours.detach())
        self._sending = threading.Lock()
        self._tickets = 0
        self._open: dict[int, weakref.ref[ProcessFuture]] = {}
        self._answers: dict[int, concurrent.futures.Future[Any]] = {}
        self._released: deque[int] = deque()
        self._lost: str | None = None
        self._ended = False
        threading.Thread(target=self._listen, name=f"videoseg-{name}-answers", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def spawn(self, factory: Callable[[], object], name: str) -> tuple[ProcessWorker, ProcessFuture]:
        """A worker, and the future of its factory."""
        future = self._future()
        self._send(("spawn", future.ticket, name, factory), future)
        return ProcessWorker(name, future.ticket, self), future

    def submit(self, worker: ProcessWorker, method: str, *arguments: object) -> ProcessFuture:
        future = self._future()
        try:
            values = [
                # Within the process a result stays where it is; one of another process has to come through here.
                argument
                if not isinstance(argument, ProcessFuture)
                else _Ref(argument.ticket)
                if argument.place is self
                else argument.result()
                for argument in arguments
            ]
        except Exception as error:
            future.inner.set_exception(error)
            return future
        self._send(("call", future.ticket, worker.number, method, values), future)
        return future

    def interrupt(self, worker: ProcessWorker) -> None:
        self._send(("interrupt", worker.number))

    def fetch(self, ticket: int) -> Any:
        """What a call returned; raises what it raised."""
        answer = self._ask("fetch", ticket).result()
        if isinstance(answer, Raised):
            raise answer.again()
        return answer

    def cancel(self, ticket: int) -> bool:
        try:
            return bool(self._ask("cancel", ticket).result(timeout=_GRACE))
        except (WorkerLost, TimeoutError):
            return False

    def release(self, ticket: int) -> None:
        """Nobody will ask for this result any more; told with the next message."""
        self._open.pop(ticket, None)
        self._released.append(ticket)

    def end(self) -> None:
        """Kills the process."""
        self._ended = True
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)

    def _future(self) -> ProcessFuture:
        with self._sending:
            self._tickets += 1
            future = ProcessFuture(self, self._tickets)
            self._open[future.ticket] = weakref.ref(future)
        return future

    def _ask(self, what: str, ticket: int) -> "concurrent.futures.Future[Any]":
        with self._sending:
            self._tickets += 1
            number = self._tickets
            answer: concurrent.futures.Future[Any] = concurrent.futures.Future()
            self._answers[number] = answer
        self._send((what, number, ticket))
        if self._lost is not None and self._answers.pop(number, None) is not None:
            answer.set_exception(WorkerLost(self._lost))
        return answer

    def _send(self, message: tuple[object, ...], future: ProcessFuture | None = None) -> None:
        released = []
        with contextlib.suppress(IndexError):
            while True:
                released.append(self._released.popleft())
        data = pickle.dumps((released, message), protocol=5)
        try:
            with self._sending:
                self._pipe.send_bytes(data)
        except OSError:
            pass  # the listener finds out, too, and says so
        if self._lost is not None and future is not None:
            _fail(future, self._lost)

    def _listen(self) -> None:
        try:
            while True:
                kind, number, value = pickle.loads(self._pipe.recv_bytes())
                if kind == "over":
                    reference = self._open.get(number)
                    future = None if reference is None else reference()
                    if future is not None and value == "cancelled":
                        future.inner.cancel()
                        future.inner.set_running_or_notify_cancel()
                    elif future is not None:
                        future.inner.set_result(True)
                else:
                    self._answers.pop(number).set_result(value)
        except (EOFError, OSError):
            pass
        self._mourn()

    def _mourn(self) -> None:
        """The process is gone: all that is open fails."""
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(_GRACE)
        how = "was ended" if self._ended else f"was killed by signal {-code}" if code and code < 0 else "ended"
        self._lost = f"The process of {self.name} {how}."
        for reference in list(self._open.values()):
            future = reference()
            if future is not None:
                _fail(future, self._lost)
        for number in list(self._answers):
            answer = self._answers.pop(number, None)
            if answer is not None:
                answer.set_exception(WorkerLost(self._lost))


def _fail(future: ProcessFuture, words: str) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):
        future.inner.set_exception(WorkerLost(words))


def main() -> None:
    """What runs in the other process: takes messages in order until the pipe ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    pipe = Connection(int(sys.argv[1]))
    sending = threading.Lock()
    threads = Threads()
    workers: dict[int, ThreadWorker] = {}
    results: dict[int, ThreadFuture] = {}

    def send(kind: str, number: int, value: object) -> None:
        try:
            data = pickle.dumps((kind, number, value), protocol=5)
        except Exception as error:
            data = pickle.dumps((kind, number, raised(error)), protocol=5)
        try:
            with sending:
                pipe.send_bytes(data)
        except OSError:
            os._exit(1)

    def watch(ticket: int, future: ThreadFuture) -> None:
        results[ticket] = future
        future.inner.add_done_callback(
            lambda inner: send("over", ticket, "cancelled" if _was_cancelled(inner) else "done")
        )

    while True:
        try:
            data = pipe.recv_bytes()
        except (EOFError, OSError):
            os._exit(1)  # the driver is gone: whatever runs here is nobody's any more
        try:
            released, message = pickle.loads(data)
        except Exception as error:
            # Nobody knows which call that was; ending is the answer that the driver understands.
            print(f"videoseg: a message to a worker process could not be read: {error!r}", file=sys.stderr)
            os._exit(1)
        for ticket in released:
            results.pop(ticket, None)
        match message:
            case ("spawn", ticket, name, factory):
                worker = threads.spawn(factory, name)
                workers[ticket] = worker
                watch(ticket, threads.started(worker))
            case ("call", ticket, number, method, values):
                arguments = [results[value.ticket] if isinstance(value, _Ref) else value for value in values]
                watch(ticket, threads.submit(workers[number], method, *arguments))
            case ("interrupt", number):
                threads.interrupt(workers[number])
            case ("cancel", number, ticket):
                send("answer", number, ticket in results and results[ticket].cancel())
            case ("fetch", number, ticket):
                send("answer", number, _outcome(results[ticket]))


def _was_cancelled(inner: "concurrent.futures.Future[Any]") -> bool:
    return inner.cancelled() or isinstance(inner.exception(), Cancelled)


def _outcome(future: ThreadFuture) -> object:
    try:
        return future.result()
    except Exception as error:
        return raised(error)
