"""Formats that a run can be written in, by name."""

from collections.abc import Callable
from pathlib import Path

from pipelines.progress import Progress, silent
from videoseg.errors import InputError
from videoseg.store.folder import EXPORTS
from videoseg.store.reader import Run

FORMATS = ("vipseg",)


def require_format(name: str) -> None:
    """Raises InputError where there is no format of that name."""
    if name not in FORMATS:
        raise InputError(f"There is no export format {name!r}. The ones there are: {', '.join(FORMATS)}.")


def export_run(
    run: Run,
    name: str,
    output: str | Path | None = None,
    *,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = silent,
) -> str:
    """Writes a run in another format.

    Args:
        output: folder to write; `exports/<name>` in the run folder where None.
        overwrite: replaces an earlier export.

    Returns:
        The folder.

    Raises:
        InputError: unknown format, unreadable run or output that cannot be used.
    """
    require_format(name)
    place = run.path(f"{EXPORTS}/{name}") if output is None else str(output)
    raise NotImplementedError(place)
