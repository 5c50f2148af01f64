"""Features of every window of every frame, computed once and kept on disk, so that policies can be replayed on them."""

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from odise_frame.backbone import pad_frames
from odise_frame.checkpoints import ModelInfo
from odise_frame.feature_projection import LEVELS
from odise_frame.model import Odise
from odise_frame.segmenter import resize_pixels, to_image
from odise_frame.temporal_cache import WindowNetwork, WindowRequest, WindowResult
from odise_frame.temporal_cache.loop import DiffusionWindows
from odise_frame.timing import StageTimes
from odise_frame.windows import plan_windows
from videoseg.frame import Frame

DITHERED = "dithered"
"""Added to a stream's name: the same video with the last bit of every value set by chance."""


class FeatureStore:
    """Maps of windows in a folder: a file per frame and level, `float32 [W, C, n, n]`."""

    def __init__(self, folder: Path, model: Odise, info: ModelInfo, *, window_batch: int) -> None:
        """
        Args:
            folder: is made; what is in it of another model is not used.
        """
        said = json.dumps([info.checksum, window_batch, torch.get_num_threads()])
        self.folder = folder / hashlib.sha256(said.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._model = model
        self._batch = window_batch
        self._network = DiffusionWindows(model, StageTimes())

    def place(self, stream: str, frame: int, name: str) -> Path:
        """Where one map of one frame is."""
        return self.folder / stream / f"{frame:05d}-{name}.npy"

    @torch.inference_mode()
    def record(self, frames: Sequence[Frame], on_frame: Callable[[], None] = lambda: None) -> None:
        """Computes what is not there yet."""
        for frame in frames:
            if not self.place(frame.stream, frame.index, "embedding").is_file():
                self._record(frame)
            on_frame()

    def _record(self, frame: Frame) -> None:
        model = self._model
        padded = pad_frames(to_image(resize_pixels(frame.rgb, model.size)), model.size.size_divisibility)
        grid = plan_windows(padded.shape[-2], padded.shape[-1], model.size.window)
        requests = [
            WindowRequest(
                frame.stream, frame.index, i, padded[0, :, top : top + grid.side, left : left + grid.side], None
            )
            for i, (top, left) in enumerate(grid.corners)
        ]
        results = self._network.run(requests, self._batch)
        arrays = {f"s{level}": torch.stack([r.maps[f"s{level}"] for r in results]).numpy() for level in LEVELS}
        # Last, and by another name first: what is there is whole.
        arrays["embedding"] = torch.stack([r.embedding for r in results]).numpy()
        for name, array in arrays.items():
            place = self.place(frame.stream, frame.index, name)
            place.parent.mkdir(exist_ok=True)
            part = place.with_suffix(".part")
            with part.open("wb") as file:
                np.save(file, array)
            part.rename(place)

    def read(self, stream: str, frame: int, name: str) -> NDArray[np.float32]:
        """One map of all windows of a frame."""
        found: NDArray[np.float32] = np.load(self.place(stream, frame, name), mmap_mode="r")
        return found


class RecordedWindows(WindowNetwork):
    """Gives out what was recorded in place of running the network.

    Captions are those of the frame itself: what an old caption costs in quality shows only where the network runs.
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def run(self, requests: Sequence[WindowRequest], batch: int) -> list[WindowResult]:
        """See `WindowNetwork`."""
        results = []
        for request in requests:
            maps = {
                f"s{level}": torch.from_numpy(
                    np.array(self._store.read(request.stream, request.frame, f"s{level}")[request.window])
                )
                for level in LEVELS
            }
            embedding = np.array(self._store.read(request.stream, request.frame, "embedding")[request.window])
            results.append(WindowResult(maps, torch.from_numpy(embedding)))
        return results


def dithered(frame: Frame) -> Frame:
    """The frame with the last bit of every value set by chance (the same chance every time)."""
    rng = np.random.default_rng(frame.index)
    rgb = ((frame.rgb & 0xFE) | rng.integers(0, 2, frame.rgb.shape, dtype=np.uint8)).astype(np.uint8)
    return Frame(f"{frame.stream}-{DITHERED}", frame.epoch, frame.index, frame.pts, frame.time_base, frame.time, rgb)
