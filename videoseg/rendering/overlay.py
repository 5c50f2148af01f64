"""`render_overlay` and `OverlayRenderer`: translucent masks, outlines and labels over a frame."""

import numpy as np
from numpy.typing import NDArray

from videoseg.panoptic import PanopticFrame, Segment
from videoseg.rendering.colours import mixed, segment_colour
from videoseg.rendering.labels import Room, find_rooms, label_patch, paste
from videoseg.vocabulary import Vocabulary

_THING_OPACITY = 0.48
_STUFF_OPACITY = 0.34  # behind: the picture should still be seen
_THING_OUTLINE_OPACITY = 0.95
_STUFF_OUTLINE_OPACITY = 0.6
_OUTLINE_WHITE = 0.25  # an outline is the colour of its mask, lighter

_BAND_PIXELS = 1 << 15  # mixed at a time: what is between stays in the cache, and 8K needs no gigabyte

_OUTLINE_PER_PIXEL = 1 / 360  # of the shorter side: 1 pixel at 360p, 3 at 1080p
_FONT_PER_PIXEL = 1 / 30  # of the shorter side: 12 at 360p, 36 at 1080p
_SMALLEST_FONT = 11  # below this, letters run together after H.264
_LARGEST_FONT = 64

_SMALLEST_LABELLED = 0.25  # a thing with less than this share of its label's area gets none
_TIGHT = 0.6  # a label may be this much larger than the room found for it: the room is a cautious measure


def render_overlay(
    rgb: NDArray[np.uint8], frame: PanopticFrame, vocabulary: Vocabulary, *, labels: bool = True
) -> NDArray[np.uint8]:
    """One frame with its segments drawn over it; for the frames of a video, `OverlayRenderer` keeps labels calm.

    Args:
        rgb: uint8 `[H, W, 3]`, of the size of `frame`.
        frame: segments with or without tracks.

    Returns:
        A new uint8 `[H, W, 3]`.
    """
    return OverlayRenderer(vocabulary, labels=labels).render(rgb, frame)


