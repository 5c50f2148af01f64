"""Segments to tracks: association, life cycle, state, stitching, refinement. NumPy, SciPy and lap only."""

from tracking.delayed import DelayedState, DelayedTracker, DelaySettings
from tracking.refinement import Fragment, RefinementSettings, fragments_of, refine
from tracking.settings import TrackerSettings
from tracking.state import TrackerState
from tracking.stitching import stitch
from tracking.tracker import PanopticTracker
from tracking.vocabulary_change import Classifier, change_vocabulary

__all__ = [
    "Classifier",
    "DelaySettings",
    "DelayedState",
    "DelayedTracker",
    "Fragment",
    "PanopticTracker",
    "RefinementSettings",
    "TrackerSettings",
    "TrackerState",
    "change_vocabulary",
    "fragments_of",
    "refine",
    "stitch",
]
