"""Where models lie that do not ship with the package: a cache folder of the user's. Loads no torch."""

import os
from pathlib import Path

CACHE_VARIABLE = "VIDEOSEG_CACHE"


def cache_folder() -> Path:
    """`$VIDEOSEG_CACHE`, or `videoseg` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`)."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "videoseg"


def models_folder() -> Path:
    """Of all installed models: a folder with the name of the model for each."""
    return cache_folder() / "models"


def installed_folder(name: str) -> Path | None:
    """The folder of an installed model; None where it is not there, or not whole."""
    folder = models_folder() / name
    is_name = Path(name).name == name  # no path that leads elsewhere
    return folder if is_name and (folder / "model.json").is_file() else None
