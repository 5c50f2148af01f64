"""How good a model is in the synthetic world: `python -m pipelines.training.quality --help`.

Renders videos that no training saw, segments and tracks them, and scores the tracks: base and novel things and stuff
apart, with frames per second and the seconds by stage.
"""

import argparse
import json
import time
from collections.abc import Iterator
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from eval import Evaluation
from eval.synthetic_world.concepts import STUFF, THINGS, Split, thing_indices, vocabulary
from eval.synthetic_world.levels import LEVELS, LevelName
from eval.synthetic_world.video import RATE, SyntheticFrame, render_video
from odise_frame.segmenter import OdiseSegmenter, load_segmenter
from tracking import PanopticTracker
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.motion_estimation import estimate_motion
from videoseg.panoptic import PanopticFrame

WINDOWS = (1, 2, 4, 6)
"""Of VPQ: the ones whose mean is published for VIPSeg."""


def score(
    segmenter: OdiseSegmenter, *, level: LevelName, seeds: range, frames: int, split: Split
) -> dict[str, float | int | str]:
    """PQ and VPQ in percent by kind of category, STQ and association, and the time it took."""
    evaluation = Evaluation(vocabulary())
    segmenter.times.seconds.clear()
    spent = 0.0
    for seed in seeds:
        shown = list(render_video(seed, level=level, frames=frames, height=256, width=456, split=split))
        name = f"{level}-{seed}"
        began = time.perf_counter()
        tracked = list(track(segmenter, name, shown))
        spent += time.perf_counter() - began
        evaluation.add_video((frame.to_panoptic(name) for frame in shown), tracked, segmenter.vocabulary)
    report = evaluation.report().values
    row: dict[str, float | int | str] = {"level": level, "videos": len(seeds), "frames": evaluation.frames}
    for group, among in groups().items():
        pq = [evaluation.vpq[k].counts.mean(among).pq for k in WINDOWS]
        row |= {f"pq {group}": round(100 * pq[0], 1), f"vpq {group}": round(100 * sum(pq) / len(pq), 1)}
    row |= {key: round(100 * report[key], 1) for key in ("stq", "hota", "assa", "idf1")}
    row |= {"frames/s": round(evaluation.frames / spent, 2)}
    seconds = segmenter.times.seconds
    return row | {f"ms {stage}": round(1000 * value / evaluation.frames, 1) for stage, value in seconds.items()}


def groups() -> dict[str, NDArray[np.bool_]]:
    """Which categories count as what: bool `[K]` each."""
    base, novel = (np.isin(np.arange(len(THINGS) + len(STUFF)), thing_indices(kind)) for kind in ("base", "novel"))
    stuff = np.arange(len(THINGS) + len(STUFF)) >= len(THINGS)
    return {"base + stuff": base | stuff, "base": base, "stuff": stuff, "novel": novel}


def track(segmenter: OdiseSegmenter, name: str, shown: list[SyntheticFrame]) -> Iterator[PanopticFrame]:
    """Segments and tracks a rendered video, frame by frame."""
    tracker = PanopticTracker(vocabulary=segmenter.vocabulary)
    state, segmenter_state = tracker.new_state(name), segmenter.new_state(name)
    before: NDArray[np.uint8] | None = None
    for index, picture in enumerate(shown):
        frame = Frame(name, 0, index, index, 1 / RATE, float(index / RATE), picture.rgb)
        motion: Motion | None = None if before is None else estimate_motion(before, picture.rgb)
        before = picture.rgb
        [found] = segmenter.segment([frame], [motion], [segmenter_state])
        yield from tracker.step(found, motion, state).frames
    yield from tracker.finish(state).frames


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.training.quality", description=__doc__)
    parser.add_argument("--model", default="small", help="a known model or a model folder")
    parser.add_argument("--level", choices=[*LEVELS, "all"], default="all")
    parser.add_argument("--videos", type=int, default=4, help="per level")
    parser.add_argument("--frames", type=int, default=24, help="of each video")
    parser.add_argument("--seed", type=int, default=1000, help="of the first video")
    parser.add_argument("--split", choices=get_args(Split), default="dev")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object a level")
    options = parser.parse_args()
    segmenter = load_segmenter(options.model, vocabulary(), threads=options.threads)
    for level in LEVELS if options.level == "all" else (options.level,):
        seeds = range(options.seed, options.seed + options.videos)
        row = score(segmenter, level=level, seeds=seeds, frames=options.frames, split=options.split)
        print(
            json.dumps(row) if options.json else ", ".join(f"{key} {value}" for key, value in row.items()), flush=True
        )


if __name__ == "__main__":
    main()
