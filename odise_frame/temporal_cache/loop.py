"""`TemporalCache`: frames of several streams to feature maps, with as little of the network as their plans ask for.

    opened = [cache.open(frame, image, motion, state) ...]
    cache.refresh(opened)
    maps = cache.maps(opened[0])

Knows windows and their features; what becomes of the maps (masks, names, segments) is the segmenter's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from odise_frame.backbone import pad_frames
from odise_frame.feature_projection import LEVELS
from odise_frame.model import Odise
from odise_frame.temporal_cache.change import Change, measure_change, reduced_luma, window_digests
from odise_frame.temporal_cache.cost import CostTable, Work, cost_table
from odise_frame.temporal_cache.flow import Picture, Step, compose
from odise_frame.temporal_cache.planner import (
    KEEP,
    WARP,
    FramePlan,
    Planner,
    Situation,
    WorstFirst,
    expected_error,
    is_unannounced_cut,
    make_plan,
    refresh_all,
)
from odise_frame.temporal_cache.result_motion import Luma, block_luma
from odise_frame.temporal_cache.sampling import cell_centres, find_sources, sample_maps
from odise_frame.temporal_cache.settings import CacheSettings
from odise_frame.temporal_cache.state import CacheState, Canvas
from odise_frame.timing import StageMeter
from odise_frame.windows import plan_windows, stitch_windows
from videoseg.frame import Frame
from videoseg.motion import Motion


@dataclass(frozen=True, slots=True, eq=False)
class WindowRequest:
    """One window that is to be computed."""

    stream: str
    frame: int
    """`Frame.index`."""
    window: int
    pixels: Tensor
    """float32 `[3, side, side]` in [0, 1]."""
    embedding: Tensor | None
    """`[E]`: what CLIP saw in it some refreshes ago; None: CLIP is to look."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowResult:
    """What became of it."""

    maps: dict[str, Tensor]
    """`s2`..`s5`, `[C, n, n]`."""
    embedding: Tensor
    """`[E]`."""


MOST_FRAMES = 48
"""Between whole frames, under a budget: two seconds of video. Later there is little left to move."""


class WindowNetwork(Protocol):
    """Pixels of windows to feature maps."""

    def run(self, requests: Sequence[WindowRequest], batch: int) -> list[WindowResult]:
        """Requests, `batch` of them at a time, the last batch filled up with black: no result depends on its
        neighbours, nor on how many there are."""


class DiffusionWindows:
    """The model's own backbone, as `Backbone.forward` runs it."""

    def __init__(self, model: Odise, meter: StageMeter) -> None:
        self.model = model
        self.meter = meter

    def run(self, requests: Sequence[WindowRequest], batch: int) -> list[WindowResult]:
        """See `WindowNetwork`."""
        backbone, frozen = self.model.backbone, self.model.frozen
        embedding: list[Tensor | None] = [request.embedding for request in requests]
        if any(known is not None for known in embedding):
            unseen = [i for i, known in enumerate(embedding) if known is None]
            for start in range(0, len(unseen), batch):
                part = unseen[start : start + batch]
                seen = backbone.embed_windows(
                    frozen, self._pixels([requests[i] for i in part], batch), meter=self.meter
                )
                for i, one in zip(part, seen, strict=False):
                    embedding[i] = one.to(torch.float32)
        results = []
        for start in range(0, len(requests), batch):
            part_requests = requests[start : start + batch]
            pixels = self._pixels(part_requests, batch)
            known = [one for one in embedding[start : start + batch] if one is not None]
            given = None
            if known:
                given = torch.cat([torch.stack(known), known[0].new_zeros(batch - len(known), known[0].shape[0])])
            features = backbone.describe_windows(frozen, pixels, embedding=given, meter=self.meter)
            with self.meter.stage("heads"):
                maps = backbone.project(features, pixels.shape[-1])
            results += [
                WindowResult({name: each[i] for name, each in maps.items()}, features.image_embedding[i])
                for i in range(len(part_requests))
            ]
        return results

    def _pixels(self, requests: Sequence[WindowRequest], batch: int) -> Tensor:
        pixels = torch.stack([request.pixels for request in requests])
        if missing := batch - len(pixels):
            pixels = torch.cat([pixels, pixels.new_zeros(missing, *pixels.shape[1:])])
        return pixels


