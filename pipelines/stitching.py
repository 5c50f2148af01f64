"""From tracks of chunks to tracks of a run: `tracking.stitch` over every seam, in order, then `tracking.refine`."""

from tracking import fragments_of, refine, stitch
from videoseg.store.reader import Chunk, Run, relabel_tracks
from videoseg.tracks import TrackEvent


def stitch_run(run: Run) -> dict[int, dict[int, int]]:
    """Which global track every local track of every committed chunk is.

    Global tracks are numbered from 1 in the order of chunks and local tracks. Where a chunk is missing, tracks behind
    the gap are new; stuff goes on by its category.

    Returns:
        chunk -> local track -> global track; every local track is in it.
    """
    table: dict[int, dict[int, int]] = {}
    stuff: dict[int, int] = {}
    highest = 0
    previous: Chunk | None = None
    for chunk in run.chunks:
        chunk_stuff = _stuff_tracks(chunk)
        joined: dict[int, int] = {}
        if previous is not None:
            plan = chunk.plan
            seam = previous.numbered_frames(plan.start - plan.overlap, plan.start)
            adjacent = previous.plan.stop == plan.start
            joined = stitch(
                [relabel_tracks(frame, table[previous.number]) for _, frame in seam] if adjacent else [],
                [frame for _, frame in chunk.overlap_frames()] if adjacent else [],
                previous_stuff=stuff,
                next_stuff=chunk_stuff,
            )
        for local in chunk.local_tracks:
            if local not in joined:
                highest += 1
                joined[local] = highest
        table[chunk.number] = joined
        for category, local in chunk_stuff.items():
            stuff.setdefault(category, joined[local])
        previous = chunk
    return table


def refine_run(run: Run) -> tuple[dict[int, dict[int, int]], list[TrackEvent]]:
    """The table of a stitched run with fragments of one object joined, over the whole video.

    Joined tracks have the id of the earliest; the ids of the others are not used any more.

    Returns:
        The table as of `stitch_run`, and a `re-identified` event where each later fragment begins.
    """
    fragments = fragments_of(run.frames())
    names = refine(fragments)
    table = {
        chunk: {local: names.get(track, track) for local, track in tracks.items()}
        for chunk, tracks in run.stitching.items()
    }
    events = [
        TrackEvent("re-identified", names[f.track], f.first_index, "joined afterwards, with the whole video in view")
        for f in fragments
        if f.track in names
    ]
    return table, events


def _stuff_tracks(chunk: Chunk) -> dict[int, int]:
    """Category -> local track of the stuff of a chunk."""
    found: dict[int, int] = {}
    for total in chunk.track_totals():
        category = min(total.evidence, key=lambda c: (-total.evidence[c], c))
        if not total.are_things[category]:
            found.setdefault(category, total.track)
    return found
