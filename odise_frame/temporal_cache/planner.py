"""What is done with every window of a frame: kept, moved along, or refreshed.

Plans are made stream by stream from what the stream itself shows; other streams have no say, nor, without a budget in
milliseconds, has the clock. A stream earns refreshes frame by frame and spends them on the windows that are worst off;
a window that shows something new may be refreshed on credit. So the cost per frame stays nearly constant, and windows
take turns where nothing distinguishes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from odise_frame.temporal_cache.change import Change
from odise_frame.temporal_cache.flow import Floats, Step
from odise_frame.temporal_cache.settings import CacheSettings
from videoseg.errors import InputError

if TYPE_CHECKING:
    from odise_frame.temporal_cache.state import Canvas

KEEP, WARP, REFRESH = "k", "w", "r"

EVIDENCE_LEAST = 4
"""Frames that CLIP need not look at the masks again, even if some are new: a new mask often takes a few frames to
settle."""

_LEAST_CONTRAST = 8.0
"""Grey levels: a flat window is not all noise."""

_NOT_COMPARABLE = 32.0
"""Grey levels by which windows miss their keyframes on average where nothing of the scene is left."""


_STANDS_OUT = 3.0
"""Times the expected error of the median window from which a window shows something that the others don't: in a pan all
windows age alike, before a fixed camera only those age in which something happens."""


@dataclass(frozen=True, slots=True)
class FramePlan:
    """All that was decided about one frame; with it, the frame is computed again bit for bit."""

    actions: str
    """One letter a window: `k` keep as it is, `w` move along, `r` refresh."""
    captions: str
    """One letter a window: `n` where CLIP describes it anew, `-` elsewhere."""
    heads: bool
    """Whether the mask generator runs; otherwise the last result is moved along."""
    evidence: bool
    """Whether CLIP looks at the masks for sure; otherwise only where a mask is new."""

    @property
    def refreshed(self) -> tuple[int, ...]:
        """The windows that are refreshed."""
        return tuple(i for i, action in enumerate(self.actions) if action == REFRESH)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "actions": self.actions,
            "captions": self.captions,
            "heads": self.heads,
            "evidence": self.evidence,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The inverse; InputError where `data` is no plan."""
        try:
            plan = cls(str(data["actions"]), str(data["captions"]), bool(data["heads"]), bool(data["evidence"]))
        except (KeyError, TypeError):
            raise InputError(f"This is no plan of a frame: {str(data)[:80]}.") from None
        if set(plan.actions) - {KEEP, WARP, REFRESH} or len(plan.captions) != len(plan.actions):
            raise InputError(f"This is no plan of a frame: actions {plan.actions!r}, captions {plan.captions!r}.")
        return plan


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """What a planner may know of a frame. Arrays are `[W]`."""

    change: Change
    error: Floats
    """`expected_error` of every window if it is not refreshed."""
    age: NDArray[np.int32]
    """Frames since it was computed."""
    caption_age: NDArray[np.int32]
    """Refreshes since CLIP described it."""
    credit: float
    """Refreshes earned and not spent, this frame's included; negative: spent before they were earned."""
    heads_age: int
    """Frames since the mask generator ran; 1: it ran in the frame before."""
    evidence_age: int
    """Frames since CLIP looked at the masks."""
    same_picture: bool = False
    """Bit for bit the picture of the last result."""
    allowed: int | None = None
    """Refreshes that fit into a budget of milliseconds."""
    where: tuple[str, int] = ("", 0)
    """Stream and frame, for planners that look things up."""
    canvas: "Canvas | None" = None
    """What is kept of the stream."""
    step: Step | None = None
    """From the frame before."""


class Planner(Protocol):
    """Decides which windows are refreshed in a frame that is no cut."""

    def choose(self, situation: Situation, settings: CacheSettings) -> tuple[int, ...]:
        """Numbers of the windows to refresh."""


