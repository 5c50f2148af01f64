"""Workers in processes of their own: the contract of all executors, and what becomes of it when a process is killed."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from counting_worker import Counting

from pipelines.chunks import plan_chunks
from pipelines.executors import Cancelled, Needs, WorkerLost
from pipelines.executors.local import LocalExecutor
from pipelines.stages import LostState, NoMotionStage, StageChain, TrackStage, Turn, Window


@pytest.fixture
def executor() -> Iterator[LocalExecutor]:
    made = LocalExecutor(processes=True)
    yield made
    made.close()


def test_order_chains_errors_and_cancelling(executor: LocalExecutor) -> None:
    here, beside = (executor.spawn(Counting, name=name, needs=Needs(place="one")) for name in ("here", "beside"))
    away = executor.spawn(Counting, name="away", needs=Needs(place="two"))
    executor.started(here).result()
    first, second, third = (executor.submit(worker, "pid").result() for worker in (here, beside, away))
    assert first == second != third, "workers of a place share a process"
    assert os.getpid() not in (first, third)
    futures = [executor.submit(here, "add", i, 100) for i in range(50)]
    assert [future.result() for future in futures] == [100 + i for i in range(50)]
    assert executor.submit(here, "history").result() == list(range(50))
    total = executor.submit(here, "add", 1, 2)
    for worker in (beside, away, here, away, beside):
        total = executor.submit(worker, "add", total, 1)
    assert total.result() == 8

    with pytest.raises(LookupError, match="tenth shelf") as caught:
        executor.submit(beside, "add", executor.submit(here, "fail"), 1).result()
    assert "counting_worker.py" in str(caught.value.__cause__), "the traceback of its place comes along"
    with pytest.raises(LookupError, match="nothing was written") as caught:
        executor.submit(away, "add", executor.submit(here, "disk"), 1).result()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC, "a full disk is known as one"

    running, waiting = executor.submit(here, "sleep", 0.5), executor.submit(here, "add", 1, 1)
    behind = executor.submit(beside, "add", waiting, 1)
    time.sleep(0.1)
    assert not running.cancel()
    assert waiting.cancel()
    assert running.result() == "slept"
    for future in (waiting, behind):
        with pytest.raises(Cancelled):
            future.result()


def test_all_calls_of_a_killed_process_fail_and_none_finds_it_again(executor: LocalExecutor) -> None:
    victim, witness = executor.spawn(Counting, name="victim"), executor.spawn(Counting, name="witness")
    pid = executor.submit(victim, "pid").result()
    running, behind = executor.submit(victim, "sleep", 60), executor.submit(victim, "add", 1, 1)
    assert not running.wait(0.05)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    executor.wait_any([running], 30)
    assert time.monotonic() - began < 10
    for call in (running, behind, executor.submit(victim, "add", 1, 1), executor.submit(witness, "add", running, 1)):
        with pytest.raises(WorkerLost, match="killed by signal 9"):
            call.result()
    assert executor.submit(witness, "add", 1, 1).result() == 2
    assert executor.submit(executor.spawn(Counting, name="victim"), "history").result() == [], "a new one is a new one"


_DRIVER = """
import sys, time
from counting_worker import Counting
from pipelines.executors.local import LocalExecutor
executor = LocalExecutor(processes=True)
worker = executor.spawn(Counting, name="orphan")
print(executor.submit(worker, "pid").result(), flush=True)
executor.submit(worker, "sleep", 60).result()
"""


def test_a_process_ends_when_its_driver_is_killed() -> None:
    here = str(Path(__file__).resolve().parent)
    driver = subprocess.Popen(
        [sys.executable, "-c", _DRIVER],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in [here, *sys.path] if path)},
    )
    assert driver.stdout is not None
    pid = int(driver.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < deadline, "the process lives on"
        time.sleep(0.02)


def test_a_stage_that_lost_its_memory_says_so() -> None:
    chunk = plan_chunks(20)[0]
    turn = Turn()
    for number in range(3):
        turn.take(Window(chunk, number, 4, 4, token="a"))
    for token, number in (("a", 4), ("b", 3), ("a", 2)):
        with pytest.raises(LostState):
            turn.take(Window(chunk, number, 4, 4, token=token))
    turn.take(Window(chunk, 0, 4, 4, token="b"))
    fresh = StageChain((("motion", NoMotionStage), ("track", _track)))
    with pytest.raises(LostState, match="window 1"):
        fresh.advance(Window(chunk, 1, 4, 4, token="a"))


def _track() -> TrackStage:
    from tracking import PanopticTracker

    return TrackStage(PanopticTracker)
