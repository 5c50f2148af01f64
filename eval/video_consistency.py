"""mVC: how constant the predicted category of a pixel is where the true one is constant.

Source: Miao et al., VSPW: A Large-scale Dataset for Video Scene Parsing in the Wild (CVPR 2021), section 4.2, in the
conventions of its script: for every start but the last, VC = |pixels constant on both sides over n frames| / |pixels
whose true category is constant|, void being a category of its own; mVC is the mean over all windows of all videos.
Whether the predicted category is right is not asked.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class VideoConsistency:
    """Mean video consistency for one or more window lengths, frame by frame; memory does not grow with the length."""

    def __init__(self, windows: tuple[int, ...] = (8, 16)) -> None:
        if any(window < 2 for window in windows):
            raise ValueError(f"consistency needs windows of at least 2 frames, got {windows}")
        self.windows = windows
        self.videos: list[Floats] = []
        """Of every ended video, float64 `[W, 2]`: sum of VC, and how many windows."""
        self.total: Floats = np.zeros((len(windows), 2))
        self._begin()

    def _begin(self) -> None:
        self._before: tuple[NDArray[np.integer], NDArray[np.integer]] | None = None
        self._pending: Floats = np.zeros_like(self.total)
        self._video: Floats = np.zeros_like(self.total)

    def add(self, gt_categories: NDArray[np.integer], pred_categories: NDArray[np.integer]) -> None:
        """Takes the next frame: integer arrays of one shape with the category of every pixel, any number for void."""
        # A window counts only when another frame follows it: the script's range stops one short.
        self._video += self._pending
        self._pending = np.zeros_like(self.total)
        if self._before is None or self._before[0].shape != gt_categories.shape:
            kind = np.min_scalar_type(max(self.windows, default=0) + 1)
            self._gt_run = np.zeros(gt_categories.shape, dtype=kind)
            self._pred_run = np.zeros(gt_categories.shape, dtype=kind)
            self._seen = 1
        else:
            limit = max(self.windows, default=0)
            for run, now, before in (
                (self._gt_run, gt_categories, self._before[0]),
                (self._pred_run, pred_categories, self._before[1]),
            ):
                run += 1
                run *= now == before
                np.minimum(run, limit, out=run)
            self._seen += 1
        self._before = gt_categories, pred_categories
        for i, window in enumerate(self.windows):
            if self._seen >= window:
                steady = self._gt_run >= window - 1
                among = int(np.count_nonzero(steady))
                if among:
                    steady &= self._pred_run >= window - 1
                    self._pending[i] = np.count_nonzero(steady) / among, 1

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        self.videos.append(self._video)
        self.total += self._video
        self._begin()

    def __iadd__(self, other: "VideoConsistency") -> "VideoConsistency":
        self.total += other.total
        self.videos += other.videos
        return self

    def result(self) -> dict[int, float]:
        """Window -> mVC as a fraction; NaN where no video is longer than the window."""
        return dict(zip(self.windows, mean_consistency(self.total).tolist(), strict=True))


def mean_consistency(totals: Floats) -> Floats:
    """float64 `[...]` from sums `[..., 2]`."""
    number = totals[..., 1]
    return np.asarray(np.divide(totals[..., 0], number, out=np.full(number.shape, np.nan), where=number > 0))
