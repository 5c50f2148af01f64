"""What happens to a track: born, confirmed, missing, lost, re-identified, ended.

    born ──▶ tentative ──confirm_hits──▶ confirmed ──patience──▶ lost ──memory_seconds──▶ ended
                 │ tentative_misses          ▲                    │
                 ▼                           └────re-identified───┘
               ended

A cut makes every confirmed thing lost at once (and found again only by its embedding) and ends the tentative ones.
Regions of stuff have no such life: the track of a stuff category lasts as long as the stream; a region that is missing
longer than `patience` is forgotten together with its evidence.

All functions work on many tracks at once; events come in the order in which tracks were born.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tracking import camera, category_evidence, gallery
from tracking.observation import Observation
from tracking.settings import TrackerSettings
from tracking.state import TrackerState
from tracking.table import CONFIRMED, LOST, TENTATIVE, Slots
from videoseg.tracks import TrackEvent


def births(state: TrackerState, observation: Observation, segments: NDArray[np.intp]) -> Slots:
    """New rows for segments, in their order; things get a public id. `sightings` has to follow."""
    table = state.tracks
    slots = table.add(len(segments))
    table.key[slots] = np.arange(state.next_key, state.next_key + len(segments))
    state.next_key += len(segments)
    things = observation.is_thing[segments]
    table.is_thing[slots] = things
    table.status[slots] = TENTATIVE
    table.born_clock[slots] = table.last_clock[slots] = state.clock
    table.area[slots] = observation.area[segments]
    table.score[slots] = observation.score[segments]
    count = int(np.count_nonzero(things))
    table.track[slots[things]] = np.arange(state.next_track, state.next_track + count)
    state.next_track += count
    return slots


def new_track(state: TrackerState) -> int:
    """The next public id."""
    state.next_track += 1
    return state.next_track - 1


def sightings(
    state: TrackerState, observation: Observation, slots: Slots, segments: NDArray[np.intp], settings: TrackerSettings
) -> list[TrackEvent]:
    """Track `slots[i]` is segment `segments[i]` of this frame: its place, velocity, looks, class and status."""
    table, index = state.tracks, state.last_index
    before = table.category[slots]
    changed = _learn(state, observation, slots, segments, settings)
    ripe = (table.status[slots] == TENTATIVE) & (table.hits[slots] >= settings.confirm_hits)
    table.status[slots[ripe]] = CONFIRMED
    things = table.is_thing[slots]
    events = [
        TrackEvent("confirmed", int(table.track[slot]), index, f"seen {int(table.hits[slot])} times")
        for slot in slots[ripe & things].tolist()
    ]
    for i in np.flatnonzero(changed & things).tolist():
        slot = int(slots[i])
        after = int(table.category[slot])
        share = float(table.evidence[slot, 0] / max(float(table.evidence[slot].sum()), 1e-12))
        reason = f"category {after} instead of {int(before[i])}: it has {share:.0%} of the evidence"
        events.append(TrackEvent("class changed", int(table.track[slot]), index, reason))
    return events


def _learn(
    state: TrackerState, observation: Observation, slots: Slots, segments: NDArray[np.intp], settings: TrackerSettings
) -> NDArray[np.bool_]:
    """Returns for each track whether its category changed."""
    table = state.tracks
    box, area, score = observation.box[segments], observation.area[segments], observation.score[segments]
    centre = camera.apply(state.world, (box[:, :2] + box[:, 2:]) / 2)
    elapsed = state.clock - table.last_clock[slots]
    placed = table.placed[slots]
    size, old = box[:, 2:] - box[:, :2], np.maximum(table.box[slots, 2:] - table.box[slots, :2], 1.0)
    # A pixel more or less is no change of size, however small the box.
    steady = (np.abs(size - old) <= np.maximum(settings.stable_size * old, 1.0)).all(axis=1)
    moved = placed & (elapsed > 0.0) & steady
    memory = np.where(table.hits[slots] > 1.0, settings.velocity_memory, 0.0)[:, None]
    speed = (centre - table.centre[slots]) / np.maximum(elapsed, 1e-9)[:, None]
    velocity = np.where(placed[:, None], table.velocity[slots], 0.0)
    table.velocity[slots] = np.where(moved[:, None], memory * velocity + (1.0 - memory) * speed, velocity)
    usual = table.area[slots]
    clear = (area >= settings.clear_view * usual) & (area * settings.clear_view <= usual)
    if observation.embedding is not None:
        known = table.has_embedding[slots] if table.dimension else np.zeros(len(slots), dtype=bool)
        learnt = observation.has_embedding[segments] & (clear | ~known)
        if learnt.any():
            table.require_dimension(observation.embedding.shape[1])
            gallery.learn(table, slots[learnt], observation.embedding[segments[learnt]], settings)
    _keep_words(state, observation, slots, segments, clear)
    memory = np.where(area < usual, settings.area_memory, settings.embedding_memory)
    table.area[slots] = memory * usual + (1.0 - memory) * area
    table.score[slots] = settings.embedding_memory * table.score[slots] + (1.0 - settings.embedding_memory) * score
    table.box[slots], table.centre[slots], table.placed[slots] = box, centre, True
    table.hits[slots] += np.where(score >= settings.high_score, 1.0, 0.5)
    table.misses[slots], table.last_clock[slots] = 0, state.clock
    table.merged_into[slots] = 0
    for key in table.key[slots].tolist() if table.silhouettes else ():
        table.silhouettes.pop(key, None)
    # A sliver says less about what a thing is than a view of all of it.
    weight = np.maximum(score, 0.05) * np.clip(area / np.maximum(usual, 1.0), 0.1, 1.0)
    probabilities = observation.probabilities[segments] * weight[:, None]
    return category_evidence.add(table, slots, observation.categories[segments], probabilities, settings)


def _keep_words(
    state: TrackerState,
    observation: Observation,
    slots: Slots,
    segments: NDArray[np.intp],
    clear: NDArray[np.bool_],
) -> None:
    """Keeps what a segmenter needs to classify tracks again."""
    words = [observation.segments[j].open_vocabulary for j in segments.tolist()]
    table = state.tracks
    sizes = {len(w) for w in words if w is not None}
    if not sizes:
        return
    size = max(sizes)
    table.require_words(size)
    kept = np.array([w is not None and len(w) == size for w in words]) & (clear | ~table.has_words[slots])
    if kept.any():
        table.words[slots[kept]] = np.array([words[i] for i in np.flatnonzero(kept).tolist()], dtype=np.float32)
        table.has_words[slots[kept]] = True


def found_again(state: TrackerState, slots: Slots, how: Sequence[str]) -> list[TrackEvent]:
    """Marks lost tracks as seen again; others are passed over."""
    table = state.tracks
    events = []
    for slot, reason in zip(slots.tolist(), how, strict=True):
        if table.status[slot] != LOST:
            continue
        gone = state.clock - float(table.last_clock[slot])
        table.status[slot] = CONFIRMED
        reason = f"{reason} after {gone:.2f} s"
        events.append(TrackEvent("re-identified", int(table.track[slot]), state.last_index, reason))
    return events


def adoption(state: TrackerState, old: int, young: int, settings: TrackerSettings) -> list[TrackEvent]:
    """The young track is the old one, which was missing: it goes on under the old id, with what is known of both."""
    table, index = state.tracks, state.last_index
    kept, given_up = int(table.track[old]), int(table.track[young])
    gone = float(table.born_clock[young] - table.last_clock[old])
    events = [
        TrackEvent("re-identified", kept, index, f"track {given_up} turned out to be it, after {gone:.2f} s", given_up),
        TrackEvent("ended", given_up, index, f"it turned out to be track {kept}", kept),
    ]
    table.track[young], table.status[young] = kept, CONFIRMED
    looks = table.embedding[young].copy()
    table.gallery[young], table.gallery_count[young] = table.gallery[old], table.gallery_count[old]
    table.embedding[young] = table.embedding[old]
    slots = np.array([young], dtype=np.intp)
    table.hits[young] += table.hits[old]
    gallery.learn(table, slots, looks[None], settings)
    categories, evidence = table.evidence_category[old][None], table.evidence[old][None]
    table.born_clock[young] = table.born_clock[old]
    category_evidence.add(table, slots, categories, evidence, settings)
    table.drop(np.array([old], dtype=np.intp))
    return events


def misses(state: TrackerState, slots: Slots, settings: TrackerSettings) -> list[TrackEvent]:
    """The tracks are not in this frame: they get older, lose patience, end."""
    table, index = state.tracks, state.last_index
    table.misses[slots] += 1
    missed, status, things = table.misses[slots], table.status[slots], table.is_thing[slots]
    gone = state.clock - table.last_clock[slots]
    if table.silhouettes:
        for slot in slots[(gone > settings.silhouette_seconds) & (missed > settings.patience_misses)].tolist():
            table.silhouettes.pop(int(table.key[slot]), None)
    impatient = (gone > settings.patience) & (missed > settings.patience_misses)
    never = things & (status == TENTATIVE) & (missed > settings.tentative_misses)
    lost = things & (status == CONFIRMED) & impatient
    forgotten = things & (status == LOST) & (gone > settings.memory_seconds)
    events = []
    for i in np.flatnonzero(never | lost | forgotten).tolist():
        slot = int(slots[i])
        track = int(table.track[slot])
        if never[i]:
            reason = f"never confirmed, seen {int(np.ceil(table.hits[slot]))} times"
            events.append(TrackEvent("ended", track, index, reason))
        elif lost[i]:
            events.append(TrackEvent("lost", track, index, f"not seen for {gone[i]:.2f} s"))
        else:
            events.append(TrackEvent("ended", track, index, f"not seen for {gone[i]:.0f} s"))
    table.status[slots[lost]] = LOST
    table.drop(slots[never | forgotten | (~things & impatient)])
    return events


def cut(state: TrackerState, reason: str) -> list[TrackEvent]:
    """Forgets every place: confirmed things are lost, tentative things end, regions of stuff are dropped."""
    table, index = state.tracks, state.last_index
    rows = table.rows()
    table.placed[rows] = False
    table.velocity[rows] = 0.0
    table.split_since[rows] = np.nan
    table.silhouettes.clear()
    things, status = table.is_thing[rows], table.status[rows]
    events = []
    for slot in rows[things & (status != LOST)].tolist():
        track = int(table.track[slot])
        if table.status[slot] == TENTATIVE:
            events.append(TrackEvent("ended", track, index, f"{reason} before it was confirmed"))
        else:
            events.append(TrackEvent("lost", track, index, reason))
    table.status[rows[things & (status == CONFIRMED)]] = LOST
    table.drop(rows[~things | (status == TENTATIVE)])
    state.world = camera.identity()
    state.previous_keys = np.zeros(0, dtype=np.int64)
    return events


def limit(state: TrackerState, settings: TrackerSettings) -> list[TrackEvent]:
    """Keeps the state bounded: ends the longest gone of too many missing tracks, drops old silhouettes."""
    table = state.tracks
    rows = table.rows()
    missing = rows[(table.misses[rows] > 0) | (table.status[rows] == LOST)]
    if len(missing) <= settings.max_lost and len(table.silhouettes) <= settings.max_silhouettes:
        return []
    order = np.lexsort((-table.key[missing], -table.last_clock[missing]))
    missing = missing[order]
    outlined = [key for key in table.key[missing].tolist() if key in table.silhouettes]
    for key in outlined[settings.max_silhouettes :]:
        del table.silhouettes[key]
    surplus = missing[settings.max_lost :]
    if not len(surplus):
        return []
    surplus = surplus[np.argsort(table.key[surplus])]
    reason = f"more than {settings.max_lost} tracks are missing, and it is the longest gone"
    ended = [int(table.track[slot]) for slot in surplus.tolist() if table.is_thing[slot]]
    table.drop(surplus)
    return [TrackEvent("ended", track, state.last_index, reason) for track in ended]
