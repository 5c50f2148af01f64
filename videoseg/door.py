"""The public functions: the only place of this floor that reaches up, and only inside the functions."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from videoseg.panoptic import PanopticFrame
    from videoseg.store.reader import Run
    from videoseg.vocabulary import Vocabulary

Source = str | Path


def segment(
    source: Source,
    *,
    vocabulary: "str | Vocabulary" = "",
    stuff: str = "",
    labels: Sequence[str] = (),
    model: str = "small",
    every: int = 1,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    decoder: str = "pyav",
    output_delay: int = 0,
    fill_seconds: float = 0.0,
    cache: str = "balanced",
    short_side: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    executor: str = "local",
) -> "Iterator[PanopticFrame]":
    """Segments and tracks a video, frame by frame, in memory that does not grow with its length.

        for frame in videoseg.segment("walk.mp4", vocabulary="person; dog, puppy", stuff="sky; grass"):
            tracks = frame.track_map()          # uint32 [H, W]

    Nothing is written. Closing the iterator early stops the work.

    Args:
        source: a video file or a folder of images.
        vocabulary: things, `;` between categories and `,` between synonyms, or a whole `Vocabulary`.
        stuff: categories without instances, in the same grammar.
        labels: names of built-in label sets, mixed with the former.
        model: a name that `videoseg models list` shows, or a folder.
        every: takes every n-th frame.
        fps: takes so many frames a second.
        start: seconds at which to begin.
        end: seconds before which to stop.
        decoder: `pyav` or `decord`.
        output_delay: frames by which tracks are held back, so that short false ones never appear; 15 suits files.
        fill_seconds: tracks that are missing for up to so long are drawn where nothing else is (`Segment.propagated`).
        cache: what the network keeps of the frames before: `off`, `exact`, `balanced` or `fast`.
        short_side: pixels that a frame's short side is resized to for the network; the model's own where None.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, …
        threads: of the network; one per usable core where None.
        executor: `local` (stages beside each other in threads) or `inline` (all in this thread).

    Yields:
        `PanopticFrame`s in order; every segment has a track.

    Raises:
        InputError: before the first frame where source, vocabulary or model cannot be used, or later where the source
            cannot be read on.
    """
    from videoseg.shadowing import require_no_shadow

    require_no_shadow()
    from pipelines.jobs import segment_job
    from pipelines.run import stream_job
    from pipelines.settings import Placement, RunSettings

    placement = Placement(executor=executor, device=device, threads=threads)
    job = segment_job(
        source,
        _vocabulary(vocabulary, stuff, labels),
        model=model,
        settings=RunSettings(
            every=every,
            fps=fps,
            start=start,
            end=end,
            decoder=decoder,
            output_delay=output_delay,
            fill_seconds=fill_seconds,
            cache=cache,
            short_side=short_side,
        ),
        placement=placement,
    )
    return stream_job(job, placement=placement)


def run(
    source: Source,
    output: str | Path,
    *,
    vocabulary: "str | Vocabulary" = "",
    stuff: str = "",
    labels: Sequence[str] = (),
    model: str = "small",
    every: int = 1,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    decoder: str = "pyav",
    output_delay: int = 0,
    fill_seconds: float = 0.0,
    refine: bool = False,
    cache: str = "balanced",
    short_side: int | None = None,
    device: str = "auto",
    threads: int | None = None,
    executor: str = "local",
    workers: int = 1,
    streams_per_worker: int = 1,
    address: str | None = None,
    gpus_per_worker: float = 1.0,
    overlay: bool = True,
    exports: Sequence[str] = (),
    overwrite: bool = False,
    resume: bool = False,
    on_progress: Callable[[str, int, int | None], None] | None = None,
) -> "Run":
    """Segments and tracks a video into a run folder, as `videoseg segment` does.

        run = videoseg.run("walk.mp4", "out/", labels=["coco"])
        print(run.num_frames, [track.category for track in run.tracks()])

    Args:
        source: see `segment`; so are all arguments not named here.
        refine: joins fragments of tracks over the whole video at the end, by their looks.
        output: the run folder: a path, or a URL that fsspec knows. Must be new or empty.
        overlay: also draws `overlay.mp4`.
        exports: formats to write beside (`vipseg`, `coco_panoptic`).
        executor: `local`, `inline`, or `ray`: actors on the cluster at `address`, on the one that this process is in,
            else on a private one.
        workers: chunks computed beside each other.
        streams_per_worker: chunks that each of them computes at a time, with one network.
        address: of a Ray cluster.
        gpus_per_worker: share of a GPU for each worker.
        overwrite: replaces an earlier run in `output`.
        resume: goes on with an earlier run in `output`; everything else must be as it was begun.
        on_progress: called with the phase, the frames done and the frames in all (None where unknown).

    Raises:
        InputError: something given cannot be used.
        VideosegError: something outside failed, or chunks could not be computed; what was done is kept in `output`.
    """
    from videoseg.shadowing import require_no_shadow

    require_no_shadow()
    from pipelines.jobs import segment_job
    from pipelines.progress import Progress
    from pipelines.run import Resuming, run_job
    from pipelines.settings import Placement, Products, RunSettings

    def tell(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(progress.phase, progress.done, progress.total)

    placement = Placement(
        executor=executor,
        device=device,
        threads=threads,
        workers=workers,
        streams_per_worker=streams_per_worker,
        address=address,
        gpus_per_worker=gpus_per_worker,
    )
    job = segment_job(
        source,
        _vocabulary(vocabulary, stuff, labels),
        model=model,
        settings=RunSettings(
            every=every,
            fps=fps,
            start=start,
            end=end,
            decoder=decoder,
            output_delay=output_delay,
            fill_seconds=fill_seconds,
            refine=refine,
            cache=cache,
            short_side=short_side,
        ),
        placement=placement,
    )
    return run_job(
        job,
        output,
        placement=placement,
        products=Products(overlay=overlay, exports=tuple(exports)),
        overwrite=overwrite,
        resume=Resuming() if resume else None,
        on_progress=tell,
    )


def track(frames: "Iterable[PanopticFrame]", *, vocabulary: "Vocabulary | None" = None) -> "Iterator[PanopticFrame]":
    """Tracks anyone's per-frame panoptic segments.

        tracked = videoseg.track(my_model(picture) for picture in pictures)

    Args:
        frames: `PanopticFrame`s of one stream in order of time, one at a time. Embeddings and class probabilities are
            used where segments have them; tracks that they have are passed over.
        vocabulary: tells things from stuff, so that all class probabilities count as evidence.

    Yields:
        The same frames; every segment has a track, and the category for which its track has the most evidence.
    """
    from videoseg.shadowing import require_no_shadow

    require_no_shadow()
    from pipelines.run import track_frames

    return track_frames(frames, vocabulary)


def open_run(path: str | Path) -> "Run":
    """Opens a run folder, finished or not.

    Raises:
        InputError: there is no such folder, or it is not a run of ours.
    """
    from videoseg.store.reader import open_run as read

    return read(path)


def _vocabulary(given: "str | Vocabulary", stuff: str, labels: Sequence[str]) -> "Vocabulary":
    from videoseg.errors import InputError
    from videoseg.vocabulary import Vocabulary

    if not isinstance(given, Vocabulary):
        return Vocabulary.build(things=given, stuff=stuff, labels=labels)
    if stuff or labels:
        raise InputError("A whole Vocabulary was given; put stuff and label sets into it (Vocabulary.build).")
    return given
