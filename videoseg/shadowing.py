"""Whether another file has taken the name of one of our packages: `eval` and `tracking` are words that people use."""

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

PACKAGES = ("eval", "odise_frame", "pipelines", "tracking")
"""The packages that videoseg brings beside itself."""


@dataclass(frozen=True, slots=True)
class Shadow:
    """A file that Python finds in the place of one of ours."""

    package: str
    file: str

    @property
    def sentence(self) -> str:
        return (
            f"{self.file} is in the way: Python finds it instead of the package {self.package!r} that videoseg needs. "
            "Rename it, or run from another folder."
        )


def shadows() -> list[Shadow]:
    """Looks for such files where Python looks, without importing anything."""
    home = Path(__file__).resolve().parent.parent
    found = []
    for package in PACKAGES:
        loaded = sys.modules.get(package)
        file = getattr(loaded, "__file__", None)
        if loaded is None:
            spec = PathFinder.find_spec(package)
            # A folder without __init__.py has no origin; any real package further on wins over it.
            file = spec.origin if spec is not None else None
        if file is not None and Path(file).resolve().parent != home / package:
            found.append(Shadow(package, str(file)))
    return found


def require_no_shadow() -> None:
    """Raises InputError where a file is in the way: for those who are about to use our other packages."""
    from videoseg.errors import InputError

    for shadow in shadows():
        raise InputError(shadow.sentence)
