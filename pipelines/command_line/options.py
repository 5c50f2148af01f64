"""The options that several commands share, each described once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

Output = Annotated[
    str,
    typer.Option("--output", "-o", help="Run folder to write. Must be new or empty.", metavar="FOLDER"),
]
OptionalOutput = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", help="Run folder to write. Must be new or empty.", metavar="FOLDER", show_default=False
    ),
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
CodecVectors = Annotated[
    bool,
    typer.Option(
        "--codec-vectors",
        help="Try the motion vectors of the file, too, where motion is estimated (pyav).",
        rich_help_panel="Frames",
    ),
]
Cache = Annotated[
    str,
    typer.Option(
        "--cache",
        help="What the network keeps of the frames before: off, exact (same bits, still parts only), balanced, fast.",
        metavar="MODE",
        rich_help_panel="Frames",
    ),
]
BudgetFlops = Annotated[
    float | None,
    typer.Option(
        "--budget-flops",
        help="Operations that a frame may cost in the mean, in place of what the cache's mode says.",
        metavar="N",
        rich_help_panel="Frames",
    ),
]
ShortSide = Annotated[
    int | None,
    typer.Option(
        "--short-side",
        help="Pixels that a frame's short side is resized to for the network; by default the model's own (the official "
        "models': 1024; 512 is four times faster).",
        metavar="PIXELS",
        rich_help_panel="Frames",
    ),
]
Delay = Annotated[
    int,
    typer.Option(
        "--delay",
        help="Hold tracks back by N frames, so that short false ones never appear; 15 suits files.",
        metavar="N",
        rich_help_panel="Tracks",
    ),
]
Fill = Annotated[
    float,
    typer.Option(
        "--fill",
        help="Draw tracks that are missing for up to so many seconds where nothing else is.",
        metavar="SECONDS",
        rich_help_panel="Tracks",
    ),
]
Refine = Annotated[
    bool,
    typer.Option(
        "--refine",
        help="At the end, join fragments of tracks over the whole video by their looks.",
        rich_help_panel="Tracks",
    ),
]
VocabAt = Annotated[
    list[str] | None,
    typer.Option(
        "--vocab-at",
        help='Other things from a frame on: `"240=person; scooter"`; tracks keep their ids. May be given again.',
        metavar="FRAME=WORDS",
        rich_help_panel="Vocabulary",
    ),
]
StuffAt = Annotated[
    list[str] | None,
    typer.Option(
        "--stuff-at",
        help="Other stuff from a frame on, likewise.",
        metavar="FRAME=WORDS",
        rich_help_panel="Vocabulary",
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
        help="local (this machine), ray (actors, here or on a cluster) or inline (one thread, for debugging). "
        "Same bytes.",
        metavar="NAME",
        rich_help_panel="This machine",
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", help="auto, cpu, cuda, cuda:1.", metavar="NAME", rich_help_panel="This machine"),
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype",
        help="float32 (as published) or bfloat16 (half of the memory), of the network's frozen weights.",
        metavar="NAME",
        rich_help_panel="This machine",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="Threads of the network.", metavar="N", rich_help_panel="This machine"),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        help="Chunks computed beside each other, each with a reader, a network and a tracker of its own.",
        metavar="N",
        rich_help_panel="This machine",
    ),
]
StreamsPerWorker = Annotated[
    int,
    typer.Option(
        "--streams-per-worker",
        help="Chunks that each worker computes at a time with one network, whose batches they fill together.",
        metavar="N",
        rich_help_panel="This machine",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        help="With --executor ray: the cluster to join, for instance host:6379. Without, a private one is started.",
        metavar="HOST:PORT",
        rich_help_panel="This machine",
    ),
]
GpusPerWorker = Annotated[
    float,
    typer.Option(
        "--gpus-per-worker",
        help="Share of a GPU for each worker; 0.5 puts two on one.",
        metavar="SHARE",
        rich_help_panel="This machine",
    ),
]
Resume = Annotated[
    str | None,
    typer.Option(
        "--resume",
        help="Go on with the run in this folder, wherever it ended; what is not given is as it was begun.",
        metavar="FOLDER",
        rich_help_panel="Going on",
    ),
]
Redo = Annotated[
    str | None,
    typer.Option(
        "--redo",
        help="With --resume: compute the chunks between these times again, for instance 1:00-2:30.",
        metavar="FROM-TO",
        rich_help_panel="Going on",
    ),
]
AllowOtherProfile = Annotated[
    bool,
    typer.Option(
        "--allow-other-profile",
        help="Go on, or take part, under another numeric profile: last bits may differ.",
        rich_help_panel="Going on",
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        help="Serve the run's numbers for Prometheus at this port, under /metrics.",
        metavar="PORT",
        rich_help_panel="This machine",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of text.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Say more; -vv everything.", show_default=False)
]


def given(context: typer.Context) -> set[str]:
    """Names of the options that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def require_alone(resume: str | None, *, redo: str | None, output: str | None, overwrite: bool) -> None:
    """Holds what is said of going on together.

    Raises:
        InputError: options that contradict each other.
    """
    from videoseg.errors import InputError

    if resume is None and redo is not None:
        raise InputError("--redo is about a run that was begun: add --resume FOLDER.")
    if resume is not None and (overwrite or output not in (None, resume)):
        raise InputError("--resume names the run folder and keeps what is in it: leave out -o and --overwrite.")


def require_command(begun: Mapping[str, Any], command: str, folder: str) -> None:
    """Whether the run in the folder was begun by that command, from what `run.json` says was given.

    Raises:
        InputError: it was another.
    """
    from videoseg.errors import InputError

    other = begun.get("command", command)
    if other != command:
        raise InputError(
            f"The run in {folder} was begun by `videoseg {other}`: go on with `videoseg {other} --resume`."
        )


def require(
    source: str | None, output: str | None, missing: str = "SOURCE: name a video file or a folder of images"
) -> tuple[str, str]:
    """What is needed after all, where no run says it.

    Args:
        missing: name of the argument, and what to name there.

    Raises:
        InputError: one of them is missing.
    """
    from videoseg.errors import InputError

    if source is None:
        raise InputError(f"Missing argument {missing}, or a run with --resume.")
    if output is None:
        raise InputError("Missing option -o: name the run folder to write, or a run to go on with by --resume.")
    return source, output


def interval(text: str | None, option: str) -> tuple[float, float] | None:
    """`1:00-2:30` as (60.0, 150.0).

    Raises:
        InputError: another form.
    """
    from videoseg.errors import InputError

    if text is None:
        return None
    first, dash, last = text.partition("-")
    if not dash:
        raise InputError(f"{option} takes two times with a dash between, for instance 1:00-2:30, got {text!r}.")
    begin, end = seconds(first, option), seconds(last, option)
    assert begin is not None
    assert end is not None
    if begin >= end:
        raise InputError(f"{option} takes the earlier time first, got {text!r}.")
    return begin, end


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


def at_frames(given: list[str] | None, option: str) -> dict[int, str]:
    """`["240=person; scooter"]` as {240: "person; scooter"}.

    Raises:
        InputError: another form, or the same frame twice.
    """
    from videoseg.errors import InputError

    found: dict[int, str] = {}
    for text in given or ():
        frame, equals, words = text.partition("=")
        if not equals or not frame.strip().isdecimal():
            raise InputError(f'{option} takes a frame and words, for instance "240=person; scooter", got {text!r}.')
        if int(frame) in found:
            raise InputError(f"{option} is given twice for frame {int(frame)}. Put all words into one.")
        found[int(frame)] = words
    return found
