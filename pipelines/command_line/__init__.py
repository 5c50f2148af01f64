"""The `videoseg` command. `main` is its entry point; `app` lists the commands, each in a file of its own.

Nothing heavy is imported before a command needs it: `videoseg --help` must answer at once.
"""

import os
import sys


def main() -> None:
    """Runs the command line and leaves the process with its exit code."""
    from pipelines.command_line.app import run

    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is written and closed. Taking the interpreter down in order now and then aborts in a native thread of a
    # library ("terminate called without an active exception", seen after 8K pictures), which would spoil the exit code.
    os._exit(code)
