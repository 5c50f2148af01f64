"""One process at a time."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from videoseg.errors import VideosegError


@contextmanager
def alone(lock: Path, doing: str) -> Iterator[None]:
    """Holds a lock file; the system lets go of it when the process ends, however it does.

    Raises:
        VideosegError: another process holds it; `doing` says what that one is at.
    """
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise VideosegError(
                f"Another process is {doing}. Wait until it is done, then run the command again."
            ) from None
        yield
