"""Words on a picture: how a label looks, and where in its segment it stands.

Knows id maps and rectangles, nothing of categories or tracks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from videoseg.rendering.colours import luminance, mixed
from videoseg.vocabulary import Colour

# An anchor needs no more precision than this many cells along the longer side; the search costs 2 ms at any size.
_CELLS = 160
# Labels are about this much wider than high: the place searched for is the middle of the largest such rectangle.
_ASPECT = 3
# A place with this share of the largest room will do, if the label then moves less.
_ENOUGH_ROOM = 0.7


@dataclass(frozen=True, slots=True)
class Room:
    """Where a label fits inside a segment."""

    x: float
    """Middle of the label, in pixels."""
    y: float
    half_width: float
    """Half of the width and height of a rectangle around it that lies inside the segment, in pixels, about."""
    half_height: float


def find_rooms(
    id_map: NDArray[np.uint16],
    ids: Sequence[int],
    wishes: dict[int, tuple[float, float]] | None = None,
    taken: Sequence[tuple[int, int, int, int]] = (),
) -> dict[int, Room]:
    """The place for a label in each segment: inside it, with much room around, near where it is wished.

    Args:
        id_map: uint16 `[H, W]`.
        ids: the segments that want a label.
        wishes: id -> (x, y) in pixels, for instance where the label was in the frame before; else the middle.
        taken: boxes (left, top, right, bottom) in pixels where no label may stand.

    Returns:
        id -> room; segments too small for the search grid have none.
    """
    height, width = id_map.shape
    step = max(1, -(-max(height, width) // _CELLS))
    cells = id_map[step // 2 :: step, step // 2 :: step]
    if taken:
        cells = cells.copy()
        for left, top, right, bottom in taken:
            cells[top // step : -(-bottom // step), left // step : -(-right // step)] = 0
    depth = _depth(cells)
    rooms = {}
    order = np.argsort(cells, axis=None, kind="stable")
    sorted_ids = cells.ravel()[order]
    for i in ids:
        first, last = np.searchsorted(sorted_ids, i, "left"), np.searchsorted(sorted_ids, i, "right")
        if first == last:
            continue
        places = order[first:last]
        depths = depth.ravel()[places]
        rows, columns = np.divmod(places, cells.shape[1])
        peak = int(depths.max())
        x, y = (columns.mean(), rows.mean()) if not wishes or i not in wishes else _cell(wishes[i], step)
        enough = depths >= _ENOUGH_ROOM * peak
        distance = (columns[enough] - x) ** 2 + (rows[enough] - y) ** 2
        nearest = int(np.argmin(distance))
        # The wish itself is kept when it lies in the best cell: labels then move smoothly, not from cell to cell.
        if distance[nearest] > 0.5:
            x, y = float(columns[enough][nearest]), float(rows[enough][nearest])
        room = int(depths[enough][nearest])
        rooms[i] = Room(
            x=min((x + 0.5) * step, width - 0.5),
            y=min((y + 0.5) * step, height - 0.5),
            half_width=(room * _ASPECT + 0.5) * step,
            half_height=(room + 0.5) * step,
        )
    return rooms


def _cell(place: tuple[float, float], step: int) -> tuple[float, float]:
    return place[0] / step - 0.5, place[1] / step - 0.5


def _depth(cells: NDArray[np.uint16]) -> NDArray[np.int32]:
    """How many cells up and down, and three times as many left and right, have the same id as the cell itself.

    All segments are eroded at once. The border of the picture is a border of every segment.
    """
    inside = np.zeros(cells.shape, dtype=bool)
    core = cells[1:-1, _ASPECT:-_ASPECT]
    if core.size == 0:
        return np.zeros(cells.shape, dtype=np.int32)
    inside[1:-1, _ASPECT:-_ASPECT] = (cells[:-2, _ASPECT:-_ASPECT] == core) & (cells[2:, _ASPECT:-_ASPECT] == core)
    for d in range(1, _ASPECT + 1):
        inside[1:-1, _ASPECT:-_ASPECT] &= cells[1:-1, _ASPECT - d : cells.shape[1] - _ASPECT - d] == core
        inside[1:-1, _ASPECT:-_ASPECT] &= (
            cells[1:-1, _ASPECT + d : (-_ASPECT + d) or None] == core if d < _ASPECT else cells[1:-1, 2 * d :] == core
        )
    depth = inside.astype(np.int32)
    alive = inside
    while alive.any():
        smaller = np.zeros_like(alive)
        smaller[1:-1, _ASPECT:-_ASPECT] = (
            alive[1:-1, _ASPECT:-_ASPECT]
            & alive[:-2, _ASPECT:-_ASPECT]
            & alive[2:, _ASPECT:-_ASPECT]
            & alive[1:-1, : -2 * _ASPECT]
            & alive[1:-1, 2 * _ASPECT :]
        )
        depth += smaller
        alive = smaller
    return depth


@lru_cache(maxsize=8)
def font(size: int) -> Any:
    """Pillow's own font at a size in pixels."""
    return ImageFont.load_default(size=size)


