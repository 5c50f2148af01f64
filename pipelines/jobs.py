"""From what a user names to a `Job`: sources, models, recorded segments."""

import os
from pathlib import Path

from pipelines.models import KnownModel, find_model, training_note, uses_torch
from pipelines.parts import LoadSegmenter, MakeTracker, OpenRecording, OpenVideo, ReadRecording, Recording
from pipelines.profile import numeric_profile, usable_cores
from pipelines.run import Job
from pipelines.settings import Placement, RunSettings
from pipelines.vocabulary_phases import LoadPhases, MakePhasedTracker, PlannedVocabulary
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.vocabulary import Vocabulary

CANNOT_CHANGE = (
    "Recorded segments have their categories from elsewhere and cannot be classified again, so their vocabulary cannot "
    "change. Leave --vocab-at and --stuff-at out."
)


def segment_job(
    source: str | Path,
    vocabulary: Vocabulary,
    *,
    model: str,
    settings: RunSettings,
    placement: Placement,
    any_versions: bool = False,
) -> Job:
    """A job that segments and tracks a video file or a folder of images.

    Args:
        any_versions: machines with other versions of the packages may take part.

    Raises:
        InputError: unknown model, or a device that is not there.
    """
    if settings.budget_ms is not None:
        raise InputError(
            "--budget-ms is for live streams: what a file gives must not depend on the clock. Take --budget-flops, or "
            "`videoseg live`, which writes its plans down."
        )
    known = find_model(model)
    torch_model = uses_torch(model)
    device = resolve_device(placement.device, placement) if torch_model else "cpu"
    threads = placement.threads or usable_cores()
    window_batch = 1
    if torch_model:
        from odise_frame.segmenter import WINDOW_BATCH

        window_batch = WINDOW_BATCH
    profile = numeric_profile(
        device=device.split(":")[0],
        threads=threads,
        decoder=settings.decoder,
        uses_torch=torch_model,
        window_batch=window_batch,
        dtype=placement.dtype,
    )
    path = _everywhere(source, placement)
    load = LoadSegmenter(
        model if isinstance(known, KnownModel) else _everywhere(model, placement),
        vocabulary,
        device,
        threads,
        profile["versions"],
        any_versions,
        settings,
        placement.dtype,
    )
    phases = LoadPhases(PlannedVocabulary(vocabulary, settings.vocabulary_phases), load)
    changes = len(settings.vocabulary_phases) > 1
    return Job(
        open_source=OpenVideo(path, settings),
        make_segmenter=phases if changes else load,
        make_tracker=MakePhasedTracker(phases, settings) if changes else MakeTracker(vocabulary, settings),
        vocabulary=vocabulary,
        settings=settings,
        profile=profile,
        gpus=placement.gpus_per_worker if device.startswith("cuda") else 0.0,
        given={"command": "segment", "source": os.path.abspath(source), "model": model},
        note=known.note if isinstance(known, KnownModel) else training_note(known),
    )


def track_job(
    segments: str | Path,
    *,
    pictures: str | Path | None = None,
    video: str | None = None,
    format: str | None = None,
    settings: RunSettings,
    placement: Placement | None = None,
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
    if settings.vocabulary_phases:
        raise InputError(CANNOT_CHANGE)
    recorded = read_segments(segments, format)
    name = video if video is not None else recorded.videos[0] if len(recorded.videos) == 1 else None
    recorded.num_frames(name)  # says which videos there are, where the name does not tell
    assert name is not None

    placement = placement or Placement()
    recording = Recording(
        _everywhere(segments, placement),
        recorded.format,
        name,
        None if pictures is None else _everywhere(pictures, placement),
        settings.decoder,
    )
    return Job(
        open_source=OpenRecording(recording),
        make_segmenter=ReadRecording(recording),
        make_tracker=MakeTracker(recorded.vocabulary, settings),
        vocabulary=recorded.vocabulary,
        settings=settings,
        profile=numeric_profile(
            device="cpu", threads=1, decoder=settings.decoder if pictures else None, uses_torch=False
        ),
        given={
            "command": "track",
            "source": os.path.abspath(segments),
            "pictures": None if pictures is None else os.path.abspath(pictures),
            "video": name,
            "format": recorded.format,
        },
        has_pictures=pictures is not None,
    )


def resolve_device(name: str, placement: Placement | None = None) -> str:
    """The device that a name means here, or in the cluster that the placement names.

    Raises:
        InputError: there is no such device.
    """
    kind, _, number = name.partition(":")
    if name != "auto" and (kind not in ("cpu", "cuda") or (number and not number.isdecimal())):
        raise InputError(f"There is no device {name!r}. Name auto, cpu, cuda or cuda:0, cuda:1, …")
    if placement is not None and placement.executor == "ray":
        return _cluster_device(name, placement)
    import torch

    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if gpus else "cpu"
    if kind == "cuda" and int(number or 0) >= gpus:
        here = f"{gpus} GPU{'s' if gpus != 1 else ''}" if gpus else "no GPU that torch can use"
        raise InputError(f"--device {name} is not here: this machine has {here}. See `videoseg doctor`.")
    return name


def _cluster_device(name: str, placement: Placement) -> str:
    from pipelines.executors.ray_actors import cluster_resources

    if name.startswith("cuda:"):
        raise InputError(f"--device {name}: Ray gives the devices out. Name cuda, and how many --workers share them.")
    if name == "cpu":
        return name
    gpus = cluster_resources(placement.executor_options()).get("GPU", 0.0)
    if name == "cuda" and not gpus:
        raise InputError("--device cuda: the Ray cluster has no GPU. Add a machine that has one, or take --device cpu.")
    return "cuda" if gpus else "cpu"


def _everywhere(path: str | Path, placement: Placement) -> str:
    """A path that means the same in workers, which live in another folder."""
    text = os.fspath(path)
    return text if "://" in text or placement.executor != "ray" else os.path.abspath(text)
