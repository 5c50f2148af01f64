"""Sprites: the pictures of things, read from the shipped atlases, and how one is put into a frame."""

import json
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CELL = 96
"""Longer side of a sprite in the atlas, in pixels."""
ATLAS_COLUMNS = 12
SPRITE_FOLDER = Path(__file__).parent / "sprite_art"
MARGIN = 2
"""Clear pixels around a sprite at every level, so that bilinear sampling fades out at its edge."""
_PATCHES = 6
"""A bent sprite is drawn in so many patches each way: more are not seen, fewer kink."""


@dataclass(frozen=True, slots=True, eq=False)
class Sprite:
    """One picture of one thing in one style and one colouring."""

    style: str
    icon: str
    drawn: tuple[Image.Image, ...]
    """RGBA as drawn, at full size, half, quarter and eighth, each with a clear margin of `MARGIN` pixels."""
    height: int
    """Of the picture at full size without the margin, in pixels; the longer side is `CELL`."""
    width: int
    fill: float
    """Share of the picture's box that is opaque, in (0, 1]."""
    colouring: tuple[float, ...] | None = None
    """3×4 matrix on RGB, rows first; None leaves the colours as drawn."""
    _coloured: dict[int, Image.Image] = field(default_factory=dict)

    def level(self, number: int) -> Image.Image:
        """RGBA at 1 / 2^`number` of the full size, in the sprite's colours."""
        if self.colouring is None:
            return self.drawn[number]
        if number not in self._coloured:
            rgb = self.drawn[number].convert("RGB").convert("RGB", self.colouring)
            rgb.putalpha(self.drawn[number].getchannel("A"))
            self._coloured[number] = rgb
        return self._coloured[number]

    def side_for(self, area: float) -> float:
        """Length in pixels of the longer side at which the sprite covers `area` pixels."""
        return float(CELL * np.sqrt(area / (self.fill * self.width * self.height)))

    def area_at(self, pose: "Pose") -> float:
        """Pixels that the sprite covers in a pose where nothing hides it: the inverse of `side_for`."""
        scale = pose.side / CELL
        return self.fill * self.width * self.height * scale * scale * pose.squash

    def recoloured(self, *, hue: float, saturation: float, gain: float) -> "Sprite":
        """The same sprite in other colours.

        Args:
            hue: rotation of the hue in degrees.
            saturation: factor on the distance from grey.
            gain: factor on the brightness.
        """
        matrix = _colour_matrix(hue, saturation, gain)
        return replace(self, colouring=matrix, _coloured={})

    def colour(self) -> tuple[float, float, float]:
        """Mean red, green and blue of the opaque pixels, 0..255."""
        pixels = np.asarray(self.level(2)).reshape(-1, 4).astype(np.float64)
        weights = pixels[:, 3] + 1e-9
        red, green, blue = (pixels[:, :3] * weights[:, None]).sum(0) / weights.sum()
        return float(red), float(green), float(blue)


