"""`RunWriter` and `ChunkWriter`: a run folder comes into being, chunk by chunk.

A chunk counts when its marker `chunk.json` is there; it is written last. Whatever happens before, the folder stays
valid: committed chunks can be read, the others are as if they had never begun. Chunks may be written by several
processes at once (each with a `RunWriter.open`); `write_stitching` and `finish` belong to one.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from videoseg.errors import InputError, VideosegError
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.store import folder as names
from videoseg.store import tables
from videoseg.store.aggregation import Stitching, TrackTotals, merge_events, merge_tracks
from videoseg.store.folder import PendingFile, RunFolder, chunk_file, disk_errors, require_writable
from videoseg.store.id_maps import encode_id_map
from videoseg.store.manifest import ChunkPlan, Manifest, is_manifest, json_text
from videoseg.store.reader import Run
from videoseg.tracks import TrackEvent

# A row group is what a reader has to take in to see one frame of it, and what a writer holds back.
_ROW_GROUP_FRAMES = 64
_ROW_GROUP_SEGMENTS = 4096


class RunWriter:
    """Writes a run folder. Make one with `create` or `open`."""

    def __init__(self, run_folder: RunFolder, manifest: Manifest) -> None:
        self._folder = run_folder
        self.manifest = manifest

    @classmethod
    def create(cls, folder: str | Path, manifest: Manifest, *, overwrite: bool = False) -> "RunWriter":
        """Makes the folder and writes its manifest.

        Args:
            folder: a path or a URL that fsspec knows.
            overwrite: removes an earlier run from the folder first: its own files only, never others.

        Raises:
            InputError: the folder is not empty, cannot be written to, or is not a run of ours (with `overwrite`).
        """
        run_folder = require_free(folder, overwrite=overwrite)
        present = run_folder.names()
        if present:
            # The manifest goes last: while it is there, an interrupted removal can be taken up again.
            with disk_errors(run_folder, ""):
                for name in (*names.OWN_NAMES[1:], names.MANIFEST):
                    run_folder.remove(name)
        run_folder.write_text(names.MANIFEST, manifest.to_json_text())
        return cls(run_folder, manifest)

    @classmethod
    def open(cls, folder: str | Path) -> "RunWriter":
        """Goes on writing a run: another process of the same run, or the run taken up again later.

        Raises:
            InputError: there is no run in the folder.
        """
        from videoseg.store.reader import read_manifest

        run_folder = RunFolder(folder)
        return cls(run_folder, read_manifest(run_folder))

    @property
    def location(self) -> str:
        """The folder as the user named it."""
        return self._folder.location

    def path(self, name: str) -> str:
        """Full path of a file of the run, for instance of `overlay.mp4`."""
        return self._folder.path(name)

    def local_path(self, name: str) -> AbstractContextManager[str]:
        """A path of this machine at which to make a file or folder of the run; see `RunFolder.local_path`."""
        return self._folder.local_path(name)

    def committed(self) -> set[int]:
        """Numbers of the chunks that are finished, whole or partial."""
        return {chunk.number for chunk in Run(self._folder).chunks}

    def whole(self) -> set[int]:
        """Numbers of the chunks that need not be computed again."""
        return {chunk.number for chunk in Run(self._folder).chunks if not chunk.partial}

    def reopen(self) -> None:
        """Takes away what was made from all chunks together, because chunks will be added; and what writers left."""
        with disk_errors(self._folder, ""):
            self._folder.remove_partial()
            for name in (names.STITCHING, names.TRACKS, names.EVENTS, names.OVERLAY, names.EXPORTS):
                self._folder.remove(name)

    def remove(self, name: str) -> None:
        """Removes a file or a folder of the run, if it is there."""
        with disk_errors(self._folder, name):
            self._folder.remove(name)

    def begin_chunk(self, number: int) -> "ChunkWriter":
        """Starts a chunk of the plan; what an earlier attempt left of it is replaced when the new one is committed."""
        return ChunkWriter(self._folder, self.manifest, self.manifest.chunk_plan[number])

    def write_stitching(self, table: Mapping[int, Mapping[int, int]]) -> None:
        """Writes which global track every local track of every chunk is.

        Local tracks of committed chunks that the table leaves out become tracks of their own, numbered on from the
        highest.

        Args:
            table: chunk -> local track -> global track (1..).
        """
        whole = {chunk: dict(tracks) for chunk, tracks in table.items()}
        highest = max((track for tracks in whole.values() for track in tracks.values()), default=0)
        for chunk in Run(self._folder).chunks:
            tracks = whole.setdefault(chunk.number, {})
            for local in chunk.local_tracks:
                if local not in tracks:
                    highest += 1
                    tracks[local] = highest
        rows = [(chunk, local, whole[chunk][local]) for chunk in sorted(whole) for local in sorted(whole[chunk])]
        if any(track < 1 for _, _, track in rows):
            raise ValueError("global tracks are numbered from 1")
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        self._write(
            names.STITCHING,
            pa.table(dict(zip(tables.STITCHING.names, map(list, columns), strict=True)), schema=tables.STITCHING),
        )

    def finish(self, run_report: Mapping[str, Any], *, further_events: Sequence[TrackEvent] = ()) -> Run:
        """Writes `tracks.parquet`, `events.parquet` and `run.json` from the committed chunks.

        Args:
            further_events: under global ids: what became known when the chunks were looked at together.
            run_report: JSON-ready; times, host, losses, whatever is not part of the result. `complete` is added: False
                where a chunk of the plan is missing or where the report itself says so.
        """
        run = Run(self._folder)
        stitching: Stitching = run.stitching
        tracks = merge_tracks(((chunk.number, chunk.track_totals()) for chunk in run.chunks), stitching)
        events = merge_events([(chunk.number, chunk.first_index, chunk.events()) for chunk in run.chunks], stitching)
        events = sorted([*events, *further_events], key=lambda event: event.index)
        vocabulary = run.vocabulary
        self._write(
            names.TRACKS,
            pa.table(
                {
                    "track": [track.id for track in tracks],
                    "category": [track.category for track in tracks],
                    "name": [vocabulary[track.category].name for track in tracks],
                    "is_thing": [track.is_thing for track in tracks],
                    "first_index": [track.first_index for track in tracks],
                    "last_index": [track.last_index for track in tracks],
                    "first_time": [track.first_time for track in tracks],
                    "last_time": [track.last_time for track in tracks],
                    "num_frames": [track.num_frames for track in tracks],
                    "mean_area": [track.mean_area for track in tracks],
                    "mean_score": [track.mean_score for track in tracks],
                    "gallery": tables.gallery_array([track.gallery for track in tracks]),
                },
                schema=tables.TRACKS,
            ),
        )
        self._write(names.EVENTS, tables.events_table(events))
        complete = bool(run_report.get("complete", True)) and len(run.chunks) == len(self.manifest.chunk_plan)
        self.write_report({**run_report, "complete": complete})
        return Run(self._folder)

    def write_report(self, run_report: Mapping[str, Any]) -> None:
        """Writes `run.json` alone: before the end, to leave word of where a long run is."""
        self._folder.write_text(names.REPORT, json_text({"complete": False, **run_report}))

    def _write(self, name: str, table: pa.Table) -> None:
        pending = self._folder.begin(name)
        try:
            with disk_errors(self._folder, name):
                tables.write_table(pending.file, table)
            pending.commit()
        except BaseException:
            pending.abandon()
            raise


def require_free(folder: str | Path, *, overwrite: bool = False) -> RunFolder:
    """The folder of a run to come: made if need be, empty or with a run that may be replaced. Changes nothing else.

    Raises:
        InputError: see `RunWriter.create`.
    """
    run_folder = RunFolder(folder)
    if run_folder.is_file():
        raise InputError(f"The output {folder} is a file. Name a folder.")
    try:
        # A driver that died before its first word leaves part of a file; nobody needs it.
        present = [n for n in run_folder.names() if not n.startswith(".videoseg-probe") and not n.endswith(".partial")]
    except OSError as error:
        raise InputError(f"The output folder {folder} cannot be read: {error.strerror or error}.") from None
    if present and not overwrite:
        raise InputError(f"The output folder {folder} is not empty. Name another, or add --overwrite.")
    if present and not _is_run(run_folder):
        raise InputError(
            f"The output folder {folder} is not empty and holds no run of videoseg, so nothing in it is "
            "overwritten. Name another."
        )
    require_writable(run_folder)
    return run_folder


class ChunkWriter:
    """Writes one chunk. As a context manager it is abandoned on an exception, and otherwise committed."""

    def __init__(self, run_folder: RunFolder, manifest: Manifest, plan: ChunkPlan) -> None:
        self._folder = run_folder
        self._manifest = manifest
        self.plan = plan
        self._totals = TrackTotals()
        self._local_tracks: set[int] = set()
        self._events: list[TrackEvent] = []
        self._frames: list[tuple[Any, ...]] = []
        self._segments: list[tuple[int, Segment]] = []
        self._last_number: int | None = None
        self._rows = {"frames": 0, "overlap": 0, "segments": 0}
        self._first: tuple[int, int] | None = None
        self._last: tuple[int, int] | None = None
        run_folder.remove_partial(f"{names.CHUNKS}/{plan.number:05d}")
        self._id_maps = _Shard(run_folder, plan.number, "id_maps.parquet", tables.ID_MAPS)
        try:
            self._segment_rows = _Shard(run_folder, plan.number, "segments.parquet", tables.SEGMENTS)
        except BaseException:
            self._id_maps.abandon()
            raise

    def append(self, frame: PanopticFrame, *, number: int, overlap: bool) -> None:
        """Writes the next frame, in ascending order of `number`.

        Args:
            frame: every segment has a track, under the ids of this chunk.
            number: of the frame among the selected ones.
            overlap: whether it is a warm-up frame (`number` before the chunk's start).

        Raises:
            ValueError: a frame out of order, out of the chunk, of another stream, or with a segment without track.
            VideosegError: the disk is full.
        """
        self._check(frame, number, overlap)
        height, width = frame.size
        self._frames.append(
            (
                number,
                frame.index,
                frame.epoch,
                frame.pts,
                frame.time_base.numerator,
                frame.time_base.denominator,
                frame.time,
                overlap,
                height,
                width,
                encode_id_map(frame.id_map),
            )
        )
        self._segments += [(number, segment) for segment in frame.segments]
        self._local_tracks.update(segment.track for segment in frame.segments if segment.track is not None)
        self._last_number = number
        self._rows["frames"] += 1
        self._rows["segments"] += len(frame.segments)
        if overlap:
            self._rows["overlap"] += 1
        else:
            self._totals.add(frame)
            self._last = (number, frame.index)
            self._first = self._first or self._last
        if len(self._frames) >= _ROW_GROUP_FRAMES or len(self._segments) >= _ROW_GROUP_SEGMENTS:
            self._flush()

    def add_events(self, events: Iterable[TrackEvent]) -> None:
        """Takes note of what happened to local tracks."""
        for event in events:
            self._events.append(event)
            self._local_tracks.add(event.track)
            if event.other is not None:
                self._local_tracks.add(event.other)

    def commit(self, *, partial: bool = False) -> None:
        """The chunk is whole.

        Args:
            partial: the chunk was ended in its middle; what is there is good, and the chunk is to be computed again.

        Raises:
            VideosegError: the disk is full; the chunk is then abandoned.
        """
        try:
            self._flush()
            for shard in (self._id_maps, self._segment_rows):
                shard.require_alive()
            # From here to the new marker the chunk does not count: an earlier attempt's shards are being replaced.
            self._folder.remove(chunk_file(self.plan.number, "chunk.json"))
            checksums = {shard.name: shard.commit() for shard in (self._id_maps, self._segment_rows)}
            for name, table in (
                ("tracks.parquet", self._tracks_table()),
                ("events.parquet", tables.events_table(self._events)),
            ):
                small = _Shard(self._folder, self.plan.number, name, table.schema)
                try:
                    small.write(table)
                    checksums[name] = small.commit()
                except BaseException:
                    small.abandon()
                    raise
            marker = {
                "number": self.plan.number,
                "first_number": self._first[0] if self._first else None,
                "last_number": self._last[0] if self._last else None,
                "first_index": self._first[1] if self._first else None,
                "last_index": self._last[1] if self._last else None,
                "local_tracks": sorted(self._local_tracks),
                "sha256": checksums,
                **self._rows,
                **({"partial": True} if partial else {}),
            }
            self._folder.write_text(chunk_file(self.plan.number, "chunk.json"), json_text(marker))
        except BaseException:
            self.abandon()
            raise

    def abandon(self) -> None:
        """As if the chunk had never begun; never raises."""
        self._id_maps.abandon()
        self._segment_rows.abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.abandon()

    def _check(self, frame: PanopticFrame, number: int, overlap: bool) -> None:
        plan = self.plan
        if frame.stream != self._manifest.stream:
            raise ValueError(f"a frame of {frame.stream!r} in the run of {self._manifest.stream!r}")
        if self._last_number is not None and number <= self._last_number:
            raise ValueError(f"frame number {number} after {self._last_number} in chunk {plan.number}")
        if number < plan.start - plan.overlap or (plan.stop is not None and number >= plan.stop):
            raise ValueError(f"frame number {number} is outside of {plan!r}")
        if overlap != (number < plan.start):
            raise ValueError(f"frame number {number} of {plan!r}: overlap cannot be {overlap}")
        for segment in frame.segments:
            if segment.track is None or segment.track < 1:
                raise ValueError(f"segment {segment.id} has no track ({frame.where})")

    def _flush(self) -> None:
        if self._frames:
            columns = list(zip(*self._frames, strict=True))
            self._id_maps.write(
                pa.table(
                    {name: list(column) for name, column in zip(tables.ID_MAPS.names, columns, strict=True)},
                    schema=tables.ID_MAPS,
                )
            )
        if self._segments:
            self._segment_rows.write(self._segments_table())
        self._frames, self._segments = [], []

    def _segments_table(self) -> pa.Table:
        numbers = [number for number, _ in self._segments]
        segments = [segment for _, segment in self._segments]
        boxes = np.array([segment.box for segment in segments], dtype=np.int32).reshape(-1, 4)
        tops = [segment.probabilities[: tables.TOP_CATEGORIES] for segment in segments]
        keep = self._manifest
        nothing: Sequence[NDArray[Any] | None] = [None] * len(segments)
        return pa.table(
            {
                "number": numbers,
                "id": [segment.id for segment in segments],
                "track": [segment.track for segment in segments],
                "category": [segment.category for segment in segments],
                "is_thing": [segment.is_thing for segment in segments],
                "score": [segment.score for segment in segments],
                "area": [segment.area for segment in segments],
                "left": boxes[:, 0],
                "top": boxes[:, 1],
                "right": boxes[:, 2],
                "bottom": boxes[:, 3],
                "propagated": [segment.propagated for segment in segments],
                "top_categories": [[category for category, _ in top] for top in tops],
                "top_probabilities": [[probability for _, probability in top] for top in tops],
                "embedding": tables.list_array(
                    [segment.embedding for segment in segments] if keep.embeddings else nothing, np.float16
                ),
                "open_vocabulary": tables.list_array(
                    [segment.open_vocabulary for segment in segments] if keep.open_vocabulary else nothing, np.float16
                ),
            },
            schema=tables.SEGMENTS,
        )

    def _tracks_table(self) -> pa.Table:
        totals = list(self._totals)
        return pa.table(
            {
                "track": [total.track for total in totals],
                "categories": [sorted(total.evidence) for total in totals],
                "are_things": [[total.are_things[c] for c in sorted(total.evidence)] for total in totals],
                "evidence": [[total.evidence[c] for c in sorted(total.evidence)] for total in totals],
                "first_index": [total.first_index for total in totals],
                "last_index": [total.last_index for total in totals],
                "first_time": [total.first_time for total in totals],
                "last_time": [total.last_time for total in totals],
                "num_frames": [total.num_frames for total in totals],
                "sum_area": [total.sum_area for total in totals],
                "sum_score": [total.sum_score for total in totals],
                "gallery": tables.gallery_array([total.gallery.array() for total in totals]),
                "gallery_scores": [total.gallery.scores for total in totals],
            },
            schema=tables.CHUNK_TRACKS,
        )


class _Shard:
    """A Parquet file of a chunk, written row group by row group, with its checksum."""

    def __init__(self, run_folder: RunFolder, chunk: int, name: str, schema: pa.Schema) -> None:
        self.name = name
        self._folder = run_folder
        self._path = chunk_file(chunk, name)
        self._pending: PendingFile | None = run_folder.begin(self._path)
        self._file = _HashingFile(self._pending.file)
        try:
            with disk_errors(run_folder, self._path):
                self._writer = tables.parquet_writer(pa.PythonFile(self._file, mode="w"), schema)
        except BaseException:
            self._pending.abandon()
            raise

    def write(self, table: pa.Table) -> None:
        with disk_errors(self._folder, self._path):
            self._writer.write_table(table)

    def require_alive(self) -> None:
        """Raises VideosegError where another writer has taken this one's chunk over."""
        if self._pending is not None and not self._pending.is_there():
            raise VideosegError(f"{self._folder.shown(self._path)} could not be written: it is written elsewhere, too.")

    def commit(self) -> str:
        """Gives the file its name and returns its SHA-256 in hex."""
        if self._pending is None:
            raise ValueError(f"{self._path} was committed or abandoned before")
        with disk_errors(self._folder, self._path):
            self._writer.close()
        self._pending.commit()
        self._pending = None
        return self._file.sha256.hexdigest()

    def abandon(self) -> None:
        if self._pending is not None:
            # Closing writes a footer, into nothing: the file may be on a full disk.
            self._file.discard = True
            self._writer.close()
            self._pending.abandon()
            self._pending = None


class _HashingFile:
    """The part of a file that pyarrow writes to; counts and hashes what passes."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.discard = False
        self._position = 0

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        return self._position

    def write(self, data: Any) -> int:
        if not self.discard:
            self._file.write(data)
            self.sha256.update(data)
        self._position += len(data)
        return len(data)

    def flush(self) -> None:
        if not self.discard:
            self._file.flush()

    def close(self) -> None:
        """The file belongs to the PendingFile."""


def _is_run(run_folder: RunFolder) -> bool:
    import json

    try:
        return is_manifest(json.loads(run_folder.read_text(names.MANIFEST)))
    except (OSError, ValueError):
        return False
