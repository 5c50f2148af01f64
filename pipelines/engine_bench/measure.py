"""Runs every path on every frame, and says how far they agree."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from odise_frame.backbone import pad_frames
from odise_frame.checkpoints import load_model
from odise_frame.model import Odise
from odise_frame.segmenter import find_model
from odise_frame.sizes import load_size
from odise_frame.timing import STAGES, StageTimes
from odise_frame.vocabulary_text import VocabularyText
from pipelines.engine_bench.frames import BenchFrame, bench_frame, random_model, random_text
from pipelines.engine_bench.paths import CPU_PATHS, GPU_PATHS, Outcome, Path, ProcessorTimes, Segment, make_path
from videoseg.errors import InputError
from videoseg.vocabulary import Vocabulary

PUBLISHED_SECONDS: Mapping[tuple[str, str, int], float] = {
    ("odise-label", "window", 1): 47.13,
    ("odise-label", "window", 2): 50.96,
    ("odise-label", "square", 2): 188.77,
}
"""Processor seconds of the published code itself (float32, PyTorch 2.13, 133 categories with 254 names, panoptic only)
on a quiet virtual machine with two cores of an AMD EPYC: (size, frame, threads) -> seconds. What keeps our as-reference
path from being a straw man."""


@dataclass(slots=True)
class Row:
    """A path on a frame."""

    path: str
    frame: str
    windows: int
    seconds: list[float]
    """Per repetition: of the processor on a CPU, of the clock on a GPU."""
    stages: Mapping[str, float]
    """Seconds by stage: of the best repetition, or the mean on a GPU."""
    peak_bytes: int | None
    """Of the GPU's memory."""
    taps: float | None = None
    """Against the first path: the largest relative L2 distance of a feature of a window; None: not looked at."""
    masks: float | None = None
    """Relative L2 distance of the mask logits to the first path's."""
    pixels: float | None = None
    """Share of pixels with another segment id than in the first path's result."""

    @property
    def best(self) -> float:
        """Seconds of the fastest repetition, or the mean on a GPU."""
        return min(self.seconds) if self.peak_bytes is None else float(np.mean(self.seconds))

    def to_json(self) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "path": self.path,
            "frame": self.frame,
            "windows": self.windows,
            "seconds": round(self.best, 4),
            "repetitions": len(self.seconds),
            "stages": {name: round(value, 4) for name, value in self.stages.items()},
            "taps_relative_l2": self.taps,
            "masks_relative_l2": self.masks,
            "differing_pixels": self.pixels,
        }
        if self.peak_bytes is not None:
            p50, p95, p99 = np.percentile(self.seconds, [50, 95, 99])
            facts |= {
                "frames_per_second": round(1.0 / self.best, 2),
                "p50_ms": round(1e3 * float(p50), 2),
                "p95_ms": round(1e3 * float(p95), 2),
                "p99_ms": round(1e3 * float(p99), 2),
                "peak_gb": round(self.peak_bytes / 1e9, 2),
            }
        return facts


@dataclass(slots=True)
class Report:
    """All rows, and under which circumstances."""

    model: str
    weights: str
    device: str
    threads: int
    torch: str
    rows: list[Row] = field(default_factory=list)
    agreement: Mapping[str, float] = field(default_factory=dict)
    """Of processor and GPU, where there is one: the same figures as in `Row`."""

    def speedup(self, row: Row) -> float | None:
        """How many times faster than the first path on the same frame."""
        first = next((other for other in self.rows if other.frame == row.frame), None)
        return None if first is None or first is row else first.best / row.best

    def of_published(self, row: Row) -> float | None:
        """An as-reference row's time in units of the published code's, where that is known."""
        published = PUBLISHED_SECONDS.get((self.model, row.frame, self.threads))
        if published is None or row.path != CPU_PATHS[0].name or self.device != "cpu":
            return None
        return row.best / published

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "weights": self.weights,
            "device": self.device,
            "threads": self.threads,
            "torch": self.torch,
            "rows": [
                row.to_json() | {"speedup": self.speedup(row), "of_published": self.of_published(row)}
                for row in self.rows
            ],
            "processor_and_gpu": dict(self.agreement),
        }


def read_model(name: str) -> tuple[Odise, str]:
    """A model in float32 on the processor and what its weights are: random where a known size has none here."""
    try:
        return load_model(find_model(name))[0], "its own"
    except InputError:
        return random_model(load_size(name)), "random"


