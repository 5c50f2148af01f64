"""A small film of coloured discs, for runs with the `colours` model: what is where can be computed for every frame."""

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from videoseg.video.writer import VideoWriter
from videoseg.vocabulary import Vocabulary

RATE = 30
THINGS = "red ball; yellow duck; blue box"
STUFF = "cyan sky; grey road"

# Colour, start (x, y) in shares of the picture, way per frame, radius in shares of the height.
DISCS = (
    ((225, 35, 35), (0.2, 0.3), (0.006, 0.001), 0.14),
    ((240, 225, 40), (0.7, 0.7), (-0.005, -0.002), 0.17),
    ((30, 60, 225), (0.45, 0.75), (0.0, -0.004), 0.12),
)


def vocabulary() -> Vocabulary:
    return Vocabulary.build(things=THINGS, stuff=STUFF)


def picture(number: int, width: int = 160, height: int = 90) -> NDArray[np.uint8]:
    """uint8 `[height, width, 3]` of frame `number`."""
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    rgb[: height // 2] = (10, 200, 200)
    rgb[height // 2 :] = (128, 128, 140)
    rows, columns = np.mgrid[:height, :width]
    for colour, (x, y), (right, down), radius in DISCS:
        middle_x, middle_y = _bounced(x + right * number) * width, _bounced(y + down * number) * height
        rgb[(columns - middle_x) ** 2 + (rows - middle_y) ** 2 < (radius * height) ** 2] = colour
    return rgb


def _bounced(place: float) -> float:
    """Between 0.2 and 0.8, turning back at both."""
    return 0.2 + abs((place - 0.2 + 0.6) % 1.2 - 0.6)


def write(path: Path, frames: int, width: int = 160, height: int = 90) -> Path:
    """Encodes the film."""
    with VideoWriter(path, width, height, rate=Fraction(RATE)) as out:
        for number in range(frames):
            out.write(picture(number, width, height), time=number / RATE)
    return path
