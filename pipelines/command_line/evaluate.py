"""`videoseg eval`: scores a run or a folder of segments against ground truth."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose


def evaluate(
    prediction: Annotated[
        Path, typer.Argument(help="A run folder or a VIPSeg/COCO-panoptic folder.", show_default=False)
    ],
    truth: Annotated[Path, typer.Argument(help="Ground truth in the VIPSeg/COCO-panoptic form.", show_default=False)],
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """PQ, VPQ, STQ and their parts, of a result against ground truth.

    **Example:** `videoseg eval out/ truth/`
    """
    console.set_verbosity(verbose)
    raise NotImplementedError
