"""What happens to a track: born, confirmed, missing, lost, re-identified, ended.

    born ──▶ tentative ──confirm_hits──▶ confirmed ──patience──▶ lost ──memory_seconds──▶ ended
                 │ tentative_misses          ▲                    │
                 ▼                           └────re-identified───┘
               ended

A cut makes every confirmed thing lost at once (and found again only by its embedding) and ends the tentative ones.
Regions of stuff have no such life: the track of a stuff category lasts as long as the stream; a region that is missing
longer than `patience` is forgotten together with its evidence.
"""

from tracking import camera, gallery
from tracking.category_evidence import CategoryEvidence
from tracking.observation import Observation
from tracking.settings import TrackerSettings
from tracking.state import Silhouette, TrackerState, Tracklet
from videoseg.tracks import EventKind, TrackEvent


def event(kind: EventKind, tracklet: Tracklet, index: int, reason: str) -> TrackEvent:
    return TrackEvent(kind=kind, track=tracklet.track, index=index, reason=reason)


def birth(state: TrackerState, observation: Observation, i: int, settings: TrackerSettings) -> Tracklet:
    """A new tracklet from segment `i`, at the end of `state.tracklets`; things get a public id."""
    is_thing = bool(observation.is_thing[i])
    tracklet = Tracklet(
        key=state.next_key,
        track=0,
        is_thing=is_thing,
        status="tentative",
        hits=0,
        misses=0,
        last_clock=state.clock,
        placed=False,
        box=(0.0, 0.0, 0.0, 0.0),
        centre=(0.0, 0.0),
        velocity=(0.0, 0.0),
        area=float(observation.area[i]),
        evidence=CategoryEvidence(),
    )
    state.next_key += 1
    if is_thing:
        tracklet.track = new_track(state)
    state.tracklets.append(tracklet)
    _learn(tracklet, state, observation, i, settings)
    return tracklet


def new_track(state: TrackerState) -> int:
    """The next public id."""
    state.next_track += 1
    return state.next_track - 1


def sighting(
    tracklet: Tracklet, state: TrackerState, observation: Observation, i: int, settings: TrackerSettings, how: str
) -> list[TrackEvent]:
    """The tracklet is segment `i` of this frame."""
    events = []
    if tracklet.status == "lost":
        gone = state.clock - tracklet.last_clock
        tracklet.status = "confirmed"
        events.append(event("re-identified", tracklet, state.last_index, f"{how} after {gone:.2f} s"))
    before = tracklet.evidence.category
    changed = _learn(tracklet, state, observation, i, settings)
    if tracklet.status == "tentative" and tracklet.hits >= settings.confirm_hits:
        tracklet.status = "confirmed"
        if tracklet.is_thing:
            events.append(event("confirmed", tracklet, state.last_index, f"seen {tracklet.hits} times"))
    if changed and tracklet.is_thing:
        after = tracklet.evidence.category
        share = dict(tracklet.evidence.posterior()).get(after, 0.0)
        reason = f"category {after} instead of {before}: it has {share:.0%} of the evidence"
        events.append(event("class changed", tracklet, state.last_index, reason))
    return events


