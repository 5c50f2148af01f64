"""One contract for every executor: order, futures as arguments, errors with their own traceback, cancelling."""

import threading
import traceback
from collections.abc import Iterator

import pytest

from pipelines.executors import Cancelled, Executor, make_executor
from videoseg.errors import InputError


class Adder:
    """A worker with memory: what it answers shows the order in which it was called."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.thread = threading.current_thread().name

    def add(self, first: int, second: int) -> int:
        self.calls.append(first)
        return first + second

    def history(self) -> list[int]:
        return list(self.calls)

    def home(self) -> tuple[str, str]:
        return self.thread, threading.current_thread().name

    def fail(self) -> int:
        raise LookupError("the tenth shelf is empty")

    def wait_for(self, event: threading.Event, begun: threading.Event) -> bool:
        begun.set()
        return event.wait(10)


@pytest.fixture(params=["inline", "local"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    made = make_executor(request.param)
    yield made
    made.close()


def test_calls_of_a_worker_run_in_the_order_of_submission(executor: Executor) -> None:
    worker = executor.spawn(Adder, name="adder")
    futures = [executor.submit(worker, "add", i, 100) for i in range(50)]
    assert [future.result() for future in futures] == [100 + i for i in range(50)]
    assert executor.submit(worker, "history").result() == list(range(50))


def test_a_future_as_an_argument_is_its_result(executor: Executor) -> None:
    first, second = (executor.spawn(Adder, name=name) for name in ("first", "second"))
    total = executor.submit(first, "add", 1, 2)
    for _ in range(20):
        total = executor.submit(second, "add", total, 1)
        total = executor.submit(first, "add", total, 1)
    assert total.result() == 43


def test_the_factory_runs_where_the_worker_lives(executor: Executor) -> None:
    made, called = executor.submit(executor.spawn(Adder, name="here"), "home").result()
    assert made == called
    assert ("videoseg-here" in made) == (executor.name == "local")


def test_an_error_comes_out_with_the_traceback_of_its_place(executor: Executor) -> None:
    worker, behind = (executor.spawn(Adder, name=name) for name in ("failing", "behind"))
    with pytest.raises(LookupError, match="tenth shelf") as caught:
        executor.submit(behind, "add", executor.submit(worker, "fail"), 1).result()
    assert any(frame.name == "fail" for frame in traceback.extract_tb(caught.value.__traceback__))
    assert executor.submit(worker, "add", 1, 1).result() == 2, "the worker lives on"


def test_an_error_of_the_factory_comes_out_of_the_first_call_at_the_latest(executor: Executor) -> None:
    def broken() -> Adder:
        raise InputError("no such model")

    with pytest.raises(InputError, match="no such model"):
        executor.submit(executor.spawn(broken, name="broken"), "history").result()


def test_local_calls_that_have_not_begun_can_be_cancelled() -> None:
    executor = make_executor("local")
    gate, begun = threading.Event(), threading.Event()
    worker, behind = (executor.spawn(Adder, name=name) for name in ("slow", "behind"))
    running = executor.submit(worker, "wait_for", gate, begun)
    waiting = executor.submit(worker, "add", 1, 1)
    dependent = executor.submit(behind, "add", waiting, 1)
    assert begun.wait(10)
    assert not running.cancel()
    assert waiting.cancel()
    gate.set()
    assert running.result()
    for future in (waiting, dependent):
        with pytest.raises(Cancelled):
            future.result()
    executor.close()


def test_local_workers_run_beside_each_other() -> None:
    executor = make_executor("local")
    event = threading.Event()

    class Setter:
        def set(self) -> None:
            event.set()

    waiting = executor.submit(executor.spawn(Adder, name="waits"), "wait_for", event, threading.Event())
    executor.submit(executor.spawn(Setter, name="sets"), "set").result()
    assert waiting.result()
    executor.close()


def test_unknown_executors_are_said_plainly() -> None:
    with pytest.raises(InputError, match="inline, local, ray"):
        make_executor("threads")
