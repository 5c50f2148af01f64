"""The same bytes wherever chunks are computed, in whatever order, and whoever dies meanwhile."""

import hashlib
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Event

import moving_shapes
import pytest
from command_lines import run_many
from troubled_parts import Trouble, Troubled

from pipelines.chunks import plan_chunks
from pipelines.driver import Driver, Unit, WindowSize
from pipelines.executors import make_executor
from pipelines.jobs import segment_job, track_job
from pipelines.progress import Counters, Progress
from pipelines.run import ChunksSetAside, Job, Resuming, run_job, stages_of
from pipelines.settings import Placement, Products, RunSettings
from videoseg.errors import InputError
from videoseg.store.reader import Run, open_run

SETTINGS = RunSettings(frames_per_chunk=20, overlap=8)
PRODUCTS = Products(overlay=False, exports=("burst",))
HERE = Path(__file__).resolve().parent


def job(clip: Path, placement: Placement, settings: RunSettings = SETTINGS) -> Job:
    return segment_job(clip, moving_shapes.vocabulary(), model="colours", settings=settings, placement=placement)


def run(clip: Path, folder: Path, placement: Placement, troubled: str = "", trouble: Trouble | None = None) -> Run:
    made = job(clip, placement)
    match troubled:
        case "decode":
            made = replace(made, open_source=Troubled(made.open_source, trouble or Trouble(), "frames"))
        case "segment":
            made = replace(made, make_segmenter=Troubled(made.make_segmenter, trouble or Trouble(), "segment"))
        case "track":
            made = replace(made, make_tracker=Troubled(made.make_tracker, trouble or Trouble(), "step"))
    return run_job(made, folder, placement=placement, products=PRODUCTS)


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


