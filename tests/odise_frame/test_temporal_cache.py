"""The temporal cache in the segmenter: what is bit for bit the same, what is saved, and that streams stay apart."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from micro_model import VOCABULARY, micro_model, micro_size, picture
from numpy.typing import NDArray

from odise_frame.checkpoints import ModelInfo
from odise_frame.feature_projection import LEVELS
from odise_frame.quirks import MENDED
from odise_frame.segmenter import OdiseSegmenter, to_image
from odise_frame.temporal_cache import (
    CacheSettings,
    CacheState,
    FramePlan,
    Ledger,
    TemporalCache,
    WindowRequest,
    WindowResult,
    Work,
    cost_table,
    state_bound,
)
from odise_frame.temporal_cache.evidence import move_labels
from odise_frame.temporal_cache.flow import Picture, Step
from odise_frame.timing import StageTimes
from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.motion_estimation import estimate_motion
from videoseg.panoptic import PanopticFrame

HEIGHT, WIDTH = 64, 192
"""Three windows of 64 pixels side by side, no padding."""
SIZE = replace(micro_size(), short_side=64, max_long_side=512)
MODEL = micro_model(SIZE)
INFO = ModelInfo(SIZE, MENDED, {}, ("person", "sky"), {})


def segmenter(cache: CacheSettings | None = None, *, window_batch: int = 2) -> OdiseSegmenter:
    return OdiseSegmenter(MODEL, INFO, VOCABULARY, window_batch=window_batch, cache=cache)


OFF, EXACT, BALANCED, FAST = (segmenter(CacheSettings.of(mode)) for mode in ("off", "exact", "balanced", "fast"))


def frames_of(stream: str, pictures: Sequence[NDArray[np.uint8]]) -> list[Frame]:
    return [Frame(stream, 0, i, i, Fraction(1, 25), i / 25, rgb) for i, rgb in enumerate(pictures)]


def motions_of(frames: Sequence[Frame]) -> list[Motion | None]:
    found: list[Motion | None] = [None]
    for before, now in pairwise(frames):
        found.append(estimate_motion(before.rgb, now.rgb))
    return found


def run(made: OdiseSegmenter, frames: Sequence[Frame], state: CacheState | None = None) -> list[PanopticFrame]:
    state = state or made.new_state(frames[0].stream)  # type: ignore[assignment]
    results = []
    for frame, motion in zip(frames, motions_of(frames), strict=True):
        results += made.segment([frame], [motion], [state])  # type: ignore[list-item]
    return results


def panning(count: int, *, speed: int = 2, height: int = HEIGHT, width: int = WIDTH) -> list[NDArray[np.uint8]]:
    wide = picture("wide", height, width + speed * count)
    return [wide[:, speed * i : speed * i + width].copy() for i in range(count)]


def assert_same(one: PanopticFrame, other: PanopticFrame) -> None:
    assert one.index == other.index
    assert one.id_map.tobytes() == other.id_map.tobytes()
    assert len(one.segments) == len(other.segments)
    for a, b in zip(one.segments, other.segments, strict=True):
        assert (a.id, a.category, a.score, a.area, a.box, a.probabilities) == (
            b.id,
            b.category,
            b.score,
            b.area,
            b.box,
            b.probabilities,
        )
        assert a.embedding is not None
        assert b.embedding is not None
        assert a.embedding.tobytes() == b.embedding.tobytes()
        assert a.open_vocabulary is not None
        assert b.open_vocabulary is not None
        assert a.open_vocabulary.tobytes() == b.open_vocabulary.tobytes()


CHANGES = st.lists(
    st.sampled_from(("same", "corner", "square", "noise", "cut", "back")),
    min_size=1,
    max_size=3,
)


def changed(kinds: Sequence[str], seed: int, height: int, width: int) -> list[NDArray[np.uint8]]:
    """Pictures of which each differs from the one before in a known way."""
    rng = np.random.default_rng(seed)
    pictures = [picture(f"start {seed}", height, width)]
    for kind in kinds:
        now = pictures[-1].copy()
        if kind == "corner":
            now[0, 0, 0] ^= 1
        elif kind == "square":
            y, x = int(rng.integers(height - 20)), int(rng.integers(width - 20))
            now[y : y + 20, x : x + 20] = rng.integers(256, size=3)
        elif kind == "noise":
            now = (now + rng.integers(0, 2, now.shape)).astype(np.uint8)
        elif kind == "cut":
            now = picture(f"cut {seed} {len(pictures)}", height, width)
        elif kind == "back":
            now = pictures[0].copy()
        pictures.append(now)
    return pictures


@settings(max_examples=6, deadline=None)
@given(
    videos=st.lists(
        st.tuples(CHANGES, st.integers(0, 5), st.sampled_from(((64, 128), (60, 100)))), min_size=1, max_size=3
    ),
    order=st.randoms(use_true_random=False),
)
def test_exact_is_off_bit_for_bit_whatever_the_other_streams_show(
    videos: list[tuple[list[str], int, tuple[int, int]]], order: object
) -> None:
    streams = []
    for number, (kinds, seed, size) in enumerate(videos):
        frames = frames_of(f"stream {number}", changed(kinds, seed, *size))
        streams.append((frames, motions_of(frames), EXACT.new_state(f"stream {number}")))
    place = [0] * len(streams)
    while any(at < len(frames) for at, (frames, _, _) in zip(place, streams, strict=True)):
        left = [i for i, (frames, _, _) in enumerate(streams) if place[i] < len(frames)]
        chosen = order.sample(left, order.randint(1, len(left)))  # type: ignore[attr-defined]
        now = [streams[i][0][place[i]] for i in chosen]
        found = EXACT.segment(now, [streams[i][1][place[i]] for i in chosen], [streams[i][2] for i in chosen])
        for frame, result in zip(now, found, strict=True):
            (alone,) = OFF.segment([frame], [None], [OFF.new_state(frame.stream)])
            assert_same(alone, result)
        for i in chosen:
            place[i] += 1


@settings(max_examples=6, deadline=None)
@given(order=st.randoms(use_true_random=False), mode=st.sampled_from(("balanced", "fast")))
def test_streams_have_no_say_in_each_others_results(order: object, mode: str) -> None:
    made = {"balanced": BALANCED, "fast": FAST}[mode]
    videos = [
        frames_of("pan", panning(5)),
        frames_of("still", [picture("still", HEIGHT, WIDTH)] * 4),
        frames_of("cut", changed(["square", "cut", "square", "same"], 1, HEIGHT, WIDTH)),
    ]
    alone = [run(made, frames) for frames in videos]
    states = [made.new_state(frames[0].stream) for frames in videos]
    motions = [motions_of(frames) for frames in videos]
    place = [0, 0, 0]
    while any(at < len(frames) for at, frames in zip(place, videos, strict=True)):
        left = [i for i in range(3) if place[i] < len(videos[i])]
        chosen = order.sample(left, order.randint(1, len(left)))  # type: ignore[attr-defined]
        results = made.segment(
            [videos[i][place[i]] for i in chosen], [motions[i][place[i]] for i in chosen], [states[i] for i in chosen]
        )
        for i, result in zip(chosen, results, strict=True):
            assert_same(alone[i][place[i]], result)
            place[i] += 1


def test_frames_of_one_stream_given_at_once_go_one_after_the_other() -> None:
    frames = frames_of("pan", panning(4))
    state = BALANCED.new_state("pan")
    together = BALANCED.segment(frames, motions_of(frames), [state] * 4)
    for one, other in zip(run(BALANCED, frames), together, strict=True):
        assert_same(one, other)


def test_a_still_clip_costs_its_first_frame_in_exact_mode() -> None:
    made = segmenter(CacheSettings.of("exact"))
    run(made, frames_of("still", [picture("still", HEIGHT, WIDTH)] * 60))
    work = made.ledger.total()
    table = cost_table(made.model.size, (HEIGHT, WIDTH), captions=True)
    assert (work.frames, work.windows, work.heads, work.looks) == (60, 4, 1, 1)
    assert table.backbone(table.uncached(60, batch=2)) == 60 * table.backbone(work)


@pytest.mark.parametrize("mode", ["balanced", "fast"])
def test_a_still_clip_is_the_same_in_every_frame(mode: str) -> None:
    made = segmenter(CacheSettings.of(mode))
    first, *others = run(made, frames_of("still", [picture("still", HEIGHT, WIDTH)] * 8))
    assert made.ledger.total().refreshed == 3
    for other in others:
        assert first.id_map.tobytes() == other.id_map.tobytes()


class BlackWindows:
    """Maps of nothing, at once: for tests of what is planned, not of what is seen."""

    def run(self, requests: Sequence[WindowRequest], batch: int) -> list[WindowResult]:
        maps = {f"s{level}": torch.zeros(SIZE.feature_dim, 64 >> level, 64 >> level) for level in LEVELS}
        return [WindowResult(maps, torch.zeros(SIZE.clip.embed_dim)) for _ in requests]


def plan_all(chosen: CacheSettings, frames: Sequence[Frame], *, batch: int = 8) -> tuple[Work, list[FramePlan]]:
    """The work and the plans of frames, without heads."""
    cache = TemporalCache(MODEL, chosen, window_batch=batch, meter=StageTimes())
    cache.network = BlackWindows()
    state, work, plans = CacheState("planned"), Work(), []
    for frame, motion in zip(frames, motions_of(frames), strict=True):
        opened = cache.open(frame, frame.rgb, to_image(frame.rgb), motion, state)
        work += cache.refresh([opened])
        work += Work(frames=1, heads=opened.plan.heads, looks=opened.plan.evidence)
        state.heads_age = 0 if opened.plan.heads else state.heads_age
        state.evidence_age = 0 if opened.plan.evidence else state.evidence_age
        plans.append(opened.plan)
    return work, plans


def eight_windows(count: int, speed: int) -> list[Frame]:
    return frames_of("pan", panning(count, speed=speed, height=128, width=256))


@pytest.mark.parametrize(("mode", "least"), [("balanced", 6.0), ("fast", 12.0)])
@pytest.mark.parametrize("speed", [1, 4])
def test_a_moving_clip_costs_what_the_mode_says(mode: str, least: float, speed: int) -> None:
    work, _ = plan_all(CacheSettings.of(mode), eight_windows(100, speed))
    table = cost_table(SIZE, (128, 256), captions=True)
    assert work.refreshed >= 8 * 100 / least / 2.5
    assert table.backbone(table.uncached(100, batch=8)) >= least * table.backbone(work)


def test_windows_take_turns() -> None:
    """No window of a moving clip grows older than twice its turn."""
    _, plans = plan_all(CacheSettings.of("balanced"), eight_windows(60, 2))
    last = dict.fromkeys(range(8), 0)
    for number, plan in enumerate(plans):
        for window in plan.refreshed:
            last[window] = number
        assert number - min(last.values()) <= 24


def test_what_appears_is_refreshed_within_two_frames() -> None:
    pictures = [picture("scene", 128, 256)] * 12
    for i in range(6, 12):
        pictures[i] = pictures[i].copy()
        pictures[i][70:100, 200:230] = (255, 0, 255)
    _, plans = plan_all(CacheSettings.of("balanced"), frames_of("new", pictures))
    assert any(plan.actions[7] == "r" and plan.heads for plan in plans[6:8])
    assert all(plan.actions[:4] == "kkkk" for plan in plans[1:])


def test_windows_that_take_turns_refresh_no_more_than_the_burst_but_in_first_frames_and_cuts() -> None:
    """What a budget in milliseconds does."""
    chosen = CacheSettings.of("balanced", budget_ms=40.0)
    made = segmenter(replace(chosen, budget_ms=None))
    state = made.new_state("pan")
    assert isinstance(state, CacheState)
    pictures = [*panning(6), picture("another", HEIGHT, WIDTH), *panning(6)]
    frames = frames_of("pan", pictures)
    refreshed = []
    for frame, motion in zip(frames, motions_of(frames), strict=True):
        made.segment([frame], [motion], [state])
        assert state.last_plan is not None
        assert state.last_plan.heads
        refreshed.append(len(state.last_plan.refreshed))
    assert refreshed[0] == refreshed[6] == refreshed[7] == 3
    assert max(refreshed[1:6] + refreshed[8:]) <= 1


@pytest.mark.parametrize(("mode", "every"), [("balanced", 8), ("fast", 16)])
def test_windows_are_refreshed_together_and_results_moved_between(mode: str, every: int) -> None:
    rng, still = np.random.default_rng(0), picture("noisy", 128, 256)
    noisy = [np.clip(still + rng.normal(0, 8, still.shape), 0, 255).astype(np.uint8) for _ in range(3 * every + 1)]
    work, plans = plan_all(CacheSettings.of(mode), frames_of("noisy", noisy))
    whole = [number for number, plan in enumerate(plans) if plan.actions == "r" * 8]
    assert whole == [0, every, 2 * every, 3 * every]
    assert [number for number, plan in enumerate(plans) if plan.heads] == whole
    assert work.windows == 8 * 4


def category_changes(results: Sequence[PanopticFrame], motions: Sequence[Motion | None]) -> list[int]:
    """Pixels of every frame but the first that have another category than where they were in the frame before."""
    maps = []
    for result in results:
        table = np.full(int(result.id_map.max()) + 1, -1)
        for segment in result.segments:
            table[segment.id] = segment.category
        maps.append(table[result.id_map])
    found = []
    for (before, now), motion in zip(pairwise(maps), motions[1:], strict=True):
        assert motion is not None
        step = Step.of(motion, Picture(now.shape, now.shape))
        found.append(int((now != move_labels(before, step.displacement, step, 1.0)).sum()))
    return found


def test_categories_neither_flicker_nor_pulse_more_than_without_a_cache() -> None:
    frames = frames_of("pan", panning(17))
    motions = motions_of(frames)
    without, kept = (category_changes(run(made, frames), motions) for made in (OFF, BALANCED))
    assert sum(kept) <= sum(without)
    # A refresh brings no more at once than the network alone brings in the frames that it stands for.
    assert max(kept) <= sum(without[:8])


@pytest.mark.parametrize("mode", ["balanced", "fast"])
def test_after_a_cut_nothing_is_left_of_before(mode: str) -> None:
    made = {"balanced": BALANCED, "fast": FAST}[mode]
    pictures = [*panning(4), *(picture("another", HEIGHT, WIDTH) for _ in range(2))]
    cold = run(made, frames_of("cold", pictures[4:]))
    warm = run(made, frames_of("warm", pictures))
    assert warm[4].id_map.tobytes() == cold[0].id_map.tobytes()
    assert [s.score for s in warm[4].segments] == [s.score for s in cold[0].segments]


@pytest.mark.parametrize("mode", ["balanced", "fast"])
def test_an_unannounced_change_is_a_cut(mode: str) -> None:
    """Without motion nobody knows where anything came from."""
    made = {"balanced": BALANCED, "fast": FAST}[mode]
    one, two = frames_of("gap", [picture("one", HEIGHT, WIDTH), picture("two", HEIGHT, WIDTH)])
    state = made.new_state("gap")
    made.segment([one], [None], [state])
    (after,) = made.segment([two], [None], [state])
    (cold,) = made.segment([two], [None], [made.new_state("cold")])
    assert after.id_map.tobytes() == cold.id_map.tobytes()


def test_another_size_or_epoch_starts_anew() -> None:
    state = BALANCED.new_state("live")
    wide, small = picture("one", HEIGHT, WIDTH), picture("one", 64, 100)
    frames = [
        Frame("live", epoch, i, i, Fraction(1, 25), i / 25, rgb)
        for i, (epoch, rgb) in enumerate([(0, wide), (0, small), (1, small), (1, wide)])
    ]
    for frame in frames:
        (result,) = BALANCED.segment([frame], [None], [state])
        (cold,) = BALANCED.segment([frame], [None], [BALANCED.new_state("cold")])
        assert result.id_map.tobytes() == cold.id_map.tobytes()


# --- state ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["exact", "balanced", "fast"])
def test_a_saved_state_goes_on_bit_for_bit(mode: str) -> None:
    made = {"exact": EXACT, "balanced": BALANCED, "fast": FAST}[mode]
    frames = frames_of("pan", panning(6))
    motions = motions_of(frames)
    state = made.new_state("pan")
    expected = run(made, frames)
    for i, (frame, motion) in enumerate(zip(frames, motions, strict=True)):
        state = CacheState.from_bytes(state.to_bytes())
        (result,) = made.segment([frame], [motion], [state])
        assert_same(expected[i], result)
    assert isinstance(state, CacheState)
    assert CacheState.from_bytes(state.to_bytes()).to_bytes() == state.to_bytes()


@pytest.mark.parametrize("mode", ["exact", "balanced", "fast"])
def test_a_state_keeps_to_its_bound_and_does_not_grow(mode: str) -> None:
    made = {"exact": EXACT, "balanced": BALANCED, "fast": FAST}[mode]
    state = made.new_state("pan")
    assert isinstance(state, CacheState)
    frames = frames_of("pan", panning(16))
    sizes = []
    for frame, motion in zip(frames, motions_of(frames), strict=True):
        made.segment([frame], [motion], [state])
        sizes.append(state.nbytes)
    value = 4 if mode == "exact" else 2
    bound = state_bound(made.model.size, (HEIGHT, WIDTH), (HEIGHT, WIDTH), bytes_per_value=value)
    assert 0.5 * bound < max(sizes) <= bound
    assert max(sizes[10:]) <= max(sizes[:10]) * 1.02


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:40],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"X" + data[1:],
        lambda data: data.replace(b'"canvas"', b'"canvAs"', 1),
        lambda data: data.replace(b'"format_version":2', b'"format_version":9', 1),
    ],
)
def test_a_damaged_state_is_refused(damage: object) -> None:
    state = BALANCED.new_state("s")
    BALANCED.segment(frames_of("s", panning(1)), [None], [state])
    with pytest.raises(InputError, match="start the stream anew"):
        CacheState.from_bytes(damage(state.to_bytes()))  # type: ignore[operator]


# --- budgets, plans ---------------------------------------------------------------------------------------------------


def test_a_budget_of_operations_is_kept_and_used() -> None:
    table = cost_table(SIZE, (128, 256), captions=True)
    whole = table.total(table.uncached(1, batch=8))
    frames = eight_windows(60, 3)
    costs = []
    for share in (0.25, 0.35, 0.5, 0.8):
        work, _ = plan_all(CacheSettings.of("balanced", budget_flops=share * whole), frames)
        # The first frame is a cut, which no budget covers.
        costs.append((table.total(work) - whole) / (59 * whole))
        assert costs[-1] <= share * 1.05
    assert costs == sorted(costs)
    assert costs[-1] > 0.6


def test_plans_of_a_budget_in_milliseconds_replay_bit_for_bit() -> None:
    ticks = iter(np.random.default_rng(0).uniform(0.001, 0.02, 100_000).cumsum().tolist())
    live = segmenter(CacheSettings.of("balanced", budget_ms=20.0))
    assert live.cache is not None
    live.cache.pace.clock = lambda: next(ticks)
    frames = frames_of("live", panning(12, speed=3))
    state = live.new_state("live")
    assert isinstance(state, CacheState)
    plans: dict[int, dict[str, object]] = {}
    first = []
    for frame, motion in zip(frames, motions_of(frames), strict=True):
        first += live.segment([frame], [motion], [state])
        assert state.last_plan is not None
        plans[frame.index] = state.last_plan.to_json()
    assert len({str(plan["actions"]).count("r") for plan in plans.values()}) > 1  # the clock had its say
    again = segmenter(CacheSettings.of("balanced", budget_ms=20.0))
    assert again.cache is not None
    again.cache.replay = lambda frame: FramePlan.from_json(plans[frame.index])
    for one, other in zip(first, run(again, frames), strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("data", [{}, {"actions": "x", "captions": "-", "heads": True, "evidence": True}, None])
def test_what_is_no_plan_is_refused(data: object) -> None:
    with pytest.raises(InputError, match="no plan of a frame"):
        FramePlan.from_json(data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "budgets", "message"),
    [
        ("quick", {}, "no cache mode 'quick'"),
        ("exact", {"budget_flops": 1e9}, "--cache balanced or fast"),
        ("balanced", {"budget_flops": -1.0}, "above 0"),
        ("fast", {"budget_ms": 5.0, "budget_flops": 1e9}, "Give one of them"),
    ],
)
def test_settings_that_make_no_sense_are_refused(mode: str, budgets: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        CacheSettings.of(mode, **budgets)


def test_settings_are_in_the_description() -> None:
    described = BALANCED.describe()
    assert described["cache_mode"] == "balanced"
    assert described["cache_refresh_share"] == "0.125"
    assert not any(name.startswith("cache") for name in OFF.describe())


# --- cost -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["off", "exact", "balanced", "fast"])
def test_operations_are_those_that_were_executed(mode: str) -> None:
    """The ledger times the table is what torch counts while the frames run."""
    from odise_frame.flops import StageFlops

    made = segmenter(CacheSettings.of(mode), window_batch=8)
    made.model.requires_grad_(False)
    counter = StageFlops()
    made.times = counter  # type: ignore[assignment]
    if made.cache is not None:
        made.cache.network.meter = counter  # type: ignore[attr-defined]
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        run(made, frames_of("pan", panning(6)))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    table = cost_table(made.model.size, (HEIGHT, WIDTH), captions=True)
    expected = table.flops(made.ledger.total())
    assert counter.flops["autoencoder"] == expected["autoencoder"]
    assert counter.flops["unet"] == expected["unet"]
    assert counter.flops["captioner"] == expected["captioner"]
    assert counter.flops["mask classification"] == pytest.approx(expected["mask classification"], rel=0.02)
    # Naming is matrix products of its own, small beside the mask generator.
    assert counter.flops["heads"] == pytest.approx(expected["heads"], rel=0.02)


def test_ledgers_add_up() -> None:
    ledger = Ledger()
    work = ledger.of((1, 2))
    work.windows += 3
    ledger.of((3, 4)).windows += 4
    assert ledger.total().windows == 7
    assert ledger.of((1, 2)).windows == 3
