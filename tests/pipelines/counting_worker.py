"""A worker with memory that can live in another process."""

import os
import time


class Counting:
    """What it answers shows the order in which it was called."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def add(self, first: int, second: int) -> int:
        self.calls.append(first)
        return first + second

    def history(self) -> list[int]:
        return list(self.calls)

    def fail(self) -> int:
        raise LookupError("the tenth shelf is empty")

    def disk(self) -> int:
        try:
            raise OSError(28, "no space")
        except OSError as error:
            raise LookupError("nothing was written") from error

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def pid(self) -> int:
        return os.getpid()
