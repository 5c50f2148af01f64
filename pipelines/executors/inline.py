"""Everything in the calling thread, at once: the simplest place to debug, with plain tracebacks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipelines.executors import Future, Needs, Worker

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class InlineWorker:
    """An object in this thread."""

    name: str
    target: object


@dataclass(frozen=True, slots=True)
class Finished(Generic[Result]):
    """The result of a call that is over: what it returned, or what it raised."""

    value: Result | None
    error: Exception | None = None

    def wait(self, timeout: float) -> bool:
        return True

    def result(self) -> Result:
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]

    def cancel(self) -> bool:
        return False


class InlineExecutor:
    """Runs each call inside `submit`; what it raises comes out of `result`, with its traceback."""

    name = "inline"
    copies_arguments = False

    def machines(self) -> int:
        return 1

    def require(self, needs: Sequence[Needs]) -> None:
        pass

    def spawn(self, factory: Callable[[], object], *, name: str, needs: Needs = Needs()) -> InlineWorker:  # noqa: B008
        return InlineWorker(name, factory())

    def started(self, worker: Worker) -> Future[None]:
        return Finished(None)

    def submit(self, worker: Worker, method: str, *arguments: object) -> Future[Any]:
        assert isinstance(worker, InlineWorker)
        try:
            values = [argument.result() if isinstance(argument, Finished) else argument for argument in arguments]
            return Finished(getattr(worker.target, method)(*values))
        except Exception as error:
            return Finished(None, error)

    def interrupt(self, worker: Worker) -> None:
        assert isinstance(worker, InlineWorker)
        getattr(worker.target, "interrupt", lambda: None)()

    def wait_any(self, futures: Sequence[Future[Any]], timeout: float) -> None:
        pass

    def end(self, worker: Worker) -> None:
        pass

    def close(self) -> None:
        pass
