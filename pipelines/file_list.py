"""`read_file_list`: many videos by one name (a folder, a glob, a list, Ego4D's files) become entries, in a fixed order.

Knows nothing of what the files contain: an entry that is missing, given twice or not a video is found out later.
"""

import csv
import glob
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from videoseg.errors import InputError

VIDEO_SUFFIXES = (
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".flv", ".wmv", ".3gp",
    ".ogv", ".mxf",
)  # fmt: skip
"""What is taken for a video in a folder; whoever names a file by itself may call it anything."""

_LISTS = (".txt", ".lst", ".csv", ".json")

_PATH_COLUMNS = ("path", "video", "file")

_EGO4D_FOLDERS = ("v2/full_scale", "full_scale", "v2/video_540ss", "video_540ss", "v1/full_scale")
"""Where the `ego4d` tool puts videos, relative to `ego4d.json` (its layout: github.com/facebookresearch/Ego4d)."""

_EGO4D_CLIPS = ("v2/clips", "clips", "v1/clips")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One line of a list."""

    name: str
    """Of its run folder, below the output; no two entries share one."""
    path: str
    """A video file or a folder of images; empty where the list names none."""
    start: float | None = None
    """Seconds, in place of the run's `--start`."""
    end: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Row:
    path: str
    name: str = ""
    start: float | None = None
    end: float | None = None


def is_file_list(source: str) -> bool:
    """Whether the name stands for many files: a folder without images, a glob, or a list; a folder of images is one."""
    from videoseg.video.images import SUFFIXES

    if "://" in source:
        return False
    if os.path.isdir(source):
        return not _holds(os.listdir(source), SUFFIXES) and any(True for _ in _in_folder(source))
    if os.path.exists(source):
        return source.lower().endswith(_LISTS)
    return any(sign in source for sign in "*?[")


def read_file_list(source: str) -> tuple[FileEntry, ...]:
    """The entries that a name stands for, in the order of the list, else of their paths.

    Args:
        source: a folder (its videos, and its subfolders of images), a glob, a text file (a path a line, `#` for
            comments), a CSV (column `path`, `video` or `file`; also `name`, `start`, `end`), `ego4d.json`, or Ego4D's
            `manifest.csv`. Relative paths in a list are relative to the list.

    Raises:
        InputError: it cannot be read, or names nothing.
    """
    suffix = os.path.splitext(source)[1].lower()
    if os.path.isdir(source):
        rows = [_Row(path, _name_below(path, source)) for path in _in_folder(source)]
    elif not os.path.exists(source):
        rows = [_Row(path) for path in sorted(glob.glob(source, recursive=True))]
        if not rows:
            raise InputError(f"Nothing is called {source}. Put quotes around it, or name a folder or a list.")
    elif suffix == ".csv":
        rows = _in_csv(source)
    elif suffix == ".json":
        rows = _in_ego4d(source)
    else:
        lines = [line.strip() for line in _text(source).splitlines()]
        rows = [_Row(_beside(source, line)) for line in lines if line and not line.startswith("#")]
    if not rows:
        raise InputError(f"{source} names no videos.")
    return tuple(_named(rows))


def _holds(names: Iterable[str], suffixes: tuple[str, ...]) -> bool:
    return any(name.lower().endswith(suffixes) and not name.startswith(".") for name in names)


def _in_folder(folder: str) -> Iterator[str]:
    """Videos at any depth; a folder with images is one source, and nothing below it is looked at."""
    from videoseg.video.images import SUFFIXES

    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if place != folder and _holds(files, SUFFIXES):
            folders.clear()
            yield place
            continue
        for name in sorted(files):
            if name.lower().endswith(VIDEO_SUFFIXES) and not name.startswith("."):
                yield os.path.join(place, name)


def _name_below(path: str, folder: str) -> str:
    relative = os.path.relpath(path, folder)
    stem = os.path.splitext(relative)[0] if relative.lower().endswith(VIDEO_SUFFIXES) else relative
    return stem.replace(os.sep, "-")


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"The list {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InputError(f"The list {path} is not text in UTF-8. Name a video, a folder, or a list of paths.") from None


def _beside(listed_in: str, path: str) -> str:
    return path if "://" in path else os.path.normpath(os.path.join(os.path.dirname(listed_in), path))


