"""Motion vectors out of a decoded picture: what FFmpeg exports of H.264, MPEG-1, 2 and 4 and some others.

Format: `AVMotionVector` of FFmpeg's libavutil/motion_vector.h: the middle of a block, its size, and where it was
predicted from in units of 1 / `motion_scale` pixels. Of the reference only the direction in time is told, not which
frame it is.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from videoseg.motion import CodecVectors

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

CELL = 8
"""Pixels: the side of a block of motion estimation in the smallest videos, and half of a macroblock."""


def ask_for_vectors(decoder: "VideoCodecContext") -> None:
    """Makes a decoder that has not begun export its vectors; pixels stay the same."""
    from av.codec.context import Flags2

    decoder.flags2 |= Flags2.export_mvs


def vectors_of(picture: "VideoFrame") -> CodecVectors | None:
    """The vectors of a picture as a grid; None where it has none (coded by itself, or by another codec).

    Where a cell has several blocks or references, one that points back in time goes before one that points forward
    (whose vector is reversed).
    """
    # PyAV's stubs know one key of this mapping only.
    exported = cast("Mapping[str, Any]", picture.side_data).get("MOTION_VECTORS")
    if exported is None:
        return None
    blocks = exported.to_ndarray()
    rows, columns = -(-picture.height // CELL), -(-picture.width // CELL)
    chosen = np.full((rows, columns), -1, dtype=np.intp)
    shapes = blocks["h"].astype(np.intp) * 256 + blocks["w"]
    # Blocks of one size at a time, because they cover equally many cells.
    for back in (False, True):
        for shape in np.unique(shapes):
            height, width = divmod(int(shape), 256)
            number = np.flatnonzero((shapes == shape) & ((blocks["source"] < 0) == back))
            top = (blocks["dst_y"][number].astype(np.intp) - height // 2) // CELL
            left = (blocks["dst_x"][number].astype(np.intp) - width // 2) // CELL
            for down in range(max(height // CELL, 1)):
                for right in range(max(width // CELL, 1)):
                    y, x = top + down, left + right
                    inside = (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
                    chosen[y[inside], x[inside]] = number[inside]
    known = chosen >= 0
    scale = np.maximum(blocks["motion_scale"], 1) * np.where(blocks["source"] < 0, 1, -1)
    vectors = np.stack([blocks["motion_x"] / scale, blocks["motion_y"] / scale], axis=1)
    limit = np.iinfo(np.int16).max
    vectors = np.clip(np.rint(vectors), -limit, limit).astype(np.int16)
    displacement = np.where(known[..., None], vectors[chosen], np.int16(0))
    return CodecVectors(cell=CELL, displacement=displacement, known=known)
