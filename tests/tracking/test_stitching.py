"""Joining chunk-local track ids through the frames that two chunks share."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking import (
    ChunkTracks,
    Fragment,
    PanopticTracker,
    StitchedTracks,
    fragments_of,
    recognise,
    stitch,
    stitch_chunk,
)
from tracking.refinement import AT_A_SEAM


def tracked(world, frames: range, shuffle: int | None = None):
    tracker = PanopticTracker()
    state = tracker.new_state("test")
    out, truth = [], {}
    for t in frames:
        frame, names = world.frame(t, shuffle=shuffle)
        (step,) = tracker.step(frame, None, state).frames
        out.append(step)
        for segment in step.segments:
            truth.setdefault(segment.track, set()).add(names[segment.id])
    return out, truth


def crowd(scenes, seed: int):
    actors = tuple(
        scenes.Actor(((0, 10.0 + 13 * n, 12 + 50 * (n % 2)), (40, 12.0 + 12 * n, 16 + 40 * (n % 2))), look=n, depth=n)
        for n in range(9)
    )
    return scenes.World(actors, seed=seed, embeddings=seed % 2 == 0)


@given(seed=st.integers(0, 50), shuffle=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_chunks_join_to_the_same_identities(scenes, seed: int, shuffle: int) -> None:
    world = crowd(scenes, seed)
    previous, before = tracked(world, range(20))
    following, after = tracked(world, range(14, 34), shuffle=shuffle)
    joined = stitch(previous[14:], following[:6])
    assert set(joined) == {s.track for f in following[:6] for s in f.segments}
    assert len(set(joined.values())) == len(joined)
    for local, whole in joined.items():
        assert after[local] == before[whole]
    assert stitch(previous[14:], following[:6], solver="scipy") == joined


def test_who_is_not_in_the_overlap_is_new(scenes) -> None:
    leaves = scenes.Actor(((0, 30, 20),), look=1, hidden=((10, 99),))
    comes = scenes.Actor(((0, 30, 20),), look=2, hidden=((0, 15),))
    world = scenes.World((leaves, comes, scenes.Actor(((0, 90, 20),), look=3)))
    previous, before = tracked(world, range(16))
    following, after = tracked(world, range(12, 28))
    joined = stitch(previous[12:], following[:4])
    newcomers = {track for track, names in after.items() if names == {1}}
    assert newcomers
    assert not newcomers & set(joined)
    assert {track for track, names in before.items() if names == {0}}.isdisjoint(joined.values())


def test_overlap_decides_before_category_and_things_never_join_stuff(scenes) -> None:
    world = crowd(scenes, 2)
    previous, _ = tracked(world, range(6))
    relabelled = [
        f.with_segments(replace(s, category=4 if s.is_thing else s.category) for s in f.segments) for f in previous
    ]
    assert stitch(previous, relabelled) == stitch(previous, previous)
    turned = [f.with_segments(replace(s, is_thing=not s.is_thing) for s in f.segments) for f in previous]
    things = {s.track for s in previous[0].segments if s.is_thing}
    assert not set(stitch(previous, turned)) & things


def test_stuff_joins_by_category_even_outside_the_overlap(scenes) -> None:
    world = crowd(scenes, 3)
    previous, _ = tracked(world, range(6))
    nothing = stitch([], [], previous_stuff={0: 1, 7: 12}, next_stuff={7: 2, 0: 5, 8: 9})
    assert nothing == {2: 12, 5: 1}
    joined = stitch(previous, previous, previous_stuff={5: 77}, next_stuff={5: 40})
    assert joined[40] == 77
    assert all(joined[s.track] == s.track for s in previous[0].segments)


def test_frames_that_only_one_side_has_are_ignored(scenes) -> None:
    world = crowd(scenes, 4)
    previous, _ = tracked(world, range(12))
    assert stitch(previous[:6], previous[4:]) == stitch(previous[4:6], previous[4:6])
    assert [
        t for t in stitch(previous[:3], previous[6:]) if t in {s.track for s in previous[0].segments if s.is_thing}
    ] == []


def test_untracked_frames_are_refused(scenes) -> None:
    frame, _ = crowd(scenes, 1).frame(0)
    with pytest.raises(ValueError, match="has no track yet"):
        stitch([frame], [frame])


def as_chunk(frames, warm: int) -> ChunkTracks:
    segments = {s.track: s for frame in frames for s in frame.segments}
    return ChunkTracks(
        tracks=sorted(segments),
        stuff={s.category: track for track, s in segments.items() if not s.is_thing},
        overlap=frames[:warm],
        fragments=fragments_of(frames[warm:]),
    )


def stitched(world, chunks: list[tuple[int, int, int]]) -> tuple[dict[int, set[int]], StitchedTracks]:
    """Global track -> the objects that it was; chunks as (first frame that counts, end, overlap)."""
    so_far, before = StitchedTracks(), {}
    truth: dict[int, set[int]] = {}
    for begin, end, warm in chunks:
        frames, names = tracked(world, range(begin - warm, end))
        seam = [before[t] for t in range(begin - warm, begin)]
        table, _ = stitch_chunk(so_far, seam, as_chunk(frames, warm))
        for t, frame in zip(range(begin - warm, end), frames, strict=True):
            before[t] = frame.with_segments(replace(s, track=table[s.track]) for s in frame.segments)
            if t >= begin:
                for segment in frame.segments:
                    truth.setdefault(table[segment.track], set()).update(names[segment.track])
    return truth, so_far


def test_who_was_out_of_sight_at_the_seam_is_recognised(scenes) -> None:
    leaves = scenes.Actor(((0, 30, 20),), look=1, hidden=((14, 30),))
    stays = scenes.Actor(((0, 90, 20),), look=3)
    stranger = scenes.Actor(((0, 60, 50),), look=2, hidden=((0, 28),))
    truth, so_far = stitched(scenes.World((leaves, stays, stranger), seed=3), [(0, 20, 0), (20, 40, 6), (40, 50, 6)])
    assert sorted(truth.values(), key=min) == [{-2}, {-1}, {0}, {1}, {2}]
    assert so_far.highest == 5
    assert all(not fragment.times for fragment in so_far.things.values())
    frames_of = {min(truth[track]): fragment.num_frames for track, fragment in so_far.things.items()}
    assert frames_of == {0: 33, 1: 50, 2: 21}


def test_recognised_across_a_missing_chunk(scenes) -> None:
    actors = tuple(scenes.Actor(((0, 20 + 35 * n, 30),), look=n + 1) for n in range(3))
    truth, _ = stitched(scenes.World(actors, seed=5), [(0, 20, 0), (30, 50, 0)])
    assert sorted(truth.values(), key=min) == [{-2}, {-1}, {0}, {1}, {2}]


def test_strangers_and_the_long_gone_stay_new(scenes) -> None:
    leaves = scenes.Actor(((0, 30, 20),), look=1, hidden=((14, 99),))
    comes = scenes.Actor(((0, 30, 20),), look=2, hidden=((0, 28),))
    stays = scenes.Actor(((0, 90, 20),), look=3)
    frames, _ = tracked(scenes.World((leaves, comes, stays), seed=1), range(40))
    known = fragments_of(frames[:20])
    arrived = fragments_of(frames[24:])
    assert {f.track for f in known} == {1, 2}
    assert recognise(known, arrived, {2: 2}) == {}
    # Without the seam's word even the one that stays is recognised, and nobody else.
    assert recognise(known, arrived, {}) == {2: 2}
    settings = replace(AT_A_SEAM, max_gap=0.05)
    assert recognise(known, arrived, {}, settings) == {}


def test_what_stitching_remembers_is_bounded() -> None:
    rng = np.random.default_rng(0)

    def chunk(number: int) -> ChunkTracks:
        tracks = range(1, 301)
        fragments = [
            Fragment(
                track=track, first_index=number, first_time=20.0 * number, first_centre=(0, 0), num_frames=5,
                last_time=20.0 * number + 1 + track / 1e3, last_centre=(9, 9), diagonal=5.0, times={number, number + 1},
                looks=rng.standard_normal(64),
            )
            for track in tracks
        ]  # fmt: skip
        return ChunkTracks(tracks=list(tracks), stuff={}, overlap=[], fragments=fragments)

    so_far = StitchedTracks()
    for number in range(6):
        stitch_chunk(so_far, [], chunk(number))
    assert so_far.highest == 1800
    assert sorted(so_far.things) == list(range(801, 1801))
    stitch_chunk(so_far, [], chunk(60))
    assert sorted(so_far.things) == list(range(1801, 2101))
