"""A stream as it comes: frame after frame, as much of the network as the milliseconds allow, and the plans kept.

Plans that depend on the clock cannot be made again, so each is written down beside its frame. With them the same frames
give the same bits, on the same numeric profile.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from tracking import PanopticTracker
from videoseg.errors import InputError
from videoseg.formats import vipseg
from videoseg.frame import Frame
from videoseg.motion_estimation import LumaPyramid, estimate_motion_between
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Source

if TYPE_CHECKING:
    from odise_frame.segmenter import OdiseSegmenter
    from odise_frame.temporal_cache import FramePlan

PLANS = "plans.jsonl"
_VERSION = 1


@dataclass(frozen=True, slots=True)
class PlanLog:
    """The plans of one stream."""

    made_by: Mapping[str, Any]
    """What the segmenter said of itself, and the numeric profile: whoever replays needs the same."""
    plans: Mapping[tuple[int, int], "FramePlan"]
    """(epoch, `Frame.index`) -> plan."""


@dataclass(slots=True)
class LiveReport:
    """How a live run went."""

    seconds: list[float] = field(default_factory=list)
    """Of every frame: motion, segmentation and tracking."""
    refreshed: list[int] = field(default_factory=list)
    """Windows that were refreshed, by frame."""

    def to_json(self, budget_ms: float | None) -> dict[str, Any]:
        """JSON-ready; the first frame, which no budget covers, is left out of the times."""
        times = 1e3 * np.array(self.seconds[1:] or [float("nan")])
        said: dict[str, Any] = {
            "frames": len(self.seconds),
            "mean ms": round(float(times.mean()), 1),
            "p50 ms": round(float(np.median(times)), 1),
            "p99 ms": round(float(np.quantile(times, 0.99)), 1),
            "windows a frame": round(float(np.mean(self.refreshed[1:] or [0])), 2),
        }
        if budget_ms is not None:
            said["over budget"] = round(float((times > budget_ms).mean()), 3)
        return said


def read_plans(file: Path) -> PlanLog:
    """What `run_live` wrote.

    Raises:
        InputError: no such file, of another version, or damaged.
    """
    from odise_frame.temporal_cache import FramePlan

    try:
        header, *lines = file.read_text(encoding="utf-8").splitlines()
        said = json.loads(header)
        if said["version"] != _VERSION:
            raise InputError(f"{file} has plans of version {said['version']}, this videoseg reads {_VERSION}.")
        rows = [json.loads(line) for line in lines]
        plans = {(int(row["epoch"]), int(row["frame"])): FramePlan.from_json(row["plan"]) for row in rows}
        return PlanLog(said["made_by"], plans)
    except OSError:
        raise InputError(f"There are no plans at {file}: name the {PLANS} of a live run.") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file} holds no plans, or is damaged: name the {PLANS} of a live run.") from None


def run_live(
    source: Source,
    segmenter: "OdiseSegmenter",
    folder: Path,
    *,
    profile: Mapping[str, Any],
    replay: PlanLog | None = None,
) -> LiveReport:
    """Segments and tracks a stream and writes its tracks as VIPSeg and its plans as `plans.jsonl`.

    Args:
        source: of one stream.
        segmenter: with a cache.
        folder: is made.
        profile: see `pipelines.profile`.
        replay: plans to follow in place of the clock.

    Raises:
        InputError: the plans are of another model, other settings or another profile, or end before the stream.
    """
    cache = segmenter.cache
    if cache is None:
        raise InputError("A live run needs a cache: take --cache balanced or fast.")
    made_by = json.loads(json.dumps({"segmenter": dict(segmenter.describe()), "profile": dict(profile)}))
    if replay is not None:
        if replay.made_by != made_by:
            other = _first_difference(replay.made_by, made_by)
            raise InputError(f"These plans were made with another {other}: replay them with the options of that run.")
        cache.replay = _Follow(replay)
    folder.mkdir(parents=True, exist_ok=True)
    report = LiveReport()
    with (folder / PLANS).open("w", encoding="utf-8") as log:
        log.write(json.dumps({"version": _VERSION, "made_by": made_by}) + "\n")
        stream = source.info.stream
        vipseg.write(folder / "vipseg", segmenter.vocabulary, {stream: _frames(source, segmenter, log, report)})
    return report


def _frames(source: Source, segmenter: "OdiseSegmenter", log: TextIO, report: LiveReport) -> Iterator[PanopticFrame]:
    from odise_frame.temporal_cache import CacheState

    tracker = PanopticTracker(vocabulary=segmenter.vocabulary)
    state, tracks = segmenter.new_state(source.info.stream), tracker.new_state(source.info.stream)
    assert isinstance(state, CacheState)
    before: LumaPyramid | None = None
    epoch = 0
    for frame in source.frames():
        began = perf_counter()
        now = LumaPyramid.of(frame.rgb)
        known = before is not None and before.size == now.size and frame.epoch == epoch
        motion = estimate_motion_between(before, now) if known and before is not None else None
        before, epoch = now, frame.epoch
        (result,) = segmenter.segment([frame], [motion], [state])
        found = tracker.step(result, motion, tracks).frames
        report.seconds.append(perf_counter() - began)
        assert state.last_plan is not None
        report.refreshed.append(len(state.last_plan.refreshed))
        row = {"epoch": frame.epoch, "frame": frame.index, "plan": state.last_plan.to_json()}
        # A stream may end by the power being cut: what was planned is to be there.
        log.write(json.dumps(row) + "\n")
        log.flush()
        yield from found
    yield from tracker.finish(tracks).frames


@dataclass(frozen=True, slots=True)
class _Follow:
    """Gives a cache the plans of a log."""

    log: PlanLog

    def __call__(self, frame: Frame) -> "FramePlan":
        try:
            return self.log.plans[frame.epoch, frame.index]
        except KeyError:
            raise InputError(
                f"The plans say nothing of frame {frame.index} of {frame.stream}: they are of another stream, or of a "
                "shorter part of it."
            ) from None


def _first_difference(one: Any, other: Any, name: str = "run") -> str:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            if one.get(key) != other.get(key):
                return _first_difference(one.get(key), other.get(key), key)
    return f"{name} ({one}, now {other})"
