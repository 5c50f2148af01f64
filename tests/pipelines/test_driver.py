"""The driver loop: order, bounds, stopping and failing, with stages that only keep account."""

import threading
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from pipelines.chunks import plan_chunks
from pipelines.driver import Driver, StageSpec, Unit, WindowSize
from pipelines.executors import make_executor
from pipelines.settings import Placement
from pipelines.stages import DecodeStage, Window
from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.protocols import Loss, SourceInfo
from videoseg.store.manifest import ChunkPlan

EXECUTORS = ("inline", "local")


class Numbers:
    """A source whose frames carry nothing but their number; some may be lost, and it may break."""

    def __init__(self, count: int, *, lost: tuple[int, ...] = (), breaks_at: int | None = None, known: bool = True):
        self.count, self.lost, self.breaks_at = count, lost, breaks_at
        self.num_selected = count if known else None
        self.info = SourceInfo("numbers", "file", 1, 1, count if known else None, None, None)
        self._losses: list[Loss] = []

    @property
    def losses(self) -> tuple[Loss, ...]:
        return tuple(self._losses)

    def frames(self, start: int = 0, stop: int | None = None):  # type: ignore[no-untyped-def]
        for i in range(start, self.count if stop is None else min(stop, self.count)):
            if i == self.breaks_at:
                raise InputError(f"the film tears at frame {i}")
            if i in self.lost:
                self._losses.append(Loss(i, "burnt", 1))
                continue
            yield Frame("numbers", 0, i, i, Fraction(1), float(i), np.zeros((1, 1, 3), np.uint8))

    def number_of(self, index: int) -> int:
        return index

    def close(self) -> None:
        pass


class Slow:
    """Stands for the network: takes time, and keeps account of what it saw and how much waited before it."""

    def __init__(self, seen: list[int], seconds: float = 0.0, stop_at: tuple[int, threading.Event] | None = None):
        self.seen, self.seconds, self.stop_at = seen, seconds, stop_at

    def advance(self, window: Window) -> Window:
        if window.ended:
            return window
        for number in window.numbers:
            if self.stop_at is not None and number == self.stop_at[0]:
                self.stop_at[1].set()
            time.sleep(self.seconds)
            self.seen.append(number)
        return replace(window, frames=())


class Keep:
    """Stands for the writer: chunks must come whole, in order, and end once."""

    def __init__(self) -> None:
        self.open: int | None = None

    def advance(self, window: Window) -> Window:
        if window.ended:
            return window
        if window.number == 0:
            assert self.open is None, "the chunk before has not ended"
            self.open = window.chunk.number
        assert self.open == window.chunk.number
        if window.last:
            self.open = None
        return window


def drive(
    source: Numbers,
    plan: tuple[ChunkPlan, ...],
    executor: str,
    *,
    frames: int = 4,
    in_flight: int = 3,
    stop: threading.Event | None = None,
    slow: Slow | None = None,
) -> tuple[list[Window], Exception | None, Driver]:
    made = make_executor(executor)
    windows, error = [], None
    network = slow or Slow([])
    stages = [
        StageSpec("decode", lambda: DecodeStage(lambda: source)),  # type: ignore[arg-type]
        StageSpec("network", lambda: network, stop_before=True),
        StageSpec("keep", Keep),
    ]
    driver = Driver(made, stages, WindowSize(frames, in_flight), stop or threading.Event())
    try:
        # A plain `windows.extend` would keep nothing of what came before an error.
        for window in driver.windows(Unit(chunk) for chunk in plan):
            windows += [window]
    except InputError as caught:
        error = caught
    finally:
        made.close()
    return windows, error, driver


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("frames", [1, 4, 7, 100])
def test_every_frame_comes_once_in_order_with_its_overlap(executor: str, frames: int) -> None:
    plan = plan_chunks(50, frames_per_chunk=20, overlap=5)
    windows, error, driver = drive(Numbers(50), plan, executor, frames=frames)
    assert error is None
    assert not driver.stopped
    for chunk in plan:
        numbers = [n for w in windows if w.chunk is chunk for n in w.numbers]
        assert numbers == list(range(chunk.start - chunk.overlap, chunk.stop or 0))
    assert [w.chunk.number for w in windows if w.last] == [0, 1, 2]
    assert not any(w.partial for w in windows)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 41])
