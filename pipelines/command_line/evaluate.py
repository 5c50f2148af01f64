"""`videoseg eval`: scores a run or a folder of segments against ground truth."""

from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose

# What most people ask for, in their order; --json has everything.
_SHOWN = {"vpq.1": "PQ", "vpq.mean_1246": "VPQ", "stq": "STQ", "aq": "  AQ", "stq_sq": "  SQ", "hota": "HOTA"}


def evaluate(
    truth: Annotated[str, typer.Argument(help="Ground truth as a VIPSeg folder.", show_default=False)],
    prediction: Annotated[
        str, typer.Argument(help="A run folder, or a VIPSeg or COCO-panoptic folder.", show_default=False)
    ],
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """PQ, VPQ, STQ, HOTA and their parts, of a result against ground truth.

    Categories are paired by their names, frames by their index.

    **Examples**

    * `videoseg eval world/ground_truth out/`
    * `videoseg eval ground_truth/ predictions/ --json`
    """
    console.set_verbosity(verbose)
    from pipelines.evaluation import score

    report = score(prediction, truth)
    if as_json:
        console.print_json(report.to_json())
        return
    rows = {name: f"{100 * report.values[key]:.1f}" for key, name in _SHOWN.items() if key in report.values}
    print(console.table({"videos": report.videos, "frames": report.frames, **rows}))
