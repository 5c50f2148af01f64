"""The levels of difficulty: one table."""

from dataclasses import dataclass
from typing import Literal

LevelName = Literal["easy", "medium", "hard"]


@dataclass(frozen=True, slots=True)
class Level:
    """How much of everything happens in a video. Lengths are in pixels of a frame 256 pixels high."""

    number: int
    """Part of the seed, so that levels share no video."""
    things: tuple[int, int]
    """Least and greatest number of things in a scene."""
    speed: float
    """Of things, pixels per frame at most."""
    leaving: float
    """Share of things that leave the view, and mostly come back."""
    meeting: float
    """Chance of any other thing to cross the path of one before it."""
    twins: float
    """Chance of a thing to be the same concept as one before it; half of those look the same too."""
    pan: float
    """Of the camera, pixels per frame at most."""
    shake: float
    """Amplitude in pixels."""
    zoom: float
    """Greatest change as a natural logarithm."""
    roll: float
    """Greatest roll in degrees."""
    rescale: float
    """Greatest change of a thing's own size, as a share."""
    swing: float
    """Greatest rotation of a thing about its resting angle, in degrees."""
    bend: float
    """How much a limber thing changes its shape while it moves; 1 is a lively walk."""
    light: float
    """Greatest change of brightness, as a share."""
    noise: tuple[float, float]
    """Standard deviation in grey levels, from and to."""
    shutter: float
    """Share of a frame's time for which the shutter is open: the length of motion blur."""
    cuts: tuple[int, int]
    """Least and greatest number of cuts."""


LEVELS: dict[LevelName, Level] = {
    "easy": Level(
        number=0,
        things=(6, 7),
        speed=1.2,
        leaving=0.2,
        meeting=0.45,
        twins=0.1,
        pan=0.6,
        shake=0.3,
        zoom=0.04,
        roll=0.5,
        rescale=0.05,
        swing=5,
        bend=0.6,
        light=0.04,
        noise=(0, 2),
        shutter=0.0,
        cuts=(0, 0),
    ),
    "medium": Level(
        number=1,
        things=(6, 8),
        speed=2.4,
        leaving=0.3,
        meeting=0.35,
        twins=0.2,
        pan=1.2,
        shake=1.0,
        zoom=0.10,
        roll=2.0,
        rescale=0.15,
        swing=10,
        bend=1.0,
        light=0.12,
        noise=(1, 4),
        shutter=0.3,
        cuts=(0, 0),
    ),
    "hard": Level(
        number=2,
        things=(8, 10),
        speed=4.5,
        leaving=0.35,
        meeting=0.45,
        twins=0.3,
        pan=2.5,
        shake=2.5,
        zoom=0.2,
        roll=5.0,
        rescale=0.3,
        swing=20,
        bend=1.3,
        light=0.3,
        noise=(2, 8),
        shutter=0.5,
        cuts=(1, 2),
    ),
}
