"""`videoseg live`: one stream, frame after frame, within a budget of milliseconds."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console, options
from videoseg.errors import InputError


def live(
    source: Annotated[
        str, typer.Argument(help="A video file or a folder of images, taken as if it came from a camera.")
    ],
    output: options.Output,
    vocab: options.Vocab = "",
    stuff: options.Stuff = "",
    labels: options.Labels = None,
    vocab_file: options.VocabFile = None,
    model: Annotated[
        str, typer.Option("--model", help="A name from `videoseg models list`, or a folder.", metavar="NAME")
    ] = "small",
    budget_ms: Annotated[
        float | None,
        typer.Option(
            "--budget-ms",
            help="Milliseconds that segmenting a frame may take: windows are computed anew as far as they fit.",
            metavar="N",
        ),
    ] = None,
    replay: Annotated[
        Path | None,
        typer.Option(
            "--replay", help="Follow the plans of an earlier run: the same bits again.", metavar="PLANS.JSONL"
        ),
    ] = None,
    cache: options.Cache = "balanced",
    every: options.Every = 1,
    start: options.Start = None,
    end: options.End = None,
    decoder: options.Decoder = "pyav",
    short_side: options.ShortSide = None,
    device: options.Device = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = 0,
) -> None:
    """Segments and tracks one stream within a budget of milliseconds a frame.

    What is computed anew in a frame then depends on the clock. Every plan is written to `plans.jsonl`; with `--replay`
    and the same options, the same bits come out again. Tracks are written as VIPSeg.

    **Examples**

    * `videoseg live walk.mp4 --labels coco --budget-ms 80 -o out/`
    * `videoseg live walk.mp4 --labels coco --budget-ms 80 --replay out/plans.jsonl -o again/`
    """
    console.set_verbosity(verbose)
    from pipelines.jobs import resolve_device
    from pipelines.live import read_plans, run_live
    from pipelines.models import load_model, uses_torch
    from pipelines.profile import numeric_profile, usable_cores
    from pipelines.settings import Placement, RunSettings
    from videoseg.video import open_source
    from videoseg.vocabulary import Vocabulary

    folder = Path(output)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"The folder {folder} is not empty. Name a new one with -o.")
    if not uses_torch(model):
        raise InputError(f"The model {model!r} is no network and has nothing to save. Take --model small.")
    settings = RunSettings(
        every=every,
        start=options.seconds(start, "--start"),
        end=options.seconds(end, "--end"),
        decoder=decoder,
        cache=cache,
        budget_ms=budget_ms,
        short_side=short_side,
    )
    plans = None if replay is None else read_plans(replay)
    words = Vocabulary.build(things=vocab, stuff=stuff, labels=labels or (), files=vocab_file or ())
    place = resolve_device(device, Placement(device=device))
    count = threads or usable_cores()

    from odise_frame.segmenter import WINDOW_BATCH, OdiseSegmenter

    segmenter = load_model(
        model,
        words,
        device=place,
        threads=count,
        cache=settings.cache,
        budget_ms=budget_ms,
        short_side=short_side,
    )
    assert isinstance(segmenter, OdiseSegmenter)
    profile = numeric_profile(
        device=place.split(":")[0], threads=count, decoder=decoder, uses_torch=True, window_batch=WINDOW_BATCH
    )
    opened = open_source(
        source, decoder=decoder, every=every, start=settings.start, end=settings.end, stream=Path(source).stem
    )
    with closing(opened):
        report = run_live(opened, segmenter, folder, profile=profile, replay=plans)
    found = report.to_json(budget_ms)
    if as_json:
        console.print_json({**found, "output": str(folder)})
        return
    print(f"{folder}: " + ", ".join(f"{name} {value}" for name, value in found.items()))
