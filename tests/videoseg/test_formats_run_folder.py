"""Run folders as recorded segments: what a run holds comes out, whole or unfinished, one frame or many."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from videoseg.errors import InputError
from videoseg.formats import read_segments, recognise, run_folder
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import SourceInfo
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.reader import open_run
from videoseg.store.writer import RunWriter
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="person, man; dog", stuff="sky")


def frame(number: int, stream: str = "walk.mp4") -> PanopticFrame:
    id_map = np.full((4, 9), 2, dtype=np.uint16)
    id_map[1:3, number : number + 2] = 1
    segments = tuple(
        Segment(id=i, category=i - 1, is_thing=True, score=0.5, area=area, box=box, track=10 * i)
        for i, (area, box) in measure_segments(id_map).items()
    )
    time = number / 30
    return PanopticFrame(stream, 0, number, number, Fraction(1, 30), time, id_map, segments)


def write_run(folder: Path, plan: list[ChunkPlan], lost: tuple[int, ...] = (), stream: str = "walk.mp4") -> Path:
    """Chunk-local tracks are those of `frame`; the stitching keeps them and adds 100."""
    manifest = Manifest.of(
        model={},
        tracker={},
        vocabulary=VOCABULARY,
        source=SourceInfo(stream, "file", 9, 4, 7, Fraction(30), 7 / 30),
        chunk_plan=plan,
    )
    writer = RunWriter.create(folder, manifest)
    for each in plan:
        with writer.begin_chunk(each.number) as chunk:
            for number in range(each.start - each.overlap, 7 if each.stop is None else each.stop):
                if number not in lost:
                    chunk.append(frame(number, stream), number=number, overlap=number < each.start)
    writer.write_stitching({each.number: {10: 110, 20: 120} for each in plan})
    writer.finish({})
    return folder


TWO_CHUNKS = [ChunkPlan(number=0, start=0, stop=4), ChunkPlan(number=1, start=4, stop=7, overlap=2)]


@pytest.mark.parametrize("lost", [(), (1, 5)])
@pytest.mark.parametrize("plan", [TWO_CHUNKS, [ChunkPlan(number=0, start=0, stop=None)]])
def test_what_the_run_holds_comes_out(tmp_path: Path, plan: list[ChunkPlan], lost: tuple[int, ...]) -> None:
    folder = write_run(tmp_path / "run", plan, lost)
    assert recognise(folder) == recognise(folder / "manifest.json") == ["run_folder"]
    recorded = read_segments(folder)
    assert (recorded.format, recorded.videos, recorded.tracked) == ("run_folder", ("walk",), True)
    assert recorded.unlabelled == "void"
    assert recorded.vocabulary == VOCABULARY
    expected = list(open_run(folder).frames())
    assert [f.index for f in expected] == [n for n in range(7) if n not in lost]
    assert recorded.num_frames() == len(expected)
    for start in range(len(expected)):
        for stop in (start + 1, start + 3, None):
            found = list(recorded.frames("walk", start, stop))
            assert [f.index for f in found] == [f.index for f in expected[start:stop]]
            for ours, theirs in zip(found, expected[start:stop], strict=True):
                np.testing.assert_array_equal(ours.track_map(), theirs.track_map())
                assert [s.track for s in ours.segments] == [110, 120]
    assert [f.read().index for f in recorded.recorded["walk"]] == [f.index for f in expected]


def test_a_run_that_was_interrupted_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TWO_CHUNKS)
    (folder / "chunks/00001/chunk.json").unlink()
    assert [f.index for f in read_segments(folder).frames()] == [0, 1, 2, 3]


def test_written_and_read(tmp_path: Path) -> None:
    written = [frame(number, "walk.2") for number in range(5)]
    folder = run_folder.write(tmp_path / "run", VOCABULARY, {"walk.2": iter(written)})
    recorded = read_segments(folder)
    assert recorded.videos == ("walk.2",)
    for ours, theirs in zip(recorded.frames(), written, strict=True):
        np.testing.assert_array_equal(ours.id_map, theirs.id_map)
        for name in ("stream", "epoch", "index", "pts", "time_base", "time"):
            assert getattr(ours, name) == getattr(theirs, name), name
        for a, b in zip(ours.segments, theirs.segments, strict=True):
            for name in ("id", "category", "is_thing", "score", "area", "box", "track", "crowd"):
                assert getattr(a, name) == getattr(b, name), name


def test_an_export_of_a_run_is_that_run_under_its_global_tracks(tmp_path: Path) -> None:
    run = open_run(write_run(tmp_path / "run", TWO_CHUNKS))
    copy = read_segments(run_folder.export(run, tmp_path / "copy"))
    assert copy.videos == ("walk",)
    for ours, theirs in zip(copy.frames(), run.frames(), strict=True):
        np.testing.assert_array_equal(ours.track_map(), theirs.track_map())
        assert ours.time == theirs.time


def test_what_a_run_folder_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds one video, not 2"):
        run_folder.write(tmp_path / "a", VOCABULARY, {"x": [frame(0)], "y": [frame(0)]})
    with pytest.raises(InputError, match="has no frames"):
        run_folder.write(tmp_path / "b", VOCABULARY, {"x": []})
    crowded = frame(0).with_segments(replace(s, crowd=True) for s in frame(0).segments)
    with pytest.raises(InputError, match=r"cannot hold crowds, and walk\.mp4, frame 0 has one"):
        run_folder.write(tmp_path / "c", VOCABULARY, {"x": [crowded]})
    untracked = frame(0).with_segments(replace(s, track=None) for s in frame(0).segments)
    with pytest.raises(ValueError, match="track"):
        run_folder.write(tmp_path / "d", VOCABULARY, {"x": [untracked]})


def test_damage_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", TWO_CHUNKS)
    (folder / "chunks/00000/id_maps.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"chunks/00000/id_maps\.parquet is damaged"):
        list(read_segments(folder).frames())
    (folder / "manifest.json").write_text('{"format": "videoseg-run", "format_version": 1}')
    with pytest.raises(InputError, match=r"manifest\.json is damaged"):
        read_segments(folder)
    (folder / "manifest.json").write_text("{")
    assert recognise(folder) == []


def test_recognised_without_the_store(tmp_path: Path) -> None:
    """Sniffing a manifest of somebody else's, and a folder called like one, says no."""
    (tmp_path / "manifest.json").write_text('{"format": "something else"}')
    assert not run_folder.sniff(tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/manifest.json").mkdir()
    assert not run_folder.sniff(tmp_path / "other")
