"""Running a job over many files for a person: progress, signals, and what is said of each file at the end."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from pipelines.command_line import console
from pipelines.command_line.interruption import interruption
from pipelines.command_line.watching import AskedFor, watching

if TYPE_CHECKING:
    from pipelines.file_list import FileEntry
    from pipelines.many_files import FilesSummary
    from pipelines.run import Job

_TOLD = 20
"""Lines about single files on the terminal; all are in `summary.json`."""


def execute_files(
    entries: "Sequence[FileEntry]",
    make_job: "Callable[[FileEntry], Job]",
    output: str,
    asked: AskedFor,
) -> None:
    """Runs the jobs into folders below `output` and says what came of them.

    Raises:
        typer.Exit: 1 where some entries have no results, or the exit code of a signal.
    """
    with interruption() as interrupted:
        from pipelines.many_files import run_files

        with watching(interrupted, asked) as watch:
            summary = run_files(
                entries,
                make_job,
                output,
                placement=asked.placement,
                products=asked.products,
                overwrite=asked.overwrite,
                resume=asked.resume,
                on_progress=watch.on_progress,
                stop=interrupted.stop,
                counters=watch.counters,
            )
        tell_files(summary, as_json=asked.as_json)
        if interrupted.signal is not None and not summary.complete:
            console.say(
                f"Stopped. What was done is in {summary.location}; "
                f"`videoseg segment --resume {summary.location}` goes on."
            )
            raise typer.Exit(interrupted.exit_code)
        if not summary.all_good:
            raise typer.Exit(1)


def tell_files(summary: "FilesSummary", *, as_json: bool) -> None:
    """Prints how many files came to which end, and why those that did not go well did not."""
    from pipelines.many_files import ENDED_WELL, SUMMARY

    data = summary.data
    if as_json:
        console.print_json(data)
        return
    counts = ", ".join(f"{count} {state}" for state, count in data["states"].items())
    print(f"{len(data['entries'])} files: {counts}; {data['frames']} frames, {data['frames_per_second']:g} frames/s")
    bad = [entry for entry in data["entries"] if entry["state"] not in (*ENDED_WELL, "waiting", "running")]
    for entry in bad[:_TOLD]:
        path, reason = entry["path"] or entry["name"], entry["reason"]
        print(f"  {entry['state']}: {reason if reason.startswith(path) else f'{path}: {reason}'}")
    if len(bad) > _TOLD:
        print(f"  … and {len(bad) - _TOLD} more, in {SUMMARY}")
    print(f"Results: {summary.location}")
