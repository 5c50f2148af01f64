"""What is read from a run folder is what was written, finished or not, and its bytes depend on nothing else."""

import hashlib
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from random import Random
from uuid import uuid4

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from videoseg.errors import InputError, VideosegError
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import SourceInfo
from videoseg.store.aggregation import GALLERY_SIZE, Gallery, unstitched
from videoseg.store.id_maps import decode_id_map, encode_id_map
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.reader import open_run
from videoseg.store.writer import RunWriter
from videoseg.tracks import TrackEvent
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="person; dog, puppy", stuff="sky")
PLAN = [ChunkPlan(number=0, start=0, stop=6), ChunkPlan(number=1, start=6, stop=10, overlap=2)]


def source(stream: str = "walk.mp4") -> SourceInfo:
    return SourceInfo(
        stream, "file", 8, 6, 10, Fraction(30000, 1001), 0.33367, codec="h264", oddities=("an edit list",)
    )


def manifest(plan: list[ChunkPlan] = PLAN, **changes: bool) -> Manifest:
    return Manifest.of(
        model={"name": "colours", "sha256": "0" * 64},
        tracker={"name": "hungarian"},
        vocabulary=VOCABULARY,
        source=source(),
        chunk_plan=plan,
        settings={"every": 1, "start": None},
        profile={"batch": 8, "dtype": "float32"},
        **changes,
    )


def frame(index: int, *, first_track: int = 1, embeddings: bool = True) -> PanopticFrame:
    """A person (left, growing) and sky; every third frame a dog in the corner; the last row is void."""
    id_map = np.zeros((6, 8), dtype=np.uint16)
    id_map[:5] = 3
    id_map[1:5, : 2 + index % 3] = 1
    if index % 3 == 0:
        id_map[4, 7] = 7
    categories = {1: 0, 3: 2, 7: 1}
    tracks = {1: first_track, 3: first_track + 1, 7: first_track + 2}
    segments = []
    for i, (area, box) in measure_segments(id_map).items():
        vector = np.zeros(4, dtype=np.float32)
        vector[[1, 3, 7].index(i)] = 1
        segments.append(
            Segment(
                id=i,
                category=categories[i],
                is_thing=i != 3,
                score=0.5 + index % 16 / 32,
                area=area,
                box=box,
                embedding=vector if embeddings else None,
                open_vocabulary=-2 * vector,
                probabilities=((categories[i], 0.75), ((categories[i] + 1) % 3, 0.25)),
                track=tracks[i],
            )
        )
    return PanopticFrame(
        "walk.mp4", 0, index * 2, index * 1001, Fraction(1, 30000), index * 1001 / 30000, id_map, tuple(segments)
    )


def write_chunk(
    writer: RunWriter, number: int, *, first_track: int = 1, events: list[TrackEvent] | None = None
) -> None:
    plan = writer.manifest.chunk_plan[number]
    assert plan.stop is not None
    with writer.begin_chunk(number) as chunk:
        for i in range(plan.start - plan.overlap, plan.stop):
            chunk.append(frame(i, first_track=first_track), number=i, overlap=i < plan.start)
        chunk.add_events(events or [])