@dataclass(slots=True, eq=False)
class OpenFrame:
    """A frame on its way through the cache."""

    frame: Frame
    image: Tensor
    """float32 `[1, 3, h, w]` in [0, 1], unpadded."""
    padded: Tensor
    state: CacheState
    plan: FramePlan
    change: Change | None
    step: Step | None
    """From the frame before; None where nothing came from there."""
    luma: NDArray[np.uint8]
    block_luma: Luma | None
    """For moving results; None in mode `exact`."""
    digests: list[bytes]


class TemporalCache:
    """Keeps the features of windows and decides which are computed anew.

    Args:
        model: on its device.
        settings: which mode.
        window_batch: windows per pass where many are to be computed: of `exact`, always; else at first frames and cuts.
        meter: measures the stages.
        planner: chooses windows to refresh; None: the worst first.
        clock: seconds; read only where the budget is in milliseconds.
    """

    def __init__(
        self,
        model: Odise,
        settings: CacheSettings,
        *,
        window_batch: int,
        meter: StageMeter,
        planner: Planner | None = None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.model = model
        self.settings = settings
        self.window_batch = window_batch
        self.network: WindowNetwork = DiffusionWindows(model, meter)
        self.planner = planner or WorstFirst()
        self.replay: Callable[[Frame], FramePlan] | None = None
        """Gives the plan of a frame in place of the planner."""
        self.observer: Callable[[Situation], None] | None = None
        """Is shown what planners know of every frame that came from the one before."""
        self.pace = Pace(clock)

    @property
    def captions(self) -> bool:
        """Whether CLIP looks at windows at all."""
        return self.model.backbone.captioner_sees

    def costs(self, image: tuple[int, int]) -> CostTable:
        """Operations of the model's parts for images of this height and width."""
        return cost_table(self.model.size, image, captions=self.captions)

    def open(
        self, frame: Frame, pixels: NDArray[np.uint8], image: Tensor, motion: Motion | None, state: CacheState
    ) -> OpenFrame:
        """Plans a frame.

        Args:
            frame: the next of its stream.
            pixels: it, resized: uint8 `[h, w, 3]`.
            image: the same as float32 `[1, 3, h, w]` in [0, 1], on the model's device.
            motion: from the frame before it; None: nothing is known of how it came about.
            state: of the stream; changed in place.
        """
        height, width = pixels.shape[:2]
        padded = pad_frames(image, self.model.size.size_divisibility)
        picture = Picture(frame.size, (height, width))
        grid = plan_windows(padded.shape[-2], padded.shape[-1], self.model.size.window)
        digests = window_digests(pixels, grid)
        luma = reduced_luma(pixels)
        canvas = state.canvas
        if canvas is not None and (canvas.picture != picture or state.epoch != frame.epoch):
            canvas = None
        moves = motion is not None and not motion.cut
        change: Change | None = None
        step: Step | None = None
        if canvas is None:
            _begin(state)
            plan = refresh_all(len(grid))
        else:
            equal = np.array([now == then for now, then in zip(digests, canvas.digests, strict=True)])
            canvas.age += 1
            state.heads_age += 1
            state.evidence_age += 1
            if motion is not None and moves and self.settings.mode != "exact":
                step = Step.of(motion, picture)
                if canvas.flows is None or canvas.flows.shape[1:3] != step.displacement.shape[:2]:
                    canvas.flows = np.zeros((len(grid) + 2, *step.displacement.shape), np.float32)
                canvas.flows = compose(canvas.flows, step)
            plan, change = self._plan(state, canvas, frame, luma, digests, equal, step)
        if self.replay is not None:
            plan = self.replay(frame)
        state.frames += 1
        state.epoch = frame.epoch
        state.last_plan = plan
        shown = None if self.settings.is_exact else block_luma(frame.rgb)
        return OpenFrame(frame, image, padded, state, plan, change, step, luma, shown, digests)

    def _plan(
        self,
        state: CacheState,
        canvas: Canvas,
        frame: Frame,
        luma: NDArray[np.uint8],
        digests: list[bytes],
        equal: NDArray[np.bool_],
        step: Step | None,
    ) -> tuple[FramePlan, Change]:
        settings, count = self.settings, len(canvas.grid)
        if step is None or settings.mode == "exact":
            nothing = np.zeros(count, np.float32)
            change = Change(nothing, nothing, nothing, nothing, nothing, equal, equal.copy())
        else:
            assert canvas.flows is not None
            change = measure_change(
                luma, canvas.luma, canvas.flows[:count], step, canvas.grid, canvas.picture.image, equal, canvas.age
            )
        canvas.error = expected_error(change, canvas.age)
        if step is None and not equal.all() and settings.mode != "exact":
            # A cut, or nobody knows what happened: only what is bit for bit the same can be what it was.
            actions = "".join(KEEP if same else "r" for same in equal)
            captions = "".join("-" if same else "n" for same in equal)
            state.credit = 0.0
            return FramePlan(actions, captions, heads=True, evidence=True), change
        share, settings = self._afford(settings, canvas)
        # Unspent refreshes do not pile up: a still hour earns no burst afterwards.
        most = max(1.0, settings.burst_share * count, settings.refresh_batch) + share * count
        state.credit = min(state.credit + share * count, most)
        situation = Situation(
            change=change,
            error=canvas.error,
            age=canvas.age,
            caption_age=canvas.caption_age,
            credit=state.credit,
            heads_age=state.heads_age,
            evidence_age=state.evidence_age,
            same_picture=state.result_digests == digests,
            allowed=self._allowed(settings, canvas),
            where=(frame.stream, frame.index),
            canvas=canvas,
            step=step,
        )
        if self.observer is not None and step is not None:
            self.observer(situation)
        plan = make_plan(situation, settings, self.planner)
        if is_unannounced_cut(change) and settings.budget_ms is None:
            # A cut is paid at once, and the stream goes on without debts.
            state.credit = 0.0
        else:
            state.credit -= -(-len(plan.refreshed) // settings.refresh_batch) * settings.refresh_batch
        return plan, change

    def _afford(self, settings: CacheSettings, canvas: Canvas) -> tuple[float, CacheSettings]:
        """The share of the windows that is earned in a frame, and the settings that a budget of operations leaves."""
        if settings.budget_flops is None:
            return settings.refresh_share, settings
        table = self.costs(canvas.picture.image)
        return within_budget(settings, table, len(canvas.grid))

    def _allowed(self, settings: CacheSettings, canvas: Canvas) -> int | None:
        if settings.budget_ms is None:
            return None
        return self.pace.windows(settings.budget_ms / 1000.0)

    def refresh(self, opened: Sequence[OpenFrame]) -> Work:
        """Computes the windows that the frames' plans ask for, of all streams together, into their canvases.

        In what batch a window is computed follows from its own frame's plan alone: as many windows as fill batches of
        `window_batch` go through in those, the rest in batches of `refresh_batch`.

        Returns:
            what was run; frames, heads and looks at masks are not counted here.
        """
        work = Work()
        shared: dict[int, list[tuple[OpenFrame, WindowRequest]]] = {}
        for each in opened:
            work.seen += len(each.plan.actions)
            for batch, request in self._requests(each):
                shared.setdefault(batch, []).append((each, request))
        began = self.pace.clock() if self.settings.budget_ms is not None else 0.0
        for batch in sorted(shared):
            requests = [request for _, request in shared[batch]]
            results = self.network.run(requests, batch)
            for (each, request), result in zip(shared[batch], results, strict=True):
                self._write(each, request, result)
            work += self._count(requests, batch)
        if self.settings.budget_ms is not None and work.windows:
            self.pace.saw_windows(work.windows, self.pace.clock() - began)
        for each in opened:
            self._settle(each)
        return work

    def _requests(self, opened: OpenFrame) -> list[tuple[int, WindowRequest]]:
        refreshed, state = opened.plan.refreshed, opened.state
        if not refreshed:
            return []
        grid = plan_windows(opened.padded.shape[-2], opened.padded.shape[-1], self.model.size.window)
        exact = self.settings.is_exact
        whole = len(refreshed) if exact else len(refreshed) // self.window_batch * self.window_batch
        requests = []
        for place, window in enumerate(refreshed):
            top, left = grid.corners[window]
            pixels = opened.padded[0, :, top : top + grid.side, left : left + grid.side]
            known = None
            if opened.plan.captions[window] != "n" and state.canvas is not None:
                known = state.canvas.embedding[window]
            request = WindowRequest(opened.frame.stream, opened.frame.index, window, pixels, known)
            requests.append((self.window_batch if place < whole else self.settings.refresh_batch, request))
        return requests

    def _count(self, requests: Sequence[WindowRequest], batch: int) -> Work:
        slots = -(-len(requests) // batch) * batch
        new = sum(request.embedding is None for request in requests)
        # Where nobody's description is kept, all go through CLIP with the rest of their batch.
        captions = slots if new == len(requests) else -(-new // batch) * batch
        return Work(windows=slots, captions=captions if self.captions else 0, refreshed=len(requests))

    def _write(self, opened: OpenFrame, request: WindowRequest, result: WindowResult) -> None:
        state = opened.state
        if state.canvas is None:
            state.canvas = self._new_canvas(opened, result)
        canvas, window = state.canvas, request.window
        for name, maps in canvas.maps.items():
            maps[window] = result.maps[name].permute(1, 2, 0)
        canvas.embedding[window] = result.embedding
        canvas.digests[window] = opened.digests[window]
        canvas.luma[window] = opened.luma
        canvas.age[window] = 0
        canvas.caption_age[window] = 0 if request.embedding is None else canvas.caption_age[window] + 1
        canvas.error[window] = 0
        if canvas.flows is not None:
            canvas.flows[window] = 0

    def _new_canvas(self, opened: OpenFrame, result: WindowResult) -> Canvas:
        grid = plan_windows(opened.padded.shape[-2], opened.padded.shape[-1], self.model.size.window)
        count = len(grid)
        height, width = opened.image.shape[-2:]
        any_map = next(iter(result.maps.values()))
        # Half the memory, and a rounding far below what moving features does to them.
        half = torch.bfloat16 if any_map.dtype == torch.bfloat16 else torch.float16
        dtype = any_map.dtype if self.settings.is_exact else half
        return Canvas(
            picture=Picture(opened.frame.size, (height, width)),
            grid=grid,
            maps={
                name: one.new_zeros(count, one.shape[1], one.shape[2], one.shape[0], dtype=dtype)
                for name, one in result.maps.items()
            },
            embedding=result.embedding.new_zeros(count, len(result.embedding), dtype=torch.float32),
            digests=[b""] * count,
            luma=np.zeros((count, *opened.luma.shape), np.uint8),
            age=np.zeros(count, np.int32),
            caption_age=np.zeros(count, np.int32),
            error=np.zeros(count, np.float32),
        )

    def _settle(self, opened: OpenFrame) -> None:
        """A window that is bit for bit what it was computed from has not aged."""
        canvas = opened.state.canvas
        assert canvas is not None
        for window, (now, then) in enumerate(zip(opened.digests, canvas.digests, strict=True)):
            if now == then:
                canvas.age[window] = 0
                if canvas.flows is not None:
                    canvas.flows[window] = 0

    def maps(self, opened: OpenFrame) -> dict[str, Tensor]:
        """The maps `s2`..`s5` of the whole padded frame: `[1, C, H / stride, W / stride]`.

        Windows that are kept or were refreshed are what the network made of them; the others are sampled, once, from
        what the network made.
        """
        canvas = opened.state.canvas
        assert canvas is not None
        dtype = opened.image.dtype
        moved = np.flatnonzero(np.array(list(opened.plan.actions)) == WARP)
        whole = {}
        for level in LEVELS:
            windows = canvas.maps[f"s{level}"].to(dtype, copy=True)
            if len(moved) and opened.step is not None:
                windows[torch.from_numpy(moved)] = moved_maps(canvas, moved, opened.step, level, dtype)
            whole[f"s{level}"] = stitch_windows(windows.permute(0, 3, 1, 2), canvas.grid, 1 << level)
        return whole


def moved_maps(canvas: Canvas, windows: NDArray[np.intp], step: Step, level: int, dtype: torch.dtype) -> Tensor:
    """What some windows look like now, sampled from what the network made of them: `[N, n, n, C]` of one level."""
    assert canvas.flows is not None
    sources = find_sources(
        cell_centres(canvas.grid.side, 1 << level),
        windows,
        canvas.flows[: len(canvas.grid)],
        step,
        canvas.grid,
        canvas.picture.image,
        np.argsort(canvas.age, kind="stable"),
    )
    return sample_maps(canvas.maps[f"s{level}"], sources, 1 << level, dtype)


def _begin(state: CacheState) -> None:
    state.canvas, state.result, state.masks, state.result_digests = None, None, None, []
    state.result_luma = None
    state.credit, state.heads_age, state.evidence_age = 0.0, 0, 0


def within_budget(settings: CacheSettings, table: CostTable, count: int) -> tuple[float, CacheSettings]:
    """The share of windows per frame, and the settings, that keep to `settings.budget_flops` in the mean.

    The whole network runs as often as the budget pays for; between, the result is moved.
    """
    assert settings.budget_flops is not None
    window = sum(table.window.values()) + table.caption / settings.caption_every
    for every in range(1, MOST_FRAMES + 1):
        looks = table.look / max(every, settings.evidence_every)
        share = (settings.budget_flops - table.heads / every - looks) / (window * count)
        # Credit says in which frame it is, so that what is between two whole numbers is used, too.
        if share >= 1 / (every + 1) or every == MOST_FRAMES:
            # A budget is there to be used: nothing is left to its expected error.
            changed = replace(settings, heads_every=every, burst_share=1.0, tolerance=0.0, urgent=float("inf"))
            return min(1.0, max(0.0, share)), changed
    raise AssertionError


@dataclass(slots=True)
class Pace:
    """How long things take here and now, for budgets in milliseconds."""

    clock: Callable[[], float] = perf_counter
    window: float = 0.0
    """Seconds per window; 0 before one was seen."""
    rest: float = 0.0
    """Seconds per frame for all else."""

    def saw_windows(self, windows: int, seconds: float) -> None:
        """Learns from a batch of windows."""
        self.window = _smoothed(self.window, seconds / windows)

    @contextmanager
    def rest_of_frame(self, wanted: bool) -> Iterator[None]:
        """Its body is all of a frame but the windows; the clock is read only where it is wanted."""
        began = self.clock() if wanted else 0.0
        yield
        if wanted:
            self.rest = _smoothed(self.rest, self.clock() - began)

    def windows(self, budget: float) -> int:
        """How many windows fit into a frame of `budget` seconds."""
        if self.window <= 0:
            return 1
        return max(0, int((budget - self.rest) / self.window))


def _smoothed(before: float, now: float) -> float:
    return now if before <= 0 else 0.8 * before + 0.2 * now
