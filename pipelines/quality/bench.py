"""How good a model is in a world, beside itself with parts taken away: what `videoseg bench quality` does."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval import Evaluation, Report
from eval.folders import groups_of_world
from eval.synthetic_world import vocabulary as world_vocabulary
from odise_frame.checkpoints import load_model
from odise_frame.segmenter import OdiseSegmenter, find_model
from pipelines.quality.mean_colour import MeanColourNames, read_colours
from pipelines.quality.shared_masks import SharedMasks
from pipelines.quality.variants import Variant
from tracking import PanopticTracker
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.motion_estimation import estimate_motion
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Segmenter
from videoseg.video import open_source
from videoseg.vocabulary import Vocabulary

METRICS = ("pq", "vpq", "stq", "hota", "identity")


@dataclass(slots=True)
class Row:
    """One variant's results."""

    variant: Variant
    report: Report
    seconds: float
    """Of segmentation alone; with masks that are shared, of what this variant did not share."""


@dataclass(slots=True)
class _Running:
    variant: Variant
    segmenter: Segmenter
    evaluation: Evaluation
    seconds: float = 0.0
    tracked: list[PanopticFrame] = field(default_factory=list)


def measure(
    world: Path,
    model: str | Path,
    variants: Sequence[Variant],
    *,
    frames: int | None = None,
    on_video: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Segments, tracks and evaluates all videos of a world with every variant of a model.

    Args:
        world: a folder that `videoseg synth` wrote: `videos/`, `ground_truth/`, `world.json`.
        model: a known model or a model folder.
        variants: rows of the table.
        frames: of each video, the first so many; None: all.
        on_video: is told (videos done, videos in all).

    Raises:
        InputError: no world there, an unknown model.
    """
    truth = read_segments(world / "ground_truth")
    files = {name: world / "videos" / f"{name}.mp4" for name in truth.videos}
    if missing := [str(file) for file in files.values() if not file.is_file()]:
        raise InputError(f"{world} lacks the video {missing[0]}. Make a world with `videoseg synth -o FOLDER`.")
    categories, videos = groups_of_world(world / "ground_truth")
    words = truth.vocabulary
    running = [
        _Running(
            variant,
            segmenter,
            Evaluation(words, metrics=METRICS, category_groups=categories, video_groups=videos),
        )
        for variant, segmenter in _segmenters(model, variants, words)
    ]
    for done, (name, file) in enumerate(files.items(), start=1):
        with closing(open_source(file, stream=name)) as source:
            _track_all(name, islice(source.frames(), frames), running)
        for each in running:
            each.evaluation.add_video(truth.frames(name, stop=frames), each.tracked, words, name=name)
            each.tracked = []
        if on_video is not None:
            on_video(done, len(files))
    return [Row(each.variant, each.evaluation.report(), each.seconds) for each in running]


def _segmenters(
    model: str | Path, variants: Sequence[Variant], words: Vocabulary
) -> Iterator[tuple[Variant, Segmenter]]:
    folder = find_model(model)
    network, info = load_model(folder)
    shared = SharedMasks(network)
    for variant in variants:
        if variant.other_masks:
            changed, _ = load_model(folder)
            if variant.change is not None:
                variant.change(changed)
        else:
            changed = shared.reader(variant.change)
        told = words if variant.rename is None else variant.rename(words)
        segmenter = OdiseSegmenter(changed, info, told)
        if variant.mean_colours:
            if [c.name for c in words] != [c.name for c in world_vocabulary()]:
                raise InputError("Mean colours are known of the synthetic world's own things only: leave that row out.")
            yield variant, MeanColourNames(segmenter, read_colours())
        else:
            yield variant, segmenter


def _track_all(name: str, frames: Iterator[Frame], running: Sequence[_Running]) -> None:
    """Every variant's tracked frames of one video."""
    streams = []
    for each in running:
        tracker = PanopticTracker(vocabulary=each.segmenter.vocabulary)
        streams.append((each, tracker, tracker.new_state(name), each.segmenter.new_state(name)))
    before: NDArray[np.uint8] | None = None
    for frame in frames:
        motion: Motion | None = None if before is None else estimate_motion(before, frame.rgb)
        before = frame.rgb
        for each, tracker, state, segmenter_state in streams:
            began = time.perf_counter()
            [found] = each.segmenter.segment([frame], [motion], [segmenter_state])
            each.seconds += time.perf_counter() - began
            each.tracked += tracker.step(found, motion, state).frames
    for each, tracker, state, _ in streams:
        each.tracked += tracker.finish(state).frames


def table(rows: Sequence[Row]) -> list[dict[str, str | float]]:
    """The rows as flat objects: percentages by group of videos and of categories, one object a variant and group."""
    flat: list[dict[str, str | float]] = []
    for row in rows:
        groups: Mapping[str, Mapping[str, float]] = {"all": row.report.values, **row.report.video_groups}
        for group, values in groups.items():
            if ": " in group:
                continue
            entry: dict[str, str | float] = {"variant": row.variant.name, "videos": group}
            for kind in row.report.category_groups:
                among = (
                    row.report.category_groups[kind]
                    if group == "all"
                    else row.report.video_groups.get(f"{group}: {kind}", {})
                )
                for metric in ("pq", "vpq.mean_1246"):
                    if metric in among:
                        entry[f"{metric} {kind}"] = round(100 * among[metric], 1)
            for metric in ("vpq.mean_1246", "stq", "hota", "assa", "idf1"):
                if metric in values:
                    entry[metric] = round(100 * values[metric], 1)
            flat.append(entry)
    return flat
