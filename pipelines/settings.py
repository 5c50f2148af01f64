"""Everything that a user can choose about a run, in one place: what changes results apart from what does not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.chunks import FRAMES_PER_CHUNK, OVERLAP
from videoseg.errors import InputError
from videoseg.video import DECODERS


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """What changes results, beside file, model and vocabulary. Goes into the manifest."""

    every: int = 1
    """Take every n-th shown frame."""
    fps: float | None = None
    """Take so many frames a second, the first at or after each tick; None takes all."""
    start: float | None = None
    """`Frame.time` from which on frames are taken, in seconds; None is the first frame."""
    end: float | None = None
    """`Frame.time` before which frames are taken, in seconds; None is the end."""
    decoder: str = "pyav"
    """Decoders differ in the last bit of colour, so the choice is part of the result."""
    frames_per_chunk: int = FRAMES_PER_CHUNK
    overlap: int = OVERLAP
    output_delay: int = 0
    """Frames by which tracked output is held back, so that short false tracks never appear; 15 suits files, 0 is live
    and the segmenter's word as it stands."""
    fill_seconds: float = 0.0
    """Gaps of tracks of up to so many seconds are drawn where nobody else claims the pixels; 0 draws nothing."""

    def __post_init__(self) -> None:
        if self.every < 1:
            raise InputError(f"--every takes a whole number from 1 on, got {self.every}.")
        if self.fps is not None and self.every != 1:
            raise InputError("--every and --fps both choose which frames to take. Give one of them.")
        if self.fps is not None and not 0 < self.fps < float("inf"):
            raise InputError(f"--fps takes a rate above 0, got {self.fps:g}.")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise InputError(f"--end ({self.end:g} s) must come after --start ({self.start:g} s).")
        if self.decoder not in DECODERS:
            raise InputError(f"There is no decoder {self.decoder!r}. Choose one of: {', '.join(DECODERS)}.")
        if self.output_delay < 0 or not 0 <= self.fill_seconds < float("inf"):
            raise InputError(
                f"The delay of the output and the seconds to fill are 0 or more, got {self.output_delay} and "
                f"{self.fill_seconds:g}."
            )
        if self.frames_per_chunk < 1 or self.overlap < 0:
            raise InputError(
                f"A chunk has at least 1 frame and an overlap of 0 or more, got {self.frames_per_chunk} "
                f"and {self.overlap}."
            )

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunSettings":
        return cls(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and how fast a run is computed; results do not depend on it (but see `pipelines.profile`)."""

    executor: str = "local"
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, …"""
    threads: int | None = None
    """Threads of the network; None is one per physical core that this process may use."""
    bytes_in_flight: int = 256 * 2**20
    """Bound on decoded pictures between the stages: two seconds of 1080p, which hides any hiccup of a disk, and little
    beside the weights of a model."""
    window_bytes: int = 16 * 2**20
    """Pictures that travel together: enough that the hand-over costs nothing, few enough that stages overlap."""
    window_frames: int = 8
    """At most this many of them."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise InputError(f"--threads takes a whole number from 1 on, got {self.threads}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """What to make besides shards, tracks and events."""

    overlay: bool = True
    exports: tuple[str, ...] = ()
    """Names of formats, see `pipelines.exports`."""
