"""`write_world`: videos of the world on disk, with their truth; `videoseg synth` is its command.

DIR/videos/<name>.mp4
DIR/ground_truth/             VIPSeg layout (see `videoseg.formats.vipseg`), ids are track ids
DIR/vocabulary.yaml           the vocabulary, for those who run a segmenter on the videos
DIR/flags.json                what is known beside the masks, per video:
    cuts                      frames with which a new scene begins
    tracks                    per thing: id, category, whether novel, icon, style; frames in which it is `occluded`
                              (others hide at least half of what is in view), `leaving` (a fifth or more of it
                              lies beyond the frame's edge) and `out_of_view`
    indistinguishable         groups of ids that look exactly the same
    captions                  every half second: frame and sentence
DIR/world.json                what was asked for, and for tables:
    vocabulary                `things` and `stuff`: texts to pass to `--vocab` and `--stuff`
    categories                names that are `base`, `novel` and `stuff`
    rows                      row of a table -> names of its videos: the levels, `seen style`, `unseen style`
    videos                    per video: name, file, level, style_row, styles, seed, split, frames
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from eval.synthetic_world.art import load_art
from eval.synthetic_world.captions import write_caption
from eval.synthetic_world.concepts import (
    STUFF,
    THINGS,
    UNSEEN_STYLE,
    Concepts,
    Split,
    stuff_text,
    things_text,
    vocabulary,
)
from eval.synthetic_world.image import styles_of
from eval.synthetic_world.levels import LEVELS, LevelName
from eval.synthetic_world.standard import BENCHMARKS, FRAMES, HEIGHT, WIDTH, BenchmarkName
from eval.synthetic_world.video import RATE, SyntheticFrame, render_video
from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame

LEAVING = 0.2
"""A thing of which at least this share lies beyond the frame's edge is `leaving`."""
_CAPTION_EVERY = 12


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
    art: str | Path | None = None,
) -> Path:
    """Renders videos and writes them with their ground truth.

    Memory grows with the number of frames by a few kilobytes each.

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
        art: a folder of sprites of your own instead of the styles' (see `art.load_art`).

    Returns:
        The folder.

    Raises:
        InputError: the folder is not empty, no video is asked for, or the art cannot be read.
    """
    sprites = None if art is None else load_art(art)
    drawn = ("own",) if sprites else styles or styles_of(split)
    listed = []
    renders = {}
    for seed in seeds:
        name = f"{level}-{seed:06d}"
        listed.append(
            {
                "name": name,
                "level": level,
                "style_row": "unseen style"
                if sprites or set(drawn) == {UNSEEN_STYLE}
                else "seen style"
                if UNSEEN_STYLE not in drawn
                else "mixed styles",
                "styles": list(drawn),
                "seed": seed,
                "split": split,
                "frames": frames,
            }
        )
        renders[name] = partial(
            render_video,
            seed,
            level=level,
            frames=frames,
            height=height,
            width=width,
            split=split,
            concepts=concepts,
            styles=styles,
            art=sprites,
        )
    return _write(Path(folder), None, listed, renders, frames=frames, height=height, width=width)


def write_benchmark(folder: str | Path, name: BenchmarkName) -> Path:
    """Renders a frozen benchmark and writes it with its ground truth, as `write_world` does.

    Raises:
        InputError: there is no such benchmark, or the folder is not empty.
    """
    if name not in BENCHMARKS:
        raise InputError(f"There is no benchmark {name!r}. The ones there are: {', '.join(BENCHMARKS)}.")
    listed = [
        {
            "name": video.name,
            "level": video.level,
            "style_row": video.style_row,
            "styles": list(video.styles),
            "seed": video.seed,
            "split": video.split,
            "frames": FRAMES,
        }
        for video in BENCHMARKS[name]
    ]
    renders = {video.name: video.frames for video in BENCHMARKS[name]}
    return _write(Path(folder), name, listed, renders, frames=FRAMES, height=HEIGHT, width=WIDTH)


