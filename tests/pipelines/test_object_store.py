"""Run folders in an object store: a real server that speaks S3, started here, through s3fs."""

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import killed_driver
import moving_shapes
import pytest
import s3fs
from command_lines import run_many

from pipelines.file_list import FileEntry
from pipelines.jobs import segment_job
from pipelines.many_files import run_files
from pipelines.run import Job, Resuming, run_job
from pipelines.settings import Placement, Products, RunSettings
from pipelines.status import read_status
from videoseg.errors import InputError, VideosegError
from videoseg.store.folder import RunFolder
from videoseg.store.reader import open_run

INLINE = Placement(executor="inline")
PRODUCTS = Products(overlay=True, exports=("burst",))


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Where the server is; it begins empty but for the bucket `films`."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    variables = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = dict(os.environ)
    os.environ.update(variables)  # workers in other processes read them, too
    try:
        for _ in range(600):
            assert process.poll() is None, "moto.server has ended"
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        put = urllib.request.Request(f"{url}/films", method="PUT")
        urllib.request.urlopen(put, timeout=10).close()
        yield url
    finally:
        process.terminate()
        process.wait()
        os.environ.clear()
        os.environ.update(before)


def objects(folder: str) -> dict[str, str]:
    """SHA-256 of every object below the URL, as a client of its own sees them."""
    store = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    root = folder.removeprefix("s3://")
    return {
        name.removeprefix(root + "/"): hashlib.sha256(store.cat_file(name)).hexdigest() for name in store.find(root)
    }


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def fixed(found: dict[str, str]) -> dict[str, str]:
    """Those whose bytes are part of the result."""
    return {name: value for name, value in found.items() if name not in ("run.json", "overlay.mp4", "summary.json")}


def job_of(path: Path) -> Job:
    settings = RunSettings(frames_per_chunk=24, overlap=6)
    return segment_job(path, moving_shapes.vocabulary(), model="colours", settings=settings, placement=INLINE)


@pytest.fixture(scope="module")
def on_disk(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("disk") / "run"
    run_job(job_of(clip), folder, placement=INLINE, products=PRODUCTS)
    return files(folder)


def test_a_run_in_a_store_has_the_same_bytes(clip: Path, server: str, on_disk: dict[str, str]) -> None:
    where = "s3://films/whole"
    stop = Event()

    def on_progress(progress: object) -> None:
        if "chunks/00000/chunk.json" in objects(where):
            stop.set()  # in the second of two chunks

    stopped = run_job(job_of(clip), where, placement=INLINE, products=PRODUCTS, stop=stop, on_progress=on_progress)
    assert not stopped.complete
    assert 24 <= stopped.num_frames < 48
    assert read_status(where).state == "stopped"
    with pytest.raises(InputError, match="is not empty"):
        run_job(job_of(clip), where, placement=INLINE)
    run = run_job(job_of(clip), where, placement=INLINE, products=PRODUCTS, resume=Resuming())
    there = objects(where)
    assert fixed(there) == fixed(on_disk)
    assert set(there) == set(on_disk)  # the overlay is there, and nothing was left over
    assert run.complete
    assert sum(1 for _ in run.frames()) == 48
    assert len(open_run(where).tracks()) == len(run.tracks()) > 2
    (exported, told), _ = run_many([("export", where, "-f", "davis"), ("status", where)])
    assert exported.code == 0, exported.err
    assert any(name.startswith("exports/davis/") for name in objects(where))
    assert "Frames:  48 of 48 (100%)" in told.out
    again = run_job(job_of(clip), where, placement=INLINE, products=Products(overlay=False), overwrite=True)
    assert again.complete
    assert not any(name.startswith("exports/") or name == "overlay.mp4" for name in objects(where))


def test_workers_of_a_list_write_into_a_store(clip: Path, server: str, on_disk: dict[str, str]) -> None:
    where = "s3://films/many"
    entries = [FileEntry("one", str(clip)), FileEntry("none", "/nowhere.mp4")]
    summary = run_files(
        entries, lambda entry: job_of(Path(entry.path)), where, placement=Placement(workers=2), products=PRODUCTS
    )
    assert summary.data["states"] == {"done": 1, "missing": 1}
    assert fixed(objects(f"{where}/one")) == fixed(on_disk)
    assert read_status(where).files == {"done": 1, "missing": 1}


@pytest.mark.parametrize(("executor", "workers"), [("inline", 1), pytest.param("local", 2, marks=pytest.mark.full)])
def test_a_run_in_a_store_whose_driver_is_killed_goes_on(
    clip: Path, server: str, tmp_path: Path, executor: str, workers: int
) -> None:
    def run(out: Path | str, resume: Resuming | None = None) -> None:
        job = killed_driver.job_of(FileEntry("film", str(clip)), INLINE)
        run_job(job, out, placement=INLINE, products=killed_driver.PRODUCTS, resume=resume)

    run(tmp_path / "whole")
    where = f"s3://films/killed-{executor}"
    killed_driver.killed(clip, where, executor, workers, 10)
    committed = [name for name in objects(where) if name.endswith("chunk.json")]
    assert 0 < len(committed) < 4
    run(where, Resuming())
    there = objects(where)
    assert fixed(there) == fixed(files(tmp_path / "whole"))
    assert set(there) == set(files(tmp_path / "whole")), "nothing was left over"


def test_what_was_not_finished_never_appears(server: str) -> None:
    folder = RunFolder("s3://films/pending")
    folder.write_text("manifest.json", "old")
    pending = folder.begin("manifest.json")
    pending.file.write(b"x" * 12_000_000)
    pending.abandon()
    assert folder.read_text("manifest.json") == "old"
    pending = folder.begin("manifest.json")
    pending.file.write(b"new")
    assert folder.read_text("manifest.json") == "old"
    pending.commit()
    assert folder.read_text("manifest.json") == "new"
    assert folder.names() == ["manifest.json"]
    folder.remove("manifest.json")
    assert not folder.exists("manifest.json")


def test_a_store_that_cannot_be_used_says_so(
    clip: Path, server: str, monkeypatch: pytest.MonkeyPatch, on_disk: Any
) -> None:
    with pytest.raises(InputError, match=r"s3://none/run cannot be written to: .*bucket does not exist"):
        run_job(job_of(clip), "s3://none/run", placement=INLINE)
    with pytest.raises(InputError, match="does not exist"):
        open_run("s3://films/elsewhere")
    with pytest.raises(InputError, match="cannot be used"):
        RunFolder("nothing://films/run")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(VideosegError, match=r"127\.0\.0\.1:9"):
            run_job(job_of(clip), "s3://films/unreachable", placement=INLINE)
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
