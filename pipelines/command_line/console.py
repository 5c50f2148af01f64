"""What the command line says and where: results on stdout, everything else on stderr, bars only on a terminal."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from videoseg.errors import InputError, VideosegError, is_disk_full

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.progress import Progress, Snapshot

_PHASES = {"segment": "Segmenting", "overlay": "Drawing overlay", "export": "Exporting"}

_verbosity = 0


def verbosity() -> int:
    """How often -v was given."""
    return _verbosity


def set_verbosity(level: int) -> None:
    """Quiet libraries unless asked: warnings and logs of others appear from -v on, ours with -v, debug with -vv."""
    global _verbosity
    _verbosity = level
    logging.basicConfig(
        stream=sys.stderr,
        level=(logging.ERROR, logging.INFO, logging.DEBUG)[min(level, 2)],
        format="%(asctime)s %(name)s: %(message)s" if level else "%(message)s",
    )
    if level == 0:
        warnings.filterwarnings("ignore")
        for variable in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
            os.environ.setdefault(variable, "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def say(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """A line that the person should not miss, on stderr."""
    say(f"videoseg: note: {text}")


def fail(text: str, code: int, *, as_json: bool = False) -> int:
    """Says why the command ends, for people and (with --json) for programs; returns the exit code."""
    say(f"videoseg: {text}")
    if as_json:
        print_json({"error": text, "exit_code": code})
    return code


def print_json(data: Mapping[str, Any]) -> None:
    """The one JSON object of a command, on stdout."""
    print(json.dumps(data, indent=2, ensure_ascii=False, default=str), flush=True)


def exit_code(error: VideosegError) -> int:
    """A full disk is the user's to mend, like any other unusable input; the rest says it itself."""
    if is_disk_full(error.__cause__):
        return InputError.exit_code
    return error.exit_code


def table(rows: Mapping[str, object]) -> str:
    """Two columns, the first as wide as its longest word."""
    width = max((len(key) for key in rows), default=0)
    return "\n".join(f"{key:<{width}}  {value}".rstrip() for key, value in rows.items())


def bytes_text(count: float) -> str:
    """`1.5 GB`; decimal units as disks are sold."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def progress_bar(*, enabled: bool = True) -> "Iterator[Callable[[Progress], None]]":
    """A bar with rate and remaining time on stderr; without a terminal it stays silent."""
    if not enabled or not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    class Rate(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f} frames/s" if task.speed else "… frames/s")

    class Count(TextColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{int(task.completed)}/{'?' if task.total is None else int(task.total)}")

    bar = Bar(
        TextColumn("{task.description:<15}"),
        BarColumn(bar_width=None),
        Count(""),
        Rate(""),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=Console(stderr=True),
        speed_estimate_period=60,
    )
    tasks: dict[str, TaskID] = {}
    with bar:

        def show(progress: "Progress") -> None:
            if progress.phase not in tasks:
                tasks[progress.phase] = bar.add_task(
                    _PHASES.get(progress.phase, progress.phase), total=progress.total, completed=progress.done
                )
            bar.update(tasks[progress.phase], completed=progress.done)
            if progress.snapshot is not None:
                bar.update(tasks[progress.phase], description=_PHASES["segment"] + _state(progress.snapshot))

        yield show


def _state(snapshot: "Snapshot") -> str:
    """Which stage the run waits for, and what went wrong on the way; ` (3/12 chunks, segment 96 %, 1 set aside)`."""
    busiest = max(snapshot.utilisation.items(), key=lambda item: item[1], default=None)
    words = [f"{snapshot.chunks_done}/{snapshot.chunks} chunks"] if snapshot.chunks > 1 else []
    if busiest is not None and snapshot.workers > 1:
        words.append(f"{busiest[0]} {busiest[1]:.0%}")
    if snapshot.restarts:
        words.append(f"{snapshot.restarts} restarts")
    if snapshot.set_aside:
        words.append(f"{snapshot.set_aside} set aside")
    return f" ({', '.join(words)})" if words else ""


@contextmanager
def counting(phase: str, unit: str, *, enabled: bool = True) -> "Iterator[Callable[[int, int], None]]":
    """A line on stderr that counts (done, in all) in place; without a terminal it stays silent."""
    if not enabled or not sys.stderr.isatty():
        yield lambda done, total: None
        return

    def show(done: int, total: int) -> None:
        print(f"\r{phase} {done}/{total} {unit}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