def _in_csv(path: str) -> list[_Row]:
    reader = csv.DictReader(_text(path).splitlines())
    columns = {(name or "").strip().lower(): name for name in reader.fieldnames or ()}
    if "video_uid" in columns:
        return [_of_ego4d_manifest(path, row) for row in reader]
    column = next((columns[name] for name in _PATH_COLUMNS if name in columns), None)
    if column is None:
        raise InputError(
            f"The list {path} has no column {', '.join(_PATH_COLUMNS[:-1])} or {_PATH_COLUMNS[-1]}: its first line "
            f"names {', '.join(columns) or 'nothing'}."
        )
    rows = []
    for line, row in enumerate(reader, start=2):
        told = {name: (row.get(columns[name]) or "").strip() for name in ("name", "start", "end") if name in columns}
        where = f"{path}, line {line}"
        given = (row.get(column) or "").strip()
        start, end = _seconds(told.get("start"), where), _seconds(told.get("end"), where)
        if start is not None and end is not None and start >= end:
            raise InputError(f"{where}: the end ({end:g} s) must come after the start ({start:g} s).")
        rows.append(_Row(_beside(path, given) if given else "", told.get("name", ""), start, end))
    return rows


def _seconds(text: str | None, where: str) -> float | None:
    if not text:
        return None
    try:
        seconds = 0.0
        for part in text.split(":"):
            seconds = seconds * 60 + float(part)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{where}: {text!r} is no time. Write seconds or H:M:S.")
    return seconds


def _of_ego4d_manifest(path: str, row: Mapping[str, str]) -> _Row:
    """A row of the `manifest.csv` that the `ego4d` tool keeps beside its videos."""
    uid = (row.get("video_uid") or "").strip()
    named = (row.get("canonical_s3_location") or row.get("s3_path") or "").strip().rsplit("/", 1)[-1]
    names = [
        name for name in (named, f"{(row.get('file_uid') or '').strip()}.mp4", f"{uid}.mp4") if name not in ("", ".mp4")
    ]
    beside = [_beside(path, name) for name in names]
    found = next((place for place in beside if os.path.exists(place)), beside[0] if beside else "")
    return _Row(found, uid if found.endswith(f"{uid}.mp4") else os.path.splitext(os.path.basename(found))[0])


def _in_ego4d(path: str) -> list[_Row]:
    try:
        data = json.loads(_text(path))
    except ValueError:
        raise InputError(f"The list {path} is not JSON.") from None
    found = data.get("videos") if isinstance(data, dict) else None
    clips = data.get("clips") if isinstance(data, dict) else None
    if not isinstance(found, list) and not isinstance(clips, list):
        raise InputError(f"{path} is not Ego4D's list of videos: it has neither `videos` nor `clips`.")
    rows = []
    for items, key, folders in (
        (found, "video_uid", _EGO4D_FOLDERS),
        (None if found else clips, "clip_uid", _EGO4D_CLIPS),
    ):
        for item in items or ():
            uid = str(item.get(key, "")) if isinstance(item, dict) else ""
            places = [_beside(path, f"{folder}/{uid}.mp4") for folder in folders]
            place = next((place for place in places if os.path.exists(place)), places[0])
            rows.append(_Row(place if uid else "", uid))
    return rows


def _named(rows: Iterable[_Row]) -> Iterator[FileEntry]:
    taken = {"files.json", "summary.json"}
    for row in rows:
        stem = os.path.basename(row.path.rstrip("/"))
        stem = os.path.splitext(stem)[0] if stem.lower().endswith(VIDEO_SUFFIXES) else stem
        # Letters of any script are fine in a folder's name; separators, leading dots and what a URL reads are not.
        wanted = re.sub(r"[^\w.()+=@, -]", "-", row.name or stem).lstrip(".").strip() or "unnamed"
        name, number = wanted, 1
        while name.casefold() in taken:  # some disks do not tell cases apart
            number += 1
            name = f"{wanted}-{number}"
        taken.add(name.casefold())
        # Whoever goes on with the run may be elsewhere.
        path = row.path if "://" in row.path or not row.path else os.path.abspath(row.path)
        yield FileEntry(name, path, row.start, row.end)
