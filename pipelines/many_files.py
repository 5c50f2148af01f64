"""`run_files`: a list of videos through one queue of chunks, into a run folder for each and a summary of them all.

One driver with one set of workers computes the chunks of all files, in the order of the list; a file begins when a
worker has room for it and is finished (stitched, exported, drawn) beside the others. What cannot be computed is
reported with its reason, and the rest is done. Files are opened in a worker of their own first: one that crashes its
decoder takes nobody with it.
"""

import json
import os
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future as Finishing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

from pipelines.chunks import plan_chunks
from pipelines.driver import Driver, SetAside, StageSpec, Unit, WindowSize
from pipelines.executors import Executor, Future, Needs, Worker, WorkerLost, make_executor
from pipelines.file_list import FileEntry
from pipelines.progress import Counters, Progress, Snapshot, silent
from pipelines.resuming import left_to_do, require_same
from pipelines.run import (
    BYTES_PER_PIXEL,
    Job,
    Resuming,
    RunReport,
    Sharing,
    finish_tables,
    make_products,
    now,
    stages_of,
)
from pipelines.settings import Placement, Products, RunSettings
from pipelines.stages import Window, WriteStage
from videoseg.errors import InputError, VideosegError, is_disk_full
from videoseg.protocols import Source, SourceInfo
from videoseg.store.folder import MANIFEST, OWN_NAMES, RunFolder, require_writable
from videoseg.store.manifest import Manifest, json_text
from videoseg.store.reader import open_run
from videoseg.store.writer import RunWriter

FILES = "files.json"
"""The list and what a user gave, as the run was begun with; never changed."""

SUMMARY = "summary.json"
"""Every entry with its state and reason, and where the run is; written anew every few seconds."""

FORMAT = "videoseg-files"

_REPORT_SECONDS = 10.0

_LOOK_AHEAD = 4
"""Files opened before their turn: reading the index of one takes 20 ms to seconds, which chunks of others hide."""

_HOPELESS_AFTER = 20
"""Files may all be damaged at the beginning of a list; where twenty chunks in a row fail, it is not about the files."""

_USUAL_BYTES = 1920 * 1080 * BYTES_PER_PIXEL

ENDED_WELL = ("done", "duplicate")
NOT_ENDED = ("waiting", "running", "stopped")
STATES = (*ENDED_WELL, "missing", "broken", "empty", "failed", *NOT_ENDED)
"""`missing`: no such file; `broken`: cannot be opened; `empty`: no frames; `failed`: some chunks could not be computed,
the others are there; `duplicate`: the same frames as an earlier entry."""


@dataclass(slots=True)
class FileState:
    """What became of an entry."""

    entry: FileEntry
    state: str = "waiting"
    reason: str = ""
    frames: int = 0
    total: int | None = None

    def end(self, state: str, reason: str = "") -> None:
        self.state, self.reason = state, reason

    def to_json(self) -> dict[str, Any]:
        return {
            **self.entry.to_json(),
            "state": self.state,
            "reason": self.reason,
            "frames": self.frames,
            "total": self.total,
        }


@dataclass(frozen=True, slots=True)
class FilesSummary:
    """What became of all entries; the content of `summary.json`."""

    location: str
    data: Mapping[str, Any]

    @property
    def complete(self) -> bool:
        """Whether every entry came to an end, good or bad."""
        return bool(self.data["complete"])

    @property
    def all_good(self) -> bool:
        """Whether every entry's results are there."""
        return all(entry["state"] in ENDED_WELL for entry in self.data["entries"])


@dataclass(slots=True)
class _Open:
    """A file whose chunks are under way."""

    state: FileState
    job: Job
    info: SourceInfo
    writer: RunWriter
    report: RunReport
    left: set[int]
    began: float = field(default_factory=monotonic)
    set_aside: list[SetAside] = field(default_factory=list)


