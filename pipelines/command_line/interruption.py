"""Ctrl-C and SIGTERM: the first ends a run in order, the second ends the process."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

from pipelines.command_line import console

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Ended(BaseException):
    """A signal came while there was nothing to keep. Not an `Exception`: nobody on the way should catch it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        """What a shell expects of a program that a signal ended."""


class Interruption:
    """What a signal asked for."""

    def __init__(self) -> None:
        self.stop = Event()
        self.signal: int | None = None
        self.armed = False
        """From the first frame on there is something to keep, and a signal only asks to stop. Before, it ends the
        program where it is."""

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or signal.SIGINT)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.stop.is_set():
            os._exit(128 + number)
        if not self.armed:
            raise Ended(number)
        self.signal = number
        self.stop.set()
        console.say("Stopping: the frames under way are finished and kept. Once more to leave at once.")


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Takes SIGINT and SIGTERM for the time of a run and gives them back after it."""
    state = Interruption()
    with _receiving(state._receive):
        yield state


@contextmanager
def ending_at_once() -> Iterator[None]:
    """SIGINT and SIGTERM raise `Ended` where the program is."""

    def receive(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    with _receiving(receive):
        yield


@contextmanager
def _receiving(receiver: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, receiver) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
