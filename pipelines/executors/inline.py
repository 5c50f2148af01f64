"""Everything in the calling thread, at once: the simplest place to debug, with plain tracebacks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipelines.executors import Future, Worker

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class InlineWorker:
    """An object in this thread."""

    name: str
    target: object


@dataclass(frozen=True, slots=True)
class Finished(Generic[Result]):
    """The result of a call that is over."""

    value: Result

    def wait(self, timeout: float) -> bool:
        return True

    def result(self) -> Result:
        return self.value

    def cancel(self) -> bool:
        return False


class InlineExecutor:
    """Runs each call inside `submit`; what it raises comes straight out of `submit`."""

    name = "inline"

    def spawn(self, factory: Callable[[], object], *, name: str, cpus: float = 1, gpus: float = 0) -> InlineWorker:
        return InlineWorker(name, factory())

    def submit(self, worker: Worker, method: str, *arguments: object) -> Future[Any]:
        assert isinstance(worker, InlineWorker)
        values = (argument.result() if isinstance(argument, Finished) else argument for argument in arguments)
        return Finished(getattr(worker.target, method)(*values))

    def close(self) -> None:
        pass
