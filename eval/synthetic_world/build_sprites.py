"""How the shipped sprites were made: `python -m eval.synthetic_world.build_sprites FOLDER`.

FOLDER holds three icon sets of the npm registry, unpacked:

    for p in noto fluent-emoji twemoji; do npm pack @iconify-json/$p; done
    for f in iconify-json-*.tgz; do mkdir ${f%.tgz}; tar xzf $f -C ${f%.tgz}; done

(versions 1.2.9, 1.2.7 and 1.2.5 for the shipped ones), and `pip install resvg-py` draws the SVG. Nothing of this is
needed to use the world.
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eval.synthetic_world.concepts import STYLES, THINGS
from eval.synthetic_world.sprites import ATLAS_COLUMNS, CELL, SPRITE_FOLDER

_PACKAGES = {"noto": "noto", "fluent": "fluent-emoji", "twemoji": "twemoji"}
_SUPERSAMPLING = 4


def draw(icons: dict[str, Any], name: str) -> Image.Image:
    """One icon as RGBA, cut to its visible box, the longer side `CELL` pixels.

    Args:
        icons: the content of an `icons.json` in the Iconify format.
        name: name of the icon; skin tones as in `man-walking-dark`.
    """
    import resvg_py  # type: ignore[import-not-found, unused-ignore]

    entry = None
    for suffix in ("", "-skin-tone"):
        key = icons.get("aliases", {}).get(name + suffix, {}).get("parent", name + suffix)
        entry = entry or icons["icons"].get(key)
    if entry is None:
        raise SystemExit(f"The icon set {icons['prefix']!r} has no icon {name!r}.")
    width, height = entry.get("width", icons["width"]), entry.get("height", icons["height"])
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {names} viewBox="0 0 {width} {height}">{entry["body"]}</svg>'
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=CELL * _SUPERSAMPLING))
    image = Image.open(io.BytesIO(png)).convert("RGBA")
    image = image.crop(image.getchannel("A").point(lambda alpha: 255 if alpha >= 16 else 0).getbbox())
    factor = CELL / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.convert("RGBa").resize(size, Image.Resampling.LANCZOS).convert("RGBA")


def main(folder: Path) -> None:
    """Writes one atlas per style and the table of their cells beside this file."""
    names = [icon for thing in THINGS for icon in thing.icons]
    rows = -(-len(names) // ATLAS_COLUMNS)
    table: dict[str, dict[str, list[int]]] = {}
    for style in STYLES:
        (path,) = folder.glob(f"**/iconify-json-{_PACKAGES[style]}-*/package/icons.json")
        icons = json.loads(path.read_text(encoding="utf-8"))
        atlas = Image.new("RGBA", (ATLAS_COLUMNS * CELL, rows * CELL))
        table[style] = {}
        for i, name in enumerate(names):
            sprite = draw(icons, name)
            atlas.paste(sprite, (i % ATLAS_COLUMNS * CELL, i // ATLAS_COLUMNS * CELL))
            table[style][name] = [i, *sprite.size]
        # The colour under nothing need not be stored.
        pixels = np.array(atlas)
        pixels[pixels[..., 3] == 0] = 0
        Image.fromarray(pixels).save(SPRITE_FOLDER / f"{style}.png", optimize=True)
    text = json.dumps(table, indent=None, separators=(",", ":")).replace("},", "},\n").replace("],", "],\n")
    (SPRITE_FOLDER / "cells.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]))
