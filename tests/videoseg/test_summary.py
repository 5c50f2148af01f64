"""What a person reads after a run, and the same as data."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from videoseg.panoptic import PanopticFrame, Segment
from videoseg.protocols import Loss, SourceInfo
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.reader import open_run
from videoseg.store.writer import RunWriter
from videoseg.summary import RunSummary, clock
from videoseg.tracks import Track
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="person; dog", stuff="sky")


def track(number: int, category: int, first: int, last: int) -> Track:
    return Track(
        id=number,
        category=category,
        is_thing=category != 2,
        first_index=first,
        last_index=last,
        first_time=first / 10,
        last_time=last / 10,
        num_frames=last - first + 1,
        mean_area=10.0,
        mean_score=0.5,
    )


TRACKS = [track(1, 2, 0, 99), track(2, 0, 0, 50), track(3, 0, 10, 90), track(4, 1, 0, 99), track(12, 0, 5, 5)]


def summary(**changes: object) -> RunSummary:
    values: dict[str, object] = {
        "location": "out/",
        "stream": "walk.mp4",
        "complete": True,
        "frames": 100,
        "seconds": 40.0,
        "stages": {"decode": 1.0, "segment": 36.0, "track": 3.0},
    }
    return RunSummary.of(TRACKS, VOCABULARY, **(values | changes))  # type: ignore[arg-type]


class TestText:
    def test_a_whole_run(self) -> None:
        assert summary().to_text().splitlines() == [
            "100 frames of walk.mp4: 5 tracks in 0:40.0 (2.5 frames/s)",
            "Things:  person × 3, dog × 1",
            "Stuff:   sky",
            "Longest tracks:",
            "   4  dog     0:00.0 – 0:09.9  in 100 frames",
            "   3  person  0:01.0 – 0:09.0  in 81 frames",
            "   2  person  0:00.0 – 0:05.0  in 51 frames",
            "  12  person  0:00.5 – 0:00.5  in 1 frame",
            "Time:    decode 1.0 s (2%), segment 36.0 s (90%), track 3.0 s (8%)",
        ]

    def test_what_was_lost(self) -> None:
        lost = [Loss(40, "the packet is damaged", 2), Loss(90, "the file ends early", 9)]
        lines = summary(lost=lost).to_text().splitlines()
        assert lines[-3:] == [
            "Lost:    11 frames in 2 places:",
            "  at frame 40: the packet is damaged",
            "  at frame 90: the file ends early",
        ]
        unknown = summary(lost=[*lost, Loss(91, "nobody knows")]).to_text()
        assert "Lost:    frames in 3 places:" in unknown
        assert "and 2 more, in run.json" in summary(lost=[Loss(i, "x", 1) for i in range(7)]).to_text()

    def test_an_interrupted_run(self) -> None:
        lines = summary(complete=False, seconds=None, stages={}).to_text().splitlines()
        assert lines[:2] == [
            "100 frames of walk.mp4: 5 tracks",
            "The run was ended before its end; what was finished is kept and can be read.",
        ]

    def test_nothing_found(self) -> None:
        nothing = RunSummary.of([], VOCABULARY, location="out", stream="x.mp4", complete=True, frames=1, seconds=0.5)
        assert nothing.to_text() == "1 frame of x.mp4: 0 tracks in 0:00.5 (2.0 frames/s)"
        assert nothing.duration == 0

    def test_only_stuff(self) -> None:
        only = RunSummary.of(TRACKS[:1], VOCABULARY, location="out", stream="x", complete=True, frames=100)
        assert [found.name for found in only.longest] == ["sky"]

    def test_many_categories(self) -> None:
        vocabulary = Vocabulary.build(things="; ".join(f"kind {i}" for i in range(20)))
        tracks = [track(i + 1, i, 0, 5) for i in range(20) if i != 2]
        text = RunSummary.of(tracks, vocabulary, location="o", stream="x", complete=True, frames=6).to_text()
        assert "kind 0 × 1, kind 1 × 1, kind 10 × 1" in text
        assert "and 7 more" in text

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0:00.0"), (62.54, "1:02.5"), (59.96, "1:00.0"), (3600, "1:00:00.0"), (-1.5, "-0:01.5")],
    )
    def test_the_clock(self, seconds: float, text: str) -> None:
        assert clock(seconds) == text


class TestData:
    def test_json(self) -> None:
        data = json.loads(json.dumps(summary(lost=[Loss(40, "damaged", None)]).to_json()))
        assert data["frames_per_second"] == 2.5
        assert data["duration"] == 9.9
        assert data["categories"][0] == {"name": "person", "is_thing": True, "tracks": 3, "frames": 133}
        assert data["longest"][0] == {
            "track": 4,
            "name": "dog",
            "is_thing": True,
            "first_time": 0.0,
            "last_time": 9.9,
            "frames": 100,
        }
        assert data["stages"] == {"decode": 1.0, "segment": 36.0, "track": 3.0}
        assert data["lost"] == [{"index": 40, "reason": "damaged", "frames": None}]
        assert (data["tracks"], data["complete"], data["stream"]) == (5, True, "walk.mp4")

    @pytest.mark.parametrize("finished", [True, False])
    def test_of_a_run_folder(self, tmp_path: Path, finished: bool) -> None:
        manifest = Manifest.of(
            model={},
            tracker={},
            vocabulary=VOCABULARY,
            source=SourceInfo("walk.mp4", "file", 2, 2, 4, Fraction(10), 0.4),
            chunk_plan=[ChunkPlan(number=0, start=0, stop=4)],
        )
        writer = RunWriter.create(tmp_path / "run", manifest)
        id_map = np.array([[1, 1], [2, 2]], dtype=np.uint16)
        segments = tuple(
            Segment(id=i, category=c, is_thing=c != 2, score=0.5, area=2, box=(0, i - 1, 2, i), track=i)
            for i, c in ((1, 0), (2, 2))
        )
        with writer.begin_chunk(0) as chunk:
            for i in range(4):
                chunk.append(
                    PanopticFrame("walk.mp4", 0, i, i, Fraction(1, 10), i / 10, id_map, segments),
                    number=i,
                    overlap=False,
                )
        losses = [{"index": 2, "reason": "damaged", "frames": 1}]
        if finished:
            writer.finish({"seconds": 2.0, "stages": {"segment": 1.5}, "losses": losses})
        found = RunSummary.of_run(open_run(tmp_path / "run"))
        assert (found.frames, found.tracks, found.complete) == (4, 2, finished)
        assert [(c.name, c.tracks, c.frames) for c in found.categories] == [("person", 1, 4), ("sky", 1, 4)]
        assert found.frames_per_second == (2.0 if finished else None)
        assert len(found.lost) == (1 if finished else 0)
