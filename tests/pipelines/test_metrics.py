"""A run's numbers for Prometheus, asked for over HTTP while it goes."""

import socket
import urllib.request
from contextlib import closing
from pathlib import Path

import moving_shapes
import pytest
from command_lines import run_one
from prometheus_client.parser import text_string_to_metric_families

from pipelines.jobs import segment_job
from pipelines.metrics import serving_metrics
from pipelines.progress import Counters
from pipelines.run import run_job
from pipelines.settings import Placement, Products, RunSettings
from videoseg.errors import InputError


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def ask(port: int) -> dict[str, float]:
    """Every sample of the answer, read by Prometheus's own parser."""

    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.status == 200
        text = answer.read().decode()
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_numbers_are_served_while_a_run_goes(clip: Path, tmp_path: Path) -> None:
    placement, counters, port = Placement(executor="inline"), Counters(), free_port()
    job = segment_job(
        clip,
        moving_shapes.vocabulary(),
        model="colours",
        settings=RunSettings(frames_per_chunk=40, overlap=10),
        placement=placement,
    )
    seen: list[dict[str, float]] = []
    with serving_metrics(port, counters):
        run_job(
            job,
            tmp_path / "out",
            placement=placement,
            products=Products(overlay=False),
            counters=counters,
            on_progress=lambda progress: seen.append(ask(port)),
        )
        last = ask(port)
    done = [numbers["videoseg_frames_done_total"] for numbers in seen]
    assert done[:4] == [0, 8, 16, 24]
    assert all(numbers["videoseg_frames_selected"] == 48 for numbers in seen)
    halfway = seen[3]
    assert halfway["videoseg_chunks_done_total"] == 0
    assert halfway["videoseg_chunks"] == 1
    assert halfway["videoseg_frames_per_second"] > 0
    assert halfway["videoseg_remaining_seconds"] == pytest.approx(24 / halfway["videoseg_frames_per_second"], rel=0.2)
    assert 0 < halfway["videoseg_stage_busy_seconds_totalsegment"] <= last["videoseg_stage_busy_seconds_totalsegment"]
    assert (last["videoseg_frames_done_total"], last["videoseg_chunks_done_total"]) == (48, 1)
    with pytest.raises(OSError, match="refused"):
        ask(port)


def test_a_port_that_is_taken_is_said_at_once(clip: Path, tmp_path: Path) -> None:
    with closing(socket.socket()) as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(InputError, match=f"--metrics-port {port} cannot be served"),
            serving_metrics(port, Counters()),
        ):
            pass
        answer = run_one(
            *("segment", clip, "--model", "colours", "--vocab", "duck", "-o", tmp_path / "out", "--metrics-port", port)
        )
    assert answer.code == 2
    assert "Name another port" in answer.err
    assert not (tmp_path / "out").exists()
