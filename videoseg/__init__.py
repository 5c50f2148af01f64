"""videoseg: open-vocabulary panoptic tracks from video.

    import videoseg

    for frame in videoseg.segment("walk.mp4", vocabulary="person; dog, puppy", stuff="sky; grass"):
        print(frame.time, [(segment.track, segment.category) for segment in frame.segments])

    run = videoseg.run("walk.mp4", "out/", labels=["coco"])    # a run folder, as the command line makes it
    tracked = videoseg.track(my_panoptic_frames)               # tracks for anyone's segments
    run = videoseg.open_run("out/")                            # and read again

Names are looked up when they are used: `import videoseg` itself loads nothing but this file.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoseg.door import open_run, run, segment, track
    from videoseg.errors import InputError, VideosegError
    from videoseg.frame import Frame
    from videoseg.motion import Motion
    from videoseg.panoptic import PanopticFrame, Segment
    from videoseg.protocols import Loss, Segmenter, Source, SourceInfo, StreamState, Tracker, TrackingStep
    from videoseg.store.reader import Run
    from videoseg.tracks import Track, TrackEvent
    from videoseg.vocabulary import Category, Vocabulary

__version__ = "0.1.0"

__all__ = [
    "Category",
    "Frame",
    "InputError",
    "Loss",
    "Motion",
    "PanopticFrame",
    "Run",
    "Segment",
    "Segmenter",
    "Source",
    "SourceInfo",
    "StreamState",
    "Track",
    "TrackEvent",
    "Tracker",
    "TrackingStep",
    "VideosegError",
    "Vocabulary",
    "__version__",
    "open_run",
    "run",
    "segment",
    "track",
]

_HOMES = {
    "Category": "vocabulary",
    "Frame": "frame",
    "InputError": "errors",
    "Loss": "protocols",
    "Motion": "motion",
    "PanopticFrame": "panoptic",
    "Run": "store.reader",
    "Segment": "panoptic",
    "Segmenter": "protocols",
    "Source": "protocols",
    "SourceInfo": "protocols",
    "StreamState": "protocols",
    "Track": "tracks",
    "TrackEvent": "tracks",
    "Tracker": "protocols",
    "TrackingStep": "protocols",
    "VideosegError": "errors",
    "Vocabulary": "vocabulary",
    "open_run": "door",
    "run": "door",
    "segment": "door",
    "track": "door",
}
"""Public name -> module that it lives in."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'videoseg' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"videoseg.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _warn_of_shadows() -> None:
    from videoseg.shadowing import shadows

    for shadow in shadows():
        import warnings

        # Level 4: the line that says `import videoseg`, past this function and the import machinery as far as it goes.
        warnings.warn(shadow.sentence, stacklevel=4)


_warn_of_shadows()
