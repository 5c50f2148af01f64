"""Other people's formats: each reads and writes in one file, and is known by the name of that file.

To add one, write a module with `NAME`, `sniff`, `read` and `export`, name it in `_MODULES`, describe it in
`docs/formats.md`, and give the test of recognition a small tree of it.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from videoseg.errors import InputError
from videoseg.formats.json_file import forget_json

if TYPE_CHECKING:
    from videoseg.formats.recorded import RecordedSegments
    from videoseg.store.reader import Run

_MODULES = (
    "vipseg",
    "coco_panoptic",
    "run_folder",
    "youtube_vis",
    "burst",
    "kitti_step",
    "cityscapes_vps",
    "kitti_mots",
    "davis",
    "vspw",
    "ade20k_150",
    "ade20k_847",
    "pascal_context_59",
    "pascal_context_459",
    "pascal_voc",
)


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


def read_segments(path: str | Path, format: str | None = None) -> "RecordedSegments":
    """Reads per-frame segments of any format we know.

    Args:
        path: the folder, or the file where the format has one for all.
        format: name of the format; None means that it is recognised.

    Raises:
        InputError: nothing there, of no format we know or of several, or damaged.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no {path}. Name a folder of per-frame segments, or its JSON file.")
    try:
        if format is not None:
            return find_format(format).read(path)
        found = recognise(path)
        if len(found) > 1:
            raise InputError(
                f"{path} can be read as {' or as '.join(found)}. Say which it is, with --format "
                "(of eval: --gt-format, --pred-format)."
            )
        if not found:
            raise InputError(
                f"{path} is no per-frame segments that videoseg knows ({', '.join(formats())}). "
                "docs/formats.md says which files each of them needs."
            )
        return find_format(found[0]).read(path)
    finally:
        forget_json()


def recognise(path: str | Path) -> list[str]:
    """Names of the formats that `path` is of; more than one where its layout and content leave it open."""
    return [name for name, known in formats().items() if known.sniff(Path(path))]


def find_format(name: str) -> Format:
    """The format of that name; InputError, which lists them, where there is none."""
    known = formats()
    if name not in known:
        raise InputError(f"There is no format {name!r}. There are: {', '.join(known)}.")
    return known[name]


def export_run(run: "Run", name: str, folder: str | Path | None = None) -> Path:
    """Exports a run as the format `name`, by default into `exports/<name>/` of its run folder.

    Raises:
        InputError: an unknown format, or a folder that is not empty.
    """
    known = find_format(name)
    target = Path(folder) if folder is not None else Path(run.path(f"exports/{name}"))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"The folder {target} for the export is not empty. Name another, or empty it.")
    return known.export(run, target)
