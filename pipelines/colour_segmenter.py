"""`ColourSegmenter`: connected regions of one colour. No network, no weights, the same on every machine.

It stands where a network stands: for tests of everything around a network, and for people who want to try the plumbing
before they download weights (`--model colours`). It understands no picture: a region's category is the one whose
colour is nearest, where a category named with a colour word (`"red ball"`) has that colour and every other has its
display colour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.protocols import StreamState
from videoseg.vocabulary import Category, Vocabulary

COLOUR_WORDS: Mapping[str, tuple[int, int, int]] = {
    "black": (0, 0, 0),
    "blue": (30, 60, 220),
    "brown": (120, 75, 40),
    "cyan": (0, 200, 200),
    "gray": (128, 128, 128),
    "green": (40, 160, 60),
    "grey": (128, 128, 128),
    "orange": (240, 140, 30),
    "pink": (245, 150, 190),
    "purple": (130, 50, 180),
    "red": (220, 40, 40),
    "white": (255, 255, 255),
    "yellow": (240, 220, 50),
}


@dataclass(frozen=True, slots=True)
class ColourSettings:
    """What the result depends on, and why each number is what it is."""

    short_side: int = 120
    """Regions are found on a picture reduced to about this short side: a 720p frame costs some milliseconds there."""
    levels_bits: int = 2
    """Bits kept per channel: 64 colours, coarse enough that shading does not split an object."""
    min_share: float = 0.004
    """Regions below this share of the picture are void: they are noise between two colours."""
    max_segments: int = 64
    """The largest ones are kept; a noisy picture has thousands of regions."""
    temperature: float = 0.02
    """Of the softmax over negative squared colour distances (colours in 0..1): neighbours in hue share probability."""
    top: int = 5
    """Categories kept per segment, as many as the store writes."""


@dataclass(slots=True)
class NoMemory:
    """The state of a segmenter that looks at each frame alone."""

    format_version: ClassVar[int] = 1

    @property
    def nbytes(self) -> int:
        return 0

    def to_bytes(self) -> bytes:
        return bytes([self.format_version])

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        if data != bytes([cls.format_version]):
            raise InputError("This saved state is not one of a segmenter without memory; start the stream again.")
        return cls()


class ColourSegmenter:
    """A `Segmenter` of connected regions of quantised colour.

    Embeddings are the square roots of a region's colour histogram and two numbers of its shape, of unit length: their
    cosine is near 1 for the same object in the next frame.
    """

    def __init__(self, vocabulary: Vocabulary, settings: ColourSettings | None = None) -> None:
        self._vocabulary = vocabulary
        self._settings = settings or ColourSettings()
        self._prototypes = _prototypes(vocabulary)
        self._is_thing = np.array([category.is_thing for category in vocabulary])

    @property
    def vocabulary(self) -> Vocabulary:
        return self._vocabulary

    def describe(self) -> Mapping[str, str]:
        return {
            "segmenter": "colours",
            "model": "colours",
            "version": "1",
            "checksum": "",
            "settings": repr(self._settings),
        }

    def new_state(self, stream: str) -> NoMemory:
        return NoMemory()

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        return [self._segment_one(frame) for frame in frames]

    def with_vocabulary(self, vocabulary: Vocabulary) -> "ColourSegmenter":
        """The same with other categories."""
        return ColourSegmenter(vocabulary, self._settings)

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        """Probabilities float32 `[N, len(vocabulary)]` of mean colours float32 `[N, 3]` in 0..1."""
        prototypes = self._prototypes if vocabulary is self._vocabulary else _prototypes(vocabulary)
        return _probabilities(open_vocabulary, prototypes, self._settings.temperature)

    def _segment_one(self, frame: Frame) -> PanopticFrame:
        settings = self._settings
        height, width = frame.size
        factor = max(1, min(height, width) // settings.short_side)
        small = np.asarray(Image.fromarray(frame.rgb).reduce(factor)) if factor > 1 else frame.rgb
        rows, columns = small.shape[:2]
        # The last row and column of cells may be cut by the border: areas count real pixels.
        cell_height = np.full(rows, factor)
        cell_height[-1] = height - factor * (rows - 1)
        cell_width = np.full(columns, factor)
        cell_width[-1] = width - factor * (columns - 1)
        weights = np.outer(cell_height, cell_width).ravel()

        quantised = _quantised(small, settings.levels_bits)
        regions = connected_regions(quantised).ravel()
        areas = np.bincount(regions, weights=weights)
        large = np.flatnonzero(areas >= settings.min_share * height * width)
        largest = large[np.argsort(-areas[large], kind="stable")][: settings.max_segments]
        if not len(largest):
            return PanopticFrame.of(frame, np.zeros((height, width), dtype=np.uint16), ())

        slot = np.zeros(len(areas), dtype=np.intp)
        slot[largest] = np.arange(1, len(largest) + 1)
        slots = slot[regions]
        means = _means(small.reshape(-1, 3), slots, len(largest), weights)
        probabilities = self.classify(means, self._vocabulary)
        categories = probabilities.argmax(axis=1)

        # A stuff category has one segment per frame: its regions become one.
        first_slot: dict[int, int] = {}
        merged = np.zeros(len(largest) + 1, dtype=np.uint16)
        kept: list[int] = []
        for i, category in enumerate(categories.tolist()):
            if not self._is_thing[category] and category in first_slot:
                merged[i + 1] = first_slot[category]
                continue
            kept.append(i)
            merged[i + 1] = len(kept)
            if not self._is_thing[category]:
                first_slot[category] = len(kept)
        ids = merged[slots]
        id_grid = ids.reshape(rows, columns)
        id_map = np.repeat(np.repeat(id_grid, factor, axis=0)[:height], factor, axis=1)[:, :width]

        embeddings = _embeddings(quantised.ravel(), ids, len(kept), 1 << (3 * settings.levels_bits), id_grid.shape)
        segment_areas = np.bincount(ids, weights=weights, minlength=len(kept) + 1).astype(np.int64)
        boxes = _boxes(id_grid, len(kept))
        segments = []
        for number, i in enumerate(kept, start=1):
            left, top, right, bottom = boxes[number - 1]
            best = np.argsort(-probabilities[i], kind="stable")[: settings.top]
            category = int(categories[i])
            segments.append(
                Segment(
                    id=number,
                    category=category,
                    is_thing=bool(self._is_thing[category]),
                    score=float(min(1.0, probabilities[i, category])),
                    area=int(segment_areas[number]),
                    box=(left * factor, top * factor, min(right * factor, width), min(bottom * factor, height)),
                    embedding=embeddings[number - 1],
                    open_vocabulary=means[i],
                    probabilities=tuple((int(c), float(min(1.0, probabilities[i, c]))) for c in best),
                )
            )
        return PanopticFrame.of(frame, np.ascontiguousarray(id_map), segments)


def connected_regions(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Numbers the 4-connected regions of equal value of an int32 `[H, W]`, 0.. in reading order of their first cell."""
    height, width = values.shape
    cells = np.arange(height * width, dtype=np.int32).reshape(height, width)
    right = values[:, 1:] == values[:, :-1]
    down = values[1:] == values[:-1]
    sources = np.concatenate([cells[:, :-1][right], cells[:-1][down]])
    targets = np.concatenate([cells[:, 1:][right], cells[1:][down]])
    graph = coo_array((np.ones(len(sources), dtype=np.bool_), (sources, targets)), shape=(cells.size, cells.size))
    _, labels = connected_components(graph, directed=False)
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    order = np.empty(len(first), dtype=np.int32)
    order[np.argsort(first, kind="stable")] = np.arange(len(first), dtype=np.int32)
    return order[inverse].reshape(height, width)


