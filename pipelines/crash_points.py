"""Places where a test can have the process killed, to see that nothing is lost: `VIDEOSEG_CRASH_AT="after commit:2"`.

Read from the environment, because the process that dies may be a worker on any machine. With `@PATH` behind it, the
process dies only while there is no file PATH, and makes it: once over all processes and retries.
"""

import os
import signal


def point(name: str, number: int | None = None) -> None:
    """Dies here at once, as from `kill -9`, if the environment says so; else does nothing."""
    wanted = os.environ.get("VIDEOSEG_CRASH_AT")
    if not wanted:
        return
    place, _, once = wanted.partition("@")
    if place != (name if number is None else f"{name}:{number}"):
        return
    if once:
        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    os.kill(os.getpid(), signal.SIGKILL)
