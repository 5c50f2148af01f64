"""`python -m tracking.benchmark`: time per step of the tracker, and of motion estimation, on one core.

Prints a table, with `--growth` also how time grows with pixels, segments and lost tracks, and with `--plot FILE` draws
that (needs matplotlib). Times are of the process's own CPU time, so that other programs on the machine disturb little;
run it with OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tracking import PanopticTracker, TrackerState
from tracking.table import LOST
from videoseg.motion import Motion
from videoseg.motion_estimation import LumaPyramid, estimate_motion_between
from videoseg.panoptic import PanopticFrame, Segment, measure_segments


def scene(index: int, height: int, width: int, count: int, dimension: int, seed: int = 0) -> PanopticFrame:
    """A frame of `count` drifting discs over two grounds."""
    random = np.random.default_rng(seed)
    centre = random.uniform(0, 1, (count, 2)) * [height, width]
    speed = random.uniform(-3, 3, (count, 2))
    radius = random.uniform(0.02, 0.06, count) * height
    looks = random.normal(size=(count + 2, dimension))
    id_map = np.ones((height, width), dtype=np.uint16)
    id_map[height // 2 :] = 2
    for number in range(count - 2):
        y, x = centre[number] + speed[number] * index
        r = radius[number]
        top, left = max(int(y - r), 0), max(int(x - r), 0)
        rows, columns = np.ogrid[top : int(y + r) + 1, left : int(x + r) + 1]
        window = id_map[top : int(y + r) + 1, left : int(x + r) + 1]
        window[((rows - y) ** 2 + (columns - x) ** 2 <= r * r)[: window.shape[0], : window.shape[1]]] = number + 3
    noise = np.random.default_rng([seed, index]).normal(size=looks.shape)
    vectors = looks + 0.2 * noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    segments = [
        Segment(
            id=i,
            category=i % 20,
            is_thing=i > 2,
            score=0.9,
            area=area,
            box=box,
            embedding=vectors[i - 1].astype(np.float32),
            probabilities=((i % 20, 0.7), ((i + 1) % 20, 0.1), ((i + 2) % 20, 0.05)),
        )
        for i, (area, box) in measure_segments(id_map).items()
    ]
    return PanopticFrame("benchmark", 0, index, index, Fraction(1, 25), index / 25, id_map, tuple(segments))


def drift(height: int, width: int) -> Motion:
    """Blocks that all moved a little, as from a hand-held camera."""
    rows, columns = -(-height // 32), -(-width // 32)
    return Motion(
        block=32,
        displacement=np.full((rows, columns, 2), 2, dtype=np.int16),
        residual=np.zeros((rows, columns), np.float32),
        valid=np.ones((rows, columns), dtype=bool),
        similarity=np.array([[1, 0, 2], [0, 1, 2]], dtype=np.float32),
        cut=False,
    )


def with_lost(state: TrackerState, count: int, frame: PanopticFrame) -> None:
    """Makes the state remember `count` strangers: a few frames of some, a cut, others."""
    tracker = PanopticTracker()
    random = np.random.default_rng(9)
    things = sum(segment.is_thing for segment in frame.segments)
    for _ in range(-(-count // things) + 1):
        segments = []
        for segment in frame.segments:
            look = random.normal(size=256)
            segments.append(
                Segment(
                    id=segment.id,
                    category=segment.category,
                    is_thing=segment.is_thing,
                    score=0.9,
                    area=segment.area,
                    box=segment.box,
                    embedding=(look / np.linalg.norm(look)).astype(np.float32),
                )
            )
        strangers = frame.with_segments(segments)
        tracker.step(strangers, _as_cut(drift(*frame.size)), state)
        for _ in range(3):
            tracker.step(strangers, None, state)


def _as_cut(motion: Motion) -> Motion:
    return Motion(motion.block, motion.displacement * 0, motion.residual, ~motion.valid, motion.similarity, True)


def times(calls: Sequence[Callable[[], object]]) -> NDArray[np.float64]:
    """Milliseconds of CPU time per call."""
    spent = []
    for call in calls:
        start = time.process_time_ns()
        call()
        spent.append((time.process_time_ns() - start) / 1e6)
    return np.array(spent)


def step_times(
    height: int, width: int, count: int, dimension: int, *, frames: int, with_motion: bool = True, lost: int = 0
) -> NDArray[np.float64]:
    """Milliseconds per step on `scene`, after two frames of warming up, with so many lost tracks remembered."""
    tracker = PanopticTracker()
    state = tracker.new_state("benchmark")
    motion = drift(height, width) if with_motion else None
    pictures = [scene(t, height, width, count, dimension) for t in range(frames)]
    if lost:
        with_lost(state, lost, pictures[0])
    return times([partial(tracker.step, frame, motion, state) for frame in pictures])[2:]


SIZES = ((480, 854), (720, 1280), (1080, 1920), (1440, 2560), (2160, 3840))
COUNTS = (10, 30, 100, 200, 400)
LOST_COUNTS = (0, 100, 300, 1000)


def growth(dimension: int, frames: int) -> dict[str, list[tuple[float, float]]]:
    """Least milliseconds per step, which other programs disturb least: over megapixels (100 segments), over segments
    (1920×1080), and over lost tracks (100 segments of 1920×1080)."""
    by_size = [(h * w / 1e6, float(step_times(h, w, 100, dimension, frames=frames).min())) for h, w in SIZES]
    by_count = [(float(n), float(step_times(1080, 1920, n, dimension, frames=frames).min())) for n in COUNTS]
    by_lost = [
        (float(n), float(step_times(1080, 1920, 100, dimension, frames=frames, lost=n).min())) for n in LOST_COUNTS
    ]
    return {"megapixels": by_size, "segments": by_count, "lost tracks": by_lost}


def plot(measured: dict[str, list[tuple[float, float]]], path: str) -> None:
    """Draws `growth` into an image file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for place, (name, points) in zip(figure.subplots(1, len(measured), sharey=True), measured.items(), strict=True):
        x, y = zip(*points, strict=True)
        place.plot(x, y, marker="o")
        place.set_xlabel(name)
        place.grid(alpha=0.3)
    # All share one axis, whose upper end is known only now.
    figure.axes[0].set_ylim(bottom=0)
    figure.axes[0].set_ylabel("ms per step, one core")
    figure.savefig(path, dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time per frame of tracking and of motion estimation, on one core.")
    parser.add_argument("--height", type=int, default=1080)
    parser.add_argument("--width", type=int, default=1920)
    parser.add_argument("--segments", type=int, default=100)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument(
        "--growth", action="store_true", help="also how time grows with pixels, segments and lost tracks"
    )
    parser.add_argument("--plot", help="draw the growth into this file")
    options = parser.parse_args()
    size = (options.height, options.width)
    frames = [scene(t, *size, options.segments, options.dimension) for t in range(options.frames)]
    motion = drift(*size)
    print(f"{options.width}×{options.height}, {options.segments} segments, {options.frames} frames; CPU milliseconds")
    print(f"{'':44s}{'median':>8s}{'min':>8s}{'max':>8s}")
    tracker = PanopticTracker()

    def show(name: str, spent: NDArray[np.float64]) -> None:
        print(f"{name:44s}{np.median(spent):8.2f}{spent.min():8.2f}{spent.max():8.2f}")

    for name, given in (("step, motion given", motion), ("step, no motion", None)):
        state = tracker.new_state("benchmark")
        calls = [partial(tracker.step, frame, given, state) for frame in frames]
        show(name, times(calls)[2:])
    state = tracker.new_state("benchmark")
    with_lost(state, 1000, frames[0])
    lost = int(np.count_nonzero(state.tracks.status == LOST))
    calls = [partial(tracker.step, frame, motion, state) for frame in frames]
    spent = times(calls)
    show(f"step, motion given, {lost} lost tracks", spent[2:])
    show("the frame in which all segments are new", spent[:1])
    saved = state.to_bytes()
    show(f"state to bytes ({len(saved) / 1e6:.1f} MB)", times([state.to_bytes] * 3))
    show("state from bytes", times([lambda: TrackerState.from_bytes(saved)] * 3))
    random = np.random.default_rng(0)
    coarse = random.integers(0, 255, (options.height // 8 + 9, options.width // 8 + 9, 3)).astype(np.uint8)
    picture = coarse.repeat(8, axis=0).repeat(8, axis=1)
    views = [
        np.ascontiguousarray(picture[3 * k : 3 * k + size[0], 2 * k : 2 * k + size[1]])
        for k in range(min(options.frames, 18))
    ]
    pyramids = [LumaPyramid.of(view) for view in views]
    reduced = times([partial(LumaPyramid.of, view) for view in views])
    show("luma pyramid (once per frame)", reduced)
    moved = times([partial(estimate_motion_between, before, after) for before, after in pairwise(pyramids)])
    show("motion between two pyramids", moved)
    show(f"in all, {lost} lost tracks", np.median(reduced) + np.median(moved) + spent[2:])
    if options.growth or options.plot:
        measured = growth(options.dimension, min(options.frames, 12))
        for name, points in measured.items():
            print(f"{name:>12s}: " + "  ".join(f"{x:g}: {y:.2f} ms" for x, y in points))
        if options.plot:
            plot(measured, options.plot)


if __name__ == "__main__":
    main()
