"""`measure`: every policy on the same videos: quality against the truth and against `off`, and what was executed."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval import Difference, Evaluation, compare
from odise_frame.checkpoints import load_model
from odise_frame.model import Odise
from odise_frame.segmenter import OdiseSegmenter, find_model, frame_size
from odise_frame.sizes import load_size
from odise_frame.temporal_cache import CacheSettings, CacheState, CostTable, Work, cost_table, state_bound
from odise_frame.temporal_cache.evidence import move_labels
from odise_frame.temporal_cache.flow import Picture, Step
from pipelines.cache_bench.drift import DriftLog
from pipelines.cache_bench.policies import EXACT, Bench, Hold, Policy
from pipelines.cache_bench.recording import FeatureStore, dithered
from tracking import PanopticTracker
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.motion_estimation import LumaPyramid, estimate_motion_between
from videoseg.panoptic import PanopticFrame
from videoseg.video import open_source
from videoseg.vocabulary import Vocabulary

METRICS = ("pq", "vpq", "stq", "flicker")
PUBLIC = ("vpq.mean_1246", "stq")
"""The values that a policy is judged by."""
SLOW, MEDIUM = 1.5, 5.0
"""Pixels a frame at a short side of 256: medians of blocks that are not still up to here are slow, medium motion."""
OFFICIAL = "odise-label"
OFFICIAL_FRAME = (720, 1280)
_FLOOR_FRAMES = 4
"""Of each video, for the noise floor: its features are computed for nothing else."""


@dataclass(slots=True, eq=False)
class Video:
    """One video of the bench."""

    name: str
    frames: list[Frame]
    motions: list[Motion | None]
    truth: list[PanopticFrame]
    speed: float
    """Median displacement of its blocks in pixels at a short side of 256, of those that move at all."""

    @property
    def group(self) -> str:
        """`slow`, `medium` or `fast`."""
        return "slow" if self.speed <= SLOW else "medium" if self.speed <= MEDIUM else "fast"


@dataclass(slots=True, eq=False)
class Row:
    """One policy's results, over all videos and by group of motion."""

    policy: str
    asks: str
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    """Group -> plain name -> value."""
    differences: dict[str, dict[str, Difference]] = field(default_factory=dict)
    """Group -> value -> against `off`."""
    work: dict[str, Work] = field(default_factory=dict)
    """Group -> what was executed."""
    cost: dict[str, dict[str, float]] = field(default_factory=dict)
    """Group -> `backbone`, `all`: how many times fewer operations than `off`; `gflops` a frame; and the same of the
    executed plans at the official size."""
    seconds: list[float] = field(default_factory=list)
    """Of every frame, segmentation alone. Of replayed rows they say nothing."""
    by_age: dict[int, float] = field(default_factory=dict)
    """Agreement with `off` by frames since the mean window was refreshed."""
    flips: dict[str, float] = field(default_factory=dict)
    """Share of pixels that have another category than where they were in the frame before, in windows that were
    refreshed and in others."""
    cache_bytes: int = 0


@dataclass(slots=True, eq=False)
class Findings:
    """All that the bench found."""

    rows: list[Row]
    floor: dict[str, float]
    """Agreement of `off` with itself on pictures whose last bit was set by chance."""
    rank_correlation: float
    drift_by_age: dict[int, float]
    drift_weights: list[float]
    """Least squares weights of the drift predictor on these videos."""
    videos: list[tuple[str, str, float, int]]
    """Name, group, speed, frames."""
    official: dict[str, Any]
    """Of the official size at 720p: bytes a stream by mode, operations a frame without a cache."""


def read_videos(world: Path, names: Sequence[str] | None, frames: int | None) -> tuple[list[Video], Vocabulary]:
    """Videos of a world, decoded, with their motion.

    Raises:
        InputError: no world there, or no such video.
    """
    truth = read_segments(world / "ground_truth")
    if unknown := [name for name in names or () if name not in truth.videos]:
        raise InputError(f"{world} has no video {unknown[0]!r}. It has: {', '.join(truth.videos)}.")
    videos = []
    for name in names or truth.videos:
        file = world / "videos" / f"{name}.mp4"
        if not file.is_file():
            raise InputError(f"{world} lacks the video {file}. Make a world with `videoseg synth -o FOLDER`.")
        pictures = read_frames(file, name, frames)
        motions = motions_of(pictures)
        videos.append(
            Video(name, pictures, motions, list(truth.frames(name, stop=len(pictures))), speed_of(motions, pictures[0]))
        )
    return videos, truth.vocabulary