class WorstFirst:
    """The windows that are expected to be worst off, as far as they are earned: all of them together, where a frame may
    refresh them all, else a few in every frame."""

    def choose(self, situation: Situation, settings: CacheSettings) -> tuple[int, ...]:
        count, batch = len(situation.age), settings.refresh_batch
        changed = ~situation.change.equal
        overdue = situation.age >= settings.age_limit
        needed = changed & ((situation.error > settings.tolerance) | overdue)
        order = np.lexsort((np.arange(count), -situation.age, -situation.error.round(4), ~overdue))
        wanted = [int(i) for i in order if needed[i]]
        if settings.burst_share >= 1:
            # Masks of windows some of which are new and some moved are worse than moved masks: all or none.
            if situation.credit - -(-len(wanted) // batch) * batch >= -most_in_debt(count, settings):
                return tuple(wanted)
            if not is_due(situation, settings):
                return ()
        number = affordable(situation, settings, urgent=int((needed & (situation.error > settings.urgent)).sum()))
        chosen = wanted[:number]
        # A place in a batch that would stay empty costs as much.
        others = [int(i) for i in order if changed[i] and not needed[i]]
        room = min(-len(chosen) % batch, number - len(chosen))
        return (*chosen, *others[:room])


def affordable(situation: Situation, settings: CacheSettings, *, urgent: int = 0) -> int:
    """How many windows may be refreshed in this frame, `urgent` of them on credit."""
    burst = most_at_once(len(situation.age), settings)
    if situation.allowed is not None:
        return min(situation.allowed, len(situation.age))
    batch = min(settings.refresh_batch, burst)
    earned = max(0, int(np.floor(situation.credit + 1e-6)))
    # Windows wait until they fill a batch: the network takes hardly longer for a full one.
    number = min(earned - earned % batch, burst)
    debt = most_in_debt(len(situation.age), settings)
    on_credit = min(-(-urgent // batch) * batch, debt, burst)
    # Never more in debt than that, so that in the long run no more is spent than is earned.
    if on_credit > number and situation.credit - on_credit >= -debt:
        number = on_credit
    return number


def most_in_debt(count: int, settings: CacheSettings) -> int:
    """Windows out of `count` that may be refreshed before they are earned."""
    return max(1, settings.refresh_batch, int(np.ceil(settings.debt_share * count)))


def most_at_once(count: int, settings: CacheSettings) -> int:
    """Windows out of `count` that one frame may refresh, cuts apart."""
    return max(1, int(np.ceil(settings.burst_share * count)))


def expected_error(change: Change, age: NDArray[np.int32]) -> Floats:
    """How far the moved features of every window are from true ones, relative to those: float32 `[W]`, about 0..1.

    From pictures alone.
    """
    features = drift_features(change, age)
    error = np.maximum(features @ np.array(DRIFT_WEIGHTS, np.float32), 0)
    found: Floats = np.where(change.equal, 0, error).astype(np.float32)
    return found


DRIFT_WEIGHTS = (0.0, 0.001, 0.007, 0.55, 0.5, 0.07, 0.005)
"""Of `drift_features`: least squares on true errors of the small model's features in the development world
(`videoseg bench cache` prints such), but for the worst cells and for what is uncovered: both stand for something new,
which slow videos hardly show and which must not be missed."""


def drift_features(change: Change, age: NDArray[np.int32]) -> Floats:
    """What `expected_error` is linear in: float32 `[W, 7]`."""
    columns = (
        np.ones(len(age)),
        change.worst,
        change.mean,
        change.mean / (change.contrast + _LEAST_CONTRAST),
        change.uncovered,
        np.sqrt(change.moved),
        np.sqrt(age),
    )
    return np.stack(columns, axis=1).astype(np.float32)


def make_plan(situation: Situation, settings: CacheSettings, planner: Planner) -> FramePlan:
    """The plan of a frame that is no cut."""
    change = situation.change
    if settings.mode == "exact":
        refreshed = set(np.flatnonzero(~change.equal).tolist())
        anew = not situation.same_picture
        return _plan(situation, settings, refreshed, heads=anew, evidence=anew, captions=True)
    if is_unannounced_cut(change):
        refreshed = set(np.flatnonzero(~change.equal).tolist())
        return _plan(situation, settings, refreshed, heads=True, evidence=True, captions=True)
    due = is_due(situation, settings)
    urgent = bool(shows_something_new(situation, settings).any())
    chosen = set(planner.choose(situation, settings)) if due or urgent else set()
    # What is computed anew is to be seen at once; of the same picture from the same features, nothing new can be.
    heads = bool(chosen) or (due and not situation.same_picture)
    evidence = heads and situation.evidence_age >= settings.evidence_every
    return _plan(situation, settings, chosen, heads=heads, evidence=evidence)


def shows_something_new(situation: Situation, settings: CacheSettings) -> NDArray[np.bool_]:
    """Windows that are not to wait for the others, bool `[W]`: far off, or far more than most."""
    error = situation.error
    if not np.isfinite(settings.urgent):
        return np.zeros(len(error), bool)
    apart = settings.tolerance + _STANDS_OUT * float(np.median(error))
    found: NDArray[np.bool_] = ~situation.change.equal & ((error > settings.urgent) | (error > apart))
    return found


def is_due(situation: Situation, settings: CacheSettings) -> bool:
    """Whether the mask generator runs though nothing is urgent."""
    if situation.heads_age < settings.heads_every:
        return False
    # Windows are refreshed together where they may be, and for that they are all to be earned; a stream that earns
    # next to nothing does not wait forever.
    earned = settings.burst_share < 1 or situation.credit >= len(situation.age) - 1e-6
    return earned or situation.heads_age >= 2 * settings.heads_every


def is_unannounced_cut(change: Change) -> bool:
    """Whether nothing of the scene is left, though motion estimation did not call it a cut."""
    return bool((change.mean > _NOT_COMPARABLE).mean() > 0.6)


def refresh_all(count: int) -> FramePlan:
    """The plan of a stream's first frame and of cuts."""
    return FramePlan(REFRESH * count, "n" * count, heads=True, evidence=True)


def _plan(
    situation: Situation,
    settings: CacheSettings,
    refreshed: set[int],
    *,
    heads: bool,
    evidence: bool,
    captions: bool = False,
) -> FramePlan:
    change = situation.change
    actions, anew = [], []
    for window in range(len(situation.age)):
        if window in refreshed:
            actions.append(REFRESH)
            stale = situation.caption_age[window] + 1 >= settings.caption_every
            anew.append("n" if captions or stale else "-")
            continue
        actions.append(KEEP if change.equal[window] or change.still[window] else WARP)
        anew.append("-")
    return FramePlan("".join(actions), "".join(anew), heads, evidence)
