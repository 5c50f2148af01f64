"""What `videoseg status` reads from a folder, while a run goes and after."""

import json
from pathlib import Path

import moving_shapes
import pytest
from command_lines import run_many, run_one

from pipelines import many_files, run
from pipelines.file_list import FileEntry
from pipelines.jobs import segment_job
from pipelines.many_files import run_files
from pipelines.run import Job, run_job
from pipelines.settings import Placement, Products, RunSettings
from pipelines.status import Status, read_status
from videoseg.errors import InputError

INLINE = Placement(executor="inline")
TABLES = Products(overlay=False)


def job_of(path: Path) -> Job:
    settings = RunSettings(frames_per_chunk=40, overlap=10)
    return segment_job(path, moving_shapes.vocabulary(), model="colours", settings=settings, placement=INLINE)


def test_a_run_is_seen_on_its_way_and_after(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_REPORT_SECONDS", 0.0)  # leave word after every window
    seen: list[Status] = []

    def on_progress(progress: object) -> None:
        if (tmp_path / "out" / "run.json").exists():
            seen.append(read_status(str(tmp_path / "out")))

    run_job(job_of(clip), tmp_path / "out", placement=INLINE, products=TABLES, on_progress=on_progress)
    assert seen[0].state == "begun"
    under_way = [status for status in seen if status.state == "running"]
    assert [status.frames for status in under_way] == sorted(status.frames for status in under_way)
    assert {8, 24, 48} <= {status.frames for status in under_way}
    assert all(status.total == 48 and status.chunks == 1 for status in under_way)
    halfway = next(status for status in under_way if status.frames == 24)
    assert halfway.chunks_done == 0
    assert halfway.frames_per_second is not None
    assert halfway.remaining == pytest.approx(24 / halfway.frames_per_second, rel=0.5)
    assert set(halfway.utilisation) == {"decode", "motion", "segment", "track", "write"}
    assert 0 < sum(halfway.utilisation.values()) <= 5
    assert halfway.silent is not None
    after = read_status(str(tmp_path / "out"))
    assert (after.state, after.frames, after.total, after.chunks_done) == ("done", 48, 48, 1)
    assert after.remaining is None
    assert after.failures == ()
    with pytest.raises(InputError, match="does not exist"):
        read_status(str(tmp_path / "elsewhere"))


def test_a_list_of_files_is_seen_on_its_way(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_files, "_REPORT_SECONDS", 0.0)
    entries = [
        FileEntry("one", str(clip)),
        FileEntry("none", str(tmp_path / "none.mp4")),
        FileEntry("two", str(clip), 1),
    ]
    seen: list[Status] = []

    def make(entry: FileEntry) -> Job:
        settings = RunSettings(start=entry.start)
        return segment_job(entry.path, moving_shapes.vocabulary(), model="colours", settings=settings, placement=INLINE)

    def on_progress(progress: object) -> None:
        seen.append(read_status(str(tmp_path / "out")))

    run_files(entries, make, tmp_path / "out", placement=INLINE, products=TABLES, on_progress=on_progress)
    assert {status.state for status in seen} == {"running"}
    assert seen[0].files == {"missing": 1, "running": 1, "waiting": 1}
    assert seen[0].total == 96  # an estimate: the second is taken to be as long as the first
    assert seen[-1].total == 48 + 18
    (answer, as_json), loaded = run_many([("status", tmp_path / "out"), ("status", tmp_path / "out", "--json")])
    assert loaded == []
    assert answer.code == as_json.code == 1
    assert f"failed: {tmp_path / 'none.mp4'}: missing: there is no such file" in answer.out
    assert json.loads(as_json.out)["files"] == {"done": 2, "missing": 1}
    assert json.loads(as_json.out)["frames"] == 66


def test_the_status_of_what_is_no_run(tmp_path: Path) -> None:
    answer = run_one("status", tmp_path)
    assert answer.code == 2
    assert "holds no run of videoseg" in answer.err
