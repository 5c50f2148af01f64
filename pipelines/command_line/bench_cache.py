"""`videoseg bench cache`: the temporal cache beside simpler ways to save."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose
from videoseg.errors import InputError


def cache(
    world: Annotated[
        Path | None, typer.Argument(help="A folder that `videoseg synth` wrote, or a video file.", show_default=False)
    ] = None,
    model: Annotated[str, typer.Option("--model", help="A known model or a model folder.", metavar="NAME")] = "small",
    policies: Annotated[
        str | None, typer.Option("--policies", help="Only these rows, separated by commas.", metavar="NAMES")
    ] = None,
    videos: Annotated[
        str | None, typer.Option("--videos", help="Only these videos, separated by commas.", metavar="NAMES")
    ] = None,
    frames: Annotated[
        int | None, typer.Option("--frames", help="Only the first so many frames of each video.", metavar="N", min=2)
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option("--features", help="Keep the features of all frames here, 4 MB a frame.", metavar="FOLDER"),
    ] = None,
    execute: Annotated[
        bool, typer.Option("--execute", help="Run the network in our modes, too, with captions as old as they get.")
    ] = False,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw quality against cost.", metavar="FILE")] = None,
    speed: Annotated[
        bool, typer.Option("--speed", help="Only time the modes, beside each other, on one video.")
    ] = False,
    official_size: Annotated[
        bool,
        typer.Option("--official-size", help="Only cost and memory at 720p, or with --speed a model of that size."),
    ] = False,
    device: Annotated[str, typer.Option("--device", help="Of --speed: cpu, cuda.", metavar="NAME")] = "cpu",
    threads: Annotated[int, typer.Option("--threads", help="Of the network.", metavar="N", min=1)] = 2,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Quality against cost of every cache mode and of simpler ways to save.

    Features of all frames are computed once and kept, so a second run is quick. Operations are counted, padded batches
    included; those at the official size are of the same plans.

    **Examples**

    * `videoseg bench cache world/ --features features/ --plot curve.png`
    * `videoseg bench cache world/ --videos easy-0,medium-0 --frames 24 --policies off,balanced,fast`
    * `videoseg bench cache --official-size`
    * `videoseg bench cache walk.mp4 --speed --official-size --device cuda --frames 500`
    """
    console.set_verbosity(verbose)
    import torch

    torch.set_num_threads(threads)
    if speed:
        from pipelines.cache_bench.speed import OFFICIAL_MODEL, time_modes

        file = _first_video(world)
        found = time_modes(file, OFFICIAL_MODEL if official_size else model, frames=frames or 60, device=device)
        _show(found, as_json)
        return
    if official_size:
        from pipelines.cache_bench.bench import official_figures

        _show(official_figures(), as_json)
        return
    from tempfile import TemporaryDirectory

    from pipelines.cache_bench.bench import measure, read_clip, read_videos
    from pipelines.cache_bench.policies import POLICIES
    from pipelines.cache_bench.report import table, to_json

    if world is None:
        raise InputError("Name a world (`videoseg synth -o FOLDER` makes one) or a video file.")
    known = {policy.name: policy for policy in POLICIES}
    asked = [name.strip() for name in policies.split(",")] if policies else list(known)
    if unknown := [name for name in asked if name not in known]:
        raise InputError(f"There is no policy {unknown[0]!r}. There are: {', '.join(known)}.")
    names = [name.strip() for name in videos.split(",")] if videos else None
    clips, words = read_videos(world, names, frames) if world.is_dir() else read_clip(world, frames)
    with TemporaryDirectory() as scratch:
        findings = measure(
            clips,
            words,
            model,
            [known["off"], *(known[name] for name in asked if name != "off")],
            folder=features or Path(scratch),
            executed=execute,
            on_step=(lambda note: console.say(note)) if verbose else (lambda note: None),
        )
    if plot is not None:
        from pipelines.cache_bench.plot import draw

        draw(findings, plot)
    if as_json:
        console.print_json({"model": model, "world": str(world), "frames": frames, **to_json(findings)})
        return
    print(table(findings))


def _first_video(world: Path | None) -> Path:
    if world is None:
        raise InputError("--speed needs a video file, or a world with videos.")
    if world.is_file():
        return world
    found = sorted((world / "videos").glob("*.mp4"))
    if not found:
        raise InputError(f"{world} has no videos. Make a world with `videoseg synth -o FOLDER`.")
    return found[0]


def _show(found: dict[str, object], as_json: bool) -> None:
    if as_json:
        console.print_json(found)
        return
    for name, value in found.items():
        print(f"{name}: {value}")
