"""`load_art`: sprites of your own for the world's concepts, to test on pictures that nobody here has seen."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from eval.synthetic_world.concepts import THINGS
from eval.synthetic_world.sprites import CELL, Sprite, sprite_of
from videoseg.errors import InputError


def load_art(folder: str | Path) -> dict[int, tuple[Sprite, ...]]:
    """Reads a folder of art.

    Args:
        folder: holds a folder per concept, named by any of its words ("dog", "teddy bear"), with PNGs of any names
            in it: RGBA, clear where the thing is not, at best 96 pixels or more. Not every concept need be there.

    Returns:
        For each concept found, by its index into `THINGS`, its sprites in the order of the files' names.

    Raises:
        InputError: a name that is no concept, a folder without a PNG, or a file that is no picture with a clear ground.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"The folder of art {folder} is not there.")
    words = {name: i for i, thing in enumerate(THINGS) for name in thing.names}
    found: dict[int, tuple[Sprite, ...]] = {}
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        thing = words.get(place.name.lower().replace("_", " "))
        if thing is None:
            known = ", ".join(entry.names[0] for entry in THINGS)
            raise InputError(f"The folder {place} is not named after a concept of the world. These are: {known}.")
        pictures = sorted(path for path in place.iterdir() if path.suffix.lower() == ".png")
        if not pictures:
            raise InputError(f"The folder {place} has no PNG. Put one in, or take the folder away.")
        found[thing] = found.get(thing, ()) + tuple(_sprite(path) for path in pictures)
    if not found:
        raise InputError(
            f"The folder of art {folder} has no folder named after a concept, such as dog/ with PNGs in it."
        )
    return found


def _sprite(path: Path) -> Sprite:
    try:
        with Image.open(path) as file:
            picture = file.convert("RGBA")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"The picture {path} cannot be read as PNG: {error}.") from error
    alpha = picture.getchannel("A")
    box = alpha.point([0] * 16 + [255] * 240).getbbox()
    if box is None or np.asarray(alpha).min() > 127:
        raise InputError(f"The picture {path} needs an alpha channel that is clear around the thing and opaque on it.")
    picture = picture.crop(box)
    factor = CELL / max(picture.size)
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    smooth = picture.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")
    return sprite_of(smooth, "own", path.stem)