class Prober:
    """Opens sources to learn what they are."""

    def probe(self, open_source: Callable[[], Source]) -> tuple[SourceInfo, int | None]:
        """What the source is, and how many frames are selected of it."""
        source = open_source()
        try:
            return source.info, source.num_selected
        finally:
            source.close()


def is_files_folder(location: str) -> bool:
    """Whether a run over many files was begun in that folder."""
    return RunFolder(location).exists(FILES)


def read_files(location: str) -> dict[str, Any]:
    """`files.json`: `entries`, `given`, `settings`, `vocabulary`, `profile`.

    Raises:
        InputError: it is not there, or damaged.
    """
    return _read(location, FILES)


def read_summary(location: str) -> FilesSummary:
    """`summary.json`; raises InputError where it is not there or damaged."""
    return FilesSummary(location, _read(location, SUMMARY))


def run_files(
    entries: Sequence[FileEntry],
    make_job: Callable[[FileEntry], Job],
    output: str | Path,
    *,
    placement: Placement | None = None,
    products: Products | None = None,
    overwrite: bool = False,
    resume: Resuming | None = None,
    on_progress: Callable[[Progress], None] = silent,
    stop: Event | None = None,
    counters: Counters | None = None,
) -> FilesSummary:
    """Computes every entry into `output/<name>/`.

    Args:
        make_job: the job of an entry. All have the same segmenter and tracker; source, `start` and `end` differ.
        output: a path, or a URL that fsspec knows.
        overwrite: replaces an earlier run over files in that folder.
        resume: goes on with the one in that folder; entries that are done are not looked at again.
        stop: once set, the run ends early and in order.
        counters: is kept up to date; `total` is estimated from the files that were opened.

    Raises:
        InputError: the output cannot be used, or the run to resume is another one. Entries that cannot be used are
            told in the summary instead.
        VideosegError: the disk is full, no worker starts, nothing has ever succeeded.
    """
    placement = placement or Placement()
    if placement.executor == "local" and placement.processes is None:
        # Among many files some crash their decoder.
        placement = replace(placement, processes=True)
    location = os.fspath(output)
    if placement.executor == "ray" and "://" not in location:
        location = os.path.abspath(location)
    queue = _Queue(
        [FileState(entry) for entry in entries],
        make_job,
        RunFolder(location),
        placement,
        products or Products(),
        resume,
        on_progress,
        stop or Event(),
        counters or Counters(),
    )
    queue.prepare(overwrite=overwrite)
    return queue.compute()


