"""A list of videos: what can be computed is, what cannot is told with its reason."""

import csv
import hashlib
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from threading import Event

import killed_driver
import moving_shapes
import pytest
from command_lines import run_many
from troubled_parts import Trouble, Troubled, kill_me

from pipelines.file_list import FileEntry, read_file_list
from pipelines.jobs import segment_job
from pipelines.many_files import FilesSummary, read_summary, run_files
from pipelines.run import Job, Resuming, run_job
from pipelines.settings import Placement, Products, RunSettings
from videoseg.errors import InputError
from videoseg.store.reader import open_run

INLINE = Placement(executor="inline")
TABLES = Products(overlay=False)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small films, and a folder of pictures."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("films")
    for name, frames in (("a", 4), ("b", 6), ("c", 30)):
        moving_shapes.write(folder / f"{name}.mp4", frames=frames, width=48, height=32)
    (folder / "shots").mkdir()
    for number in range(3):
        Image.fromarray(moving_shapes.picture(number, 48, 32)).save(folder / "shots" / f"{number}.png")
    return folder


def job_of(entry: FileEntry, placement: Placement = INLINE) -> Job:
    settings = RunSettings(frames_per_chunk=12, overlap=4, start=entry.start, end=entry.end)
    return segment_job(entry.path, moving_shapes.vocabulary(), model="colours", settings=settings, placement=placement)


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "summary.json")
    }


