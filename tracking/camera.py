"""Where the camera looks: coordinates that stay with the scene while the picture moves.

`world` maps pixels of the current frame to coordinates of the scene (those of the first frame since the last cut). The
place and velocity of a track are kept in them, so a track that is not seen costs nothing while the camera pans.
"""

import math

import numpy as np
from numpy.typing import NDArray

Transform = NDArray[np.float64]
"""float64 `[2, 3]`: a similarity, applied to column vectors (x, y, 1)."""


def identity() -> Transform:
    return np.eye(2, 3)


def compose(outer: Transform, inner: Transform) -> Transform:
    """The transform that applies `inner`, then `outer`."""
    result = outer[:, :2] @ inner
    result[:, 2] += outer[:, 2]
    return result


def invert(transform: Transform) -> Transform:
    (a, b, x), (c, d, y) = transform.tolist()
    determinant = a * d - b * c
    inverse = np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]])
    result: Transform = inverse / determinant
    return result


def apply(transform: Transform, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Moves points, float64 `[N, 2]`."""
    x, y = points[:, 0], points[:, 1]
    return np.stack(
        [
            transform[0, 0] * x + transform[0, 1] * y + transform[0, 2],
            transform[1, 0] * x + transform[1, 1] * y + transform[1, 2],
        ],
        axis=1,
    )


def turn(transform: Transform, vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turns and scales differences of points, float64 `[N, 2]`, without moving them."""
    linear = transform.copy()
    linear[:, 2] = 0.0
    return apply(linear, vectors)


def scale_of(transform: Transform) -> float:
    (a, b, _), (c, d, _) = transform.tolist()
    return math.sqrt(abs(a * d - b * c))


def is_sound(transform: NDArray[np.float32]) -> bool:
    """Whether a measured similarity can be believed: finite, and a zoom between ½ and 2 in one frame."""
    return bool(np.isfinite(transform).all()) and 0.5 <= scale_of(transform.astype(np.float64)) <= 2.0
