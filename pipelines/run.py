"""The file job: a source through segmentation, tracking, stitching, overlay and exports into a run folder.

The same code runs for `videoseg segment`, `videoseg track`, `videoseg.run` and the demo; what differs between them is a
`Job`.
"""

import contextlib
import os
import platform
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic, perf_counter
from typing import Any

from pipelines.chunks import plan_chunks
from pipelines.crash_points import point
from pipelines.disk import estimate
from pipelines.driver import Driver, SetAside, StageSpec, Unit, WindowSize
from pipelines.executors import Executor, make_executor
from pipelines.parts import LoadSegmenter
from pipelines.progress import Counters, Progress, silent
from pipelines.resuming import left_to_do, require_same
from pipelines.settings import Placement, Products, RunSettings
from pipelines.shared_segmenter import ShareSegmenter
from pipelines.stages import (
    DecodeStage,
    MotionStage,
    NoMotionStage,
    SegmentStage,
    TrackStage,
    WriteStage,
)
from pipelines.stitching import refine_run, stitch_run
from tracking import PanopticTracker
from videoseg.errors import InputError, VideosegError
from videoseg.formats import export_run
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Loss, Segmenter, Source, SourceInfo, Tracker
from videoseg.store.folder import EXPORTS, MANIFEST, OVERLAY, RunFolder
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.reader import Run, open_run
from videoseg.store.writer import RunWriter, require_free
from videoseg.vocabulary import Vocabulary

BYTES_PER_PIXEL = 3

