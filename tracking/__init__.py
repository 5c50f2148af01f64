"""Segments to tracks: association, life cycle, state, stitching. NumPy, SciPy and lap only."""

from tracking.settings import TrackerSettings
from tracking.state import TrackerState
from tracking.stitching import stitch
from tracking.tracker import PanopticTracker

__all__ = ["PanopticTracker", "TrackerSettings", "TrackerState", "stitch"]
