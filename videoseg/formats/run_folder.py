"""A run folder of ours as recorded segments, so that whatever takes segments takes a run, too.

A run folder holds one video. It has no place for `Segment.crowd`, and embeddings in it are float16; all else comes back
as it was (see `videoseg.store`).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from videoseg.errors import InputError
from videoseg.formats.json_file import find_json
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import SourceInfo
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "run_folder"

_MANIFEST = "manifest.json"

_RECORDED = "ids"
"""`SourceInfo.pixel_format` of a source that is segments and no pictures: its stream is the name of the video."""


def sniff(path: Path) -> bool:
    """Whether `path` is a run folder or its manifest."""
    file = path / _MANIFEST if path.is_dir() else path
    # The word is the store's, see `videoseg.store.manifest.is_manifest`; the store itself would load pyarrow.
    return file.name == _MANIFEST and bool(find_json(file, lambda data: data.get("format") == "videoseg-run"))


def read(path: Path) -> RecordedSegments:
    """Reads a run, finished or not: the frames of its committed chunks.

    Raises:
        InputError: no run there, or a damaged one.
    """
    from videoseg.store.reader import open_run

    folder = path if path.is_dir() else path.parent
    run = open_run(folder)
    video = _video(run.manifest.source_info)
    file = folder / _MANIFEST
    listed = [RecordedFrame(file, partial(_frame, run, number)) for number in range(run.num_frames)]
    return RecordedSegments(
        path=file,
        format=NAME,
        vocabulary=run.vocabulary,
        tracked=True,
        recorded={video: listed},
        in_a_row=partial(_frames, run),
    )


def export(run: "Run", folder: Path) -> Path:
    """Writes a run as one finished chunk: tracks are the global ones, and nothing is left to stitch."""
    return write(folder, run.vocabulary, {_video(run.manifest.source_info): run.frames()})


def write(folder: Path, vocabulary: Vocabulary, videos: Mapping[str, Iterable[PanopticFrame]]) -> Path:
    """Writes the tracked frames of one video as a run folder.

    Args:
        folder: is made where it is not there; must be empty.
        videos: name -> frames in order, every segment with a track, none of them a crowd.

    Returns:
        The folder.

    Raises:
        InputError: not exactly one video, one without frames, or a crowd, which a run folder cannot hold.
        ValueError: a segment without a track, or with a track below 1.
    """
    from videoseg.store.manifest import ChunkPlan, Manifest
    from videoseg.store.writer import RunWriter

    if len(videos) != 1:
        raise InputError(f"A run folder holds one video, not {len(videos)}. Write each into a folder of its own.")
    ((video, frames),) = videos.items()
    coming = iter(frames)
    first = next(coming, None)
    if first is None:
        raise InputError(f"The video {video!r} has no frames, and a run folder says how large they are.")
    height, width = first.size
    source = SourceInfo(
        stream=video,
        kind="images",
        width=width,
        height=height,
        num_frames=None,
        rate=None,
        duration=None,
        container=NAME,
        codec="png",
        pixel_format=_RECORDED,
        first_time=first.time,
    )
    manifest = Manifest.of(
        model={"segmenter": "recorded"},
        tracker={"tracker": "recorded"},
        vocabulary=vocabulary,
        source=source,
        chunk_plan=[ChunkPlan(number=0, start=0, stop=None)],
    )
    writer = RunWriter.create(folder, manifest)
    tracks: set[int] = set()
    with writer.begin_chunk(0) as chunk:
        for number, frame in enumerate(chain([first], coming)):
            if any(segment.crowd for segment in frame.segments):
                raise InputError(f"A run folder cannot hold crowds, and {frame.where} has one. Leave them out.")
            tracks.update(segment.track for segment in frame.segments if segment.track is not None)
            chunk.append(replace(frame, stream=video), number=number, overlap=False)
    writer.write_stitching({0: {track: track for track in sorted(tracks)}})
    writer.finish({})
    return folder


def _video(source: SourceInfo) -> str:
    """The name of the video: of a file without its ending, of a folder whole, of recorded segments as it was."""
    if source.pixel_format == _RECORDED:
        return source.stream
    path = Path(source.stream)
    return (path.stem if source.kind == "file" else path.name) or "video"


def _frame(run: "Run", number: int) -> PanopticFrame:
    return next(_frames(run, "", number, number + 1))


def _frames(run: "Run", video: str, start: int, stop: int | None) -> Iterator[PanopticFrame]:
    """The frames at those places among the frames that there are: lost ones have a number and no place.

    Args:
        video: is not read; a run has one.
    """
    from videoseg.store.reader import relabel_tracks

    before = 0
    for chunk in run.chunks:
        first = max(start - before, 0)
        last = chunk.num_frames if stop is None else min(stop - before, chunk.num_frames)
        before += chunk.num_frames
        if first >= last:
            continue
        plan = chunk.plan
        if plan.stop is not None and chunk.num_frames == plan.stop - plan.start:
            numbered = chunk.numbered_frames(plan.start + first, plan.start + last)
        else:
            numbered = islice(chunk.numbered_frames(plan.start, None), first, last)
        table = run.stitching[chunk.number]
        for _, frame in numbered:
            yield relabel_tracks(frame, table)