@pytest.fixture(scope="module")
def unbroken(film: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    run(film, folder, Placement(executor="inline"))
    return checksums(folder)


TWO = Placement(executor="local", workers=2)


def test_two_processes_give_the_bytes_of_one_thread(film: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    assert len([name for name in unbroken if name.endswith("chunk.json")]) == 4
    counters = Counters()
    made = replace(
        job(film, TWO),
        # The second of two chunks is done long before the first: they come home in another order.
        make_segmenter=Troubled(job(film, TWO).make_segmenter, Trouble(seconds=(0.02,) * 20 + (0.0,) * 60), "segment"),
    )
    heard: list[Progress] = []
    finished = run_job(
        made, tmp_path / "run", placement=TWO, products=PRODUCTS, counters=counters, on_progress=heard.append
    )
    assert checksums(tmp_path / "run") == unbroken
    assert finished.report["workers"] == 2
    seen = counters.snapshot()
    assert (seen.frames, seen.total, seen.chunks_done, seen.chunks, seen.workers) == (80, 80, 4, 4, 2)
    assert set(seen.busy) == {"decode", "motion", "segment", "track", "write"}
    assert seen.remaining == 0
    during = [p.snapshot for p in heard if p.snapshot is not None]
    assert any(sum(s.queued.values()) > 1 for s in during)


@pytest.mark.full
@pytest.mark.parametrize("workers", [1, 2, 3, 4])
@pytest.mark.parametrize("executor", ["local", "ray"])
def test_any_number_of_workers_gives_the_bytes_of_one_thread(
    request: pytest.FixtureRequest,
    film: Path,
    unbroken: dict[str, str],
    tmp_path: Path,
    executor: str,
    workers: int,
) -> None:
    if executor == "ray":
        request.getfixturevalue("cluster")
    placement = Placement(executor=executor, workers=workers, processes=True if executor == "local" else None)
    run(film, tmp_path / "run", placement, "segment", Trouble(seconds=(0.0, 0.02, 0.0, 0.0, 0.004)))
    assert checksums(tmp_path / "run") == unbroken


@pytest.mark.parametrize(
    ("executor", "part", "at"),
    [
        pytest.param("local", "segment", 31, marks=pytest.mark.full),
        pytest.param("local", "decode", 55, marks=pytest.mark.full),
        pytest.param("local", "track", 17, marks=pytest.mark.full),
        ("ray", "track", 31),
        pytest.param("ray", "decode", 55, marks=pytest.mark.full),
        pytest.param("ray", "segment", 17, marks=pytest.mark.full),
    ],
)
def test_a_worker_that_is_killed_costs_a_chunk_of_time_and_nothing_else(
    request: pytest.FixtureRequest,
    film: Path,
    unbroken: dict[str, str],
    tmp_path: Path,
    executor: str,
    part: str,
    at: int,
) -> None:
    if executor == "ray":
        request.getfixturevalue("cluster")
    marks = tmp_path / "marks"
    marks.mkdir()
    placement = Placement(executor=executor, workers=2)
    finished = run(film, tmp_path / "run", placement, part, Trouble(at=at, marks=str(marks)))
    assert len(list(marks.iterdir())) == 1, "somebody was killed"
    assert checksums(tmp_path / "run") == unbroken
    assert finished.complete
    assert finished.report["restarts"] >= 1
    assert "was begun anew" in " ".join(finished.report["notes"])


def test_what_kills_its_worker_thrice_is_set_aside_and_the_rest_is_done(
    film: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    deadly = Trouble(at=30, marks=str(marks), times=9)
    with pytest.raises(
        ChunksSetAside, match=r"1 of 4 chunks .* chunk 1 \(frames 20 to 39, tried 3 times\).*killed"
    ) as said:
        run(film, tmp_path / "run", TWO, "decode", deadly)
    assert said.value.exit_code == 1
    left = open_run(tmp_path / "run")
    assert not left.complete
    assert [chunk.number for chunk in left.chunks] == [0, 2, 3]
    assert [(item["chunk"], item["attempts"]) for item in left.report["set_aside"]] == [(1, 3)]
    assert left.tracks(), "what is there is stitched and can be read"
    # The trouble is over; only the chunk that is missing is computed.
    counters = Counters()
    run_job(
        job(film, Placement()),
        tmp_path / "run",
        placement=Placement(),
        products=PRODUCTS,
        resume=Resuming(),
        counters=counters,
    )
    assert checksums(tmp_path / "run") == unbroken
    assert counters.snapshot().frames_here == 20


def test_an_error_that_passes_is_tried_again_and_one_that_stays_is_said(film: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    finished = run(
        film,
        tmp_path / "passes",
        Placement(executor="inline"),
        "segment",
        Trouble(at=25, kind="raise", times=2, marks=str(marks)),
    )
    assert finished.complete
    assert finished.report["restarts"] == 2
    for mark in marks.iterdir():
        mark.unlink()
    with pytest.raises(ChunksSetAside, match="LookupError: frame 25 is not to be had"):
        run(
            film,
            tmp_path / "stays",
            Placement(executor="inline"),
            "segment",
            Trouble(at=25, kind="raise", times=3, marks=str(marks)),
        )


@pytest.mark.parametrize("executor", ["inline", "local"])
def test_a_stream_moves_between_workers_in_its_middle(film: Path, tmp_path: Path, executor: str) -> None:
    """Every stage of a lane gets new workers after some frames; nothing of the outcome changes."""
    outcomes = []
    for moves in (False, True):
        made = make_executor(executor)
        driver = Driver(made, stages_of(job(film, Placement())), WindowSize(frames=7, in_flight=3), Event(), attempts=1)
        tracked = []
        for count, window in enumerate(driver.windows([Unit(plan_chunks(80)[0])])):
            tracked += [
                (frame.index, frame.id_map.tobytes(), tuple((s.track, s.category, s.score) for s in frame.segments))
                for frame in window.results
            ]
            if moves and count in (3, 7):
                for stage in ("decode", "motion", "segment", "track"):
                    driver.move(0, stage)
        assert driver.set_aside == []
        assert driver.restarts == 0
        outcomes.append(tracked)
        made.close()
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == 80


def killed_and_resumed(clip: Path, folder: Path, **wanted: object) -> dict[str, dict[str, object]]:
    done = subprocess.run(
        [sys.executable, str(HERE / "kill_and_resume.py"), str(clip), str(folder), json.dumps(wanted)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answers: dict[str, dict[str, object]] = json.loads(done.stdout.splitlines()[-1])["answers"]
    assert all(answer["same"] for answer in answers.values()), (answers, done.stderr)
    return answers


def test_a_driver_that_is_killed_at_a_named_point_is_resumed(film: Path, tmp_path: Path) -> None:
    answers = killed_and_resumed(
        film, tmp_path, points=["manifest written", "before commit:1", "after commit:2", "in stitching"]
    )
    assert all(answer["kills"] == 1 for answer in answers.values()), answers


def test_a_driver_that_is_killed_anywhere_is_resumed(film: Path, tmp_path: Path) -> None:
    answers = killed_and_resumed(film, tmp_path, seeds=[0])
    assert sum(int(str(answer["kills"])) for answer in answers.values()) >= 1


@pytest.mark.full
def test_thirty_seeded_kills_lose_nothing(film: Path, tmp_path: Path) -> None:
    answers = killed_and_resumed(film, tmp_path, seeds=list(range(1, 16)), workers=[1, 2])
    assert sum(int(str(answer["kills"])) for answer in answers.values()) >= 30


def test_a_run_is_only_resumed_as_the_run_that_it_is(film: Path, clip: Path, tmp_path: Path) -> None:
    inline = Placement(executor="inline")
    stop = Event()

    def press(progress: Progress) -> None:
        if progress.done >= 30:
            stop.set()

    folder = tmp_path / "run"
    run_job(job(film, inline), folder, placement=inline, products=PRODUCTS, on_progress=press, stop=stop)
    stopped = open_run(folder)
    assert stopped.report["stopped"]
    assert [chunk.partial for chunk in stopped.chunks][-1]
    before = checksums(folder)

    def again(made: Job, resuming: Resuming | None = None) -> Run:
        return run_job(made, folder, placement=inline, products=PRODUCTS, resume=resuming or Resuming())

    other_words = segment_job(
        film, moving_shapes.Vocabulary.build(things="cow"), model="colours", settings=SETTINGS, placement=inline
    )
    for made, words in (
        (other_words, "another vocabulary"),
        (job(film, inline, replace(SETTINGS, every=2)), r"another settings \(every: 1 there, 2 here\)"),
        (job(clip, inline), "another source"),
        (replace(job(film, inline), make_tracker=_OtherTracker()), "another tracker"),
        (
            replace(job(film, inline), profile={"threads": 99}),
            "another numeric profile .*threads: 1 there, 99 here",
        ),
    ):
        with pytest.raises(InputError, match=words):
            again(made)
        assert checksums(folder) == before, "a refusal touches nothing"
    finished = again(replace(job(film, inline), profile={"threads": 99}), Resuming(any_profile=True))
    assert finished.complete
    assert "another numeric profile" in " ".join(finished.report["notes"])
    assert len(finished.report["earlier"]) == 1
    assert finished.manifest.profile == stopped.manifest.profile, "a manifest is never changed"


class _OtherTracker:
    def __call__(self) -> object:
        from tracking import PanopticTracker, TrackerSettings

        return PanopticTracker(TrackerSettings(fill_seconds=0.5), vocabulary=moving_shapes.vocabulary())


def test_one_interval_is_done_again_and_a_finished_run_stays_as_it_is(
    film: Path, unbroken: dict[str, str], tmp_path: Path
) -> None:
    inline, folder = Placement(executor="inline"), tmp_path / "run"
    run(film, folder, inline)
    for resuming, frames in ((Resuming(), 0), (Resuming(redo=(1.4, 1.6)), 20)):
        counters = Counters()
        run_job(job(film, inline), folder, placement=inline, products=PRODUCTS, resume=resuming, counters=counters)
        assert counters.snapshot().frames_here == frames
        assert counters.snapshot().frames == 80
        assert checksums(folder) == unbroken


def test_the_command_line_goes_on_with_what_it_began(film: Path, unbroken: dict[str, str], tmp_path: Path) -> None:
    """Source, words and settings are those of the run; only where it goes on is said anew."""
    stop = Event()
    inline, folder = Placement(executor="inline"), tmp_path / "run"

    def press(progress: Progress) -> None:
        if progress.done >= 30:
            stop.set()

    run_job(job(film, inline), folder, placement=inline, products=PRODUCTS, on_progress=press, stop=stop)
    answers, loaded = run_many(
        [
            ["segment", "--resume", folder, "--vocab", "cow"],
            ["segment", "--resume", folder, "-o", tmp_path / "other"],
            ["segment", film, "-o", tmp_path / "other", "--model", "colours", "--redo", "0-1"],
            ["segment", "--resume", folder, "--executor", "local", "--json"],
            ["segment", "--resume", folder, "--redo", "1.4-1.6"],
            ["segment", "-o", tmp_path / "other"],
        ]
    )
    assert loaded == []
    assert [answer.code for answer in answers] == [2, 2, 2, 0, 0, 2], answers
    assert "another vocabulary" in answers[0].err
    assert "leave out -o" in answers[1].err
    assert "add --resume" in answers[2].err
    assert json.loads(answers[3].out)["complete"]
    assert "Missing argument SOURCE" in answers[5].err
    assert checksums(folder) == unbroken


def test_tracking_of_recorded_segments_goes_on_with_what_it_began(film: Path, tmp_path: Path) -> None:
    inline = Placement(executor="inline")
    run_job(
        job(film, inline), tmp_path / "first", placement=inline, products=Products(overlay=False, exports=("vipseg",))
    )
    recorded = track_job(tmp_path / "first" / "exports" / "vipseg", settings=SETTINGS)
    run_job(recorded, tmp_path / "whole", placement=inline, products=PRODUCTS)
    stop, folder = Event(), tmp_path / "run"

    def press(progress: Progress) -> None:
        if progress.done >= 30:
            stop.set()

    stopped = run_job(recorded, folder, placement=inline, products=PRODUCTS, on_progress=press, stop=stop)
    assert not stopped.complete
    answers, _ = run_many(
        [
            ["segment", "--resume", folder],
            ["track", "--resume", folder, "--delay", "3"],
            ["track", "--resume", tmp_path / "first"],
            ["track", "-o", tmp_path / "other"],
            ["track", "--resume", folder, "--workers", "2", "--json"],
        ]
    )
    assert [answer.code for answer in answers] == [2, 2, 2, 2, 0], answers
    assert "go on with `videoseg track --resume`" in answers[0].err
    assert "another settings (output_delay: 0 there, 3 here)" in answers[1].err
    assert "go on with `videoseg segment --resume`" in answers[2].err
    assert "Missing argument SEGMENTS" in answers[3].err
    assert open_run(folder).report["workers"] == 2
    assert checksums(folder) == checksums(tmp_path / "whole")


@pytest.mark.full
@pytest.mark.parametrize(("executor", "number"), [("local", signal.SIGINT), ("ray", signal.SIGTERM)])
def test_a_signal_ends_workers_elsewhere_within_seconds(tmp_path: Path, executor: str, number: signal.Signals) -> None:
    """A real process, real signals; every worker is in the middle of a chunk of a long film."""
    film = moving_shapes.write(tmp_path / "film.mp4", frames=4000, width=96, height=54)
    out = tmp_path / "out"
    words = ["--vocab", moving_shapes.THINGS, "--stuff", moving_shapes.STUFF, "--model", "colours", "--no-overlay"]
    line = ["segment", film, *words, "-o", out, "--executor", executor, "--workers", "2"]
    running = subprocess.Popen(
        [str(Path(sys.executable).parent / "videoseg"), *map(str, line)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not list(out.glob("chunks/*/*")) and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 128 + number, errors
    assert "--resume" in errors
    stopped = open_run(out)
    assert stopped.report["stopped"]
    assert 0 < stopped.num_frames < 4000
    assert not list(out.rglob("*.partial*"))


def test_what_does_not_fit_into_the_cluster_is_said_at_once(cluster: None, film: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"need 60 CPUs, the Ray cluster has 16\. Take fewer --workers"):
        run_job(
            job(film, Placement(executor="ray", workers=20), replace(SETTINGS, frames_per_chunk=4)),
            tmp_path / "run",
            placement=Placement(executor="ray", workers=20),
        )
    with pytest.raises(InputError, match="the Ray cluster has no GPU"):
        segment_job(
            film,
            moving_shapes.vocabulary(),
            model="small",
            settings=SETTINGS,
            placement=Placement(executor="ray", device="cuda"),
        )
