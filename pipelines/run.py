"""The file job: a source through segmentation, tracking, stitching, overlay and exports into a run folder.

The same code runs for `videoseg segment`, `videoseg track`, `videoseg.run` and the demo; what differs between them is a
`Job`.
"""

import platform
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import perf_counter
from typing import Any

from pipelines.chunks import plan_chunks
from pipelines.disk import estimate
from pipelines.driver import Driver, StageSpec, WindowSize
from pipelines.executors import Executor, make_executor
from pipelines.progress import Progress, silent
from pipelines.settings import Placement, Products, RunSettings
from pipelines.stages import (
    DecodeStage,
    MotionStage,
    NoMotionStage,
    SegmentStage,
    TrackStage,
    WriteStage,
)
from pipelines.stitching import stitch_run
from tracking import PanopticTracker
from videoseg.errors import InputError, VideosegError
from videoseg.formats import export_run, formats
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Loss, Segmenter, Source, SourceInfo, Tracker
from videoseg.store.folder import EXPORTS, OVERLAY
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.reader import Run, open_run
from videoseg.store.writer import RunWriter, require_free
from videoseg.vocabulary import Vocabulary

BYTES_PER_PIXEL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to compute; where and how fast is `Placement`."""

    open_source: Callable[[], Source]
    """Called once per place that reads: each has a reader of its own."""
    make_segmenter: Callable[[], Segmenter]
    make_tracker: Callable[[], Tracker[Any]]
    vocabulary: Vocabulary
    settings: RunSettings
    profile: Mapping[str, Any]
    """See `pipelines.profile`."""
    has_pictures: bool = True
    """False where the source only has segments: no motion can be estimated."""
    note: str = ""
    """A sentence that the user should read before the work begins."""


@dataclass(slots=True)
class RunReport:
    """What `run.json` says: when, where, how long, and what was lost. Not part of the result."""

    started: str
    executor: str
    frames: int = 0
    """Frames that count."""
    seconds: float = 0.0
    """Wall time of everything, loading and overlay included."""
    seconds_by_stage: dict[str, float] = field(default_factory=dict)
    """Time that each stage was busy; stages run beside each other, so the sum can exceed `seconds`."""
    losses: list[Loss] = field(default_factory=list)
    stopped: bool = False
    failure: str = ""
    """Why the run ended early, if not by a stop."""
    partial_chunks: list[int] = field(default_factory=list)
    """Chunks that were ended by a stop in their middle."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user."""
    products: dict[str, str] = field(default_factory=dict)
    """What was made beside the tables: name -> place within the run folder."""

    def to_json(self) -> dict[str, Any]:
        return {
            "started": self.started,
            "finished": _now(),
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "executor": self.executor,
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.frames / self.seconds, 3) if self.seconds else None,
            "stages": {name: round(seconds, 3) for name, seconds in self.seconds_by_stage.items()},
            "losses": [{"index": loss.index, "reason": loss.reason, "frames": loss.frames} for loss in self.losses],
            "lost_frames": sum(loss.frames or 0 for loss in self.losses),
            "stopped": self.stopped,
            "failure": self.failure,
            "partial_chunks": self.partial_chunks,
            "notes": self.notes,
            "products": self.products,
            "complete": not self.stopped and not self.failure,
        }


def run_job(
    job: Job,
    output: str | Path,
    *,
    placement: Placement | None = None,
    products: Products | None = None,
    overwrite: bool = False,
    on_progress: Callable[[Progress], None] = silent,
    on_note: Callable[[str], None] = lambda note: None,
    stop: Event | None = None,
) -> Run:
    """Computes a job into a run folder.

    Args:
        output: the run folder: a path, or a URL that fsspec knows.
        overwrite: replaces an earlier run in that folder.
        on_progress: called from this thread after every window of frames.
        on_note: called with each sentence that the user should read before the work begins.
        stop: once set (from a signal or another thread), the run ends early and in order: what is done is kept, and
            the folder is valid with `complete: false`.

    Raises:
        InputError: source, model or output cannot be used.
        VideosegError: the disk is full or something else failed outside; finished chunks are kept.
    """
    placement = placement or Placement()
    products = products or Products()
    stop = stop or Event()
    for name in products.exports:
        if name not in formats():
            raise InputError(f"There is no export format {name!r}. The ones there are: {', '.join(formats())}.")
    began = perf_counter()
    executor = make_executor(placement.executor)
    source = job.open_source()
    try:
        info, total = source.info, source.num_selected
    finally:
        source.close()
    report = RunReport(started=_now(), executor=executor.name)
    # Before a model is loaded, which takes long.
    require_free(output, overwrite=overwrite)
    disk = estimate(str(output), info.width, info.height, total, products)
    report.notes += [note for note in (job.note, disk.note if disk else "") if note]
    for note in report.notes:
        on_note(note)
    try:
        writer = _segment(job, info, total, str(output), executor, placement, overwrite, report, on_progress, stop)
        _stitch(writer)
        run = writer.finish(report.to_json())
    finally:
        executor.close()
    for name in products.exports:
        if not stop.is_set():
            on_progress(Progress("export", 0, None))
            began = perf_counter()
            export_run(run, name)
            report.seconds_by_stage[f"export {name}"] = perf_counter() - began
            report.products[name] = f"{EXPORTS}/{name}"
    if products.overlay and not stop.is_set():
        _make_overlay(job, run, info, total, placement, report, on_progress, stop)
    report.stopped = report.stopped or stop.is_set()
    report.seconds = perf_counter() - began
    writer.write_report(report.to_json() | {"complete": run.complete and not report.stopped})
    return open_run(output)


