"""The options that several commands share, each described once."""

from pathlib import Path
from typing import Annotated

import typer

Output = Annotated[
    str,
    typer.Option("--output", "-o", help="Run folder to write. Must be new or empty.", metavar="FOLDER"),
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier run in the output folder (its own files only).")
]
Vocab = Annotated[
    str,
    typer.Option(
        "--vocab",
        help='Things to look for: `"person; dog, puppy; car"`.',
        metavar="WORDS",
        rich_help_panel="Vocabulary",
    ),
]
Stuff = Annotated[
    str,
    typer.Option(
        "--stuff",
        help='Categories without instances: `"sky; road, street; grass"`.',
        metavar="WORDS",
        rich_help_panel="Vocabulary",
    ),
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        help="A built-in label set (coco, ade20k, lvis, …); may be given again and mixed with --vocab.",
        metavar="NAME",
        rich_help_panel="Vocabulary",
    ),
]
VocabFile = Annotated[
    list[Path] | None,
    typer.Option(
        "--vocab-file",
        help="YAML file with the lists `things:` and `stuff:`; may be given again.",
        metavar="FILE",
        rich_help_panel="Vocabulary",
    ),
]
Every = Annotated[int, typer.Option("--every", help="Take every N-th frame.", metavar="N", rich_help_panel="Frames")]
Fps = Annotated[
    float | None,
    typer.Option("--fps", help="Take the frames nearest to this rate.", metavar="RATE", rich_help_panel="Frames"),
]
Start = Annotated[
    str | None,
    typer.Option("--start", help="Begin here, in seconds, or as 1:23:45.", metavar="TIME", rich_help_panel="Frames"),
]
End = Annotated[
    str | None,
    typer.Option("--end", help="Stop here, in seconds, or as 1:23:45.", metavar="TIME", rich_help_panel="Frames"),
]
Decoder = Annotated[
    str,
    typer.Option(
        "--decoder",
        help="pyav (right on every file) or decord (plain files only).",
        metavar="NAME",
        rich_help_panel="Frames",
    ),
]
Overlay = Annotated[
    bool,
    typer.Option("--overlay/--no-overlay", help="Draw overlay.mp4: masks, outlines, labels, track ids."),
]
Export = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        help="Also write this format (vipseg, davis, …: a wrong name lists all); may be given again.",
        metavar="FORMAT",
    ),
]
Executor = Annotated[
    str,
    typer.Option(
        "--executor",
        help="local (threads beside the network) or inline (one thread, for debugging). Same bytes.",
        metavar="NAME",
        rich_help_panel="This machine",
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1.", metavar="NAME", rich_help_panel="This machine"),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="Threads of the network.", metavar="N", rich_help_panel="This machine"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv everything.", show_default=False)
]


def seconds(text: str | None, option: str) -> float | None:
    """`90`, `1:30` and `0:01:30.5` in seconds.

    Raises:
        InputError: another form.
    """
    from videoseg.errors import InputError

    if text is None:
        return None
    parts = text.split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if not values or len(values) > 3 or any(not 0 <= value < float("inf") for value in values):
        raise InputError(f"{option} takes seconds or H:M:S, for instance 90 or 1:30, got {text!r}.")
    total = 0.0
    for value in values:
        total = total * 60 + value
    return total
