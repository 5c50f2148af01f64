"""How much the segments of two frames overlap: one joint histogram of two id maps, never masks in pairs.

Maps here are sampled (every `stride`-th row and column of the frame); coordinates and displacements that come in are
in pixels of the full frame.
"""

import numpy as np
from numpy.typing import NDArray

from videoseg.motion import Motion


def stride_for(height: int, width: int, side: int) -> int:
    """The sampling step at which the longer side has at most `side` samples: 1, 2, 4 or 8.

    Powers of two, because blocks of motion (multiples of 8 pixels) are then whole numbers of samples.
    """
    stride = 1
    while stride < 8 and max(height, width) > side * stride:
        stride *= 2
    return stride


def sample(id_map: NDArray[np.uint16], stride: int) -> NDArray[np.uint16]:
    """Every `stride`-th row and column, starting in the middle of the first step, as a contiguous copy.

    Args:
        id_map: uint16 `[H, W]`.

    Returns:
        uint16 `[ceil(H / stride), ceil(W / stride)]` (an edge shorter than half a step repeats its last sample).
    """
    height, width = id_map.shape
    rows = np.minimum(np.arange(0, height, stride) + stride // 2, height - 1)
    columns = np.minimum(np.arange(0, width, stride) + stride // 2, width - 1)
    if height % stride == 0 and width % stride == 0:
        return np.ascontiguousarray(id_map[stride // 2 :: stride, stride // 2 :: stride])
    sampled: NDArray[np.uint16] = id_map[rows[:, None], columns]
    return sampled


def joint_histogram(
    first: NDArray[np.uint16], second: NDArray[np.uint16], num_first: int, num_second: int
) -> NDArray[np.int64]:
    """Counts pairs of ids at equal places.

    Args:
        first, second: uint16, of equal shape; ids below `num_first` and `num_second`.

    Returns:
        int64 `[num_first, num_second]`; row and column 0 are void.
    """
    row_starts = np.arange(num_first, dtype=np.intp) * num_second
    keys = row_starts.take(first.ravel())
    keys += second.ravel()
    return np.bincount(keys, minlength=num_first * num_second).reshape(num_first, num_second)


def intersection_over_union(
    intersection: NDArray[np.int64], first_area: NDArray[np.int64], second_area: NDArray[np.int64]
) -> NDArray[np.float64]:
    """IoU of every pair, 0 where both are empty.

    Args:
        intersection: int64 `[N, M]`.
        first_area, second_area: int64 `[N]` and `[M]`.

    Returns:
        float64 `[N, M]` in [0, 1].
    """
    union = first_area[:, None] + second_area[None, :] - intersection
    ratio: NDArray[np.float64] = intersection / np.maximum(union, 1)
    return ratio


def compensate(previous: NDArray[np.uint16], motion: Motion, stride: int, outside: int) -> NDArray[np.uint16]:
    """The previous map as it looks from this frame, block by block; `outside` where the picture did not reach.

    Args:
        previous: uint16 `[h, w]`, sampled at `stride`.
        motion: from the previous frame to this one, both of the full size.
    """
    if not motion.displacement.any():
        return previous
    height, width = previous.shape
    steps = np.rint(motion.displacement.astype(np.float32) / stride).astype(np.int32)
    margin = int(np.abs(steps).max(initial=0)) + motion.block // stride
    padded = np.full((height + 2 * margin, width + 2 * margin), outside, dtype=previous.dtype)
    padded[margin : margin + height, margin : margin + width] = previous
    pitch = padded.shape[1]
    offset = steps[..., 1] * pitch + steps[..., 0]
    rows, columns = offset.shape
    if motion.block % stride == 0:
        side = motion.block // stride
        y = (np.arange(rows * side, dtype=np.int32) + margin) * pitch
        x = np.arange(columns * side, dtype=np.int32) + margin
        # The last blocks may stick out of the picture by less than a block: the margin holds that too.
        source = (y[:, None] + x).reshape(rows, side, columns, side) + offset[:, None, :, None]
        moved: NDArray[np.uint16] = padded.ravel().take(source.reshape(rows * side, columns * side), mode="clip")
        return np.ascontiguousarray(moved[:height, :width])
    block_y = np.minimum(np.arange(height) * stride // motion.block, rows - 1)
    block_x = np.minimum(np.arange(width) * stride // motion.block, columns - 1)
    y = (np.arange(height, dtype=np.int32) + margin) * pitch
    x = np.arange(width, dtype=np.int32) + margin
    taken: NDArray[np.uint16] = padded.ravel().take(y[:, None] + x + offset[block_y[:, None], block_x])
    return taken


def shifted_histogram(
    previous: NDArray[np.uint16],
    current: NDArray[np.uint16],
    num_previous: int,
    num_current: int,
    shift: NDArray[np.int32],
) -> NDArray[np.int64]:
    """The joint histogram when every segment of the previous map moves by a shift of its own.

    For frames that come without motion (segments read from disk): the tracks' velocities stand in. What leaves the
    picture is not counted.

    Args:
        previous, current: uint16 `[h, w]`.
        shift: int32 `[num_previous, 2]`: (dx, dy) in samples, previous to current.

    Returns:
        int64 `[num_previous, num_current]`.
    """
    if not shift.any():
        return joint_histogram(previous, current, num_previous, num_current)
    height, width = current.shape
    shift = np.clip(shift, [-width, -height], [width, height])
    margin_x, margin_y = (int(m) for m in np.abs(shift).max(axis=0))
    padded = np.full((height + 2 * margin_y, width + 2 * margin_x), num_current, dtype=current.dtype)
    padded[margin_y : margin_y + height, margin_x : margin_x + width] = current
    pitch = padded.shape[1]
    offset = shift[:, 1] * pitch + shift[:, 0]
    y = (np.arange(height, dtype=np.int32) + margin_y) * pitch
    x = np.arange(width, dtype=np.int32) + margin_x
    landed = padded.ravel().take((y[:, None] + x) + offset.take(previous))
    return joint_histogram(previous, landed, num_previous, num_current + 1)[:, :-1]
