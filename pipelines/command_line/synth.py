"""`videoseg synth`: clips of the synthetic world with exact ground truth."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose


def synth(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", metavar="FOLDER")],
    clips: Annotated[int, typer.Option("--clips", help="How many.", metavar="N")] = 1,
    frames: Annotated[int, typer.Option("--frames", help="Frames per clip.", metavar="N")] = 48,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same clips.", metavar="N")] = 0,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Writes clips of the synthetic world with exact ground truth, to try and to measure with.

    **Example:** `videoseg synth -o world/ --clips 2`
    """
    console.set_verbosity(verbose)
    raise NotImplementedError
