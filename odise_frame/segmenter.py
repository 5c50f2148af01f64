"""`OdiseSegmenter`: frames to panoptic segments, each on its own or with what is kept of the frames before."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from odise_frame.backbone import pad_frames
from odise_frame.checkpoints import SHIPPED, ModelInfo, load_model, shipped_folder
from odise_frame.engine import EngineSettings, Precision, prepare
from odise_frame.inference import Geometry, PanopticResult, panoptic_inference
from odise_frame.installed_models import installed_folder
from odise_frame.mask_generator import MaskPredictions
from odise_frame.model import MaskEvidence, Odise
from odise_frame.sizes import OdiseSize
from odise_frame.sizes import names as size_names
from odise_frame.temporal_cache.cost import Ledger, Work
from odise_frame.temporal_cache.evidence import is_new, move_labels, recall, remember
from odise_frame.temporal_cache.flow import Floats
from odise_frame.temporal_cache.loop import OpenFrame, TemporalCache
from odise_frame.temporal_cache.planner import EVIDENCE_LEAST
from odise_frame.temporal_cache.result_motion import (
    SIDE,
    displacement_of_pixels,
    move_pixels,
    reduced_factor,
    search_again,
)
from odise_frame.temporal_cache.settings import CacheSettings
from odise_frame.temporal_cache.state import EVIDENCE, RESULT, CacheState
from odise_frame.timing import StageTimes
from odise_frame.vocabulary_text import VocabularyReader, VocabularyText
from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import StreamState
from videoseg.vocabulary import Vocabulary

WINDOW_BATCH = 8
"""Windows per pass of the frozen networks. Fixed, because rounding may depend on it: a part of the numeric profile.
Eight, because a 16:9 frame has eight windows, and the small model takes half the time per window that it takes in twos
(376 against 763 ms a frame on 2 cores)."""

_TOP = 5
"""Categories per segment whose probabilities are given out."""


@dataclass(frozen=True, slots=True)
class FrameByFrameState:
    """The memory of a segmenter that remembers nothing of the frames before."""

    format_version: ClassVar[int] = 1
    stream: str

    @property
    def nbytes(self) -> int:
        return 0

    def to_bytes(self) -> bytes:
        return json.dumps({"format_version": self.format_version, "stream": self.stream}).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises InputError where `data` has another format version or is damaged."""
        try:
            fields = json.loads(data)
            version, stream = fields["format_version"], fields["stream"]
        except (ValueError, KeyError, TypeError):
            raise InputError("The saved state of the segmenter is damaged: start the stream anew.") from None
        if version != cls.format_version or not isinstance(stream, str):
            raise InputError(
                f"The saved state of the segmenter has format version {version}, this videoseg reads "
                f"{cls.format_version}: start the stream anew."
            )
        return cls(stream)


