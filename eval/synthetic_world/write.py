"""`write_world`: videos of the world on disk, with their truth; `python -m eval.synthetic_world.write --help`.

DIR/videos/<level>-<seed>.mp4
DIR/ground_truth/             VIPSeg layout (see `videoseg.formats.vipseg`), ids are track ids
DIR/vocabulary.yaml           the vocabulary, for those who run a segmenter on the videos
DIR/world.json                what was asked for
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

from eval.synthetic_world.concepts import STUFF, THINGS, Concepts, Split, vocabulary
from eval.synthetic_world.levels import LEVELS, LevelName
from eval.synthetic_world.video import RATE, SyntheticFrame, render_video
from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame


def write_world(
    folder: str | Path,
    *,
    level: LevelName,
    seeds: Iterable[int],
    frames: int,
    height: int = 256,
    width: int = 456,
    split: Split = "dev",
    concepts: Concepts = "all",
    styles: tuple[str, ...] | None = None,
) -> Path:
    """Renders videos and writes them with their ground truth.

    Memory grows with the number of frames by a few hundred bytes each.

    Args:
        folder: is made; must be empty if it is there.
        level: how difficult.
        seeds: one video each.
        frames: of each video.
        height: of the frames in pixels.
        width: of the frames in pixels.
        split: whose textures and styles.
        concepts: `base` never shows a novel thing.
        styles: art styles instead of the split's own.

    Returns:
        The folder.

    Raises:
        InputError: the folder is not empty, or no video is asked for.
    """
    from videoseg.formats import vipseg

    folder = Path(folder)
    seeds = list(seeds)
    if not seeds or frames < 1:
        raise InputError("A world needs at least one video of at least one frame.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"The folder {folder} is not empty. Name another, or empty it.")
    (folder / "videos").mkdir(parents=True)
    videos: dict[str, Iterable[PanopticFrame]] = {}
    for seed in seeds:
        render = partial(
            render_video,
            seed,
            level=level,
            frames=frames,
            height=height,
            width=width,
            split=split,
            concepts=concepts,
            styles=styles,
        )
        name = f"{level}-{seed:06d}"
        videos[name] = _written(folder / "videos" / f"{name}.mp4", name, render())
    vipseg.write(folder / "ground_truth", vocabulary(), videos)
    (folder / "vocabulary.yaml").write_text(_vocabulary_yaml(), encoding="utf-8")
    asked = {
        "level": level,
        "seeds": seeds,
        "frames": frames,
        "height": height,
        "width": width,
        "split": split,
        "concepts": concepts,
        "styles": styles,
    }
    (folder / "world.json").write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    return folder


def _written(path: Path, name: str, frames: Iterable[SyntheticFrame]) -> Iterator[PanopticFrame]:
    """The truth of the frames; their pictures go into the file as it is taken."""
    from videoseg.video.writer import VideoWriter

    writer: Any = None
    try:
        for frame in frames:
            if writer is None:
                writer = VideoWriter(path, frame.rgb.shape[1], frame.rgb.shape[0], rate=RATE)
            writer.write(frame.rgb, time=frame.time)
            yield frame.to_panoptic(name)
    finally:
        if writer is not None:
            writer.close()


def _vocabulary_yaml() -> str:
    lines = ["things:"]
    lines += [f"  - [{', '.join(thing.names)}]" for thing in THINGS]
    lines += ["stuff:"]
    lines += [f"  - [{', '.join(stuff.names)}]" for stuff in STUFF]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.synthetic_world.write", description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", required=True, type=Path, help="folder to make")
    parser.add_argument("--level", choices=list(LEVELS), default="medium", help="how difficult (default: medium)")
    parser.add_argument("--seed", type=int, default=0, help="of the first video (default: 0)")
    parser.add_argument("--videos", type=int, default=1, help="how many, with successive seeds (default: 1)")
    parser.add_argument("--frames", type=int, default=48, help="of each video (default: 48)")
    parser.add_argument("--height", type=int, default=256, help="in pixels (default: 256)")
    parser.add_argument("--width", type=int, default=456, help="in pixels (default: 456)")
    parser.add_argument("--split", choices=get_args(Split), default="dev", help="(default: dev)")
    parser.add_argument("--concepts", choices=get_args(Concepts), default="all", help="which things (default: all)")
    options = parser.parse_args(arguments)
    try:
        folder = write_world(
            options.output,
            level=options.level,
            seeds=range(options.seed, options.seed + options.videos),
            frames=options.frames,
            height=options.height,
            width=options.width,
            split=options.split,
            concepts=options.concepts,
        )
    except InputError as error:
        parser.error(str(error))
    print(f"{options.videos} × {options.frames} frames in {folder / 'videos'}, truth in {folder / 'ground_truth'}")


if __name__ == "__main__":
    main()
