"""Names by mean colour: what is left of naming when nothing but the average pixel of a mask is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from eval.synthetic_world import render_image
from pipelines.wrapped_segmenter import WrappedSegmenter
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import Segmenter, StreamState

PICTURES = 600
"""Training pictures that the colours are read from, a third of them single objects: a dozen or more of every thing."""

_LEAST_AREA = 40
"""Pixels: smaller segments are mostly edge."""


@dataclass(frozen=True, slots=True, eq=False)
class ColourTable:
    """How things look on average."""

    colours: NDArray[np.float64]
    """float64 `[N, 3]` in 0..255, one row a segment seen."""
    categories: NDArray[np.int64]
    """int64 `[N]`: index into the world's vocabulary."""

    def nearest(self, colours: NDArray[np.float64]) -> NDArray[np.int64]:
        """The category of the nearest known colour: int64 `[M]` of float `[M, 3]`."""
        distances = ((colours[:, None] - self.colours[None]) ** 2).sum(axis=2)
        found: NDArray[np.int64] = self.categories[distances.argmin(axis=1)]
        return found


def read_colours(pictures: int = PICTURES) -> ColourTable:
    """From the truth of training pictures. Novel things too are looked up here, which no model may: the table is
    given more than the model it is compared with."""
    colours, categories = [], []
    for number in range(pictures):
        single = number % 3 == 0
        side = 144 if single else 256
        picture = render_image(number, height=side, width=side, kind="object" if single else "scene")
        for segment, colour in zip(
            picture.segments, mean_colours(picture.rgb, picture.id_map, [s.id for s in picture.segments]), strict=True
        ):
            if segment.area >= _LEAST_AREA:
                colours.append(colour)
                categories.append(segment.category)
    return ColourTable(np.array(colours), np.array(categories, dtype=np.int64))


def mean_colours(rgb: NDArray[np.uint8], id_map: NDArray[np.uint16], ids: Sequence[int]) -> NDArray[np.float64]:
    """Mean colour of every segment: float64 `[len(ids), 3]` in 0..255, of uint8 `[H, W, 3]` and uint16 `[H, W]`."""
    flat = id_map.ravel()
    areas = np.bincount(flat)
    sums = np.stack([np.bincount(flat, weights=rgb[..., channel].ravel()) for channel in range(3)], axis=1)
    chosen = np.asarray(ids, dtype=np.intp)
    means: NDArray[np.float64] = sums[chosen] / areas[chosen, None]
    return means


class MeanColourNames(WrappedSegmenter):
    """Another segmenter's masks, named by `ColourTable`; a `videoseg.protocols.Segmenter`."""

    def __init__(self, segmenter: Segmenter, table: ColourTable) -> None:
        super().__init__(segmenter)
        self.table = table

    def describe(self) -> Mapping[str, str]:
        return {**self.segmenter.describe(), "names": "mean colour"}

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        found = self.segmenter.segment(frames, motions, states)
        return [self._rename(frame, panoptic) for frame, panoptic in zip(frames, found, strict=True)]

    def _rename(self, frame: Frame, panoptic: PanopticFrame) -> PanopticFrame:
        if not panoptic.segments:
            return panoptic
        colours = mean_colours(frame.rgb, panoptic.id_map, [segment.id for segment in panoptic.segments])
        ids = np.arange(int(panoptic.id_map.max()) + 1, dtype=np.uint16)
        renamed: list[Segment] = []
        stuff: dict[int, int] = {}
        for segment, category in zip(panoptic.segments, self.table.nearest(colours).tolist(), strict=True):
            is_thing = self.vocabulary[category].is_thing
            # One segment a kind of stuff.
            ids[segment.id] = segment.id if is_thing else stuff.setdefault(category, segment.id)
            if ids[segment.id] == segment.id:
                renamed.append(
                    replace(segment, category=category, is_thing=is_thing, probabilities=((category, segment.score),))
                )
        id_map = ids[panoptic.id_map]
        measured = measure_segments(id_map)
        segments = [replace(s, area=measured[s.id][0], box=measured[s.id][1]) for s in renamed]
        return PanopticFrame.of(frame, id_map, segments)
