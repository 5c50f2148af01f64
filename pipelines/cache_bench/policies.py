"""The rows of the table: our modes, and simpler ways to save that they have to beat."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from odise_frame.checkpoints import ModelInfo
from odise_frame.model import Odise
from odise_frame.segmenter import OdiseSegmenter, frame_size
from odise_frame.sizes import OdiseSize
from odise_frame.temporal_cache import CacheSettings, Planner, Work, cost_table
from pipelines.cache_bench.deep_cache import DeepCacheWindows, shallow_unet_flops
from pipelines.cache_bench.drift import ByChance, DriftLog, EveryKth, Oracle, Watch
from pipelines.cache_bench.recording import FeatureStore, RecordedWindows
from pipelines.wrapped_segmenter import WrappedSegmenter
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Segmenter, StreamState
from videoseg.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Policy:
    """One row."""

    name: str
    asks: str
    """The question that it answers."""
    make: Callable[["Bench"], Segmenter]
    price: Callable[[OdiseSize, tuple[int, int], bool, Work], float] | None = None
    """Operations of its work on the model of a size, on frames of a height and width, with or without captions; None:
    those of a `CostTable`."""


@dataclass(slots=True)
class Bench:
    """What policies are made from."""

    model: Odise
    info: ModelInfo
    words: Vocabulary
    store: FeatureStore
    window_batch: int
    drift: DriftLog
    executed: bool = False
    """Our modes run the network in place of replaying what was recorded."""

    def cached(self, settings: CacheSettings, planner: Planner | None = None) -> OdiseSegmenter:
        """A segmenter with a cache that replays recorded features, or that runs the network if that is `executed`."""
        made = OdiseSegmenter(self.model, self.info, self.words, window_batch=self.window_batch, cache=settings)
        assert made.cache is not None
        if not self.executed or settings.is_exact:
            made.cache.network = RecordedWindows(self.store)
        if planner is not None:
            made.cache.planner = planner
        return made


class Hold(WrappedSegmenter):
    """Another segmenter's result of every k-th frame, shown until the next."""

    def __init__(self, segmenter: OdiseSegmenter, k: int) -> None:
        super().__init__(segmenter)
        self.k = k
        self.ledger = segmenter.ledger
        self._last: dict[str, PanopticFrame] = {}

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        """See `Segmenter`."""
        results = []
        for frame, motion, state in zip(frames, motions, states, strict=True):
            if frame.index % self.k == 0 or frame.stream not in self._last:
                (self._last[frame.stream],) = self.segmenter.segment([frame], [motion], [state])
            last = self._last[frame.stream]
            results.append(PanopticFrame.of(frame, last.id_map, last.segments))
            if frame.index % self.k:
                work = self.ledger.of(next(iter(self.ledger.by_image)))
                work.frames += 1
        return results


EXACT = CacheSettings.of("exact")
_PLAIN = replace(CacheSettings.of("balanced"), tolerance=0.0, urgent=float("inf"))
ROLLING = replace(CacheSettings.of("balanced", budget_ms=1.0), budget_ms=None, refresh_batch=2)
"""Windows in turns, the mask generator in every frame: what a budget in milliseconds does, without the clock."""


def _budget(share: float) -> Callable[[Bench], Segmenter]:
    settings = replace(_PLAIN, refresh_share=share, heads_every=int(1 / share))
    return lambda bench: bench.cached(settings)


def _every(k: int, *, heads: bool = True) -> Callable[[Bench], Segmenter]:
    settings = replace(_PLAIN, refresh_share=1.0, heads_every=1 if heads else k, evidence_every=k)
    # Where the mask generator runs every k-th frame, planners are asked in those frames alone.
    return lambda bench: bench.cached(settings, EveryKth(k if heads else 1))


def _low(bench: Bench) -> Segmenter:
    smaller = Odise(halved(bench.model.size), bench.model.quirks)
    smaller.load_state_dict(bench.model.state_dict())
    return OdiseSegmenter(smaller, bench.info, bench.words, window_batch=2)


def _deep(bench: Bench, k: int = 8) -> Segmenter:
    settings = replace(_PLAIN, refresh_share=1.0, heads_every=1, evidence_every=1)
    made = bench.cached(settings, EveryKth(1))
    assert made.cache is not None
    made.cache.network = DeepCacheWindows(bench.model, k)
    return made


def _low_price(size: OdiseSize, frame: tuple[int, int], captions: bool, work: Work) -> float:
    small = halved(size)
    table = cost_table(small, frame_size(*frame, small), captions=captions)
    return table.total(table.uncached(work.frames, batch=2))


def _deep_price(size: OdiseSize, frame: tuple[int, int], captions: bool, work: Work, k: int = 8) -> float:
    table = cost_table(size, frame_size(*frame, size), captions=captions)
    off = table.uncached(work.frames, batch=table.windows)
    return table.total(off) - off.windows * (1 - 1 / k) * (table.window["unet"] - shallow_unet_flops(size))


def halved(size: OdiseSize) -> OdiseSize:
    """The size for frames of half the height and width."""
    return replace(size, short_side=size.short_side // 2, max_long_side=size.max_long_side // 2)


def _watched(mode: str) -> Callable[[Bench], Segmenter]:
    def make(bench: Bench) -> Segmenter:
        made = bench.cached(CacheSettings.of(mode))
        assert made.cache is not None
        if not bench.executed:
            made.cache.observer = Watch(bench.store, bench.drift)
        return made

    return make


BUDGETS = ("budget 1/2", "budget 1/3", "budget 1/5", "budget 1/12", "budget 1/24")
"""From dear to cheap."""

POLICIES = (
    Policy("off", "every window of every frame: what all others are measured against", lambda b: b.cached(EXACT)),
    Policy("balanced", "the default", _watched("balanced")),
    Policy("fast", "the cheapest mode", lambda b: b.cached(CacheSettings.of("fast"))),
    Policy("budget 1/2", "half of the operations", _budget(1 / 2)),
    Policy("budget 1/3", "a third", _budget(1 / 3)),
    Policy("budget 1/5", "a fifth", _budget(1 / 5)),
    Policy("budget 1/12", "a twelfth", _budget(1 / 12)),
    Policy("budget 1/24", "a twenty-fourth", _budget(1 / 24)),
    Policy(
        "rolling", "windows in turns, moved features: constant latency, for live streams", lambda b: b.cached(ROLLING)
    ),
    Policy("rolling by chance", "does it matter which windows are refreshed?", lambda b: b.cached(ROLLING, ByChance())),
    Policy(
        "rolling by oracle", "what would knowing the true errors bring?", lambda b: b.cached(ROLLING, Oracle(b.store))
    ),
    Policy("keyframes 8", "all windows every 8th frame, moved between", _every(8)),
    Policy("keyframes 4", "all windows every 4th frame, moved between", _every(4)),
    Policy("moved masks 8", "the result of every 8th frame, moved, whatever happens", _every(8, heads=False)),
    Policy("moved masks 4", "the result of every 4th frame, moved, whatever happens", _every(4, heads=False)),
    Policy("hold 8", "the result of every 8th frame, held", lambda b: Hold(b.cached(EXACT), 8)),
    Policy("hold 4", "the result of every 4th frame, held", lambda b: Hold(b.cached(EXACT), 4)),
    Policy("half size", "every frame at half the resolution", _low, _low_price),
    Policy("deep cache", "only the UNet's depth is kept, for 8 frames", _deep, _deep_price),
)
"""In the order of the table."""
