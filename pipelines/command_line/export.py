"""`videoseg export`: a run folder into another format."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose


def export(
    run: Annotated[Path, typer.Argument(help="A run folder.", show_default=False)],
    format: Annotated[str, typer.Option("--format", "-f", help="vipseg", metavar="FORMAT")] = "vipseg",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; by default exports/FORMAT in the run.", metavar="FOLDER"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export there.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Writes a finished run in a format that other tools read.

    **Example:** `videoseg export out/ --format vipseg`
    """
    console.set_verbosity(verbose)
    from pipelines.exports import export_run
    from videoseg.store.reader import open_run

    with console.progress_bar(enabled=not as_json) as show:
        place = export_run(open_run(run), format, output, overwrite=overwrite, on_progress=show)
    if as_json:
        console.print_json({"format": format, "output": str(place)})
    else:
        print(f"Wrote {place}")
