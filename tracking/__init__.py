"""Segments to tracks: association, life cycle, state, stitching, refinement. NumPy, SciPy and lap only."""

from tracking.delayed import DelayedState, DelayedTracker, DelaySettings
from tracking.fragments import Fragment, fragments_of
from tracking.refinement import RefinementSettings, recognise, refine
from tracking.settings import TrackerSettings
from tracking.state import TrackerState
from tracking.stitching import ChunkTracks, StitchedTracks, stitch, stitch_chunk
from tracking.tracker import PanopticTracker
from tracking.vocabulary_change import Classifier, change_vocabulary

__all__ = [
    "ChunkTracks",
    "Classifier",
    "DelaySettings",
    "DelayedState",
    "DelayedTracker",
    "Fragment",
    "PanopticTracker",
    "RefinementSettings",
    "StitchedTracks",
    "TrackerSettings",
    "TrackerState",
    "change_vocabulary",
    "fragments_of",
    "recognise",
    "refine",
    "stitch",
    "stitch_chunk",
]
