"""`videoseg status`: where a run is, from its folder alone: from another terminal or machine, now or afterwards."""

from typing import Annotated

import typer

from pipelines.command_line import console, options


def status(
    run: Annotated[str, typer.Argument(help="A run folder, or that of a list of files.", show_default=False)],
    as_json: options.AsJson = False,
) -> None:
    """Says where a run is: frames, pace, time to go, failures. Only reads the folder; exit code 1 if something failed.

    **Examples**

    * `videoseg status out/`
    * `watch -n 10 videoseg status out/` — while it runs, from anywhere that sees the folder
    """
    from pipelines.status import read_status

    found = read_status(run)
    if as_json:
        console.print_json(found.to_json())
    else:
        print(found.to_text())
    if found.failures:
        raise typer.Exit(1)
