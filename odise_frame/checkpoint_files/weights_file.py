"""What all files of weights have in common: opened with a word on what is wrong, read by offset, closed."""

from hashlib import file_digest as hash_file
from pathlib import Path
from typing import IO, Self

from videoseg.errors import InputError


class WeightsFile:
    """A file of weights, open for reading; a context manager.

    Attributes:
        path: of the file.

    Raises:
        InputError: see `open_weights`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = open_weights(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def _bytes(self, begin: int, length: int) -> bytearray:
        """So many bytes from that offset on; InputError where the file ends before."""
        data = bytearray(length)
        self._file.seek(begin)
        if self._file.readinto(data) != length:  # type: ignore[attr-defined]
            raise InputError(f"{self.path} is cut off. Take the file again.")
        return data


def open_weights(path: Path) -> IO[bytes]:
    """The file for reading.

    Raises:
        InputError: missing, not a file, not readable, empty, or a pointer of Git LFS.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file of weights.") from None
    except PermissionError:
        raise InputError(f"{path} cannot be read: its permissions forbid it. Run `chmod u+r` on it.") from None
    start = file.read(24)
    if not start or start.startswith(b"version https://git-lfs"):
        file.close()
        if not start:
            raise InputError(f"{path} is empty. Take the file again.")
        raise InputError(f"{path} is only a pointer of Git LFS: run `git lfs pull` where it came from.")
    file.seek(0)
    return file


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hash_file(file, "sha256").hexdigest()
