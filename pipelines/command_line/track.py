"""`videoseg track`: tracks for per-frame segments that somebody else made."""

from typing import Annotated

import typer

from pipelines.command_line import console, options
from pipelines.command_line.outcome import execute
from pipelines.command_line.watching import AskedFor


def track(
    context: typer.Context,
    segments: Annotated[
        str | None,
        typer.Argument(help="A folder or file of any format that docs/formats.md lists.", show_default=False),
    ] = None,
    output: options.OptionalOutput = None,
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
    workers: options.Workers = 1,
    address: options.Address = None,
    resume: options.Resume = None,
    redo: options.Redo = None,
    allow_other_profile: options.AllowOtherProfile = False,
    overwrite: options.Overwrite = False,
    metrics_port: options.MetricsPort = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = 0,
) -> None:
    """Tracks anyone's per-frame panoptic segments: same object, same track, through the video.

    Ids in the input need not mean anything from frame to frame; if they do, they are passed over.

    **Examples**

    * `videoseg track segments/ -o out/`
    * `videoseg track panoptic.json --pictures walk.mp4 -o out/ --export vipseg`
    * `videoseg track --resume out/` — goes on where a run was ended, with any executor
    """
    console.set_verbosity(verbose)
    from pipelines.jobs import CANNOT_CHANGE, track_job
    from pipelines.resuming import Begun
    from pipelines.run import Resuming
    from pipelines.settings import Placement, Products, RunSettings
    from videoseg.errors import InputError

    if words_at:
        raise InputError(CANNOT_CHANGE)
    options.require_alone(resume, redo=redo, output=output, overwrite=overwrite)
    chosen = {"decoder": decoder, "output_delay": output_delay, "fill_seconds": fill_seconds, "refine": refine}
    if resume is not None:
        begun = Begun.of(resume)
        options.require_command(begun.given, "track", resume)
        named = options.given(context)
        segments = segments or begun.given.get("source")
        pictures = pictures or begun.given.get("pictures")
        video = video or begun.given.get("video")
        format = format or begun.given.get("format")
        overlay = overlay if "overlay" in named else bool(begun.given.get("overlay", overlay))
        export = export if "export" in named else list(begun.given.get("exports", ()))
        chosen = {**begun.settings, **{name: value for name, value in chosen.items() if name in named}}
    place, folder = options.require(segments, output or resume, "SEGMENTS: name a folder or file of segments")
    settings = RunSettings.from_json(chosen)
    placement = Placement(executor=executor, device="cpu", workers=workers, address=address)
    asked = AskedFor(
        placement=placement,
        products=Products(overlay=overlay, exports=tuple(export or ())),
        overwrite=overwrite,
        resume=None
        if resume is None
        else Resuming(any_profile=allow_other_profile, redo=options.interval(redo, "--redo")),
        as_json=as_json,
        metrics_port=metrics_port,
    )
    execute(
        lambda: track_job(place, pictures=pictures, video=video, format=format, settings=settings, placement=placement),
        folder,
        asked,
    )
