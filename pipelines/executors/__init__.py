"""Where work runs: the protocol that the driver loop is written against, and the choice of an implementation.

Knows nothing of video. A worker is an object made by a factory, in the place where it will live; its methods are called
one at a time, in the order of submission. Results travel as futures, and a future may be handed to a further call as an
argument, so that a chain of stages never passes through the driver. That is what threads, processes, Ray actors and
plain calls have in common, and all that the driver loop needs.

A worker may die (its process is killed, its machine goes away). Then every call to it that is not over fails with
`WorkerLost`, and so does every later one: a worker never comes back under its old name with its memory gone. Whoever
owns the work spawns a new one and begins the work anew.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, get_args

from videoseg.errors import InputError, VideosegError

Result = TypeVar("Result", covariant=True)

ExecutorName = Literal["inline", "local", "ray"]


class Cancelled(Exception):  # noqa: N818 (a state that a caller asked for, not an error)
    """The call was cancelled before it began, or one of the calls that it waited for was."""


class WorkerLost(VideosegError):  # noqa: N818 (what happened, as the driver reads it)
    """The worker of the call, or of one that it waited for, died; whatever it remembered is gone with it."""


class Future(Protocol[Result]):
    """The result of a call that may still be running."""

    def wait(self, timeout: float) -> bool:
        """Waits at most `timeout` seconds; True once the call is over (returned, raised or cancelled)."""

    def result(self) -> Result:
        """Waits for the call and returns what it returned.

        Raises:
            Cancelled: the call never began.
            WorkerLost: its worker died.
            Exception: whatever the call raised, with its own traceback (across processes: as its cause).
        """

    def cancel(self) -> bool:
        """Asks that the call never begin; False if it has begun."""


class Worker(Protocol):
    """A place where an object lives; calls to it run one at a time, in the order of submission."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a worker reserves where it runs, and with whom it wants to live."""

    cpus: float = 1
    """Cores; a hint to executors that place work."""
    gpus: float = 0
    """Share of a GPU, likewise."""
    place: str = ""
    """Workers of one place share a process where an executor has several; empty is a place of its own."""
    shared: bool = False
    """`ray`: all workers of the same place that say so live in one actor; elsewhere a place is one process anyway."""


class Executor(Protocol):
    """Makes workers and calls them."""

    @property
    def name(self) -> str: ...

    @property
    def copies_arguments(self) -> bool:
        """Whether what goes from worker to worker is copied: then few workers with more to do are better than many."""

    def machines(self) -> int:
        """How many machines there are to put workers on."""

    def require(self, needs: Sequence[Needs]) -> None:
        """Asks whether workers with these needs fit, all at the same time.

        Raises:
            InputError: never, as things are; it says what is missing and what to change.
        """

    def spawn(self, factory: Callable[[], object], *, name: str, needs: Needs = Needs()) -> Worker:
        """Makes a worker around the object that `factory` returns; the factory runs where the worker lives.

        Args:
            factory: makes the object; for executors that cross processes it must be picklable.
            name: for messages and thread names.
        """

    def started(self, worker: Worker) -> Future[None]:
        """Over once the factory has run; raises what the factory raised."""

    def submit(self, worker: Worker, method: str, *arguments: object) -> Future[Any]:
        """Calls `method` of the worker's object once every argument that is a future of this executor is there."""

    def interrupt(self, worker: Worker) -> None:
        """Calls `interrupt` of the worker's object at once, beside the call under way, if it has such a method."""

    def wait_any(self, futures: Sequence[Future[Any]], timeout: float) -> None:
        """Waits at most `timeout` seconds until one of the calls is over."""

    def end(self, worker: Worker) -> None:
        """Ends a worker at once, and every other one of its place; never waits for a call under way."""

    def close(self) -> None:
        """Cancels what has not begun, waits for what has where that cannot be ended, and ends the workers."""


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception on its way between processes: what pickling would leave of it, and the words of its traceback."""

    error: Exception
    cause: BaseException | None
    traceback: str

    def again(self) -> Exception:
        """The exception to raise here; its cause is the original cause, else the traceback of its place in words."""
        self.error.__cause__ = self.cause or RemoteTraceback(self.traceback)
        return self.error


class RemoteTraceback(Exception):  # noqa: N818 (it only carries words)
    """The traceback of a call in another process."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def raised(error: BaseException) -> Raised:
    """An exception made fit to travel; one that cannot be pickled becomes a RuntimeError that says the same."""
    import pickle
    import traceback

    words = "".join(traceback.format_exception(error))
    cause = error.__cause__
    kept: BaseException | None = None
    if isinstance(cause, OSError):  # its number tells a full disk from a lost one
        kept = OSError(*cause.args)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, Exception):
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Raised(error, kept, words)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorOptions:
    """How an executor is to be made."""

    processes: bool = False
    """`local`: workers live in processes of their own, one per place, so that the death of one is survived."""
    address: str | None = None
    """`ray`: the cluster to join; None is a private one on this machine, unless Ray is initialised already."""
    store_bytes: int = 512 * 2**20
    """`ray`: object store of a private cluster: it holds the pictures under way, which the driver bounds."""


def make_executor(name: str, options: ExecutorOptions | None = None) -> Executor:
    """The executor of that name.

    Raises:
        InputError: no such executor, or one whose packages are not installed.
    """
    options = options or ExecutorOptions()
    match name:
        case "inline":
            from pipelines.executors.inline import InlineExecutor

            return InlineExecutor()
        case "local":
            from pipelines.executors.local import LocalExecutor

            return LocalExecutor(processes=options.processes)
        case "ray":
            from pipelines.executors.ray_actors import RayExecutor

            return RayExecutor(options)
        case _:
            known = ", ".join(get_args(ExecutorName))
            raise InputError(f"There is no executor {name!r}. The ones there are: {known}.")
