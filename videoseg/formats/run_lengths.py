"""Masks as COCO writes them in JSON: run lengths, compressed or not, and polygons; read without trust.

Source: COCO data format (https://cocodataset.org/#format-data, 1. Object Detection) and the mask API behind it: runs
alternate between background and object, column by column. Compressed counts are differences to the run before the last
one (from the fourth on), five bits per character from `0`, the lowest first; 32 marks that more follow, 16 the sign.
"""

from typing import Any, TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError


class RLE(TypedDict):
    """A mask as run lengths, as pycocotools takes and gives it."""

    size: list[int]
    """Height and width."""
    counts: bytes
    """Compressed run lengths, column by column."""


def encode(mask: NDArray[np.bool_]) -> RLE:
    """The run lengths of a mask bool `[H, W]`."""
    from pycocotools import mask as coco

    return cast(RLE, coco.encode(np.asfortranarray(mask, dtype=np.uint8)))


def decode(rle: RLE) -> NDArray[np.bool_]:
    """The mask bool `[H, W]` of run lengths."""
    from pycocotools import mask as coco

    return np.asarray(coco.decode(rle)).astype(bool)


def area(rle: RLE) -> int:
    """Number of pixels of the mask."""
    from pycocotools import mask as coco

    return int(coco.area(rle))


def box(rle: RLE) -> list[float]:
    """Left, top, width and height of the mask in pixels."""
    from pycocotools import mask as coco

    return [float(value) for value in coco.toBbox(rle)]


def to_json(rle: RLE) -> dict[str, Any]:
    """The mask as JSON takes it: `size`, and `counts` as text."""
    return {"size": [int(value) for value in rle["size"]], "counts": rle["counts"].decode("ascii")}


def to_uncompressed_json(rle: RLE) -> dict[str, Any]:
    """The mask as JSON takes it with its runs as numbers, which every program reads."""
    found = runs(rle["counts"])
    if found is None:
        raise ValueError("not compressed run lengths")
    return {"size": [int(value) for value in rle["size"]], "counts": found.tolist()}


def runs(counts: bytes) -> NDArray[np.int64] | None:
    """The run lengths that compressed counts stand for; None where they stand for nothing.

    Returns:
        int64 `[N]`, background first.
    """
    characters = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - 48
    if not len(characters):
        return np.zeros(0, dtype=np.int64)
    ends = np.flatnonzero((characters & 32) == 0)
    if characters.min() < 0 or characters.max() > 63 or not len(ends) or ends[-1] != len(characters) - 1:
        return None
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # 35 bits: no picture has such runs
        return None
    place = np.arange(len(characters)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((characters & 31) << (5 * place), starts)
    negative = (characters[ends] & 16) != 0
    numbers[negative] -= np.int64(1) << (5 * lengths[negative])
    # The first three are themselves; each later one is a difference to the one before the last.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def read_mask(value: object, size: tuple[int, int], where: str) -> RLE | None:
    """A mask from JSON.

    Args:
        value: `{"size", "counts"}` with counts as text or as a list, a list of polygons, the bare text of compressed
            counts (BURST), or None.
        size: height and width of the video.
        where: file and field, for messages.

    Returns:
        None where there is no mask, or one without pixels.

    Raises:
        InputError: the value is none of these, or does not fill the size. (pycocotools itself would read beyond the
            ends of damaged counts.)
    """
    from pycocotools import mask as coco

    if value is None:
        return None
    if isinstance(value, list):
        if not value:
            return None
        reach = 4 * max(size)  # corners may lie outside, but pycocotools breaks down where they do by far
        for i, polygon in enumerate(value):
            if (
                not isinstance(polygon, list)
                or len(polygon) < 6
                or len(polygon) % 2
                or not all(isinstance(p, int | float) and -reach <= p <= reach for p in polygon)
            ):
                raise InputError(
                    f"{where}[{i}] must be a polygon: a list x, y, x, y, … of at least three points within {reach}."
                )
        merged = cast(RLE, coco.merge(coco.frPyObjects(value, *size)))
        return merged if area(merged) else None
    if isinstance(value, dict):
        given = value.get("size")
        if given != list(size):
            raise InputError(f"{where}.size must be the height and width of the video, {list(size)}, found {given!r}.")
        where, value = f"{where}.counts", value.get("counts")
    if isinstance(value, str):
        counts = value.encode("ascii", errors="replace")
        lengths = runs(counts)
        if lengths is None:
            raise InputError(f"{where} is not the text of compressed run lengths.")
        rle = RLE(size=list(size), counts=counts)
    elif isinstance(value, list) and all(isinstance(run, int) and not isinstance(run, bool) for run in value):
        lengths = np.array(value, dtype=np.int64)
    else:
        raise InputError(f"{where} must be run lengths, as text or as a list of whole numbers.")
    if (lengths < 0).any() or lengths.sum() != size[0] * size[1]:
        raise InputError(
            f"{where}: the run lengths are of {int(lengths.sum())} pixels, the video has {size[1]}×{size[0]} = "
            f"{size[0] * size[1]}."
        )
    if not lengths[1::2].any():
        return None
    if isinstance(value, list):
        rle = cast(RLE, coco.frPyObjects({"size": list(size), "counts": value}, *size))
    return rle