def assert_same(read: PanopticFrame, written: PanopticFrame, *, open_vocabulary: bool = False) -> None:
    np.testing.assert_array_equal(read.id_map, written.id_map)
    for name in ("stream", "epoch", "index", "pts", "time_base", "time"):
        assert getattr(read, name) == getattr(written, name), name
    assert len(read.segments) == len(written.segments)
    for ours, theirs in zip(read.segments, written.segments, strict=True):
        for name in ("id", "category", "is_thing", "area", "box", "track", "propagated"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert ours.score == np.float32(theirs.score)
        assert ours.probabilities == tuple((c, float(np.float32(p))) for c, p in theirs.probabilities[:5])
        if theirs.embedding is None:
            assert ours.embedding is None
        else:
            assert ours.embedding is not None
            assert ours.embedding.dtype == np.float32
            np.testing.assert_array_equal(ours.embedding, theirs.embedding.astype(np.float16))
        assert (ours.open_vocabulary is not None) == (open_vocabulary and theirs.open_vocabulary is not None)


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    writer = RunWriter.create(tmp_path / "run", manifest())
    events = [TrackEvent("born", 1, 0, "new object"), TrackEvent("confirmed", 1, 4, "seen 3 times")]
    write_chunk(writer, 0, events=[*events, TrackEvent("ended", 1, 10, "end of chunk")])
    events = [
        TrackEvent("born", 11, 8, "new object"),  # in the overlap: chunk 0 knows better
        TrackEvent("confirmed", 11, 12, "seen 3 times"),
        TrackEvent("merged", 13, 14, "same mask", other=11),
        TrackEvent("ended", 11, 18, "end of video"),
    ]
    write_chunk(writer, 1, first_track=11, events=events)
    writer.write_stitching({0: {1: 1, 2: 2, 3: 3}, 1: {11: 1, 12: 2, 13: 9}})
    writer.finish({"seconds": 2.5, "host": "here"})
    return tmp_path / "run"


class TestIdMaps:
    @given(
        hnp.arrays(
            np.uint16,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
            elements=st.sampled_from([0, 1, 2, 3, 255, 256, 65535]),
        )
    )
    def test_any_map_comes_back(self, id_map: np.ndarray) -> None:
        height, width = id_map.shape
        decoded = decode_id_map(encode_id_map(id_map), height, width)
        assert decoded.dtype == np.uint16
        np.testing.assert_array_equal(decoded, id_map)

    def test_maps_of_any_memory_layout(self) -> None:
        id_map = np.arange(24, dtype=np.uint16).reshape(4, 6)
        np.testing.assert_array_equal(decode_id_map(encode_id_map(id_map.T), 6, 4), id_map.T)
        np.testing.assert_array_equal(decode_id_map(encode_id_map(id_map[::-1, ::2]), 4, 3), id_map[::-1, ::2])

    def test_long_runs_need_four_bytes(self) -> None:
        id_map = np.full((2, 2**17), 5, dtype=np.uint16)
        blob = encode_id_map(id_map)
        assert len(blob) < 20
        np.testing.assert_array_equal(decode_id_map(blob, 2, 2**17), id_map)

    def test_the_documented_encoding(self) -> None:
        import zlib

        blob = encode_id_map(np.array([[258, 258, 0], [0, 0, 1]], dtype=np.uint16))
        # Runs 258 × 2, 0 × 3, 1 × 1: low value bytes, high value bytes, then four planes of lengths.
        assert zlib.decompress(blob) == bytes([2, 0, 1, 1, 0, 0, 2, 3, 1, *[0] * 9])

    @pytest.mark.parametrize(
        ("blob", "height", "width"),
        [
            (b"", 1, 1),
            (b"nonsense", 2, 2),
            (encode_id_map(np.zeros((2, 2), np.uint16))[:-4], 2, 2),
            (encode_id_map(np.zeros((2, 2), np.uint16)), 2, 3),
            (encode_id_map(np.arange(400, dtype=np.uint16).reshape(20, 20)), 2, 2),
        ],
    )
    def test_damage_is_noticed(self, blob: bytes, height: int, width: int) -> None:
        with pytest.raises(ValueError, match="id map"):
            decode_id_map(blob, height, width)


class TestManifest:
    def test_it_comes_back(self) -> None:
        written = manifest()
        read = Manifest.from_json_text(written.to_json_text(), "manifest.json")
        assert read == written
        assert read.source_info == source()
        assert read.to_json_text() == written.to_json_text()

    def test_names_that_are_not_utf8(self) -> None:
        stream = os.fsdecode(b"caf\xe9.mp4")
        written = Manifest.of(model={}, tracker={}, vocabulary=VOCABULARY, source=source(stream), chunk_plan=[])
        text = written.to_json_text()
        assert text.isascii()
        assert Manifest.from_json_text(text, "manifest.json").stream == stream

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("{", "not JSON"),
            ("[]", "not the manifest of a videoseg run"),
            ('{"format": "other"}', "not the manifest of a videoseg run"),
            ('{"format": "videoseg-run", "format_version": 99}', "Update videoseg"),
            ('{"format": "videoseg-run", "format_version": 1, "tracker": {}}', "damaged: model: Field required"),
        ],
    )
    def test_what_is_none_is_named(self, text: str, says: str) -> None:
        with pytest.raises(InputError, match=says):
            Manifest.from_json_text(text, "out/manifest.json")

    @pytest.mark.parametrize(
        "plan",
        [
            [ChunkPlan(number=1, start=0, stop=5)],
            [ChunkPlan(number=0, start=0, stop=5), ChunkPlan(number=1, start=6, stop=9)],
            [ChunkPlan(number=0, start=0, stop=None), ChunkPlan(number=1, start=6, stop=9)],
        ],
    )
    def test_chunks_follow_each_other(self, plan: list[ChunkPlan]) -> None:
        with pytest.raises(ValueError, match="chunk"):
            manifest(plan)


