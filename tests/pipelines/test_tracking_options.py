"""What a user can ask of the tracks of a run: delay, filled gaps, refinement, another vocabulary in the middle."""

import json
from fractions import Fraction
from pathlib import Path

import moving_shapes
import numpy as np
import pytest
from command_lines import Answer, run_many
from vipseg_folders import write_vipseg

from pipelines.jobs import CANNOT_CHANGE, segment_job, track_job
from pipelines.models import with_vocabulary
from pipelines.run import run_job
from pipelines.settings import Placement, Products, RunSettings
from pipelines.vocabulary_phases import PhasedState, plan_vocabulary
from tracking import PanopticTracker
from videoseg.errors import InputError
from videoseg.store.reader import Run, open_run
from videoseg.tracks import Track
from videoseg.video.writer import VideoWriter
from videoseg.vocabulary import Vocabulary

WORDS = ["--vocab", moving_shapes.THINGS, "--stuff", moving_shapes.STUFF, "--model", "colours", "--no-overlay"]
INLINE = Placement(executor="inline")
GAP = range(20, 23)
FLASH = 30


def recorded(folder: Path) -> Path:
    """A car that is missing in three frames, and a false one in a single frame, on void."""
    maps = np.zeros((48, 60, 100), dtype=np.int64)
    rows = []
    for t in range(48):
        if t not in GAP:
            maps[t, 20:36, 10 + t : 34 + t] = 1
        if t == FLASH:
            maps[t, 44:52, 4:14] = 2
        rows.append([(int(i), 0, 0) for i in np.unique(maps[t]) if i])
    return write_vipseg(folder, {"street": (maps, rows)}, [(7, "car", True)])