def test_a_source_of_unknown_length_ends_where_it_ends(executor: str, count: int) -> None:
    windows, _, _ = drive(Numbers(count, known=False), plan_chunks(None), executor)
    assert [n for w in windows for n in w.numbers] == list(range(count))
    assert [w.last for w in windows] == [False] * (len(windows) - 1) + [True]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_lost_frames_leave_the_numbers_of_the_others(executor: str) -> None:
    lost = (0, 3, 4, 5, 6, 7, 19)
    windows, _, _ = drive(Numbers(20, lost=lost), plan_chunks(20), executor)
    assert [n for w in windows for n in w.numbers] == [n for n in range(20) if n not in lost]
    assert [loss.index for loss in windows[-1].losses] == list(lost)


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("breaks_at", [0, 3, 4, 17, 26, 49])
def test_what_came_before_a_failure_is_kept_and_the_other_chunks_come_whole(executor: str, breaks_at: int) -> None:
    plan = plan_chunks(50, frames_per_chunk=20, overlap=5)
    windows, error, driver = drive(Numbers(50, breaks_at=breaks_at), plan, executor)
    assert error is None
    torn = [c for c in plan if c.start - c.overlap <= breaks_at < c.stop]
    assert [item.unit.chunk for item in driver.set_aside] == torn
    assert {str(item.error) for item in driver.set_aside} == {f"the film tears at frame {breaks_at}"}
    for chunk in plan:
        numbers = [n for w in windows if w.chunk is chunk for n in w.numbers]
        assert numbers == list(range(chunk.start - chunk.overlap, breaks_at if chunk in torn else chunk.stop))
    assert [w.partial for w in windows if w.last] == [chunk in torn for chunk in plan]
    assert not driver.stopped


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("stop_at", [0, 9, 27])
def test_a_stop_finishes_what_has_begun_and_nothing_more(executor: str, stop_at: int) -> None:
    stop, seen = threading.Event(), []
    plan = plan_chunks(50, frames_per_chunk=20, overlap=5)
    network = Slow(seen, seconds=0.004, stop_at=(stop_at, stop))
    windows, error, driver = drive(Numbers(50), plan, executor, stop=stop, slow=network, in_flight=6)
    assert error is None
    assert driver.stopped
    assert [n for w in windows for n in w.numbers] == seen, "all that the network saw is given out"
    assert stop_at in seen
    assert len(seen) < 50
    assert windows[-1].last


def test_windows_in_flight_are_bounded() -> None:
    decoded: list[int] = []

    class Counting(Numbers):
        def frames(self, start: int = 0, stop: int | None = None):  # type: ignore[no-untyped-def]
            for frame in super().frames(start, stop):
                decoded.append(frame.index)
                yield frame

    ahead: list[int] = []

    class Watching(Slow):
        def advance(self, window: Window) -> Window:
            time.sleep(0.003)
            ahead.append(len(decoded) - len(self.seen))
            return super().advance(window)

    drive(Counting(80), plan_chunks(80), "local", frames=4, in_flight=3, slow=Watching([]))
    assert max(ahead) <= 3 * 4
    assert max(ahead) > 4, "decoding runs ahead of the network"


def test_the_bound_is_in_bytes() -> None:
    placement = Placement()
    hd = WindowSize.of(1280 * 720 * 3, placement)
    assert hd.frames * hd.in_flight * 1280 * 720 * 3 <= placement.bytes_in_flight
    huge = WindowSize.of(7680 * 4320 * 3, placement)
    assert (huge.frames, huge.in_flight) == (1, 2)
    assert WindowSize.of(3, placement).frames == placement.window_frames
