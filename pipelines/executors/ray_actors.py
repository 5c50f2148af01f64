"""Ray actors, on one machine or many: an actor per worker.

Actors are never restarted and calls never retried by Ray: it would do so behind our back, with the actor's memory gone
(measured: a retried call finds a counter back at one, and no error anywhere). A dead actor stays dead; the driver
spawns another and begins the work anew.
"""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.executors import Cancelled, ExecutorOptions, Future, Needs, Raised, Worker, WorkerLost, raised
from videoseg.errors import InputError

_ANSWER = 5.0
"""Seconds for an actor to answer something that takes none."""

_MOST_SHARED = 16
"""Workers that may share an actor: each has a thread there, made with the actor."""

_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Said once per process otherwise. Which device is used, our settings say, never what an actor happens to see.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # A private cluster's actors are the run itself; at Ray's own 15 they get nothing of a machine that is busy.
    "RAY_worker_niceness": "0",
}


def import_ray() -> Any:
    """The package; loaded here and nowhere else.

    Raises:
        InputError: it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise InputError(
            f"--executor ray needs the package ray, which cannot be loaded ({error}). Install it with "
            "`pip install 'videoseg[ray]'`, or use --executor local."
        ) from None
    return ray


@dataclass(frozen=True, slots=True)
class _WasCancelled:
    """What a cancelled call gives to the calls that wait for it."""


class Host:
    """The actor: objects and their calls. Errors travel as values, so that an error of Ray means a lost actor."""

    def __init__(self) -> None:
        self._hosted: dict[int, _Hosted] = {}

    def add(self, number: int, factory: Callable[[], object]) -> Raised | None:
        """Makes an object; the error that its factory raised, if it did."""
        hosted = self._hosted[number] = _Hosted(factory)
        return hosted.failed

    def call(self, number: int, ticket: int, method: str, *arguments: object) -> object:
        return self._hosted[number].call(ticket, method, *arguments)

    def cancel(self, number: int, ticket: int) -> bool:
        """Beside the call under way."""
        hosted = self._hosted.get(number)
        return hosted is not None and hosted.cancel(ticket)

    def interrupt(self, number: int) -> None:
        if number in self._hosted:
            self._hosted[number].interrupt()

    def pid(self) -> int:
        return os.getpid()


class _Hosted:
    """One object of an actor; its calls come one at a time."""

    def __init__(self, factory: Callable[[], object]) -> None:
        self._lock = threading.Lock()
        self._begun = 0
        self._cancelled: set[int] = set()
        self._target: object = None
        self.failed: Raised | None = None
        try:
            self._target = factory()
        except Exception as error:
            self.failed = raised(error)

    def call(self, ticket: int, method: str, *arguments: object) -> object:
        with self._lock:
            self._begun = ticket
            if ticket in self._cancelled:
                self._cancelled.discard(ticket)
                return _WasCancelled()
        for argument in arguments:
            if isinstance(argument, Raised | _WasCancelled):
                return argument
        if self.failed is not None:
            return self.failed
        try:
            return getattr(self._target, method)(*arguments)
        except Exception as error:
            return raised(error)

    def cancel(self, ticket: int) -> bool:
        """Tickets of a worker grow in the order of its calls."""
        with self._lock:
            if ticket <= self._begun:
                return False
            self._cancelled.add(ticket)
            return True

    def interrupt(self) -> None:
        getattr(self._target, "interrupt", lambda: None)()


@dataclass(slots=True, eq=False)
class RayWorker:
    """An object in an actor."""

    name: str
    actor: Any
    made: Any
    """Reference to what came of its factory."""
    number: int = 0
    """Within the actor."""
    tickets: int = 0

    @property
    def group(self) -> str:
        """The thread of the actor in which its calls run."""
        return _thread_of(self.number)


def _thread_of(number: int) -> str:
    return f"object-{number}"


@dataclass(frozen=True, slots=True, eq=False)
class RayFuture:
    """The result of a call of an actor."""

    ray: Any
    worker: RayWorker
    reference: Any
    ticket: int | None = None

    def wait(self, timeout: float) -> bool:
        done, _ = self.ray.wait([self.reference], timeout=timeout, fetch_local=False)
        return bool(done)

    def result(self) -> Any:
        try:
            value = self.ray.get(self.reference)
        except self.ray.exceptions.RayError as error:
            raise WorkerLost(f"The Ray actor {self.worker.name} is gone ({_first_line(error)}).") from None
        if isinstance(value, Raised):
            raise value.again()
        if isinstance(value, _WasCancelled):
            raise Cancelled
        return value

    def cancel(self) -> bool:
        if self.ticket is None:
            return False
        asked = self.worker.actor.cancel.options(concurrency_group="control").remote(self.worker.number, self.ticket)
        try:
            return bool(self.ray.get(asked, timeout=_ANSWER))
        except self.ray.exceptions.RayError:
            return False


class RayExecutor:
    """Workers in Ray actors.

    Joins the Ray that this process is in (and the placement group, inside one), else the cluster at `address` or in
    `RAY_ADDRESS`, else starts a private one on this machine, which ends with it.
    """

    name = "ray"
    copies_arguments = True

    def __init__(self, options: ExecutorOptions) -> None:
        self._ray = join(options)
        self._workers: list[RayWorker] = []
        # Calls to one object run in the order of submission, those to another beside them.
        groups = {"control": 1} | {_thread_of(number): 1 for number in range(_MOST_SHARED)}
        self._alone = self._ray.remote(concurrency_groups={"control": 1, _thread_of(0): 1})(Host)
        self._together = self._ray.remote(concurrency_groups=groups)(Host)
        self._shared: dict[str, list[RayWorker]] = {}
        """Place -> the workers that share its actor."""

    def machines(self) -> int:
        return max(1, sum(bool(node["Alive"]) for node in self._ray.nodes()))

    def require(self, needs: Sequence[Needs]) -> None:
        there = _resources(self._ray)
        for key, option, wanted in (
            ("GPU", "--gpus-per-worker", sum(need.gpus for need in needs)),
            ("CPU", "", 0.0 if _joined.private else sum(need.cpus for need in needs)),
        ):
            has = float(there.get(key, 0.0))
            if wanted > has + 1e-6:
                less = f" or a smaller {option}" if option else ""
                device = "; --device cpu needs none" if key == "GPU" else ""
                raise InputError(
                    f"The workers need {wanted:g} {key}s, the Ray cluster has {has:g}. Take fewer --workers{less}, "
                    f"or add a machine with `ray start --address=…`{device}."
                )

    def spawn(self, factory: Callable[[], object], *, name: str, needs: Needs = Needs()) -> RayWorker:  # noqa: B008
        there = self._shared.setdefault(needs.place, []) if needs.shared else []
        if len(there) >= _MOST_SHARED:
            raise InputError(f"At most {_MOST_SHARED} streams can share a worker with --executor ray.")
        actor = there[0].actor if there else self._actor(needs)
        number = 1 + max((other.number for other in there), default=-1)
        made = actor.add.options(concurrency_group=_thread_of(number)).remote(number, factory)
        worker = RayWorker(name, actor, made, number)
        there.append(worker)
        self._workers.append(worker)
        return worker

    def _actor(self, needs: Needs) -> Any:
        options: dict[str, Any] = {
            # On a machine of our own nobody else wants the cores, and threads share them.
            "num_cpus": 0 if _joined.private else needs.cpus,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        if needs.gpus:
            options["num_gpus"] = needs.gpus
        group = self._ray.util.get_current_placement_group()
        if group is not None:
            from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(placement_group=group)
        return (self._together if needs.shared else self._alone).options(**options).remote()

    def started(self, worker: Worker) -> Future[None]:
        assert isinstance(worker, RayWorker)
        return RayFuture(self._ray, worker, worker.made)

    def submit(self, worker: Worker, method: str, *arguments: object) -> Future[Any]:
        assert isinstance(worker, RayWorker)
        worker.tickets += 1
        values = [argument.reference if isinstance(argument, RayFuture) else argument for argument in arguments]
        call = worker.actor.call.options(concurrency_group=worker.group)
        reference = call.remote(worker.number, worker.tickets, method, *values)
        return RayFuture(self._ray, worker, reference, worker.tickets)

    def interrupt(self, worker: Worker) -> None:
        assert isinstance(worker, RayWorker)
        worker.actor.interrupt.options(concurrency_group="control").remote(worker.number)

    def wait_any(self, futures: Sequence[Future[Any]], timeout: float) -> None:
        references = [future.reference for future in futures if isinstance(future, RayFuture)]
        self._ray.wait(references, num_returns=1, timeout=timeout, fetch_local=False)

    def end(self, worker: Worker) -> None:
        assert isinstance(worker, RayWorker)
        with contextlib.suppress(Exception):  # dead already, or its machine cannot be reached
            self._ray.kill(worker.actor, no_restart=True)
        self._workers = [other for other in self._workers if other.actor is not worker.actor]
        self._shared = {place: those for place, those in self._shared.items() if worker not in those}

    def pids(self) -> dict[str, int]:
        """Name of each worker -> its process; for tests that kill them."""
        return {worker.name: self._ray.get(worker.actor.pid.remote()) for worker in self._workers}

    def close(self) -> None:
        for worker in list(self._workers):
            self.end(worker)
        if _joined.ours:
            _joined.ours = _joined.private = False
            with _signals_kept():
                self._ray.shutdown()


@dataclass(slots=True)
class _Joined:
    """What this process has to do with the Ray it is in."""

    ours: bool = False
    """We joined, and leave when done."""
    private: bool = False
    """It was started for us and ends with us."""


_joined = _Joined()


def join(options: ExecutorOptions) -> Any:
    """Ray, initialised: the one that this process is in, else the cluster that was named, else a private one.

    Raises:
        InputError: Ray is not installed, or no cluster answers.
    """
    ray = import_ray()
    if ray.is_initialized():
        if options.address is not None and not _joined.ours:
            raise InputError("--address was given, but this process is in a Ray cluster already. Leave it out.")
        return ray
    address = options.address or os.environ.get("RAY_ADDRESS") or "local"
    quiet = logging.getLogger().getEffectiveLevel() > logging.INFO
    settings: dict[str, Any] = {"address": address, "log_to_driver": not quiet, "namespace": "videoseg"}
    if quiet:
        settings["logging_level"] = logging.CRITICAL
    if address == "local":
        settings |= {"include_dashboard": False, "object_store_memory": options.store_bytes}
    with _signals_kept():
        try:
            ray.init(**settings)
        except Exception as error:  # some of Ray's own are of no other kind
            if address == "local":
                raise InputError(
                    f"A private Ray could not be started on this machine ({_first_line(error)}). Try again when the "
                    "machine has less to do, or take --executor local."
                ) from None
            raise InputError(
                f"No Ray cluster answers at {address} ({_first_line(error)}). Start one there with `ray start --head`, "
                "or leave --address out for a private one on this machine."
            ) from None
    if quiet:
        _silence()
    _joined.ours, _joined.private = True, address == "local"
    return ray


def cluster_resources(options: ExecutorOptions) -> dict[str, float]:
    """What the cluster has (`CPU`, `GPU`, …), or the placement group that this process is in."""
    return _resources(join(options))


def _resources(ray: Any) -> dict[str, float]:
    group = ray.util.get_current_placement_group()
    if group is None:
        return dict(ray.cluster_resources())
    total: dict[str, float] = {}
    for bundle in group.bundle_specs:
        for key, value in bundle.items():
            total[key] = total.get(key, 0.0) + float(value)
    return total


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM for itself; who answers it here stays who it was."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, receiver in before.items():
            signal.signal(number, receiver)


def _silence() -> None:
    """Ray prints twelve lines for an actor that died; the driver says it in one."""
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    with contextlib.suppress(Exception):  # not a public name: where it has moved, the lines are printed
        from ray._private.ray_logging import global_worker_stdstream_dispatcher

        global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
