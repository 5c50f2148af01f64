"""PQ of images taken apart: by the size of segments, by the length and the age of tracks, and frame by frame.

A match and a miss belong to the ground-truth segment, a false alarm to the predicted one: its pixels, the frames in
which its track is seen, the frames since its track was first seen. The rules are those of PQ (see `panoptic_quality`).
"""

import numpy as np
from numpy.typing import NDArray

from eval.contingency import FrameTable, Ints
from eval.panoptic_quality import Events, find_events
from eval.segmentation_tracking_quality import LENGTHS

Floats = NDArray[np.float64]

AREA_EDGES = (16**2, 32**2, 64**2, 96**2, 128**2, 192**2, 256**2, 384**2)
"""Pixels; a bin holds areas from one edge to before the next. 32² and 96² are those of COCO."""
SIZES = {"small": 32**2, "medium": 96**2}
"""Segments of fewer pixels; larger ones are `large` (as COCO has it)."""
AGE_EDGES = (1, 2, 4, 8, 16, 32)
"""Frames since the track was first seen."""

_BATCH = 32
"""Frames that are counted together."""


class QualityBreakdown:
    """Counts PQ's events by what they happen to; float64 `[..., 4]` arrays of IoU, TP, FP, FN."""

    def __init__(self, categories: int, *, void_excuses: bool = True) -> None:
        self._void_excuses = void_excuses
        self.by_area: Floats = np.zeros((len(AREA_EDGES) + 1, categories, 4))
        self.by_length: Floats = np.zeros((len(LENGTHS) + 1, categories, 4))
        self.by_age: Floats = np.zeros((len(AGE_EDGES) + 1, 4))
        """Over all categories."""
        self.frames: list[Floats] = []
        """Of every ended video, float64 `[T, 4]` over all categories."""
        self._begin()

    def _begin(self) -> None:
        self._tables: list[FrameTable] = []
        self._counted = 0
        self._frames: list[Floats] = []
        self._first: tuple[dict[int, int], dict[int, int]] = {}, {}
        self._length: tuple[dict[int, int], dict[int, int]] = {}, {}
        self._of_track: tuple[dict[tuple[int, int], Floats], dict[tuple[int, int], Floats]] = {}, {}
        self._video = [np.zeros_like(total) for total in (self.by_area, self.by_length, self.by_age)]

    def add(self, table: FrameTable) -> None:
        """Takes the next frame of the video."""
        frame = self._counted + len(self._tables)
        for side, segments in enumerate((table.gt, table.pred)):
            for track in segments.ids.tolist():
                self._first[side].setdefault(track, frame)
                self._length[side][track] = self._length[side].get(track, 0) + 1
        self._tables.append(table)
        if len(self._tables) == _BATCH:
            self._count()

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        if self._tables:
            self._count()
        edges = [length + 1 for length in LENGTHS.values()]
        for lengths, tracks in zip(self._length, self._of_track, strict=True):
            for (track, category), counts in tracks.items():
                self._video[1][int(np.searchsorted(edges, lengths[track], side="right")), category] += counts
        self.frames.append(np.concatenate([np.zeros((0, 4)), *self._frames]))
        for total, part in zip((self.by_area, self.by_length, self.by_age), self._video, strict=True):
            total += part
        self._begin()

    def __iadd__(self, other: "QualityBreakdown") -> "QualityBreakdown":
        self.by_area += other.by_area
        self.by_length += other.by_length
        self.by_age += other.by_age
        self.frames += other.frames
        return self

    def of_size(self, name: str) -> Floats:
        """float64 `[C, 4]` of the segments of a size: `small`, `medium` or `large`."""
        first, last = (0, *SIZES.values())[[*SIZES, "large"].index(name)], {**SIZES, "large": None}[name]
        edges = (0, *AREA_EDGES)
        return np.asarray(sum(
            (self.by_area[i] for i, edge in enumerate(edges) if edge >= first and (last is None or edge < last)),
            np.zeros_like(self.by_area[0]),
        ))  # fmt: skip

    def _count(self) -> None:
        events = find_events(self._tables, 1, void_excuses=self._void_excuses)
        frames = np.zeros((len(self._tables), 4))
        for column, side, window, track, category, area, value in _kinds(events):
            np.add.at(frames[:, column], window, value)
            sizes = np.searchsorted(AREA_EDGES, area, side="right")
            np.add.at(self._video[0][:, :, column], (sizes, category), value)
            first = np.array([self._first[side][i] for i in track.tolist()], dtype=np.int64)
            ages = np.searchsorted(AGE_EDGES, window + self._counted - first, side="right")
            np.add.at(self._video[2][:, column], ages, value)
            for i, c, v in zip(track.tolist(), category.tolist(), value.tolist(), strict=True):
                self._of_track[side].setdefault((i, c), np.zeros(4))[column] += v
        self._frames.append(frames)
        self._counted += len(self._tables)
        self._tables = []


def _kinds(events: Events) -> list[tuple[int, int, Ints, Ints, Ints, Ints, Floats]]:
    """Column, side, window, track, category, area and weight of the events of every column."""
    e = events
    matched = e.matched_window, e.matched_gt, e.matched_category, e.matched_gt_area
    return [
        (0, 0, *matched, e.iou),
        (1, 0, *matched, np.ones(len(e.iou))),
        (2, 1, e.false_window, e.false_pred, e.false_category, e.false_area, np.ones(len(e.false_pred))),
        (3, 0, e.missed_window, e.missed_gt, e.missed_category, e.missed_area, np.ones(len(e.missed_gt))),
    ]