def _write(
    folder: Path,
    benchmark: str | None,
    listed: list[dict[str, Any]],
    renders: dict[str, Any],
    *,
    frames: int,
    height: int,
    width: int,
) -> Path:
    from videoseg.formats import vipseg

    if not listed or frames < 1:
        raise InputError("A world needs at least one video of at least one frame.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"The folder {folder} is not empty. Name another, or empty it.")
    (folder / "videos").mkdir(parents=True)
    flags = {entry["name"]: _Flags(entry["seed"]) for entry in listed}
    videos: dict[str, Iterable[PanopticFrame]] = {
        name: _written(folder / "videos" / f"{name}.mp4", name, render(), flags[name])
        for name, render in renders.items()
    }
    vipseg.write(folder / "ground_truth", vocabulary(), videos)
    (folder / "vocabulary.yaml").write_text(_vocabulary_yaml(), encoding="utf-8")
    _write_json(folder / "flags.json", {name: entry.to_json() for name, entry in flags.items()})
    rows: dict[str, list[str]] = {}
    for entry in listed:
        entry["file"] = f"videos/{entry['name']}.mp4"
        for row in (entry["level"], entry["style_row"]):
            rows.setdefault(row, []).append(entry["name"])
    world = {
        "version": 1,
        "benchmark": benchmark,
        "frames": frames,
        "height": height,
        "width": width,
        "rate": str(RATE),
        "vocabulary": {"things": things_text(), "stuff": stuff_text()},
        "categories": {
            "base": [thing.names[0] for thing in THINGS if not thing.novel],
            "novel": [thing.names[0] for thing in THINGS if thing.novel],
            "stuff": [stuff.names[0] for stuff in STUFF],
        },
        "rows": rows,
        "videos": listed,
    }
    _write_json(folder / "world.json", world)
    return folder


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


class _Flags:
    """What is known of a video beside its masks, gathered frame by frame."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([41, seed])
        self._cuts: list[int] = []
        self._tracks: dict[int, dict[str, Any]] = {}
        self._looks: defaultdict[int, set[int]] = defaultdict(set)
        self._captions: list[dict[str, Any]] = []

    def add(self, frame: SyntheticFrame) -> None:
        if frame.cut:
            self._cuts.append(frame.index)
        for thing in frame.things:
            entry = self._tracks.setdefault(
                thing.id,
                {
                    "id": thing.id,
                    "category": THINGS[thing.category].names[0],
                    "novel": THINGS[thing.category].novel,
                    "icon": thing.icon,
                    "style": thing.style,
                    "occluded": [],
                    "leaving": [],
                    "out_of_view": [],
                },
            )
            self._looks[thing.look].add(thing.id)
            for key, holds in (
                ("occluded", thing.occluded),
                ("leaving", thing.outside >= LEAVING),
                ("out_of_view", thing.out_of_view),
            ):
                if holds:
                    entry[key].append(frame.index)
        if frame.index % _CAPTION_EVERY == 0:
            things = [segment.category for segment in frame.segments if segment.is_thing]
            stuff = [segment.category - len(THINGS) for segment in frame.segments if not segment.is_thing]
            self._captions.append({"frame": frame.index, "caption": write_caption(self._rng, things, stuff)[0]})

    def to_json(self) -> dict[str, Any]:
        return {
            "cuts": self._cuts,
            "tracks": [self._tracks[id] for id in sorted(self._tracks)],
            "indistinguishable": [sorted(ids) for ids in self._looks.values() if len(ids) > 1],
            "captions": self._captions,
        }


def _written(path: Path, name: str, frames: Iterable[SyntheticFrame], flags: _Flags) -> Iterator[PanopticFrame]:
    """The truth of the frames; their pictures go into the file as it is taken."""
    from videoseg.video.writer import VideoWriter

    writer: Any = None
    try:
        for frame in frames:
            if writer is None:
                writer = VideoWriter(path, frame.rgb.shape[1], frame.rgb.shape[0], rate=RATE)
            writer.write(frame.rgb, time=frame.time)
            flags.add(frame)
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