def stream_job(job: Job, *, placement: Placement | None = None, stop: Event | None = None) -> Iterator[PanopticFrame]:
    """Yields the tracked frames of a job, in order, as one stream without chunks and without writing anything.

    Raises:
        InputError: source or model cannot be used.
    """
    placement = placement or Placement()
    executor = make_executor(placement.executor)
    source = job.open_source()
    try:
        info, total = source.info, source.num_selected
    finally:
        source.close()
    try:
        driver = Driver(executor, _stages(job), _window_size(info, placement), stop or Event())
        for window in driver.windows([ChunkPlan(number=0, start=0, stop=total)]):
            yield from window.results
    finally:
        executor.close()


def track_frames(frames: Iterable[PanopticFrame], vocabulary: Vocabulary | None) -> Iterator[PanopticFrame]:
    """Yields frames of one stream with tracks; see `videoseg.track`."""
    tracker = PanopticTracker(vocabulary=vocabulary)
    state = None
    for frame in frames:
        state = state or tracker.new_state(frame.stream)
        yield from tracker.step(frame, None, state).frames
    if state is not None:
        yield from tracker.finish(state).frames


def _stages(job: Job) -> list[StageSpec]:
    return [
        StageSpec("decode", lambda: DecodeStage(job.open_source)),
        StageSpec("motion", MotionStage if job.has_pictures else NoMotionStage),
        StageSpec("segment", lambda: SegmentStage(job.make_segmenter), stop_before=True),
        StageSpec("track", lambda: TrackStage(job.make_tracker)),
    ]


def _window_size(info: SourceInfo, placement: Placement) -> WindowSize:
    return WindowSize.of(info.width * info.height * BYTES_PER_PIXEL, placement)


def _segment(
    job: Job,
    info: SourceInfo,
    total: int | None,
    output: str,
    executor: Executor,
    placement: Placement,
    overwrite: bool,
    report: RunReport,
    on_progress: Callable[[Progress], None],
    stop: Event,
) -> RunWriter:
    """Decoding to shards."""
    settings = job.settings
    plan = plan_chunks(total, frames_per_chunk=settings.frames_per_chunk, overlap=settings.overlap)
    stages = [*_stages(job), StageSpec("write", lambda: WriteStage(output))]
    driver = Driver(executor, stages, _window_size(info, placement), stop)
    manifest = Manifest.of(
        model=driver.describe("segment"),
        tracker=driver.describe("track"),
        vocabulary=job.vocabulary,
        source=info,
        chunk_plan=plan,
        settings=settings.to_json(),
        profile=job.profile,
    )
    writer = RunWriter.create(output, manifest, overwrite=overwrite)
    writer.write_report(report.to_json() | {"complete": False})
    began = perf_counter()
    on_progress(Progress("segment", 0, total))
    try:
        for window in driver.windows(plan):
            report.frames += window.frames_done
            report.seconds = perf_counter() - began
            for stage, seconds in window.seconds.items():
                report.seconds_by_stage[stage] = report.seconds_by_stage.get(stage, 0.0) + seconds
            report.losses = list(window.losses) or report.losses
            if window.partial:
                report.partial_chunks.append(window.chunk.number)
            on_progress(Progress("segment", report.frames, total))
    except VideosegError as error:
        report.failure = str(error)
        _finish_failed(writer, report)
        raise
    report.stopped = driver.stopped
    return writer


def _finish_failed(writer: RunWriter, report: RunReport) -> None:
    """Leaves what was done in order, where that can still be done."""
    try:
        _stitch(writer)
        writer.finish(report.to_json())
    except VideosegError:
        pass  # the first failure is the one to hear about, and the shards stand without tables


def _stitch(writer: RunWriter) -> None:
    """Joins the tracks of neighbouring chunks."""
    writer.write_stitching(stitch_run(open_run(writer.location)))


def _make_overlay(
    job: Job,
    run: Run,
    info: SourceInfo,
    total: int | None,
    placement: Placement,
    report: RunReport,
    on_progress: Callable[[Progress], None],
    stop: Event,
) -> None:
    """Decodes once more and draws; a run without frames has none."""
    from pipelines.overlay import OverlayStage

    if not run.num_frames:
        return
    path = run.path(OVERLAY)
    executor = make_executor(placement.executor)
    try:
        stages = [
            StageSpec("decode", lambda: DecodeStage(job.open_source)),
            StageSpec("overlay", lambda: OverlayStage(run.location, path), stop_before=True),
        ]
        driver = Driver(executor, stages, _window_size(info, placement), stop)
        done = 0
        began = perf_counter()
        on_progress(Progress("overlay", 0, total))
        for window in driver.windows([ChunkPlan(number=0, start=0, stop=total)]):
            done += window.frames_done
            on_progress(Progress("overlay", done, total))
        report.seconds_by_stage["overlay"] = perf_counter() - began
    finally:
        executor.close()
    report.stopped = report.stopped or driver.stopped
    if not driver.stopped:
        report.products["overlay"] = OVERLAY


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
