"""Procedural textures of stuff: seamless tiles, every one drawn anew from its number."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.synthetic_world.concepts import STUFF

TILE = 256
"""Side of a tile in pixels; tiles repeat without a seam."""

Field = NDArray[np.float32]
"""float32 `[TILE, TILE]`."""


@lru_cache(maxsize=256)
def tile(stuff: int, variant: int) -> Image.Image:
    """The RGB tile number `variant` of a kind of stuff.

    Args:
        stuff: index into `STUFF`.
        variant: any non-negative number; other numbers are other pictures of the same stuff.
    """
    name = STUFF[stuff].names[0]
    rng = np.random.default_rng([7, stuff, variant])
    pixels = _DRAW[name](rng)
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


@lru_cache(maxsize=640)
def scaled_tile(stuff: int, variant: int, side: int) -> NDArray[np.uint8]:
    """uint8 `[side, side, 3]`: the tile at another size, still seamless."""
    return np.asarray(tile(stuff, variant).resize((side, side), Image.Resampling.BILINEAR))


@lru_cache(maxsize=4)
def _frequencies() -> tuple[Field, Field]:
    y = np.fft.fftfreq(TILE)[:, None].astype(np.float32)
    x = np.fft.rfftfreq(TILE)[None, :].astype(np.float32)
    return y, x


def _noise(rng: np.random.Generator, wavelength: float, *, stretch: float = 1.0, octaves: float = 1.0) -> Field:
    """Seamless noise of mean 0 and deviation 1; `wavelength` in pixels, `stretch` > 1 makes it longer sideways."""
    y, x = _frequencies()
    radius = np.sqrt(y * y + (x * stretch) ** 2) * wavelength
    # A power law above the wavelength's frequency; `octaves` is how fast finer detail dies.
    amplitude = 1.0 / (1.0 + radius ** (1.0 + octaves)) ** 1.5
    amplitude[0, 0] = 0.0
    spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE), dtype=np.float32)) * amplitude
    field = np.fft.irfft2(spectrum, s=(TILE, TILE))
    return np.asarray(field / (field.std() + 1e-9), dtype=np.float32)


def _ramp(field: Field, *colours: tuple[float, float, float]) -> NDArray[np.float32]:
    """Maps a field (about -2..2) through evenly spaced colours."""
    position = np.clip((field + 2.0) / 4.0, 0.0, 1.0) * (len(colours) - 1)
    table = np.asarray(colours, dtype=np.float32)
    index = np.minimum(position.astype(np.int32), len(colours) - 2)
    part = (position - index)[..., None]
    return np.asarray(table[index] * (1 - part) + table[index + 1] * part, dtype=np.float32)


def _vary(rng: np.random.Generator, colour: tuple[float, float, float], amount: float) -> tuple[float, float, float]:
    gain = rng.uniform(1 - amount, 1 + amount)
    red, green, blue = (channel * gain + rng.uniform(-60, 60) * amount for channel in colour)
    return red, green, blue


def _coordinates() -> tuple[Field, Field]:
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32)
    return y, x


def _cells(rng: np.random.Generator, count: int) -> tuple[NDArray[np.int32], Field]:
    """Seamless Voronoi cells: number of the cell and distance to the border, in pixels, per pixel."""
    from scipy.spatial import cKDTree

    points = rng.uniform(0, TILE, (count, 2))
    # Copies around the tile make it seamless; a periodic tree would do the same several times slower.
    shifts = np.array([(dy, dx) for dy in (-TILE, 0, TILE) for dx in (-TILE, 0, TILE)])
    copies = (points[None] + shifts[:, None]).reshape(-1, 2)
    near = np.all((copies > -48) & (copies < TILE + 48), axis=1)
    tree = cKDTree(copies[near])
    y, x = _coordinates()
    wobble = 1.5
    queries = np.stack([y + wobble * _noise(rng, 20), x + wobble * _noise(rng, 20)], -1)
    distance, found = tree.query(queries.reshape(-1, 2), k=2)
    index = np.tile(np.arange(count), len(shifts))[near][found]
    border = (distance[:, 1] - distance[:, 0]).reshape(TILE, TILE).astype(np.float32)
    return index[:, 0].reshape(TILE, TILE).astype(np.int32), border


def _sky(rng: np.random.Generator) -> NDArray[np.float32]:
    blue = _vary(rng, (98, 160, 226), 0.15)
    clouds = np.clip((_noise(rng, 90, stretch=1.7, octaves=0.9) - rng.uniform(-0.2, 1.2)) * 0.9, 0, 1)[..., None]
    white = np.asarray(_vary(rng, (238, 240, 245), 0.05), np.float32)
    return np.asarray(np.asarray(blue) * (1 - clouds) + white * clouds, dtype=np.float32)


def _hedge(rng: np.random.Generator) -> NDArray[np.float32]:
    index, border = _cells(rng, int(rng.integers(350, 700)))
    shade = rng.normal(0, 0.8, index.max() + 1).astype(np.float32)[index] + np.clip(border / 4, 0, 1.5) - 0.9
    dark, light = _vary(rng, (14, 44, 18), 0.2), _vary(rng, (74, 128, 46), 0.2)
    return _ramp(shade + 0.3 * _noise(rng, 40), dark, light)


def _brick_wall(rng: np.random.Generator) -> NDArray[np.float32]:
    rows = int(rng.choice([8, 16]))
    height, width = TILE / rows, TILE / (rows / 2)
    y, x = _coordinates()
    row = np.floor(y / height).astype(np.int32)
    shifted = (x + (row % 2) * width / 2) % TILE
    column = np.floor(shifted / width).astype(np.int32)
    joint = (y % height < 0.13 * height) | (shifted % width < 0.07 * width)
    shade = rng.normal(0, 0.7, (rows, rows)).astype(np.float32)[row, column] + 0.5 * _noise(rng, 8)
    base = _vary(rng, (158, 74, 52), 0.22)
    bricks = _ramp(
        shade, (base[0] * 0.7, base[1] * 0.65, base[2] * 0.65), base, (base[0] * 1.2, base[1] * 1.3, base[2] * 1.3)
    )
    mortar = np.asarray(_vary(rng, (188, 180, 168), 0.12), np.float32)
    return np.where(joint[..., None], mortar + 6 * _noise(rng, 4)[..., None], bricks).astype(np.float32)


def _rock(rng: np.random.Generator) -> NDArray[np.float32]:
    ridged = 1.5 - 2.2 * np.abs(_noise(rng, 70, octaves=0.7)) + 0.6 * _noise(rng, 12)
    grey = _vary(rng, (118, 108, 98), 0.15)
    return _ramp(ridged, tuple(0.45 * c for c in grey), grey, tuple(1.35 * c for c in grey))  # type: ignore[arg-type]


def _curtain(rng: np.random.Generator) -> NDArray[np.float32]:
    _, x = _coordinates()
    folds = int(rng.integers(5, 12))
    phase = 2 * np.pi * folds * x / TILE + 0.7 * _noise(rng, 110)
    shade = 1.3 * np.sin(phase) + 0.3 * np.sin(2 * phase + 1) + 0.12 * _noise(rng, 3)
    base = ((150, 40, 70), (90, 60, 130), (200, 170, 120), (60, 100, 110))[int(rng.integers(4))]
    colour = _vary(rng, base, 0.15)
    return _ramp(shade, tuple(0.45 * c for c in colour), colour, tuple(1.3 * c for c in colour))  # type: ignore[arg-type]


def _water(rng: np.random.Generator) -> NDArray[np.float32]:
    ripples = _noise(rng, 26, stretch=3.5, octaves=0.8) + 0.4 * _noise(rng, 90)
    deep, light = _vary(rng, (20, 82, 128), 0.15), _vary(rng, (86, 166, 190), 0.12)
    picture = _ramp(ripples, deep, deep, light)
    glint = np.clip(_noise(rng, 10, stretch=3.5) - 2.0, 0, 1)[..., None]
    return np.asarray(picture + 120 * glint, dtype=np.float32)


def _grass(rng: np.random.Generator) -> NDArray[np.float32]:
    blades = 0.8 * _noise(rng, 9, stretch=0.35, octaves=0.4) + 0.7 * _noise(rng, 80)
    dark, light = _vary(rng, (44, 102, 30), 0.18), _vary(rng, (126, 182, 66), 0.12)
    return _ramp(blades, dark, light)


def _sand(rng: np.random.Generator) -> NDArray[np.float32]:
    dunes = 0.8 * _noise(rng, 60, stretch=2.2) + 0.5 * _noise(rng, 2, octaves=0.1)
    base = _vary(rng, (214, 186, 134), 0.08)
    return _ramp(dunes, tuple(0.8 * c for c in base), base, tuple(1.12 * c for c in base))  # type: ignore[arg-type]


def _snow(rng: np.random.Generator) -> NDArray[np.float32]:
    drifts = _noise(rng, 90, stretch=1.7, octaves=1.3) + 0.15 * _noise(rng, 3, octaves=0.1)
    return _ramp(drifts, _vary(rng, (196, 208, 228), 0.04), (240, 243, 248), (252, 252, 254))


def _road(rng: np.random.Generator) -> NDArray[np.float32]:
    grey = rng.uniform(70, 100)
    shade = grey + 9 * _noise(rng, 2, octaves=0.05) + 5 * _noise(rng, 70)
    picture = np.repeat(shade[..., None], 3, axis=2) + np.asarray([0, 0, 4], np.float32)
    y, x = _coordinates()
    dash = (np.abs(y - TILE / 2) < 5) & (x % 128 < 80)
    picture[dash] = 0.25 * picture[dash] + 0.75 * np.asarray(_vary(rng, (226, 222, 200), 0.08), np.float32)
    return picture


def _gravel(rng: np.random.Generator) -> NDArray[np.float32]:
    index, border = _cells(rng, int(rng.integers(450, 800)))
    tint = rng.normal(0, 1, (index.max() + 1, 3)) * 9 + rng.normal(0, 26, (index.max() + 1, 1))
    base = np.asarray(_vary(rng, (150, 142, 134), 0.12))
    stones = (base + tint).astype(np.float32)[index]
    return np.asarray(stones * (0.35 + 0.65 * np.clip(border / 3.5, 0, 1))[..., None], dtype=np.float32)


def _wood_floor(rng: np.random.Generator) -> NDArray[np.float32]:
    rows = int(rng.choice([4, 8]))
    height = TILE / rows
    y, x = _coordinates()
    row = np.floor(y / height).astype(np.int32)
    offset = rng.integers(0, TILE, rows)[row]
    shifted = (x + offset) % TILE
    board = np.floor(shifted / (TILE / 2)).astype(np.int32)
    shade = rng.normal(0, 0.6, (rows, 2)).astype(np.float32)[row, board] + 0.8 * _noise(rng, 10, stretch=9.0)
    joint = (y % height < 2) | (shifted % (TILE / 2) < 2)
    base = _vary(rng, ((168, 112, 62), (132, 82, 46), (196, 150, 98))[int(rng.integers(3))], 0.1)
    picture = _ramp(shade, tuple(0.65 * c for c in base), base, tuple(1.2 * c for c in base))  # type: ignore[arg-type]
    picture[joint] *= 0.5
    return picture


def _tile_floor(rng: np.random.Generator) -> NDArray[np.float32]:
    count = int(rng.choice([4, 6, 8]))
    size = TILE / count
    y, x = _coordinates()
    row, column = np.floor(y / size).astype(np.int32), np.floor(x / size).astype(np.int32)
    light = np.asarray(_vary(rng, (222, 218, 208), 0.08), np.float32)
    other = np.asarray(
        _vary(rng, ((60, 66, 78), (150, 180, 178), (178, 120, 96))[int(rng.integers(3))], 0.15), np.float32
    )
    picture = np.where(((row + column) % 2 == 0)[..., None], light, other) + 4 * _noise(rng, 30)[..., None]
    joint = (y % size < 2.5) | (x % size < 2.5)
    picture[joint] = (140, 136, 130)
    return picture.astype(np.float32)


_DRAW = {
    "sky": _sky,
    "hedge": _hedge,
    "brick wall": _brick_wall,
    "rock": _rock,
    "curtain": _curtain,
    "water": _water,
    "grass": _grass,
    "sand": _sand,
    "snow": _snow,
    "road": _road,
    "gravel": _gravel,
    "wood floor": _wood_floor,
    "tile floor": _tile_floor,
}
