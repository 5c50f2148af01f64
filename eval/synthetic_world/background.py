"""Backgrounds: regions of stuff with soft, wavy borders, and the exact map of which pixel is what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.synthetic_world.concepts import STUFF, Split
from eval.synthetic_world.textures import TILE, scaled_tile

MIN_REGION = 0.03
"""Every region covers at least this share of a background, before things stand in front of it."""

# How many textures of each kind a split knows, and from which number on: no texture is in two splits.
_VARIANTS: dict[Split, tuple[int, int]] = {"train": (0, 8), "dev": (1000, 6), "test": (2000, 6)}
_SCALES = (0.55, 0.65, 0.75, 0.87, 1.0, 1.2)
_TRIES = 60
"""A random layout shows three regions in every frame of a hard scene about every fourth time."""
_COARSE = 4  # Border fields are smooth, so they are evaluated on every fourth pixel.

_OUTDOOR_BEHIND = ("hedge", "rock", "water", "brick wall")
_OUTDOOR_BELOW = ("grass", "sand", "snow", "road", "gravel", "water")
_INDOOR_BEHIND = ("brick wall", "curtain", "rock")
_INDOOR_BELOW = ("wood floor", "tile floor")


@dataclass(frozen=True, slots=True, eq=False)
class Background:
    """A picture of stuff."""

    image: Image.Image
    """RGB."""
    stuff_map: NDArray[np.uint8]
    """uint8 `[H, W]`: index into `STUFF` of the uppermost region with at least half opacity."""


def draw_background(
    rng: np.random.Generator,
    *,
    height: int,
    width: int,
    split: Split,
    regions: tuple[int, int] = (3, 5),
    unit: int = 0,
    accept: Callable[[NDArray[np.uint8]], bool] | None = None,
) -> Background:
    """Draws a background.

    Args:
        rng: where all chance comes from.
        height: in pixels.
        width: in pixels.
        split: whose textures to use.
        regions: least and greatest number of regions, all of different stuff.
        unit: height in pixels of the frame that will show it, for the scale of the textures; 0 means `height`.
        accept: whether a stuff map will do; others are drawn until one does, or `_TRIES` have been seen.
    """
    count = int(rng.integers(regions[0], regions[1] + 1))
    # A later region can by chance hide an earlier one; a few new tries suffice, the last is taken as it is.
    for _ in range(_TRIES if accept else 8):
        kinds, fields = _lay_out(rng, count, height, width)
        stuff_map = np.full((height, width), kinds[0], dtype=np.uint8)
        for kind, field in zip(kinds[1:], fields, strict=True):
            stuff_map[field >= 0] = kind
        shares = np.bincount(stuff_map.ravel(), minlength=len(STUFF))[kinds] / stuff_map.size
        if shares.min() >= MIN_REGION and (accept is None or accept(stuff_map)):
            break
    unit = unit or height
    image = _fill(rng, kinds[0], height, width, split, unit)
    for kind, field in zip(kinds[1:], fields, strict=True):
        softness = rng.uniform(1.0, 4.0) * unit / 256
        # floor(a + 1/2) is at least 128 exactly where the field is at least 0, so picture and map agree.
        opacity = np.clip(field * (127.5 / softness) + 128.0, 0, 255).astype(np.uint8)
        rows, columns = np.flatnonzero(opacity.max(axis=1)), np.flatnonzero(opacity.max(axis=0))
        if not len(rows):
            continue
        top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
        texture = _fill(rng, kind, bottom - top, right - left, split, unit)
        image.paste(texture, (left, top), Image.fromarray(opacity[top:bottom, left:right]))
    return Background(image=image, stuff_map=stuff_map)


def _fill(rng: np.random.Generator, kind: int, height: int, width: int, split: Split, unit: int) -> Image.Image:
    """A whole picture of one texture, at a random scale, place and tint."""
    first, count = _VARIANTS[split]
    variant = first + int(rng.integers(count))
    # A few sizes only, so that scaled tiles are found in the cache.
    side = max(8, round(TILE * float(rng.choice(_SCALES)) * unit / 256))
    gains = rng.uniform(0.82, 1.15) * rng.uniform(0.94, 1.06, 3)
    pixels = scaled_tile(kind, variant, side)
    columns = (np.arange(width) + int(rng.integers(side))) % side
    if rng.random() < 0.5:
        columns = columns[::-1]
    rows = (np.arange(height) + int(rng.integers(side))) % side
    filled = Image.fromarray(pixels.take(rows, axis=0).take(columns, axis=1))
    return filled.point(np.clip(np.arange(256) * gains[:, None], 0, 255).astype(int).ravel().tolist())


def _lay_out(
    rng: np.random.Generator, count: int, height: int, width: int
) -> tuple[list[int], list[NDArray[np.float32]]]:
    """Which stuff lies where.

    Returns:
        `count` indices into `STUFF`, from back to front, and for all but the first a float32 `[H, W]` field, about
        the signed distance in pixels to the region's border, positive inside.
    """
    chance = rng.random()
    place = _Place(rng, height, width)
    if count == 1:
        names, fields = _choose(rng, [stuff.names[0] for stuff in STUFF], 1), list[NDArray[np.float32]]()
    elif chance < 0.5:
        names, fields = _outdoor(rng, place, count)
    elif chance < 0.75:
        names, fields = _indoor(rng, place, count)
    else:
        names, fields = _patches(rng, place, count)
    index = {stuff.names[0]: i for i, stuff in enumerate(STUFF)}
    return [index[name] for name in names], [place.to_pixels(field) for field in fields]


class _Place:
    """Border fields on the coarse grid of one picture."""

    def __init__(self, rng: np.random.Generator, height: int, width: int) -> None:
        self.height, self.width = height, width
        self._rng = rng
        rows, columns = -(-height // _COARSE), -(-width // _COARSE)
        self._y = ((np.arange(rows, dtype=np.float32) + 0.5) * (height / rows))[:, None]
        self._x = ((np.arange(columns, dtype=np.float32) + 0.5) * (width / columns))[None, :]

    def line(self, y: float, x: float, angle: float, waviness: float) -> NDArray[np.float32]:
        """Positive on the lower side (angle 0) of a wavy line through (y, x), both in shares of the frame."""
        dy, dx = self._y - y * self.height, self._x - x * self.width
        along = np.cos(angle) * dx + np.sin(angle) * dy
        across = np.cos(angle) * dy - np.sin(angle) * dx
        for octave in (1.0, 2.3, 5.1):
            wavelength = self.height * self._rng.uniform(0.7, 1.6) / octave
            amplitude = waviness * self.height * self._rng.uniform(0.3, 1.0) / octave
            across = across + amplitude * np.sin(along * (2 * np.pi / wavelength) + self._rng.uniform(0, 2 * np.pi))
        return np.asarray(across, dtype=np.float32)

    def blob(self, y: float, x: float, radius: float) -> NDArray[np.float32]:
        """Positive inside a wobbly ellipse around (y, x); `radius` in shares of the height."""
        dy, dx = self._y - y * self.height, (self._x - x * self.width) / self._rng.uniform(1.0, 2.0)
        theta = np.arctan2(dy, dx)
        wobble = 1.0 + sum(
            self._rng.uniform(0, 0.4 / lobes) * np.sin(lobes * theta + self._rng.uniform(0, 2 * np.pi))
            for lobes in (2, 3, 5)
        )
        return np.asarray(radius * self.height * wobble - np.hypot(dy, dx), dtype=np.float32)

    def to_pixels(self, field: NDArray[np.float32]) -> NDArray[np.float32]:
        image = Image.fromarray(field).resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(image)


def _choose(rng: np.random.Generator, names: Sequence[str], count: int) -> list[str]:
    return [names[i] for i in rng.permutation(len(names))[:count]]


_Layout = tuple[list[str], list[NDArray[np.float32]]]


def _outdoor(rng: np.random.Generator, place: _Place, count: int) -> _Layout:
    """Sky (mostly), something behind, and ground divided by borders that run away from the eye."""
    horizon = rng.uniform(0.25, 0.55)
    names = ["sky"] if rng.random() < 0.85 else _choose(rng, ("hedge", "rock"), 1)
    fields: list[NDArray[np.float32]] = []
    if names == ["sky"] and (count > 3 or rng.random() < 0.4):
        names += _choose(rng, _OUTDOOR_BEHIND, 1)
        fields.append(place.line(horizon - rng.uniform(0.1, 0.2), 0.5, rng.uniform(-0.1, 0.1), 0.05))
    below = _choose(rng, [name for name in _OUTDOOR_BELOW if name not in names], count - len(names))
    ground = place.line(horizon, 0.5, rng.uniform(-0.08, 0.08), rng.choice([0.0, 0.02]))
    for i, name in enumerate(below):
        if i == 0:
            field = ground
        else:
            sign = rng.choice([-1.0, 1.0])
            angle = sign * rng.uniform(0.2, 1.3)
            field = place.line(rng.uniform(0.6, 0.85), rng.uniform(0.25, 0.75), angle, rng.uniform(0, 0.04))
            field = np.minimum(field, ground)
        names.append(name)
        fields.append(field)
    return names, fields


def _indoor(rng: np.random.Generator, place: _Place, count: int) -> _Layout:
    """One or more walls side by side above one or two floors."""
    floors = 1 if count < 3 or (count == 3 and rng.random() < 0.6) else 2
    walls = max(1, min(count - floors, len(_INDOOR_BEHIND)))
    names = _choose(rng, _INDOOR_BEHIND, walls) + _choose(rng, _INDOOR_BELOW, floors)
    fields = []
    for i in range(1, walls):
        x = (i + rng.uniform(-0.25, 0.25)) / walls
        fields.append(place.line(0.5, x, -np.pi / 2 + rng.uniform(-0.05, 0.05), 0.0))
    floor = place.line(rng.uniform(0.45, 0.65), 0.5, rng.uniform(-0.12, 0.12), 0.0)
    fields.append(floor)
    if floors == 2:
        angle = rng.choice([-1.0, 1.0]) * rng.uniform(0.6, 1.2)
        fields.append(np.minimum(floor, place.line(0.8, rng.uniform(0.35, 0.65), angle, 0.0)))
    return names, fields


def _patches(rng: np.random.Generator, place: _Place, count: int) -> _Layout:
    """Any stuff anywhere: what a view from above or a strange crop may show."""
    names = _choose(rng, [stuff.names[0] for stuff in STUFF], count)
    fields = []
    for _ in names[1:]:
        if rng.random() < 0.5:
            fields.append(place.blob(rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), rng.uniform(0.25, 0.45)))
        else:
            y, x = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)
            angle = rng.uniform(-np.pi, np.pi)
            fields.append(place.line(y, x, angle, rng.uniform(0.0, 0.06)) - 0.15 * place.height)
    return names, fields