class OdiseSegmenter:
    """ODISE as a `videoseg.protocols.Segmenter`.

    The bytes of a result are a function of the frame, the model, the vocabulary and the numeric profile (device class,
    threads, window batch, library versions); frames that are given together don't influence each other.

    Args:
        model: in evaluation mode, on the device where it is to run.
        info: what its folder says of it.
        vocabulary: of the results.
        window_batch: windows per pass of the frozen networks.
        cache: what is kept from frame to frame; by default nothing.
    """

    def __init__(
        self,
        model: Odise,
        info: ModelInfo,
        vocabulary: Vocabulary,
        *,
        window_batch: int = WINDOW_BATCH,
        cache: CacheSettings | None = None,
    ) -> None:
        self.model = model
        model.backbone.captioner_sees = not model.backbone.captioner.is_closed
        self.info = info
        self.window_batch = window_batch
        self.times = StageTimes()
        self.ledger = Ledger()
        """What was run so far."""
        self.cache: TemporalCache | None = None
        if cache is not None and cache.mode != "off":
            self.cache = TemporalCache(model, cache, window_batch=window_batch, meter=self.times)
        self._vocabulary = vocabulary
        self._things = frozenset(i for i, category in enumerate(vocabulary) if category.is_thing)
        self._reader = VocabularyReader(model.frozen, model.size.supervision, info.training_names)
        self._text = self._read(vocabulary)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    @property
    def device(self) -> torch.device:
        return self.model.frozen.empty_prompt.device

    @property
    def dtype(self) -> str:
        """Of the frozen networks' weights: `float32`, `bfloat16`."""
        return str(self.model.frozen.empty_prompt.dtype).removeprefix("torch.")

    def describe(self) -> Mapping[str, str]:
        """Name, checksum of the weights and settings that change results."""
        size = self.model.size
        return {
            "segmenter": "odise",
            "model": size.name,
            "checksum": self.info.checksum,
            "short_side": str(size.short_side),
            "max_long_side": str(size.max_long_side),
            "overlap_threshold": str(size.overlap_threshold),
            "object_threshold": str(size.object_threshold),
            "window_batch": str(self.window_batch),
            "dtype": self.dtype,
            **({} if self.cache is None else self.cache.settings.describe()),
        }

    def new_state(self, stream: str) -> FrameByFrameState | CacheState:
        return FrameByFrameState(stream) if self.cache is None else CacheState(stream)

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        """One result per frame: each from its frame alone or, with a cache, from its stream alone."""
        if not len(frames) == len(motions) == len(states):
            raise ValueError(f"{len(frames)} frames, {len(motions)} motions and {len(states)} states given")
        if self.cache is None:
            return [self._segment(frame) for frame in frames]
        results: list[PanopticFrame] = []
        start = 0
        while start < len(frames):
            # Frames of different streams go together; a stream's next frame needs the state after the one before.
            stop = start + 1
            while stop < len(frames) and all(states[stop] is not state for state in states[start:stop]):
                stop += 1
            results += self._segment_with_cache(self.cache, frames[start:stop], motions[start:stop], states[start:stop])
            start = stop
        return results

    def with_vocabulary(self, vocabulary: Vocabulary) -> "OdiseSegmenter":
        """The same network with other categories: weights are shared, memory of streams is not."""
        cache = None if self.cache is None else self.cache.settings
        return OdiseSegmenter(self.model, self.info, vocabulary, window_batch=self.window_batch, cache=cache)

    @torch.inference_mode()
    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        """Probabilities float32 `[N, len(vocabulary)]` for stacked `Segment.open_vocabulary` `[N, E]`.

        What a row lacks to 1 is the probability of void.

        Raises:
            InputError: evidence of another model.
        """
        try:
            evidence = self.model.unpack_evidence(torch.from_numpy(np.asarray(open_vocabulary, np.float32)))
        except ValueError as error:
            raise InputError(f"These segments cannot be classified again: {error}. Segment the video anew.") from None
        on_device = MaskEvidence(
            evidence.mask_embed.to(self.device),
            evidence.clip_embed.to(self.device),
            None if evidence.class_logits is None else evidence.class_logits.to(self.device),
        )
        probabilities = self.model.score(on_device, self._read(vocabulary)).softmax(dim=-1)
        return _numpy(probabilities[:, :-1])

    def _read(self, vocabulary: Vocabulary) -> VocabularyText:
        return self._reader.read([category.names for category in vocabulary])

    @torch.inference_mode()
    def _segment(self, frame: Frame) -> PanopticFrame:
        meter, size = self.times, self.model.size
        image = resize_frame(frame.rgb, size).to(self.device)
        padded = pad_frames(image, size.size_divisibility)
        masks = self.model.predict_masks(padded, window_batch=self.window_batch, meter=meter)
        with meter.stage("mask classification"):
            clip_embed = self.model.look_at_masks(image, masks.mask_logits, (padded.shape[-2], padded.shape[-1]))
        self._count_uncached(padded, image)
        return self._name(frame, image, masks, clip_embed[0])

    def _name(self, frame: Frame, image: Tensor, masks: MaskPredictions, clip_embed: Tensor) -> PanopticFrame:
        """From masks and what CLIP sees in them, `[Q, E]`, to the result."""
        size = self.model.size
        with self.times.stage("heads"):
            class_logits = None if masks.class_logits is None else masks.class_logits[0]
            evidence = MaskEvidence(masks.mask_embed[0], clip_embed, class_logits)
            scores = self.model.score(evidence, self._text)
        with self.times.stage("post-processing"):
            result = panoptic_inference(
                scores,
                masks.mask_logits[0],
                Geometry((image.shape[-2], image.shape[-1]), frame.size),
                self._things,
                overlap_threshold=size.overlap_threshold,
                object_threshold=size.object_threshold,
            )
            return self._panoptic_frame(frame, result, evidence, scores)

    def _count_uncached(self, padded: Tensor, image: Tensor) -> None:
        windows = len(self.model.backbone.plan(padded.shape[-2], padded.shape[-1]))
        work = self.ledger.of((image.shape[-2], image.shape[-1]))
        filled = -(-windows // self.window_batch) * self.window_batch
        work += Work(
            frames=1,
            windows=filled,
            captions=filled if self.model.backbone.captioner_sees else 0,
            heads=1,
            looks=1,
            refreshed=windows,
            seen=windows,
        )

    # --- with a cache ---

    @torch.inference_mode()
    def _segment_with_cache(
        self,
        cache: TemporalCache,
        frames: Sequence[Frame],
        motions: Sequence[Motion | None],
        states: Sequence[StreamState],
    ) -> list[PanopticFrame]:
        opened = []
        for frame, motion, state in zip(frames, motions, states, strict=True):
            if not isinstance(state, CacheState):
                raise TypeError(f"the state of {frame.stream} is a {type(state).__name__}, not one of this segmenter")
            state.move_to(self.device)
            pixels = resize_pixels(frame.rgb, self.model.size)
            opened.append(cache.open(frame, pixels, to_image(pixels).to(self.device), motion, state))
        for image_size in dict.fromkeys((each.image.shape[-2], each.image.shape[-1]) for each in opened):
            # Windows of different sizes never share a batch.
            same = [each for each in opened if (each.image.shape[-2], each.image.shape[-1]) == image_size]
            work = self.ledger.of(image_size)
            work += cache.refresh(same)
        return [self._finish(cache, each) for each in opened]

    def _finish(self, cache: TemporalCache, opened: OpenFrame) -> PanopticFrame:
        frame, image, state = opened.frame, opened.image, opened.state
        work = self.ledger.of((image.shape[-2], image.shape[-1]))
        work += Work(frames=1)
        if not opened.plan.heads and state.result is not None:
            with self.times.stage("post-processing"):
                return _moved_result(opened, state.result)
        with cache.pace.rest_of_frame(cache.settings.budget_ms is not None):
            with self.times.stage("heads"):
                masks: MaskPredictions = self.model.mask_generator(cache.maps(opened))
            clip_embed = self._evidence(cache, opened, masks)
            result = self._name(frame, image, masks, clip_embed)
        work += Work(heads=1)
        state.result, state.result_digests, state.heads_age = result, opened.digests, 0
        state.result_luma = opened.block_luma
        if state.canvas is not None and state.canvas.flows is not None:
            state.canvas.flows[RESULT] = 0
        return result

    def _evidence(self, cache: TemporalCache, opened: OpenFrame, masks: MaskPredictions) -> Tensor:
        """What CLIP sees in the masks, `[Q, E]`: from memory as long as they are the same masks."""
        state, logits = opened.state, masks.mask_logits[0]
        flows = None if state.canvas is None else state.canvas.flows
        strength = None
        if not cache.settings.is_exact:
            with self.times.stage("heads"):
                strength = self._mask_strength(masks)
        with self.times.stage("mask classification"):
            if strength is not None and not opened.plan.evidence and state.masks is not None:
                recalled = recall(state.masks, logits, None if flows is None else flows[EVIDENCE], opened.step)
                if state.evidence_age < EVIDENCE_LEAST or not is_new(recalled, logits, strength):
                    return recalled.embedding.to(logits.dtype)
            padded = (opened.padded.shape[-2], opened.padded.shape[-1])
            seen = self.model.look_at_masks(opened.image, masks.mask_logits, padded)[0]
            work = self.ledger.of((opened.image.shape[-2], opened.image.shape[-1]))
            work += Work(looks=1)
            state.evidence_age = 0
            if flows is not None:
                flows[EVIDENCE] = 0
            if strength is not None:
                state.masks = remember(logits, strength, seen)
            return seen

    def _mask_strength(self, masks: MaskPredictions) -> Tensor:
        """How sure the mask generator is that a mask shows something of the vocabulary: `[Q]`."""
        if masks.class_logits is not None:
            return masks.class_logits[0].softmax(dim=-1)[:, 0]
        return 1.0 - self.model.category_logits(masks.mask_embed[0], self._text).softmax(dim=-1)[:, -1]

    def _panoptic_frame(
        self, frame: Frame, result: PanopticResult, evidence: MaskEvidence, scores: Tensor
    ) -> PanopticFrame:
        id_map = result.id_map.to(torch.uint16).cpu().numpy()
        probabilities = _numpy(scores.softmax(dim=-1)[:, :-1])
        open_vocabulary = _numpy(evidence.packed())
        # Both classifiers' views have the same say in what looks alike.
        views = [F.normalize(evidence.mask_embed, dim=-1), F.normalize(evidence.clip_embed, dim=-1)]
        embedding = _numpy(F.normalize(torch.cat(views, dim=-1), dim=-1))
        measured = measure_segments(id_map)
        segments = []
        for found in result.segments:
            # Where stuff is made of several masks, the surest one speaks for all.
            query = max(found.queries, key=lambda q: probabilities[q, found.category])
            area, box = measured[found.id]
            best = np.argsort(-probabilities[query], kind="stable")[:_TOP]
            segments.append(
                Segment(
                    id=found.id,
                    category=found.category,
                    is_thing=found.is_thing,
                    score=min(1.0, float(probabilities[query, found.category])),
                    area=area,
                    box=box,
                    embedding=embedding[query].copy(),
                    open_vocabulary=open_vocabulary[query].copy(),
                    probabilities=tuple((int(k), float(probabilities[query, k])) for k in best),
                )
            )
        return PanopticFrame.of(frame, id_map, segments)


def frame_size(height: int, width: int, size: OdiseSize) -> tuple[int, int]:
    """What a frame is resized to: its short side to the model's, unless that makes the long side too long."""
    scale = size.short_side / min(height, width)
    if max(height, width) * scale > size.max_long_side:
        scale = size.max_long_side / max(height, width)
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def resize_frame(rgb: NDArray[np.uint8], size: OdiseSize) -> Tensor:
    """A frame uint8 `[H, W, 3]` as float32 `[1, 3, h, w]` in [0, 1]: bilinear, antialiased, rounded to 8 bits."""
    return to_image(resize_pixels(rgb, size))


def resize_pixels(rgb: NDArray[np.uint8], size: OdiseSize) -> NDArray[np.uint8]:
    """A frame uint8 `[H, W, 3]` at the model's size: `[h, w, 3]`."""
    height, width = frame_size(rgb.shape[0], rgb.shape[1], size)
    if (height, width) == rgb.shape[:2]:
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))


