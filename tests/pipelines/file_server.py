"""A web server on this machine that gives files, in all the ways in which real ones do not."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """Serves `files`; the rest says how badly."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    """Path -> content."""
    cuts: dict[str, list[int]] = field(default_factory=dict)
    """Path -> after how many bytes the next answers end."""
    errors: dict[str, list[int]] = field(default_factory=dict)
    """Path -> codes of the next answers; the last of them stays."""
    redirects: dict[str, str] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)
    """Paths that want a token."""
    no_ranges: set[str] = field(default_factory=set)
    lengths: dict[str, int] = field(default_factory=dict)
    """Path -> what is said of its length."""
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    """Path, Range and Authorization of every request."""

    def ranges(self, path: str) -> list[str | None]:
        return [asked for name, asked, _ in self.requests if name == path]


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server on a free port of this machine."""
    state = FileServer()

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, asked = self.path, self.headers.get("Range")
            state.requests.append((path, asked, self.headers.get("Authorization")))
            self.close_connection = True
            if codes := state.errors.get(path):
                return self._say(codes.pop(0) if len(codes) > 1 else codes[0])
            if path in state.protected and self.headers.get("Authorization") != "Bearer secret":
                return self._say(401)
            if path in state.redirects:
                return self._say(302, Location=state.redirects[path])
            if path not in state.files:
                return self._say(404)
            data = state.files[path]
            tag = f'"{hashlib.sha256(data).hexdigest()[:16]}"'
            start = 0
            if asked and path not in state.no_ranges and self.headers.get("If-Range", tag) == tag:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    return self._say(416, **{"Content-Range": f"bytes */{len(data)}"})
            length = state.lengths.get(path, len(data) - start)
            headers = {"Content-Length": str(length), "ETag": tag}
            if start:
                headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self.send_response(206 if start else 200)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            cuts = state.cuts.get(path)
            end = min(len(data), start + cuts.pop(0)) if cuts else len(data)
            self.wfile.write(data[start:end])
            return None

        def _say(self, code: int, **headers: str) -> None:
            self.send_response(code)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        state.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
