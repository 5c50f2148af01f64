"""How fast the metrics are, beside plain evaluators that go mask by mask: `python -m eval.benchmark`.

Draws videos (stuff in bands, moving ellipses, a prediction with misses, switches and flips), measures them in one
process from arrays, then a part of them with the plain evaluators; both must agree. CPU seconds are of this process,
peak memory is what was added above the videos themselves.
"""

import argparse
import platform
import resource
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from eval.arrays import LabelledVideo, evaluate_arrays
from eval.names import PANOPTIC_METRICS
from eval.plain_evaluator import PlainVideo, plain_stq, plain_vpq

CATEGORIES, THINGS = 124, 58
"""Of VIPSeg."""
WINDOWS = (1, 2, 4, 6)
STUFF_SEGMENTS, OBJECTS = 11, 12
"""About 23 segments a frame, as in VIPSeg's results."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One job."""

    seconds: float
    """CPU seconds."""
    values: dict[str, float]


def draw(seed: int, frames: int, height: int, width: int) -> PlainVideo:
    """One video and a prediction of it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    category = np.concatenate([
        [0],
        random.choice(np.arange(THINGS, CATEGORIES), STUFF_SEGMENTS, replace=False),
        random.integers(0, THINGS, OBJECTS),
    ])  # fmt: skip
    edges = np.sort(random.uniform(0, width, STUFF_SEGMENTS - 1))
    centre = random.uniform(0, 1, (OBJECTS, 2)) * (height, width)
    speed = random.normal(0, width / 90, (OBJECTS, 2))
    radius = random.uniform(0.5, 1.5, (OBJECTS, 2)) * (height / 11, width / 16)
    void = random.random((height // 16 + 1, width // 16 + 1)) < 0.03
    hole = np.kron(void, np.ones((16, 16), bool))[:height, :width]
    gt = np.zeros((frames, height, width), dtype=np.uint16)
    pred = np.zeros_like(gt)
    renamed = np.arange(len(category)) + 1000
    following = 2000
    gt_lists, pred_lists = [], []
    for t in range(frames):
        gt[t] = 1 + np.searchsorted(edges + 0.7 * t, np.arange(width))[None, :]
        for i in range(OBJECTS):
            cy, cx = (centre[i] + t * speed[i]) % (height, width)
            gt[t][((y - cy) / radius[i, 0]) ** 2 + ((x - cx) / radius[i, 1]) ** 2 <= 1] = 1 + STUFF_SEGMENTS + i
        gt[t][hole] = 0
        present = [int(i) for i in np.unique(gt[t]) if i]
        gt_lists.append([(i, int(category[i]), 0) for i in present])
        moved = np.roll(gt[t], tuple(random.integers(-2, 3, 2)), (0, 1))
        table = np.zeros(len(category), dtype=np.uint16)
        rows = []
        for i in present:
            if random.random() < 0.05:
                continue
            if random.random() < 0.03:
                renamed[i], following = following, following + 1
            table[i] = renamed[i]
            flipped = random.random() < 0.05
            rows.append((int(renamed[i]), int(random.integers(0, CATEGORIES)) if flipped else int(category[i]), 0))
        pred[t] = table[moved]
        there = set(np.unique(pred[t]).tolist())
        pred_lists.append([row for row in rows if row[0] in there])
    return PlainVideo(gt, gt_lists, pred, pred_lists)


def quick(videos: Sequence[PlainVideo], metrics: Sequence[str], windows: Sequence[int]) -> Timing:
    """Our metrics."""
    began = time.process_time()
    labelled = (LabelledVideo(v.gt, v.gt_segments, v.pred, v.pred_segments) for v in videos)
    things = np.arange(CATEGORIES) < THINGS
    values = evaluate_arrays(labelled, things, metrics=metrics, windows=windows).values
    return Timing(time.process_time() - began, values)


def plain(videos: Sequence[PlainVideo]) -> Timing:
    """VPQ at four windows and STQ, mask by mask."""
    began = time.process_time()
    values = {f"vpq.{window}": plain_vpq(videos, CATEGORIES, window) for window in WINDOWS}
    values["stq"] = plain_stq(videos, [i < THINGS for i in range(CATEGORIES)])[0]
    return Timing(time.process_time() - began, values)


def peak_memory(videos: Sequence[PlainVideo]) -> float:
    """MB that all metrics take at most above the videos; untimed, because watching costs time."""
    tracemalloc.start()
    quick(videos, PANOPTIC_METRICS, (*WINDOWS, 8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def _lines(options: argparse.Namespace) -> Iterator[str]:
    yield f"{platform.machine()}, {_processor()}, Python {platform.python_version()}, NumPy {np.__version__}"
    began = time.process_time()
    videos = [draw(seed, options.frames, options.height, options.width) for seed in range(options.videos)]
    segments = np.mean([len(rows) for video in videos for rows in video.gt_segments])
    drawn = time.process_time() - began
    yield (
        f"{options.videos} videos × {options.frames} frames × {options.height}×{options.width}, "
        f"{segments:.1f} segments a frame, {CATEGORIES} categories, one process (drawn in {drawn:.1f} s)"
    )
    repeats = [quick(videos, ("vpq", "stq"), WINDOWS) for _ in range(options.repeats)]
    best = min(repeats, key=lambda timing: timing.seconds)
    yield f"VPQ at 1, 2, 4, 6 and STQ: {best.seconds:.2f} CPU s (of {options.repeats} the best)"
    whole = min(
        (quick(videos, PANOPTIC_METRICS, (*WINDOWS, 8)) for _ in range(options.repeats)), key=lambda t: t.seconds
    )
    yield f"all metrics: {whole.seconds:.2f} CPU s"
    if options.plain:
        some = videos[: options.plain]
        slow, fast = plain(some), quick(some, ("vpq", "stq"), WINDOWS)
        apart = max(abs(slow.values[name] - fast.values[name]) for name in slow.values)
        if not apart < 1e-9:
            raise SystemExit(f"The two evaluators differ by {apart}: {slow.values} and {fast.values}.")
        times = slow.seconds / fast.seconds
        yield (
            f"mask by mask, the first {len(some)} videos: {slow.seconds:.2f} CPU s, ours {fast.seconds:.2f}: "
            f"{times:.0f} times as long, largest difference {apart:.0e}"
        )
    half = videos[: max(1, len(videos) // 2)]
    process = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    yield (
        f"peak memory above the inputs: {peak_memory(half):.0f} MB for {len(half)} videos, "
        f"{peak_memory(videos):.0f} MB for {len(videos)}; of the whole process {process:.0f} MB"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.benchmark", description=__doc__)
    parser.add_argument("--videos", type=int, default=20)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--width", type=int, default=854)
    parser.add_argument("--plain", type=int, default=2, help="videos that the plain evaluators measure, too")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many is reported")
    for line in _lines(parser.parse_args(arguments)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
