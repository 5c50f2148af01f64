"""The rows of the tracking benchmark: who tracks, and how tracked frames become maps for scoring."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pipelines.tracking_bench.degradation import SpoiledFrame
from pipelines.tracking_bench.rivals import Make, rivals
from pipelines.tracking_bench.scoring import TrackedMap
from pipelines.tracking_bench.worlds import World
from tracking import DelayedTracker, DelaySettings, PanopticTracker, TrackerSettings, fragments_of, refine, stitch
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

Row = Callable[[World, Sequence[SpoiledFrame], Vocabulary], list[TrackedMap]]

ORACLE = "oracle"
ONLINE = "ours"

FILLING = 0.5
"""Seconds of gaps that the filled rows fill."""


def all_rows(*, tuned: bool = True, defaults: bool = True) -> dict[str, Row]:
    """Every row by name: the oracle, ours, and the rivals that are installed."""
    rows: dict[str, Row] = {
        ORACLE: oracle,
        ONLINE: ours(),
        "ours, delayed": ours(delay=DelaySettings()),
        "ours, refined": ours(delay=DelaySettings(), refined=True),
        "ours, filled": ours(TrackerSettings(fill_seconds=FILLING)),
        "ours, delayed + refined + filled": ours(
            TrackerSettings(fill_seconds=FILLING), delay=DelaySettings(), refined=True
        ),
    }
    if defaults:
        rows |= {name: rival(make) for name, make in rivals(tuned=False).items()}
    if tuned:
        rows |= {f"{name}, tuned": rival(make) for name, make in rivals(tuned=True).items()}
    return rows


def oracle(world: World, frames: Sequence[SpoiledFrame], vocabulary: Vocabulary) -> list[TrackedMap]:
    """True identities on the same segments, with their labels."""
    return [
        TrackedMap(
            spoiled.frame.id_map,
            dict(spoiled.owner),
            {segment.id: segment.category for segment in spoiled.frame.segments},
        )
        for spoiled in frames
    ]


def ours(
    settings: TrackerSettings | None = None,
    *,
    delay: DelaySettings | None = None,
    refined: bool = False,
    chunk: int | None = None,
    overlap: int = 24,
    with_motion: bool = True,
) -> Row:
    """Our tracker with such settings.

    Args:
        chunk: tracks chunks of so many frames apart, each after a warm-up of `overlap`, and joins them.
    """

    def track(world: World, frames: Sequence[SpoiledFrame], vocabulary: Vocabulary) -> list[TrackedMap]:
        inner = PanopticTracker(settings, vocabulary=vocabulary)
        tracker = inner if delay is None else DelayedTracker(inner, delay)

        def run(begin: int, end: int) -> list[PanopticFrame]:
            state = tracker.new_state(world.name)
            out: list[PanopticFrame] = []
            for number in range(begin, end):
                motion = world.frames[number].motion if with_motion and number > begin else None
                out += tracker.step(frames[number].frame, motion, state).frames  # type: ignore[arg-type]
            out += tracker.finish(state).frames  # type: ignore[arg-type]
            return out

        count = len(frames)
        if chunk is None:
            tracked = run(0, count)
        else:
            tracked, highest = [], 0
            for begin in range(0, count, chunk):
                warm = min(overlap, begin)
                piece = run(begin - warm, min(begin + chunk, count))
                joined = (
                    stitch(tracked[begin - warm : begin], piece[:warm], previous_stuff=_stuff(tracked)) if begin else {}
                )
                tracked_now, highest = _renamed(piece, joined, highest)
                tracked += tracked_now[warm:]
        if refined:
            names = refine(fragments_of(tracked))
            tracked = [_named(frame, names) for frame in tracked]
        return [as_map(frame) for frame in tracked]

    return track


def rival(make: Make) -> Row:
    """A tracker of boxes or masks of things; stuff keeps one track per category."""

    def track(world: World, frames: Sequence[SpoiledFrame], vocabulary: Vocabulary) -> list[TrackedMap]:
        tracker = make(world.rate)
        out = []
        for truth, spoiled in zip(world.frames, frames, strict=True):
            things = [segment for segment in spoiled.frame.segments if segment.is_thing]
            found = tracker.step(spoiled.frame, things, truth.rgb)
            tracks = {s.id: t + len(vocabulary) for s, t in zip(things, found, strict=True) if t is not None}
            tracks |= {s.id: s.category + 1 for s in spoiled.frame.segments if not s.is_thing}
            out.append(TrackedMap(spoiled.frame.id_map, tracks, {s.id: s.category for s in spoiled.frame.segments}))
        return out

    return track


def as_map(frame: PanopticFrame) -> TrackedMap:
    """A tracked frame for scoring."""
    return TrackedMap(
        frame.id_map,
        {s.id: s.track for s in frame.segments if s.track is not None},
        {s.id: s.category for s in frame.segments},
    )


def _stuff(frames: Iterable[PanopticFrame]) -> dict[int, int]:
    found: dict[int, int] = {}
    for frame in frames:
        for segment in frame.segments:
            if not segment.is_thing and segment.track is not None:
                found.setdefault(segment.category, segment.track)
    return found


def _renamed(frames: Sequence[PanopticFrame], names: dict[int, int], highest: int) -> tuple[list[PanopticFrame], int]:
    """Frames of a chunk with global ids: those of `names`, and new ones after `highest` for the rest."""
    names = dict(names)
    highest = max([highest, *names.values()])
    for local in sorted({s.track for frame in frames for s in frame.segments if s.track is not None}):
        if local not in names:
            highest += 1
            names[local] = highest
    return [_named(frame, names) for frame in frames], highest


def _named(frame: PanopticFrame, names: dict[int, int]) -> PanopticFrame:
    return frame.with_segments(
        replace(s, track=names.get(s.track, s.track) if s.track is not None else None) for s in frame.segments
    )
