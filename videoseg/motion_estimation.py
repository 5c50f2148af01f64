"""Estimates `Motion` between two frames: integer block matching on a luma pyramid, in NumPy.

Knows two pictures, and nothing of segments or time; of codecs only vectors that it may try. Every picture is first
reduced to a working size of about 216 rows, so the cost hardly depends on the size of the video. Displacements are
searched on the coarsest of three levels and refined on the next two; the camera's motion is a similarity fitted
robustly to the reliable blocks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoseg.motion import CodecVectors, Motion

Image = NDArray[np.int16]
"""int16 `[h, w]`: luma 0..255 (times brightness correction)."""

Displacement = NDArray[np.intp]
"""intp `[2, n]`: dx and dy of blocks in raster order, in pixels of a level, from this picture to the one before."""

BLOCK = 8
"""Side of a block in working pixels: at 216 rows a 27th of the height, with 64 pixels to compare."""
_LEVELS = 3

_ALL = slice(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSettings:
    """The numbers of motion and cut estimation, with their reasons."""

    working_height: int = 216
    """Rows of the picture in which blocks are matched: a fifth of 1080. Averaging over 5×5 pixels removes most of
    noise and compression, and one frame then costs milliseconds in NumPy (270 rows cost half as much again)."""
    search: int = 6
    """Search range on the coarsest level in pixels of that level: ±24 working pixels, 11 % of the height per frame.
    Faster motion is that of the camera, whose shift is found over the whole picture by phase correlation."""
    preference: float = 0.5
    """By how many levels of luma per pixel another displacement must be better than the camera's and than none: about
    the noise that is left at the working size. It keeps flat areas and repeated patterns from drifting."""
    flat: float = 2.0
    """Mean absolute deviation from the block's mean, in levels, below which a block is flat and tells nothing. Noise
    of 4 levels in the video leaves 1 at the working size."""
    explained: float = 0.5
    """A block is explained if its residual is below this share of its deviation (or below `flat`): matched by chance,
    textures leave 0.7 to 1 of it, true matches 0.1 to 0.3."""
    cut_coherent: float = 0.1
    """A cut leaves less than this share of the textured blocks explained by a displacement that neighbours share. What
    matches by chance points anywhere: 0 to 0.02 in cuts between synthetic textures of every scale, 0.1 and more in
    pans by a third of the picture, zooms by 5 %, turns by 3°, and the first fifth of a dissolve."""
    cut_correlation: float = 0.35
    """And its details (what differs from the neighbourhood, on the coarsest level) correlate less than this with those
    of the frame before, at the best shift. Flashes, exposure changes and blur spoil residuals, but things stay where
    they are: 0.44 to 0.8 in flashes that leave something to see, 0.4 and more in dissolves, 0 to 0.24 in cuts."""
    vanished: float = 20.0
    """A picture without any texture is a cut if luma jumped by this many levels on average from one that had texture:
    a black or white frame. A fade takes several frames to get there, and each step is smaller."""


@dataclass(frozen=True, slots=True, eq=False)
class LumaPyramid:
    """One picture, reduced; make it once and use it as the current and then as the previous one."""

    size: tuple[int, int]
    """Height and width of the full frame."""
    factor: int
    """Side in full pixels of a pixel of the finest level."""
    levels: tuple[Image, ...]
    """Finest first, each half as large as the one before; sides are whole numbers of blocks."""
    detail: NDArray[np.float64]
    """float64: the coarsest level less its local mean."""
    spectrum: NDArray[np.complex128]
    """Half of the spectrum of the windowed detail; every picture is compared twice."""

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], *, settings: MotionSettings | None = None) -> "LumaPyramid":
        """Reduces uint8 `[H, W, 3]`."""
        settings = settings or MotionSettings()
        height, width = rgb.shape[:2]
        factor = max(1, round(min(height, width) / settings.working_height))
        finest = _luma(rgb, factor)
        side = BLOCK * factor
        rows, columns = -(-height // side), -(-width // side)
        missing = (rows * BLOCK - finest.shape[0], columns * BLOCK - finest.shape[1])
        if any(missing):
            finest = np.pad(finest, ((0, missing[0]), (0, missing[1])), mode="edge")
        levels = [finest]
        while len(levels) < _LEVELS:
            levels.append(_halve(levels[-1]))
        detail = _detail(levels[-1])
        spectrum = np.fft.rfft2(detail * _window(*detail.shape))
        return cls(size=(height, width), factor=factor, levels=tuple(levels), detail=detail, spectrum=spectrum)


def estimate_motion(
    previous_rgb: NDArray[np.uint8], current_rgb: NDArray[np.uint8], *, settings: MotionSettings | None = None
) -> Motion:
    """Motion from one picture to the next, and whether a new scene begins.

    To estimate along a video, make each `LumaPyramid` once and call `estimate_motion_between`.

    Args:
        previous_rgb, current_rgb: uint8 `[H, W, 3]`, of equal size.

    Returns:
        `Motion` with blocks of `8 · round(min(H, W) / 216)` pixels (at least 8). Blocks that are not valid carry the
        camera's displacement. The residual is what is left after brightness was corrected. After a cut all
        displacements are 0 and the similarity is the identity.

    Raises:
        ValueError: the sizes differ.
    """
    settings = settings or MotionSettings()
    return estimate_motion_between(
        LumaPyramid.of(previous_rgb, settings=settings),
        LumaPyramid.of(current_rgb, settings=settings),
        settings=settings,
    )


def estimate_motion_between(
    previous: LumaPyramid,
    current: LumaPyramid,
    *,
    vectors: CodecVectors | None = None,
    settings: MotionSettings | None = None,
) -> Motion:
    """`estimate_motion` on pictures already reduced (with the same settings).

    Args:
        vectors: of the current frame. A block takes one only where it fits the pictures better than what was searched.
    """
    settings = settings or MotionSettings()
    if previous.size != current.size:
        raise ValueError(f"frames of different sizes: {previous.size} and {current.size}")
    levels = current.levels
    rows, columns = levels[0].shape[0] // BLOCK, levels[0].shape[1] // BLOCK
    finest = _as_blocks(levels[0], BLOCK)
    texture = _texture(finest)
    if not np.count_nonzero(texture >= settings.flat):
        return _of_flat(previous, current, settings)

    shift, correlation = _global_shift(previous, current)
    gain, offset = _brightness(previous.levels[-1], levels[-1], shift)
    if (gain, offset) != (1.0, 0.0):
        levels = tuple(np.rint(gain * level + offset).astype(np.int16) for level in levels)
        finest = _as_blocks(levels[0], BLOCK)
        texture = _texture(finest)

    # Coarse to fine. Displacements are `[2, n]` (dx, dy) in pixels of the level.
    found = _search(previous.levels[-1], levels[-1], settings)
    camera = shift
    for k in range(_LEVELS - 2, -1, -1):
        blocks = finest if k == 0 else _as_blocks(levels[k], BLOCK >> k)
        matcher = _Matcher(previous.levels[k], blocks, rows, columns)
        own, own_sad = matcher.refine(2 * found)
        if k == 0 and vectors is not None:
            for candidate in _candidates(vectors, current.factor, rows, columns):
                own, own_sad = matcher.better(own, own_sad, candidate)
        camera = _refine_camera((2 * camera[0], 2 * camera[1]), own)
        common, common_sad = np.zeros((2, 1), dtype=np.intp), matcher.at((0, 0))
        if camera != (0, 0):
            camera_sad = matcher.at(camera)
            common = np.where(camera_sad < common_sad, np.array(camera, dtype=np.intp)[:, None], common)
            common_sad = np.minimum(camera_sad, common_sad)
        better = own_sad + settings.preference * matcher.samples < common_sad
        found = np.where(better, own, common)
        sad = np.where(better, own_sad, common_sad)
    residual = sad / matcher.samples
    usable = (texture >= settings.flat) & (residual <= np.maximum(settings.explained * texture, settings.flat))

    textured = np.count_nonzero(texture >= settings.flat)
    agreeing = _agreeing_neighbours(found.reshape(2, rows, columns), usable.reshape(rows, columns)).ravel()
    coherent = np.count_nonzero(agreeing >= 2)
    incoherent = coherent < settings.cut_coherent * textured and correlation < settings.cut_correlation
    # A picture of a block or two has no neighbours to agree with; equal pictures are no cut whatever their size.
    if incoherent and float(residual.mean()) > settings.flat:
        return _cut(previous, residual)
    side = BLOCK * current.factor
    reliable = np.flatnonzero(usable)
    moved = (found[:, reliable] + matcher.fraction(found, sad, reliable)) * current.factor
    row, column = np.divmod(np.arange(rows * columns), columns)
    x, y = (column + 0.5) * side, (row + 0.5) * side
    start = shift[0] * (current.factor << (_LEVELS - 1)), shift[1] * (current.factor << (_LEVELS - 1))
    similarity = _fit_similarity(x[reliable], y[reliable], moved, start, current.factor)
    (a, b, c), (d, e, f) = similarity.tolist()
    # An unreliable block is most likely part of what the camera sees everywhere.
    displacement = np.stack([a * x + b * y + c - x, d * x + e * y + f - y])
    # What goes neither with a neighbour nor with the camera matched by chance.
    apart = np.abs(moved - displacement[:, reliable])
    with_camera = np.maximum(apart[0], apart[1]) <= 2.0 * current.factor
    sound = with_camera | (agreeing[reliable] >= 1)
    valid = np.zeros(rows * columns, dtype=bool)
    valid[reliable[sound]] = True
    displacement[:, reliable[sound]] = moved[:, sound]
    limit = np.iinfo(np.int16).max
    rounded = np.clip(np.rint(displacement), -limit, limit).astype(np.int16)
    return Motion(
        block=side,
        displacement=np.ascontiguousarray(rounded.T).reshape(rows, columns, 2),
        residual=np.minimum(residual, 255.0).astype(np.float32).reshape(rows, columns),
        valid=valid.reshape(rows, columns),
        similarity=similarity.astype(np.float32),
        cut=False,
    )


_PARTS = (1, 2, 3, 4)
"""Vectors are tried as if their reference was so many frames away: encoders put up to three frames between it and the
frame by default, and do not tell."""


def _candidates(vectors: CodecVectors, factor: int, rows: int, columns: int) -> Iterator[Displacement]:
    """What the vectors say about every block, in pixels of the finest level; (0, 0) where they say nothing."""
    side = BLOCK * factor
    height, width = vectors.known.shape
    y = np.minimum((np.arange(rows) * side + side // 2) // vectors.cell, height - 1)
    x = np.minimum((np.arange(columns) * side + side // 2) // vectors.cell, width - 1)
    said = vectors.displacement[y[:, None], x].reshape(-1, 2).T
    for parts in _PARTS:
        yield np.rint(said / (parts * factor)).astype(np.intp)


def _agreeing_neighbours(displacement: Displacement, usable: NDArray[np.bool_]) -> NDArray[np.int8]:
    """How many of its four neighbours share a usable block's displacement `[2, rows, columns]` within 1 pixel,
    int8 `[rows, columns]`."""
    agreeing = np.zeros(usable.shape, dtype=np.int8)
    for first, second in ((np.s_[..., :-1], np.s_[..., 1:]), (np.s_[..., :-1, :], np.s_[..., 1:, :])):
        apart = np.abs(displacement[first] - displacement[second])
        same = (apart[0] <= 1) & (apart[1] <= 1) & usable[first] & usable[second]
        agreeing[first] += same
        agreeing[second] += same
    return agreeing


def _luma(rgb: NDArray[np.uint8], factor: int) -> Image:
    """(R + 2G + B) / 4, averaged over cells of `factor`² pixels of which every second row is read."""
    height, width = max(rgb.shape[0] // factor, 1), max(rgb.shape[1] // factor, 1)
    rows = rgb[: height * factor].reshape(height, factor, -1)[:, :, : width * factor * 3]
    if factor == 1:
        total = rows[:, 0].astype(np.uint16)
        taken = 1
    else:
        total = np.add(rows[:, factor // 4], rows[:, factor // 4 + factor // 2], dtype=np.uint16)
        taken = 2
    cells = total.reshape(height, width, factor * 3)
    if factor == 1:
        luma = cells[..., 0] + 2 * cells[..., 1] + cells[..., 2]
        weight = 4
    else:
        # All greens, reds and blues in turn: as many as greens in sum, at half the reads.
        luma = cells[..., 1].copy()
        for pixel in range(1, factor):
            luma += cells[..., 3 * pixel + 1]
        for pixel in range(factor):
            luma += cells[..., 3 * pixel + (0 if pixel % 2 == 0 else 2)]
        weight = 2 * factor
    return (luma // (weight * taken)).astype(np.int16)


def _halve(image: Image) -> Image:
    total = image[0::2, 0::2] + image[0::2, 1::2]
    total += image[1::2, 0::2]
    total += image[1::2, 1::2]
    return (total + 2) >> 2


def _as_blocks(image: Image, side: int) -> Image:
    """`[side, side, n]`: pixel (i, j) of every block, blocks in raster order and last: sums run along memory."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    return np.ascontiguousarray(image.reshape(rows, side, columns, side).transpose(1, 3, 0, 2)).reshape(side, side, -1)


