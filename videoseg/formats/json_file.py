"""The JSON files of a folder: found by their content, and parsed once however many formats look at them."""

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from videoseg.errors import InputError

Fits = Callable[[dict[str, Any]], bool]
"""Whether a parsed JSON object is of a format, by its content. Never raises."""


def find_json(path: Path, fits: Fits) -> list[tuple[Path, dict[str, Any]]]:
    """The JSON files at `path` that a format takes for its own.

    Args:
        path: a folder (its `*.json`, not those of folders below) or a file.
        fits: asked for every file that holds a JSON object.

    Returns:
        (file, content), in the order of names. The content is shared: it must not be changed.
    """
    found = []
    for file in json_files(path):
        data = parsed_json(file)
        if isinstance(data, dict) and fits(data):
            found.append((file, data))
    return found


def json_files(path: Path) -> list[Path]:
    """The JSON files that a path may mean: itself, or those in the folder (not in those below), by name."""
    return sorted(path.glob("*.json")) if path.is_dir() else [path] if path.suffix == ".json" else []


def parsed_json(file: Path) -> Any:
    """The content of a file, which is shared and must not be changed; None where it is no JSON."""
    try:
        status = file.stat()
        return _parsed(file, status.st_mtime_ns, status.st_size)
    except (OSError, ValueError, RecursionError):
        return None


def only_json(path: Path, fits: Fits, *, what: str, needs: str) -> tuple[Path, dict[str, Any]]:
    """The one such file.

    Args:
        what: name of the format, for messages.
        needs: what makes a file one of the format, for messages.

    Raises:
        InputError: none, or several.
    """
    found = find_json(path, fits)
    if not found:
        raise InputError(f"{path} holds no {what} JSON ({needs}).")
    if len(found) > 1:
        raise InputError(
            f"{path} holds several {what} files: {', '.join(file.name for file, _ in found)}. Name one of them."
        )
    return found[0]


def forget_json() -> None:
    """Lets go of what was parsed."""
    _parsed.cache_clear()


# Every format is asked about every file, and annotations have hundreds of megabytes. Four: annotations often come with
# lists of categories and of splits beside them.
@lru_cache(maxsize=4)
def _parsed(file: Path, modified: int, size: int) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
