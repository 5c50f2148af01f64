"""`videoseg synth`: videos of the synthetic world with exact ground truth."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose


def synth(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write.", metavar="FOLDER")],
    level: Annotated[str, typer.Option("--level", help="easy, medium or hard.", metavar="NAME")] = "easy",
    videos: Annotated[int, typer.Option("--videos", help="How many.", metavar="N", min=1)] = 1,
    frames: Annotated[int, typer.Option("--frames", help="Frames of each.", metavar="N", min=1)] = 48,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same videos.", metavar="N", min=0)] = 0,
    height: Annotated[int, typer.Option("--height", help="In pixels.", metavar="N", min=16)] = 256,
    width: Annotated[int, typer.Option("--width", help="In pixels.", metavar="N", min=16)] = 456,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Writes videos of the synthetic world with exact ground truth, to try and to measure with.

    **Example**, from a video to its score:

    * `videoseg synth -o world/ --level easy`
    * `videoseg segment world/videos/easy-000000.mp4 --vocab-file world/vocabulary.yaml -o out/`
    * `videoseg eval world/ground_truth out/`
    """
    console.set_verbosity(verbose)
    from eval.synthetic_world.levels import LEVELS
    from eval.synthetic_world.write import write_world
    from videoseg.errors import InputError

    if level not in LEVELS:
        raise InputError(f"There is no level {level!r}. The ones there are: {', '.join(LEVELS)}.")
    place = write_world(
        output,
        level=level,
        seeds=range(seed, seed + videos),
        frames=frames,
        height=height,
        width=width,
    )
    made = sorted(str(path) for path in (place / "videos").iterdir())
    if as_json:
        console.print_json({"output": str(place), "videos": made, "ground_truth": str(place / "ground_truth")})
        return
    for path in made:
        print(path)
    print(f"Ground truth: {place / 'ground_truth'}")