@pytest.fixture(scope="module")
def answers(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("options")
    (folder / "street").mkdir()
    street = recorded(folder / "street")
    lines: dict[str, list[str | Path]] = {
        "plain": ["track", street, "-o", folder / "plain", "--no-overlay"],
        "steady": ["track", street, "-o", folder / "steady", "--no-overlay", "--delay", "15", "--fill", "0.5",
                   "--refine"],
        "lion": ["segment", clip, *WORDS, "-o", folder / "lion", "--vocab-at", "24=red ball; yellow lion; blue box"],
        "sea": ["segment", clip, *WORDS, "-o", folder / "sea", "--stuff-at", "24=cyan sea; grey road",
                "--vocab-at", "30=red ball, red sphere; yellow duck; blue box", "--delay", "5"],
        "recorded": ["track", street, "-o", folder / "no", "--vocab-at", "24=bus"],
        "no frame": ["segment", clip, *WORDS, "-o", folder / "no", "--vocab-at", "soon=bus"],
        "frame 0": ["segment", clip, *WORDS, "-o", folder / "no", "--vocab-at", "0=bus"],
        "nothing": ["segment", clip, *WORDS, "-o", folder / "no", "--vocab-at", "24="],
        "twice": ["segment", clip, *WORDS, "-o", folder / "no", "--vocab-at", "24=bus", "--vocab-at", "24=dog"],
        "both": ["segment", clip, *WORDS, "-o", folder / "no", "--vocab-at", "24=grey road"],
        "delay": ["track", street, "-o", folder / "no", "--delay", "-1"],
        "fill": ["track", street, "-o", folder / "no", "--fill", "-1"],
    }  # fmt: skip
    said, loaded = run_many(list(lines.values()))
    assert loaded == []
    assert not (folder / "no").exists()
    return dict(zip(lines, said, strict=True)) | {"folder": Answer(0, str(folder), "")}


def run_of(answers: dict[str, Answer], name: str) -> Run:
    assert answers[name].code == 0, answers[name].err
    return open_run(Path(answers["folder"].out) / name)


def test_without_options_the_segments_stand_as_they_are(answers: dict[str, Answer]) -> None:
    run = run_of(answers, "plain")
    counts = [len(frame.segments) for frame in run.frames()]
    assert counts == [0 if t in GAP else 2 if t == FLASH else 1 for t in range(48)]
    assert not any(s.propagated for frame in run.frames() for s in frame.segments)
    assert "refine" not in run.manifest.settings


def test_delay_takes_back_what_was_false_and_filling_draws_what_was_missing(answers: dict[str, Answer]) -> None:
    run = run_of(answers, "steady")
    assert run.manifest.settings["output_delay"] == 15
    assert run.manifest.settings["fill_seconds"] == 0.5
    assert run.manifest.settings["refine"] is True
    found = [[(s.track, s.propagated) for s in frame.segments] for frame in run.frames()]
    assert found == [[(1, t in GAP)] for t in range(48)]
    for t, frame in enumerate(run.frames()):
        (car,) = frame.segments
        assert car.box[0] == pytest.approx(10 + t, abs=2)
    assert [e.kind for e in run.events() if e.kind == "retracted"] == ["retracted"]
    assert json.loads(run.manifest.tracker["delay"])["frames"] == 15


def test_another_vocabulary_in_the_middle_keeps_the_tracks(answers: dict[str, Answer]) -> None:
    run = run_of(answers, "lion")
    names = [category.name for category in run.vocabulary]
    assert names == ["red ball", "yellow duck", "blue box", "cyan sky", "grey road", "yellow lion"]
    assert run.manifest.settings["vocabulary_phases"] == [
        {"frame": 0, "categories": [0, 1, 2, 3, 4]},
        {"frame": 24, "categories": [0, 2, 3, 4, 5]},
    ]
    tracks = set()
    for frame in run.frames():
        now = {names[s.category]: s.track for s in frame.segments}
        yellow = "yellow duck" if frame.index < 24 else "yellow lion"
        assert set(now) == {"red ball", "blue box", "cyan sky", "grey road", yellow}
        tracks.add((now["red ball"], now["blue box"], now[yellow], now["cyan sky"], now["grey road"]))
        # What is not looked for any more has no share either.
        gone = 5 if frame.index < 24 else 1
        assert all(category != gone for s in frame.segments for category, _ in s.probabilities)
    assert len(tracks) == 1
    changed = [e for e in run.events() if e.kind == "class changed"]
    assert [(e.index, e.reason) for e in changed] == [(23, "yellow lion in the new vocabulary, was yellow duck")]


def test_stuff_changes_likewise_and_held_frames_keep_their_words(answers: dict[str, Answer]) -> None:
    run = run_of(answers, "sea")
    assert run.vocabulary[0].names == ("red ball", "red sphere")
    names = [category.name for category in run.vocabulary]
    for frame in run.frames():
        assert ("cyan sea" in {names[s.category] for s in frame.segments}) == (frame.index >= 24)
        assert ("cyan sky" in {names[s.category] for s in frame.segments}) == (frame.index < 24)
    assert len({s.track for frame in run.frames() for s in frame.segments}) == 5


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("recorded", CANNOT_CHANGE),
        ("no frame", "--vocab-at takes a frame and words"),
        ("frame 0", "at frame 1 and later"),
        ("nothing", "names nothing at frame 24"),
        ("twice", "given twice for frame 24"),
        ("both", "'grey road' is given twice, or as a thing and as stuff"),
        ("delay", "--delay takes a number of frames from 0 on"),
        ("fill", "--fill takes seconds from 0 on"),
    ],
)
def test_what_cannot_be_is_refused_in_words_before_work_begins(
    answers: dict[str, Answer], line: str, says: str
) -> None:
    assert answers[line].code == 2
    assert says in " ".join(answers[line].err.split())


def test_chunks_behind_the_change_begin_with_the_new_words(clip: Path, tmp_path: Path) -> None:
    plan = plan_vocabulary(moving_shapes.vocabulary(), {24: "red ball; yellow lion; blue box"})
    runs = []
    for name, sizes in (("whole", {}), ("pieces", {"frames_per_chunk": 16, "overlap": 6})):
        settings = RunSettings(vocabulary_phases=plan.phases, **sizes)
        assert RunSettings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
        job = segment_job(clip, plan.vocabulary, model="colours", settings=settings, placement=INLINE)
        runs.append(run_job(job, tmp_path / name, placement=INLINE, products=Products(overlay=False)))
    whole, pieces = runs
    assert len(pieces.chunks) == 3
    for a, b in zip(whole.frames(), pieces.frames(), strict=True):
        assert [s.category for s in a.segments] == [s.category for s in b.segments]
    assert len(whole.tracks()) == len(pieces.tracks()) == 5


