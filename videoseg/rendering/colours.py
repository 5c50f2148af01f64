"""The colour of a segment: fixed per track for things, per category for stuff.

Track colours go round the hues of OKLCH by the golden angle (B. Ottosson, "A perceptual color space for image
processing", 2020, https://bottosson.github.io/posts/oklab/), so that tracks born together look far apart and none looks
much stronger than another.
"""

import math
from functools import lru_cache

from videoseg.panoptic import Segment
from videoseg.vocabulary import Colour, Vocabulary

_GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
_FIRST_HUE = 0.6  # orange-red: seen on most backgrounds
# Neighbours in hue (8, 13 or 21 tracks apart) differ in lightness.
_LIGHTNESS = (0.74, 0.63, 0.83)
_CHROMA = 0.17  # about the most that every hue has in sRGB

_STUFF_GREY = 0.35  # stuff lies behind things, and looks like it


@lru_cache(maxsize=4096)
def track_colour(track: int) -> Colour:
    """The colour of a thing's track: the same in every frame and every run."""
    return _oklch(_LIGHTNESS[track % len(_LIGHTNESS)], _CHROMA, _FIRST_HUE + (track - 1) * _GOLDEN_ANGLE)


def segment_colour(segment: Segment, vocabulary: Vocabulary) -> Colour:
    """The colour of a segment: its track's for things, its category's, a little greyed, for stuff.

    A thing without a track yet has the colour of its category.
    """
    if segment.is_thing and segment.track is not None:
        return track_colour(segment.track)
    colour = vocabulary[segment.category].colour
    return colour if segment.is_thing else _greyed(colour)


def luminance(colour: Colour) -> float:
    """Relative luminance in [0, 1] (WCAG 2.2), for the choice of a readable text colour."""
    red, green, blue = (
        value / 255 / 12.92 if value / 255 <= 0.04045 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in colour
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def mixed(colour: Colour, other: Colour, share: float) -> Colour:
    """`colour` with a share (0..1) of `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue


def _greyed(colour: Colour) -> Colour:
    grey = round(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])
    return mixed(colour, (grey, grey, grey), _STUFF_GREY)


def _oklch(lightness: float, chroma: float, hue: float) -> Colour:
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    red, green, blue = (
        round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055))
        for v in (min(max(value, 0.0), 1.0) for value in linear)
    )
    return red, green, blue
