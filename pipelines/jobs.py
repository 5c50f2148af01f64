"""From what a user names to a `Job`: sources, models, recorded segments."""

from pathlib import Path

from pipelines.models import KnownModel, find_model, load_model, training_note, uses_torch
from pipelines.profile import numeric_profile, usable_cores
from pipelines.recorded_segmenter import RecordedSegmenter, RecordedSource
from pipelines.run import Job
from pipelines.settings import Placement, RunSettings
from tracking import DelayedTracker, DelaySettings, PanopticTracker, TrackerSettings
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.protocols import Source
from videoseg.video import open_source
from videoseg.vocabulary import Vocabulary


def segment_job(
    source: str | Path, vocabulary: Vocabulary, *, model: str, settings: RunSettings, placement: Placement
) -> Job:
    """A job that segments and tracks a video file or a folder of images.

    Raises:
        InputError: unknown model, or a device that this machine has not.
    """
    known = find_model(model)
    torch_model = uses_torch(model)
    device = resolve_device(placement.device) if torch_model else "cpu"
    threads = placement.threads or usable_cores()
    window_batch = 1
    if torch_model:
        from odise_frame.segmenter import WINDOW_BATCH

        window_batch = WINDOW_BATCH

    def open_it() -> Source:
        return open_source(
            source,
            decoder=settings.decoder,
            every=settings.every,
            fps=settings.fps,
            start=settings.start,
            end=settings.end,
        )

    return Job(
        open_source=open_it,
        make_segmenter=lambda: load_model(model, vocabulary, device=device, threads=threads),
        make_tracker=lambda: make_tracker(vocabulary, settings),
        vocabulary=vocabulary,
        settings=settings,
        profile=numeric_profile(
            device=device.split(":")[0],
            threads=threads,
            decoder=settings.decoder,
            uses_torch=torch_model,
            window_batch=window_batch,
        ),
        note=known.note if isinstance(known, KnownModel) else training_note(known),
    )


def track_job(
    segments: str | Path,
    *,
    pictures: str | Path | None = None,
    video: str | None = None,
    format: str | None = None,
    settings: RunSettings,
) -> Job:
    """A job that tracks recorded per-frame segments.

    Args:
        segments: a folder or file of any format that we read.
        pictures: the video or folder of images that the segments were made from; with it, things are recognised by
            their colours, too, and the overlay has a picture.
        video: which video of the folder; None means the only one.
        format: name of the format; None means that it is recognised.

    Raises:
        InputError: no segments that we know, or several videos and none named.
    """
    recorded = read_segments(segments, format)
    name = video if video is not None else recorded.videos[0] if len(recorded.videos) == 1 else None
    recorded.num_frames(name)  # says which videos there are, where the name does not tell
    assert name is not None

    def open_it() -> Source:
        shown = None if pictures is None else open_source(pictures, decoder=settings.decoder)
        return RecordedSource(recorded, name, shown)

    return Job(
        open_source=open_it,
        make_segmenter=lambda: RecordedSegmenter(recorded, name, has_pictures=pictures is not None),
        make_tracker=lambda: make_tracker(recorded.vocabulary, settings),
        vocabulary=recorded.vocabulary,
        settings=settings,
        profile=numeric_profile(
            device="cpu", threads=1, decoder=settings.decoder if pictures else None, uses_torch=False
        ),
        has_pictures=pictures is not None,
    )


def make_tracker(vocabulary: Vocabulary, settings: RunSettings) -> PanopticTracker | DelayedTracker:
    """The tracker of a run."""
    tracker = PanopticTracker(TrackerSettings(fill_seconds=settings.fill_seconds), vocabulary=vocabulary)
    if not settings.output_delay:
        return tracker
    return DelayedTracker(tracker, DelaySettings(frames=settings.output_delay))


def resolve_device(name: str) -> str:
    """The device that a name means here.

    Raises:
        InputError: this machine has no such device.
    """
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if gpus else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdecimal()):
        raise InputError(f"There is no device {name!r}. Name auto, cpu, cuda or cuda:0, cuda:1, …")
    if kind == "cuda" and int(number or 0) >= gpus:
        here = f"{gpus} GPU{'s' if gpus != 1 else ''}" if gpus else "no GPU that torch can use"
        raise InputError(f"--device {name} is not here: this machine has {here}. See `videoseg doctor`.")
    return name
