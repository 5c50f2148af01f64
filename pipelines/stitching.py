"""From tracks of chunks to tracks of a run: `tracking.stitch_chunk` over every seam, then `tracking.refine`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tracking import ChunkTracks, StitchedTracks, fragments_of, refine, stitch_chunk
from videoseg.store.reader import Chunk, Run, relabel_tracks
from videoseg.tracks import TrackEvent


@dataclass(frozen=True, slots=True, eq=False)
class Joined:
    """The tracks of all chunks as tracks of the run."""

    table: Mapping[int, Mapping[int, int]]
    """Chunk -> local track -> global track, with every local track of every chunk in it."""
    events: Sequence[TrackEvent]
    """What became known by it: a `re-identified` event where something goes on that had another local track."""


def stitch_run(run: Run) -> Joined:
    """Which global track every local track of every committed chunk is.

    Global tracks are numbered from 1 in the order of chunks and local tracks. Where a chunk is missing, things behind
    the gap are joined by their looks alone, and stuff by its category.
    """
    table: dict[int, dict[int, int]] = {}
    events: list[TrackEvent] = []
    so_far = StitchedTracks()
    previous: Chunk | None = None
    for chunk in run.chunks:
        plan = chunk.plan
        seam = []
        if previous is not None and previous.plan.stop == plan.start:
            numbered = previous.numbered_frames(plan.start - plan.overlap, plan.start)
            seam = [relabel_tracks(frame, table[previous.number]) for _, frame in numbered]
        own = ChunkTracks(
            tracks=chunk.local_tracks,
            stuff=_stuff_tracks(chunk),
            overlap=[frame for _, frame in chunk.overlap_frames()] if seam else [],
            fragments=fragments_of(chunk.frames_without_maps()),
        )
        table[chunk.number], recognised = stitch_chunk(so_far, seam, own)
        events += [
            TrackEvent("re-identified", recognised[f.track], f.first_index, "out of sight at the seam of two chunks")
            for f in own.fragments
            if f.track in recognised
        ]
        previous = chunk
    return Joined(table, events)


def refine_run(run: Run, stitched: Joined) -> Joined:
    """Joins fragments of one object over the whole video.

    Joined tracks have the id of the earliest; the ids of the others are not used any more.

    Args:
        run: with `stitched` written to it.
    """
    fragments = fragments_of(run.frames_without_maps())
    names = refine(fragments)
    table = {
        chunk: {local: names.get(track, track) for local, track in tracks.items()}
        for chunk, tracks in stitched.table.items()
    }
    further = [
        TrackEvent("re-identified", names[f.track], f.first_index, "joined afterwards, with the whole video in view")
        for f in fragments
        if f.track in names
    ]
    before = [replace(event, track=names.get(event.track, event.track)) for event in stitched.events]
    return Joined(table, before + further)


def _stuff_tracks(chunk: Chunk) -> dict[int, int]:
    """Category -> local track of the stuff of a chunk."""
    found: dict[int, int] = {}
    for total in chunk.track_totals():
        category = min(total.evidence, key=lambda c: (-total.evidence[c], c))
        if not total.are_things[category]:
            found.setdefault(category, total.track)
    return found
