"""The frozen benchmarks: they show what they promise, and they are what they were."""

import hashlib
import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from eval.synthetic_world import BENCHMARKS, PROMISES, THINGS, UNSEEN_STYLE, render_video
from eval.synthetic_world.standard import FRAMES, HEIGHT, WIDTH

GOLDEN = Path(__file__).parent.parent / "data" / "synthetic_world" / "standard-v1.npz"
SAMPLED = (*range(0, FRAMES, 4), FRAMES - 1)
FROZEN = (0, 24, FRAMES - 1)
NAMES = [video.name for video in BENCHMARKS["standard-v1"]]


@cache
def sampled(benchmark, number):
    video = BENCHMARKS[benchmark][number]
    return tuple(
        render_video(
            video.seed,
            level=video.level,
            frames=FRAMES,
            height=HEIGHT,
            width=WIDTH,
            split=video.split,
            styles=video.styles,
            only=SAMPLED,
        )
    )


def broken_promises(frames):
    """What the truth of some frames of a video contradicts."""
    broken = []
    pixels = frames[0].id_map.size
    tracks, events, appeared = set(), set(), set()
    for frame in frames:
        seen = [t for t in frame.things if t.visible >= 0.25 * t.whole]
        if not PROMISES.at_once <= len(seen) <= 10:
            broken.append(f"frame {frame.index}: {len(seen)} things at once")
        for thing in frame.things:
            tracks.add(thing.id)
            if not PROMISES.smallest <= thing.whole / pixels <= PROMISES.largest:
                broken.append(f"frame {frame.index}: a thing of {thing.whole / pixels:.2%}")
            if thing.outside < 0.5:
                appeared.add(thing.id)
            if thing.id in appeared and (thing.occluded or thing.out_of_view):
                events.add(thing.id)
        stuff = [s for s in frame.segments if not s.is_thing and s.area >= PROMISES.region * pixels]
        if len(stuff) < PROMISES.regions:
            broken.append(f"frame {frame.index}: {len(stuff)} regions")
    if len(events) < PROMISES.eventful * len(tracks):
        broken.append(f"{len(events)} of {len(tracks)} tracks are occluded or leave")
    return broken


@pytest.mark.parametrize("number", range(24), ids=NAMES)
def test_standard_keeps_its_promises(number):
    assert broken_promises(sampled("standard-v1", number)) == []


@pytest.mark.parametrize(("level", "seed"), [("easy", 91), ("medium", 17), ("hard", 5)])
def test_any_seed_keeps_the_promises(level, seed):
    assert broken_promises(tuple(render_video(seed, level=level, frames=48, height=256, width=456, only=SAMPLED))) == []


def test_the_table_of_standard():
    videos = BENCHMARKS["standard-v1"]
    assert [video.level for video in videos] == ["easy"] * 8 + ["medium"] * 8 + ["hard"] * 8
    for level in ("easy", "medium", "hard"):
        assert sum(v.level == level and v.style_row == "unseen style" for v in videos) == 3
    assert len({(v.level, v.seed) for v in videos}) == 24
    assert {video.split for video in videos} == {"test"}
    development = BENCHMARKS["standard-v1-dev"]
    assert {video.split for video in development} == {"dev"}
    assert {video.style_row for video in development} == {"seen style"}
    assert [video.name for video in development] == [video.name for video in videos]


def test_styles_cuts_twins_and_concepts_of_standard():
    cuts = twins = 0
    shown = set()
    for number, video in enumerate(BENCHMARKS["standard-v1"]):
        frames = sampled("standard-v1", number)
        styles = {thing.style for frame in frames for thing in frame.things}
        assert styles == {UNSEEN_STYLE} if video.style_row == "unseen style" else UNSEEN_STYLE not in styles
        shown |= {thing.category for frame in frames for thing in frame.things}
        twins += any(s.indistinguishable for frame in frames for s in frame.segments)
        cuts += len({frame.things[0].id for frame in frames}) > 1
    assert cuts == 8
    assert twins >= 5
    # Nearly every concept is measured, and of the novel ones enough to speak of their mean.
    assert len(shown) >= 0.9 * len(THINGS)
    assert sum(THINGS[i].novel for i in shown) >= 20


def summary(frames):
    """Ids on every eighth pixel, uint8 `[3, 32, 57]`, and mean colours of 32-pixel blocks, float32 `[3, 8, 14, 3]`."""
    chosen = [frame for frame in frames if frame.index in FROZEN]
    ids = np.stack([frame.id_map[4::8, 4::8] for frame in chosen]).astype(np.uint8)
    blocks = np.stack([frame.rgb[:, : WIDTH // 32 * 32] for frame in chosen]).astype(np.float32)
    return ids, blocks.reshape(len(chosen), HEIGHT // 32, 32, WIDTH // 32, 32, 3).mean(axis=(2, 4))


def cast(frames):
    """Every track's category, icon, style and look, as text."""
    tracks = {t.id: (THINGS[t.category].names[0], t.icon, t.style, t.look) for frame in frames for t in frame.things}
    return json.dumps(sorted(tracks.items()))


def test_standard_is_what_it_was():
    """Who appears must be exactly the same; pixels may differ by what another libm rounds otherwise."""
    with np.load(GOLDEN) as golden:
        casts = "".join(cast(sampled("standard-v1", number)) for number in range(24))
        assert hashlib.sha256(casts.encode()).hexdigest() == str(golden["cast"])
        for number in range(24):
            ids, colours = summary(sampled("standard-v1", number))
            assert (ids != golden["ids"][number]).mean() < 0.002, NAMES[number]
            assert np.abs(colours - golden["colours"][number]).max() < 2.0, NAMES[number]


def freeze():
    """Writes the golden file: only for a new benchmark."""
    frames = [sampled("standard-v1", number) for number in range(24)]
    ids, colours = zip(*(summary(entry) for entry in frames), strict=True)
    GOLDEN.parent.mkdir(exist_ok=True)
    digest = hashlib.sha256("".join(cast(entry) for entry in frames).encode()).hexdigest()
    np.savez_compressed(GOLDEN, ids=np.stack(ids), colours=np.stack(colours).round().astype(np.uint8), cast=digest)


if __name__ == "__main__":
    freeze()
