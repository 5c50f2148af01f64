"""`videoseg export`: a run folder into another format."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose


def export(
    run: Annotated[str, typer.Argument(help="A run folder.", show_default=False)],
    format: Annotated[
        str,
        typer.Option(
            "--format",
            "-f",
            help="vipseg, coco_panoptic, kitti_mots, davis, …: a wrong name lists all.",
            metavar="FORMAT",
        ),
    ] = "vipseg",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; by default exports/FORMAT in the run.", metavar="FOLDER"),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Writes a run in a format that other tools read.

    **Example:** `videoseg export out/ --format vipseg`
    """
    console.set_verbosity(verbose)
    from videoseg.formats import export_run
    from videoseg.store.reader import open_run

    if output is None and "://" in run:
        from videoseg.store.writer import RunWriter

        with RunWriter.open(run).local_path(f"exports/{format}") as made:
            export_run(open_run(run), format, made)
        place = f"{run.rstrip('/')}/exports/{format}"
    else:
        place = str(export_run(open_run(run), format, output))
    if as_json:
        console.print_json({"format": format, "output": place})
    else:
        print(f"Wrote {place}")