@lru_cache(maxsize=2048)
def label_patch(name: str, number: str, colour: Colour, size: int, strong: bool) -> NDArray[np.float32]:
    """A rounded tablet with a name and, a little fainter, a number.

    Args:
        colour: of the segment; a strong label is filled with it, a weak one is dark with a tint of it.
        size: of the font in pixels.

    Returns:
        float32 `[h, w, 4]`: red, green and blue in 0..255, multiplied by alpha, and alpha in 0..1.
    """
    scale = 3  # drawn larger and shrunk, for smooth corners
    if strong:
        fill = mixed(colour, (0, 0, 0), 0.08)
        # At this luminance black and white have the same contrast, 4.6.
        ink: Colour = (0, 0, 0) if luminance(fill) > 0.179 else (255, 255, 255)
        alpha = 255
    else:
        fill, ink, alpha = mixed(colour, (16, 18, 22), 0.78), (240, 242, 245), 165
    face = font(size)
    left, _, right, _ = face.getbbox(name)
    ascent, descent = face.getmetrics()
    gap = round(size * 0.35) if number else 0
    small = font(max(8, round(size * 0.82)))
    number_width = round(small.getlength(number)) if number else 0
    pad_x, pad_y = round(size * 0.42), max(1, round(size * 0.14))
    width, height = right - left + gap + number_width + 2 * pad_x, ascent + descent + 2 * pad_y
    shape = Image.new("L", (width * scale, height * scale), 0)
    ImageDraw.Draw(shape).rounded_rectangle(
        (0, 0, width * scale - 1, height * scale - 1), radius=round(height * scale * 0.32), fill=255
    )
    tablet = np.asarray(shape.resize((width, height), Image.Resampling.BOX), dtype=np.float32)[..., None] / 255
    words = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(words)
    baseline = pad_y + ascent
    draw.text((pad_x - left, baseline), name, font=face, fill=255, anchor="ls")
    if number:
        draw.text((pad_x - left + right + gap, baseline), number, font=small, fill=205, anchor="ls")
    text = np.asarray(words, dtype=np.float32)[..., None] / 255
    ground = tablet * (alpha / 255)
    covered = ground + text * tablet * (1 - ground)
    red_green_blue = np.array(fill, np.float32) * ground * (1 - text) + np.array(ink, np.float32) * text * tablet
    return np.concatenate([red_green_blue, np.maximum(covered, text * tablet)], axis=2).astype(np.float32)


def paste(picture: NDArray[np.uint8], patch: NDArray[np.float32], left: int, top: int) -> None:
    """Lays a patch from `label_patch` over a picture `[H, W, 3]`, in place; all of it lies inside."""
    height, width = patch.shape[:2]
    under = picture[top : top + height, left : left + width]
    over = under * (1 - patch[..., 3:]) + patch[..., :3]
    under[...] = np.clip(over + 0.5, 0, 255).astype(np.uint8)