def covered_ball(tmp_path: Path, *, seconds: float, refine: bool) -> Run:
    """A red ball is covered around the seam of two chunks, so that neither tracker knows of the other's.

    Args:
        seconds: from frame to frame; 34 of 100 are covered.
    """
    film = tmp_path / f"film-{seconds}.mp4"
    if not film.exists():
        with VideoWriter(film, 96, 54, rate=Fraction(30)) as out:
            for number in range(100):
                rgb = moving_shapes.picture(number, 96, 54)
                if 30 <= number < 64:
                    rgb[(rgb == (225, 35, 35)).all(axis=2)] = (10, 200, 200)
                out.write(rgb, time=number * seconds)
    settings = RunSettings(frames_per_chunk=50, overlap=8, refine=refine)
    job = segment_job(film, moving_shapes.vocabulary(), model="colours", settings=settings, placement=INLINE)
    folder = tmp_path / f"run {seconds} {refine}"
    return run_job(job, folder, placement=INLINE, products=Products(overlay=False))


def balls_of(run: Run) -> list[Track]:
    return [track for track in run.tracks() if run.vocabulary[track.category].name == "red ball"]


def test_what_was_out_of_sight_at_a_seam_keeps_its_id(tmp_path: Path) -> None:
    run = covered_ball(tmp_path, seconds=1 / 30, refine=False)
    (ball,) = balls_of(run)
    assert (ball.first_index, ball.last_index, ball.num_frames) == (0, 99, 66)
    told = [event for event in run.events() if "at the seam" in event.reason]
    assert [(e.kind, e.track, e.index) for e in told] == [("re-identified", ball.id, 64)]
    assert [e.kind for e in run.events() if e.track == ball.id].count("born") == 1


def test_refinement_joins_what_no_tracker_remembers(tmp_path: Path) -> None:
    """Gone for 170 seconds: longer than a tracker remembers, so the seam leaves it alone."""
    runs = {refine: covered_ball(tmp_path, seconds=5.0, refine=refine) for refine in (False, True)}
    assert len(balls_of(runs[False])) == 2
    (ball,) = balls_of(runs[True])
    assert (ball.first_index, ball.last_index, ball.num_frames) == (0, 99, 66)
    joined = [e for e in runs[True].events() if "whole video" in e.reason]
    assert [(e.kind, e.track, e.index) for e in joined] == [("re-identified", ball.id, 64)]
    shards = [
        {p.name: p.read_bytes() for p in sorted(Path(runs[refine].location).glob("chunks/*/*.parquet"))}
        for refine in (False, True)
    ]
    assert shards[0] == shards[1]


def test_a_plan_joins_vocabularies_by_name() -> None:
    first = Vocabulary.build(things="dog; cat", stuff="sky")
    plan = plan_vocabulary(first, {10: "dog, puppy; bus", 30: "cat"}, {20: "sea"})
    assert [c.names for c in plan.vocabulary] == [("dog", "puppy"), ("cat",), ("sky",), ("bus",), ("sea",)]
    assert [c.is_thing for c in plan.vocabulary] == [True, True, False, True, False]
    assert [c.colour for c in plan.vocabulary][:3] == [c.colour for c in first]
    assert [[c.name for c in plan.part(i)] for i in range(4)] == [
        ["dog", "cat", "sky"], ["dog", "sky", "bus"], ["dog", "bus", "sea"], ["cat", "sea"],
    ]  # fmt: skip
    assert [plan.at(index) for index in (0, 9, 10, 19, 20, 30, 999)] == [0, 0, 1, 1, 2, 3, 3]


def test_a_phased_state_comes_back_and_damage_is_refused() -> None:
    state = PhasedState(3, PanopticTracker().new_state("walk"))
    again = PhasedState.from_bytes(state.to_bytes())
    assert (again.phase, again.to_bytes()) == (3, state.to_bytes())
    for data in (b"", b"\x05\0\0\0hello", state.to_bytes()[:20]):
        with pytest.raises(InputError, match="start anew"):
            PhasedState.from_bytes(data)


def test_a_segmenter_with_categories_from_elsewhere_is_refused(tmp_path: Path) -> None:
    plan = plan_vocabulary(Vocabulary.build(things="car"), {5: "bus"})
    with pytest.raises(InputError, match="cannot be classified again"):
        track_job(recorded(tmp_path), settings=RunSettings(vocabulary_phases=plan.phases))
    segmenter = track_job(tmp_path, settings=RunSettings()).make_segmenter()
    with pytest.raises(InputError, match="'recorded' cannot change its vocabulary"):
        with_vocabulary(segmenter, plan.vocabulary)
