"""Estimates `Motion` between two frames: integer block matching on a luma pyramid, in NumPy.

Knows two pictures, and nothing of codecs, segments or time. Every picture is first reduced to a working size of about
216 rows, so the cost hardly depends on the size of the video. Displacements are searched on the coarsest of three
levels and refined on the next two; the camera's motion is a similarity fitted robustly to the reliable blocks.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoseg.motion import Motion

Image = NDArray[np.int16]
"""int16 `[h, w]`: luma 0..255 (times brightness correction)."""

BLOCK = 8
"""Side of a block in working pixels: at 216 rows a 27th of the height, with 64 pixels to compare."""
_LEVELS = 3


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
        return cls(size=(height, width), factor=factor, levels=tuple(levels), detail=_detail(levels[-1]))


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
    previous: LumaPyramid, current: LumaPyramid, *, settings: MotionSettings | None = None
) -> Motion:
    """`estimate_motion` on pictures already reduced (with the same settings)."""
    settings = settings or MotionSettings()
    if previous.size != current.size:
        raise ValueError(f"frames of different sizes: {previous.size} and {current.size}")
    levels = current.levels
    rows, columns = levels[0].shape[0] // BLOCK, levels[0].shape[1] // BLOCK
    blocks = [_as_blocks(level, BLOCK >> k) for k, level in enumerate(levels)]
    texture = _texture(blocks[0])
    if not np.count_nonzero(texture >= settings.flat):
        return _of_flat(previous, current, settings)

    shift, correlation = _global_shift(previous.detail, current.detail)
    gain, offset = _brightness(previous.levels[-1], levels[-1], shift)
    if (gain, offset) != (1.0, 0.0):
        levels = tuple(np.rint(gain * level + offset).astype(np.int16) for level in levels)
        blocks = [_as_blocks(level, BLOCK >> k) for k, level in enumerate(levels)]
        texture = _texture(blocks[0])

    # Coarse to fine. Displacements are `[n, 2]` (dx, dy) in pixels of the level.
    found = _search(previous.levels[-1], levels[-1], settings)
    camera = np.array(shift, dtype=np.intp)
    for k in range(_LEVELS - 2, -1, -1):
        matcher = _Matcher(previous.levels[k], blocks[k], rows, columns)
        own, own_sad = matcher.refine(2 * found)
        camera = _refine_camera(2 * camera, own)
        still_sad = matcher.still()
        camera_sad = matcher.at(np.broadcast_to(camera, own.shape)) if camera.any() else still_sad
        common = np.where((camera_sad < still_sad)[:, None], camera, np.zeros(2, dtype=np.intp))
        better = own_sad + settings.preference * matcher.samples < np.minimum(camera_sad, still_sad)
        found = np.where(better[:, None], own, common)
    sad, fraction = matcher.measure(found)
    residual = sad / matcher.samples
    usable = (texture >= settings.flat) & (residual <= np.maximum(settings.explained * texture, settings.flat))

    textured = np.count_nonzero(texture >= settings.flat)
    agreeing = _agreeing_neighbours(found.reshape(rows, columns, 2), usable.reshape(rows, columns)).ravel()
    coherent = np.count_nonzero(agreeing >= 2)
    incoherent = coherent < settings.cut_coherent * textured and correlation < settings.cut_correlation
    # A picture of a block or two has no neighbours to agree with; equal pictures are no cut whatever their size.
    if incoherent and float(residual.mean()) > settings.flat:
        return _cut(previous, residual)
    side = BLOCK * current.factor
    displacement = (found + fraction) * current.factor
    y, x = np.divmod(np.arange(rows * columns), columns)
    centres = np.stack([(x + 0.5) * side, (y + 0.5) * side], axis=1)
    start = np.array(shift, dtype=np.float64) * (current.factor << (_LEVELS - 1))
    similarity = _fit_similarity(centres[usable], displacement[usable], start, current.factor)
    by_camera = centres @ similarity[:, :2].T + similarity[:, 2] - centres
    # What goes neither with a neighbour nor with the camera matched by chance.
    with_camera = np.abs(displacement - by_camera).max(axis=1) <= 2.0 * current.factor
    valid = usable & (with_camera | (agreeing >= 1))
    # An unreliable block is most likely part of what the camera sees everywhere.
    displacement = np.where(valid[:, None], displacement, by_camera)
    limit = np.iinfo(np.int16).max
    return Motion(
        block=side,
        displacement=np.clip(np.rint(displacement), -limit, limit).astype(np.int16).reshape(rows, columns, 2),
        residual=np.minimum(residual, 255.0).astype(np.float32).reshape(rows, columns),
        valid=valid.reshape(rows, columns),
        similarity=similarity.astype(np.float32),
        cut=False,
    )


def _agreeing_neighbours(displacement: NDArray[np.intp], usable: NDArray[np.bool_]) -> NDArray[np.int8]:
    """How many of its four neighbours share a usable block's displacement within 1 pixel, int8 `[rows, columns]`."""
    agreeing = np.zeros(usable.shape, dtype=np.int8)
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        same = (np.abs(displacement[first] - displacement[second]) <= 1).all(axis=2) & usable[first] & usable[second]
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


