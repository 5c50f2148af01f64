"""`videoseg segment`: the main job."""

from typing import Annotated

import typer

from pipelines.command_line import console, options
from pipelines.command_line.outcome import execute


def segment(
    source: Annotated[str, typer.Argument(help="A video file or a folder of images.", show_default=False)],
    output: options.Output,
    vocab: options.Vocab = "",
    stuff: options.Stuff = "",
    labels: options.Labels = None,
    vocab_file: options.VocabFile = None,
    model: Annotated[
        str, typer.Option("--model", help="A name from `videoseg models list`, or a folder.", metavar="NAME")
    ] = "small",
    every: options.Every = 1,
    fps: options.Fps = None,
    start: options.Start = None,
    end: options.End = None,
    decoder: options.Decoder = "pyav",
    overlay: options.Overlay = True,
    export: options.Export = None,
    executor: options.Executor = "local",
    device: options.Device = "auto",
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = 0,
) -> None:
    """Segments and tracks a video: every pixel of every frame gets a category and a track.

    **Examples**

    * `videoseg segment walk.mp4 --vocab "person; dog, puppy; car" --stuff "sky; road, street; grass" -o out/`
    * `videoseg segment walk.mp4 --labels coco --vocab "red scooter" -o out/ --fps 5`
    * `videoseg segment frames/ --vocab-file street.yaml -o out/ --no-overlay --export vipseg --json`
    """
    console.set_verbosity(verbose)
    from pipelines.jobs import segment_job
    from pipelines.settings import Placement, Products, RunSettings
    from videoseg.vocabulary import Vocabulary

    settings = RunSettings(
        every=every,
        fps=fps,
        start=options.seconds(start, "--start"),
        end=options.seconds(end, "--end"),
        decoder=decoder,
    )
    placement = Placement(executor=executor, device=device, threads=threads)
    vocabulary = Vocabulary.build(things=vocab, stuff=stuff, labels=labels or (), files=vocab_file or ())
    execute(
        lambda: segment_job(source, vocabulary, model=model, settings=settings, placement=placement),
        output,
        placement=placement,
        products=Products(overlay=overlay, exports=tuple(export or ())),
        overwrite=overwrite,
        as_json=as_json,
    )
