"""Running a job for a person: progress, signals, and what is said at the end. Shared by `segment` and `track`."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import typer

from pipelines.command_line import console
from pipelines.command_line.interruption import interruption
from pipelines.command_line.watching import AskedFor, watching

if TYPE_CHECKING:
    from pipelines.run import Job
    from videoseg.store.reader import Run


def execute(
    make_job: "Callable[[], Job]",
    output: str,
    asked: AskedFor,
) -> None:
    """Runs a job into a folder and says what came of it.

    Raises:
        typer.Exit: with the exit code of a signal, where one ended the run.
        ChunksSetAside: some chunks failed; what came of the others was said.
    """
    with interruption() as interrupted:
        from pipelines.run import ChunksSetAside, run_job
        from videoseg.store.reader import open_run

        job = make_job()
        with watching(interrupted, asked) as watch:
            try:
                run = run_job(
                    job,
                    output,
                    placement=asked.placement,
                    products=asked.products,
                    overwrite=asked.overwrite,
                    resume=asked.resume,
                    on_progress=watch.on_progress,
                    on_note=console.warn,
                    stop=interrupted.stop,
                    counters=watch.counters,
                )
            except ChunksSetAside:
                if not asked.as_json:
                    tell(open_run(output), as_json=False)
                raise
        tell(run, as_json=asked.as_json)
        if interrupted.signal is not None and not run.complete:
            console.say(
                f"Stopped. What was done is in {run.location} and can be read (complete: false); "
                f"`videoseg {job.given.get('command', 'segment')} --resume {run.location}` goes on."
                if job.given
                else f"Stopped. What was done is in {run.location} and can be read (complete: false)."
            )
            raise typer.Exit(interrupted.exit_code)


def tell(run: "Run", *, as_json: bool) -> None:
    """Prints the summary of a run and where things are."""
    from videoseg.summary import RunSummary

    summary = RunSummary.of_run(run)
    products = run.report.get("products", {})
    if as_json:
        console.print_json({**summary.to_json(), "products": products, "notes": run.report.get("notes", [])})
        return
    print(summary.to_text())
    if saved := what_was_saved(run.report.get("work", {})):
        print(saved)
    print(f"Results: {run.location}")
    for name, place in products.items():
        print(f"  {name}: {run.path(place)}")


def what_was_saved(work: Mapping[str, int]) -> str:
    """A line about the cache, from `run.json`'s `work`; empty where nothing was saved."""
    seen, ran, frames = work.get("seen", 0), work.get("windows", 0), work.get("frames", 0)
    if not seen or ran >= seen:
        return ""
    heads, looks = work.get("heads", 0), work.get("looks", 0)
    return (
        f"Cache: the network computed {ran} of {seen} windows ({100 * ran / seen:.0f} %), "
        f"masks in {heads} of {frames} frames, CLIP's view of masks in {looks}."
    )
