"""`videoseg bench engine`: the exact engine beside the published way of computing the same."""

from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose
from videoseg.errors import InputError


def engine(
    size: Annotated[
        str,
        typer.Option("--size", help="A model size or a model folder; random weights if it has none.", metavar="NAME"),
    ] = "odise-label",
    frames: Annotated[
        str | None,
        typer.Option(
            "--frames",
            help="Comma-separated: window (one window), square (the model's short side), or HEIGHTxWIDTH of a video.",
            metavar="LIST",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1.", metavar="NAME")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", help="Of the network.", metavar="N", min=1)] = 1,
    repeats: Annotated[
        int | None, typer.Option("--repeats", help="Timed frames: 1 on a processor, 50 on a GPU.", metavar="N", min=1)
    ] = None,
    paths: Annotated[
        str | None, typer.Option("--paths", help="Only these rows, separated by commas.", metavar="NAMES")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """As-reference against exact: the same weights and frames, in one run, on the same threads.

    The as-reference path computes what the published code computes, dead blocks and all; the exact path leaves out
    what nobody reads. Beside the times stand the distances of their features, masks and results. On a processor the
    time is of the processor, so that other programs don't count; on a GPU it is of the clock.

    **Examples**

    * `videoseg bench engine --size small`
    * `videoseg bench engine` — the published size, a window and a frame: minutes, and 7 GB of memory
    * `videoseg bench engine --device cuda --json` — a 720p frame on a GPU: in half an hour all that there is to know
    """
    console.set_verbosity(verbose)
    import re

    import torch

    from pipelines.engine_bench.measure import measure
    from pipelines.engine_bench.report import report_text, row_text
    from pipelines.jobs import resolve_device

    place = resolve_device(device)
    names = (frames or ("window,square" if place == "cpu" else "720x1280")).replace(" ", "").split(",")
    if wrong := [name for name in names if not re.fullmatch(r"window|square|[1-9]\d*x[1-9]\d*", name)]:
        raise InputError(f"--frames takes window, square or HEIGHTxWIDTH, got {wrong[0]!r}.")
    torch.set_num_threads(threads)
    report = measure(
        size,
        names,
        device=place,
        repeats=repeats or (1 if place == "cpu" else 50),
        paths=None if paths is None else [name.strip() for name in paths.split(",")],
        on_row=lambda row: console.say(row_text(row)) if verbose else None,
    )
    if as_json:
        console.print_json(report.to_json())
        return
    print(report_text(report))
