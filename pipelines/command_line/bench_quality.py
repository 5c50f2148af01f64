"""`videoseg bench quality`: a model in a synthetic world, beside itself with parts taken away."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose
from videoseg.errors import InputError


def quality(
    world: Annotated[Path, typer.Argument(help="A folder that `videoseg synth` wrote.", show_default=False)],
    model: Annotated[str, typer.Option("--model", help="A known model or a model folder.", metavar="NAME")] = "small",
    variants: Annotated[
        str | None,
        typer.Option("--variants", help="Only these rows, separated by commas; `all` for every one.", metavar="NAMES"),
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", help="Only the first so many frames of each video.", metavar="N", min=1)
    ] = None,
    threads: Annotated[int, typer.Option("--threads", help="Of the network.", metavar="N", min=1)] = 2,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """PQ, VPQ, STQ and association of a model by level, style and kind of category.

    Beside the model as it ships stand, if asked for, rows with a part taken away: the UNet's features zeroed, a UNet
    that has learnt nothing, no caption, either classifier alone, shuffled names, names by mean colour.

    **Examples**

    * `videoseg synth --benchmark standard-v1-dev -o world/`
    * `videoseg bench quality world/ --variants all --frames 12`
    """
    console.set_verbosity(verbose)
    import torch

    from pipelines.quality.bench import measure, table
    from pipelines.quality.variants import VARIANTS

    known = {variant.name.casefold(): variant for variant in VARIANTS}
    asked = [name.strip().casefold() for name in (variants or VARIANTS[0].name).split(",")]
    if asked == ["all"]:
        asked = list(known)
    if unknown := [name for name in asked if name not in known]:
        raise InputError(f"There is no row {unknown[0]!r}. There are: {', '.join(v.name for v in VARIANTS)}.")
    torch.set_num_threads(threads)
    with console.counting("Measuring", "videos", enabled=not as_json) as show:
        rows = measure(world, model, [known[name] for name in asked], frames=frames, on_video=show)
    flat = table(rows)
    if as_json:
        console.print_json({"model": model, "world": str(world), "frames": frames, "rows": flat})
        return
    columns = list(dict.fromkeys(key for entry in flat for key in entry))
    text = [columns, *([str(entry.get(column, "")) for column in columns] for entry in flat)]
    widths = [max(len(line[i]) for line in text) for i in range(len(columns))]
    for line in text:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for row in rows:
        print(f"{row.variant.name}: {row.variant.asks} ({row.seconds:.0f} s of segmentation)")