class OverlayRenderer:
    """Draws the frames of one video in order. Labels follow their segments without jumping about."""

    def __init__(self, vocabulary: Vocabulary, *, labels: bool = True) -> None:
        self._vocabulary = vocabulary
        self._labels = labels
        self._places: dict[int, tuple[float, float]] = {}
        """Track -> where its label was, from the middle of its box."""

    def render(self, rgb: NDArray[np.uint8], frame: PanopticFrame) -> NDArray[np.uint8]:
        """The next frame; arguments and result as in `render_overlay`."""
        if rgb.shape != (*frame.size, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"rgb must be uint8 {(*frame.size, 3)}, got {rgb.dtype} {rgb.shape} ({frame.where})")
        picture = self._masks(rgb, frame)
        if self._labels and frame.segments:
            self._draw_labels(picture, frame)
        return picture

    def _masks(self, rgb: NDArray[np.uint8], frame: PanopticFrame) -> NDArray[np.uint8]:
        ids = int(frame.id_map.max(initial=0)) + 1
        # Two rows per id, inside and outline: colour times opacity, and what is left of the picture, in 256ths.
        colours = np.zeros((2 * ids, 3), dtype=np.uint16)
        rest = np.full(2 * ids, 256, dtype=np.uint16)
        for segment in frame.segments:
            colour = segment_colour(segment, self._vocabulary)
            for row, shown, opacity in (
                (segment.id, colour, _THING_OPACITY if segment.is_thing else _STUFF_OPACITY),
                (
                    ids + segment.id,
                    mixed(colour, (255, 255, 255), _OUTLINE_WHITE),
                    _THING_OUTLINE_OPACITY if segment.is_thing else _STUFF_OUTLINE_OPACITY,
                ),
            ):
                share = round(256 * opacity)
                colours[row] = np.array(shown) * share
                rest[row] = 256 - share
        thickness = max(1, round(min(frame.size) * _OUTLINE_PER_PIXEL))
        near = _outline(frame.id_map, thickness)
        picture = np.empty_like(rgb)
        band = max(1, _BAND_PIXELS // frame.size[1])
        for top in range(0, frame.size[0], band):
            rows = slice(top, top + band)
            table = frame.id_map[rows].astype(np.intp)
            table[near[rows]] += ids
            # 255 · 256 fits uint16.
            mixture = rgb[rows] * rest.take(table)[..., None]
            mixture += colours.take(table, axis=0)
            mixture >>= 8
            picture[rows] = mixture
        return picture

    def _draw_labels(self, picture: NDArray[np.uint8], frame: PanopticFrame) -> None:
        height, width = frame.size
        size = min(_LARGEST_FONT, max(_SMALLEST_FONT, round(min(height, width) * _FONT_PER_PIXEL)))
        wishes = {
            segment.id: _moved(segment, self._places[segment.track])
            for segment in frame.segments
            if segment.track in self._places
        }
        places: dict[int, tuple[float, float]] = {}
        taken: list[tuple[int, int, int, int]] = []
        # Things are what people look for: their labels come first, and those of stuff where they leave room. Of two
        # things that want the same place, the larger has it.
        for kind in (True, False):
            members = sorted((s for s in frame.segments if s.is_thing == kind), key=lambda s: (-s.area, s.id))
            rooms = find_rooms(frame.id_map, [segment.id for segment in members], wishes, taken)
            for segment in members:
                self._draw_label(picture, segment, rooms.get(segment.id), size, taken)
                if segment.track is not None and segment.id in rooms:
                    room, (middle_x, middle_y) = rooms[segment.id], _middle(segment)
                    places[segment.track] = (room.x - middle_x, room.y - middle_y)
        self._places = places

    def _draw_label(
        self,
        picture: NDArray[np.uint8],
        segment: Segment,
        room: Room | None,
        size: int,
        taken: list[tuple[int, int, int, int]],
    ) -> None:
        """Draws the label of a segment where there is place for it, and adds its box to those taken."""
        height, width = picture.shape[:2]
        patch = label_patch(
            self._vocabulary[segment.category].name,
            "" if segment.track is None else str(segment.track),
            segment_colour(segment, self._vocabulary),
            size if segment.is_thing else max(_SMALLEST_FONT, round(size * 0.9)),
            segment.is_thing,
        )
        for left, top in _candidates(segment, room, patch.shape[1], patch.shape[0]):
            left = min(max(left, 0), width - patch.shape[1])
            box = (left, top, left + patch.shape[1], top + patch.shape[0])
            if min(box) < 0 or box[2] > width or box[3] > height or any(_overlap(box, other) for other in taken):
                continue
            paste(picture, patch, left, top)
            taken.append(box)
            return


def _outline(id_map: NDArray[np.uint16], thickness: int) -> NDArray[np.bool_]:
    """bool `[H, W]`: pixels at most `thickness` rows or columns from another id. The picture's border is none."""
    near = np.zeros(id_map.shape, dtype=bool)
    for d in range(1, thickness + 1):
        across = id_map[:, d:] != id_map[:, :-d]
        near[:, d:] |= across
        near[:, :-d] |= across
        down = id_map[d:] != id_map[:-d]
        near[d:] |= down
        near[:-d] |= down
    return near


def _candidates(segment: Segment, room: Room | None, width: int, height: int) -> list[tuple[int, int]]:
    """Places (left, top) for a label of that size, best first: inside its segment, else, for things, beside it."""
    places = []
    if room is not None and room.half_width * 2 >= width * _TIGHT and room.half_height * 2 >= height * _TIGHT:
        places.append((round(room.x - width / 2), round(room.y - height / 2)))
    if segment.is_thing and segment.area >= _SMALLEST_LABELLED * width * height:
        left, top, _, bottom = segment.box
        middle = round(_middle(segment)[0] - width / 2)
        # Where another label is in the way of the middle, flush with the box is next.
        for x in (middle, left):
            places += [(x, top - height - 1), (x, bottom + 1)]
        if room is not None:
            places.append((round(room.x - width / 2), round(room.y - height / 2)))
    return places


def _middle(segment: Segment) -> tuple[float, float]:
    left, top, right, bottom = segment.box
    return (left + right) / 2, (top + bottom) / 2


def _moved(segment: Segment, place: tuple[float, float]) -> tuple[float, float]:
    middle_x, middle_y = _middle(segment)
    return middle_x + place[0], middle_y + place[1]


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]