_REPORT_SECONDS = 10.0
"""Between the words that a long run leaves in `run.json` of where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to compute; where and how fast is `Placement`. Its parts are called where the work is done, perhaps in other
    processes: there they must be objects that can travel (see `pipelines.parts`)."""

    open_source: Callable[[], Source]
    """Called once per place that reads: each has a reader of its own."""
    make_segmenter: Callable[[], Segmenter]
    make_tracker: Callable[[], Tracker[Any]]
    vocabulary: Vocabulary
    settings: RunSettings
    profile: Mapping[str, Any]
    """See `pipelines.profile`."""
    gpus: float = 0.0
    """Share of a GPU that each segmenter takes."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """What the user gave that the manifest does not say, to go on with the run later."""
    has_pictures: bool = True
    """False where the source only has segments: no motion can be estimated."""
    note: str = ""
    """A sentence that the user should read before the work begins."""


class ChunksSetAside(VideosegError):  # noqa: N818 (what happened)
    """Some chunks could not be computed; the others are there, stitched, in `run`."""

    def __init__(self, words: str, location: str) -> None:
        super().__init__(words, location)
        self.location = location

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(slots=True)
class RunReport:
    """What `run.json` says: when, where, how long, and what was lost. Not part of the result."""

    started: str
    executor: str
    workers: int = 1
    given: Mapping[str, Any] = field(default_factory=dict)
    """What the user gave that the manifest does not say."""
    frames: int = 0
    """Frames that count."""
    frames_here: int = 0
    """Those of them that this part of the run computed."""
    seconds: float = 0.0
    """Wall time of everything, loading and overlay included."""
    seconds_by_stage: dict[str, float] = field(default_factory=dict)
    """Time that each stage was busy; stages run beside each other, so the sum can exceed `seconds`."""
    work: dict[str, int] = field(default_factory=dict)
    """What the network ran, warm-up frames included; see `odise_frame.temporal_cache.Work`."""
    losses: list[Loss] = field(default_factory=list)
    stopped: bool = False
    failure: str = ""
    """Why the run ended early, if not by a stop."""
    partial_chunks: list[int] = field(default_factory=list)
    """Chunks that were ended in their middle, by a stop or because the source failed."""
    set_aside: list[SetAside] = field(default_factory=list)
    """Chunks that were given up."""
    restarts: int = 0
    """Times that workers were replaced."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the user."""
    products: dict[str, str] = field(default_factory=dict)
    """What was made beside the tables: name -> place within the run folder."""
    earlier: list[dict[str, Any]] = field(default_factory=list)
    """The reports of the parts before, in short, where the run was resumed."""

    def to_json(self) -> dict[str, Any]:
        return {
            "started": self.started,
            "finished": now(),
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "executor": self.executor,
            "workers": self.workers,
            "given": dict(self.given),
            "frames": self.frames,
            "seconds": round(self.seconds, 3),
            "frames_per_second": round(self.frames_here / self.seconds, 3) if self.seconds else None,
            "stages": {name: round(seconds, 3) for name, seconds in self.seconds_by_stage.items()},
            "work": self.work,
            "losses": [{"index": loss.index, "reason": loss.reason, "frames": loss.frames} for loss in self.losses],
            "lost_frames": sum(loss.frames or 0 for loss in self.losses),
            "stopped": self.stopped,
            "failure": self.failure,
            "partial_chunks": self.partial_chunks,
            "set_aside": [
                {
                    "chunk": item.unit.chunk.number,
                    "start": item.unit.chunk.start,
                    "stop": item.unit.chunk.stop,
                    "attempts": item.attempts,
                    "error": str(item.error) or type(item.error).__name__,
                }
                for item in self.set_aside
            ],
            "restarts": self.restarts,
            "notes": self.notes,
            "products": self.products,
            "earlier": self.earlier,
            "complete": not self.stopped and not self.failure,
        }

    def add_losses(self, losses: Iterable[Loss]) -> None:
        """Takes note of what a reader has lost so far; several readers may have met the same damage."""
        known = {(loss.index, loss.reason): loss for loss in self.losses}
        for loss in losses:
            same = known.get((loss.index, loss.reason))
            if same is None or (loss.frames or 0) > (same.frames or 0):
                known[loss.index, loss.reason] = loss
        self.losses = [known[key] for key in sorted(known)]

    def follow(self, before: Mapping[str, Any]) -> None:
        """Takes over what an earlier part of the run had to say."""
        short = ("started", "finished", "host", "executor", "workers", "frames", "seconds", "stopped", "failure")
        self.earlier = [*before.get("earlier", []), {key: before[key] for key in short if key in before}]
        self.given = {**before.get("given", {}), **self.given}
        self.add_losses(
            Loss(int(loss["index"]), str(loss["reason"]), loss.get("frames")) for loss in before.get("losses", [])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Resuming:
    """How to go on with a run that ended early."""

    any_profile: bool = False
    """Another numeric profile is fine."""
    redo: tuple[float, float] | None = None
    """Seconds from and to; chunks with a frame in between are computed again."""


def run_job(
    job: Job,
    output: str | Path,
    *,
    placement: Placement | None = None,
    products: Products | None = None,
    overwrite: bool = False,
    resume: Resuming | None = None,
    on_progress: Callable[[Progress], None] = silent,
    on_note: Callable[[str], None] = lambda note: None,
    stop: Event | None = None,
    counters: Counters | None = None,
) -> Run:
    """Computes a job into a run folder.

    Args:
        output: the run folder: a path, or a URL that fsspec knows.
        overwrite: replaces an earlier run in that folder.
        resume: goes on with the run in that folder, whenever and wherever it ended; what is done is kept. A folder
            without a run gets a new one.
        on_progress: called from this thread after every window of frames.
        on_note: called with each sentence that the user should read before the work begins.
        stop: once set (from a signal or another thread), the run ends early and in order: what is done is kept, and
            the folder is valid with `complete: false`.
        counters: is kept up to date while frames are segmented; to be read from any thread.

    Raises:
        InputError: source, model or output cannot be used, or the run to resume is another one.
        ChunksSetAside: some chunks failed again and again; the rest is done.
        VideosegError: the disk is full or something else failed outside; finished chunks are kept.
    """
    placement = placement or Placement()
    products = products or Products()
    stop = stop or Event()
    began = perf_counter()
    folder = RunFolder(output if placement.executor != "ray" or "://" in str(output) else os.path.abspath(output))
    goes_on = resume is not None and folder.exists(MANIFEST)
    source = job.open_source()
    try:
        info, total = source.info, source.num_selected
    finally:
        source.close()
    # Before a model is loaded, which takes long.
    if not goes_on:
        require_free(folder.location, overwrite=overwrite or resume is not None)
    executor = make_executor(placement.executor, placement.executor_options())
    report = RunReport(started=now(), executor=executor.name, workers=placement.workers)
    report.given = {**job.given, "overlay": products.overlay, "exports": list(products.exports)} if job.given else {}
    try:
        disk = estimate(folder.location, info.width, info.height, total, products)
        report.notes += [note for note in (job.note, disk.note if disk else "") if note]
        for note in report.notes:
            on_note(note)
        part = _Part(job, info, total, folder.location, executor, placement, report, on_progress, stop)
        part.counters = counters or part.counters
        run = part.compute(overwrite=overwrite, resume=resume if goes_on else None, on_note=on_note)
    finally:
        executor.close()
    writer = RunWriter.open(folder.location)
    if not report.set_aside:
        make_products(job, run, info, total, placement, products, report, on_progress, stop)
    report.stopped = report.stopped or stop.is_set()
    report.seconds = perf_counter() - began
    writer.write_report(report.to_json() | {"complete": run.complete and not report.stopped})
    if report.set_aside:
        command = str(job.given.get("command", "segment"))
        _say_set_aside(report, len(run.manifest.chunk_plan), run.location, command)
    return open_run(output)


def make_products(
    job: Job,
    run: Run,
    info: SourceInfo,
    total: int | None,
    placement: Placement,
    products: Products,
    report: RunReport,
    on_progress: Callable[[Progress], None],
    stop: Event,
) -> None:
    """Exports and overlay of a run whose tables are there."""
    writer = RunWriter.open(run.location)
    for name in products.exports:
        if not stop.is_set():
            on_progress(Progress("export", 0, None))
            began = perf_counter()
            writer.remove(f"{EXPORTS}/{name}")
            with writer.local_path(f"{EXPORTS}/{name}") as place:
                export_run(run, name, place)
            point(f"after export {name}")
            report.seconds_by_stage[f"export {name}"] = perf_counter() - began
            report.products[name] = f"{EXPORTS}/{name}"
    if products.overlay and not stop.is_set():
        _make_overlay(job, run, info, total, placement, report, on_progress, stop)


def _say_set_aside(report: RunReport, chunks: int, location: str, command: str) -> None:
    """Raises what came of chunks that failed."""
    first = report.set_aside[0]
    if len(report.set_aside) == 1 and isinstance(first.error, InputError):
        raise first.error
    named = "; ".join(str(item) for item in report.set_aside[:3])
    more = f"; and {len(report.set_aside) - 3} more, in run.json" if len(report.set_aside) > 3 else ""
    raise ChunksSetAside(
        f"{len(report.set_aside)} of {chunks} chunks could not be computed and were set aside: {named}{more}. "
        f"The others are done and kept; `videoseg {command} --resume {location}` tries these again.",
        location,
    ) from first.error


@dataclass(slots=True)
class _Part:
    """One go at a run: from what is left to do to shards, and from all shards to tables."""

    job: Job
    info: SourceInfo
    total: int | None
    output: str
    executor: Executor
    placement: Placement
    report: RunReport
    on_progress: Callable[[Progress], None]
    stop: Event
    counters: Counters = field(default_factory=Counters)
    reported: float = 0.0
    """When `run.json` was last written, by `perf_counter`."""

    def compute(self, *, overwrite: bool, resume: Resuming | None, on_note: Callable[[str], None]) -> Run:
        """Decoding to stitched tables."""
        job, report = self.job, self.report
        plan = plan_chunks(self.total, frames_per_chunk=job.settings.frames_per_chunk, overlap=job.settings.overlap)
        there = None if resume is None else open_run(self.output)
        lanes = min(self.placement.lanes, max(1, len(plan if there is None else left_to_do(there))))
        if there is not None and resume is not None:
            self._require_same(there, plan, resume, {}, {})  # before a model is loaded
            if not left_to_do(there, redo=resume.redo):
                return self._tables_again(there)
        driver = self._driver(lanes)
        model, tracker = driver.describe("segment"), driver.describe("track")
        if there is None or resume is None:
            writer = RunWriter.create(self.output, self._manifest(plan, model, tracker), overwrite=overwrite)
            todo = list(plan)
        else:
            note = self._require_same(there, plan, resume, model, tracker)
            if note:
                report.notes.append(note)
                on_note(note)
            writer = RunWriter.open(self.output)
            report.follow(there.report)
            todo = left_to_do(there, redo=resume.redo)
            redone = {chunk.number for chunk in todo}
            kept = [chunk for chunk in there.chunks if chunk.number not in redone]
            self.counters.frames_before = sum(chunk.num_frames for chunk in kept)
            self.counters.chunks_before = len(kept)
            writer.reopen()
        point("manifest written")
        writer.write_report(report.to_json() | {"complete": False})
        self.counters.total, self.counters.chunks, self.counters.workers = self.total, len(plan), lanes
        try:
            self._segment(driver, writer, todo)
            # A worker that was cut off and came back may have taken a chunk away again: what counts is on the disk.
            missing = [] if driver.stopped or driver.set_aside else left_to_do(open_run(self.output))
            if missing:
                self._segment(driver, writer, missing)
        except VideosegError as error:
            report.failure = str(error)
            self._finish_failed(writer)
            raise
        report.set_aside = sorted(driver.set_aside, key=lambda item: item.unit.chunk.number)
        if report.set_aside:
            report.failure = str(report.set_aside[0].error)
        report.stopped = driver.stopped
        return self._finish(writer)

    def _tables_again(self, there: Run) -> Run:
        """All chunks are there: what is made from them is made again, in case the run was ended in the middle of it."""
        self.report.follow(there.report)
        self.report.frames = self.counters.frames_before = there.num_frames
        self.counters.chunks = self.counters.chunks_before = len(there.chunks)
        self.counters.total = self.total
        writer = RunWriter.open(self.output)
        writer.reopen()
        return self._finish(writer)

    def _driver(self, lanes: int) -> Driver:
        sharing = Sharing(self.placement.streams_per_worker)
        return Driver(
            self.executor,
            lambda lane: [
                *stages_of(self.job, lane, self.executor.name, sharing=sharing),
                StageSpec("write", partial(WriteStage, self.output), cpus=0, actor="track"),
            ],
            _window_size(self.info, self.placement, -(-lanes // self.executor.machines())),
            self.stop,
            lanes=lanes,
            lanes_per_worker=sharing.streams,
            start_seconds=self.placement.start_seconds,
        )

    def _manifest(self, plan: Sequence[ChunkPlan], model: Mapping[str, str], tracker: Mapping[str, str]) -> Manifest:
        return Manifest.of(
            model=model,
            tracker=tracker,
            vocabulary=self.job.vocabulary,
            source=self.info,
            chunk_plan=tuple(plan),
            settings=self.job.settings.to_json(),
            profile=self.job.profile,
        )

    def _require_same(
        self,
        there: Run,
        plan: Sequence[ChunkPlan],
        resume: Resuming,
        model: Mapping[str, str],
        tracker: Mapping[str, str],
    ) -> str:
        before = there.manifest
        return require_same(
            before,
            self._manifest(plan, model or before.model, tracker or before.tracker),
            self.output,
            any_profile=resume.any_profile,
        )

    def _segment(self, driver: Driver, writer: RunWriter, todo: Sequence[ChunkPlan]) -> None:
        """Decoding to shards."""
        report, counters = self.report, self.counters
        began = counters.began = monotonic()
        self.on_progress(Progress("segment", counters.frames, self.total))
        for window in driver.windows(Unit(chunk) for chunk in todo):
            counters.count(
                window.chunk.number,
                first=window.number == 0,
                last=window.last,
                frames=window.frames_done,
                seconds=window.seconds,
            )
            counters.queued = driver.queue_depths()
            counters.restarts, counters.set_aside = driver.restarts, len(driver.set_aside)
            report.frames = counters.frames
            report.frames_here = counters.frames - counters.frames_before
            report.seconds = monotonic() - began
            report.seconds_by_stage = dict(counters.busy)
            report.add_losses(window.losses)
            for name, count in window.work.items():
                report.work[name] = report.work.get(name, 0) + count
            report.restarts = driver.restarts
            if window.partial:
                report.partial_chunks.append(window.chunk.number)
            if perf_counter() - self.reported > _REPORT_SECONDS:
                self.reported = perf_counter()
                snapshot = counters.snapshot()
                writer.write_report(
                    report.to_json()
                    | {
                        "complete": False,
                        "running": {
                            "total": self.total,
                            "chunks": snapshot.chunks,
                            "chunks_done": snapshot.chunks_done,
                            "remaining": snapshot.remaining,
                            "utilisation": snapshot.utilisation,
                            "queued": dict(snapshot.queued),
                        },
                    }
                )
            self.on_progress(Progress("segment", report.frames, self.total, counters.snapshot()))
        report.notes += driver.notes
        driver.notes.clear()

    def _finish(self, writer: RunWriter) -> Run:
        return finish_tables(self.job, writer, self.report)

    def _finish_failed(self, writer: RunWriter) -> None:
        """Leaves what was done in order, where that can still be done."""
        # The first failure is the one to hear about, and the shards stand without tables.
        with contextlib.suppress(VideosegError):
            self._finish(writer)


def finish_tables(job: Job, writer: RunWriter, report: RunReport) -> Run:
    """All finished chunks to stitched tables."""
    point("before stitching")
    run = open_run(writer.location)
    report.frames = run.num_frames  # what counts is on the disk; a chunk that was given up has no frames
    joined = stitch_run(run)
    writer.write_stitching(joined.table)
    if job.settings.refine:
        joined = refine_run(open_run(writer.location), joined)
        writer.write_stitching(joined.table)
    point("in stitching")
    return writer.finish(report.to_json(), further_events=joined.events)


def stream_job(job: Job, *, placement: Placement | None = None, stop: Event | None = None) -> Iterator[PanopticFrame]:
    """Yields the tracked frames of a job, in order, as one stream without chunks and without writing anything.

    Raises:
        InputError: source or model cannot be used.
    """
    placement = placement or Placement()
    executor = make_executor(placement.executor, replace(placement.executor_options(), processes=False))
    source = job.open_source()
    try:
        info, total = source.info, source.num_selected
    finally:
        source.close()
    try:
        # What was given out cannot be taken back, so nothing is tried again.
        driver = Driver(executor, stages_of(job), _window_size(info, placement), stop or Event(), attempts=1)
        for window in driver.windows([Unit(ChunkPlan(number=0, start=0, stop=total))]):
            yield from window.results
        if driver.set_aside:
            raise driver.set_aside[0].error
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


@dataclass(frozen=True, slots=True)
class Sharing:
    """How many lanes share a model."""

    streams: int = 1
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Runs of one process share no models with each other."""


def stages_of(
    job: Job, lane: int = 0, executor: str = "local", *, many: bool = False, sharing: Sharing | None = None
) -> list[StageSpec]:
    """The stages of a job.

    Args:
        many: every chunk names the source that it is from.
        sharing: None is a model for each lane.
    """
    sharing = sharing or Sharing()
    worker = lane // sharing.streams
    make_segmenter = job.make_segmenter
    if isinstance(make_segmenter, LoadSegmenter) and make_segmenter.device == "cuda" and executor == "local":
        # Ray shows each actor its own device; here the workers take turns.
        make_segmenter = make_segmenter.on(f"cuda:{worker % _gpus_here()}")
    if sharing.streams > 1:
        make_segmenter = ShareSegmenter(make_segmenter, f"{sharing.token}-{worker}")
    return [
        StageSpec("decode", partial(DecodeStage, None if many else job.open_source), actor="decode"),
        StageSpec("motion", MotionStage if job.has_pictures else NoMotionStage, cpus=0, actor="decode"),
        StageSpec(
            "segment",
            partial(SegmentStage, make_segmenter),
            gpus=job.gpus,
            stop_before=True,
            shared=sharing.streams > 1,
            actor="segment",
        ),
        StageSpec("track", partial(TrackStage, job.make_tracker), actor="track"),
    ]


def _gpus_here() -> int:
    import torch

    return max(1, torch.cuda.device_count())


def _window_size(info: SourceInfo, placement: Placement, lanes: int = 1) -> WindowSize:
    return WindowSize.of(info.width * info.height * BYTES_PER_PIXEL, placement, lanes)


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
    # One file is written in order: there is nothing to share out among machines.
    executor = make_executor("inline" if placement.executor == "inline" else "local")
    with RunWriter.open(run.location).local_path(OVERLAY) as path, contextlib.closing(executor):
        stages = [
            StageSpec("decode", partial(DecodeStage, job.open_source)),
            StageSpec("overlay", partial(OverlayStage, run.location, path), stop_before=True),
        ]
        driver = Driver(executor, stages, _window_size(info, placement), stop)
        done = 0
        began = perf_counter()
        on_progress(Progress("overlay", 0, total))
        for window in driver.windows([Unit(ChunkPlan(number=0, start=0, stop=total))]):
            done += window.frames_done
            on_progress(Progress("overlay", done, total))
        report.seconds_by_stage["overlay"] = perf_counter() - began
    report.stopped = report.stopped or driver.stopped
    if not driver.stopped:
        report.products["overlay"] = OVERLAY


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
