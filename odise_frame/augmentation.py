"""Large-scale jitter: what a training image looks like (flip, scale by 0.1 to 2, crop or pad to a square).

A view is planned from three uniform draws and then laid over the image and its id map alike. NumPy and Pillow.
Source: Ghiasi et al., "Simple Copy-Paste", section 3 (large-scale jittering), with the details of ODISE's training.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from videoseg.errors import InputError

IMAGE_PADDING = 128
"""Mid grey: 0 for Stable Diffusion, which reads [-1, 1]. (At test time padding is black.)"""

_Value = TypeVar("_Value", bound=np.generic)


@dataclass(frozen=True, slots=True)
class JitterConfig:
    """Numbers of the augmentation; the defaults are ODISE's."""

    size: int = 1024
    """Side of the square that comes out, in pixels: 2 windows."""
    min_scale: float = 0.1
    """At scale 1 the image just fits into the square; at 0.1 nine tenths of the square's sides are padding."""
    max_scale: float = 2.0
    """At 2 a quarter of a square image is seen, twice as large."""
    flip_probability: float = 0.5


@dataclass(frozen=True, slots=True)
class View:
    """What of an image is shown where; made by `plan_view`."""

    flipped: bool
    """Left and right exchanged, before everything else."""
    scale: float
    resized: tuple[int, int]
    """Height and width to which the whole image is resized."""
    offset: tuple[int, int]
    """First row and column of the resized image that are seen."""
    visible: tuple[int, int]
    """Height and width that are seen; they lie in the upper left corner of the square."""
    size: int
    """Side of the square."""

    @property
    def padding(self) -> tuple[int, int]:
        """Rows at the bottom and columns at the right that show nothing."""
        return self.size - self.visible[0], self.size - self.visible[1]

    def show_image(self, rgb: NDArray[np.uint8], padding: int = IMAGE_PADDING) -> NDArray[np.uint8]:
        """This view of an image uint8 [H, W, 3]: uint8 [size, size, 3], bilinear, smoothed where it shrinks."""
        source = np.ascontiguousarray(rgb[:, ::-1] if self.flipped else rgb)
        shown = Image.fromarray(source).resize(self.resized[::-1], Image.Resampling.BILINEAR)
        return self._place(np.asarray(shown), padding)

    def show_ids(self, ids: NDArray[np.integer], padding: int = 0) -> NDArray[np.int32]:
        """This view of an id map [H, W]: int32 [size, size], nearest pixel; `padding` belongs to no segment."""
        source = np.ascontiguousarray(ids[:, ::-1] if self.flipped else ids, dtype=np.int32)
        shown = Image.fromarray(source).resize(self.resized[::-1], Image.Resampling.NEAREST)
        return self._place(np.asarray(shown), padding)

    def _place(self, shown: NDArray[_Value], padding: int) -> NDArray[_Value]:
        (top, left), (height, width) = self.offset, self.visible
        square = np.full((self.size, self.size, *shown.shape[2:]), padding, dtype=shown.dtype)
        square[:height, :width] = shown[top : top + height, left : left + width]
        return square


def plan_view(
    height: int, width: int, draws: tuple[float, float, float] | NDArray[np.float64], config: JitterConfig | None = None
) -> View:
    """The view of an image of this size that three uniform draws from [0, 1) choose: flip, scale, crop.

    One draw moves the crop along both axes, so crops lie on the diagonal of what is left over, as in the reference.
    """
    config = config or JitterConfig()
    if height < 1 or width < 1:
        raise InputError(f"An image of {width} × {height} pixels cannot be augmented; it needs at least one pixel.")
    flip, scale_draw, crop = (float(draw) for draw in draws)
    scale = config.min_scale + scale_draw * (config.max_scale - config.min_scale)
    factor = min(config.size * scale / height, config.size * scale / width)
    # Python's round: halves to even. A sliver of a very long image keeps its one row.
    resized = max(round(height * factor), 1), max(round(width * factor), 1)
    offset = tuple(round(crop * max(side - config.size, 0)) for side in resized)
    visible = tuple(min(side, config.size) for side in resized)
    return View(
        flipped=flip < config.flip_probability,
        scale=scale,
        resized=resized,
        offset=(offset[0], offset[1]),
        visible=(visible[0], visible[1]),
        size=config.size,
    )
