"""Where every block of this frame was when something was computed: displacements of frames, composed.

Knows blocks and pictures, nothing of windows or features. Displacements point backwards, in pixels of the resized
picture: what is at p now was at p + d then. They are composed frame by frame from the blocks' own motion, so a canvas
is always sampled once from where it was computed, never again from a copy that was already moved.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from videoseg.motion import Motion

Floats = NDArray[np.float32]

_WITH_CAMERA = 1.0
"""Pixels of the full frame: a block this near to where the camera's motion puts it goes with the camera, whose motion
is known to fractions of a pixel, while that of a block is a whole number."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Sizes that a displacement needs to be understood."""

    frame: tuple[int, int]
    """Height and width of the frame as it was decoded."""
    image: tuple[int, int]
    """What it was resized to, without padding."""

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the image per pixel of the frame, down and across."""
        return self.image[0] / self.frame[0], self.image[1] / self.frame[1]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The way from this frame back to the frame before."""

    displacement: Floats
    """float32 `[R, C, 2]`: (dy, dx) of every block in pixels of the image."""
    block: tuple[float, float]
    """Height and width of a block in pixels of the image."""

    @classmethod
    def of(cls, motion: Motion, picture: Picture) -> "Step":
        """From the motion of the frame."""
        rows, columns = motion.displacement.shape[:2]
        dx, dy = motion.displacement[..., 0].astype(np.float32), motion.displacement[..., 1].astype(np.float32)
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
        y, x = (y + 0.5) * motion.block, (x + 0.5) * motion.block
        a = motion.similarity.astype(np.float32)
        camera_x = a[0, 0] * x + a[0, 1] * y + a[0, 2] - x
        camera_y = a[1, 0] * x + a[1, 1] * y + a[1, 2] - y
        with_camera = (np.abs(dx - camera_x) <= _WITH_CAMERA) & (np.abs(dy - camera_y) <= _WITH_CAMERA)
        dx, dy = np.where(with_camera, camera_x, dx), np.where(with_camera, camera_y, dy)
        down, across = picture.scale
        displacement = np.stack([dy * np.float32(down), dx * np.float32(across)], axis=-1).astype(np.float32)
        return cls(displacement, (motion.block * down, motion.block * across))


def block_of(y: NDArray[np.floating], x: NDArray[np.floating], step: Step) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column of the block that a point of the image lies in; points outside belong to the nearest."""
    rows, columns = step.displacement.shape[:2]
    row = np.clip(np.floor(y / step.block[0]), 0, rows - 1).astype(np.intp)
    column = np.clip(np.floor(x / step.block[1]), 0, columns - 1).astype(np.intp)
    return row, column


def compose(flows: Floats, step: Step) -> Floats:
    """Displacements back to where each flow begins, one frame longer: float32 `[N, R, C, 2]` of the same.

    A block takes the displacement of the block that it came from: no mean over an object's edge.
    """
    rows, columns = step.displacement.shape[:2]
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    y = (y + 0.5) * np.float32(step.block[0]) + step.displacement[..., 0]
    x = (x + 0.5) * np.float32(step.block[1]) + step.displacement[..., 1]
    row, column = block_of(y, x, step)
    longer: Floats = step.displacement + flows[:, row, column]
    return longer
