"""Flicker: how unsteady a prediction is, in four numbers.

There is no standard; each is what people complain of:

- id: tracks that live in fewer than `SHORT_LIFE` frames, per 100 frames. Tracks that are there in the first or last
  frame of the video are not counted: nobody knows how long they live;
- label: how often a track changes its category, per frame in which it follows itself;
- area: the median of |log(area now / area before)| of predicted tracks that in both of two successive frames match the
  same ground-truth track (one category, IoU > 1/2);
- pixel: the share of pixels whose (category, track) is another than in the frame before, less the same of the ground
  truth, where objects move. It may be negative.
"""

import math
from array import array
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from eval.contingency import FrameTable, Segments
from eval.panoptic_quality import find_events

Floats = NDArray[np.float64]

SHORT_LIFE = 5
"""Frames: a fifth of a second at 25 frames a second, too short for a person to make out an object."""

COUNTS = (
    "frames",
    "short_tracks",
    "label_changes",
    "track_steps",
    "pred_changed_pixels",
    "gt_changed_pixels",
    "compared_pixels",
)
"""What is counted, in the order of the arrays here."""


class Flicker:
    """Counts flicker, frame by frame."""

    def __init__(self) -> None:
        self.total: Floats = np.zeros(len(COUNTS))
        """float64 `[7]`: sums of `COUNTS`."""
        self.videos: list[Floats] = []
        """The same of every ended video."""
        self.area_changes: list[NDArray[np.float32]] = []
        """Of every ended video, float32 `[N]`: |log(area now / area before)|."""
        self._begin()

    def _begin(self) -> None:
        self._video: Floats = np.zeros(len(COUNTS))
        self._changes = array("f")
        self._frame = 0
        self._lives: dict[int, tuple[int, int, int]] = {}
        self._categories: dict[int, int] = {}
        self._matched: dict[tuple[int, int], int] = {}
        self._labels: tuple[dict[tuple[int, int], int], dict[tuple[int, int], int]] = {}, {}
        self._maps: list[NDArray[np.integer]] = []

    def labels(self, side: int, segments: Segments) -> NDArray[np.uint32]:
        """uint32 `[N + 1]`: a number for each (track, category) of a side (0 ground truth, 1 prediction), void first;
        the same in every frame of a video."""
        known = self._labels[side]
        keys = zip(segments.ids.tolist(), segments.categories.tolist(), strict=True)
        return np.array([0, *(known.setdefault(key, len(known) + 1) for key in keys)], dtype=np.uint32)

    def add(self, table: FrameTable, gt_labels: NDArray[np.integer], pred_labels: NDArray[np.integer]) -> None:
        """Takes the next frame: its table, and `labels` at every pixel of both sides, of one shape."""
        video = self._video
        video[0] += 1
        if self._maps and self._maps[0].shape == gt_labels.shape:
            video[4] += np.count_nonzero(pred_labels != self._maps[1])
            video[5] += np.count_nonzero(gt_labels != self._maps[0])
            video[6] += gt_labels.size
        self._maps = [gt_labels, pred_labels]
        categories = dict(zip(table.pred.ids.tolist(), table.pred.categories.tolist(), strict=True))
        for track, category in categories.items():
            before = self._categories.get(track)
            video[3] += before is not None
            video[2] += before is not None and before != category
            first, _, count = self._lives.get(track, (self._frame, self._frame, 0))
            self._lives[track] = first, self._frame, count + 1
        self._categories = categories
        events = find_events([table], 1)
        pairs = zip(events.matched_pred.tolist(), events.matched_gt.tolist(), strict=True)
        matched: Mapping[tuple[int, int], int] = dict(zip(pairs, events.matched_pred_area.tolist(), strict=True))
        self._changes.extend(
            abs(math.log(area / self._matched[pair])) for pair, area in matched.items() if pair in self._matched
        )
        self._matched = dict(matched)
        self._frame += 1

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        last = self._frame - 1
        self._video[1] = sum(
            count < SHORT_LIFE and first > 0 and end < last for first, end, count in self._lives.values()
        )
        self.videos.append(self._video)
        self.area_changes.append(np.array(self._changes, dtype=np.float32))
        self.total += self._video
        self._begin()

    def __iadd__(self, other: "Flicker") -> "Flicker":
        self.total += other.total
        self.videos += other.videos
        self.area_changes += other.area_changes
        return self

    def area(self) -> float:
        """The median over all ended videos; NaN where no track matched twice in a row."""
        changes = np.concatenate([np.zeros(0, np.float32), *self.area_changes])
        return float(np.median(changes.astype(np.float64))) if len(changes) else float("nan")


def flicker_rates(counts: Floats) -> dict[str, Floats]:
    """`id`, `label` and `pixel`, float64 `[...]` each, from counts `[..., 7]`; NaN where there is nothing to count."""
    frames, short, changes, steps, pred, gt, compared = np.moveaxis(counts, -1, 0)

    def share(part: Floats, whole: Floats) -> Floats:
        return np.asarray(np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0))

    return {"id": 100 * share(short, frames), "label": share(changes, steps), "pixel": share(pred - gt, compared)}