def read_clip(file: Path, frames: int | None) -> tuple[list[Video], Vocabulary]:
    """A video without truth: the model's own results without a cache stand for it, so its values say nothing and its
    agreement all."""
    from eval.synthetic_world import vocabulary

    if not file.is_file():
        raise InputError(f"There is no world and no video {file}.")
    pictures = read_frames(file, file.stem, frames)
    motions = motions_of(pictures)
    return [Video(file.stem, pictures, motions, [], speed_of(motions, pictures[0]))], vocabulary()


def read_frames(file: Path, name: str, frames: int | None) -> list[Frame]:
    """The first frames of a file."""
    with closing(open_source(file, stream=name)) as source:
        return list(islice(source.frames(), frames))


def motions_of(frames: Sequence[Frame]) -> list[Motion | None]:
    """As the pipeline estimates them."""
    motions: list[Motion | None] = []
    before: LumaPyramid | None = None
    for frame in frames:
        now = LumaPyramid.of(frame.rgb)
        motions.append(None if before is None else estimate_motion_between(before, now))
        before = now
    return motions


def speed_of(motions: Sequence[Motion | None], frame: Frame) -> float:
    """See `Video.speed`."""
    scale = 256 / min(frame.size)
    lengths = [np.hypot(*np.moveaxis(m.displacement.astype(float), -1, 0))[m.valid] for m in motions if m is not None]
    moving = np.concatenate(lengths) if lengths else np.zeros(0)
    moving = moving[moving > 0]
    return float(np.median(moving) * scale) if len(moving) else 0.0


def measure(
    videos: Sequence[Video],
    words: Vocabulary,
    model: str | Path,
    policies: Sequence[Policy],
    *,
    folder: Path,
    window_batch: int = 8,
    executed: bool = False,
    on_step: Callable[[str], None] = lambda note: None,
) -> Findings:
    """Runs every policy over the videos.

    Args:
        videos: of `read_videos`.
        words: what to look for: the vocabulary of the truth.
        model: a known model or a model folder.
        policies: rows; the first is `off`.
        folder: where features are kept from run to run.
        window_batch: windows per pass of `off`.
        executed: our modes run the network in place of replaying recorded features (`off` is always replayed).
        on_step: is told what happens.
    """
    network, info = load_model(find_model(model))
    network.backbone.captioner_sees = not network.backbone.captioner.is_closed
    store = FeatureStore(folder, network, info, window_batch=window_batch)
    for video in videos:
        on_step(f"features of {video.name}")
        store.record(video.frames)
        store.record([dithered(frame) for frame in video.frames[:_FLOOR_FRAMES]])
    drift = DriftLog()
    bench = Bench(network, info, words, store, window_batch, drift, executed)
    groups = {"all": list(videos)}
    for video in videos:
        groups.setdefault(video.group, []).append(video)
    rows, evaluations = [], {}
    reference: dict[str, list[PanopticFrame]] = {}
    for policy in policies:
        on_step(policy.name)
        row, evaluated, results = _run(policy, bench, videos, words, reference)
        rows.append(row)
        evaluations[policy.name] = evaluated
        if not reference:
            reference = results
        _judge(row, groups, evaluations[policies[0].name], evaluated)
        for group, members in groups.items():
            work = Work()
            for video in members:
                work += evaluated.work[video.name]
            row.work[group], row.cost[group] = _price(policy, work, network, videos[0].frames[0].size, window_batch)
        on_step(_in_short(row))
    on_step("noise floor")
    return Findings(
        rows=rows,
        floor=_floor(bench, videos, words, reference),
        rank_correlation=drift.rank_correlation(),
        drift_by_age=drift.by_age(),
        drift_weights=drift.fit() if drift.true else [],
        videos=[(v.name, v.group, round(v.speed, 2), len(v.frames)) for v in videos],
        official=official_figures(),
    )


@dataclass(slots=True, eq=False)
class _Evaluated:
    """Counts of a policy, by video."""

    truth: dict[str, Evaluation] = field(default_factory=dict)
    agreement: dict[str, Evaluation] = field(default_factory=dict)
    work: dict[str, Work] = field(default_factory=dict)

    def joined(self, names: Sequence[str], *, agreement: bool = False) -> Evaluation:
        source = self.agreement if agreement else self.truth
        whole = source[names[0]].part()
        for name in names:
            whole += source[name]
        return whole