def _learn(
    tracklet: Tracklet, state: TrackerState, observation: Observation, i: int, settings: TrackerSettings
) -> bool:
    """Place, velocity, looks and class of the new sighting; returns whether the category changed."""
    left, top, right, bottom = observation.box[i].tolist()
    area = float(observation.area[i])
    (a, b, shift_x), (c, d, shift_y) = state.world.tolist()
    middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
    centre = (a * middle_x + b * middle_y + shift_x, c * middle_x + d * middle_y + shift_y)
    elapsed = state.clock - tracklet.last_clock
    if tracklet.placed and elapsed > 0.0:
        old_left, old_top, old_right, old_bottom = tracklet.box
        width, height = max(old_right - old_left, 1.0), max(old_bottom - old_top, 1.0)
        slack = settings.stable_size
        # A pixel more or less is no change of size, however small the box.
        if (
            abs((right - left) - width) <= max(slack * width, 1.0)
            and abs((bottom - top) - height) <= max(slack * height, 1.0)
        ):  # fmt: skip
            memory = settings.velocity_memory if tracklet.hits > 1 else 0.0
            vx, vy = tracklet.velocity
            tracklet.velocity = (
                memory * vx + (1.0 - memory) * (centre[0] - tracklet.centre[0]) / elapsed,
                memory * vy + (1.0 - memory) * (centre[1] - tracklet.centre[1]) / elapsed,
            )
    elif not tracklet.placed:
        tracklet.velocity = (0.0, 0.0)
    if observation.embedding is not None and observation.has_embedding[i]:
        clear = area >= settings.clear_view * tracklet.area
        if clear or tracklet.embedding is None:
            embedding = observation.embedding[i]
            tracklet.embedding = gallery.blend(tracklet.embedding, embedding, settings)
            if tracklet.is_thing:
                tracklet.gallery = gallery.extend(tracklet.gallery, embedding, settings)
    tracklet.area = settings.embedding_memory * tracklet.area + (1.0 - settings.embedding_memory) * area
    tracklet.box = (left, top, right, bottom)
    tracklet.centre = centre
    tracklet.placed = True
    tracklet.hits += 1
    tracklet.misses = 0
    tracklet.last_clock = state.clock
    tracklet.silhouette = None
    return tracklet.evidence.add(observation.distribution[i], settings)


def miss(
    tracklet: Tracklet, state: TrackerState, settings: TrackerSettings, silhouette: Silhouette | None
) -> tuple[bool, list[TrackEvent]]:
    """The tracklet is not in this frame: returns whether it lives on, and what is to be told.

    Args:
        silhouette: its mask in the frame before, where it was there.
    """
    if tracklet.misses == 0:
        tracklet.silhouette = silhouette
    tracklet.misses += 1
    gone = state.clock - tracklet.last_clock
    if gone > settings.silhouette_seconds and tracklet.misses > settings.patience_misses:
        tracklet.silhouette = None
    impatient = gone > settings.patience and tracklet.misses > settings.patience_misses
    if not tracklet.is_thing:
        return not impatient, []
    if tracklet.status == "tentative" and tracklet.misses > settings.tentative_misses:
        return False, [event("ended", tracklet, state.last_index, f"never confirmed, seen {tracklet.hits} times")]
    if tracklet.status == "confirmed" and impatient:
        tracklet.status = "lost"
        return True, [event("lost", tracklet, state.last_index, f"not seen for {gone:.2f} s")]
    if tracklet.status == "lost" and gone > settings.memory_seconds:
        return False, [event("ended", tracklet, state.last_index, f"not seen for {gone:.0f} s")]
    return True, []


def cut(state: TrackerState, reason: str) -> list[TrackEvent]:
    """Forgets every place: confirmed things are lost, tentative things end, regions of stuff are dropped."""
    events = []
    kept = []
    for tracklet in state.tracklets:
        tracklet.placed = False
        tracklet.silhouette = None
        tracklet.velocity = (0.0, 0.0)
        if not tracklet.is_thing:
            continue
        if tracklet.status == "tentative":
            events.append(event("ended", tracklet, state.last_index, f"{reason} before it was confirmed"))
            continue
        if tracklet.status == "confirmed":
            tracklet.status = "lost"
            events.append(event("lost", tracklet, state.last_index, reason))
        kept.append(tracklet)
    state.tracklets = kept
    state.world = camera.identity()
    state.previous_keys = []
    return events


def limit(state: TrackerState, settings: TrackerSettings) -> list[TrackEvent]:
    """Keeps the state bounded: ends the longest gone of too many missing tracks, drops old silhouettes."""
    missing = [t for t in state.tracklets if t.misses > 0 or t.status == "lost"]
    if len(missing) <= min(settings.max_lost, settings.max_silhouettes):
        return []
    missing.sort(key=lambda t: (t.last_clock, t.key), reverse=True)
    outlined = [t for t in missing if t.silhouette is not None]
    for tracklet in outlined[settings.max_silhouettes :]:
        tracklet.silhouette = None
    surplus = sorted(missing[settings.max_lost :], key=lambda t: t.key)
    dropped = {t.key for t in surplus}
    state.tracklets = [t for t in state.tracklets if t.key not in dropped]
    reason = f"more than {settings.max_lost} tracks are missing, and it is the longest gone"
    return [event("ended", t, state.last_index, reason) for t in surplus if t.is_thing]
