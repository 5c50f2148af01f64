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
    from pipelines.jobs import track_job
    from pipelines.settings import Placement, Products, RunSettings

    execute(
        lambda: track_job(
            segments, pictures=pictures, video=video, format=format, settings=RunSettings(decoder=decoder)
        ),
        output,
        placement=Placement(executor=executor, device="cpu"),
        products=Products(overlay=overlay, exports=tuple(export or ())),
        overwrite=overwrite,
        as_json=as_json,
    )
