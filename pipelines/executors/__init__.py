"""Where work runs: the protocol that the driver loop is written against, and the choice of an implementation.

Knows nothing of video. A worker is an object made by a factory, in the place where it will live; its methods are called
one at a time, in the order of submission. Results travel as futures, and a future may be handed to a further call as an
argument, so that a chain of stages never passes through the driver. That is what threads, Ray actors and plain calls
have in common, and all that the driver loop needs.
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeVar, get_args

from videoseg.errors import InputError

Result = TypeVar("Result", covariant=True)

ExecutorName = Literal["inline", "local"]


class Cancelled(Exception):  # noqa: N818 (a state that a caller asked for, not an error)
    """The call was cancelled before it began, or one of the calls that it waited for was."""


class Future(Protocol[Result]):
    """The result of a call that may still be running."""

    def wait(self, timeout: float) -> bool:
        """Waits at most `timeout` seconds; True once the call is over (returned, raised or cancelled)."""

    def result(self) -> Result:
        """Waits for the call and returns what it returned.

        Raises:
            Cancelled: the call never began.
            Exception: whatever the call raised, with its own traceback.
        """

    def cancel(self) -> bool:
        """Asks that the call never begin; False if it has begun."""


class Worker(Protocol):
    """A place where an object lives; calls to it run one at a time, in the order of submission."""

    @property
    def name(self) -> str: ...


class Executor(Protocol):
    """Makes workers and calls them."""

    @property
    def name(self) -> str: ...

    def spawn(self, factory: Callable[[], object], *, name: str, cpus: float = 1, gpus: float = 0) -> Worker:
        """Makes a worker around the object that `factory` returns; the factory runs where the worker lives.

        Args:
            factory: makes the object; for executors that cross processes it must be picklable.
            name: for messages and thread names.
            cpus: cores to reserve; a hint to executors that place work.
            gpus: share of a GPU to reserve; a hint likewise.
        """

    def submit(self, worker: Worker, method: str, *arguments: object) -> Future[Any]:
        """Calls `method` of the worker's object once every argument that is a future of this executor is there."""

    def close(self) -> None:
        """Cancels what has not begun, waits for what has, and ends the workers."""


def make_executor(name: str) -> Executor:
    """The executor of that name.

    Raises:
        InputError: no such executor, or one that this version does not have.
    """
    match name:
        case "inline":
            from pipelines.executors.inline import InlineExecutor

            return InlineExecutor()
        case "local":
            from pipelines.executors.local import LocalExecutor

            return LocalExecutor()
        case "ray":
            raise InputError("--executor ray is not in this version. Use --executor local (the default) or inline.")
        case _:
            known = ", ".join(get_args(ExecutorName))
            raise InputError(f"There is no executor {name!r}. The ones there are: {known}.")
