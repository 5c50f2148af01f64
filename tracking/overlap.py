"""How much the segments of two frames overlap: one joint histogram of two id maps, never masks in pairs.

Maps here are sampled (every `stride`-th row and column of the frame); coordinates and displacements that come in are
in pixels of the full frame.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, eq=False)
class SampledMap:
    """A sampled map and where its runs of equal numbers begin: it has far fewer runs than samples.

    A run may go on from the end of one row to the start of the next.
    """

    numbers: NDArray[np.uint16]
    """uint16 `[h, w]`, contiguous."""
    starts: NDArray[np.intp]
    """intp `[n]`: places in the flattened map at which a run begins, ascending, the first 0."""

    @classmethod
    def of(cls, sampled: NDArray[np.uint16], number: NDArray[np.uint16] | None = None) -> "SampledMap":
        """From a contiguous map `[h, w]`, with `number[id]` in the place of each id if `number` is given."""
        starts = _places(_changes(sampled))
        if number is not None:
            ids = sampled.ravel()[starts]
            sampled = np.repeat(number[ids], np.diff(starts, append=sampled.size)).reshape(sampled.shape)
        return cls(numbers=sampled, starts=starts)

    @property
    def shape(self) -> tuple[int, int]:
        return self.numbers.shape[0], self.numbers.shape[1]

    def areas(self, count: int) -> NDArray[np.int64]:
        """int64 `[count]`: samples of each number."""
        length = np.diff(self.starts, append=self.numbers.size)
        return np.bincount(self.numbers.ravel()[self.starts], weights=length, minlength=count).astype(np.int64)


def _changes(sampled: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """bool `[h · w]`, and False up to a multiple of 8: where a run begins."""
    flat = sampled.ravel()
    change = np.empty(-(-flat.size // 8) * 8, dtype=bool)
    change[:1] = True
    change[flat.size :] = False
    np.not_equal(flat[1:], flat[:-1], out=change[1 : flat.size])
    return change


def _places(change: NDArray[np.bool_]) -> NDArray[np.intp]:
    """What `np.flatnonzero` gives, sooner where few of many are True; a multiple of 8 of them."""
    words = change.view(np.uint64)
    some = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[some].view(bool))
    places: NDArray[np.intp] = some[inside >> 3] * 8 + (inside & 7)
    return places


def joint_histogram(
    first: NDArray[np.uint16], second: SampledMap, num_first: int, num_second: int
) -> NDArray[np.int64]:
    """Counts pairs of numbers at equal places; exact.

    Args:
        first: uint16 `[h, w]`, contiguous, numbers below `num_first`.
        second: of the same shape, numbers below `num_second`.

    Returns:
        int64 `[num_first, num_second]`; row and column 0 are void.
    """
    change = _changes(first)
    change[second.starts] = True
    starts = _places(change)
    key = first.ravel()[starts].astype(np.intp) * num_second + second.numbers.ravel()[starts]
    length = np.diff(starts, append=first.size)
    joint = np.bincount(key, weights=length, minlength=num_first * num_second)
    return joint.astype(np.int64).reshape(num_first, num_second)


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
    steps = np.rint(motion.displacement.astype(np.float32) / stride).astype(np.intp)
    rows, columns = steps.shape[:2]
    if motion.block % stride:
        side = 1
        y, x = (np.minimum(np.arange(n) * stride // motion.block, m - 1) for n, m in ((height, rows), (width, columns)))
        steps, rows, columns = steps[y[:, None], x], height, width
    else:
        side = motion.block // stride
    # The last blocks may stick out of the picture by less than a block: the margin holds that too.
    margin = int(np.abs(steps).max(initial=0)) + side
    pitch = width + 2 * margin
    padded = np.empty((height + 2 * margin, pitch), dtype=previous.dtype)
    padded[:margin], padded[margin + height :] = outside, outside
    padded[:, :margin], padded[:, margin + width :] = outside, outside
    padded[margin : margin + height, margin : margin + width] = previous
    corner = (np.arange(rows)[:, None] * side + margin + steps[..., 1]) * pitch
    corner += np.arange(columns) * side + margin + steps[..., 0]
    source = corner[:, None, :] + (np.arange(side) * pitch)[:, None]
    # Overlapping records of one row of a block each, so that a row is copied at once.
    record = np.dtype((np.void, side * padded.itemsize))
    records = np.ndarray((padded.size - side + 1,), dtype=record, buffer=padded, strides=(padded.itemsize,))
    moved = records[source.ravel()].view(previous.dtype).reshape(rows * side, columns * side)
    return np.ascontiguousarray(moved[:height, :width])


def shifted_histogram(
    previous: SampledMap, current: SampledMap, num_previous: int, num_current: int, shift: NDArray[np.intp]
) -> NDArray[np.int64]:
    """The joint histogram when every segment of the previous map moves by a shift of its own.

    For frames that come without motion (segments read from disk): the tracks' velocities stand in. What leaves the
    picture is not counted.

    Args:
        previous, current: of equal shape.
        shift: intp `[num_previous, 2]`: (dx, dy) in samples, previous to current.

    Returns:
        int64 `[num_previous, num_current]`.
    """
    if not shift.any():
        return joint_histogram(previous.numbers, current, num_previous, num_current)
    height, width = current.shape
    # Runs that don't go on over the end of a row, so that they can be moved.
    begins = np.zeros(height * width, dtype=bool)
    begins[previous.starts] = True
    begins[::width] = True
    starts = np.flatnonzero(begins)
    numbers = previous.numbers.ravel()[starts]
    y, left = np.divmod(starts, width)
    right = left + np.diff(starts, append=height * width)
    left = np.clip(left + shift[numbers, 0], 0, width)
    right = np.clip(right + shift[numbers, 0], 0, width)
    y = y + shift[numbers, 1]
    there = (y >= 0) & (y < height) & (left < right)
    begin, end, numbers = (y * width + left)[there], (y * width + right)[there], numbers[there]
    # Every run of the current map that a moved run touches.
    first = np.searchsorted(current.starts, begin, side="right") - 1
    count = np.searchsorted(current.starts, end, side="left") - first
    moved = np.repeat(np.arange(len(begin)), count)
    touched = np.arange(len(moved)) - np.repeat(np.cumsum(count) - count, count) + first[moved]
    stop = np.append(current.starts[1:], height * width)
    length = np.minimum(stop[touched], end[moved]) - np.maximum(current.starts[touched], begin[moved])
    key = numbers[moved].astype(np.intp) * num_current + current.numbers.ravel()[current.starts[touched]]
    joint = np.bincount(key, weights=length, minlength=num_previous * num_current)
    return joint.astype(np.int64).reshape(num_previous, num_current)
