"""The file job: what is in a run folder, stitching over chunks, recorded segments, stopping, damage."""

from pathlib import Path
from threading import Event

import moving_shapes
import numpy as np
import pytest

from pipelines.jobs import segment_job, track_job
from pipelines.progress import Progress
from pipelines.run import Job, run_job, stream_job, track_frames
from pipelines.settings import Placement, Products, RunSettings
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.store.reader import open_run
from videoseg.summary import RunSummary
from videoseg.video import open_source, probe

INLINE = Placement(executor="inline")


def job(clip: Path, settings: RunSettings | None = None) -> Job:
    return segment_job(
        clip, moving_shapes.vocabulary(), model="colours", settings=settings or RunSettings(), placement=INLINE
    )


@pytest.fixture(scope="module")
def finished(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_job(job(clip), folder, placement=INLINE, products=Products(overlay=True, exports=("vipseg",)))
    return folder


def test_finds_every_disc_and_keeps_its_track(finished: Path) -> None:
    run = open_run(finished)
    assert run.complete
    assert run.num_frames == 48
    names = {run.vocabulary[t.category].name: t for t in run.tracks()}
    assert set(names) == {"red ball", "yellow duck", "blue box", "cyan sky", "grey road"}
    assert len(run.tracks()) == 5, "one track per object"
    assert names["red ball"].num_frames == 48
    for frame in run.frames():
        assert len({s.track for s in frame.segments}) == len(frame.segments)


def test_the_report_tells_time_by_stage_and_where_things_are(finished: Path) -> None:
    run = open_run(finished)
    assert set(run.report["stages"]) >= {"decode", "motion", "segment", "track", "write", "overlay", "export vipseg"}
    assert run.report["products"] == {"overlay": "overlay.mp4", "vipseg": "exports/vipseg"}
    assert run.report["frames_per_second"] > 0
    text = RunSummary.of_run(run).to_text()
    assert "48 frames" in text
    assert "red ball × 1" in text


def test_the_overlay_has_every_frame_drawn_over(finished: Path, clip: Path) -> None:
    overlay = probe(finished / "overlay.mp4")
    assert (overlay.width, overlay.height, overlay.num_frames) == (160, 90, 48)
    assert overlay.codec == "h264"
    drawn, plain = ([f.rgb for f in open_source(path).frames()] for path in (finished / "overlay.mp4", clip))
    changes = [np.abs(a.astype(int) - b).mean() for a, b in zip(drawn, plain, strict=True)]
    assert min(changes) > 5


def test_tracks_go_on_over_chunks(long_clip: Path, tmp_path: Path) -> None:
    products = Products(overlay=False)
    whole = run_job(job(long_clip), tmp_path / "whole", placement=INLINE, products=products)
    cut = RunSettings(frames_per_chunk=30, overlap=10)
    pieces = run_job(job(long_clip, cut), tmp_path / "pieces", placement=INLINE, products=products)
    assert len(whole.chunks) == 1
    assert len(pieces.chunks) == 5
    assert len(pieces.tracks()) == len(whole.tracks())
    # The same pixels of the same frames belong to the same objects, whatever the numbers of the tracks.
    pairs: dict[int, set[int]] = {}
    for a, b in zip(whole.frames(), pieces.frames(), strict=True):
        assert a.index == b.index
        both = np.unique(np.stack([a.track_map().ravel(), b.track_map().ravel()], axis=1), axis=0)
        for first, second in both.tolist():
            pairs.setdefault(first, set()).add(second)
    assert all(len(partners) == 1 for partners in pairs.values()), pairs


def test_sampling_and_ranges(clip: Path, tmp_path: Path) -> None:
    settings = RunSettings(fps=10, start=0.4, end=1.2)
    run = run_job(job(clip, settings), tmp_path / "run", placement=INLINE, products=Products(overlay=True))
    assert [f.index for f in run.frames()] == [12, 15, 18, 21, 24, 27, 30, 33]
    assert [f.time for f in run.frames()] == pytest.approx([0.4 + 0.1 * i for i in range(8)])
    assert probe(tmp_path / "run" / "overlay.mp4").num_frames == 8


def test_a_folder_of_images_is_a_source(tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "images").mkdir()
    for i in range(6):
        Image.fromarray(moving_shapes.picture(i)).save(tmp_path / "images" / f"{i}.png")
    run = run_job(job(tmp_path / "images"), tmp_path / "run", placement=INLINE)
    assert run.num_frames == 6
    assert len(run.tracks()) == 5


def test_progress_counts_up_to_the_end(clip: Path, tmp_path: Path) -> None:
    heard: list[Progress] = []
    run_job(job(clip), tmp_path / "run", placement=Placement(), on_progress=heard.append)
    for phase in ("segment", "overlay"):
        counts = [p.done for p in heard if p.phase == phase]
        assert counts == sorted(counts)
        assert (counts[0], counts[-1]) == (0, 48)
        assert {p.total for p in heard if p.phase == phase} == {48}


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_stop_leaves_a_valid_folder(long_clip: Path, tmp_path: Path, executor: str) -> None:
    stop = Event()

    def press(progress: Progress) -> None:
        if progress.done >= 60:
            stop.set()

    settings = RunSettings(frames_per_chunk=50, overlap=10)
    run = run_job(
        job(long_clip, settings),
        tmp_path / "run",
        placement=Placement(executor=executor, window_frames=4, bytes_in_flight=100_000),
        on_progress=press,
        stop=stop,
    )
    assert not run.complete
    assert run.report["stopped"]
    assert run.report["partial_chunks"] == [1]
    assert 60 <= run.num_frames < 150
    assert [f.index for f in run.frames()] == list(range(run.num_frames))
    assert run.tracks()
    assert not (tmp_path / "run" / "overlay.mp4").exists()
    # A run that was stopped can be replaced like any other.
    again = run_job(job(long_clip, settings), tmp_path / "run", placement=INLINE, overwrite=True)
    assert again.complete
    assert again.num_frames == 150


def test_recorded_segments_come_back_with_tracks(finished: Path, tmp_path: Path, clip: Path) -> None:
    """An export read as anyone's segments: same pixels, same objects, though its ids are passed over."""
    before = open_run(finished)
    recorded = track_job(finished / "exports" / "vipseg", settings=RunSettings())
    after = run_job(recorded, tmp_path / "run", placement=Placement(), products=Products(exports=("vipseg",)))
    assert after.num_frames == 48
    assert [c.names for c in after.vocabulary] == [c.names for c in before.vocabulary]
    pairs: set[tuple[int, int]] = set()
    for a, b in zip(before.frames(), after.frames(), strict=True):
        assert (a.index, a.pts, a.time) == (b.index, b.pts, b.time)
        pairs |= set(map(tuple, np.stack([a.track_map().ravel(), b.track_map().ravel()], axis=1).tolist()))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
    assert after.manifest.model["segmenter"] == "recorded"
    assert read_segments(tmp_path / "run" / "exports" / "vipseg").num_frames() == 48
    assert probe(tmp_path / "run" / "overlay.mp4").num_frames == 48


def test_recorded_segments_with_their_pictures_get_embeddings(finished: Path, tmp_path: Path, clip: Path) -> None:
    recorded = track_job(finished / "exports" / "vipseg", pictures=clip, settings=RunSettings())
    run = run_job(recorded, tmp_path / "run", placement=INLINE)
    first = next(iter(run.frames()))
    assert all(s.embedding is not None for s in first.segments)
    assert len(run.tracks()) == 5


def test_pictures_of_another_film_are_refused(finished: Path, long_clip: Path) -> None:
    recorded = track_job(finished / "exports" / "vipseg", pictures=long_clip, settings=RunSettings())
    with pytest.raises(InputError, match="96×54"):
        recorded.open_source()


def test_a_stream_of_frames_without_a_folder(clip: Path, finished: Path) -> None:
    streamed = list(stream_job(job(clip), placement=Placement()))
    assert [f.index for f in streamed] == list(range(48))
    for a, b in zip(streamed, open_run(finished).frames(), strict=True):
        np.testing.assert_array_equal(a.track_map(), b.track_map())


def test_anyones_frames_are_tracked(finished: Path) -> None:
    run = open_run(finished)
    tracked = list(track_frames(run.frames(), run.vocabulary))
    assert len(tracked) == 48
    assert {s.track for f in tracked for s in f.segments} == {1, 2, 3, 4, 5}
    assert list(track_frames([], None)) == []


def test_settings_that_contradict_each_other_are_said() -> None:
    for wrong, words in (
        ({"every": 2, "fps": 5.0}, "--every and --fps"),
        ({"every": 0}, "--every"),
        ({"fps": -1.0}, "--fps"),
        ({"start": 3.0, "end": 2.0}, "--end"),
    ):
        with pytest.raises(InputError, match=words):
            RunSettings(**wrong)  # type: ignore[arg-type]