class TestRoundTrip:
    def test_frames_come_back_with_global_tracks(self, run_folder: Path) -> None:
        run = open_run(run_folder)
        read = list(run.frames())
        assert run.num_frames == len(read) == 10
        for i in range(6):
            assert_same(read[i], frame(i))
        table = {11: 1, 12: 2, 13: 9}
        for i in range(6, 10):
            expected = frame(i, first_track=11)
            assert [s.track for s in read[i].segments] == [table[s.track] for s in expected.segments if s.track]
            np.testing.assert_array_equal(read[i].id_map, expected.id_map)

    def test_a_chunk_has_its_own_tracks_and_its_overlap(self, run_folder: Path) -> None:
        chunk = open_run(run_folder).chunk(1)
        assert [f.index for f in chunk.frames()] == [12, 14, 16, 18]
        with_overlap = list(chunk.frames(overlap=True))
        assert [f.index for f in with_overlap] == [8, 10, 12, 14, 16, 18]
        for i, read in enumerate(with_overlap):
            assert_same(read, frame(i + 4, first_track=11))
        assert [number for number, _ in chunk.overlap_frames()] == [4, 5]
        assert chunk.local_tracks == (11, 12, 13)
        assert (chunk.num_frames, chunk.num_overlap, chunk.first_index) == (4, 2, 12)

    @pytest.mark.parametrize(("start", "stop"), [(0, 3), (5, 7), (6, 6), (7, None), (3, 99), (20, None)])
    def test_ranges(self, run_folder: Path, start: int, stop: int | None) -> None:
        run = open_run(run_folder)
        assert [f.index // 2 for f in run.frames(start, stop)] == list(range(10))[start:stop]

    def test_tracks(self, run_folder: Path) -> None:
        tracks = {track.id: track for track in open_run(run_folder).tracks()}
        assert sorted(tracks) == [1, 2, 3, 9]
        person = tracks[1]
        assert (person.category, person.is_thing, person.num_frames) == (0, True, 10)
        assert (person.first_index, person.last_index) == (0, 18)
        assert person.last_time == 9 * 1001 / 30000
        assert person.mean_area == np.mean([4 * (2 + i % 3) for i in range(10)])
        assert person.mean_score == np.mean([0.5 + i / 32 for i in range(10)])
        np.testing.assert_array_equal(person.gallery, np.array([[1, 0, 0, 0]], dtype=np.float16))
        # The dog of chunk 1: in frames 6 and 9, not in the warm-up.
        assert (tracks[9].num_frames, tracks[9].first_index, tracks[9].mean_area) == (2, 12, 1.0)

    def test_events(self, run_folder: Path) -> None:
        assert open_run(run_folder).events() == [
            TrackEvent("born", 1, 0, "new object"),
            TrackEvent("confirmed", 1, 4, "seen 3 times"),
            TrackEvent("merged", 9, 14, "same mask", other=1),
            TrackEvent("ended", 1, 18, "end of video"),
        ]

    def test_the_report(self, run_folder: Path) -> None:
        run = open_run(run_folder)
        assert run.complete
        assert run.report == {"seconds": 2.5, "host": "here", "complete": True}
        assert run.vocabulary == VOCABULARY
        assert run.manifest == manifest()

    @pytest.mark.parametrize("embeddings", [False, True])
    @pytest.mark.parametrize("open_vocabulary", [False, True])
    def test_what_the_manifest_keeps(self, tmp_path: Path, embeddings: bool, open_vocabulary: bool) -> None:
        kept = manifest(embeddings=embeddings, open_vocabulary=open_vocabulary)
        writer = RunWriter.create(tmp_path / "run", kept)
        write_chunk(writer, 0)
        for i, read in enumerate(open_run(tmp_path / "run").frames()):
            assert_same(read, frame(i, embeddings=embeddings), open_vocabulary=open_vocabulary)
        # The gallery of a track doesn't need embeddings in the shards.
        assert open_run(tmp_path / "run").tracks()[0].gallery.shape == (1, 4)

    @settings(max_examples=30, deadline=None)
    @given(
        st.lists(
            hnp.arrays(
                np.uint16,
                hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
                elements=st.sampled_from([0, 0, 1, 2, 65535]),
            ),
            max_size=6,
        ),
        st.integers(0, 2**32 - 1),
        st.integers(0, 4),
    )
    def test_any_frames(self, id_maps: list[np.ndarray], seed: int, dimensions: int) -> None:
        random = Random(seed)
        plan = [ChunkPlan(number=0, start=0, stop=None)]
        location = f"memory://{uuid4()}"
        writer = RunWriter.create(location, manifest(plan))
        written = []
        with writer.begin_chunk(0) as chunk:
            for i, id_map in enumerate(id_maps):
                segments = []
                for number, (area, box) in measure_segments(id_map).items():
                    vector = np.array([random.gauss(0, 1) for _ in range(dimensions)], dtype=np.float32)
                    segments.append(
                        Segment(
                            id=number,
                            category=random.randrange(3),
                            is_thing=random.random() < 0.5,
                            score=random.random(),
                            area=area,
                            box=box,
                            embedding=vector if dimensions and random.random() < 0.7 else None,
                            probabilities=tuple((c, random.random()) for c in range(random.randrange(8))),
                            track=random.randrange(1, 2**40),
                            propagated=random.random() < 0.3,
                        )
                    )
                made = PanopticFrame(
                    "walk.mp4", i // 3, i, -5 + i * 7, Fraction(1, 90000), random.gauss(0, 9), id_map, tuple(segments)
                )
                written.append(made)
                chunk.append(made, number=i * 2, overlap=False)
        chunk_of_run = open_run(location).chunk(0)
        read = list(chunk_of_run.frames())
        assert len(read) == len(written)
        for ours, theirs in zip(read, written, strict=True):
            assert_same(ours, theirs)
        fsspec.filesystem("memory").rm(location, recursive=True)

    def test_a_run_from_before_segments_could_be_propagated(self, run_folder: Path) -> None:
        for shard in sorted(run_folder.glob("chunks/*/segments.parquet")):
            table = pq.read_table(shard)
            assert table["propagated"].to_pylist() == [False] * len(table)
            pq.write_table(table.drop_columns(["propagated"]), shard)
        for i, read in enumerate(open_run(run_folder).frames(0, 6)):
            assert_same(read, frame(i))

    def test_events_from_outside_the_chunks_come_in_between(self, run_folder: Path) -> None:
        further = TrackEvent("re-identified", 9, 14, "joined with an earlier track")
        run = RunWriter.open(run_folder).finish({}, further_events=[further])
        assert [(e.kind, e.track, e.index) for e in run.events()] == [
            ("born", 1, 0),
            ("confirmed", 1, 4),
            ("merged", 9, 14),
            ("re-identified", 9, 14),
            ("ended", 1, 18),
        ]

    def test_many_row_groups_and_a_frame_in_the_middle(self, tmp_path: Path) -> None:
        plan = [ChunkPlan(number=0, start=0, stop=300)]
        writer = RunWriter.create(tmp_path / "run", manifest(plan))
        void = np.zeros((6, 8), dtype=np.uint16)
        with writer.begin_chunk(0) as chunk:
            for i in range(300):
                # From 100 to 250 nothing is found: the segment shard has fewer row groups than that of the maps.
                made = (
                    frame(i)
                    if not 100 <= i < 250
                    else PanopticFrame("walk.mp4", 0, i * 2, i, Fraction(1, 30), i / 30, void)
                )
                chunk.append(made, number=i, overlap=False)
        shard = pq.ParquetFile(tmp_path / "run/chunks/00000/id_maps.parquet")
        assert shard.num_row_groups == 5
        run = open_run(tmp_path / "run")
        assert [len(f.segments) for f in run.frames(98, 102)] == [2, 3, 0, 0]
        assert [len(f.segments) for f in run.frames(248, 253)] == [0, 0, 2, 2, 3]
        assert [f.index for f in run.frames(150, 152)] == [300, 302]
        assert len(list(run.frames())) == 300

    def test_lost_frames_leave_gaps(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest())
        with writer.begin_chunk(0) as chunk:
            for i in (0, 1, 4):
                chunk.append(frame(i), number=i, overlap=False)
        with writer.begin_chunk(1):
            pass
        run = writer.finish({})
        assert run.complete
        assert [number for number, _ in run.numbered_frames()] == [0, 1, 4]
        assert run.chunk(1).first_index is None
        assert list(run.frames(2, 4)) == []


class TestMemory:
    def test_it_does_not_grow_with_the_length(self, tmp_path: Path) -> None:
        """Peaks of Python's and Arrow's own memory, writing and reading 150 and 600 frames of noise (1 kB each)."""
        peaks = []
        for frames in (150, 600):
            location = tmp_path / str(frames)
            noise = np.random.default_rng(0)
            writer = RunWriter.create(location, manifest([ChunkPlan(number=0, start=0, stop=frames)]))
            pa.default_memory_pool().release_unused()
            tracemalloc.start()
            arrow = 0
            with writer.begin_chunk(0) as chunk:
                for i in range(frames):
                    id_map = noise.integers(0, 2, (60, 80)).astype(np.uint16)
                    segment = replace(frame(0).segments[0], area=int(id_map.sum()))
                    made = replace(frame(i), id_map=id_map, segments=(segment,))
                    chunk.append(made, number=i, overlap=False)
                    arrow = max(arrow, pa.total_allocated_bytes())
            for _ in writer.finish({}).frames():
                arrow = max(arrow, pa.total_allocated_bytes())
            peaks.append(tracemalloc.get_traced_memory()[1] + arrow)
            tracemalloc.stop()
        assert sum(p.stat().st_size for p in (tmp_path / "600").rglob("*.parquet")) > 500_000
        assert peaks[1] < 1.25 * peaks[0]


class TestDeterminism:
    def test_the_same_run_is_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("first", "second"):
            writer = RunWriter.create(tmp_path / name, manifest())
            # The order in which chunks are computed is the executor's; so is who opens the folder.
            order = (0, 1) if name == "first" else (1, 0)
            for number in order:
                write_chunk(RunWriter.open(tmp_path / name), number, first_track=1 + 10 * number)
            writer.write_stitching({0: {1: 1, 2: 2, 3: 3}, 1: {11: 1, 12: 2, 13: 3}})
            writer.finish({"started": name})
        first, second = files(tmp_path / "first"), files(tmp_path / "second")
        assert first.pop("run.json") != second.pop("run.json")
        assert first == second
        assert sorted(first) == [
            *(
                f"chunks/0000{i}/{name}"
                for i in (0, 1)
                for name in ("chunk.json", "events.parquet", "id_maps.parquet", "segments.parquet", "tracks.parquet")
            ),
            "events.parquet",
            "manifest.json",
            "stitching.parquet",
            "tracks.parquet",
        ]

    def test_the_marker_has_the_checksums(self, run_folder: Path) -> None:
        marker = json.loads((run_folder / "chunks/00001/chunk.json").read_text())
        on_disk = files(run_folder / "chunks/00001")
        on_disk.pop("chunk.json")
        assert marker["sha256"] == on_disk
        assert (marker["frames"], marker["overlap"], marker["first_number"], marker["last_number"]) == (6, 2, 6, 9)

    def test_other_programs_read_the_tables(self, run_folder: Path) -> None:
        rows = pq.read_table(run_folder / "tracks.parquet").to_pylist()
        assert [(row["track"], row["name"]) for row in rows] == [(1, "person"), (2, "sky"), (3, "dog"), (9, "dog")]
        assert len(rows[0]["gallery"]) == 1
        shard = pq.ParquetFile(run_folder / "chunks/00000/id_maps.parquet")
        assert shard.schema_arrow.metadata[b"id_map"] == b"runs-planes-deflate"


class TestInterruption:
    def test_before_anything(self, tmp_path: Path) -> None:
        RunWriter.create(tmp_path / "run", manifest())
        run = open_run(tmp_path / "run")
        assert not run.complete
        assert (list(run.frames()), run.tracks(), run.events(), run.num_frames) == ([], [], [], 0)

    def test_in_the_middle_of_a_chunk(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest())
        write_chunk(writer, 0, events=[TrackEvent("born", 3, 0, "new object")])

        def interrupted() -> Iterator[None]:
            with writer.begin_chunk(1) as chunk:
                for i in range(4, 8):
                    chunk.append(frame(i), number=i, overlap=i < 6)
                    yield
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(interrupted())
        assert writer.committed() == {0}
        run = open_run(tmp_path / "run")
        assert not run.complete
        assert len(list(run.frames())) == 6
        assert [t.id for t in run.tracks()] == [1, 2, 3]
        assert [e.track for e in run.events()] == [3]
        assert sorted(p.name for p in (tmp_path / "run/chunks/00001").iterdir()) == []
        # What was found so far can still be summed up, and the run gone on with.
        assert not writer.finish({"seconds": 1.0}).complete
        write_chunk(RunWriter.open(tmp_path / "run"), 1)
        assert writer.finish({"seconds": 2.0}).complete

    def test_killed_in_the_middle_of_a_chunk(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest())
        write_chunk(writer, 0)
        chunk = writer.begin_chunk(1)
        chunk.append(frame(4), number=4, overlap=True)
        # A killed process abandons nothing. Its partial files are there, and nobody takes them for a chunk.
        assert [p.name.split("-")[0] for p in sorted((tmp_path / "run/chunks/00001").iterdir())] == [
            "id_maps.parquet.partial",
            "segments.parquet.partial",
        ]
        assert len(list(open_run(tmp_path / "run").frames())) == 6
        write_chunk(RunWriter.open(tmp_path / "run"), 1)
        assert len(list(open_run(tmp_path / "run").frames())) == 10
        # And where it was only believed dead, it finds its files gone, and the others stay as they are.
        with pytest.raises(VideosegError, match="could not be written"):
            chunk.commit()
        assert not list((tmp_path / "run/chunks/00001").glob("*partial*"))

    def test_a_chunk_begun_again_counts_as_it_was_until_the_new_one_is_there(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest())
        write_chunk(writer, 0)
        chunk = writer.begin_chunk(0)
        assert writer.committed() == {0}
        chunk.abandon()
        assert len(list(open_run(tmp_path / "run").frames())) == 6

    def test_a_chunk_that_ended_early_is_read_and_is_not_whole(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest())
        chunk = writer.begin_chunk(0)
        chunk.append(frame(0), number=0, overlap=False)
        chunk.commit(partial=True)
        assert writer.committed() == {0}
        assert writer.whole() == set()
        write_chunk(writer, 0)
        assert writer.whole() == {0}

    def test_a_report_that_says_so(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest(PLAN[:1]))
        write_chunk(writer, 0)
        assert not writer.finish({"complete": False}).complete

    def test_chunks_that_nobody_stitched(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest())
        write_chunk(writer, 0)
        write_chunk(writer, 1)
        run = writer.finish({})
        assert not run.stitched
        assert [[s.track for s in f.segments] for f in run.frames(5, 7)] == [[1, 2], [4, 5, 6]]
        assert unstitched({0: [2, 5], 1: [1, 2]}) == {0: {2: 1, 5: 2}, 1: {1: 3, 2: 4}}

    def test_tracks_that_stitching_leaves_out(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest())
        write_chunk(writer, 0)
        write_chunk(writer, 1)
        writer.write_stitching({0: {1: 1, 2: 2, 3: 3}, 1: {1: 1}})
        assert open_run(tmp_path / "run").stitching[1] == {1: 1, 2: 4, 3: 5}


class TestRefusals:
    def test_a_folder_that_is_not_empty(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("mine")
        with pytest.raises(InputError, match=r"is not empty. Name another, or add --overwrite"):
            RunWriter.create(tmp_path, manifest())
        with pytest.raises(InputError, match="holds no run of videoseg, so nothing in it is overwritten"):
            RunWriter.create(tmp_path, manifest(), overwrite=True)
        (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
        with pytest.raises(InputError, match="holds no run of videoseg"):
            RunWriter.create(tmp_path, manifest(), overwrite=True)
        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_overwriting_takes_away_a_run_and_nothing_else(self, run_folder: Path) -> None:
        (run_folder / "notes.txt").write_text("mine")
        (run_folder / "overlay.mp4").write_bytes(b"old")
        with pytest.raises(InputError, match="--overwrite"):
            RunWriter.create(run_folder, manifest())
        assert open_run(run_folder).num_frames == 10
        RunWriter.create(run_folder, manifest(), overwrite=True)
        assert sorted(p.name for p in run_folder.iterdir()) == ["manifest.json", "notes.txt"]
        assert open_run(run_folder).num_frames == 0

    def test_overwriting_follows_no_link_out_of_the_folder(self, run_folder: Path, tmp_path: Path) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (elsewhere / "precious.txt").write_text("mine")
        (run_folder / "exports").symlink_to(elsewhere)
        RunWriter.create(run_folder, manifest(), overwrite=True)
        assert (elsewhere / "precious.txt").read_text() == "mine"
        assert not (run_folder / "exports").exists()

    @pytest.mark.parametrize("name", ["run [1] *?", "wörld 日本", "#run%20", "a.b/c d"])
    def test_folders_of_any_name(self, tmp_path: Path, name: str) -> None:
        for overwrite in (False, True):
            writer = RunWriter.create(tmp_path / name, manifest(PLAN[:1]), overwrite=overwrite)
            write_chunk(writer, 0)
            assert writer.finish({}).complete
        assert open_run(str(tmp_path / name)).num_frames == 6
        assert (tmp_path / name / "chunks/00000/chunk.json").is_file()

    def test_an_empty_folder_is_welcome(self, tmp_path: Path) -> None:
        RunWriter.create(tmp_path, manifest())
        assert [p.name for p in tmp_path.iterdir()] == ["manifest.json"]

    def test_a_file_in_the_way(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("")
        with pytest.raises(InputError, match=r"out is a file. Name a folder"):
            RunWriter.create(tmp_path / "out", manifest())
        with pytest.raises(InputError, match="cannot be written to"):
            RunWriter.create(tmp_path / "out" / "below", manifest())

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
    def test_a_place_where_nobody_may_write(self) -> None:
        with pytest.raises(InputError, match="cannot be written to"):
            RunWriter.create("/proc/videoseg", manifest())

    def test_no_run_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            open_run(tmp_path / "nothing")
        with pytest.raises(InputError, match="holds no run of videoseg"):
            open_run(tmp_path)
        with pytest.raises(InputError, match="holds no run of videoseg"):
            RunWriter.open(tmp_path)

    @pytest.mark.parametrize("name", ["id_maps.parquet", "segments.parquet"])
    def test_damaged_shards(self, run_folder: Path, name: str) -> None:
        shard = run_folder / "chunks/00000" / name
        data = bytearray(shard.read_bytes())
        shard.write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match="damaged"):
            list(open_run(run_folder).frames())
        data[200:600] = bytes(400)
        shard.write_bytes(data)
        with pytest.raises(InputError, match="damaged"):
            list(open_run(run_folder).frames())

    def test_a_chunk_that_is_not_there(self, tmp_path: Path) -> None:
        RunWriter.create(tmp_path / "run", manifest())
        with pytest.raises(InputError, match="no finished chunk 1"):
            open_run(tmp_path / "run").chunk(1)

    def test_frames_that_don_t_belong(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest())
        chunk = writer.begin_chunk(1)
        with pytest.raises(ValueError, match="outside"):
            chunk.append(frame(3), number=3, overlap=True)
        with pytest.raises(ValueError, match="overlap cannot be"):
            chunk.append(frame(6), number=6, overlap=True)
        with pytest.raises(ValueError, match="outside"):
            chunk.append(frame(10), number=10, overlap=False)
        chunk.append(frame(6), number=6, overlap=False)
        with pytest.raises(ValueError, match="after 6"):
            chunk.append(frame(6), number=6, overlap=False)
        untracked = frame(7).with_segments(
            Segment(id=s.id, category=0, is_thing=True, score=1, area=s.area, box=s.box) for s in frame(7).segments
        )
        with pytest.raises(ValueError, match="has no track"):
            chunk.append(untracked, number=7, overlap=False)
        chunk.abandon()


_UNTIL_THE_DISK_IS_FULL = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from videoseg.errors import InputError, VideosegError
from videoseg.store.writer import RunWriter
from test_store import frame, manifest, write_chunk, PLAN
from videoseg.store.manifest import ChunkPlan
from dataclasses import replace
plan = [PLAN[0], ChunkPlan(number=1, start=6, stop=4000)]
writer = RunWriter.create(sys.argv[1], manifest(plan))
write_chunk(writer, 0)
resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
noise = np.random.default_rng(0)
chunk = writer.begin_chunk(1)
try:
    for i in range(6, 4000):
        id_map = noise.integers(0, 2, (60, 80)).astype(np.uint16)
        segment = replace(frame(0).segments[0], area=int(id_map.sum()))
        chunk.append(replace(frame(i), id_map=id_map, segments=(segment,)), number=i, overlap=False)
    chunk.commit()
except VideosegError as error:
    chunk.abandon()
    assert not isinstance(error, InputError)
    print(i, error)
"""


class TestFullDisk:
    @pytest.mark.skipif(sys.platform == "win32", reason="the limit is POSIX's")
    def test_what_was_finished_is_kept(self, tmp_path: Path) -> None:
        """A real limit of the operating system on the size of files, in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", _UNTIL_THE_DISK_IS_FULL, str(tmp_path / "run"), str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert "No room left on the disk while writing" in done.stdout
        assert "All chunks finished so far are kept" in done.stdout
        assert 6 < int(done.stdout.split()[0]) < 500  # noticed while writing, not at the end
        run = open_run(tmp_path / "run")
        assert not run.complete
        assert len(list(run.frames())) == 6
        assert list((tmp_path / "run/chunks/00001").iterdir()) == []

    @pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's")
    def test_the_sentence(self, tmp_path: Path) -> None:
        writer = RunWriter.create(tmp_path / "run", manifest(PLAN[:1]))
        write_chunk(writer, 0)
        (tmp_path / "run/tracks.parquet.partial").symlink_to("/dev/full")
        with pytest.raises(VideosegError, match=r"No room left on the disk while writing .*tracks\.parquet"):
            writer.finish({})
        assert len(list(open_run(tmp_path / "run").frames())) == 6


class TestGallery:
    def test_one_view_is_kept_once_the_best_of_it(self) -> None:
        gallery = Gallery()
        gallery.add(np.array([1, 0, 0], np.float32), 0.5)
        gallery.add(np.array([0.9999, 0.01, 0], np.float32), 0.9)
        gallery.add(np.array([0.9999, 0, 0.01], np.float32), 0.1)
        np.testing.assert_array_equal(gallery.array(), np.array([[0.9999, 0.01, 0]], np.float16))

    def test_a_full_gallery_gives_up_one_of_the_two_most_alike(self) -> None:
        gallery = Gallery()
        for i in range(GALLERY_SIZE):
            gallery.add(np.eye(GALLERY_SIZE + 1, dtype=np.float32)[i], 0.5)
        between = np.zeros(GALLERY_SIZE + 1, np.float32)
        between[[2, 8]] = 0.8, 0.6
        gallery.add(between, 0.9)
        assert len(gallery.array()) == GALLERY_SIZE
        assert gallery.array()[:, 2].tolist() == [0, 0, 0, 0, 0, 0, 0, np.float16(0.8)]

    @given(st.lists(st.integers(0, 2**32 - 1), max_size=40))
    def test_memory_is_bounded_and_views_differ(self, seeds: list[int]) -> None:
        gallery = Gallery()
        for seed in seeds:
            random = np.random.default_rng(seed)
            vector = random.standard_normal(3).astype(np.float32)
            gallery.add(vector / np.linalg.norm(vector), float(random.random()))
        assert len(gallery.array()) == len(gallery.scores) <= GALLERY_SIZE
        assert bool(len(gallery.array())) == bool(seeds)
