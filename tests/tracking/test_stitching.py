"""Joining chunk-local track ids through the frames that two chunks share."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking import PanopticTracker, stitch


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
