"""`Motion`: how one frame came from the frame before; estimated once per frame and handed to both rooms.

`CodecVectors`: what a video file says about that, as candidates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class CodecVectors:
    """What the encoder of a video says about where the parts of a frame came from: guesses, made to save bits.

    They may point to another frame than the one before and need not follow any motion; whoever uses them has to verify
    them against the pictures. They depend on the coded frame alone, not on where decoding began.
    """

    cell: int
    """Side in pixels of the cells that share a vector; cells start at the upper left."""
    displacement: NDArray[np.int16]
    """int16 `[rows, columns, 2]`: (dx, dy) in pixels, from this frame to the one it was predicted from, as if that was
    the frame before; 0 where there is none."""
    known: NDArray[np.bool_]
    """bool `[rows, columns]`: False where the cell was coded without prediction."""


@dataclass(frozen=True, slots=True, eq=False)
class Motion:
    """Block displacements from the frame before to this frame, their reliability, and the camera's share.

    The pixel at (x, y) of this frame, inside block (row, column), came from (x + dx, y + dy) of the frame before,
    with (dx, dy) = `displacement[row, column]`.
    """

    block: int
    """Side of a block in pixels of the full frame; blocks start at the upper left, the last ones may be cut."""
    displacement: NDArray[np.int16]
    """int16 `[rows, columns, 2]`: (dx, dy) in pixels of the full frame."""
    residual: NDArray[np.float32]
    """float32 `[rows, columns]`: mean absolute luma difference after compensation, 0..255."""
    valid: NDArray[np.bool_]
    """bool `[rows, columns]`: False where no displacement explains the block (uncovered, flat and ambiguous)."""
    similarity: NDArray[np.float32]
    """float32 `[2, 3]`: global similarity, this frame's pixel coordinates to those of the frame before."""
    cut: bool
    """True where a new scene begins with this frame: nothing in it came from the frame before."""
