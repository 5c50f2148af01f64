"""Parts, merges, confidence, adoption, a new vocabulary, delayed and filled output, refinement."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracking import (
    DelayedState,
    DelayedTracker,
    DelaySettings,
    PanopticTracker,
    TrackerSettings,
    change_vocabulary,
    fragments_of,
    refine,
)
from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.of(
    [(("sky",), False), (("ground",), False), (("car",), True), (("dog",), True), (("cat",), True)]
)


def track(frames, *, tracker=None):
    """All frames that come out, all events, and the state."""
    tracker = tracker or PanopticTracker(vocabulary=VOCABULARY)
    state = tracker.new_state("test")
    out, events = [], []
    for frame in frames:
        step = tracker.step(frame, None, state)
        out += step.frames
        events += step.events
    step = tracker.finish(state)
    return [*out, *step.frames], [*events, *step.events]


def vector(number: int, noise: float = 0.0, t: int = 0) -> np.ndarray:
    look = np.random.default_rng([5, number]).normal(size=32)
    look /= np.linalg.norm(look)
    part = np.random.default_rng([6, number, t]).normal(size=32)
    look = look + noise * part / np.linalg.norm(part)
    return (look / np.linalg.norm(look)).astype(np.float32)


def painted(scenes, t: int, *blocks, size=(60, 100), score=0.9) -> PanopticFrame:
    """A frame of rectangles (look, left, top, right, bottom), things of category 2."""
    id_map = np.zeros(size, dtype=np.uint16)
    for number, (_, left, top, right, bottom) in enumerate(blocks, start=1):
        id_map[top:bottom, left:right] = number
    segments = [
        Segment(
            number,
            2,
            True,
            score,
            area,
            box,
            embedding=vector(blocks[number - 1][0], 0.1, t),
            probabilities=((2, 0.8),),
        )
        for number, (area, box) in measure_segments(id_map).items()
    ]
    return scenes.make_frame(id_map, segments, t)


WHOLE = (1, 20, 20, 60, 40)
HALVES = ((1, 20, 20, 42, 40), (1, 42, 20, 60, 40))


def kinds(events, *wanted: str) -> list[tuple[str, int, int, int | None]]:
    return [(e.kind, e.track, e.index, e.other) for e in events if e.kind in wanted]


def test_a_thing_that_comes_in_two_parts_for_a_moment_is_one_segment(scenes) -> None:
    frames = [painted(scenes, t, *(HALVES if t in (6, 7, 8) else (WHOLE,))) for t in range(15)]
    out, events = track(frames)
    assert [[(s.track, s.area, s.box) for s in f.segments] for f in out] == [[(1, 800, (20, 20, 60, 40))]] * 15
    assert kinds(events, "born", "split", "lost") == [("born", 1, 0, None)]


def test_parts_that_stay_apart_become_tracks_and_say_of_whom(scenes) -> None:
    frames = [painted(scenes, t, *(HALVES if t >= 6 else (WHOLE,))) for t in range(40)]
    out, events = track(frames)
    (split,) = kinds(events, "split")
    # After 0.4 s of coming in parts.
    assert split == ("split", 2, 17, 1)
    assert [len(f.segments) for f in out] == [1] * 17 + [2] * 23
    assert {s.track for f in out for s in f.segments} == {1, 2}


def test_a_half_of_what_was_missing_a_frame_ago_is_a_part(scenes) -> None:
    """Where it was says nothing then: its looks, and that both halves together are no more than it was, say it."""
    parts = {8: (), 9: HALVES, 12: (), 13: HALVES, 14: HALVES}
    frames = [painted(scenes, t, *parts.get(t, (WHOLE,))) for t in range(20)]
    out, events = track(frames)
    assert [[(s.track, s.area) for s in f.segments] for f in out] == [
        [] if t in (8, 12) else [(1, 800)] for t in range(20)
    ]
    assert kinds(events, "born", "split", "merged") == [("born", 1, 0, None)]


def test_a_twin_that_comes_close_is_no_part(scenes) -> None:
    """It looks the same and touches, but the two are more than the one was."""
    frames = [painted(scenes, t, WHOLE, *(((1, 61, 20, 85, 40),) if t >= 6 else ())) for t in range(12)]
    out, events = track(frames)
    assert [sorted(s.track for s in f.segments) for f in out] == [[1]] * 6 + [[1, 2]] * 6
    assert kinds(events, "split") == []


def test_what_was_a_sliver_for_seconds_is_found_again_at_its_full_size(scenes) -> None:
    """Half a minute away, then elsewhere: only looks and size are left to go by."""
    whole, sliver = (1, 10, 10, 50, 40), (1, 46, 10, 50, 40)
    stranger = (2, 80, 44, 95, 58)
    blocks = [whole] * 12 + [sliver] * 40 + [None] * 40 + [(1, 30, 20, 70, 50)] * 5
    frames = [painted(scenes, t, stranger, *((block,) if block else ())) for t, block in enumerate(blocks)]
    out, events = track(frames)
    (thing,) = [s for s in out[11].segments if s.area == 1200]
    assert [s.track for s in out[-1].segments if s.area == 1200] == [thing.track]
    assert [e.track for e in events if e.kind == "re-identified"] == [thing.track]


def test_a_stranger_inside_is_no_part(scenes) -> None:
    stranger = (2, 30, 24, 50, 36)
    frames = [painted(scenes, t, WHOLE, *((stranger,) if t >= 6 else ())) for t in range(10)]
    out, _ = track(frames)
    assert [len(f.segments) for f in out] == [1] * 6 + [2] * 4


def test_two_that_become_one_segment_have_merged_and_split_again(scenes) -> None:
    left, right, both = (1, 10, 20, 44, 40), (2, 44, 20, 70, 40), (1, 10, 20, 70, 40)
    frames = [painted(scenes, t, *((both,) if 8 <= t < 14 else (left, right))) for t in range(20)]
    out, events = track(frames)
    assert kinds(events, "merged", "split") == [("merged", 2, 8, 1), ("split", 2, 14, 1)]
    assert [sorted(s.track for s in f.segments) for f in out] == [[1, 2]] * 8 + [[1]] * 6 + [[1, 2]] * 6


def test_sure_segments_choose_before_doubtful_ones(scenes) -> None:
    """A doubtful segment on the very place of a track leaves it to a sure one that is a little off."""
    frames = [painted(scenes, t, WHOLE) for t in range(5)]
    last = painted(scenes, 5, (1, 20, 20, 60, 29), (1, 20, 30, 60, 41))
    doubtful, sure = (replace(s, score=score) for s, score in zip(last.segments, (0.3, 0.9), strict=True))
    tracker = PanopticTracker(TrackerSettings(split_seconds=0.0), vocabulary=VOCABULARY)
    out, _ = track([*frames, last.with_segments([doubtful, sure])], tracker=tracker)
    assert [s.track for s in out[-1].segments] == [2, 1]


def test_a_young_track_turns_out_to_be_one_that_was_missing(scenes) -> None:
    """At first a sliver with the looks of what covers it; then itself."""

    def frame(t: int) -> PanopticFrame:
        if t < 10:
            return painted(scenes, t, WHOLE)
        if t < 30:
            return painted(scenes, t, (7, 80, 2, 95, 12))
        result = painted(scenes, t, (1, 10, 44, 40, 58), (7, 80, 2, 95, 12))
        if t == 30:
            strange = replace(result.segments[0], embedding=vector(99))
            return result.with_segments([strange, result.segments[1]])
        return result

    out, events = track([frame(t) for t in range(45)])
    (again,) = [e for e in events if e.kind == "re-identified"]
    assert (again.track, again.other) == (1, 3)
    assert 31 <= again.index <= 36
    assert [s.track for s in out[-1].segments] == [1, 2]
    assert ("ended", 3, again.index, 1) in kinds(events, "ended")


class Classifier:
    """Stands for a segmenter that can classify again: the first numbers of a vector are its probabilities."""

    def classify(self, open_vocabulary, vocabulary):
        return np.abs(open_vocabulary[:, : len(vocabulary)])


class NoClassifier:
    def classify(self, open_vocabulary, vocabulary):
        raise InputError("It cannot.")


NEW = Vocabulary.of([(("grass",), False), (("ground",), False), (("van",), True), (("truck",), True)])


def worded(frame: PanopticFrame) -> PanopticFrame:
    """Things say `truck` in the new vocabulary; sky would be grass."""
    words = {0: [0.9, 0.1, 0, 0], 1: [0.1, 0.9, 0, 0], 2: [0.5, 0, 0.1, 0.4]}
    return frame.with_segments(
        replace(s, open_vocabulary=np.array(words[s.category], dtype=np.float32)) for s in frame.segments
    )


def test_a_new_vocabulary_keeps_the_ids(scenes) -> None:
    world = scenes.World((scenes.Actor(((0, 30, 30),), look=1), scenes.Actor(((0, 90, 40),), look=2)))
    tracker = PanopticTracker(vocabulary=VOCABULARY)
    state = tracker.new_state("test")
    for t in range(6):
        (before,) = tracker.step(worded(world.frame(t)[0]), None, state).frames
    tracker, events = change_vocabulary(tracker, state, Classifier(), NEW)
    assert sorted((e.kind, e.track, e.reason) for e in events) == [
        ("class changed", 1, "truck in the new vocabulary, was car"),
        ("class changed", 2, "truck in the new vocabulary, was car"),
    ]
    place = {0: 0, 1: 1, 2: 3}
    frame = worded(world.frame(6)[0])
    frame = frame.with_segments(
        replace(s, category=place[s.category], probabilities=((place[s.category], 0.8),)) for s in frame.segments
    )
    (after,) = tracker.step(frame, None, state).frames
    assert {s.track: NEW[s.category].name for s in after.segments} == {
        s.track: {"sky": "grass", "ground": "ground", "car": "truck"}[VOCABULARY[s.category].name]
        for s in before.segments
    }


def test_who_cannot_classify_again_is_refused_and_nothing_happens(scenes) -> None:
    tracker = PanopticTracker(vocabulary=VOCABULARY)
    state = tracker.new_state("test")
    frame, _ = scenes.World((scenes.Actor(((0, 30, 30),), look=1),)).frame(0)
    tracker.step(frame, None, state)
    before = state.to_bytes()
    with pytest.raises(InputError, match="without open-vocabulary vectors"):
        change_vocabulary(tracker, state, Classifier(), NEW)
    assert state.to_bytes() == before
    state = tracker.new_state("test")
    tracker.step(worded(frame), None, state)
    before = state.to_bytes()
    with pytest.raises(InputError, match="cannot"):
        change_vocabulary(tracker, state, NoClassifier(), NEW)
    with pytest.raises(InputError, match="no things"):
        change_vocabulary(tracker, state, Classifier(), Vocabulary.of([(("ground",), False)]))
    assert state.to_bytes() == before


# Delayed and filled output


def test_what_never_was_confirmed_does_not_come_out(scenes) -> None:
    ghost = (9, 70, 4, 90, 16)
    frames = [painted(scenes, t, WHOLE, *((ghost,) if t in (7, 8) else ())) for t in range(30)]
    live, _ = track(frames)
    held, events = track(frames, tracker=DelayedTracker(PanopticTracker(vocabulary=VOCABULARY)))
    assert [len(f.segments) for f in live] == [1] * 7 + [2] * 2 + [1] * 21
    assert [f.index for f in held] == list(range(30))
    assert [[s.track for s in f.segments] for f in held] == [[1]] * 30
    assert not (held[7].id_map[4:16, 70:90] != 0).any()
    assert [(k, t) for k, t, _, _ in kinds(events, "retracted")] == [("retracted", 2)]


def test_a_delay_of_nothing_is_no_delay(scenes) -> None:
    frames = [frame for frame, _ in scenes.random_world(3).frames(25)]
    live, events = track(frames)
    none, same = track(frames, tracker=DelayedTracker(PanopticTracker(vocabulary=VOCABULARY), DelaySettings(frames=0)))
    assert [f.track_map().tobytes() for f in none] == [f.track_map().tobytes() for f in live]
    assert [e for e in same if e.kind != "retracted"] == events


@given(seed=st.integers(0, 1000), delay=st.integers(0, 20))
@settings(max_examples=6, deadline=None)
def test_a_delayed_state_saved_and_restored_goes_on_the_same(scenes, seed: int, delay: int) -> None:
    tracker = DelayedTracker(
        PanopticTracker(TrackerSettings(fill_seconds=0.4), vocabulary=VOCABULARY), DelaySettings(frames=delay)
    )
    whole, broken = tracker.new_state("test"), tracker.new_state("test")
    for frame, _ in scenes.random_world(seed).frames(30):
        expected = tracker.step(frame, None, whole)
        broken = DelayedState.from_bytes(broken.to_bytes())
        got = tracker.step(frame, None, broken)
        assert got.events == expected.events
        assert [f.track_map().tobytes() for f in got.frames] == [f.track_map().tobytes() for f in expected.frames]
        assert broken.to_bytes() == whole.to_bytes()
        assert len(whole.held) <= delay
    last, expected = tracker.finish(broken), tracker.finish(whole)
    assert last.events == expected.events
    assert len(last.frames) == len(expected.frames) == min(delay, 30)
    with pytest.raises(InputError, match="state"):
        DelayedState.from_bytes(b"nonsense" * 9)


def test_a_gap_is_filled_on_void_and_marked(scenes) -> None:
    tracker = PanopticTracker(TrackerSettings(fill_seconds=0.5), vocabulary=VOCABULARY)
    frames = [
        painted(scenes, t, *(() if t in (10, 11, 12) else ((1, 5 + 2 * t, 20, 35 + 2 * t, 40),))) for t in range(16)
    ]
    out, _ = track(frames, tracker=tracker)
    assert [[(s.track, s.propagated) for s in f.segments] for f in out] == [[(1, t in (10, 11, 12))] for t in range(16)]
    truth = np.zeros((60, 100), dtype=bool)
    truth[20:40, 27:57] = True
    drawn = out[11].id_map != 0
    assert (drawn & truth).sum() / (drawn | truth).sum() > 0.85
    # What covers it leaves nothing to draw on.
    covered = [painted(scenes, t, WHOLE if t < 8 else (2, 15, 15, 65, 45)) for t in range(12)]
    out, _ = track(covered, tracker=tracker)
    assert not any(s.propagated for f in out for s in f.segments)


def test_filled_in_for_nothing_is_taken_back_when_output_waits(scenes) -> None:
    inner = PanopticTracker(TrackerSettings(fill_seconds=0.5), vocabulary=VOCABULARY)
    frames = [painted(scenes, t, *((WHOLE,) if t < 10 else ())) for t in range(40)]
    out, _ = track(frames, tracker=DelayedTracker(inner))
    assert [len(f.segments) for f in out] == [1] * 10 + [0] * 30


# Refinement


def test_fragments_of_one_object_are_joined_and_those_side_by_side_never(scenes) -> None:
    def named(t: int) -> PanopticFrame:
        # The first object goes by 1, 4 and 6, the second by 2 throughout, and 5 is another that looks like the first.
        blocks = [(2, 60, 5, 80, 20)]
        names = [2]
        if t < 20 or 30 <= t < 45 or t >= 50:
            blocks.append((1, 10 + t // 2, 30, 30 + t // 2, 50))
            names.append(1 if t < 20 else 4 if t < 45 else 6)
        if t >= 30:
            blocks.append((3, 70, 40, 90, 55))
            names.append(5)
        frame = painted(scenes, t, *blocks)
        return frame.with_segments(replace(s, track=names[s.id - 1]) for s in frame.segments)

    fragments = fragments_of(named(t) for t in range(70))
    assert [f.track for f in fragments] == [1, 2, 4, 5, 6]
    assert refine(fragments) == {4: 1, 6: 1}
    assert refine(list(reversed(fragments)), solver="scipy") == {4: 1, 6: 1}
    assert refine([]) == {}


def test_refinement_leaves_what_has_no_looks(scenes) -> None:
    frames = [
        frame
        for frame, _ in scenes.World((scenes.Actor(((0, 40, 30),), hidden=((10, 130),)),), embeddings=False).frames(140)
    ]
    out, _ = track(frames)
    assert refine(fragments_of(out)) == {}
