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
from eval.synthetic_world.levels import LEVELS, LevelName
from eval.synthetic_world.scene import PROMISES, ThingTruth
from eval.synthetic_world.standard import BENCHMARKS, BenchmarkVideo
from eval.synthetic_world.video import RATE, SyntheticFrame, render_video

__all__ = [
    "BENCHMARKS",
    "LEVELS",
    "PROMISES",
    "RATE",
    "STUFF",
    "STYLES",
    "THINGS",
    "UNSEEN_STYLE",
    "BenchmarkVideo",
    "Concepts",
    "LevelName",
    "Split",
    "SyntheticFrame",
    "SyntheticImage",
    "SyntheticSegment",
    "ThingTruth",
    "render_image",
    "render_video",
    "stuff_text",
    "thing_indices",
    "things_text",
    "vocabulary",
]
