"""Downloads against a real server on this machine: resumed, checked, refused, and never left half done."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serving

from pipelines import downloads
from pipelines.downloads import download
from videoseg.errors import InputError, VideosegError

DATA = np.random.default_rng(0).bytes(3_000_000)
DIGEST = sha256(DATA).hexdigest()
BY_HAND = "Get it with a browser."


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FileServer]:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(downloads, "_PAUSE", 0.01)
    with serving() as state:
        state.files["/weights"] = DATA
        yield state


def get(server: FileServer, target: Path, path: str = "/weights", prefix: str = DIGEST[:8]) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    download(
        f"{server.address}{path}",
        target,
        sha256_prefix=prefix,
        by_hand=BY_HAND,
        on_progress=lambda here, total: steps.append((here, total or -1)),
    )
    assert [each.name for each in target.parent.iterdir()] == [target.name]
    assert target.read_bytes() == DATA
    return steps


def refused(server: FileServer, target: Path, *words: str, path: str = "/weights", kind: type = InputError) -> None:
    with pytest.raises(kind) as caught:
        get(server, target, path)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert not target.exists()


def test_a_file_comes_whole_and_says_how_far_it_is(server: FileServer, tmp_path: Path) -> None:
    steps = get(server, tmp_path / "new" / "weights")
    assert steps[0] == (0, len(DATA))
    assert steps[-1] == (len(DATA), len(DATA))
    assert steps == sorted(steps)
    assert server.ranges("/weights") == [None]


def test_a_connection_that_breaks_is_gone_on_with(server: FileServer, tmp_path: Path) -> None:
    server.cuts["/weights"] = [1_000_000, 500_000, 7]
    get(server, tmp_path / "new" / "weights")
    assert server.ranges("/weights") == [None, "bytes=1000000-", "bytes=1500000-", "bytes=1500007-"]


def test_a_server_that_is_busy_is_asked_again(server: FileServer, tmp_path: Path) -> None:
    server.errors["/weights"] = [503, 429, 503]
    refused(server, tmp_path / "new" / "weights", "503", BY_HAND, kind=VideosegError)
    assert len(server.requests) == 4


def test_a_stopped_download_goes_on_in_the_next_run(server: FileServer, tmp_path: Path) -> None:
    server.cuts["/weights"] = [1_200_000, 0, 0, 0, 0, 0]
    target = tmp_path / "new" / "weights"
    refused(server, target, "No connection", "1 MB are kept", kind=VideosegError)
    server.cuts.clear()
    steps = get(server, target)
    assert steps[0] == (1_200_000, len(DATA))


def test_a_download_that_was_all_but_renamed(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "new" / "weights"
    target.parent.mkdir()
    (target.parent / "weights.part").write_bytes(DATA)
    get(server, target)


def test_a_server_that_knows_no_ranges_starts_anew(server: FileServer, tmp_path: Path) -> None:
    server.no_ranges.add("/weights")
    server.cuts["/weights"] = [1_000_000]
    get(server, tmp_path / "new" / "weights")
    assert server.ranges("/weights") == [None, "bytes=1000000-"]


@pytest.mark.parametrize("size", [100, len(DATA) + 5])
def test_what_is_left_of_another_file_is_not_kept(server: FileServer, tmp_path: Path, size: int) -> None:
    target = tmp_path / "new" / "weights"
    target.parent.mkdir()
    (target.parent / "weights.part").write_bytes(bytes(size))
    get(server, target)


def test_a_file_that_changed_in_between_starts_anew(server: FileServer, tmp_path: Path) -> None:
    target = tmp_path / "new" / "weights"
    server.files["/weights"] = bytes(len(DATA))
    server.cuts["/weights"] = [1_000_000, 0, 0, 0, 0]
    refused(server, target, "No connection", kind=VideosegError)
    server.files["/weights"], server.cuts["/weights"] = DATA, []
    steps = get(server, target)
    assert steps[0] == (0, len(DATA))


def test_a_wrong_checksum(server: FileServer, tmp_path: Path) -> None:
    server.files["/weights"] = DATA[:-1] + b"x"
    target = tmp_path / "new" / "weights"
    refused(server, target, "wrong checksum", DIGEST[:8], sha256(DATA[:-1] + b"x").hexdigest()[:12], BY_HAND)
    assert list(target.parent.glob("*.part")) == []


@pytest.mark.parametrize(
    ("code", "words"),
    [(401, ("may not", "401")), (403, ("403", "proxy")), (404, ("gone", "404")), (410, ("gone",)), (400, ("400",))],
)
def test_refusals_say_how_to_get_the_file_by_hand(
    server: FileServer, tmp_path: Path, code: int, words: tuple[str, ...]
) -> None:
    server.errors["/weights"] = [code]
    refused(server, tmp_path / "new" / "weights", *words, BY_HAND)
    assert len(server.requests) == 1


def test_the_hub_is_asked_with_the_token_and_nobody_else(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.address)
    path = "/CompVis/sd/resolve/main/weights"
    server.protected.add(path)
    server.redirects[path] = f"{server.address.replace('127.0.0.1', 'localhost')}/weights"
    url = f"https://huggingface.co{path}"
    with pytest.raises(InputError) as caught:
        download(url, tmp_path / "weights", sha256_prefix=DIGEST, by_hand=BY_HAND)
    for word in (
        "401",
        "accept its licence",
        f"{server.address}/CompVis/sd;",
        "no token was sent",
        "HF_TOKEN",
        BY_HAND,
    ):
        assert word in str(caught.value), str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(InputError, match="token that was sent does not suffice"):
        download(url, tmp_path / "weights", sha256_prefix=DIGEST, by_hand=BY_HAND)
    monkeypatch.setenv("HF_TOKEN", "secret")
    download(url, tmp_path / "weights", sha256_prefix=DIGEST, by_hand=BY_HAND)
    assert server.requests[-2] == (path, None, "Bearer secret")
    assert server.requests[-1] == ("/weights", None, None)


def test_proxies_are_respected(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.address)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    server.files["http://models.example.org/weights"] = DATA
    download("http://models.example.org/weights", tmp_path / "weights", sha256_prefix=DIGEST, by_hand=BY_HAND)
    assert (tmp_path / "weights").read_bytes() == DATA


def test_offline_means_offline(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    refused(server, tmp_path / "new" / "weights", "HF_HUB_OFFLINE", BY_HAND, kind=VideosegError)
    assert server.requests == []


def test_no_network(server: FileServer, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.address = f"http://127.0.0.1:{free.getsockname()[1]}"
    refused(server, tmp_path / "new" / "weights", "No connection", "proxy", BY_HAND, kind=VideosegError)


def test_more_than_the_disk_holds_is_refused_before_it_comes(server: FileServer, tmp_path: Path) -> None:
    server.lengths["/weights"] = 10**17
    refused(server, tmp_path / "new" / "weights", "are free", "VIDEOSEG_CACHE")


def test_a_disk_that_runs_full(server: FileServer, tmp_path: Path) -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10**6,) * 2)\n"
        "from pathlib import Path; from pipelines.downloads import download\n"
        f"download({server.address + '/weights'!r}, Path('weights'), sha256_prefix={DIGEST!r}, by_hand='')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert "VideosegError: The disk is full" in done.stderr
    assert "goes on where it stopped" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["weights.part", "weights.part.json"]
    steps: list[int] = []
    download(
        f"{server.address}/weights", tmp_path / "weights", sha256_prefix=DIGEST, by_hand=BY_HAND,
        on_progress=lambda here, total: steps.append(here),
    )  # fmt: skip
    assert steps[0] == 10**6
    assert (tmp_path / "weights").read_bytes() == DATA
