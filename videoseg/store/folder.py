"""`RunFolder`: the files of a run, local or in an object store, and how one of them comes into being whole."""

import contextlib
import errno
import os
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from videoseg.errors import InputError, VideosegError, is_disk_full

MANIFEST = "manifest.json"
REPORT = "run.json"
TRACKS = "tracks.parquet"
EVENTS = "events.parquet"
STITCHING = "stitching.parquet"
CHUNKS = "chunks"
OVERLAY = "overlay.mp4"
EXPORTS = "exports"

OWN_NAMES = (MANIFEST, REPORT, TRACKS, EVENTS, STITCHING, CHUNKS, OVERLAY, EXPORTS)
"""All that a run folder holds; overwriting removes these and nothing else."""

_PARTIAL = ".partial"


def chunk_file(chunk: int, name: str) -> str:
    """Name of a file of a chunk within the run folder."""
    return f"{CHUNKS}/{chunk:05d}/{name}"


class RunFolder:
    """A folder by name or URL (`out/`, `s3://bucket/run`), with the operations that a store needs."""

    def __init__(self, location: str | Path) -> None:
        text = os.fspath(location)
        # Other processes write here, too: what a listing said a moment ago is worth nothing.
        options: dict[str, Any] = {"use_listings_cache": False} if "://" in text else {}
        try:
            filesystem, root = fsspec.core.url_to_fs(text, **options)
        except ImportError as error:  # which package a protocol needs, in fsspec's words: "Install s3fs to access S3"
            raise InputError(f"{text} cannot be used: {error}. Install it with pip, or name a folder.") from None
        except ValueError as error:
            raise InputError(
                f"{text} cannot be used: {error}. Name a folder, or a URL as s3://bucket/folder."
            ) from None
        self._filesystem = filesystem
        self._local = isinstance(filesystem, LocalFileSystem)
        self.root = str(root).rstrip("/") or "/"
        self.location = os.fspath(location)
        """As the user gave it, for messages."""

    def path(self, name: str = "") -> str:
        """Full path of a file of the folder."""
        return f"{self.root}/{name}" if name else self.root

    def shown(self, name: str) -> str:
        """The same in the user's words, for messages."""
        return f"{self.location.rstrip('/')}/{name}"

    def exists(self, name: str = "") -> bool:
        with self._reaching():
            return bool(self._filesystem.exists(self.path(name)))

    def is_file(self) -> bool:
        """Whether there is a file where the folder should be."""
        with self._reaching():
            return bool(self._filesystem.isfile(self.root))

    def names(self, name: str = "") -> list[str]:
        """Names of what lies in the folder or in a folder of it, sorted; empty where there is none."""
        if not self.exists(name):
            return []
        with self._reaching():
            listed = self._filesystem.ls(self.path(name), detail=False)
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in listed)

    def make(self, name: str = "") -> None:
        """Stores of objects have no folders, and whoever writes there need not be allowed to make a bucket."""
        if self._local:
            os.makedirs(self.path(name), exist_ok=True)

    def remove(self, name: str) -> None:
        """Removes a file or a folder of the run; nothing happens where there is none."""
        if self._local and os.path.islink(self.path(name)):
            os.unlink(self.path(name))  # never follow a link out of the folder
        elif self.exists(name):
            with self._reaching():
                self._filesystem.rm(self.path(name), recursive=True)

    def open(self, name: str) -> Any:
        """A binary, seekable file to read."""
        with self._reaching():
            return self._filesystem.open(self.path(name), "rb")

    def read_text(self, name: str) -> str:
        """Raises FileNotFoundError; bytes that are not UTF-8 are replaced."""
        with self.open(name) as file:
            return bytes(file.read()).decode("utf-8", errors="replace")

    def write_text(self, name: str, text: str) -> None:
        """Writes a file whole or not at all."""
        with disk_errors(self, name):
            pending = self.begin(name)
            try:
                pending.file.write(text.encode())
                pending.commit()
            except BaseException:
                pending.abandon()
                raise

    def remove_partial(self, name: str = "") -> None:
        """Removes from the folder, or from a folder of it, what writers that died left; those alive then fail."""
        if self._local:
            for entry in self.names(name):
                if _PARTIAL in entry:
                    with contextlib.suppress(OSError):
                        os.unlink(self.path(f"{name}/{entry}" if name else entry))

    def begin(self, name: str) -> "PendingFile":
        """Starts a file that appears under its name only when committed."""
        with disk_errors(self, name):
            if self._local:
                path = self.path(name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                # No `with`: the file lives as long as the PendingFile.
                partial = path + _PARTIAL
                if name.startswith(f"{CHUNKS}/"):
                    # A writer that was believed dead may live on: it must not write into the file of its successor.
                    partial += f"-{uuid.uuid4().hex[:12]}"
                return PendingFile(self, name, open(partial, "wb"), partial)
            # Stores cannot rename, and closing a half-written object makes it appear: it is written here first.
            number, partial = tempfile.mkstemp(prefix="videoseg-")
            return PendingFile(self, name, os.fdopen(number, "wb"), partial)

    @contextmanager
    def local_path(self, name: str) -> Iterator[str]:
        """A path on this machine at which a file or folder of the run can be made by those who only know paths.

        In a store it is uploaded at the end, file by file, each of them whole.
        """
        if self._local:
            yield self.path(name)
            return
        with tempfile.TemporaryDirectory(prefix="videoseg-") as folder:
            place = os.path.join(folder, name.rsplit("/", 1)[-1])
            yield place
            files = [place] if os.path.isfile(place) else []
            files += [os.path.join(at, file) for at, _, found in os.walk(place) for file in found]
            for file in sorted(files):
                below = "" if file == place else "/" + os.path.relpath(file, place).replace(os.sep, "/")
                self.upload(file, name + below)

    def upload(self, file: str, name: str) -> None:
        """A file of this machine appears in the store under that name, whole, over one that was there."""
        with disk_errors(self, name), self._reaching():
            self._filesystem.put_file(file, self.path(name))

    @property
    def is_local(self) -> bool:
        return self._local

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        """What goes wrong on the way to a store is an OSError, whatever its client calls it."""
        try:
            yield
        except (OSError, VideosegError):
            raise
        except Exception as error:
            if self._local:
                raise
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from error


class PendingFile:
    """A file on its way: `file` to write to, then `commit` or `abandon`."""

    def __init__(self, folder: RunFolder, name: str, file: IO[bytes], partial: str) -> None:
        self.file = file
        self._folder = folder
        self._name = name
        self._partial = partial

    def is_there(self) -> bool:
        """False where somebody has removed it on its way."""
        return os.path.exists(self._partial)

    def commit(self) -> None:
        """The file is whole: it gets its name, over one that was there."""
        with disk_errors(self._folder, self._name):
            self.file.flush()
            if self._folder.is_local:
                try:
                    os.fsync(self.file.fileno())
                except OSError as error:
                    # Some network and FUSE file systems have no fsync.
                    if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                        raise
            self.file.close()
            if self._folder.is_local:
                os.replace(self._partial, self._folder.path(self._name))
                return
        self._folder.upload(self._partial, self._name)
        os.unlink(self._partial)

    def abandon(self) -> None:
        """Leaves nothing behind; never raises."""
        with contextlib.suppress(Exception):
            self.file.close()
        with contextlib.suppress(Exception):
            os.unlink(self._partial)


@contextmanager
def disk_errors(folder: RunFolder, name: str) -> Iterator[None]:
    """Says in one sentence what an OSError while writing `name` means for the user."""
    try:
        yield
    except OSError as error:
        if is_disk_full(error):
            raise VideosegError(
                f"No room left on the disk while writing {folder.shown(name)}. "
                "All chunks finished so far are kept and can be read; free some space and run again."
            ) from error
        raise VideosegError(f"{folder.shown(name)} could not be written: {error.strerror or error}.") from error


def require_writable(folder: RunFolder) -> None:
    """Makes the folder.

    Raises:
        InputError: it cannot be made or written to.
    """
    if folder.is_file():
        raise InputError(f"The output {folder.location} is a file. Name a folder.")
    try:
        folder.make()
        probe = folder.begin(".videoseg-probe")
        if folder.is_local:
            probe.abandon()
        else:
            probe.commit()  # only a store itself knows whether it takes something
            folder.remove(".videoseg-probe")
    except (OSError, VideosegError) as error:
        cause = error.__cause__ if isinstance(error, VideosegError) else error
        reason = getattr(cause, "strerror", None) or cause or error
        raise InputError(f"The output folder {folder.location} cannot be written to: {reason}. Name another.") from None