@dataclass(frozen=True, slots=True)
class Bend:
    """How a sprite is bent out of its drawn shape: a smooth field of displacements, in shares of its box's sides."""

    lean: float = 0.0
    """Sideways shift of the upper edge against the lower one."""
    curve: float = 0.0
    """Sideways bulge of the middle against both ends."""
    wag: float = 0.0
    """Height of a wave that runs along the width, as in a fish that swims."""
    stride: float = 0.0
    """How far the lower left and the lower right come apart (or together), as legs do."""
    phase: float = 0.0
    """Of the wave, in radians."""

    @property
    def reach(self) -> tuple[float, float]:
        """Greatest displacement down and sideways."""
        return abs(self.wag), abs(self.lean) / 2 + abs(self.curve) + abs(self.stride)

    def displacement(
        self, down: NDArray[np.float64], across: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Downward and sideways displacement at places of the box, both 0 at its upper left and 1 at its lower right.

        Every term moves as much to one side as to the other, so that area is nearly kept.
        """
        inside, low = np.clip(down, 0.0, 1.0), np.clip(2.0 * down - 1.0, 0.0, 1.0)
        sideways = (
            self.lean * (0.5 - inside)
            + self.curve * (np.sin(np.pi * inside) - 2 / np.pi)
            + self.stride * low * np.sin(2 * np.pi * np.clip(across, 0.0, 1.0))
        )
        downward = self.wag * np.sin(2 * np.pi * np.clip(across, 0.0, 1.0) + self.phase)
        return downward, sideways


@dataclass(frozen=True, slots=True)
class Pose:
    """Where and how a sprite stands in a frame."""

    y: float
    """Of the sprite's centre, in pixels; 0 is the frame's upper edge."""
    x: float
    side: float
    """Length of the sprite's longer side in pixels."""
    angle: float
    """Clockwise, in degrees."""
    mirrored: bool = False
    squash: float = 1.0
    """Factor on the height alone (a gait, a breath)."""
    bend: Bend | None = None


@dataclass(frozen=True, eq=False)
class Stamp:
    """A posed sprite cut to its box in a frame."""

    left: int
    top: int
    image: Image.Image
    """RGBA."""

    @cached_property
    def own(self) -> NDArray[np.bool_]:
        """bool `[h, w]`: the pixels of at least half opacity, which the ground truth calls the thing's own."""
        return np.asarray(self.image.getchannel("A")) >= 128

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the frame that the stamp covers."""
        return slice(self.top, self.top + self.image.height), slice(self.left, self.left + self.image.width)


def stamp(sprite: Sprite, pose: Pose, *, height: int, width: int) -> Stamp | None:
    """Poses a sprite into a frame of `height` × `width` pixels; None where it lies wholly outside."""
    angle = np.deg2rad(pose.angle)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    scale = pose.side / CELL
    slack_y, slack_x = pose.bend.reach if pose.bend else (0.0, 0.0)
    half_height = sprite.height * pose.squash * scale * (0.5 + slack_y) + 1
    half_width = sprite.width * scale * (0.5 + slack_x) + 1
    reach_y = half_height * abs(cosine) + half_width * abs(sine)
    reach_x = half_width * abs(cosine) + half_height * abs(sine)
    top, bottom = max(0, int(np.floor(pose.y - reach_y))), min(height, int(np.ceil(pose.y + reach_y)))
    left, right = max(0, int(np.floor(pose.x - reach_x))), min(width, int(np.ceil(pose.x + reach_x)))
    if top >= bottom or left >= right:
        return None
    # The smallest level that is not enlarged: bilinear sampling is clean down to half the size.
    number = int(np.clip(np.floor(-np.log2(max(scale, 1e-6))), 0, len(sprite.drawn) - 1))
    level = sprite.level(number)
    inner_width, inner_height = level.width - 2 * MARGIN, level.height - 2 * MARGIN
    across = inner_width / (sprite.width * scale) * (-1.0 if pose.mirrored else 1.0)
    down = inner_height / (sprite.height * scale * pose.squash)
    # Frame to sprite: turn back about the centre, then scale each axis.
    a, b = across * cosine, across * sine
    d, e = -down * sine, down * cosine
    offset_x, offset_y = left - pose.x, top - pose.y
    c = a * offset_x + b * offset_y + level.width / 2
    f = d * offset_x + e * offset_y + level.height / 2
    size = right - left, bottom - top
    if pose.bend is None:
        image = level.transform(size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)
        return Stamp(left=left, top=top, image=image)
    # A mesh of bilinear patches follows the smooth field closely with few pieces.
    columns = np.linspace(0, size[0], min(_PATCHES, size[0]) + 1).round()
    rows = np.linspace(0, size[1], min(_PATCHES, size[1]) + 1).round()
    x, y = np.meshgrid(columns, rows)
    from_x, from_y = a * x + b * y + c, d * x + e * y + f
    downward, sideways = pose.bend.displacement((from_y - MARGIN) / inner_height, (from_x - MARGIN) / inner_width)
    from_x, from_y = (from_x + sideways * inner_width).tolist(), (from_y + downward * inner_height).tolist()
    edges_x, edges_y = columns.astype(int).tolist(), rows.astype(int).tolist()
    patches = []
    for i in range(len(edges_y) - 1):
        for j in range(len(edges_x) - 1):
            box = edges_x[j], edges_y[i], edges_x[j + 1], edges_y[i + 1]
            # The corners' order is PIL's: upper left, lower left, lower right, upper right.
            corners = tuple(
                source[row][column]
                for row, column in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))
                for source in (from_x, from_y)
            )
            patches.append((box, corners))
    image = level.transform(size, Image.Transform.MESH, patches, Image.Resampling.BILINEAR)
    return Stamp(left=left, top=top, image=image)


def sprite_of(picture: Image.Image, style: str, icon: str) -> Sprite:
    """The sprite of a picture.

    Args:
        picture: RGBA, cut to what is visible, its longer side `CELL` pixels.
        style: name of the style it belongs to.
        icon: name of the picture.
    """
    levels = []
    for shrink in (1, 2, 4, 8):
        size = max(1, round(picture.width / shrink)), max(1, round(picture.height / shrink))
        level = Image.new("RGBA", (size[0] + 2 * MARGIN, size[1] + 2 * MARGIN))
        small = picture.convert("RGBa").resize(size, Image.Resampling.BOX).convert("RGBA")
        level.paste(small, (MARGIN, MARGIN))
        levels.append(level)
    fill = float(np.mean(np.asarray(picture)[..., 3] >= 128))
    return Sprite(style, icon, tuple(levels), picture.height, picture.width, fill)


@cache
def load_style(style: str) -> dict[str, Sprite]:
    """All sprites of a style, by name of the icon."""
    cells = json.loads((SPRITE_FOLDER / "cells.json").read_text(encoding="utf-8"))[style]
    with Image.open(SPRITE_FOLDER / f"{style}.png") as image:
        atlas = image.convert("RGBA")
    sprites = {}
    for icon, (cell, width, height) in cells.items():
        left, top = cell % ATLAS_COLUMNS * CELL, cell // ATLAS_COLUMNS * CELL
        sprites[icon] = sprite_of(atlas.crop((left, top, left + width, top + height)), style, icon)
    return sprites


def _colour_matrix(hue: float, saturation: float, gain: float) -> tuple[float, ...]:
    """The 3×4 matrix, rows first, of a hue rotation about the grey axis with saturation and gain."""
    grey = np.array([0.299, 0.587, 0.114])
    to_yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    cosine, sine = np.cos(np.deg2rad(hue)), np.sin(np.deg2rad(hue))
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    matrix = np.linalg.inv(to_yiq) @ turn @ to_yiq
    matrix = gain * (saturation * matrix + (1 - saturation) * np.tile(grey, (3, 1)))
    return tuple(float(v) for row in matrix for v in (*row, 0.0))