def _run(
    policy: Policy,
    bench: Bench,
    videos: Sequence[Video],
    words: Vocabulary,
    reference: Mapping[str, list[PanopticFrame]],
) -> tuple[Row, _Evaluated, dict[str, list[PanopticFrame]]]:
    row, evaluated = Row(policy.name, policy.asks), _Evaluated()
    results: dict[str, list[PanopticFrame]] = {}
    changed: dict[str, list[float]] = {"refreshed": [], "others": []}
    ages: dict[int, list[float]] = {}
    for video in videos:
        made = policy.make(bench)
        tracker = PanopticTracker(vocabulary=words)
        states = made.new_state(video.name), tracker.new_state(video.name)
        tracked: list[PanopticFrame] = []
        found: list[PanopticFrame] = []
        before: NDArray[np.int64] | None = None
        size = video.frames[0].size
        for frame, motion in zip(video.frames, video.motions, strict=True):
            began = time.perf_counter()
            (result,) = made.segment([frame], [motion], [states[0]])
            row.seconds.append(time.perf_counter() - began)
            tracked += tracker.step(result, motion, states[1]).frames
            found.append(result)
            now = _categories(result)
            state = states[0]
            if isinstance(state, CacheState) and state.canvas is not None:
                row.cache_bytes = max(row.cache_bytes, state.nbytes)
                if before is not None and motion is not None and not motion.cut:
                    step = Step.of(motion, Picture(size, size))
                    _note_flips(changed, state, now != move_labels(before, step.displacement, step, 1.0))
                if video.name in reference:
                    one = _agreement_of([reference[video.name][len(found) - 1]], [result], words)
                    ages.setdefault(round(float(state.canvas.age.mean())), []).append(one["agreement.frames"])
            before = now
        tracked += tracker.finish(states[1]).frames
        results[video.name] = found
        truth = Evaluation(words, metrics=METRICS)
        # Without a truth, a result stands for itself, and only agreement means something.
        truth.add_video(video.truth or tracked, tracked, words, name=video.name)
        evaluated.truth[video.name] = truth
        agreement = Evaluation(words, metrics=("agreement",))
        agreement.add_video(reference.get(video.name, found), found, words, name=video.name)
        evaluated.agreement[video.name] = agreement
        assert isinstance(made, OdiseSegmenter | Hold)
        evaluated.work[video.name] = made.ledger.total()
    row.flips = {name: float(np.mean(values)) for name, values in changed.items() if values}
    row.by_age = {age: round(float(np.nanmean(values)), 4) for age, values in sorted(ages.items())}
    return row, evaluated, results


def _categories(frame: PanopticFrame) -> NDArray[np.int64]:
    table = np.full(int(frame.id_map.max(initial=0)) + 1, -1, dtype=np.int64)
    for segment in frame.segments:
        table[segment.id] = segment.category
    return table[frame.id_map]


def _note_flips(changed: dict[str, list[float]], state: CacheState, differs: NDArray[np.bool_]) -> None:
    assert state.canvas is not None
    assert state.last_plan is not None
    grid, (down, across) = state.canvas.grid, state.canvas.picture.scale
    for (top, left), action in zip(grid.corners, state.last_plan.actions, strict=True):
        rows = slice(round(top / down), round((top + grid.side) / down))
        columns = slice(round(left / across), round((left + grid.side) / across))
        part = differs[rows, columns]
        if part.size:
            changed["refreshed" if action == "r" else "others"].append(float(part.mean()))


def _agreement_of(
    truth: Sequence[PanopticFrame], found: Sequence[PanopticFrame], words: Vocabulary
) -> dict[str, float]:
    evaluation = Evaluation(words, metrics=("agreement",))
    evaluation.add_video(truth, found, words)
    return evaluation.report().values


def _judge(row: Row, groups: Mapping[str, Sequence[Video]], off: _Evaluated, ours: _Evaluated) -> None:
    for group, members in groups.items():
        names = [video.name for video in members]
        whole = ours.joined(names)
        values = whole.report().values
        chosen = {name: values[name] for name in (*PUBLIC, "pq", "flicker.pixel", "flicker.label") if name in values}
        row.values[group] = chosen | ours.joined(names, agreement=True).report().values
        found = compare(whole, off.joined(names))
        row.differences[group] = {name: found[name] for name in PUBLIC if name in found}


