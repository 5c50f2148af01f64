"""Other people's formats: each reads and writes in one file, and is known by the name of that file.

To add one, write a module with `NAME`, `sniff`, `read` and `export`, and name it in `_MODULES`.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from videoseg.errors import InputError

if TYPE_CHECKING:
    from videoseg.formats.recorded import RecordedSegments
    from videoseg.store.reader import Run

_MODULES = ("vipseg", "coco_panoptic")


class Format(Protocol):
    """What a module of this package offers."""

    NAME: str

    def sniff(self, path: Path) -> bool:
        """Whether `path` is of this format, by its layout and content; never raises for other people's files."""

    def read(self, path: Path) -> "RecordedSegments":
        """Raises InputError, naming the file and the field that is wrong."""

    def export(self, run: "Run", folder: Path) -> Path:
        """Writes a run into `folder`; returns what to name to read it back."""


def formats() -> dict[str, Format]:
    """All formats by name."""
    modules = [cast(Format, import_module(f"videoseg.formats.{name}")) for name in _MODULES]
    return {module.NAME: module for module in modules}


def read_segments(path: str | Path) -> "RecordedSegments":
    """Reads per-frame segments of any format we know.

    Raises:
        InputError: nothing there, of no format we know, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no {path}. Name a folder of per-frame segments, or its JSON file.")
    for known in formats().values():
        if known.sniff(path):
            return known.read(path)
    raise InputError(
        f"{path} is no per-frame segments that videoseg knows ({', '.join(formats())}). "
        "It needs a JSON file with `annotations` beside a folder of PNGs."
    )


def export_run(run: "Run", name: str, folder: str | Path | None = None) -> Path:
    """Exports a run as the format `name`, by default into `exports/<name>/` of its run folder.

    Raises:
        InputError: an unknown format, or a folder that is not empty.
    """
    known = formats()
    if name not in known:
        raise InputError(f"There is no format {name!r}. There are: {', '.join(known)}.")
    target = Path(folder) if folder is not None else Path(run.path(f"exports/{name}"))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"The folder {target} for the export is not empty. Name another, or empty it.")
    return known[name].export(run, target)