def _global_shift(previous: NDArray[np.float64], current: NDArray[np.float64]) -> tuple[tuple[int, int], float]:
    """The shift (dx, dy), current to previous, that fits the whole picture best, and the correlation there.

    Phase correlation of the details: brightness and contrast don't matter. The correlation is over the shared part.
    """
    height, width = current.shape
    window = np.outer(_taper(height), _taper(width))
    first, second = np.fft.rfft2(previous * window), np.fft.rfft2(current * window)
    cross = first * second.conj()
    surface = np.fft.irfft2(cross / np.maximum(np.abs(cross), 1e-6), s=current.shape)
    best = ((0, 0), _correlation(previous, current, (0, 0)))
    for _ in range(3):
        peak = int(surface.argmax())
        surface.flat[peak] = -np.inf
        dy, dx = divmod(peak, width)
        shift = (dx - width if dx > width // 2 else dx, dy - height if dy > height // 2 else dy)
        if abs(shift[0]) > 0.6 * width or abs(shift[1]) > 0.6 * height:
            continue
        value = _correlation(previous, current, shift)
        # None is better than a shift that fits better by rounding alone, as over the few pixels of a tiny picture.
        if value > best[1] + 1e-9:
            best = (shift, value)
    return best


def _refine_camera(doubled: NDArray[np.intp], own: NDArray[np.intp]) -> NDArray[np.intp]:
    """The camera's shift on the next finer level: what most blocks within a pixel of the doubled one say."""
    near = own[np.abs(own - doubled).max(axis=1) <= 1]
    if not len(near):
        return doubled
    codes = (near - doubled + 1) @ np.array([1, 3])
    step = int(np.bincount(codes, minlength=9).argmax())
    refined: NDArray[np.intp] = doubled + np.array([step % 3 - 1, step // 3 - 1], dtype=np.intp)
    return refined


def _detail(image: Image) -> NDArray[np.float64]:
    """What differs from the neighbourhood of 9×9 pixels: many scenes are bright above and dark below."""
    reach = 4
    span = 2 * reach + 1
    sums = np.zeros((image.shape[0] + span, image.shape[1] + span))
    sums[1:, 1:] = np.pad(image, reach, mode="edge").cumsum(axis=0).cumsum(axis=1)
    around = sums[span:, span:] - sums[:-span, span:] - sums[span:, :-span] + sums[:-span, :-span]
    detail: NDArray[np.float64] = image - around / span**2
    return detail


def _taper(length: int) -> NDArray[np.float64]:
    return np.hanning(length + 2)[1:-1]


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


def _search(previous: Image, current: Image, settings: MotionSettings) -> NDArray[np.intp]:
    """Full search on the coarsest level, each block judged together with its eight neighbours.

    Returns:
        `[n, 2]` (dx, dy) of blocks in raster order.
    """
    reach, side = settings.search, BLOCK >> (_LEVELS - 1)
    height, width = current.shape
    rows, columns = height // side, width // side
    span = 2 * reach + 1
    padded = np.pad(previous, reach, mode="edge")
    # [dx, h + 2 · reach, w]: the previous picture shifted by every dx.
    shifted = np.lib.stride_tricks.sliding_window_view(padded, width, axis=1).transpose(1, 0, 2)
    difference = np.empty((span, height, width), dtype=np.int16)
    tall = np.empty((span, rows + 2, width), dtype=np.int16)
    wide = np.empty((span, rows, columns + 2), dtype=np.int16)
    # One key holds cost and displacement, so that one minimum finds both (the first displacement where equal).
    order = np.arange(span * span, dtype=np.int32).reshape(span, span)
    best = np.full((rows, columns), np.iinfo(np.int32).max, dtype=np.int32)
    for dy in range(span):
        np.subtract(shifted[:, dy : dy + height], current, out=difference)
        np.abs(difference, out=difference)
        # Slices: NumPy's sums over an axis of two are many times slower.
        np.add(difference[:, 0::side], difference[:, 1::side], out=tall[:, 1:-1])
        for i in range(2, side):
            tall[:, 1:-1] += difference[:, i::side]
        tall[:, 0], tall[:, -1] = tall[:, 1], tall[:, -2]
        high = tall[:, :-2] + tall[:, 1:-1]
        high += tall[:, 2:]
        np.add(high[..., 0::side], high[..., 1::side], out=wide[..., 1:-1])
        for i in range(2, side):
            wide[..., 1:-1] += high[..., i::side]
        wide[..., 0], wide[..., -1] = wide[..., 1], wide[..., -2]
        total = wide[..., :-2] + wide[..., 1:-1]
        total += wide[..., 2:]
        keys = total.astype(np.int32)
        keys <<= 16
        keys += order[dy][:, None, None]
        np.minimum(best, np.minimum.reduce(keys, axis=0), out=best)
    dy_found, dx_found = np.divmod((best & 0xFFFF).ravel(), span)
    return np.stack([dx_found - reach, dy_found - reach], axis=1).astype(np.intp)


class _Matcher:
    """Sums of absolute differences between the blocks of one level and displaced parts of the previous picture."""

    def __init__(self, previous: Image, blocks: Image, rows: int, columns: int) -> None:
        side = blocks.shape[0]
        # On the finest level every second row of a block says enough: half the work.
        self._every = 2 if side == BLOCK else 1
        self._blocks = np.ascontiguousarray(blocks[:: self._every])
        self._side = side
        self._previous = previous
        self.samples = self._blocks.shape[0] * side
        margin = side + 2
        self._padded = np.pad(previous, margin, mode="edge").ravel()
        self._pitch = previous.shape[1] + 2 * margin
        y, x = np.divmod(np.arange(rows * columns), columns)
        self._y, self._x = y * side + margin, x * side + margin
        # Displacements that point farther out of the picture see its repeated edge.
        self._last = (self._pitch - side - 1, previous.shape[0] + 2 * margin - side - 1)

    def _patches(self, displacement: NDArray[np.intp], ring: int) -> Image:
        """What is in the previous picture at each displaced block and `ring` pixels around, `[side + 2 ring]² · n`."""
        x = np.clip(self._x + displacement[:, 0], 1, self._last[0])
        y = np.clip(self._y + displacement[:, 1], 1, self._last[1])
        window = np.arange(-ring, self._side + ring)
        inside = (window[:, None] * self._pitch + window)[:, :, None]
        patches: Image = self._padded.take(inside + (y * self._pitch + x))
        return patches

    def _sad(self, patches: Image, dy: int, dx: int) -> NDArray[np.int32]:
        side = self._side
        difference = patches[dy : dy + side : self._every, dx : dx + side] - self._blocks
        np.abs(difference, out=difference)
        # At most 32 differences, of at most 1020 where brightness was corrected: they fit in int16.
        total: NDArray[np.int32] = np.add.reduce(difference.reshape(self.samples, -1), axis=0).astype(np.int32)
        return total

    def still(self) -> NDArray[np.int32]:
        """SAD of every block at no displacement."""
        return self._sad(_as_blocks(self._previous, self._side), 0, 0)

    def at(self, displacement: NDArray[np.intp]) -> NDArray[np.int32]:
        """SAD of every block at the given displacements `[n, 2]`."""
        return self._sad(self._patches(displacement, 0), 0, 0)

    def refine(self, displacement: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """The best of the nine displacements around the given ones (those win ties), and its SAD."""
        patches = self._patches(displacement, 1)
        order = np.array([4, 1, 3, 5, 7, 0, 2, 6, 8])
        sums = np.stack([self._sad(patches, int(k) // 3, int(k) % 3) for k in order])
        best = sums.argmin(axis=0)
        step = order[best]
        moved = displacement + np.stack([step % 3 - 1, step // 3 - 1], axis=1)
        return moved, np.take_along_axis(sums, best[None], axis=0)[0]

    def measure(self, displacement: NDArray[np.intp]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """SAD at the displacements, and the fraction of a pixel `[n, 2]` at which it would be least.

        The fraction takes equal slopes on both sides of the minimum, as absolute differences have; a block that fits
        exactly is where it is.
        """
        patches = self._patches(displacement, 1)
        middle = self._sad(patches, 1, 1)
        fractions = []
        for low_at, high_at in (((1, 0), (1, 2)), ((0, 1), (2, 1))):
            low, high = self._sad(patches, *low_at), self._sad(patches, *high_at)
            slope = np.maximum(low, high) - middle
            fraction = 0.5 * (low - high) / np.maximum(slope, 1)
            fractions.append(np.where((slope > 0) & (middle > 0), np.clip(fraction, -0.5, 0.5), 0.0))
        return middle, np.stack(fractions, axis=1)


def _fit_similarity(
    centres: NDArray[np.float64], displacement: NDArray[np.float64], start: NDArray[np.float64], factor: int
) -> NDArray[np.float64]:
    """The similarity that most blocks follow: reweighted least squares, from a wide to a narrow tolerance.

    Args:
        centres: float64 `[n, 2]`, in pixels of the current frame.
        displacement: float64 `[n, 2]`, to the previous frame.
        start: (dx, dy) to begin with.
        factor: full pixels per working pixel, the unit of the last tolerance.

    Returns:
        float64 `[2, 3]`; a pure shift where fewer than 8 blocks are left, `start` where none is.
    """
    similarity = np.array([[1.0, 0.0, start[0]], [0.0, 1.0, start[1]]])
    if not len(centres):
        return similarity
    target = centres + displacement
    middle = np.median(displacement, axis=0)

    # Begin with whichever shift more blocks agree with: the median fails when something large moves.
    def agreeing(shift: NDArray[np.float64]) -> int:
        return int(np.count_nonzero(np.abs(displacement - shift).max(axis=1) <= 4.0 * factor))

    if agreeing(middle) >= agreeing(start):
        similarity[:, 2] = middle
    x, y = centres.T.copy()
    to_x, to_y = target.T.copy()
    for tolerance in (16.0, 8.0, 4.0, 2.0, 2.0):
        (a, b, c), (d, e, f) = similarity.tolist()
        error_x, error_y = to_x - (a * x + b * y + c), to_y - (d * x + e * y + f)
        weight = 1.0 / (1.0 + (error_x**2 + error_y**2) / (tolerance * factor) ** 2) ** 2
        total = float(weight.sum())
        if total < 1e-9:
            return similarity
        weight /= total
        mean_x, mean_y = float((weight * x).sum()), float((weight * y).sum())
        mean_to_x, mean_to_y = float((weight * to_x).sum()), float((weight * to_y).sum())
        from_x, from_y, into_x, into_y = x - mean_x, y - mean_y, to_x - mean_to_x, to_y - mean_to_y
        spread = float((weight * (from_x**2 + from_y**2)).sum())
        if len(x) < 8 or spread < 1e-6:
            similarity[0, 2] += float((weight * error_x).sum())
            similarity[1, 2] += float((weight * error_y).sum())
            continue
        cosine = float((weight * (from_x * into_x + from_y * into_y)).sum()) / spread
        sine = float((weight * (from_x * into_y - from_y * into_x)).sum()) / spread
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
