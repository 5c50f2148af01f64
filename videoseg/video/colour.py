"""Decoded pictures to upright full-range RGB: colour matrix, range, bit depth and orientation, all in one place."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

# Values of ITU-T H.273 table 4 (matrix coefficients), which every codec and FFmpeg share: name shown, and the matrix
# of libswscale that stands for it.
_UNSPECIFIED = 2
_MATRICES: dict[int, tuple[str, int]] = {
    1: ("bt709", 1),
    4: ("fcc", 4),
    5: ("bt601", 5),
    6: ("bt601", 5),
    7: ("smpte240m", 7),
    9: ("bt2020", 9),
    10: ("bt2020", 9),
}
_OTHER_MATRICES = {8: "ycgco", 11: "smpte2085", 12: "chroma-derived", 13: "chroma-derived", 14: "ictcp"}
_LIMITED, _FULL = 1, 2  # H.273 VideoFullRangeFlag as FFmpeg's AVColorRange

# H.273 table 3 (transfer characteristics).
_TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "bt601",
    7: "smpte240m",
    8: "linear",
    13: "srgb",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "pq",
    18: "hlg",
}
HIGH_DYNAMIC_RANGE = {"pq": "PQ", "hlg": "HLG"}

# Standard definition was made in BT.601, everything larger in BT.709; players draw the line here.
_STANDARD_WIDTH, _STANDARD_HEIGHT = 1279, 576


@dataclass(frozen=True, slots=True)
class PictureColour:
    """How a decoded picture is to be understood."""

    matrix: str
    """`bt601`, `bt709`, `bt2020`, …; `rgb` where the picture is RGB or grey already."""
    scaler_matrix: int | None
    """The same for libswscale; None where it needs none."""
    full_range: bool
    matrix_declared: bool
    """False: the stream doesn't say, the matrix is what players take for this size."""
    range_declared: bool
    unsupported: str = ""
    """Name of a declared matrix that cannot be converted; `matrix` then is the guess by size."""
    transfer: str = ""


def colour_of(frame: "VideoFrame") -> PictureColour:
    """What the stream declares of a picture, filled up where it says nothing."""
    name = frame.format.name
    transfer = _TRANSFERS.get(int(frame.color_trc), "")
    if frame.format.is_rgb or name.startswith(("gray", "pal8", "mono")):
        full = frame.format.is_rgb or int(frame.color_range) != _LIMITED
        return PictureColour("rgb", None, full, True, True, transfer=transfer)
    declared = int(frame.colorspace)
    matrix = _MATRICES.get(declared)
    unsupported = "" if matrix else _OTHER_MATRICES.get(declared, "")
    if matrix is None:
        large = frame.width > _STANDARD_WIDTH or frame.height > _STANDARD_HEIGHT
        guess = _MATRICES[1] if large else _MATRICES[5]
    else:
        guess = matrix
    full_by_format = name.startswith("yuvj")
    return PictureColour(
        matrix=guess[0],
        scaler_matrix=guess[1],
        full_range=full_by_format or int(frame.color_range) == _FULL,
        matrix_declared=matrix is not None,
        range_declared=full_by_format or int(frame.color_range) in (_LIMITED, _FULL),
        unsupported=unsupported,
        transfer=transfer,
    )


@dataclass(frozen=True, slots=True)
class Orientation:
    """How decoded pictures are turned to be upright: clockwise by `rotation`, then mirrored left to right."""

    rotation: int = 0
    """0, 90, 180 or 270 degrees clockwise."""
    mirrored: bool = False
    rounded_from: float | None = None
    """The declared angle, where it is not a quarter turn; 0, 90, … next to it is taken."""

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 `[H, W, 3]` in, uint8 `[H', W', 3]` out, contiguous."""
        if self.rotation:
            picture = np.rot90(picture, k=-self.rotation // 90)
        if self.mirrored:
            picture = picture[:, ::-1]
        return np.ascontiguousarray(picture)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Upright height and width of a picture decoded with these."""
        return (width, height) if self.rotation in (90, 270) else (height, width)


def orientation_of(frame: "VideoFrame") -> Orientation:
    """From the display matrix that comes with a picture (ISO/IEC 14496-12, 6.2.2: nine 32-bit numbers)."""
    # PyAV's stubs know one key of this mapping only.
    side_data = cast("Mapping[str, Any]", frame.side_data)
    matrix = side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return Orientation()
    a, b, _, c, d, *_ = np.frombuffer(bytes(matrix), dtype=np.int32)[:9] / 65536.0
    # Screen (x, y) = (a·x + c·y, b·x + d·y), y down: a mirror has a negative determinant.
    mirrored = bool(a * d - b * c < 0)
    if mirrored:
        a, c = -a, -c
    angle = float(np.degrees(np.arctan2(b, a))) % 360.0
    rotation = round(angle / 90.0) * 90 % 360
    off = abs((angle - rotation + 180.0) % 360.0 - 180.0)
    return Orientation(rotation, mirrored, angle if off > 0.5 else None)


class RgbConverter:
    """Decoded pictures to uint8 `[H, W, 3]`; keeps libswscale's set-up from picture to picture."""

    def __init__(self, orientation: Orientation) -> None:
        from av.video.reformatter import VideoReformatter

        self._orientation = orientation
        self._reformatter = VideoReformatter()

    def __call__(self, frame: "VideoFrame") -> NDArray[np.uint8]:
        """Upright, full range, in the matrix that the picture declares; a copy that outlives the decoder's picture."""
        colour = colour_of(frame)
        picture = self._reformatter.reformat(
            frame,
            format="rgb24",
            src_colorspace=colour.scaler_matrix,
            dst_colorspace=colour.scaler_matrix,
            src_color_range=_FULL if colour.full_range else _LIMITED,
            dst_color_range=_FULL,
            threads=1,  # the pool that libswscale starts by default costs 10 % more and gains nothing at these sizes
        )
        pixels = picture.to_ndarray().astype(np.uint8, copy=False)
        upright = self._orientation.apply(pixels)
        return upright.copy() if picture is frame and np.shares_memory(upright, pixels) else upright
