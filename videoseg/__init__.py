"""videoseg: open-vocabulary panoptic tracks from video."""

__version__ = "0.1.0"
