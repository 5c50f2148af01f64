"""`Report`: what an evaluation found, for programs and for people."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Conventions:
    """How often a convention was needed."""

    missing_frames: int = 0
    """Ground-truth frames without a prediction, taken as void."""
    extra_frames: int = 0
    """Predicted frames without ground truth, not looked at."""
    missing_videos: list[str] = field(default_factory=list)
    """Ground-truth videos without a prediction, taken as void; their frames are missing frames."""
    extra_videos: list[str] = field(default_factory=list)
    """Predicted videos without ground truth, not looked at."""
    unknown_categories: list[str] = field(default_factory=list)
    """Predicted categories that the ground truth does not know, taken as void."""
    untracked_segments: int = 0
    """Predicted segments without a track, taken as tracks of a single frame."""
    untracked_truth: bool = False
    """The ground truth has no tracks: only metrics of single frames are measured."""

    def __iadd__(self, other: "Conventions") -> "Conventions":
        self.missing_frames += other.missing_frames
        self.extra_frames += other.extra_frames
        self.untracked_segments += other.untracked_segments
        self.untracked_truth |= other.untracked_truth
        for ours, theirs in (
            (self.missing_videos, other.missing_videos),
            (self.extra_videos, other.extra_videos),
            (self.unknown_categories, other.unknown_categories),
        ):
            ours += [name for name in theirs if name not in ours]
        return self

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; lists of names that may be long are cut to 20."""
        return {
            "missing_frames": self.missing_frames,
            "extra_frames": self.extra_frames,
            "missing_videos": self.missing_videos[:20],
            "extra_videos": self.extra_videos[:20],
            "unknown_categories": self.unknown_categories[:20],
            "untracked_segments": self.untracked_segments,
            "untracked_truth": self.untracked_truth,
        }

    def sentences(self) -> list[str]:
        """What a person should know before believing the numbers; empty where nothing happened."""
        said = []
        if self.missing_frames:
            said.append(f"{self.missing_frames} frames have no prediction; they count as predicted void")
        if self.missing_videos:
            said.append(f"no prediction at all for {_some(self.missing_videos)}")
        if self.extra_frames:
            said.append(f"{self.extra_frames} predicted frames have no ground truth and were not looked at")
        if self.extra_videos:
            said.append(f"no ground truth for {_some(self.extra_videos)}, not looked at")
        if self.unknown_categories:
            said.append(f"the ground truth does not know {_some(self.unknown_categories)}; predictions of it are void")
        if self.untracked_segments:
            said.append(f"{self.untracked_segments} predicted segments have no track; each is a track of one frame")
        if self.untracked_truth:
            said.append("the ground truth has no tracks, so only single frames are measured")
        return said


@dataclass(frozen=True, slots=True)
class TrackMoment:
    """What happened to a ground-truth track in one frame, for the timeline of switches."""

    track: int
    category: int
    frame: int
    matched: int
    """Predicted track, 0 where none matched."""


@dataclass(frozen=True, slots=True, eq=False)
class Charts:
    """What plots are drawn from."""

    names: tuple[str, ...]
    """Of the categories."""
    confusion: NDArray[np.int64]
    """int64 `[C + 1, C + 1]`: pixels by true (row) and predicted category; the last is void."""
    quality_by_area: NDArray[np.float64]
    """float64 `[B, 4]`: IoU, TP, FP, FN by area; edges in `breakdown.AREA_EDGES`."""
    quality_by_age: NDArray[np.float64]
    """float64 `[A, 4]`: the same by age of the track; edges in `breakdown.AGE_EDGES`."""
    timelines: Mapping[str, tuple[TrackMoment, ...]]
    """Video -> its moments; only of the first few videos."""


@dataclass(frozen=True, slots=True)
class Report:
    """The values, as fractions, NaN where there is nothing to measure."""

    values: dict[str, float]
    """By plain name: `vpq.1`, `vpq.mean_1246`, `stq`, `hota`, …; see `names.VALUES`."""
    per_category: dict[str, dict[str, float]]
    """Category's name -> `pq`, `sq`, `rq`, `tp`, `fp`, `fn`, `iou`, `vpq.mean_1246`, and of things `hota` and `idf1`;
    only categories that either side showed."""
    videos: int
    frames: int
    conventions: Conventions
    per_video: dict[str, dict[str, float]] = field(default_factory=dict)
    """Video's name -> values."""
    category_groups: dict[str, dict[str, float]] = field(default_factory=dict)
    """Group of categories -> PQ, VPQ and mIoU over its categories only."""
    video_groups: dict[str, dict[str, float]] = field(default_factory=dict)
    """Group of videos -> values over its videos only, and under `<group>: <categories>` per group of categories."""
    charts: Charts | None = None

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the values at the top, NaN as null, the rest under names of their own."""
        data: dict[str, Any] = _plain_row(self.values)
        data["videos"], data["frames"] = self.videos, self.frames
        for name in ("per_category", "per_video", "category_groups", "video_groups"):
            data[name] = {key: _plain_row(row) for key, row in getattr(self, name).items()}
        data["conventions"] = self.conventions.to_json()
        return data


def _plain_row(row: Mapping[str, float]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