def measure(
    name: str,
    frames: Sequence[str],
    *,
    device: str = "cpu",
    repeats: int = 1,
    paths: Sequence[str] | None = None,
    on_row: Callable[[Row], None] = lambda row: None,
) -> Report:
    """Every path on every frame.

    Args:
        name: of a size or of an installed model, or a model folder.
        frames: see `bench_frame`.
        device: `cpu` or `cuda`.
        repeats: frames that are timed, after one that is not on a GPU.
        paths: names of the paths to run, in their order; None: all that the device has.
        on_row: is told of each row as it comes.

    Raises:
        InputError: unknown model or path.
    """
    on_gpu = device != "cpu"
    known = GPU_PATHS if on_gpu else (*CPU_PATHS, *(p for p in GPU_PATHS if p.name == "exact bfloat16"))
    chosen = list(CPU_PATHS if not on_gpu else GPU_PATHS)
    if paths is not None:
        if unknown := [path for path in paths if path not in {p.name for p in known}]:
            raise InputError(
                f"There is no path {unknown[0]!r} on {device}. There are: {', '.join(p.name for p in known)}."
            )
        chosen = [path for path in known if path.name in paths]
    model, weights = read_model(name)
    # A CLIP without attention to its windows would flatter the exact path: the published model has its gates open.
    model.backbone.captioner_sees = True
    vocabulary = Vocabulary.build(labels=("coco",))
    things = frozenset(i for i, category in enumerate(vocabulary) if category.is_thing)
    text = random_text(model.size, vocabulary)
    report = Report(model.size.name, weights, device, torch.get_num_threads(), torch.__version__)
    shown = [bench_frame(frame, model.size) for frame in frames]
    on_processor: Outcome | None = None
    if on_gpu:
        # One window in float32 here, to see below whether the GPU agrees.
        on_processor = make_path(CPU_PATHS[1], model, text, things)(
            bench_frame("window", model.size), StageTimes(), keep_taps=True
        )
        model.to(device)
        shown = [BenchFrame(f.name, f.image.to(device), f.output) for f in shown]
        text = _moved(text, device)
        torch.backends.cudnn.allow_tf32 = False
    first: dict[str, Outcome] = {}
    for path in chosen:
        if path.engine is None:
            # The published code keeps PyTorch's own order in memory.
            for network in (model.frozen.autoencoder, model.frozen.unet, model.backbone, model.mask_generator):
                network.to(memory_format=torch.contiguous_format)
        segment = make_path(path, model, text, things)
        for frame in shown:
            row, outcome = _time(path, segment, frame, model, repeats, on_gpu)
            _compare(row, outcome, first.setdefault(frame.name, outcome))
            report.rows.append(row)
            on_row(row)
        if on_processor is not None and path.name == "exact float32":
            window = bench_frame("window", model.size)
            found = segment(BenchFrame("window", window.image.to(device), window.output), StageTimes(), keep_taps=True)
            row = Row(path.name, "window", 1, [], {}, None)
            _compare(row, _to_processor(found), on_processor)
            report.agreement = {
                "taps_relative_l2": row.taps or 0.0,
                "masks_relative_l2": row.masks or 0.0,
                "differing_pixels": row.pixels or 0.0,
            }
    return report


def _time(
    path: Path, segment: Segment, frame: BenchFrame, model: Odise, repeats: int, on_gpu: bool
) -> tuple[Row, Outcome]:
    padded = pad_frames(frame.image, model.size.size_divisibility)
    windows = len(model.backbone.plan(padded.shape[-2], padded.shape[-1]))
    plain = path.engine is None or not (path.engine.compiled or path.engine.graphs)
    seconds: list[float] = []
    stages: dict[str, float] = {}
    outcome: Outcome | None = None
    if on_gpu:
        outcome = segment(frame, StageTimes(), keep_taps=plain)
        for _ in range(2):
            segment(frame, StageTimes())
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        for _ in range(repeats):
            began = time.perf_counter()
            segment(frame, StageTimes())
            torch.cuda.synchronize()
            seconds.append(time.perf_counter() - began)
        peak = torch.cuda.max_memory_allocated()
        staged = StageTimes(synchronize=True)
        for _ in range(5):
            segment(frame, staged)
        stages = {stage: value / 5 for stage, value in staged.seconds.items()}
        return Row(path.name, frame.name, windows, seconds, _ordered(stages), peak), outcome
    for _ in range(repeats):
        times = ProcessorTimes()
        began = time.process_time()
        outcome = segment(frame, times, keep_taps=plain)
        seconds.append(time.process_time() - began)
        if seconds[-1] == min(seconds):
            stages = dict(times.seconds)
    assert outcome is not None
    return Row(path.name, frame.name, windows, seconds, _ordered(stages), None), outcome


def _ordered(stages: Mapping[str, float]) -> dict[str, float]:
    return {stage: stages[stage] for stage in STAGES if stage in stages}


def _compare(row: Row, found: Outcome, expected: Outcome) -> None:
    if found is expected:
        return
    if found.taps and expected.taps:
        row.taps = max(
            _distance(ours, theirs)
            for window, other in zip(found.taps, expected.taps, strict=True)
            for ours, theirs in zip(window, other, strict=True)
        )
    row.masks = _distance(found.mask_logits, expected.mask_logits)
    row.pixels = float((found.id_map != expected.id_map).double().mean())


def _distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    difference = found.to(torch.float64) - expected.to(torch.float64)
    return float(difference.norm() / expected.to(torch.float64).norm())


def _to_processor(outcome: Outcome) -> Outcome:
    taps = [tuple(tap.cpu() for tap in window) for window in outcome.taps]
    return Outcome(outcome.id_map.cpu(), outcome.scores.cpu(), outcome.mask_logits.cpu(), taps)


def _moved(text: VocabularyText, device: str) -> VocabularyText:
    return replace(
        text,
        head_embed=text.head_embed.to(device),
        clip_embed=text.clip_embed.to(device),
        seen=text.seen.to(device),
    )
