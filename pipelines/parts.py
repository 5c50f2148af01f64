"""What a job is made of, as objects that can travel: each says how something is made where it will live."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipelines.models import load_model
from pipelines.recorded_segmenter import RecordedSegmenter, RecordedSource
from pipelines.settings import RunSettings
from tracking import DelayedTracker, DelaySettings, PanopticTracker, TrackerSettings
from videoseg.errors import InputError
from videoseg.formats import read_segments
from videoseg.formats.recorded import RecordedSegments
from videoseg.protocols import Segmenter, Source
from videoseg.video import open_source
from videoseg.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class OpenVideo:
    """Opens a video file or a folder of images."""

    path: str
    settings: RunSettings

    def __call__(self) -> Source:
        settings = self.settings
        return open_source(
            self.path,
            decoder=settings.decoder,
            every=settings.every,
            fps=settings.fps,
            start=settings.start,
            end=settings.end,
            codec_vectors=settings.codec_vectors,
        )


@dataclass(frozen=True, slots=True)
class LoadSegmenter:
    """Loads a model onto a device, where the numeric profile is that of the run."""

    model: str
    vocabulary: Vocabulary
    device: str
    threads: int
    versions: Mapping[str, str]
    """Packages that reach the bytes of a result, and their versions where the run was begun."""
    any_versions: bool = False
    """Other versions are fine."""
    settings: RunSettings = field(default_factory=lambda: RunSettings(cache="off"))
    """Of them, those of the cache."""
    dtype: str = "float32"
    """Of the network's frozen weights."""

    def on(self, device: str) -> "LoadSegmenter":
        """The same on another device."""
        return replace(self, device=device)

    def __call__(self) -> Segmenter:
        """Raises InputError where the model is not here, or this machine has other versions."""
        from pipelines.profile import installed_version

        if not self.any_versions:
            for package, wanted in self.versions.items():
                found = installed_version(package)
                if found != wanted:
                    import socket

                    raise InputError(
                        f"The machine {socket.gethostname()} has {package} {found or 'not at all'}, this run goes with "
                        f"{wanted}: results would differ in their last bits. Install the same everywhere, or add "
                        "--allow-other-profile."
                    )
        return load_model(
            self.model,
            self.vocabulary,
            device=self.device,
            threads=self.threads,
            cache=self.settings.cache,
            budget_flops=self.settings.budget_flops,
            budget_ms=self.settings.budget_ms,
            dtype=self.dtype,
            short_side=self.settings.short_side,
        )


@dataclass(frozen=True, slots=True)
class MakeTracker:
    """Makes the tracker of a run."""

    vocabulary: Vocabulary
    settings: RunSettings

    def __call__(self) -> PanopticTracker | DelayedTracker:
        tracker = PanopticTracker(TrackerSettings(fill_seconds=self.settings.fill_seconds), vocabulary=self.vocabulary)
        if not self.settings.output_delay:
            return tracker
        return DelayedTracker(tracker, DelaySettings(frames=self.settings.output_delay))


@dataclass(frozen=True, slots=True)
class Recording:
    """Per-frame segments on disk, and perhaps their pictures."""

    path: str
    format: str
    video: str
    pictures: str | None
    decoder: str

    def read(self) -> RecordedSegments:
        """Raises InputError where they are not there or damaged."""
        return read_segments(self.path, self.format)


@dataclass(frozen=True, slots=True)
class OpenRecording:
    """Opens recorded segments as a source."""

    recording: Recording

    def __call__(self) -> Source:
        recording = self.recording
        shown = None if recording.pictures is None else open_source(recording.pictures, decoder=recording.decoder)
        return RecordedSource(recording.read(), recording.video, shown)


@dataclass(frozen=True, slots=True)
class ReadRecording:
    """Opens recorded segments as a segmenter."""

    recording: Recording

    def __call__(self) -> Segmenter:
        recording = self.recording
        return RecordedSegmenter(recording.read(), recording.video, has_pictures=recording.pictures is not None)
