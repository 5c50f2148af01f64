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
    split: Annotated[
        str, typer.Option("--split", help="Whose textures and art styles: train, dev or test.", metavar="NAME")
    ] = "dev",
    art: Annotated[
        Path | None,
        typer.Option(
            "--art",
            help="Draw with sprites of your own: a folder with a folder per concept (dog/, teddy bear/, …), each with "
            "PNGs of any names that are clear around the thing. Only these concepts appear.",
            metavar="FOLDER",
        ),
    ] = None,
    benchmark: Annotated[
        str | None,
        typer.Option(
            "--benchmark",
            help="A frozen set of 24 videos, 8 per level: standard-v1, or standard-v1-dev to choose by. "
            "The other options, but for --output, say nothing then.",
            metavar="NAME",
        ),
    ] = None,
    width: Annotated[int, typer.Option("--width", help="In pixels.", metavar="N", min=16)] = 456,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Writes videos of the synthetic world with exact ground truth, to try and to measure with.

    **Example**, from a video to its score:

    * `videoseg synth -o world/ --level easy`
    * `videoseg segment world/videos/easy-000000.mp4 --vocab-file world/vocabulary.yaml -o out/`
    * `videoseg eval world/ground_truth out/`

    Beside the videos and their ground truth, `flags.json` says what is occluded, leaving or not to be told apart, with
    cuts and captions; `world.json` says which videos make which row of a table and which categories are base or novel.
    """
    console.set_verbosity(verbose)
    from typing import get_args

    from eval.synthetic_world.concepts import Split
    from eval.synthetic_world.levels import LEVELS
    from eval.synthetic_world.standard import BENCHMARKS
    from eval.synthetic_world.write import write_benchmark, write_world
    from videoseg.errors import InputError

    if benchmark is not None:
        name = next((known for known in BENCHMARKS if known == benchmark), None)
        if name is None:
            raise InputError(f"There is no benchmark {benchmark!r}. The ones there are: {', '.join(BENCHMARKS)}.")
        place = write_benchmark(output, name)
    else:
        if level not in LEVELS:
            raise InputError(f"There is no level {level!r}. The ones there are: {', '.join(LEVELS)}.")
        splits: tuple[Split, ...] = get_args(Split)
        drawn = next((known for known in splits if known == split), None)
        if drawn is None:
            raise InputError(f"There is no split {split!r}. The ones there are: {', '.join(splits)}.")
        place = write_world(
            output,
            level=level,
            seeds=range(seed, seed + videos),
            frames=frames,
            height=height,
            width=width,
            split=drawn,
            art=art,
        )
    made = sorted(str(path) for path in (place / "videos").iterdir())
    if as_json:
        console.print_json(
            {
                "output": str(place),
                "videos": made,
                "ground_truth": str(place / "ground_truth"),
                "world": str(place / "world.json"),
            }
        )
        return
    for path in made:
        print(path)
    print(f"Ground truth: {place / 'ground_truth'}")