def to_image(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 `[h, w, 3]` as float32 `[1, 3, h, w]` in [0, 1]."""
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return image[None].to(torch.float32) / 255.0


def _moved_result(opened: OpenFrame, result: PanopticFrame) -> PanopticFrame:
    """The last result, every pixel of it moved to where it is in this frame."""
    canvas, id_map = opened.state.canvas, result.id_map
    if opened.step is None or canvas is None or canvas.flows is None:
        return PanopticFrame.of(opened.frame, id_map, result.segments)
    if opened.state.result_digests == opened.digests:
        return PanopticFrame.of(opened.frame, id_map, result.segments)
    moved = _move_id_map(opened, id_map, canvas.flows[RESULT])
    measured = measure_segments(moved)
    segments = [
        replace(segment, area=measured[segment.id][0], box=measured[segment.id][1])
        for segment in result.segments
        if segment.id in measured
    ]
    return PanopticFrame.of(opened.frame, moved, segments)


def _move_id_map(opened: OpenFrame, id_map: NDArray[np.uint16], flow: Floats) -> NDArray[np.uint16]:
    """The map of the last result in this frame; `flow`, back to that result, is corrected in place."""
    state, now = opened.state, opened.block_luma
    assert state.canvas is not None
    assert opened.step is not None
    picture, key = state.canvas.picture, state.result_luma
    blocks = flow.shape[0] * SIDE, flow.shape[1] * SIDE
    if key is None or now is None or now.shape != blocks or key.shape != blocks:
        # Motion from elsewhere, in other blocks.
        return move_labels(id_map, flow, opened.step, picture.scale)
    reduced = np.array(picture.scale, np.float32) * np.float32(reduced_factor(picture.frame))
    found = search_again(flow / reduced, key, now)
    flow[:] = found * reduced
    return move_pixels(id_map, displacement_of_pixels(found, key, now))


def load_segmenter(
    model: str | Path,
    vocabulary: Vocabulary,
    *,
    device: str = "cpu",
    threads: int | None = None,
    cache: CacheSettings | None = None,
    dtype: Precision = "float32",
    short_side: int | None = None,
) -> OdiseSegmenter:
    """The segmenter of a known model or of a model folder.

    Args:
        model: `small`, an official model that is installed, or a folder that `save_model` wrote.
        vocabulary: what to look for.
        device: `cpu`, `cuda`, `cuda:1`, ...
        threads: of torch, for the whole process; None leaves them as they are.
        cache: see `OdiseSegmenter`.
        dtype: of the frozen networks (see `odise_frame.engine`); half of the memory in `bfloat16`.
        short_side: what frames are resized to, in pixels; None is the model's own.

    Raises:
        InputError: unknown model, weights that are missing or damaged, a device that is not there.
    """
    folder = find_model(model)
    place = _find_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    network, info = load_model(folder, dtype=getattr(torch, dtype), device=place)
    if short_side is not None:
        network.size = replace(network.size, short_side=short_side)
    return OdiseSegmenter(prepare(network, EngineSettings(precision=dtype)), info, vocabulary, cache=cache)


def find_model(model: str | Path) -> Path:
    """The folder of a known model, or the folder itself; InputError where there is neither."""
    if isinstance(model, str) and model in SHIPPED:
        return shipped_folder(model)
    path = (installed_folder(model) if isinstance(model, str) else None) or Path(model)
    if path.is_dir():
        return path
    known = [*SHIPPED, *(name for name in size_names() if name not in SHIPPED)]
    if str(model) in known:
        raise InputError(
            f"The weights of the model {str(model)!r} are not installed: they cannot be shipped (their licences are "
            f"not ours). Run `videoseg models fetch {model}`, or take --model small."
        )
    raise InputError(
        f"There is no model {str(model)!r}. The known ones are {', '.join(known)}; "
        "a folder with a model.json and its weights can be named, too."
    )


def _find_device(device: str) -> torch.device:
    try:
        place = torch.device(device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"The device {device!r} cannot be used here ({reason}). Take --device cpu.") from None
    if place.type == "cuda":
        # Convolutions would otherwise round to 10 bits, visibly in the masks' edges.
        torch.backends.cudnn.allow_tf32 = False
    return place


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[Any] = tensor.to("cpu", torch.float32).numpy()
    return array
