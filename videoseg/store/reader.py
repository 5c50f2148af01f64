"""`open_run` and `Run`: a run folder is read, finished or not.

Frames come out under global track ids and are decoded as they are asked for: memory doesn't grow with the length.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.store import folder as names
from videoseg.store import tables
from videoseg.store.aggregation import Gallery, Stitching, TrackTotal, merge_events, merge_tracks, unstitched
from videoseg.store.folder import RunFolder, chunk_file
from videoseg.store.id_maps import decode_id_map
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.tracks import Track, TrackEvent
from videoseg.vocabulary import Vocabulary


def open_run(location: str | Path) -> "Run":
    """Opens a run folder.

    Raises:
        InputError: there is no such folder, or it is not a run of ours.
    """
    return Run(RunFolder(location))


def read_manifest(run_folder: RunFolder) -> Manifest:
    """Reads `manifest.json`; raises InputError where there is none or it is damaged."""
    try:
        text = run_folder.read_text(names.MANIFEST)
    except FileNotFoundError:
        what = "holds no run of videoseg (no manifest.json)" if run_folder.exists() else "does not exist"
        raise InputError(f"The run folder {run_folder.location} {what}. Name the folder that -o named.") from None
    except OSError as error:
        raise InputError(f"{run_folder.shown(names.MANIFEST)} cannot be read: {error.strerror or error}.") from None
    return Manifest.from_json_text(text, run_folder.shown(names.MANIFEST))


@dataclass(frozen=True, slots=True)
class FrameWithoutMap:
    """A frame of a run without its id map."""

    index: int
    """Among the shown frames of the source."""
    time: float
    """Seconds."""
    segments: tuple[Segment, ...]


class Run:
    """A run on disk."""

    def __init__(self, run_folder: RunFolder) -> None:
        self._folder = run_folder
        self.manifest = read_manifest(run_folder)
        self.vocabulary = Vocabulary.from_json(self.manifest.vocabulary)

    def __repr__(self) -> str:
        return f"Run({self._folder.location!r}, {self.num_frames} frames, complete={self.complete})"

    @property
    def location(self) -> str:
        """The folder as the user named it."""
        return self._folder.location

    def path(self, name: str) -> str:
        """Full path of a file of the run, for instance of `overlay.mp4`."""
        return self._folder.path(name)

    @cached_property
    def report(self) -> dict[str, Any]:
        """`run.json`; `{"complete": False}` where the run was ended before it was written."""
        try:
            data = json.loads(self._folder.read_text(names.REPORT))
        except FileNotFoundError:
            return {"complete": False}
        except ValueError:
            raise InputError(f"{self._folder.shown(names.REPORT)} is not JSON: it is damaged.") from None
        return dict(data)

    @property
    def complete(self) -> bool:
        """Whether the run reached its end."""
        return bool(self.report.get("complete", False))

    @cached_property
    def chunks(self) -> tuple["Chunk", ...]:
        """The committed chunks, in order."""
        return tuple(
            Chunk(self._folder, self.manifest, plan)
            for plan in self.manifest.chunk_plan
            if self._folder.exists(chunk_file(plan.number, "chunk.json"))
        )

    def chunk(self, number: int) -> "Chunk":
        """A committed chunk; raises InputError where it is not there."""
        for chunk in self.chunks:
            if chunk.number == number:
                return chunk
        raise InputError(f"The run folder {self.location} has no finished chunk {number}.")

    @cached_property
    def stitched(self) -> bool:
        """Whether chunks were joined; if not, every chunk has tracks of its own."""
        return self._folder.exists(names.STITCHING)

    @cached_property
    def stitching(self) -> Stitching:
        """Chunk -> local track -> global track."""
        if not self.stitched:
            return unstitched({chunk.number: chunk.local_tracks for chunk in self.chunks})
        table: dict[int, dict[int, int]] = {}
        for row in _read_table(self._folder, names.STITCHING).to_pylist():
            table.setdefault(row["chunk"], {})[row["local"]] = row["global"]
        for chunk in self.chunks:
            missing = set(chunk.local_tracks) - set(table.setdefault(chunk.number, {}))
            if missing:
                raise InputError(
                    f"{self._folder.shown(names.STITCHING)} says nothing about the tracks {sorted(missing)} of chunk "
                    f"{chunk.number}: it is damaged, or was written before that chunk."
                )
        return table

    @property
    def num_frames(self) -> int:
        """Frames that can be read."""
        return sum(chunk.num_frames for chunk in self.chunks)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[PanopticFrame]:
        """Frames number `start` to `stop` (exclusive; of the selected ones) under global track ids.

        Raises:
            InputError: a shard is damaged.
        """
        for _, frame in self.numbered_frames(start, stop):
            yield frame

    def numbered_frames(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, PanopticFrame]]:
        """The same with the number of each frame; numbers of lost frames are left out."""
        for chunk in self.chunks:
            first = max(start, chunk.plan.start)
            last = chunk.plan.stop if stop is None else stop if chunk.plan.stop is None else min(stop, chunk.plan.stop)
            if last is not None and first >= last:
                continue
            table = self.stitching[chunk.number]
            for number, frame in chunk.numbered_frames(first, last):
                yield number, relabel_tracks(frame, table)

    def frames_without_maps(self) -> Iterator[FrameWithoutMap]:
        """All frames without their pixels, under global track ids."""
        for chunk in self.chunks:
            table = self.stitching[chunk.number]
            for frame in chunk.frames_without_maps():
                yield replace(frame, segments=_relabelled(frame.segments, table))

    def tracks(self) -> list[Track]:
        """All tracks, in the order of their ids."""
        if not self._folder.exists(names.TRACKS):
            return merge_tracks(((chunk.number, chunk.track_totals()) for chunk in self.chunks), self.stitching)
        rows = _read_table(self._folder, names.TRACKS).to_pylist()
        return [
            Track(
                id=row["track"],
                gallery=tables.gallery_of(row["gallery"]),
                **{
                    key: row[key]
                    for key in (
                        "category",
                        "is_thing",
                        "first_index",
                        "last_index",
                        "first_time",
                        "last_time",
                        "num_frames",
                        "mean_area",
                        "mean_score",
                    )
                },
            )
            for row in rows
        ]

    def events(self) -> list[TrackEvent]:
        """All events under global track ids, in the order of frames."""
        if not self._folder.exists(names.EVENTS):
            return merge_events(
                [(chunk.number, chunk.first_index, chunk.events()) for chunk in self.chunks], self.stitching
            )
        return tables.events_of(_read_table(self._folder, names.EVENTS))


class Chunk:
    """A committed chunk, under its own local track ids."""

    def __init__(self, run_folder: RunFolder, manifest: Manifest, plan: ChunkPlan) -> None:
        self._folder = run_folder
        self._stream = manifest.stream
        self.plan = plan
        try:
            self._marker: Mapping[str, Any] = json.loads(run_folder.read_text(chunk_file(plan.number, "chunk.json")))
            self.local_tracks: tuple[int, ...] = tuple(self._marker["local_tracks"])
            self.first_index: int | None = self._marker["first_index"]
            self.num_frames = int(self._marker["frames"]) - int(self._marker["overlap"])
            self.num_overlap = int(self._marker["overlap"])
            self.num_segments = int(self._marker["segments"])
            self.partial = bool(self._marker.get("partial", False))
            """Ended in its middle, by a stop or because the source failed: to be computed again."""
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{run_folder.shown(chunk_file(plan.number, 'chunk.json'))} is damaged.") from None

    @property
    def number(self) -> int:
        return self.plan.number

    def frames(self, *, overlap: bool = False) -> Iterator[PanopticFrame]:
        """Frames under local track ids; with `overlap`, the warm-up frames before the others."""
        first = self.plan.start - self.plan.overlap if overlap else self.plan.start
        for _, frame in self.numbered_frames(first, None):
            yield frame

    def overlap_frames(self) -> Iterator[tuple[int, PanopticFrame]]:
        """(number, frame) of the warm-up frames alone."""
        return self.numbered_frames(self.plan.start - self.plan.overlap, self.plan.start)

    def numbered_frames(self, start: int, stop: int | None) -> Iterator[tuple[int, PanopticFrame]]:
        """(number, frame) of the frames number `start` to `stop` (exclusive), under local track ids."""
        try:
            for row, segments in self._rows(start, stop):
                frame = PanopticFrame(
                    stream=self._stream,
                    epoch=row["epoch"],
                    index=row["index"],
                    pts=row["pts"],
                    time_base=Fraction(row["time_base_numerator"], row["time_base_denominator"]),
                    time=row["time"],
                    id_map=decode_id_map(row["id_map"], row["height"], row["width"]),
                    segments=segments,
                )
                yield row["number"], frame
        except ValueError as error:
            raise InputError(
                f"Chunk {self.number} of the run {self._folder.location} is damaged: {error}. Run it again."
            ) from None

    def frames_without_maps(self) -> Iterator[FrameWithoutMap]:
        """The frames that count without their pixels, under local track ids: a tenth of the time and less."""
        for row, segments in self._rows(self.plan.start, None, columns=["number", "index", "time"]):
            yield FrameWithoutMap(row["index"], row["time"], segments)

    def _rows(
        self, start: int, stop: int | None, *, columns: list[str] | None = None
    ) -> Iterator[tuple[dict[str, Any], tuple[Segment, ...]]]:
        """Row (these columns of it) and segments of the frames number `start` to `stop`."""
        id_maps = _Rows(self._folder, chunk_file(self.number, "id_maps.parquet"), start, stop, columns)
        segments = _Rows(self._folder, chunk_file(self.number, "segments.parquet"), start, stop)
        pending: dict[int, list[Segment]] = {}
        groups = segments.groups()
        try:
            for group in id_maps.groups():
                numbers = group["number"].to_pylist()
                # Both shards are cut at the same frames, and one with nothing to say has no group.
                while not pending or max(pending) < numbers[-1]:
                    further = next(groups, None)
                    if further is None:
                        break
                    _add_segments(pending, further)
                values = {name: group[name].to_pylist() for name in group.column_names}
                for i, number in enumerate(numbers):
                    found = pending.pop(number, [])
                    if number >= start and (stop is None or number < stop):
                        yield {name: column[i] for name, column in values.items()}, tuple(found)
        finally:
            id_maps.close()
            segments.close()

    def track_totals(self) -> list[TrackTotal]:
        """What the chunk knows of its local tracks, over the frames that count."""
        rows = _read_table(self._folder, chunk_file(self.number, "tracks.parquet")).to_pylist()
        return [
            TrackTotal(
                track=row["track"],
                first_index=row["first_index"],
                last_index=row["last_index"],
                first_time=row["first_time"],
                last_time=row["last_time"],
                num_frames=row["num_frames"],
                sum_area=row["sum_area"],
                sum_score=row["sum_score"],
                evidence=dict(zip(row["categories"], row["evidence"], strict=True)),
                are_things=dict(zip(row["categories"], row["are_things"], strict=True)),
                gallery=Gallery(list(tables.gallery_of(row["gallery"])), list(row["gallery_scores"])),
            )
            for row in rows
        ]

    def events(self) -> list[TrackEvent]:
        """Under local track ids, in the order in which the tracker said them."""
        return tables.events_of(_read_table(self._folder, chunk_file(self.number, "events.parquet")))


def relabel_tracks(frame: PanopticFrame, table: Mapping[int, int]) -> PanopticFrame:
    """The frame with every track replaced by `table[track]`."""
    return frame.with_segments(_relabelled(frame.segments, table))


def _relabelled(segments: Iterable[Segment], table: Mapping[int, int]) -> tuple[Segment, ...]:
    return tuple(s if s.track is None else replace(s, track=table[s.track]) for s in segments)


class _Rows:
    """The row groups of a shard that can hold frames `start` to `stop`, one at a time."""

    def __init__(
        self, run_folder: RunFolder, name: str, start: int, stop: int | None, columns: list[str] | None = None
    ) -> None:
        self._where = run_folder.shown(name)
        self._columns = columns
        self._range = (start, stop)
        try:
            self._raw = run_folder.open(name)
        except OSError as error:
            raise InputError(f"{self._where} cannot be read: {error.strerror or error}.") from None
        try:
            self._file = pq.ParquetFile(self._raw)
        except pa.ArrowException:
            self._raw.close()
            raise InputError(f"{self._where} is damaged. Run it again.") from None

    def groups(self) -> Iterator[pa.Table]:
        start, stop = self._range
        for i in range(self._file.num_row_groups):
            numbers = self._file.metadata.row_group(i).column(0).statistics
            if numbers.max < start or (stop is not None and numbers.min >= stop):
                continue
            try:
                yield self._file.read_row_group(i, columns=self._columns, use_threads=False)
            except (pa.ArrowException, OSError):
                raise InputError(f"{self._where} is damaged. Run it again.") from None

    def close(self) -> None:
        self._file.close()
        self._raw.close()


def _read_table(run_folder: RunFolder, name: str) -> pa.Table:
    try:
        with run_folder.open(name) as file:
            return pq.read_table(file, use_threads=False)
    except FileNotFoundError:
        raise InputError(f"{run_folder.shown(name)} is missing: the run folder is damaged.") from None
    except pa.ArrowException:
        raise InputError(f"{run_folder.shown(name)} is damaged.") from None


def _add_segments(found: dict[int, list[Segment]], group: pa.Table) -> None:
    """Makes the segments of a row group and sorts them under their frame numbers."""
    columns = {
        name: group[name].to_pylist() for name in group.column_names if name not in ("embedding", "open_vocabulary")
    }
    # Runs that were written before tracks could be drawn have no such column.
    propagated = columns.get("propagated") or [False] * len(columns["number"])
    embeddings = _vectors(group["embedding"])
    open_vocabularies = _vectors(group["open_vocabulary"])
    for i, number in enumerate(columns["number"]):
        segment = Segment(
            id=columns["id"][i],
            category=columns["category"][i],
            is_thing=columns["is_thing"][i],
            score=columns["score"][i],
            area=columns["area"][i],
            box=(columns["left"][i], columns["top"][i], columns["right"][i], columns["bottom"][i]),
            embedding=embeddings[i],
            open_vocabulary=open_vocabularies[i],
            probabilities=tuple(zip(columns["top_categories"][i], columns["top_probabilities"][i], strict=True)),
            track=columns["track"][i],
            propagated=propagated[i],
        )
        found.setdefault(number, []).append(segment)


def _vectors(column: pa.ChunkedArray) -> list[Any]:
    """A list column as float32 arrays, None where missing."""
    if column.null_count == len(column):
        return [None] * len(column)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    offsets = np.asarray(array.offsets)
    values = np.asarray(array.values).astype(np.float32)
    present = np.asarray(array.is_valid())
    return [values[offsets[i] : offsets[i + 1]] if present[i] else None for i in range(len(array))]
