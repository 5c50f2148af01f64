"""mVC: how constant the predicted category of a pixel is where the true one is constant.

Source: Miao et al., VSPW: A Large-scale Dataset for Video Scene Parsing in the Wild (CVPR 2021), section 4.2, in the
conventions of its script: for every start but the last, VC = |pixels constant on both sides over n frames| / |pixels
whose true category is constant|, void being a category of its own; mVC is the mean over all windows of all videos.
Whether the predicted category is right is not asked.
"""

import numpy as np
from numpy.typing import NDArray


class VideoConsistency:
    """Mean video consistency for one or more window lengths, frame by frame; memory does not grow with the length."""

    def __init__(self, windows: tuple[int, ...] = (8, 16)) -> None:
        if any(window < 2 for window in windows):
            raise ValueError(f"consistency needs windows of at least 2 frames, got {windows}")
        self.windows = windows
        self.total = dict.fromkeys(windows, 0.0)
        self.count = dict.fromkeys(windows, 0)
        self._before: tuple[NDArray[np.integer], NDArray[np.integer]] | None = None
        self._pending: dict[int, float] = {}

    def add(self, gt_categories: NDArray[np.integer], pred_categories: NDArray[np.integer]) -> None:
        """Takes the next frame: integer `[H, W]` of categories on both sides, any number for void."""
        # A window counts only when another frame follows it: the script's range stops one short.
        for window, value in self._pending.items():
            self.total[window] += value
            self.count[window] += 1
        self._pending = {}
        if self._before is None or self._before[0].shape != gt_categories.shape:
            self._gt_run = np.zeros(gt_categories.shape, dtype=np.uint16)
            self._pred_run = np.zeros(gt_categories.shape, dtype=np.uint16)
            self._seen = 1
        else:
            limit = max(self.windows)
            for run, now, before in (
                (self._gt_run, gt_categories, self._before[0]),
                (self._pred_run, pred_categories, self._before[1]),
            ):
                run += 1
                run *= now == before
                np.minimum(run, limit, out=run)
            self._seen += 1
        self._before = gt_categories, pred_categories
        for window in self.windows:
            if self._seen >= window:
                steady = self._gt_run >= window - 1
                among = int(np.count_nonzero(steady))
                if among:
                    both = int(np.count_nonzero(steady & (self._pred_run >= window - 1)))
                    self._pending[window] = both / among

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        self._before = None
        self._pending = {}

    def __iadd__(self, other: "VideoConsistency") -> "VideoConsistency":
        for window in self.windows:
            self.total[window] += other.total[window]
            self.count[window] += other.count[window]
        return self

    def result(self) -> dict[int, float]:
        """Window -> mVC as a fraction; NaN where no video is longer than the window."""
        return {w: self.total[w] / self.count[w] if self.count[w] else float("nan") for w in self.windows}