def _in_short(row: Row) -> str:
    """What can be said at once of a policy; all rows come at the end."""
    values, cost = row.values["all"], row.cost["all"]
    said = {"STQ": values["stq"], "PQ": values["pq"], "agreement": values["agreement.frames"]}
    saved = ", ".join(f"{name} {times:.1f} times" for name, times in cost.items() if not name.endswith("gflops"))
    return f"{row.policy}: " + ", ".join(f"{name} {100 * value:.1f}" for name, value in said.items()) + f"; {saved}"


def _price(
    policy: Policy, work: Work, model: Odise, frame: tuple[int, int], window_batch: int
) -> tuple[Work, dict[str, float]]:
    """What was executed, and its cost on this model and on the official size."""
    size, captions = model.size, model.backbone.captioner_sees
    table = cost_table(size, frame_size(*frame, size), captions=captions)
    big = load_size(OFFICIAL)
    official = cost_table(big, frame_size(*OFFICIAL_FRAME, big), captions=True)
    if policy.name == "off":
        # Its windows were recorded; what they cost is what the network without a cache runs.
        work = table.uncached(work.frames, batch=window_batch)
    if policy.price is not None:
        spent = {
            "": policy.price(size, frame, captions, work),
            "official ": policy.price(big, OFFICIAL_FRAME, True, work),
        }
        tables = {"": table, "official ": official}
        cost: dict[str, float] = {}
        for name, flops in spent.items():
            off = tables[name].total(tables[name].uncached(work.frames, batch=tables[name].windows))
            cost |= {f"{name}all": off / flops, f"{name}gflops": flops / work.frames / 1e9}
        return work, cost
    cost = _prices(table, work, window_batch)
    # A plan carries over where both sizes cut the frame into as many windows, as they do at 16:9.
    if official.windows == table.windows:
        at_official = Work(**work.to_json())
        at_official.captions = work.captions if captions else _captions(work)
        prices = _prices(official, at_official, official.windows)
        cost |= {f"official {name}": value for name, value in prices.items()}
    return work, cost


def _captions(work: Work) -> int:
    """How many windows CLIP would have described, had it to: each at its first and then at every fourth refresh."""
    every = CacheSettings.of("balanced").caption_every
    first = work.seen // max(1, work.frames)
    return min(work.windows, first + (work.windows - first) // every) if work.windows < work.seen else work.windows


def _prices(table: CostTable, work: Work, window_batch: int) -> dict[str, float]:
    off = table.uncached(work.frames, batch=window_batch)
    return {
        "backbone": table.backbone(off) / max(1, table.backbone(work)),
        "all": table.total(off) / max(1, table.total(work)),
        "gflops": table.total(work) / work.frames / 1e9,
    }


def _floor(
    bench: Bench, videos: Sequence[Video], words: Vocabulary, reference: Mapping[str, list[PanopticFrame]]
) -> dict[str, float]:
    evaluation = Evaluation(words, metrics=("agreement",))
    for video in videos:
        made = bench.cached(EXACT)
        frames = [dithered(frame) for frame in video.frames[:_FLOOR_FRAMES]]
        state = made.new_state(frames[0].stream)
        found = [made.segment([frame], [None], [state])[0] for frame in frames]
        evaluation.add_video(reference[video.name][: len(found)], found, words, name=video.name)
    return evaluation.report().values


def official_figures() -> dict[str, Any]:
    """The official size at 720p: operations of a frame without a cache, and the bytes of a stream's state."""
    size = load_size(OFFICIAL)
    image = frame_size(*OFFICIAL_FRAME, size)
    table = cost_table(size, image, captions=True)
    off = table.uncached(1, batch=table.windows)
    return {
        "frame": list(OFFICIAL_FRAME),
        "windows": table.windows,
        "tflops": {"backbone": table.backbone(off) / 1e12, "all": table.total(off) / 1e12},
        "tflops_window": sum(table.window.values()) / 1e12,
        "tflops_caption": table.caption / 1e12,
        "tflops_heads": table.heads / 1e12,
        "tflops_look": table.look / 1e12,
        "cache_bytes": {
            "exact": state_bound(size, OFFICIAL_FRAME, image, bytes_per_value=4),
            "balanced, fast": state_bound(size, OFFICIAL_FRAME, image, bytes_per_value=2),
        },
    }
