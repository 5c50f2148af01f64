"""`videoseg track`: tracks for per-frame segments that somebody else made."""

from typing import Annotated

import typer

from pipelines.command_line import console, options
from pipelines.command_line.outcome import execute


def track(
    segments: Annotated[
        str, typer.Argument(help="A folder or file of any format that docs/formats.md lists.", show_default=False)
    ],
    output: options.Output,
    pictures: Annotated[
        str | None,
        typer.Option(
            "--pictures",
            help="The video or folder of images behind the segments: things are recognised by colour, too.",
            metavar="PATH",
        ),
    ] = None,
    video: Annotated[
        str | None, typer.Option("--video", help="Which video, where the folder holds several.", metavar="NAME")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", help="Of the segments, where files leave it open: see docs/formats.md.", metavar="NAME"
        ),
    ] = None,
    decoder: options.Decoder = "pyav",
    output_delay: options.Delay = 0,
    fill_seconds: options.Fill = 0.0,
    refine: options.Refine = False,
    words_at: Annotated[list[str] | None, typer.Option("--vocab-at", "--stuff-at", hidden=True)] = None,
    overlay: options.Overlay = True,
    export: options.Export = None,
    executor: options.Executor = "local",
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    verbose: options.Verbose = 0,
) -> None:
    """Tracks anyone's per-frame panoptic segments: same object, same track, through the video.

    Ids in the input need not mean anything from frame to frame; if they do, they are passed over.

    **Examples**

    * `videoseg track segments/ -o out/`
    * `videoseg track panoptic.json --pictures walk.mp4 -o out/ --export vipseg`
    """
    console.set_verbosity(verbose)
    from pipelines.jobs import CANNOT_CHANGE, track_job
    from pipelines.settings import Placement, Products, RunSettings
    from videoseg.errors import InputError

    if words_at:
        raise InputError(CANNOT_CHANGE)
    settings = RunSettings(decoder=decoder, output_delay=output_delay, fill_seconds=fill_seconds, refine=refine)
    execute(
        lambda: track_job(segments, pictures=pictures, video=video, format=format, settings=settings),
        output,
        placement=Placement(executor=executor, device="cpu"),
        products=Products(overlay=overlay, exports=tuple(export or ())),
        overwrite=overwrite,
        as_json=as_json,
    )