def appearance(rgb: NDArray[np.uint8], id_map: NDArray[np.uint16]) -> dict[int, NDArray[np.float32]]:
    """An embedding of colours and shape, float32 of unit length, for every id of a map uint16 `[H, W]` of a picture."""
    settings = ColourSettings()
    step = max(1, min(id_map.shape) // settings.short_side)
    cells = id_map[step // 2 :: step, step // 2 :: step]
    ids, numbers = np.unique(cells, return_inverse=True)
    slots = (numbers.reshape(cells.shape) + (0 if ids[0] == 0 else 1)).astype(np.uint16)
    found = ids[ids != 0]
    quantised = _quantised(rgb[step // 2 :: step, step // 2 :: step], settings.levels_bits)
    rows = _embeddings(quantised.ravel(), slots.ravel(), len(found), 1 << (3 * settings.levels_bits), cells.shape)
    return {int(i): row for i, row in zip(found, rows, strict=True)}


def category_colour(category: Category) -> tuple[int, int, int]:
    """The colour that stands for a category: of the colour word in its names, else its display colour."""
    for name in category.names:
        for word in name.casefold().split():
            if word in COLOUR_WORDS:
                return COLOUR_WORDS[word]
    return category.colour


def _quantised(rgb: NDArray[np.uint8], bits: int) -> NDArray[np.int32]:
    """int32 `[H, W]`: the upper bits of the three channels as one number."""
    levels = (rgb >> (8 - bits)).astype(np.int32)
    return np.asarray((levels[..., 0] << (2 * bits)) | (levels[..., 1] << bits) | levels[..., 2])


def _prototypes(vocabulary: Vocabulary) -> NDArray[np.float32]:
    return np.array([category_colour(category) for category in vocabulary], dtype=np.float32) / np.float32(255)


def _probabilities(
    colours: NDArray[np.float32], prototypes: NDArray[np.float32], temperature: float
) -> NDArray[np.float32]:
    distance = np.square(colours[:, None, :] - prototypes[None, :, :]).sum(axis=2)
    logits = -(distance - distance.min(axis=1, keepdims=True)) / np.float32(temperature)
    weights = np.exp(logits)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)


def _means(
    pixels: NDArray[np.uint8], slots: NDArray[np.intp], count: int, weights: NDArray[np.int64]
) -> NDArray[np.float32]:
    total = np.bincount(slots, weights=weights, minlength=count + 1)[1:]
    sums = [np.bincount(slots, weights=pixels[:, i] * weights, minlength=count + 1)[1:] for i in range(3)]
    return (np.stack(sums, axis=1) / total[:, None] / 255).astype(np.float32)


def _embeddings(
    quantised: NDArray[np.int32], ids: NDArray[np.uint16], count: int, colours: int, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """float32 `[count, colours + 2]` of unit length: root histogram, then relative size and elongation."""
    histogram = np.bincount(ids.astype(np.int64) * colours + quantised, minlength=(count + 1) * colours)
    histogram = histogram.reshape(count + 1, colours)[1:]
    areas = histogram.sum(axis=1)
    boxes = np.array(_boxes(ids.reshape(shape), count), dtype=np.float64).reshape(count, 4)
    widths, heights = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    size = np.sqrt(areas / ids.size)
    elongation = widths / (widths + heights)
    rows = np.concatenate([np.sqrt(histogram / areas[:, None]), 0.5 * size[:, None], 0.5 * elongation[:, None]], axis=1)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def _boxes(grid: NDArray[np.uint16], count: int) -> list[tuple[int, int, int, int]]:
    from scipy.ndimage import find_objects

    found = find_objects(grid.astype(np.int32), max_label=count)
    return [(place[1].start, place[0].start, place[1].stop, place[0].stop) for place in found]
