"""The ways of computing a frame that are held against each other."""

import time
from collections.abc import Collection
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from odise_frame.as_reference import AsReference
from odise_frame.backbone import pad_frames
from odise_frame.engine import EngineSettings, prepare
from odise_frame.inference import Geometry, panoptic_inference
from odise_frame.model import MaskEvidence, Odise
from odise_frame.segmenter import WINDOW_BATCH
from odise_frame.timing import StageTimes
from odise_frame.vocabulary_text import VocabularyText
from pipelines.engine_bench.frames import BenchFrame


@dataclass(frozen=True, slots=True)
class Path:
    """A row of the table."""

    name: str
    engine: EngineSettings | None
    """None: as the published code computes."""
    autocast: bool = False
    """The published code under autocast to float16, as its fastest entry point runs it."""


CPU_PATHS = (Path("as-reference float32", None), Path("exact float32", EngineSettings()))
GPU_PATHS = (
    Path("as-reference float32", None),
    Path("as-reference autocast", None, autocast=True),
    Path("exact float32", EngineSettings()),
    Path("exact float32 graphs", EngineSettings(graphs=True)),
    Path("exact bfloat16", EngineSettings(precision="bfloat16")),
    Path("exact bfloat16 graphs", EngineSettings(precision="bfloat16", graphs=True)),
    Path("exact bfloat16 compiled", EngineSettings(precision="bfloat16", compiled=True, graphs=True)),
)
"""In an order in which one model serves all: what loses bits comes last."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a path made of a frame."""

    id_map: Tensor
    """int32 `[H, W]`."""
    scores: Tensor
    mask_logits: Tensor
    taps: list[tuple[Tensor, ...]]
    """Eight features per window, `[1, C, h, w]` each; empty unless they were asked for."""


class Segment(Protocol):
    """A frame through a path."""

    def __call__(self, frame: BenchFrame, times: StageTimes, *, keep_taps: bool = False) -> Outcome: ...


class ProcessorTimes(StageTimes):
    """Seconds of the processor, of all threads: what other programs do meanwhile does not count."""

    def _now(self) -> float:
        return time.process_time()


def make_path(path: Path, model: Odise, text: VocabularyText, things: Collection[int]) -> Segment:
    """Makes the model ready for a path; paths that were made before must not be used any more."""
    if path.engine is None:
        return _Reference(AsReference(model, text, things), path.autocast)
    return _Exact(prepare(model, path.engine), text, things)


class _Reference:
    def __init__(self, reference: AsReference, autocast: bool) -> None:
        self.reference, self.autocast = reference, autocast

    def __call__(self, frame: BenchFrame, times: StageTimes, *, keep_taps: bool = False) -> Outcome:
        kind = frame.image.device.type
        with torch.autocast(kind, dtype=torch.float16) if self.autocast else nullcontext():
            found = self.reference.segment(frame.image, frame.output, times)
        return Outcome(found.id_map, found.scores, found.mask_logits, found.taps if keep_taps else [])


class _Exact:
    def __init__(self, model: Odise, text: VocabularyText, things: Collection[int]) -> None:
        self.model, self.text, self.things = model, text, things

    @torch.inference_mode()
    def __call__(self, frame: BenchFrame, times: StageTimes, *, keep_taps: bool = False) -> Outcome:
        model, size, image = self.model, self.model.size, frame.image
        padded = pad_frames(image, size.size_divisibility)
        windows = len(model.backbone.plan(padded.shape[-2], padded.shape[-1]))
        taps: list[tuple[Tensor, ...]] = []
        hook = None
        if keep_taps:
            hook = model.backbone.feature_projections.register_forward_pre_hook(
                lambda _, args: taps.extend(zip(*(tap.split(1) for tap in args[0]), strict=True))
            )
        try:
            masks = model.predict_masks(padded, window_batch=min(windows, WINDOW_BATCH), meter=times)
        finally:
            if hook is not None:
                hook.remove()
        with times.stage("mask classification"):
            clip_embed = model.look_at_masks(image, masks.mask_logits, (padded.shape[-2], padded.shape[-1]))
        with times.stage("heads"):
            scores = model.score(MaskEvidence(masks.mask_embed, clip_embed, masks.class_logits), self.text)[0]
        with times.stage("post-processing"):
            result = panoptic_inference(
                scores,
                masks.mask_logits[0],
                Geometry((image.shape[-2], image.shape[-1]), frame.output),
                self.things,
                overlap_threshold=size.overlap_threshold,
                object_threshold=size.object_threshold,
            )
        return Outcome(result.id_map, scores, masks.mask_logits[0], taps[:windows])
