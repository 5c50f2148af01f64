"""Joining the tracks of consecutive chunks of a stream: through the frames that two of them have, and by their looks.

`stitch_chunk` takes chunk after chunk; `stitch` is what it does at a seam.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from tracking import overlap
from tracking.assignment import Solver, assign
from tracking.fragments import Fragment
from tracking.refinement import AT_A_SEAM, recognise
from tracking.settings import TrackerSettings
from videoseg.panoptic import PanopticFrame

ACCEPT = 0.3
"""Least overlap (IoU of the two tracks' masks over all shared frames together) that joins two things. Both chunks saw
the same segments there, so a true pair is near 1, less only by the frames in which one chunk's tracker still went by
another id (a cold start, a switch): 0.3 lets it miss most of the overlap."""

CATEGORY_BONUS = 0.2
"""What agreeing categories add to the overlap when it is weighed who goes with whom. It decides between pairs of alike
overlap; below `ACCEPT`, so that a label never outweighs pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTracks:
    """A chunk as its tracker left it, under its own track ids."""

    tracks: Sequence[int]
    """All of them."""
    stuff: Mapping[int, int]
    """Category -> track of stuff."""
    overlap: Sequence[PanopticFrame]
    """Its warm-up frames, which the chunk before has too; empty where it has no neighbour."""
    fragments: Sequence[Fragment]
    """Its things, over the frames that count."""


@dataclass(slots=True, eq=False)
class StitchedTracks:
    """What is remembered of the chunks so far, under global track ids. Bounded, but for one number per category."""

    highest: int = 0
    """Global tracks given out: they are 1 to this."""
    stuff: dict[int, int] = field(default_factory=dict)
    """Category -> track."""
    things: dict[int, Fragment] = field(default_factory=dict)
    """Track -> all of it so far, for things that may come back: at most `TrackerSettings.max_lost`."""


def stitch_chunk(
    so_far: StitchedTracks, previous_overlap: Sequence[PanopticFrame], chunk: ChunkTracks
) -> tuple[dict[int, int], dict[int, int]]:
    """Gives the tracks of the next chunk their global ids.

    What is in the overlap is joined there (`stitch`); what comes later and was seen before the overlap is recognised by
    its looks (`recognise`), as the tracker would have done that saw both; everything else is new, numbered on in the
    order of `chunk.tracks`.

    Args:
        so_far: of the chunks before; changed in place.
        previous_overlap: the frames of `chunk.overlap` as the chunk before has them, under global track ids.
        chunk: the next one.

    Returns:
        Track of the chunk -> global track, for all of them; and the part of it that was recognised.
    """
    joined = stitch(previous_overlap, chunk.overlap, previous_stuff=so_far.stuff, next_stuff=chunk.stuff)
    known = [so_far.things[track] for track in sorted(so_far.things)]
    recognised = recognise(known, chunk.fragments, joined)
    table = {**joined, **recognised}
    for track in chunk.tracks:
        if track not in table:
            so_far.highest += 1
            table[track] = so_far.highest
    for category, track in chunk.stuff.items():
        so_far.stuff.setdefault(category, table[track])
    for fragment in chunk.fragments:
        track = table[fragment.track]
        before = so_far.things.pop(track, None)
        whole = replace(fragment, track=track) if before is None else before.continued_by(fragment)
        # Who was in which frame is asked within a chunk only, and would grow with the film.
        so_far.things[track] = replace(whole, times=set())
    newest = max((fragment.last_time for fragment in chunk.fragments), default=0.0)
    alive = [f for f in so_far.things.values() if newest - f.last_time <= AT_A_SEAM.max_gap]
    alive.sort(key=lambda f: (f.last_time, f.track))
    so_far.things = {f.track: f for f in alive[-TrackerSettings().max_lost :]}
    return dict(sorted(table.items())), recognised


def stitch(
    previous_overlap: Sequence[PanopticFrame],
    next_overlap: Sequence[PanopticFrame],
    *,
    previous_stuff: Mapping[int, int] | None = None,
    next_stuff: Mapping[int, int] | None = None,
    solver: Solver = "lap",
) -> dict[int, int]:
    """Which track of the next chunk is which track of the previous one.

    Things are paired one to one (Hungarian) by the overlap of their masks over all frames that both chunks have, and by
    category; stuff is paired by category alone, so that it stays one track per category over the whole stream.

    Args:
        previous_overlap: frames at the end of the previous chunk, tracked. If their track ids are already global, the
            values of the result are.
        next_overlap: frames at the start of the next chunk, tracked. Frames are paired by (epoch, pts, index); those
            that only one side has are ignored.
        previous_stuff: category -> track of all stuff of the chunks so far, for stuff that is not in the overlap.
        next_stuff: category -> track of all stuff of the next chunk, likewise.

    Returns:
        Track of the next chunk -> track of the previous one, in ascending order; tracks that are not in it are new.

    Raises:
        ValueError: a segment without a track, or a pair of frames of different sizes.
    """
    before, after = _Totals(), _Totals()
    shared: dict[tuple[int, int], int] = defaultdict(int)
    later = {_moment(frame): frame for frame in next_overlap}
    for first in previous_overlap:
        second = later.get(_moment(first))
        if second is None:
            continue
        if first.size != second.size:
            raise ValueError(f"the frame has {first.size} pixels in one chunk and {second.size} in the other")
        first_map, first_tracks = before.add(first)
        second_map, second_tracks = after.add(second)
        joint = overlap.joint_histogram(
            first_map, overlap.SampledMap.of(second_map), len(first_tracks) + 1, len(second_tracks) + 1
        )
        for i, j in zip(*np.nonzero(joint[1:, 1:]), strict=True):
            shared[first_tracks[i], second_tracks[j]] += int(joint[i + 1, j + 1])
    result = _pair_things(before, after, shared, solver)
    known = before.stuff() | dict(previous_stuff or {})
    new = after.stuff() | dict(next_stuff or {})
    result |= {track: known[category] for category, track in new.items() if category in known}
    return dict(sorted(result.items()))


class _Totals:
    """Area and category of every track of one side, over the shared frames."""

    def __init__(self) -> None:
        self.area: dict[int, int] = defaultdict(int)
        self.is_thing: dict[int, bool] = {}
        self._votes: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))

    def add(self, frame: PanopticFrame) -> tuple[NDArray[np.uint16], list[int]]:
        """Counts a frame; returns its map in numbers 1.. and the track of each."""
        table = np.zeros(max((s.id for s in frame.segments), default=0) + 1, dtype=np.uint16)
        tracks = []
        for number, segment in enumerate(frame.segments, start=1):
            if segment.track is None:
                raise ValueError(f"segment {segment.id} has no track yet ({frame.where})")
            table[segment.id] = number
            tracks.append(segment.track)
            self.area[segment.track] += segment.area
            self.is_thing[segment.track] = segment.is_thing
            self._votes[segment.track][segment.category] += 1
        return table.take(frame.id_map), tracks

    def category(self, track: int) -> int:
        """The category in most frames (the smaller where equal)."""
        return min(self._votes[track].items(), key=lambda item: (-item[1], item[0]))[0]

    def things(self) -> list[int]:
        return sorted(track for track, is_thing in self.is_thing.items() if is_thing)

    def stuff(self) -> dict[int, int]:
        """Category -> track."""
        return {self.category(track): track for track, is_thing in sorted(self.is_thing.items()) if not is_thing}


def _moment(frame: PanopticFrame) -> tuple[int, int, int]:
    return frame.epoch, frame.pts, frame.index


def _pair_things(
    before: _Totals, after: _Totals, shared: Mapping[tuple[int, int], int], solver: Solver
) -> dict[int, int]:
    old, new = before.things(), after.things()
    if not old or not new:
        return {}
    old_row, new_column = {t: i for i, t in enumerate(old)}, {t: j for j, t in enumerate(new)}
    iou = np.zeros((len(old), len(new)))
    agree = np.zeros((len(old), len(new)))
    for (first, second), pixels in shared.items():
        if first in old_row and second in new_column:
            i, j = old_row[first], new_column[second]
            iou[i, j] = pixels / (before.area[first] + after.area[second] - pixels)
            agree[i, j] = before.category(first) == after.category(second)
    weight = (iou + CATEGORY_BONUS * agree) / (1.0 + CATEGORY_BONUS)
    pairs = assign(1.0 - weight, limit=1.0, allowed=iou >= ACCEPT, solver=solver)
    return {new[j]: old[i] for i, j in pairs}