@dataclass(slots=True)
class _Queue:
    states: list[FileState]
    make_job: Callable[[FileEntry], Job]
    folder: RunFolder
    placement: Placement
    products: Products
    resume: Resuming | None
    on_progress: Callable[[Progress], None]
    stop: Event
    counters: Counters
    under_way: dict[str, _Open] = field(default_factory=dict)
    finishing: list[tuple[_Open, "Finishing[None]"]] = field(default_factory=list)
    descriptions: tuple[dict[str, str], dict[str, str]] | None = None
    started: str = field(default_factory=now)
    seen_set_aside: int = 0
    reported: float = 0.0
    failure: str = ""
    notes: list[str] = field(default_factory=list)

    def prepare(self, *, overwrite: bool) -> None:
        """The output folder, and all that can be said of entries without opening them."""
        goes_on = self.resume is not None and self.folder.exists(FILES)
        first = self.make_job(self.states[0].entry)
        head = {
            "format": FORMAT,
            "settings": _shared(first.settings),
            "vocabulary": first.vocabulary.to_json(),
            "profile": dict(first.profile),
            "given": {**first.given, "overlay": self.products.overlay, "exports": list(self.products.exports)},
            "entries": [state.entry.to_json() for state in self.states],
        }
        if goes_on:
            before = read_files(self.folder.location)
            for what in ("settings", "vocabulary", "entries"):
                if before.get(what) != json.loads(json.dumps(head[what])):
                    raise InputError(
                        f"The run in {self.folder.location} was begun with other {what}. Give what it was begun with, "
                        "or name a new folder with -o."
                    )
        else:
            self._make_room(overwrite=overwrite)
            self.folder.write_text(FILES, json_text(head))
        seen: dict[tuple[str, float | None, float | None], str] = {}
        for state in self.states:
            self._first_look(state, seen, goes_on=goes_on)

    def _make_room(self, *, overwrite: bool) -> None:
        present = [name for name in self.folder.names() if not name.endswith(".partial")]
        if present and not overwrite and self.resume is None:
            raise InputError(
                f"The output folder {self.folder.location} is not empty. Name another, or add --overwrite."
            )
        if present:
            if not self.folder.exists(FILES):
                raise InputError(
                    f"The output folder {self.folder.location} is not empty and holds no run over many files, so "
                    "nothing in it is overwritten. Name another."
                )
            for entry in read_files(self.folder.location)["entries"]:
                below = RunFolder(self.folder.shown(str(entry["name"])))
                for name in (*OWN_NAMES[1:], MANIFEST):
                    below.remove(name)
            self.folder.remove(SUMMARY)
        require_writable(self.folder)

    def _first_look(
        self, state: FileState, seen: dict[tuple[str, float | None, float | None], str], *, goes_on: bool
    ) -> None:
        entry = state.entry
        if not entry.path:
            state.end("missing", "the list names no file here")
            return
        key = (entry.path if "://" in entry.path else os.path.realpath(entry.path), entry.start, entry.end)
        if key in seen:
            state.end("duplicate", f"the same as {seen[key]}")
            return
        seen[key] = entry.name
        if goes_on and self._is_done(state):
            return
        if "://" in entry.path:
            return
        if not os.path.exists(entry.path):
            state.end(
                "missing", "there is no such file" if not os.path.islink(entry.path) else "the link leads nowhere"
            )
        elif os.path.isfile(entry.path) and os.path.getsize(entry.path) == 0:
            state.end("empty", "the file has 0 bytes")

    def _is_done(self, state: FileState) -> bool:
        location = self._location(state)
        if not RunFolder(location).exists(MANIFEST):
            return False
        run = open_run(location)
        if not run.complete or not run.stitched or left_to_do(run):
            return False
        if self.resume is not None and self.resume.redo is not None and left_to_do(run, redo=self.resume.redo):
            return False
        state.end("done")
        state.frames = state.total = run.num_frames
        return True

    def _location(self, state: FileState) -> str:
        return self.folder.shown(state.entry.name)

    def compute(self) -> FilesSummary:
        """Whatever is waiting, to its end."""
        waiting = [state for state in self.states if state.state == "waiting"]
        self.counters.frames_before = sum(state.frames for state in self.states)
        self.counters.workers = self.placement.lanes
        self.counters.began = monotonic()
        self._write_summary(running=True)
        if waiting:
            executor = make_executor(self.placement.executor, self.placement.executor_options())
            try:
                with ThreadPoolExecutor(1, "finish") as finisher:
                    self._work_off(executor, waiting, finisher)
            except VideosegError as error:
                self.failure = str(error)
                raise
            finally:
                executor.close()
                if self.failure:
                    self._write_summary(running=False)
        self._write_summary(running=False)
        return read_summary(self.folder.location)

    def _work_off(self, executor: Executor, waiting: Sequence[FileState], finisher: ThreadPoolExecutor) -> None:
        job = self.make_job(waiting[0].entry)
        lanes = self.placement.lanes
        sharing = Sharing(self.placement.streams_per_worker)
        driver = Driver(
            executor,
            lambda lane: [
                *stages_of(job, lane, executor.name, many=True, sharing=sharing),
                StageSpec("write", partial(WriteStage, ""), cpus=0, actor="track"),
            ],
            WindowSize.of(_USUAL_BYTES, self.placement, -(-lanes // executor.machines())),
            self.stop,
            lanes=lanes,
            lanes_per_worker=sharing.streams,
            start_seconds=self.placement.start_seconds,
            hopeless_after=_HOPELESS_AFTER,
        )
        probes = _Probes(executor, self.make_job)
        for window in driver.windows(self._units(driver, probes, waiting, finisher, executor)):
            self._count(window, driver)
            self._finish_ready(driver, finisher)
            if monotonic() - self.reported > _REPORT_SECONDS:
                self._write_summary(running=True)
            self.on_progress(Progress("segment", self.counters.frames, self.counters.total, self.counters.snapshot()))
        self.notes += driver.notes
        self._finish_ready(driver, finisher)
        for opened in list(self.under_way.values()):
            opened.report.stopped = True
            self._finish(opened, finisher)
        self._finish_ready(driver, finisher, to_the_end=True)

    def _units(
        self,
        driver: Driver,
        probes: "_Probes",
        waiting: Sequence[FileState],
        finisher: ThreadPoolExecutor,
        executor: Executor,
    ) -> Iterator[Unit]:
        """The chunks of all files in the order of the list; a file is opened when its turn comes."""
        todo = deque(waiting)
        while todo or probes.pending:
            while todo and len(probes.pending) < _LOOK_AHEAD:
                probes.ask(todo.popleft())
            if self.stop.is_set():
                return
            state, answer = probes.next()
            self._finish_ready(driver, finisher)
            if isinstance(answer, Exception):
                state.end("broken", _words(answer))
                continue
            if self.descriptions is None:
                self.descriptions = driver.describe("segment"), driver.describe("track")
            try:
                yield from self._begin(state, *answer, self.descriptions, finisher, executor)
            except InputError as error:
                state.end("failed", str(error))

    def _begin(
        self,
        state: FileState,
        info: SourceInfo,
        total: int | None,
        descriptions: tuple[dict[str, str], dict[str, str]],
        finisher: ThreadPoolExecutor,
        executor: Executor,
    ) -> Iterator[Unit]:
        if total == 0:
            state.end("empty", "no frame is in the part that was asked for")
            return
        job, location = self.make_job(state.entry), self._location(state)
        settings = job.settings
        plan = plan_chunks(total, frames_per_chunk=settings.frames_per_chunk, overlap=settings.overlap)
        manifest = Manifest.of(
            model=descriptions[0],
            tracker=descriptions[1],
            vocabulary=job.vocabulary,
            source=info,
            chunk_plan=tuple(plan),
            settings=settings.to_json(),
            profile=job.profile,
        )
        report = RunReport(started=now(), executor=executor.name, workers=self.placement.workers)
        report.given = {**job.given, "overlay": self.products.overlay, "exports": list(self.products.exports)}
        todo = list(plan)
        if self.resume is not None and RunFolder(location).exists(MANIFEST):
            there = open_run(location)
            note = require_same(there.manifest, manifest, location, any_profile=self.resume.any_profile)
            report.notes += [note] if note else []
            report.follow(there.report)
            todo = left_to_do(there, redo=self.resume.redo)
            missing = {chunk.number for chunk in todo}
            kept = sum(chunk.num_frames for chunk in there.chunks if chunk.number not in missing)
            writer = RunWriter.open(location)
            writer.reopen()
        else:
            kept = 0
            writer = RunWriter.create(location, manifest, overwrite=self.resume is not None)
        writer.write_report(report.to_json() | {"complete": False})
        state.state, state.total, state.frames = "running", total, kept
        opened = _Open(state, job, info, writer, report, {chunk.number for chunk in todo})
        self.under_way[location] = opened
        self.counters.chunks += len(plan)
        self.counters.chunks_before += len(plan) - len(todo)
        self.counters.frames_before += kept
        self.counters.total = self._estimated_total()
        lanes = -(-self.placement.lanes // executor.machines())
        size = WindowSize.of(info.width * info.height * BYTES_PER_PIXEL, self.placement, lanes)
        if not todo:
            self._finish(opened, finisher)
        for chunk in todo:
            yield Unit(chunk, job.open_source, location, size)

    def _estimated_total(self) -> int | None:
        """Frames of all files, if those not yet opened are as long as the others."""
        known = [state.total for state in self.states if state.total is not None]
        open_still = sum(state.state == "waiting" and state.total is None for state in self.states)
        return sum(known) + round(open_still * sum(known) / len(known)) if known else None

    def _count(self, window: Window, driver: Driver) -> None:
        counters = self.counters
        counters.count(
            (window.output, window.chunk.number),
            first=window.number == 0,
            last=window.last,
            frames=window.frames_done,
            seconds=window.seconds,
        )
        counters.queued = driver.queue_depths()
        counters.restarts, counters.set_aside = driver.restarts, len(driver.set_aside)
        opened = self.under_way.get(window.output or "")
        if opened is None:
            return
        report = opened.report
        report.frames_here += window.frames_done
        opened.state.frames += window.frames_done
        for stage, seconds in window.seconds.items():
            report.seconds_by_stage[stage] = report.seconds_by_stage.get(stage, 0.0) + seconds
        report.add_losses(window.losses)
        for name, count in window.work.items():
            report.work[name] = report.work.get(name, 0) + count
        if window.partial:
            report.partial_chunks.append(window.chunk.number)
        if window.last and not (window.partial and window.failure is None):
            opened.left.discard(window.chunk.number)

    def _finish_ready(self, driver: Driver, finisher: ThreadPoolExecutor, *, to_the_end: bool = False) -> None:
        """Files of which every chunk is over are finished; what came of those before is noted."""
        for item in driver.set_aside[self.seen_set_aside :]:
            opened = self.under_way.get(item.unit.output or "")
            if opened is not None:
                opened.set_aside.append(item)
                opened.left.discard(item.unit.chunk.number)
        self.seen_set_aside = len(driver.set_aside)
        for opened in [opened for opened in self.under_way.values() if not opened.left]:
            self._finish(opened, finisher)
        for opened, finished in list(self.finishing):
            if to_the_end or finished.done():
                self.finishing.remove((opened, finished))
                error = finished.exception()
                if isinstance(error, Exception):
                    if is_disk_full(error.__cause__):
                        raise error
                    opened.state.end("failed", _words(error))
                elif error is not None:
                    raise error

    def _finish(self, opened: _Open, finisher: ThreadPoolExecutor) -> None:
        self.under_way.pop(self._location(opened.state), None)
        self.finishing.append((opened, finisher.submit(self._make_whole, opened)))

    def _make_whole(self, opened: _Open) -> None:
        """Tables, exports and overlay of a file whose chunks are over; in a thread of its own."""
        state, report = opened.state, opened.report
        report.set_aside = sorted(opened.set_aside, key=lambda item: item.unit.chunk.number)
        if report.set_aside:
            report.failure = str(report.set_aside[0].error)
        run = finish_tables(opened.job, opened.writer, report)
        missing = left_to_do(run)
        if not report.set_aside and not report.stopped and not missing:
            # On one thread, and after the rest: the picture needs a decoder again, which has read the file before.
            alone = replace(self.placement, executor="inline", workers=1, processes=None, address=None)
            make_products(opened.job, run, opened.info, state.total, alone, self.products, report, silent, self.stop)
        report.stopped = report.stopped or (self.stop.is_set() and not report.set_aside and bool(missing))
        report.seconds = monotonic() - opened.began
        opened.writer.write_report(report.to_json() | {"complete": run.complete and not report.stopped})
        state.frames = run.num_frames
        if report.set_aside:
            more = f"; and {len(report.set_aside) - 1} more" if len(report.set_aside) > 1 else ""
            state.end("failed", f"{report.set_aside[0]}{more}")
        elif report.stopped or missing:
            state.end("stopped", "" if report.stopped else "a chunk has gone; go on with --resume")
        elif not run.num_frames:
            state.end("empty", "no frame could be decoded")
        else:
            lost = sum(loss.frames or 0 for loss in report.losses)
            state.end("done", f"{lost or 'some'} frames could not be decoded" if report.losses else "")

    def _write_summary(self, *, running: bool) -> None:
        self.reported = monotonic()
        snapshot = self.counters.snapshot()
        counts = Counter(state.state for state in self.states)
        data: dict[str, Any] = {
            "format": FORMAT,
            "complete": not running and not self.failure and not any(counts[state] for state in NOT_ENDED),
            "started": self.started,
            "written": now(),
            "host": socket.gethostname(),
            "executor": self.placement.executor,
            "workers": self.placement.workers,
            "frames": snapshot.frames,
            "seconds": round(snapshot.seconds, 3),
            "frames_per_second": round(snapshot.frames_per_second, 3),
            "stages": {stage: round(seconds, 3) for stage, seconds in snapshot.busy.items()},
            "restarts": snapshot.restarts,
            "notes": self.notes,
            "failure": self.failure,
            "states": {state: counts[state] for state in STATES if counts[state]},
            "entries": [state.to_json() for state in self.states],
        }
        if running:
            data["running"] = running_words(snapshot)
        self.folder.write_text(SUMMARY, json_text(data))


class _Probes:
    """Questions to a worker that opens files; one whose file kills it is replaced and asked the rest."""

    def __init__(self, executor: Executor, make_job: Callable[[FileEntry], Job]) -> None:
        self._executor = executor
        self._make_job = make_job
        self._worker: Worker | None = None
        self.pending: deque[tuple[FileState, Future[tuple[SourceInfo, int | None]] | None]] = deque()
        """Files and answers to come; None for one that was asked about beside a crash and is to be asked alone."""

    def ask(self, state: FileState) -> None:
        alone = any(answer is None for _, answer in self.pending)
        self.pending.append((state, None if alone else self._ask(state)))

    def next(self) -> tuple[FileState, tuple[SourceInfo, int | None] | Exception]:
        """What came of the file that was asked about first."""
        state, answer = self.pending.popleft()
        for attempt in (answer, None, None) if answer is not None else (None, None):
            try:
                return state, (attempt or self._ask(state)).result()
            except WorkerLost:
                # Who of those that were asked is to blame shows when each is asked alone.
                self.pending = deque((other, None) for other, _ in self.pending)
                if self._worker is not None:
                    self._executor.end(self._worker)
                    self._worker = None
            except Exception as error:
                return state, error
        return state, VideosegError("the decoder crashed while opening it, twice")

    def _ask(self, state: FileState) -> Future[tuple[SourceInfo, int | None]]:
        if self._worker is None:
            self._worker = self._executor.spawn(Prober, name="probe", needs=Needs(cpus=0))
        return self._executor.submit(self._worker, "probe", self._make_job(state.entry).open_source)


def running_words(snapshot: Snapshot) -> dict[str, Any]:
    """What is said of a run while it goes."""
    return {
        "total": snapshot.total,
        "chunks": snapshot.chunks,
        "chunks_done": snapshot.chunks_done,
        "remaining": snapshot.remaining,
        "utilisation": snapshot.utilisation,
        "queued": dict(snapshot.queued),
    }


def _shared(settings: RunSettings) -> dict[str, Any]:
    return {name: value for name, value in settings.to_json().items() if name not in ("start", "end")}


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, VideosegError) else f"{type(error).__name__}: {error}"


def _read(location: str, name: str) -> dict[str, Any]:
    folder = RunFolder(location)
    try:
        data = json.loads(folder.read_text(name))
    except FileNotFoundError:
        raise InputError(f"The folder {location} holds no run over many files (no {name}).") from None
    except ValueError:
        data = None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{folder.shown(name)} is damaged, or is something else.")
    return data
