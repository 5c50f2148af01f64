"""The rows of the tracking benchmark: who tracks, and how tracked frames become maps for scoring."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from pipelines.tracking_bench.degradation import SpoiledFrame
from pipelines.tracking_bench.rivals import Make, rivals
from pipelines.tracking_bench.scoring import TrackedMap
from pipelines.tracking_bench.worlds import World
from tracking import (
    ChunkTracks,
    DelayedTracker,
    DelaySettings,
    PanopticTracker,
    StitchedTracks,
    TrackerSettings,
    fragments_of,
    refine,
    stitch_chunk,
)
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
            tracked, so_far = [], StitchedTracks()
            for begin in range(0, count, chunk):
                warm = min(overlap, begin)
                piece = run(begin - warm, min(begin + chunk, count))
                table, _ = stitch_chunk(so_far, tracked[begin - warm : begin], _as_chunk(piece, warm))
                tracked += [_named(frame, table) for frame in piece[warm:]]
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


def _as_chunk(frames: Sequence[PanopticFrame], warm: int) -> ChunkTracks:
    """A chunk in memory, whose first `warm` frames belong to the chunk before."""
    found = {s.track: s for frame in frames for s in frame.segments if s.track is not None}
    return ChunkTracks(
        tracks=sorted(found),
        stuff={s.category: track for track, s in sorted(found.items(), reverse=True) if not s.is_thing},
        overlap=frames[:warm],
        fragments=fragments_of(frames[warm:]),
    )


def _named(frame: PanopticFrame, names: dict[int, int]) -> PanopticFrame:
    return frame.with_segments(
        replace(s, track=names.get(s.track, s.track) if s.track is not None else None) for s in frame.segments
    )
