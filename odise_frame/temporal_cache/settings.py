"""What a user can choose about the cache, and what each mode means in numbers."""

from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from videoseg.errors import InputError

Mode = Literal["off", "exact", "balanced", "fast"]

MODES: tuple[Mode, ...] = get_args(Mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """How much of the network runs anew in a frame. Shares are of the windows of a frame, so that a mode costs the same
    share of the uncached network whatever the size of the frame. `CacheSettings.of` makes those of a mode."""

    mode: Mode = "balanced"
    refresh_share: float = 1 / 8
    """Windows refreshed per frame in the long run. An eighth: one of the eight windows of a 16:9 frame."""
    burst_share: float = 1.0
    """At most so many in one frame (but all of them at a cut). All: the mask generator does best on windows that are
    equally old. A budget in milliseconds takes a quarter, so that no frame takes much longer than the others."""
    debt_share: float = 1 / 4
    """At most so many before they are earned, where something new is to be seen."""
    refresh_batch: int = 2
    """Windows that are refreshed outside of cuts go through the network so many at a time. Two cost a processor a third
    less time each than one; more would have to wait for each other."""
    tolerance: float = 0.05
    """Expected error (see `planner.expected_error`) up to which a window is left as it is: that of one grey level of
    noise, which changes the features of a window that is computed anew about as much."""
    urgent: float = 0.6
    """Expected error from which a window is refreshed before its turn, up to the burst: something is there that was
    not when it was computed."""
    age_limit: int = 24
    """Frames after which a window that changed at all is refreshed, whatever is expected of it: a second of video."""
    heads_every: int = 8
    """Mask generator and naming run every so many frames, and wherever something new is to be seen; between, the last
    result is moved along. Moved results are better than results from moved features (`docs/cache.md`)."""
    evidence_every: int = 8
    """CLIP looks at the masks at least every so many frames; between, a mask that stays keeps what CLIP saw in it."""
    caption_every: int = 4
    """CLIP describes a window anew at every so many of its refreshes."""
    budget_flops: float | None = None
    """Operations a frame may cost in the mean, cuts apart; takes the place of `refresh_share` and `heads_every`."""
    budget_ms: float | None = None
    """Milliseconds that a frame may take, on live streams: plans then depend on the clock and are to be kept."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError(f"There is no cache mode {self.mode!r}. Choose one of: {', '.join(MODES)}.")
        for name, value in (("--budget-flops", self.budget_flops), ("--budget-ms", self.budget_ms)):
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} takes a number above 0, got {value:g}.")
            if value is not None and self.mode in ("off", "exact"):
                raise InputError(f"{name} needs a cache that may save: take --cache balanced or fast with it.")
        if self.budget_flops is not None and self.budget_ms is not None:
            raise InputError("--budget-flops and --budget-ms both say what a frame may cost. Give one of them.")

    @classmethod
    def of(
        cls, mode: str = "balanced", *, budget_flops: float | None = None, budget_ms: float | None = None
    ) -> "CacheSettings":
        """The settings of a mode.

        Raises:
            InputError: an unknown mode, or a budget that is not above 0 or that the mode cannot keep.
        """
        if mode not in MODES:
            raise InputError(f"There is no cache mode {mode!r}. Choose one of: {', '.join(MODES)}.")
        preset = _PRESETS[mode]
        if budget_ms is not None:
            # Where milliseconds count, windows take turns, and none waits for another.
            preset = replace(preset, refresh_batch=1, burst_share=1 / 4, heads_every=1)
        return replace(preset, budget_flops=budget_flops, budget_ms=budget_ms)

    @property
    def is_exact(self) -> bool:
        """Whether results are those of the network alone, bit for bit."""
        return self.mode in ("off", "exact")

    def describe(self) -> dict[str, str]:
        """All numbers that change results: for the manifest."""
        return {f"cache_{name}": str(value) for name, value in asdict(self).items() if value is not None}


_PRESETS: dict[str, CacheSettings] = {
    "off": CacheSettings(mode="off"),
    "exact": CacheSettings(mode="exact"),
    "balanced": CacheSettings(mode="balanced"),
    "fast": CacheSettings(
        mode="fast", refresh_share=1 / 16, heads_every=16, evidence_every=16, tolerance=0.08, urgent=0.75
    ),
}
