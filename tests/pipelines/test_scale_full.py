"""What `test_scale.py` shows in small, at full size: a list with a long film on every executor, and
every kind of worker killed at named and at random places."""

import hashlib
import random
from dataclasses import replace
from pathlib import Path

import moving_shapes
import pytest
from troubled_parts import ByChance, CrashAt, Trouble, Troubled

from pipelines.file_list import FileEntry, read_file_list
from pipelines.jobs import segment_job
from pipelines.many_files import run_files
from pipelines.run import Job, run_job
from pipelines.settings import Placement, Products, RunSettings

pytestmark = pytest.mark.full

PRODUCTS = Products(overlay=False, exports=("burst", "vipseg"))
INLINE = Placement(executor="inline")
LONG = 3000


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "summary.json")
    }


def job_of(entry: FileEntry, placement: Placement, seed: int | None = None) -> Job:
    settings = RunSettings(frames_per_chunk=60, overlap=10)
    job = segment_job(entry.path, moving_shapes.vocabulary(), model="colours", settings=settings, placement=placement)
    return job if seed is None else replace(job, make_segmenter=ByChance(job.make_segmenter, seed))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of twelve films, one of 3,000 frames."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(12):
        frames = LONG if number == 4 else 20 + 17 * number
        moving_shapes.write(folder / f"{number:02d}.mp4", frames=frames, width=64 + 8 * number, height=48)
    listed = folder / "films.txt"
    listed.write_text("".join(f"{number:02d}.mp4\n" for number in range(12)))
    return listed


@pytest.fixture(scope="module")
def inline(films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("inline") / "out"
    entries = read_file_list(str(films))
    summary = run_files(entries, lambda entry: job_of(entry, INLINE), folder, placement=INLINE, products=PRODUCTS)
    assert summary.all_good
    assert max(entry["frames"] for entry in summary.data["entries"]) == LONG
    return checksums(folder)


@pytest.mark.parametrize(
    ("executor", "workers"), [("local", 1), ("local", 2), ("ray", 1), ("ray", 2), ("ray", 3), ("ray", 4)]
)
def test_a_list_has_the_bytes_of_one_thread(
    request: pytest.FixtureRequest,
    films: Path,
    inline: dict[str, str],
    tmp_path: Path,
    executor: str,
    workers: int,
) -> None:
    if executor == "ray":
        request.getfixturevalue("cluster")
    placement = Placement(executor=executor, workers=workers)
    summary = run_files(
        read_file_list(str(films)),
        lambda entry: job_of(entry, placement, seed=workers),
        tmp_path / "out",
        placement=placement,
        products=PRODUCTS,
    )
    assert summary.all_good
    assert checksums(tmp_path / "out") == inline
    assert sum(name.endswith("chunk.json") for name in inline) > 60


@pytest.fixture(scope="module")
def unbroken(film: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    settings = RunSettings(frames_per_chunk=20, overlap=8)
    job = segment_job(film, moving_shapes.vocabulary(), model="colours", settings=settings, placement=INLINE)
    run_job(job, folder, placement=INLINE, products=PRODUCTS)
    return checksums(folder)


POINTS = ["before commit:0", "before commit:2", "after commit:1", "after commit:3"]


@pytest.mark.parametrize("executor", ["local", "ray"])
@pytest.mark.parametrize("where", [*POINTS, *range(11)], ids=str)
def test_workers_are_killed_anywhere_and_nothing_is_lost_or_twice(
    request: pytest.FixtureRequest,
    film: Path,
    unbroken: dict[str, str],
    tmp_path: Path,
    executor: str,
    where: str | int,
) -> None:
    """Thirty runs: killed by name around a write, and by chance in every kind of worker, once or twice."""
    if executor == "ray":
        request.getfixturevalue("cluster")
    marks = tmp_path / "marks"
    marks.mkdir()
    placement = Placement(executor=executor, workers=2)
    settings = RunSettings(frames_per_chunk=20, overlap=8)
    job = segment_job(film, moving_shapes.vocabulary(), model="colours", settings=settings, placement=placement)
    if isinstance(where, str):
        times = 1
        job = replace(job, make_tracker=CrashAt(job.make_tracker, f"{where}@{marks / 'once'}"))
    else:
        rng = random.Random(where)
        times = rng.choice((1, 1, 2))
        trouble = Trouble(at=rng.randrange(80), times=times, marks=str(marks))
        match ("decode", "segment", "track")[where % 3]:
            case "decode":
                job = replace(job, open_source=Troubled(job.open_source, trouble, "frames"))
            case "segment":
                job = replace(job, make_segmenter=Troubled(job.make_segmenter, trouble, "segment"))
            case _:
                job = replace(job, make_tracker=Troubled(job.make_tracker, trouble, "step"))
    run = run_job(job, tmp_path / "run", placement=placement, products=PRODUCTS)
    assert len(list(marks.iterdir())) == times, "so often somebody was killed"
    assert run.complete
    assert run.num_frames == 80
    assert run.report["restarts"] >= 1
    assert checksums(tmp_path / "run") == unbroken
    assert not list((tmp_path / "run").rglob("*.partial*"))
