"""The bytes of a result depend on file, model, vocabulary, settings and profile, and on nothing else."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import moving_shapes
import pytest

from pipelines.chunks import plan_chunks
from pipelines.jobs import segment_job
from pipelines.run import Job, run_job
from pipelines.settings import Placement, Products, RunSettings
from pipelines.stages import SegmentStage
from videoseg.motion_estimation import estimate_motion
from videoseg.panoptic import PanopticFrame
from videoseg.store.reader import Run, open_run
from videoseg.video import open_source

NOT_THE_RESULT = {"run.json", "overlay.mp4"}

CHUNKED = RunSettings(frames_per_chunk=40, overlap=10)


def job(clip: Path, settings: RunSettings = CHUNKED) -> Job:
    return segment_job(
        clip, moving_shapes.vocabulary(), model="colours", settings=settings, placement=Placement(executor="inline")
    )


def run(clip: Path, folder: Path, placement: Placement, settings: RunSettings = CHUNKED) -> Run:
    return run_job(
        job(clip, settings), folder, placement=placement, products=Products(overlay=False, exports=("vipseg",))
    )


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in NOT_THE_RESULT
    }


@pytest.fixture(scope="module")
def reference(long_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    run(long_clip, folder, Placement(executor="inline"))
    return folder


def test_the_reference_has_several_chunks_and_all_parts(reference: Path) -> None:
    found = open_run(reference)
    assert len(found.chunks) == 4
    assert found.num_frames == 150
    names = set(checksums(reference))
    assert {"manifest.json", "tracks.parquet", "events.parquet", "stitching.parquet"} <= names
    assert "chunks/00003/id_maps.parquet" in names
    assert "exports/vipseg/pred.json" in names
    assert sum(name.endswith(".png") for name in names) == 150


@pytest.mark.parametrize(
    "placement",
    [
        Placement(executor="inline"),
        Placement(executor="local"),
        Placement(executor="local", window_frames=1),
        Placement(executor="local", window_frames=13, bytes_in_flight=1),
        Placement(executor="inline", window_frames=100),
    ],
    ids=["again", "local", "one frame at a time", "thirteen, none ahead", "whole chunks"],
)
def test_every_placement_gives_the_same_bytes(
    long_clip: Path, reference: Path, tmp_path: Path, placement: Placement
) -> None:
    run(long_clip, tmp_path / "run", placement)
    assert checksums(tmp_path / "run") == checksums(reference)


def test_a_chunk_is_what_it_is_alone(long_clip: Path, reference: Path) -> None:
    """Nothing goes from chunk to chunk: each is computed here by itself, without the driver."""
    whole = open_run(reference)
    made = job(long_clip)
    segmenter, tracker = made.make_segmenter(), made.make_tracker()
    for plan in plan_chunks(150, frames_per_chunk=40, overlap=10):
        source = open_source(long_clip)
        segmenter_state, tracker_state = segmenter.new_state("alone"), tracker.new_state("alone")
        previous, alone = None, []
        for frame in source.frames(plan.start - plan.overlap, plan.stop):
            motion = None if previous is None else estimate_motion(previous.rgb, frame.rgb)
            (panoptic,) = segmenter.segment([frame], [motion], [segmenter_state])
            alone += tracker.step(panoptic, motion, tracker_state).frames
            previous = frame
        source.close()
        assert [words(f) for f in alone] == [words(f) for f in whole.chunk(plan.number).frames(overlap=True)]


def words(frame: PanopticFrame) -> tuple[object, ...]:
    return (
        frame.index,
        frame.pts,
        frame.id_map.tobytes(),
        tuple((s.id, s.track, s.category, s.area, s.box, round(s.score, 6)) for s in frame.segments),
    )


def test_the_manifest_says_all_that_the_result_depends_on(reference: Path, long_clip: Path) -> None:
    manifest = open_run(reference).manifest
    assert manifest.model["segmenter"] == "colours"
    assert manifest.tracker["name"] == "PanopticTracker"
    assert RunSettings.from_json(manifest.settings) == CHUNKED
    assert manifest.profile["device"] == "cpu"
    assert set(manifest.profile["versions"]) >= {"numpy", "av", "pyarrow"}
    assert "torch" not in manifest.profile["versions"], "the colours model does not use it"
    assert manifest.source_info == open_source(long_clip).info


def test_settings_are_part_of_the_result(long_clip: Path, reference: Path, tmp_path: Path) -> None:
    run(long_clip, tmp_path / "run", Placement(executor="inline"), replace(CHUNKED, every=2))
    assert open_run(tmp_path / "run").num_frames == 75
    assert checksums(tmp_path / "run")["manifest.json"] != checksums(reference)["manifest.json"]


def test_a_folder_that_moved_reads_the_same(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "moved")
    before, after = open_run(reference), open_run(tmp_path / "moved")
    assert [words(f) for f in before.frames()] == [words(f) for f in after.frames()]


def test_the_segmenter_is_asked_for_one_frame_of_a_stream_at_a_time(long_clip: Path) -> None:
    asked: list[int] = []

    class Watching:
        def __init__(self) -> None:
            self.inner = job(long_clip).make_segmenter()

        def __getattr__(self, name: str) -> object:
            return getattr(self.inner, name)

        def segment(self, frames, motions, states):  # type: ignore[no-untyped-def]
            asked.append(len(frames))
            return self.inner.segment(frames, motions, states)

    from pipelines.stages import DecodeStage, MotionStage, Window

    window = Window(plan_chunks(150)[0], 0, 8, 8)
    window = MotionStage().advance(DecodeStage(lambda: open_source(long_clip)).advance(window))
    result = SegmentStage(Watching).advance(window)  # type: ignore[arg-type]
    assert asked == [1] * 8
    assert result.frames == ()
    assert [frame.index for frame in result.results] == list(range(8))
