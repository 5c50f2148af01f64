"""A run, or one over a list of films, whose driver kills itself (as `kill -9` does) after so many windows:

python killed_driver.py FILM_OR_LIST OUT EXECUTOR WORKERS WINDOWS

Goes on with what is in OUT; with 0 windows it comes to its end.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import moving_shapes

from pipelines.file_list import FileEntry, read_file_list
from pipelines.jobs import segment_job
from pipelines.many_files import run_files
from pipelines.progress import Progress
from pipelines.run import Job, Resuming, run_job
from pipelines.settings import Placement, Products, RunSettings

SETTINGS = RunSettings(frames_per_chunk=12, overlap=4)
PRODUCTS = Products(overlay=False, exports=("burst",))


def job_of(entry: FileEntry, placement: Placement) -> Job:
    return segment_job(entry.path, moving_shapes.vocabulary(), model="colours", settings=SETTINGS, placement=placement)


def killed(source: Path, out: Path | str, executor: str, workers: int, windows: int) -> None:
    """Runs this script to its bitter end."""
    words = [__file__, str(source), str(out), executor, str(workers), str(windows)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def main() -> None:
    source, out, executor, workers, windows = sys.argv[1:]
    placement = Placement(executor=executor, workers=int(workers), window_frames=4)
    seen = 0

    def count(progress: Progress) -> None:
        nonlocal seen
        seen += progress.phase == "segment"
        if seen == int(windows):
            os.kill(os.getpid(), signal.SIGKILL)

    if source.endswith(".txt"):
        run_files(
            read_file_list(source),
            lambda entry: job_of(entry, placement),
            out,
            placement=placement,
            products=PRODUCTS,
            resume=Resuming(),
            on_progress=count,
        )
    else:
        run_job(
            job_of(FileEntry("film", source), placement),
            out,
            placement=placement,
            products=PRODUCTS,
            resume=Resuming(),
            on_progress=count,
        )


if __name__ == "__main__":
    main()
