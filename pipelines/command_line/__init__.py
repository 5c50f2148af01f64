"""The `videoseg` command. `main` is its entry point; `app` lists the commands, each in a file of its own.

Nothing heavy is imported before a command needs it: `videoseg --help` must answer at once.
"""

import sys


def main() -> None:
    """Runs the command line and leaves the process with its exit code."""
    from pipelines.command_line.app import run

    sys.exit(run(sys.argv[1:]))
