"""Trackers to compare with: overlap only, and the public ones of PyPI (`trackers`, `norfair`).

The public ones follow boxes. They get the boxes, scores and (where they take them) pictures of the same segments, and
their ids are carried back to the segments by position. A thing that they give no id is left out of their result, which
is how they suppress what they are not sure of.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tracking import overlap
from tracking.assignment import assign
from videoseg.panoptic import PanopticFrame, Segment


class Rival(Protocol):
    """Gives ids to the things of one video, frame by frame."""

    def step(self, frame: PanopticFrame, things: Sequence[Segment], rgb: NDArray[np.uint8]) -> list[int | None]:
        """A track for each thing, in order; None leaves it out."""


class OverlapOnly:
    """Hungarian on mask IoU with the last mask of each track, which is kept for some frames."""

    def __init__(self, *, iou: float = 0.5, patience: int = 0) -> None:
        self._iou, self._patience = iou, patience
        self._next = 1
        self._masks: dict[int, tuple[NDArray[np.bool_], int]] = {}

    def step(self, frame: PanopticFrame, things: Sequence[Segment], rgb: NDArray[np.uint8]) -> list[int | None]:
        """See `Rival`."""
        current = overlap.SampledMap.of(np.ascontiguousarray(frame.id_map))
        count = max((s.id for s in frame.segments), default=0) + 1
        area = current.areas(count)
        tracks = sorted(self._masks)
        iou = np.zeros((len(tracks), len(things)))
        ids = np.array([s.id for s in things], dtype=np.intp)
        for row, track in enumerate(tracks):
            mask, _ = self._masks[track]
            if mask.shape != frame.size or not len(ids):
                continue
            shared = np.bincount(frame.id_map[mask], minlength=count)[ids]
            iou[row] = shared / (mask.sum() + area[ids] - shared)
        pairs = assign(1.0 - iou, limit=1.0 - self._iou + 1e-9)
        found: list[int | None] = [None] * len(things)
        for row, column in pairs:
            found[column] = tracks[row]
        aged = {track: (mask, misses + 1) for track, (mask, misses) in self._masks.items()}
        self._masks = {track: entry for track, entry in aged.items() if entry[1] <= self._patience}
        for column, segment in enumerate(things):
            own = found[column]
            if own is None:
                own = found[column] = self._next
                self._next += 1
            self._masks[own] = (frame.id_map == segment.id, 0)
        return found


class OfTrackers:
    """A tracker of the package `trackers`."""

    def __init__(self, name: str, **options: Any) -> None:
        import trackers

        self._tracker = getattr(trackers, name)(**options)
        self._sees = name == "BoTSORTTracker"

    def step(self, frame: PanopticFrame, things: Sequence[Segment], rgb: NDArray[np.uint8]) -> list[int | None]:
        """See `Rival`."""
        import supervision

        boxes = np.array([s.box for s in things], dtype=np.float32).reshape(-1, 4)
        detections = supervision.Detections(
            xyxy=boxes,
            confidence=np.array([s.score for s in things], dtype=np.float32),
            class_id=np.array([s.category for s in things], dtype=int),
            data={"position": np.arange(len(things))},
        )
        picture = np.ascontiguousarray(rgb[..., ::-1]) if self._sees else None
        out = self._tracker.update(detections, picture)
        found: list[int | None] = [None] * len(things)
        if out.tracker_id is None or not len(out):
            return found
        for position, track in zip(out.data["position"].tolist(), out.tracker_id.tolist(), strict=True):
            if track >= 0:
                found[int(position)] = int(track) + 1
        return found


class OfNorfair:
    """The tracker of the package `norfair`, on IoU of boxes.

    The package says that it needs NumPy below 2 but runs with later ones: `pip install --no-deps norfair filterpy`.
    """

    def __init__(self, **options: Any) -> None:
        self._norfair = import_module("norfair")
        self._tracker = self._norfair.Tracker(**{"distance_function": "iou", "distance_threshold": 0.7, **options})

    def step(self, frame: PanopticFrame, things: Sequence[Segment], rgb: NDArray[np.uint8]) -> list[int | None]:
        """See `Rival`."""
        detections = [
            self._norfair.Detection(
                points=np.array(s.box, dtype=float).reshape(2, 2), scores=np.array([s.score] * 2), data=position
            )
            for position, s in enumerate(things)
        ]
        found: list[int | None] = [None] * len(things)
        for track in self._tracker.update(detections=detections):
            # An object that was not seen in this frame keeps its last detection.
            if any(track.last_detection is detection for detection in detections) and track.id is not None:
                found[track.last_detection.data] = int(track.id)
        return found


Make = Callable[[float], Rival]
"""A fresh tracker for a video of a frame rate."""


def rivals(*, tuned: bool) -> dict[str, Make]:
    """All that are installed: name -> how to make one.

    Args:
        tuned: with the thresholds of `TUNED`, chosen on development videos, instead of their own.
    """
    made: dict[str, Make] = {}

    def chosen(name: str) -> dict[str, Any]:
        return TUNED.get(name, {}) if tuned else {}

    made["overlap only"] = lambda rate: OverlapOnly(**chosen("overlap only"))
    for name in ("SORTTracker", "ByteTrackTracker", "OCSORTTracker", "BoTSORTTracker"):
        if _has("trackers"):
            made[name.removesuffix("Tracker")] = _of_trackers(name, chosen(name))
    if _has("norfair"):
        made["norfair"] = lambda rate: OfNorfair(**chosen("norfair"))
    return made


def _of_trackers(name: str, options: dict[str, Any]) -> Make:
    return lambda rate: OfTrackers(name, frame_rate=rate, **options)


def _has(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


TUNED: dict[str, dict[str, Any]] = {
    "overlap only": {"iou": 0.1, "patience": 12},
    "SORTTracker": {"lost_track_buffer": 30, "minimum_iou_threshold": 0.3, "minimum_consecutive_frames": 3},
    "ByteTrackTracker": {
        "lost_track_buffer": 30,
        "minimum_iou_threshold": 0.3,
        "minimum_consecutive_frames": 2,
        "track_activation_threshold": 0.4,
    },
    "OCSORTTracker": {
        "lost_track_buffer": 90,
        "minimum_iou_threshold": 0.3,
        "minimum_consecutive_frames": 1,
        "high_conf_det_threshold": 0.4,
    },
    "BoTSORTTracker": {
        "lost_track_buffer": 30,
        "minimum_iou_threshold_first_assoc": 0.2,
        "minimum_consecutive_frames": 1,
        "track_activation_threshold": 0.7,
    },
    "norfair": {"distance_threshold": 0.7, "hit_counter_max": 15, "initialization_delay": 3},
}
"""Chosen by `python -m pipelines.tracking_bench.tuning` on development videos with 20 and 40 % of drops."""

GRID: dict[str, dict[str, Sequence[Any]]] = {
    "overlap only": {"iou": (0.1, 0.3, 0.5), "patience": (0, 12, 48)},
    "SORTTracker": {
        "lost_track_buffer": (30, 90),
        "minimum_iou_threshold": (0.1, 0.3),
        "minimum_consecutive_frames": (1, 3),
    },
    "ByteTrackTracker": {
        "lost_track_buffer": (30, 90),
        "minimum_iou_threshold": (0.1, 0.3),
        "minimum_consecutive_frames": (1, 2),
        "track_activation_threshold": (0.4, 0.7),
    },
    "OCSORTTracker": {
        "lost_track_buffer": (30, 90),
        "minimum_iou_threshold": (0.1, 0.3),
        "minimum_consecutive_frames": (1, 3),
        "high_conf_det_threshold": (0.4, 0.6),
    },
    "BoTSORTTracker": {
        "lost_track_buffer": (30, 90),
        "minimum_iou_threshold_first_assoc": (0.1, 0.2),
        "minimum_consecutive_frames": (1, 2),
        "track_activation_threshold": (0.4, 0.7),
    },
    "norfair": {
        "distance_threshold": (0.7, 0.9),
        "hit_counter_max": (15, 45),
        "initialization_delay": (0, 3),
    },
}
"""What tuning tries: around their defaults, towards keeping more and longer."""
