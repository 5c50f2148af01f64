"""Everything that a user can choose about a run, in one place: what changes results apart from what does not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.chunks import FRAMES_PER_CHUNK, OVERLAP
from pipelines.executors import ExecutorOptions
from videoseg.errors import InputError
from videoseg.formats import formats
from videoseg.video import DECODERS


@dataclass(frozen=True, slots=True)
class VocabularyPhase:
    """What is looked for from a frame on."""

    frame: int
    """`Frame.index` of the first frame; where that one is not taken, the phase begins with the next that is."""
    categories: tuple[int, ...]
    """Indices into the vocabulary of the run, ascending."""


CACHE_MODES = ("off", "exact", "balanced", "fast")
"""Those of `odise_frame.temporal_cache.settings`, which cannot be asked without loading torch."""


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
    codec_vectors: bool = False
    """Whether motion estimation also tries the motion vectors of the file (`pyav` only). They mend a few blocks in a
    hundred, but cost about as much time as decoding, and other decoders would give other results."""
    frames_per_chunk: int = FRAMES_PER_CHUNK
    overlap: int = OVERLAP
    output_delay: int = 0
    """Frames by which tracked output is held back, so that short false tracks never appear; 15 suits files, 0 is live
    and the segmenter's word as it stands."""
    fill_seconds: float = 0.0
    """Gaps of tracks of up to so many seconds are drawn where nobody else claims the pixels; 0 draws nothing."""
    cache: str = "balanced"
    """What a network keeps of the frames before, see `odise_frame.temporal_cache`: one of `CACHE_MODES`."""
    budget_flops: float | None = None
    """Operations that a frame may cost in the mean; None is what the cache's mode says."""
    budget_ms: float | None = None
    """Milliseconds that a frame may take, on live streams only."""
    short_side: int | None = None
    """Pixels of a frame's short side as a network sees it; None is the model's own. Windows, and with them the work,
    go with its square."""
    refine: bool = False
    """Whether fragments of tracks are joined over the whole video once all of it was tracked."""
    vocabulary_phases: tuple[VocabularyPhase, ...] = ()
    """Which part of the vocabulary is looked for when; empty is all of it all the time."""

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
        if self.short_side is not None and not 32 <= self.short_side <= 4096:
            raise InputError(f"--short-side takes pixels from 32 to 4096, got {self.short_side}.")
        if self.output_delay < 0:
            raise InputError(f"--delay takes a number of frames from 0 on, got {self.output_delay}.")
        if not 0 <= self.fill_seconds < float("inf"):
            raise InputError(f"--fill takes seconds from 0 on, got {self.fill_seconds:g}.")
        if self.cache not in CACHE_MODES:
            raise InputError(f"There is no cache mode {self.cache!r}. Choose one of: {', '.join(CACHE_MODES)}.")
        for name, budget in (("--budget-flops", self.budget_flops), ("--budget-ms", self.budget_ms)):
            if budget is not None and not 0 < budget < float("inf"):
                raise InputError(f"{name} takes a number above 0, got {budget:g}.")
            if budget is not None and self.cache in ("off", "exact"):
                raise InputError(f"{name} needs a cache that may save: take --cache balanced or fast with it.")
        if self.frames_per_chunk < 1 or self.overlap < 0:
            raise InputError(
                f"A chunk has at least 1 frame and an overlap of 0 or more, got {self.frames_per_chunk} "
                f"and {self.overlap}."
            )

    def to_json(self) -> dict[str, Any]:
        data = asdict(self)
        # Left out where they say nothing, as runs from before there were such choices have it.
        if not data["codec_vectors"]:
            del data["codec_vectors"]
        if not data["refine"]:
            del data["refine"]
        if data["short_side"] is None:
            del data["short_side"]
        del data["vocabulary_phases"]
        if self.vocabulary_phases:
            phases = [{"frame": phase.frame, "categories": list(phase.categories)} for phase in self.vocabulary_phases]
            data["vocabulary_phases"] = phases
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunSettings":
        """The inverse of `to_json`; what an older run does not say is as it was then."""
        phases = data.get("vocabulary_phases", ())
        kept = tuple(VocabularyPhase(int(phase["frame"]), tuple(phase["categories"])) for phase in phases)
        return cls(**{**data, "vocabulary_phases": kept})


DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where and how fast a run is computed; results do not depend on it (but see `pipelines.profile`)."""

    executor: str = "local"
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, …"""
    threads: int | None = None
    """Threads of the network, in each worker; None is one per physical core that this process may use."""
    dtype: str = "float32"
    """Of the network's frozen weights: a part of the numeric profile. `bfloat16` takes half of the memory."""
    workers: int = 1
    """Chunks that are computed beside each other, each by a worker with reader, network and tracker of its own."""
    streams_per_worker: int = 1
    """Chunks that a worker computes at a time: one model for all of them, its batches filled from all of them. Worth it
    where a network waits for its reader and tracker, or where memory holds one model and not two (a GPU)."""
    processes: bool | None = None
    """`local`: each worker in a process of its own, so that its death is survived; None is with several workers."""
    address: str | None = None
    """`ray`: the cluster to join; None is the one that this process is in, else a private one on this machine."""
    gpus_per_worker: float = 1.0
    """Share of a GPU that each worker takes, where the device is one."""
    start_seconds: float = 180.0
    """A worker that did not start after so many seconds is done without: a large model over a slow network takes one or
    two minutes."""
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
        if self.dtype not in DTYPES:
            raise InputError(f"There is no --dtype {self.dtype!r}. Choose one of: {', '.join(DTYPES)}.")
        if self.workers < 1:
            raise InputError(f"--workers takes a whole number from 1 on, got {self.workers}.")
        if self.streams_per_worker < 1:
            raise InputError(f"--streams-per-worker takes a whole number from 1 on, got {self.streams_per_worker}.")
        if not 0 < self.gpus_per_worker <= 1:
            raise InputError(f"--gpus-per-worker takes a share above 0 and up to 1, got {self.gpus_per_worker:g}.")
        if self.address is not None and self.executor != "ray":
            raise InputError("--address names a Ray cluster: add --executor ray.")
        if self.executor == "inline" and self.lanes != 1:
            raise InputError(
                "--executor inline does one thing at a time: leave --workers and --streams-per-worker out, "
                "or take local or ray."
            )

    @property
    def lanes(self) -> int:
        """Chunks that are computed beside each other."""
        return self.workers * self.streams_per_worker

    def executor_options(self) -> ExecutorOptions:
        """What the executor has to know."""
        processes = self.workers > 1 if self.processes is None else self.processes
        return ExecutorOptions(
            processes=processes,
            address=self.address,
            # Every window is there as decoded and as segmented, and a machine of our own is shared by all workers.
            store_bytes=max(256 * 2**20, 3 * self.bytes_in_flight),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Products:
    """What to make besides shards, tracks and events."""

    overlay: bool = True
    exports: tuple[str, ...] = ()
    """Names of formats, see `videoseg.formats`."""

    def __post_init__(self) -> None:
        for name in self.exports:
            if name not in formats():
                raise InputError(f"There is no export format {name!r}. The ones there are: {', '.join(formats())}.")