def write_list(films: Path, folder: Path, count: int) -> Counter[str]:
    """`list.csv` with so many entries, every kind of trouble among them.

    Returns:
        How often each state must come of it.
    """
    whole = (films / "c.mp4").read_bytes()
    kinds = ["done"] * 5 + ["missing", "broken", "empty", "duplicate", "nothing"]
    wanted: Counter[str] = Counter()
    with open(folder / "list.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "name"])
        for number in range(count):
            kind, path = kinds[number % len(kinds)], folder / f"{number:04d}.mp4"
            wanted["missing" if kind == "nothing" else kind] += 1
            if kind == "done":
                shutil.copy(films / ("a.mp4" if number % 2 else "b.mp4"), path)
            elif kind == "broken":
                path.write_bytes(b"no film at all" if number % 20 == 6 else whole[:200])
            elif kind == "empty":
                path.touch()
            elif kind == "duplicate":
                path.symlink_to(folder / f"{number - 8:04d}.mp4")
            rows.writerow(["" if kind == "nothing" else path.name, f"entry-{number:04d}"])
    return wanted


def require_as_wanted(summary: FilesSummary, wanted: Counter[str], folder: Path) -> None:
    entries = summary.data["entries"]
    assert Counter(entry["state"] for entry in entries) == wanted
    assert summary.complete
    assert not summary.all_good
    assert all(bool(entry["reason"]) == (entry["state"] != "done") for entry in entries)
    done = [entry for entry in entries if entry["state"] == "done"]
    for entry in done[:: max(1, len(done) // 20)]:
        run = open_run(folder / entry["name"])
        assert run.complete
        assert run.num_frames == entry["frames"] == entry["total"] > 0
    # Nothing else has left a folder.
    assert {path.name for path in folder.iterdir() if path.is_dir()} == {entry["name"] for entry in done}


def test_every_entry_of_a_list_is_done_or_told(films: Path, tmp_path: Path) -> None:
    wanted = write_list(films, tmp_path, 30)
    entries = read_file_list(str(tmp_path / "list.csv"))
    summary = run_files(entries, job_of, tmp_path / "out", placement=INLINE, products=TABLES)
    require_as_wanted(summary, wanted, tmp_path / "out")
    assert summary.data["entries"][8]["reason"] == "the same as entry-0000"
    # A film is the same whether it is alone or in a list.
    first = entries[0]
    run_job(job_of(first), tmp_path / "alone", placement=INLINE, products=TABLES)
    assert checksums(tmp_path / "out" / first.name) == checksums(tmp_path / "alone")


def test_ray_gives_a_list_the_bytes_of_one_thread(cluster: None, films: Path, tmp_path: Path) -> None:
    """With a film that kills its reader and a file that is none: the actors that die are the others' no trouble."""
    (tmp_path / "broken.mp4").write_bytes(b"no film at all")
    entries = [FileEntry(name, str(films / f"{name}.mp4")) for name in ("a", "c", "b")]
    run_files(entries, job_of, tmp_path / "inline", placement=INLINE, products=TABLES)
    ray = Placement(executor="ray", workers=1)
    worse = [*entries[:2], FileEntry("none", str(tmp_path / "broken.mp4")), FileEntry("deadly", str(films)), entries[2]]

    def troubled(entry: FileEntry) -> Job:
        job = job_of(replace(entry, path=str(films / "a.mp4")) if entry.name == "deadly" else entry, ray)
        return replace(job, open_source=kill_me) if entry.name == "deadly" else job

    summary = run_files(worse, troubled, tmp_path / "ray", placement=ray, products=TABLES)
    states = {entry["name"]: entry["state"] for entry in summary.data["entries"]}
    assert states == {"a": "done", "c": "done", "none": "broken", "deadly": "broken", "b": "done"}
    assert summary.data["executor"] == "ray"
    for name in ("a", "b", "c"):
        assert checksums(tmp_path / "ray" / name) == checksums(tmp_path / "inline" / name)


@pytest.mark.parametrize(
    ("executor", "workers"),
    [
        ("inline", 1),
        pytest.param("local", 2, marks=pytest.mark.full),
        pytest.param("ray", 2, marks=pytest.mark.full),
    ],
)
def test_a_list_whose_driver_is_killed_goes_on(films: Path, tmp_path: Path, executor: str, workers: int) -> None:
    listed = tmp_path / "films.txt"
    listed.write_text("".join(f"{films / name}.mp4\n" for name in ("a", "c", "b")))

    def again(out: Path) -> FilesSummary:
        return run_files(
            read_file_list(str(listed)),
            lambda entry: killed_driver.job_of(entry, INLINE),
            out,
            placement=INLINE,
            products=killed_driver.PRODUCTS,
            resume=Resuming(),
        )

    again(tmp_path / "whole")
    killed_driver.killed(
        listed, tmp_path / "out", executor, workers, 6
    )  # the first film has one window, the second eleven
    left = read_summary(str(tmp_path / "out"))
    assert not left.complete
    assert again(tmp_path / "out").all_good
    assert checksums(tmp_path / "out") == checksums(tmp_path / "whole")


@pytest.mark.full
def test_a_thousand_entries(films: Path, tmp_path: Path) -> None:
    wanted = write_list(films, tmp_path, 1000)
    entries = read_file_list(str(tmp_path / "list.csv"))
    summary = run_files(entries, job_of, tmp_path / "out", placement=Placement(workers=2), products=TABLES)
    require_as_wanted(summary, wanted, tmp_path / "out")


def test_who_crashes_the_decoder_takes_nobody_along(films: Path, tmp_path: Path) -> None:
    """`kill` ends the process that reads, as a crash in a library does: at each attempt."""
    placement = Placement(workers=1)
    entries = [FileEntry(name, str(films / f"{name[0]}.mp4")) for name in ("a", "c", "a worse", "b")]
    entries[2] = replace(entries[2], start=0.05)

    def troubled(entry: FileEntry) -> Job:
        job = job_of(entry, placement)
        if entry.name == "a worse":
            return replace(job, open_source=kill_me)
        if entry.name != "c":
            return job
        return replace(job, open_source=Troubled(job.open_source, Trouble(26, times=9, marks=str(tmp_path)), "frames"))

    summary = run_files(entries, troubled, tmp_path / "out", placement=placement, products=TABLES)
    states = {entry["name"]: entry["state"] for entry in summary.data["entries"]}
    assert states == {"a": "done", "b": "done", "c": "failed", "a worse": "broken"}
    assert "chunk 2 (frames 20 to 29, tried 3 times)" in summary.data["entries"][1]["reason"]
    assert "crashed while opening" in summary.data["entries"][2]["reason"]
    assert open_run(tmp_path / "out" / "c").num_frames == 20
    healed = run_files(
        entries,
        job_of,
        tmp_path / "out",
        placement=INLINE,
        products=TABLES,
        resume=Resuming(),
    )
    assert healed.all_good
    assert healed.data["entries"][1]["frames"] == 30


def test_a_run_that_was_stopped_goes_on_where_it_was(films: Path, tmp_path: Path) -> None:
    entries = [FileEntry(name, str(films / f"{name}.mp4")) for name in ("a", "c", "b")]
    run_files(entries, job_of, tmp_path / "whole", placement=INLINE, products=TABLES)
    stop = Event()

    def on_progress(progress: object) -> None:
        # In the middle of the second film.
        if (tmp_path / "out" / "c" / "chunks" / "00000" / "chunk.json").exists():
            stop.set()

    stopped = run_files(
        entries, job_of, tmp_path / "out", placement=INLINE, products=TABLES, stop=stop, on_progress=on_progress
    )
    assert [entry["state"] for entry in stopped.data["entries"]] == ["done", "stopped", "waiting"]
    assert not stopped.complete
    before = os.stat(tmp_path / "out" / "a" / "tracks.parquet").st_mtime_ns
    with pytest.raises(InputError, match="other entries"):
        run_files(entries[:2], job_of, tmp_path / "out", placement=INLINE, products=TABLES, resume=Resuming())
    with pytest.raises(InputError, match="is not empty"):
        run_files(entries, job_of, tmp_path / "out", placement=INLINE, products=TABLES)
    rest = run_files(entries, job_of, tmp_path / "out", placement=INLINE, products=TABLES, resume=Resuming())
    assert rest.all_good
    assert os.stat(tmp_path / "out" / "a" / "tracks.parquet").st_mtime_ns == before
    assert checksums(tmp_path / "out") == checksums(tmp_path / "whole")


def test_the_command(films: Path, tmp_path: Path) -> None:
    """A folder of films and pictures; a list with a hole; and going on with it when the hole is filled."""
    words = ("--model", "colours", "--vocab", moving_shapes.THINGS, "--executor", "inline")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{films / 'a.mp4'}\n{tmp_path / 'late.mp4'}\n")
    (folder, pictures, hole), loaded = run_many(
        [
            ("segment", films, "-o", tmp_path / "folder", "--no-overlay", "--end", "0.1", *words),
            ("segment", films / "shots", "-o", tmp_path / "pictures", "--no-overlay", *words),
            ("segment", listed, "-o", tmp_path / "hole", "--export", "burst", *words),
        ]
    )
    assert (folder.code, pictures.code, hole.code) == (0, 0, 1), folder.err + pictures.err + hole.err
    assert loaded == []
    assert folder.out.startswith("4 files: 4 done; 12 frames")
    assert open_run(tmp_path / "pictures").num_frames == 3
    assert f"missing: {tmp_path / 'late.mp4'}: there is no such file" in hole.out
    assert (tmp_path / "hole" / "a" / "overlay.mp4").exists()
    assert (tmp_path / "hole" / "a" / "exports" / "burst").is_dir()
    shutil.copy(films / "b.mp4", tmp_path / "late.mp4")
    (late,), _ = run_many([("segment", "--resume", tmp_path / "hole", "--executor", "inline")])
    assert late.code == 0, late.err
    assert [entry["state"] for entry in read_summary(str(tmp_path / "hole")).data["entries"]] == ["done", "done"]
    assert (tmp_path / "hole" / "late" / "overlay.mp4").exists()
