"""How long frames take in every mode: the same frames, the modes in turns, one process."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from odise_frame.checkpoints import ModelInfo
from odise_frame.model import Odise
from odise_frame.quirks import PUBLISHED
from odise_frame.segmenter import WINDOW_BATCH, OdiseSegmenter, load_segmenter
from odise_frame.sizes import load_size
from odise_frame.temporal_cache import MODES, CacheSettings
from pipelines.cache_bench.bench import OFFICIAL, motions_of, read_frames
from videoseg.vocabulary import Vocabulary

OFFICIAL_MODEL = "official size, random weights"
_WARM_UP = 3
"""Frames that are not counted: a GPU chooses its kernels in them."""


def time_modes(file: Path, model: str, *, frames: int, device: str) -> dict[str, Any]:
    """Seconds of segmentation, post-processing included, by mode; first frames and cuts apart.

    Args:
        model: a known model, or `OFFICIAL_MODEL`.
    """
    from eval.synthetic_world import vocabulary

    pictures = read_frames(file, file.stem, frames)
    motions = motions_of(pictures)
    words = vocabulary()
    segmenters = {mode: _segmenter(model, words, mode, device) for mode in MODES}
    states = {mode: made.new_state(file.stem) for mode, made in segmenters.items()}
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    cpu: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number, (frame, motion) in enumerate(zip(pictures, motions, strict=True)):
        for mode, made in segmenters.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            made.segment([frame], [motion], [states[mode]])
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            if number >= _WARM_UP and motion is not None and not motion.cut:
                seconds[mode].append(time.perf_counter() - began)
                cpu[mode].append(time.process_time() - cpu_began)
    whole = float(np.mean(seconds["off"]))
    return {
        "video": file.name,
        "frame": list(pictures[0].size),
        "frames": len(seconds["off"]),
        "model": model,
        "device": device,
        **{
            mode: {
                "mean ms": round(1e3 * float(np.mean(seconds[mode])), 1),
                "p50 ms": round(1e3 * float(np.median(seconds[mode])), 1),
                "p99 ms": round(1e3 * float(np.quantile(seconds[mode], 0.99)), 1),
                "cpu ms": round(1e3 * float(np.mean(cpu[mode])), 1),
                "times faster": round(whole / float(np.mean(seconds[mode])), 2),
                "times less cpu": round(float(np.mean(cpu["off"])) / float(np.mean(cpu[mode])), 2),
            }
            for mode in MODES
        },
    }


def _segmenter(model: str, words: Vocabulary, mode: str, device: str) -> OdiseSegmenter:
    cache = CacheSettings.of(mode)
    if model != OFFICIAL_MODEL:
        return load_segmenter(model, words, device=device, cache=cache)
    size = load_size(OFFICIAL)
    with torch.device(device):
        network = Odise(size)
    network.requires_grad_(False)
    with torch.no_grad():
        # Captions as of a trained model: an open gate costs CLIP's view of every window.
        network.backbone.captioner.alpha_cond.fill_(0.1)
    info = ModelInfo(size, PUBLISHED, {}, (), {})
    return OdiseSegmenter(network, info, words, window_batch=WINDOW_BATCH, cache=cache)