def _texture(blocks: Image) -> NDArray[np.float64]:
    """Mean absolute deviation from each block's mean, float64 `[n]`."""
    count = blocks.shape[0] * blocks.shape[1]
    mean = (blocks.reshape(count, -1).sum(axis=0, dtype=np.int32) // count).astype(np.int16)
    deviation = np.abs(blocks - mean).reshape(count, -1).sum(axis=0, dtype=np.int32)
    texture: NDArray[np.float64] = deviation / count
    return texture


def _global_shift(previous: LumaPyramid, current: LumaPyramid) -> tuple[tuple[int, int], float]:
    """The shift (dx, dy), current to previous, that fits the whole picture best, and the correlation there.

    Phase correlation of the details: brightness and contrast don't matter. The correlation is over the shared part.
    """
    height, width = current.detail.shape
    cross = previous.spectrum * current.spectrum.conj()
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=(height, width))
    best = ((0, 0), _correlation(previous.detail, current.detail, (0, 0)))
    for _ in range(3):
        peak = int(surface.argmax())
        surface.flat[peak] = -np.inf
        dy, dx = divmod(peak, width)
        shift = (dx - width if dx > width // 2 else dx, dy - height if dy > height // 2 else dy)
        if abs(shift[0]) > 0.6 * width or abs(shift[1]) > 0.6 * height:
            continue
        value = _correlation(previous.detail, current.detail, shift)
        # None is better than a shift that fits better by rounding alone, as over the few pixels of a tiny picture.
        if value > best[1] + 1e-9:
            best = (shift, value)
    return best


def _refine_camera(doubled: tuple[int, int], own: Displacement) -> tuple[int, int]:
    """The camera's shift on the next finer level: what most blocks within a pixel of the doubled one say."""
    x, y = own[0] - (doubled[0] - 1), own[1] - (doubled[1] - 1)
    # As unsigned numbers, those below 0 are large.
    near = (x.view(np.uintp) <= 2) & (y.view(np.uintp) <= 2)
    codes = (x + 3 * y)[near]
    if not len(codes):
        return doubled
    step = int(np.bincount(codes, minlength=9).argmax())
    return doubled[0] + step % 3 - 1, doubled[1] + step // 3 - 1


def _detail(image: Image) -> NDArray[np.float64]:
    """What differs from the neighbourhood of 9×9 pixels: many scenes are bright above and dark below."""
    reach = 4
    span = 2 * reach + 1
    height, width = image.shape
    sums = np.zeros((height + span, width + span), dtype=np.int32)
    padded = _edge_padded(image, reach, height + 2 * reach, width + 2 * reach)
    np.cumsum(padded.cumsum(axis=0, dtype=np.int32), axis=1, out=sums[1:, 1:])
    around = sums[span:, span:] - sums[:-span, span:] - sums[span:, :-span] + sums[:-span, :-span]
    detail: NDArray[np.float64] = image - around / span**2
    return detail


@lru_cache(maxsize=8)
def _window(height: int, width: int) -> NDArray[np.float64]:
    """Falls to 0 at the edges, which phase correlation would take for something that stands still."""
    window: NDArray[np.float64] = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    return window


def _shared(
    previous: NDArray[Any], current: NDArray[Any], shift: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The parts of both pictures that show the same under a shift."""
    (dx, dy), (height, width) = shift, current.shape
    now = current[max(-dy, 0) : height - max(dy, 0), max(-dx, 0) : width - max(dx, 0)]
    then = previous[max(dy, 0) : height - max(-dy, 0), max(dx, 0) : width - max(-dx, 0)]
    return then.astype(np.float64), now.astype(np.float64)


def _correlation(previous: NDArray[np.float64], current: NDArray[np.float64], shift: tuple[int, int]) -> float:
    then, now = _shared(previous, current, shift)
    a, b = then - then.mean(), now - now.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 0.0 else 0.0


def _brightness(previous: Image, current: Image, shift: tuple[int, int]) -> tuple[float, float]:
    """Gain and offset that bring the current picture to the previous one's brightness; (1, 0) where they don't help."""
    then, now = _shared(previous, current, shift)
    spread_then, spread_now = float(then.std()), float(now.std())
    if spread_now < 1.0:
        return 1.0, 0.0
    gain = min(max(spread_then / spread_now, 0.25), 4.0)
    offset = float(then.mean()) - gain * float(now.mean())
    plain = float(np.abs(then - now).mean())
    corrected = float(np.abs(then - (gain * now + offset)).mean())
    # Something bright that walks in also changes mean and spread: only a clear gain counts.
    return (gain, offset) if corrected < 0.7 * plain and plain > 2.0 else (1.0, 0.0)


def _search(previous: Image, current: Image, settings: MotionSettings) -> Displacement:
    """Full search on the coarsest level, each block judged together with its eight neighbours; where displacements are
    equally good, the first in raster order.

    Every pixel of a block lies in a plane of its own (`planes[i, j]` has pixel (i, j) of each block), and planes keep
    the pitch of the padded picture. So a displacement is an offset in flat memory, and every sum runs over long rows.
    """
    reach, side = settings.search, BLOCK >> (_LEVELS - 1)
    rows, columns = current.shape[0] // side, current.shape[1] // side
    span = 2 * reach + 1
    # Blocks beyond the picture into which a displacement leads, and two more columns for the sums below.
    beyond = -(-(span + side) // side) + 1
    pitch = columns + beyond
    padded = _edge_padded(previous, reach, (rows + beyond + 1) * side, pitch * side)
    then = _planes(padded, side)
    now = np.zeros((side, side, rows, pitch), dtype=np.int16)
    now[..., :columns] = _planes(current, side)
    length = rows * pitch
    sums = np.empty((span, span, length), dtype=np.uint16)
    step = then.itemsize
    for down, right in product(range(side), repeat=2):
        # Displacements `down`, `down + side`, … in y and likewise in x: neighbours in one plane.
        total = sums[down::side, right::side]
        difference = np.empty(total.shape, dtype=np.int16)
        for number, (i, j) in enumerate(product(range(side), repeat=2)):
            plane = then[(i + down) % side, (j + right) % side].ravel()
            first = (i + down) // side * pitch + (j + right) // side
            moved = np.ndarray(total.shape, np.int16, plane.data, first * step, (pitch * step, step, step))
            np.subtract(moved, now[i, j].ravel(), out=difference)
            np.abs(difference, out=difference)
            if number:
                total += difference.view(np.uint16)
            else:
                total[:] = difference
    tall = sums.reshape(span * span, rows, pitch)
    high = tall.copy()
    # Over all displacements in one go, and then again where the neighbour is of another displacement.
    high.ravel()[pitch:] += tall.ravel()[:-pitch]
    high.ravel()[:-pitch] += tall.ravel()[pitch:]
    high[:, 0] = tall[:, 0] + tall[:, 0] + tall[:, min(1, rows - 1)]
    high[:, -1] = tall[:, -1] + tall[:, -1] + tall[:, max(rows - 2, 0)]
    # The neighbour before the first column of a row is the last of the row above it in memory.
    lines = high.reshape(-1, pitch)
    lines[:, columns] = lines[:, columns - 1]
    lines[:-1, -1] = lines[1:, 0]
    flat = lines.ravel()
    wide = flat.copy()
    wide[1:] += flat[:-1]
    wide[0] += flat[0]
    wide[:-1] += flat[1:]
    # At most 36 differences of at most 1,300 where brightness was corrected: they fit in uint16.
    costs = wide.reshape(span * span, length)
    best = np.minimum.reduce(costs, axis=0)
    # The greatest rank among the best: NumPy's argmin over the first axis is many times slower.
    rank = np.arange(span * span, 0, -1, dtype=np.uint8 if span * span < 256 else np.uint16)[:, None]
    order = span * span - np.maximum.reduce((costs == best) * rank, axis=0).astype(np.intp)
    found = order.reshape(rows, pitch)[:, :columns].ravel()
    return np.stack([found % span - reach, found // span - reach])


def _planes(image: Image, side: int) -> Image:
    """`[side, side, rows, columns]`: pixel (i, j) of every block."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    return np.ascontiguousarray(image.reshape(rows, side, columns, side).transpose(1, 3, 0, 2))


def _edge_padded(image: Image, margin: int, height: int, width: int) -> Image:
    """The picture with its edges repeated: `margin` above and left, and as much as it takes to the given size."""
    rows, columns = image.shape
    padded = np.empty((height, width), dtype=image.dtype)
    inside = padded[margin : margin + rows]
    inside[:, margin : margin + columns] = image
    inside[:, :margin] = image[:, :1]
    inside[:, margin + columns :] = image[:, -1:]
    padded[:margin] = inside[0]
    padded[margin + rows :] = inside[-1]
    return padded


class _Matcher:
    """Sums of absolute differences between the blocks of one level and displaced parts of the previous picture.

    Sums are uint16: 32 differences of at most 1,300 where brightness was corrected.
    """

    def __init__(self, previous: Image, blocks: Image, rows: int, columns: int) -> None:
        side = blocks.shape[0]
        # On the finest level every second row of a block says enough: half the work.
        self._every = 2 if side == BLOCK else 1
        self._blocks = np.ascontiguousarray(blocks[:: self._every])
        self._side = side
        self._shape = rows, columns
        self.samples = self._blocks.shape[0] * side
        self._margin = margin = side + 2
        height, self._pitch = previous.shape[0] + 2 * margin, previous.shape[1] + 2 * margin
        self._padded = _edge_padded(previous, margin, height, self._pitch)
        y, x = np.divmod(np.arange(rows * columns), columns)
        self._y, self._x = y * side + margin, x * side + margin
        # Displacements that point farther out of the picture see its repeated edge.
        self._last = (self._pitch - side - 1, height - side - 1)

    def _patches(self, displacement: Displacement, ring: int, chosen: NDArray[np.intp] | slice = _ALL) -> Image:
        """What is in the previous picture at each displaced block and `ring` pixels around, `[side + 2 ring]² · n`."""
        x = np.clip(self._x[chosen] + displacement[0], 1, self._last[0])
        y = np.clip(self._y[chosen] + displacement[1], 1, self._last[1])
        window = np.arange(-ring, self._side + ring)
        inside = (window[:, None] * self._pitch + window)[:, :, None]
        patches: Image = self._padded.ravel().take(inside + (y * self._pitch + x), mode="clip")
        return patches

    def _sad(self, patches: Image, blocks: Image, dy: int, dx: int) -> NDArray[np.uint16]:
        side = self._side
        difference = patches[dy : dy + side : self._every, dx : dx + side] - blocks
        np.abs(difference, out=difference)
        # Without a dtype NumPy sums in int64, which takes four times as long.
        flat = difference.view(np.uint16).reshape(self.samples, -1)
        total: NDArray[np.uint16] = np.add.reduce(flat, axis=0, dtype=np.uint16)
        return total

    def at(self, shift: tuple[int, int]) -> NDArray[np.uint16]:
        """SAD of every block at one displacement of all."""
        margin, side, (rows, columns) = self._margin, self._side, self._shape
        if max(abs(shift[0]), abs(shift[1])) >= margin:
            displacement = np.array(shift, dtype=np.intp)[:, None]
            return self._sad(self._patches(displacement, 0), self._blocks, 0, 0)
        top, left = margin + shift[1], margin + shift[0]
        moved = self._padded[top : top + rows * side, left : left + columns * side]
        return self._sad(_as_blocks(moved, side), self._blocks, 0, 0)

    def refine(self, displacement: Displacement) -> tuple[Displacement, NDArray[np.uint16]]:
        """The best of the nine displacements around the given ones (those win ties), and its SAD."""
        patches = self._patches(displacement, 1)
        order = np.array([4, 1, 3, 5, 7, 0, 2, 6, 8])
        keys = np.empty((9, displacement.shape[1]), dtype=np.uint32)
        for key, k in zip(keys, order.tolist(), strict=True):
            key[:] = self._sad(patches, self._blocks, k // 3, k % 3)
        # One key holds SAD and place in the order, so that one minimum finds both.
        keys <<= 4
        keys += np.arange(9, dtype=np.uint32)[:, None]
        best = np.minimum.reduce(keys, axis=0)
        step = order[best & 15]
        moved = displacement + np.stack([step % 3 - 1, step // 3 - 1])
        return moved, (best >> 4).astype(np.uint16)

    def better(
        self, found: Displacement, sad: NDArray[np.uint16], candidate: Displacement
    ) -> tuple[Displacement, NDArray[np.uint16]]:
        """For every block the better of what was found (which wins ties) and a candidate, and its SAD."""
        other = np.flatnonzero((candidate != found).any(axis=0))
        patches = self._patches(candidate[:, other], 0, other)
        rival = self._sad(patches, self._blocks[:, :, other], 0, 0)
        gains = rival < sad[other]
        found, sad, taken = found.copy(), sad.copy(), other[gains]
        found[:, taken], sad[taken] = candidate[:, taken], rival[gains]
        return found, sad

    def fraction(
        self, displacement: Displacement, sad: NDArray[np.uint16], chosen: NDArray[np.intp]
    ) -> NDArray[np.float64]:
        """The fraction of a pixel `[2, len(chosen)]` at which the SAD of the chosen blocks would be least.

        It takes equal slopes on both sides of the minimum, as absolute differences have; a block that fits exactly is
        where it is.

        Args:
            displacement, sad: of all blocks.
        """
        patches = self._patches(displacement[:, chosen], 1, chosen)
        blocks, middle = self._blocks[:, :, chosen], sad[chosen].astype(np.int32)
        fractions = np.zeros((2, len(chosen)))
        for fraction, low_at, high_at in zip(fractions, ((1, 0), (0, 1)), ((1, 2), (2, 1)), strict=True):
            low = self._sad(patches, blocks, *low_at).astype(np.int32)
            high = self._sad(patches, blocks, *high_at).astype(np.int32)
            slope = np.maximum(low, high) - middle
            clear = (slope > 0) & (middle > 0)
            np.divide(0.5 * (low - high), slope, out=fraction, where=clear)
        return np.clip(fractions, -0.5, 0.5, out=fractions)


def _fit_similarity(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    displacement: NDArray[np.float64],
    start: tuple[int, int],
    factor: int,
) -> NDArray[np.float64]:
    """The similarity that most blocks follow: reweighted least squares, from a wide to a narrow tolerance.

    Args:
        x, y: float64 `[n]`: middles of blocks, in pixels of the current frame.
        displacement: float64 `[2, n]`, to the previous frame.
        start: (dx, dy) to begin with.
        factor: full pixels per working pixel, the unit of the last tolerance.

    Returns:
        float64 `[2, 3]`; a pure shift where fewer than 8 blocks are left, `start` where none is.
    """
    similarity = np.array([[1.0, 0.0, start[0]], [0.0, 1.0, start[1]]])
    if not len(x):
        return similarity
    dx, dy = displacement
    middle = float(np.median(dx)), float(np.median(dy))

    # Begin with whichever shift more blocks agree with: the median fails when something large moves.
    def agreeing(shift: tuple[float, float]) -> int:
        near = np.maximum(np.abs(dx - shift[0]), np.abs(dy - shift[1])) <= 4.0 * factor
        return int(np.count_nonzero(near))

    if agreeing(middle) >= agreeing(start):
        similarity[:, 2] = middle
    to_x, to_y = x + dx, y + dy
    points = np.stack([x, y, to_x, to_y])
    for tolerance in (16.0, 8.0, 4.0, 2.0, 2.0):
        (a, b, c), (d, e, f) = similarity.tolist()
        error_x, error_y = to_x - (a * x + b * y + c), to_y - (d * x + e * y + f)
        weight = 1.0 / (1.0 + (error_x**2 + error_y**2) / (tolerance * factor) ** 2) ** 2
        total = float(np.add.reduce(weight))
        if total < 1e-9:
            return similarity
        weight /= total
        mean = np.add.reduce(weight * points, axis=1)
        mean_x, mean_y, mean_to_x, mean_to_y = mean.tolist()
        from_x, from_y, into_x, into_y = points - mean[:, None]
        spread = float(np.add.reduce(weight * (from_x**2 + from_y**2)))
        if len(x) < 8 or spread < 1e-6:
            similarity[0, 2] += float(np.add.reduce(weight * error_x))
            similarity[1, 2] += float(np.add.reduce(weight * error_y))
            continue
        cosine = float(np.add.reduce(weight * (from_x * into_x + from_y * into_y))) / spread
        sine = float(np.add.reduce(weight * (from_x * into_y - from_y * into_x))) / spread
        similarity = np.array(
            [
                [cosine, -sine, mean_to_x - cosine * mean_x + sine * mean_y],
                [sine, cosine, mean_to_y - sine * mean_x - cosine * mean_y],
            ]
        )
    return similarity


def _of_flat(previous: LumaPyramid, current: LumaPyramid, settings: MotionSettings) -> Motion:
    """A picture without texture: still where nothing can be told, a cut where a textured one vanished at once."""
    before = previous.levels[0]
    textured = np.count_nonzero(_texture(_as_blocks(before, BLOCK)) >= settings.flat)
    difference = np.abs(before - current.levels[0])
    blocks = before.shape[0] // BLOCK * (before.shape[1] // BLOCK)
    residual = _as_blocks(difference, BLOCK).reshape(BLOCK**2, -1).mean(axis=0)
    still = _cut(previous, residual)
    vanished = textured >= 0.2 * blocks and float(difference.mean()) > settings.vanished
    return (
        still
        if vanished
        else Motion(
            block=still.block,
            displacement=still.displacement,
            residual=still.residual,
            valid=still.valid,
            similarity=still.similarity,
            cut=False,
        )
    )


def _cut(previous: LumaPyramid, residual: NDArray[np.float64]) -> Motion:
    rows, columns = previous.levels[0].shape[0] // BLOCK, previous.levels[0].shape[1] // BLOCK
    return Motion(
        block=BLOCK * previous.factor,
        displacement=np.zeros((rows, columns, 2), dtype=np.int16),
        residual=np.minimum(residual, 255.0).astype(np.float32).reshape(rows, columns),
        valid=np.zeros((rows, columns), dtype=bool),
        similarity=np.eye(2, 3, dtype=np.float32),
        cut=True,
    )
