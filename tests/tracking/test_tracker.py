"""The tracker on a small seeded world: what ids do, and what the events say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking import PanopticTracker, TrackerSettings, TrackerState
from videoseg.errors import InputError
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.protocols import TrackingStep
from videoseg.tracks import TrackEvent
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of(
    [(("sky",), False), (("ground",), False), (("car",), True), (("dog",), True), (("cat",), True)]
)


def run(frames, *, motions=None, tracker=None, state=None):
    """Tracks frames; returns the steps and, per frame, actor -> track."""
    tracker = tracker or PanopticTracker(vocabulary=VOCABULARY)
    state = state or tracker.new_state("test")
    steps, found = [], []
    for i, (frame, truth) in enumerate(frames):
        step = tracker.step(frame, motions[i] if motions else None, state)
        assert len(step.frames) == 1
        steps.append(step)
        found.append({truth[s.id]: s.track for s in step.frames[0].segments})
    return steps, found


def words(steps: list[TrackingStep]) -> list[object]:
    """All that a run said, in comparable form (segment ids left out)."""
    said: list[object] = []
    for step in steps:
        for frame in step.frames:
            said.append(frame.track_map().tobytes())
            said.append(
                sorted((s.track, s.category, s.is_thing, s.probabilities, s.area, s.box) for s in frame.segments)
            )
        said.append(step.events)
    return said


def events_of(steps: list[TrackingStep], kind: str) -> list[TrackEvent]:
    return [event for step in steps for event in step.events if event.kind == kind]


def still(size: tuple[int, int], *, shift: tuple[int, int] = (0, 0), cut: bool = False) -> Motion:
    rows, columns = -(-size[0] // 8), -(-size[1] // 8)
    return Motion(
        block=8,
        displacement=np.broadcast_to(np.array(shift, dtype=np.int16), (rows, columns, 2)).copy(),
        residual=np.zeros((rows, columns), np.float32),
        valid=np.full((rows, columns), not cut),
        similarity=np.array([[1, 0, shift[0]], [0, 1, shift[1]]], dtype=np.float32),
        cut=cut,
    )


def of_actor(found: list[dict[int, int]], actor: int) -> set[int]:
    return {ids[actor] for ids in found if actor in ids}


# Properties


@given(seed=st.integers(0, 10_000), embeddings=st.booleans(), shuffle=st.integers(1, 1000))
@settings(max_examples=12, deadline=None)
def test_numbering_segments_otherwise_changes_nothing(scenes, seed: int, embeddings: bool, shuffle: int) -> None:
    world = scenes.random_world(seed, embeddings=embeddings)
    plain, _ = run(world.frames(30))
    other, _ = run(world.frames(30, shuffle=shuffle))
    assert words(plain) == words(other)


@given(seed=st.integers(0, 10_000), embeddings=st.booleans(), shuffle=st.integers(0, 1000))
@settings(max_examples=12, deadline=None)
def test_a_static_scene_keeps_its_ids(scenes, seed: int, embeddings: bool, shuffle: int) -> None:
    random = np.random.default_rng(seed)
    actors = tuple(
        scenes.Actor(((0, float(random.uniform(0, 128)), float(random.uniform(0, 72))),), look=n, depth=n)
        for n in range(6)
    )
    steps, found = run(scenes.World(actors, embeddings=embeddings, seed=seed).frames(15, shuffle=shuffle))
    assert all(ids == found[0] for ids in found)
    assert {e.index for e in events_of(steps, "born")} == {0}


@given(
    seed=st.integers(0, 10_000),
    embeddings=st.booleans(),
    cuts=st.sets(st.integers(1, 39), max_size=3),
    solver=st.sampled_from(["lap", "scipy"]),
)
@settings(max_examples=15, deadline=None)
def test_ids_are_unique_in_a_frame_and_never_used_again(scenes, seed, embeddings, cuts, solver) -> None:
    world = scenes.random_world(seed, embeddings=embeddings)
    frames = world.frames(40, shuffle=seed)
    motions = [None] + [still((72, 128), cut=t in cuts) for t in range(1, 40)]
    tracker = PanopticTracker(vocabulary=VOCABULARY, solver=solver)
    steps, _ = run(frames, motions=motions, tracker=tracker)
    born: list[int] = []
    ended: set[int] = set()
    for step in steps:
        for event in step.events:
            if event.kind == "born":
                born.append(event.track)
            assert event.track not in ended
            if event.kind == "ended":
                ended.add(event.track)
        segments = step.frames[0].segments
        tracks = [s.track for s in segments]
        assert len(set(tracks)) == len(tracks)
        assert set(tracks) <= set(born)
        assert not set(tracks) & ended
        assert all(VOCABULARY[s.category].is_thing == s.is_thing for s in segments)
    assert born == list(range(1, len(born) + 1))
    # Both solvers, and any other run, say the same.
    assert words(run(frames, motions=motions)[0]) == words(steps)


@given(seed=st.integers(0, 10_000), embeddings=st.booleans())
@settings(max_examples=6, deadline=None)
def test_saved_and_restored_at_every_frame_is_uninterrupted(scenes, seed: int, embeddings: bool) -> None:
    world = scenes.random_world(seed, embeddings=embeddings)
    frames = world.frames(40, shuffle=seed)
    motions = [None] + [still((72, 128), shift=(t % 3, 0), cut=t == 20) for t in range(1, 40)]
    tracker = PanopticTracker(vocabulary=VOCABULARY)
    whole, interrupted = tracker.new_state("test"), tracker.new_state("test")
    for (frame, _), motion in zip(frames, motions, strict=True):
        expected = tracker.step(frame, motion, whole)
        interrupted = TrackerState.from_bytes(interrupted.to_bytes())
        got = PanopticTracker(vocabulary=VOCABULARY).step(frame, motion, interrupted)
        assert words([got]) == words([expected])
        assert interrupted.to_bytes() == whole.to_bytes()
        assert interrupted.nbytes == whole.nbytes
    assert tracker.finish(interrupted) == tracker.finish(whole)


# Things


@pytest.mark.parametrize("embeddings", [True, False])
def test_crossing_objects_keep_their_ids(scenes, embeddings: bool) -> None:
    world = scenes.World(
        (
            scenes.Actor(((0, 10, 30), (50, 118, 30)), look=1, depth=1),
            scenes.Actor(((0, 118, 34), (50, 10, 34)), look=2, depth=2, category=3),
            scenes.Actor(((0, 64, 5), (50, 64, 66)), look=3, depth=3, category=4, radius=(5, 5)),
        ),
        embeddings=embeddings,
    )
    steps, found = run(world.frames(51))
    assert [len(of_actor(found, actor)) for actor in range(3)] == [1, 1, 1]
    assert not events_of(steps, "ended")


@pytest.mark.parametrize("embeddings", [True, False])
@pytest.mark.parametrize("gone", [1, 5, 12, 25, 50])
def test_what_stands_still_behind_something_comes_back_as_itself(scenes, embeddings: bool, gone: int) -> None:
    world = scenes.World(
        (scenes.Actor(((0, 40, 30),), look=1, hidden=((10, 9 + gone),)), scenes.Actor(((0, 90, 30),), look=2)),
        embeddings=embeddings,
    )
    steps, found = run(world.frames(15 + gone))
    assert len(of_actor(found, 0)) == 1
    assert len(events_of(steps, "lost")) == len(events_of(steps, "re-identified")) == (1 if gone > 12 else 0)


@pytest.mark.parametrize("with_motion", [True, False])
@pytest.mark.parametrize("gone", [4, 10, 25])
def test_what_moves_behind_something_comes_back_as_itself(scenes, gone: int, with_motion: bool) -> None:
    actor = scenes.Actor(((0, 12, 30), (75, 112, 30)), look=1, hidden=((20, 19 + gone),))
    frames = scenes.World((actor,)).frames(25 + gone)
    motions = [None] + [still((72, 128))] * (len(frames) - 1) if with_motion else None
    _, found = run(frames, motions=motions)
    assert len(of_actor(found, 0)) == 1


def test_who_leaves_and_comes_back_much_later_is_recognised(scenes) -> None:
    leaving = scenes.Actor(((0, 100, 30), (10, 118, 30), (11, 300, 30), (220, 300, 30), (221, 20, 50)), look=1)
    stranger = scenes.Actor(((0, 300, 30), (199, 300, 30), (200, 60, 30)), look=2)
    steps, found = run(scenes.World((leaving, stranger)).frames(230))
    assert len(of_actor(found, 0)) == 1
    assert of_actor(found, 0).isdisjoint(of_actor(found, 1))
    (event,) = events_of(steps, "re-identified")
    assert event.track in of_actor(found, 0)
    assert "embedding" in event.reason


def test_without_embeddings_nobody_is_recognised_after_long(scenes) -> None:
    actor = scenes.Actor(((0, 40, 30),), hidden=((10, 130),))
    _, found = run(scenes.World((actor,), embeddings=False).frames(140))
    assert len(of_actor(found, 0)) == 2


def test_lost_tracks_end_after_their_time(scenes) -> None:
    actor = scenes.Actor(((0, 40, 30),), hidden=((10, 90),))
    tracker = PanopticTracker(TrackerSettings(memory_seconds=2.0), vocabulary=VOCABULARY)
    steps, found = run(scenes.World((actor,)).frames(100), tracker=tracker)
    first, second = found[0][0], found[-1][0]
    assert first != second
    assert [(e.kind, e.index) for s in steps for e in s.events if e.track == first] == [
        ("born", 0),
        ("confirmed", 2),
        ("lost", 22),
        ("ended", 60),
    ]


def test_a_false_segment_of_one_frame_ends_tentative(scenes) -> None:
    ghost = scenes.Actor(((0, 20, 20),), look=5, hidden=((0, 4), (6, 99)))
    steps, found = run(scenes.World((scenes.Actor(((0, 90, 40),), look=1), ghost)).frames(12))
    (track,) = of_actor(found, 1)
    assert [(e.kind, e.index) for s in steps for e in s.events if e.track == track] == [("born", 5), ("ended", 11)]
    assert "never confirmed" in events_of(steps, "ended")[0].reason


def test_the_camera_pans_and_nothing_changes(scenes) -> None:
    pan = 6
    actors = tuple(
        scenes.Actor(((0, 20 + 40 * n, 30), (40, 20 + 40 * n - pan * 40, 30)), look=n, radius=(6, 8)) for n in range(9)
    )
    frames = scenes.World(actors, embeddings=False).frames(40)
    # The scene moves left: this frame's (x, y) was at (x + 6, y).
    motions = [None] + [still((72, 128), shift=(pan, 0))] * 39
    _, found = run(frames, motions=motions)
    assert [len(of_actor(found, n)) for n in range(9)] == [1] * 9


def test_a_cut_and_back_by_embedding_only(scenes) -> None:
    first = (scenes.Actor(((0, 30, 30),), look=1), scenes.Actor(((0, 90, 40),), look=2, category=3))
    # At the very places of the first scene stand others.
    second = (scenes.Actor(((0, 30, 30),), look=3), scenes.Actor(((0, 90, 40),), look=4, category=3))
    swapped = (scenes.Actor(((0, 90, 40),), look=1), scenes.Actor(((0, 30, 30),), look=2, category=3))
    frames = [
        world.frame(t)
        for t, world in enumerate([scenes.World(first)] * 8 + [scenes.World(second)] * 8 + [scenes.World(swapped)] * 8)
    ]
    motions = [None] + [still((72, 128), cut=t in (8, 16)) for t in range(1, 24)]
    steps, found = run(frames, motions=motions)
    assert [found[20][0], found[20][1]] == [found[0][0], found[0][1]]
    assert {found[0][0], found[0][1]}.isdisjoint({found[10][0], found[10][1]})
    lost = [(e.index, e.reason) for e in events_of(steps, "lost")]
    assert lost == [(8, "scene cut")] * 2 + [(16, "scene cut")] * 2
    assert [e.index for e in events_of(steps, "re-identified")] == [16, 16]
    # Stuff goes on by category.
    assert found[0][-1] == found[10][-1] == found[20][-1]


def test_after_a_cut_place_alone_is_not_enough(scenes) -> None:
    world = scenes.World((scenes.Actor(((0, 30, 30),)),), embeddings=False)
    motions = [None] + [still((72, 128), cut=t == 5) for t in range(1, 10)]
    _, found = run(world.frames(10), motions=motions)
    assert found[4][0] != found[5][0] == found[9][0]


@pytest.mark.parametrize("change", ["size", "epoch"])
def test_a_new_size_or_a_reconnected_source_is_a_cut(scenes, change: str) -> None:
    actors = (scenes.Actor(((0, 30, 30),), look=1),)
    small, large = scenes.World(actors), scenes.World(actors, height=80, width=140)
    frames = [small.frame(t) for t in range(5)]
    for t in range(5, 10):
        frame, truth = (large if change == "size" else small).frame(t)
        frames.append((replace(frame, epoch=1, time=0.0) if change == "epoch" else frame, truth))
    steps, found = run(frames)
    assert len(of_actor(found, 0)) == 1
    assert [e.index for e in events_of(steps, "lost")] == [5]
    assert [e.index for e in events_of(steps, "re-identified")] == [5]


# Categories


def relabel(frame: PanopticFrame, choose) -> PanopticFrame:
    segments: list[Segment] = []
    for segment in frame.segments:
        category = choose(segment)
        segments.append(replace(segment, category=category, probabilities=((category, 0.6), (segment.category, 0.3))))
    return frame.with_segments(segments)


def test_a_label_that_flickers_comes_out_steady(scenes) -> None:
    random = np.random.default_rng(3)
    frames = []
    for frame, truth in scenes.World((scenes.Actor(((0, 30, 30), (60, 90, 30)), look=1),)).frames(60):
        wrong = frame.index > 0 and random.random() < 0.4
        frames.append((relabel(frame, lambda s, wrong=wrong: 3 if s.is_thing and wrong else s.category), truth))
    steps, found = run(frames)
    assert {s.category for step in steps for s in step.frames[0].segments if s.is_thing} == {2}
    assert len(of_actor(found, 0)) == 1
    assert not events_of(steps, "class changed")


def test_a_wrong_start_is_mended_once_and_told(scenes) -> None:
    frames = [
        (relabel(frame, lambda s, t=frame.index: 3 if s.is_thing and t < 5 else s.category), truth)
        for frame, truth in scenes.World((scenes.Actor(((0, 30, 30),), look=1),)).frames(30)
    ]
    steps, found = run(frames)
    assert len(of_actor(found, 0)) == 1
    (event,) = events_of(steps, "class changed")
    assert 5 <= event.index <= 12
    assert event.reason.startswith("category 2 instead of 3")
    categories = [s.category for step in steps for s in step.frames[0].segments if s.is_thing]
    assert categories == [3] * event.index + [2] * (30 - event.index)


def test_stuff_has_one_track_per_category_and_its_label_is_steady(scenes) -> None:
    frames = []
    for frame, truth in scenes.random_world(5).frames(40):
        wrong = frame.index in (10, 20, 21, 33)
        # The whole sky is called ground: two segments of one category.
        frames.append((relabel(frame, lambda s, wrong=wrong: 1 if wrong and s.category == 0 else s.category), truth))
    steps, _ = run(frames)
    for step in steps:
        stuff = {s.category: s.track for s in step.frames[0].segments if not s.is_thing}
        assert stuff == {0: stuff[0], 1: stuff[1]}
        assert sorted(stuff.values()) == sorted(set(stuff.values()))
    assert len({s.track for step in steps for s in step.frames[0].segments if not s.is_thing}) == 2


def test_two_regions_of_one_stuff_category_become_one_segment(scenes) -> None:
    frame, _ = scenes.World((scenes.Actor(((0, 30, 30),), look=1),)).frame(0)
    frame = relabel(frame, lambda s: s.category if s.is_thing else 1)
    tracker = PanopticTracker(vocabulary=VOCABULARY)
    (out,) = tracker.step(frame, None, tracker.new_state("test")).frames
    (stuff,) = [s for s in out.segments if not s.is_thing]
    (thing,) = [s for s in out.segments if s.is_thing]
    assert stuff.area == 72 * 128 - thing.area
    assert stuff.box == (0, 0, 128, 72)
    assert (frame.id_map != 0).sum() == (out.id_map != 0).sum()


def test_a_thing_never_becomes_stuff_by_its_probabilities(scenes) -> None:
    frames = []
    for frame, truth in scenes.World((scenes.Actor(((0, 30, 30),), look=1),)).frames(10):
        segments = [
            replace(s, probabilities=((1, 0.5), (s.category, 0.4), (3, 0.1))) if s.is_thing else s
            for s in frame.segments
        ]
        frames.append((frame.with_segments(segments), truth))
    steps, _ = run(frames)
    (thing,) = [s for s in steps[-1].frames[0].segments if s.is_thing]
    assert thing.category == 2
    assert dict(thing.probabilities) == pytest.approx({2: 16 / 17, 3: 1 / 17})


# State and stream


def test_the_state_stays_bounded_over_many_births_and_deaths(scenes) -> None:
    num_frames = 1_600
    limits = TrackerSettings(max_lost=30, max_silhouettes=8)
    tracker = PanopticTracker(limits, vocabulary=VOCABULARY)
    state = tracker.new_state("test")
    random = np.random.default_rng(0)
    looks = random.normal(size=(num_frames // 4 + 1, 256)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    sizes, ended, born = [], 0, 0
    for t in range(num_frames):
        # A newcomer every fourth frame, seen four times.
        look = looks[t // 4]
        id_map = np.zeros((6, 8), dtype=np.uint16)
        x = int(t // 4 * 3) % 6
        id_map[2:4, x : x + 2] = 1
        segment = Segment(1, 2, True, 0.9, 4, (x, 2, x + 2, 4), embedding=look, probabilities=((2, 0.9),))
        events = tracker.step(scenes.make_frame(id_map, [segment], t), None, state).events
        born += sum(e.kind == "born" for e in events)
        ended += sum(e.kind == "ended" for e in events)
        if t % 100 == 99:
            sizes.append((state.nbytes, len(state.to_bytes())))
    # One in a few hundred looks enough like who was there before.
    assert 0.98 * num_frames // 4 <= born <= num_frames // 4
    assert ended == born - len(state.tracks)
    assert len(state.tracks) <= limits.max_lost + 1
    assert max(size for size, _ in sizes[5:]) <= 1.05 * max(size for size, _ in sizes[:5])
    assert max(size for _, size in sizes[5:]) <= 1.1 * max(size for _, size in sizes[:5])


@pytest.mark.parametrize(
    "spoil", [lambda d: b"", lambda d: d[:-1], lambda d: d[:40] + b"?" + d[41:], lambda d: b"x" * 99]
)
def test_a_damaged_state_is_refused_in_words(scenes, spoil) -> None:
    tracker = PanopticTracker()
    state = tracker.new_state("test")
    run(scenes.random_world(1).frames(3), tracker=tracker, state=state)
    with pytest.raises(InputError, match=r"state"):
        TrackerState.from_bytes(spoil(state.to_bytes()))


def test_a_state_of_another_version_is_refused() -> None:
    data = bytearray(PanopticTracker().new_state("test").to_bytes())
    data[len(b"videoseg tracker")] = 99
    with pytest.raises(InputError, match="version 99"):
        TrackerState.from_bytes(bytes(data))


def test_finish_ends_every_track_once(scenes) -> None:
    tracker = PanopticTracker(vocabulary=VOCABULARY)
    state = tracker.new_state("test")
    steps, _ = run(scenes.random_world(2).frames(20), tracker=tracker, state=state)
    last = tracker.finish(state)
    born = {e.track for e in events_of(steps, "born")}
    assert born == {e.track for e in [*events_of(steps, "ended"), *last.events] if e.kind == "ended"}
    assert last.frames == ()
    assert tracker.finish(state).events == ()


def test_frames_of_nothing_and_of_everything(scenes) -> None:
    tracker = PanopticTracker()
    state = tracker.new_state("test")
    empty = scenes.make_frame(np.zeros((1, 1), np.uint16), [], 0)
    assert tracker.step(empty, None, state).frames[0].segments == ()
    full = scenes.make_frame(np.full((1, 1), 65535, np.uint16), [Segment(65535, 0, True, 1.0, 1, (0, 0, 1, 1))], 1)
    assert tracker.step(full, None, state).frames[0].segments[0].track == 1
    assert tracker.step(replace(empty, index=2), None, state).frames[0].segments == ()


def test_time_stamps_that_run_back_don_not_stop_the_clock(scenes) -> None:
    frames = [(replace(frame, time=-float(frame.index)), truth) for frame, truth in scenes.random_world(3).frames(20)]
    tracker = PanopticTracker()
    state = tracker.new_state("test")
    run(frames, tracker=tracker, state=state)
    assert state.clock == pytest.approx(19 / 25)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(InputError, match="accept"):
        TrackerSettings(accept=1.5)
    with pytest.raises(InputError, match="evidence_memory"):
        TrackerSettings(evidence_memory=1.0)


GOLDEN = Path(__file__).parent / "golden_ids.txt"
"""Actor: track@frame from which on it has that track."""


def test_golden_ids(scenes) -> None:
    """What this very world gave when it was looked at; a change of rules changes it, another machine must not."""
    world = scenes.random_world(42, num_actors=8)
    motions = [None] + [still((72, 128), cut=t == 40) for t in range(1, 64)]
    _, found = run(world.frames(64, shuffle=1), motions=motions)
    lines = []
    for actor in sorted({a for ids in found for a in ids}):
        spans: list[list[int]] = []
        for t, ids in enumerate(found):
            if actor in ids and (not spans or spans[-1][0] != ids[actor]):
                spans.append([ids[actor], t])
        lines.append(f"{actor}: " + " ".join(f"{track}@{t}" for track, t in spans))
    assert lines == GOLDEN.read_text().splitlines()


def test_a_stranger_at_the_place_of_someone_missing_is_a_stranger(scenes) -> None:
    leaves = scenes.Actor(((0, 40, 30),), look=1, hidden=((10, 99),))
    world = scenes.World(())
    other = min(range(2, 20), key=lambda number: abs(float(world.look(1) @ world.look(number))))
    comes = scenes.Actor(((0, 40, 30),), look=other, hidden=((0, 13),))
    _, found = run(scenes.World((leaves, comes)).frames(20))
    assert of_actor(found, 0).isdisjoint(of_actor(found, 1))
    assert len(of_actor(found, 1)) == 1
