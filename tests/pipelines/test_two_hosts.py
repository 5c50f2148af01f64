"""A cluster of two hosts, one of which is cut off while it works. The hosts are network namespaces of this machine."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import moving_shapes
import pytest

from pipelines.jobs import segment_job
from pipelines.run import run_job
from pipelines.settings import Placement, Products, RunSettings

HERE = Path(__file__).resolve().parent
HEAD, OTHER, BRIDGE = "videoseg-a", "videoseg-b", ("videoseg-va", "videoseg-vb")
ADDRESS = "10.77.0.1:6379"

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(shutil.which("ip") is None or os.geteuid() != 0, reason="needs iproute2 and root"),
]

_NEEDED = """
ip netns add "$0" && ip link add "$0" type veth peer name "$0-p"
code=$?
ip link del "$0" && ip netns del "$0"
exit $code
"""

# A host that does not answer for three seconds is taken for dead; Ray's own patience is half a minute.
IMPATIENT = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_prestart_worker_first_driver": "0",
    # At Ray's own 15 the workers of a machine that is busy with other things come after minutes.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_RAYLET_START_WAIT_TIME_S": "180",
    # Between hosts, Ray of late asks for a token that both know.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": "0123456789abcdef" * 4,
    "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]),
}


def on(host: str, *command: str) -> list[str]:
    return ["ip", "netns", "exec", host, *command]


def do(*command: str, **more: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **IMPATIENT}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment, **more)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def hosts() -> Iterator[None]:
    """Two hosts with a cable between them, and Ray on both."""
    ray = str(Path(sys.executable).parent / "ray")
    tried = subprocess.run(["sh", "-c", _NEEDED, "videoseg-try"], capture_output=True, text=True)
    if tried.returncode != 0:
        pytest.skip(f"no network namespaces here: {tried.stderr.strip()}")
    try:
        for host in (HEAD, OTHER):
            do("ip", "netns", "add", host)
        do("ip", "link", "add", BRIDGE[0], "type", "veth", "peer", "name", BRIDGE[1])
        for host, end, number in ((HEAD, BRIDGE[0], 1), (OTHER, BRIDGE[1], 2)):
            do("ip", "link", "set", end, "netns", host)
            do(*on(host, "ip", "addr", "add", f"10.77.0.{number}/24", "dev", end))
            do(*on(host, "ip", "link", "set", end, "up"))
            do(*on(host, "ip", "link", "set", "lo", "up"))
        common = ["--num-cpus=3", "--object-store-memory=150000000", "--disable-usage-stats"]
        do(
            *on(
                HEAD,
                ray,
                "start",
                "--head",
                "--port=6379",
                "--node-ip-address=10.77.0.1",
                "--include-dashboard=false",
                *common,
            )
        )
        do(*on(OTHER, ray, "start", f"--address={ADDRESS}", "--node-ip-address=10.77.0.2", *common))
        yield
    finally:
        for host in (HEAD, OTHER):
            pids = subprocess.run(["ip", "netns", "pids", host], capture_output=True, text=True).stdout.split()
            for pid in pids:
                subprocess.run(["kill", "-9", pid], capture_output=True)
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def checksums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


def test_a_host_that_is_cut_off_costs_time_and_nothing_else(hosts: None, long_clip: Path, tmp_path: Path) -> None:
    inline = Placement(executor="inline")
    settings = RunSettings(frames_per_chunk=10, overlap=4)
    job = segment_job(long_clip, moving_shapes.vocabulary(), model="colours", settings=settings, placement=inline)
    run_job(job, tmp_path / "alone", placement=inline, products=Products(overlay=False))
    folder = tmp_path / "run"
    driver = subprocess.Popen(
        on(HEAD, sys.executable, str(HERE / "two_hosts_driver.py"), str(long_clip), str(folder), ADDRESS),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **IMPATIENT},
    )
    try:
        deadline = time.monotonic() + 600
        while len(list(folder.glob("chunks/*/chunk.json"))) < 4 and driver.poll() is None:
            assert time.monotonic() < deadline, "nothing was ever finished"
            time.sleep(0.1)
        assert driver.poll() is None, driver.communicate()[1]
        do(*on(OTHER, "ip", "link", "set", BRIDGE[1], "down"))
        out, errors = driver.communicate(timeout=900)
    finally:
        driver.kill()
    assert driver.returncode == 0, errors
    answer = json.loads(out.splitlines()[-1])
    assert answer["complete"], answer
    assert answer["restarts"] >= 1, "a host was cut off while it worked"
    assert checksums(folder) == checksums(tmp_path / "alone")
