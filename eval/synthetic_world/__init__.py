"""The synthetic world: endless deterministic pictures and video with exact panoptic ground truth and captions."""

from eval.synthetic_world.concepts import (
    STUFF,
    STYLES,
    THINGS,
    UNSEEN_STYLE,
    Concepts,
    Split,
    stuff_text,
    thing_indices,
    things_text,
    vocabulary,
)
from eval.synthetic_world.image import SyntheticImage, SyntheticSegment, render_image

__all__ = [
    "STUFF",
    "STYLES",
    "THINGS",
    "UNSEEN_STYLE",
    "Concepts",
    "Split",
    "SyntheticImage",
    "SyntheticSegment",
    "render_image",
    "stuff_text",
    "thing_indices",
    "things_text",
    "vocabulary",
]
