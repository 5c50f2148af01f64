"""One file over HTTP: goes on where it stopped, is held to its checksum, and appears whole or not at all."""

import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from videoseg import __version__
from videoseg.errors import InputError, VideosegError

_BLOCK = 2**20
_TIMEOUT = 30.0
"""Seconds without a byte before a connection counts as lost."""
_ATTEMPTS = 4
"""In a row without a byte in between; a connection that gives some may break as often as it likes."""
_PAUSE = 0.5
"""Seconds before the second attempt, doubled for each further one."""
_HUB = "https://huggingface.co"

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes in all, where the server says."""


class _BrokenError(Exception):
    """A connection that broke, with the reason; worth another attempt."""


def download(
    url: str,
    target: Path,
    *,
    sha256_prefix: str,
    by_hand: str,
    on_progress: OnProgress = lambda here, total: None,
) -> None:
    """Downloads a file. What a stopped download left (`NAME.part`) is gone on with, if the server can.

    Proxies are taken from the usual variables (`https_proxy`, `no_proxy`). Files of the Hugging Face hub come from
    `HF_ENDPOINT` where that is set, with the user's token where there is one.

    Args:
        target: appears when everything is there and right.
        sha256_prefix: hexadecimal digits that the file's SHA-256 must begin with.
        by_hand: one sentence: how a person gets the file in another way; ends every complaint.

    Raises:
        InputError: the server refuses (401, 403, 404, …), or what it gave has another checksum.
        VideosegError: no connection, or no room.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise VideosegError(f"HF_HUB_OFFLINE is set, so {url} is not downloaded. Unset it, or: {by_hand}")
    target.parent.mkdir(parents=True, exist_ok=True)
    address = _address(url)
    part = target.with_name(f"{target.name}.part")
    began_anew = not part.exists()
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(address, part, by_hand, on_progress)
        except _BrokenError as broken:
            here = part.stat().st_size if part.exists() else 0
            failures = failures + 1 if here <= before else 0
            if failures >= _ATTEMPTS:
                raise VideosegError(
                    f"No connection to {urlsplit(address).netloc} ({broken}). Check the network and the proxy "
                    f"variables, then run the command again: {here / 1e6:,.0f} MB are kept. Or: {by_hand}"
                ) from None
            time.sleep(_PAUSE * 2**failures)
            continue
        with part.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
        if found.startswith(sha256_prefix):
            part.replace(target)
            _memory(part).unlink(missing_ok=True)
            return
        part.unlink()
        if began_anew:
            raise InputError(
                f"{address} gave a file with the wrong checksum: its SHA-256 begins with {found[:12]}, it should begin "
                f"with {sha256_prefix[:12]}. Run the command again; if that is no better, the file was changed where "
                f"it is published, or on its way. Or: {by_hand}"
            )
        began_anew = True  # what an earlier download left may have been of another file


def _continue(address: str, part: Path, by_hand: str, on_progress: OnProgress) -> None:
    """Fetches what is missing of the file; _BrokenError where the connection ends too early."""
    here = part.stat().st_size if part.exists() else 0
    memory = _recall(part)
    request = urllib.request.Request(address, headers={"User-Agent": f"videoseg/{__version__}"})
    token = _token(address)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # not for those it redirects to
    if here:
        request.add_header("Range", f"bytes={here}-")
        if memory.get("etag"):
            request.add_header("If-Range", memory["etag"])
    try:
        # An opener of its own: `urlopen` keeps the proxies of its first call.
        with urllib.request.build_opener().open(request, timeout=_TIMEOUT) as answer:
            if answer.status != 206:
                here = 0
            length = answer.headers.get("Content-Length")
            total = here + int(length) if length and length.isdecimal() else None
            _remember(part, address, answer.headers.get("ETag"))
            with part.open("ab" if here else "wb") as file:
                _copy(answer, file, here, total, on_progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and here:
            if error.headers.get("Content-Range", "").endswith(f"/{here}"):
                return  # everything was here already
            part.unlink()
            raise _BrokenError("the server has another file now") from None
        if error.code in (408, 425, 429) or error.code >= 500:
            raise _BrokenError(f"the server says {error.code}") from None
        raise InputError(_refusal(address, error.code, bool(token), by_hand)) from None
    except urllib.error.URLError as error:
        raise _BrokenError(str(error.reason)) from None
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _BrokenError(str(error) or type(error).__name__) from None


def _copy(answer: Any, file: IO[bytes], here: int, total: int | None, on_progress: OnProgress) -> None:
    folder = Path(file.name).parent
    free = shutil.disk_usage(folder).free
    if total is not None and total - here > free:
        raise InputError(
            f"{(total - here) / 1e9:.1f} GB are to be downloaded and {free / 1e9:.1f} GB are free in {folder}. Free "
            "some space, or set VIDEOSEG_CACHE to a folder on another disk."
        )
    on_progress(here, total)
    while block := answer.read(_BLOCK):
        try:
            file.write(block)
            file.flush()
        except OSError as error:
            raise VideosegError(
                f"The disk is full ({folder}). Free some space, or set VIDEOSEG_CACHE to a folder on "
                "another disk; the download goes on where it stopped."
            ) from error
        here += len(block)
        on_progress(here, total)
    if total is not None and here < total:
        raise _BrokenError(f"the connection ended after {here:,} of {total:,} bytes")


def _refusal(address: str, code: int, with_token: bool, by_hand: str) -> str:
    hub = address.startswith(_endpoint())
    if code in (401, 403) and hub:
        page = address.split("/resolve/")[0]
        token = (
            "the token that was sent does not suffice"
            if with_token
            else "no token was sent (log in with `hf auth login`, or set HF_TOKEN)"
        )
        return f"{address} asks for permission ({code}): accept its licence at {page}; {token}. Or: {by_hand}"
    if code in (401, 403):
        return f"{address} may not be downloaded from here ({code}), perhaps a proxy or a firewall. {by_hand}"
    if code in (404, 410):
        return f"{address} is gone ({code}): the file was moved or withdrawn. {by_hand}"
    return f"{address} cannot be downloaded: the server says {code}. {by_hand}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", _HUB).rstrip("/")


def _address(url: str) -> str:
    return _endpoint() + url.removeprefix(_HUB) if url.startswith(f"{_HUB}/") else url


def _token(address: str) -> str | None:
    """The user's token for the hub, and for nobody else."""
    if not address.startswith(f"{_endpoint()}/"):
        return None
    from huggingface_hub import get_token

    token: str | None = get_token()
    return token


def _memory(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _remember(part: Path, address: str, etag: str | None) -> None:
    # A weak tag does not promise the same bytes.
    strong = etag if etag and not etag.startswith("W/") else None
    _memory(part).write_text(json.dumps({"url": address, "etag": strong}), encoding="utf-8")


def _recall(part: Path) -> dict[str, Any]:
    try:
        memory = json.loads(_memory(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}
