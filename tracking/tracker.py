"""`PanopticTracker`: per-frame segments in, the same segments with track ids and steady categories out.

It knows segments, motion and time; it does not know pixels' colours, networks or files. All memory is in
`TrackerState`.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tracking import camera, life_cycle, overlap
from tracking.assignment import Solver, assign
from tracking.cost import Contrast, cost, size_allows
from tracking.gallery import cosines
from tracking.observation import Observation, observe
from tracking.settings import TrackerSettings
from tracking.state import Silhouette, TrackerState, Tracklet
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.protocols import TrackingStep
from videoseg.tracks import TrackEvent
from videoseg.vocabulary import Vocabulary

_NOMINAL_STEP = 1.0 / 25.0
"""Seconds taken to have passed where time stamps stand still or run back (no time stamps, a reconnected camera)."""


class PanopticTracker:
    """Follows the segments of any segmenter through a stream, one frame at a time and without delay.

    Every segment of every frame comes out with a track id and the category for which its track has the most evidence.
    Ids start at 1, grow in the order of birth (within a frame: in raster order of the segments' first pixels) and are
    never used again; an id never serves two segments of a frame.

    Things are followed one by one (see `tracking.life_cycle`). Stuff has one track per category and stream. Its label
    is steadied too: regions of stuff are followed by overlap and gather evidence, and where that gives two regions of a
    frame the same category, they come out as one segment (id and embedding of the larger, `id_map` rewritten), as the
    panoptic formats want it.

    What comes out does not depend on how segments are numbered, and is the same on every run.

    Args:
        settings: see there; None takes the defaults.
        vocabulary: tells things from stuff, so that all class probabilities count as evidence; without it only each
            segment's own category does.
        solver: the implementation of the assignment; results are the same.
    """

    def __init__(
        self,
        settings: TrackerSettings | None = None,
        *,
        vocabulary: Vocabulary | None = None,
        solver: Solver = "lap",
    ) -> None:
        self.settings = settings or TrackerSettings()
        self.vocabulary = vocabulary
        self.solver: Solver = solver

    def describe(self) -> Mapping[str, str]:
        """Name, version of the rules and all settings: what results depend on."""
        return {"name": "PanopticTracker", "version": "1", "settings": json.dumps(asdict(self.settings))}

    def new_state(self, stream: str) -> TrackerState:
        """The state of a stream of which nothing has been seen yet."""
        return TrackerState(stream=stream)

    def step(self, frame: PanopticFrame, motion: Motion | None, state: TrackerState) -> TrackingStep:
        """Takes the next frame and gives it out with tracks.

        Args:
            frame: any segments; those without embeddings are followed by overlap and class.
            motion: from the frame before; None where it is not known (the tracks' own velocities stand in).
            state: changed in place.

        Returns:
            The one frame, and the events in it in the order: cut, ends and losses, sightings, births.
        """
        settings = self.settings
        events = self._advance(frame, motion, state)
        stride = overlap.stride_for(*frame.size, settings.overlap_side)
        observation = observe(frame, stride, self.vocabulary)
        contrast = self._contrast(observation, state)
        placed = [t for t in state.tracklets if t.placed and (t.misses == 0 or t.status != "lost" or t.silhouette)]
        place = self._predict(placed, state, frame.size)
        overlaps = self._overlaps(placed, place, observation, motion, stride, state)
        owner: dict[int, Tracklet] = {}
        for i, j in self._match_by_place(placed, place, observation, overlaps, contrast):
            owner[j] = placed[i]
            missing = placed[i].misses > 0
            how = "found where its silhouette was expected" if missing else "overlaps its last mask"
            events += life_cycle.sighting(placed[i], state, observation, j, settings, how)
        for tracklet, j in self._match_lost(observation, owner, contrast, state, frame.size):
            owner[j] = tracklet
            events += life_cycle.sighting(tracklet, state, observation, j, settings, "recognised by its embedding")
        events += self._miss(owner, stride, state)
        tracked, births = self._publish(frame, observation, owner, state)
        events += births
        events += life_cycle.limit(state, settings)
        state.previous_map = observation.map
        state.previous_keys = [owner[j].key for j in range(len(observation))]
        state.size = frame.size
        return TrackingStep(frames=(tracked,), events=tuple(events))

    def finish(self, state: TrackerState) -> TrackingStep:
        """Ends every track that still lives. Nothing is held back, so no frames come."""
        alive = sorted({t.track for t in state.tracklets if t.is_thing} | set(state.stuff_tracks.values()))
        state.tracklets, state.stuff_tracks, state.previous_keys = [], {}, []
        events = tuple(TrackEvent("ended", track, state.last_index, "the stream ended") for track in alive)
        return TrackingStep(events=events)

    def _advance(self, frame: PanopticFrame, motion: Motion | None, state: TrackerState) -> list[TrackEvent]:
        """Clock, camera, and what ends a scene."""
        first = state.steps == 0
        elapsed = frame.time - state.last_time
        if not first:
            sound = frame.epoch == state.last_epoch and math.isfinite(elapsed) and elapsed > 0.0
            state.clock += elapsed if sound else _NOMINAL_STEP
        reason = None
        if not first and frame.epoch != state.last_epoch:
            reason = "the source reconnected"
        elif not first and frame.size != state.size:
            reason = "the picture changed its size"
        elif motion is not None and motion.cut:
            reason = "scene cut"
        state.steps += 1
        state.last_time, state.last_index, state.last_epoch = frame.time, frame.index, frame.epoch
        if reason is not None:
            return life_cycle.cut(state, reason)
        if motion is not None and camera.is_sound(motion.similarity):
            state.world = camera.compose(state.world, motion.similarity.astype(np.float64))
            _keep_world_small(state)
        return []

    def _contrast(self, observation: Observation, state: TrackerState) -> Contrast:
        """Goes on measuring the cosine of strangers: neighbours in raster order, which are different by definition."""
        if observation.embedding is not None:
            known = observation.embedding[observation.has_embedding]
            if len(known) > 1:
                values = cosines(known[:-1], known[1:]).astype(np.float64)
                memory = 1.0 - 1.0 / self.settings.contrast_frames
                count, total, squares = state.contrast
                state.contrast = (
                    memory * count + len(values),
                    memory * total + float(np.add.reduce(values)),
                    memory * squares + float(np.add.reduce(values * values)),
                )
        return Contrast.of(*state.contrast)

    def _predict(self, tracklets: Sequence[Tracklet], state: TrackerState, size: tuple[int, int]) -> "_Place":
        """Where tracklets should be in this frame and how far from there they may be."""
        settings = self.settings
        count = len(tracklets)
        centre = np.array([t.centre for t in tracklets], dtype=np.float64).reshape(count, 2)
        velocity = np.array([t.velocity for t in tracklets], dtype=np.float64).reshape(count, 2)
        box = np.array([t.box for t in tracklets], dtype=np.float64).reshape(count, 4)
        gone = state.clock - np.array([t.last_clock for t in tracklets], dtype=np.float64)
        missing = np.array([t.misses > 0 for t in tracklets], dtype=bool)
        seconds = settings.velocity_seconds
        slowing = seconds * -np.expm1(-gone / seconds)
        to_picture = camera.invert(state.world)
        expected = camera.apply(to_picture, centre + velocity * slowing[:, None])
        shift = camera.turn(to_picture, velocity) * slowing[:, None]
        # The last box may have been a sliver: at least the diagonal of a square of the usual area.
        usual = np.sqrt(2.0 * np.array([t.area for t in tracklets], dtype=np.float64))
        diagonal = np.maximum(np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]), usual)
        speed = np.hypot(velocity[:, 0], velocity[:, 1]) / camera.scale_of(state.world)
        growth = np.where(missing, gone * (speed + math.hypot(*size) / settings.reach_seconds), 0.0)
        # What has left the picture comes back at its edge.
        expected = np.clip(expected, 0.0, [size[1], size[0]])
        return _Place(expected, settings.place_gate * diagonal + growth, shift, np.where(missing, gone, 0.0))

    def _overlaps(
        self,
        placed: Sequence[Tracklet],
        place: "_Place",
        observation: Observation,
        motion: Motion | None,
        stride: int,
        state: TrackerState,
    ) -> NDArray[np.float64]:
        """O of the cost for every placed tracklet and segment, `[N, M]`."""
        result = np.zeros((len(placed), len(observation)))
        if not len(placed) or not len(observation):
            return result
        num_current = len(observation) + 1
        current_area = np.bincount(observation.map.ravel(), minlength=num_current)
        row_of = {t.key: row for row, t in enumerate(placed)}
        visible = [(i + 1, row_of[key]) for i, key in enumerate(state.previous_keys) if key in row_of]
        if visible and state.previous_map.shape == observation.map.shape:
            num_previous = len(state.previous_keys) + 1
            previous = state.previous_map
            if motion is not None:
                # Of what comes into view only the part that was visible before can be compared.
                moved = overlap.compensate(previous, motion, stride, outside=num_previous)
                joint = overlap.joint_histogram(moved, observation.map, num_previous + 1, num_current)[:-1]
                comparable_area = joint.sum(axis=0)
            else:
                shift = np.zeros((num_previous, 2), dtype=np.int32)
                for number, row in visible:
                    if placed[row].is_thing:
                        shift[number] = np.rint(place.shift[row] / stride)
                joint = overlap.shifted_histogram(previous, observation.map, num_previous, num_current, shift)
                comparable_area = current_area
            iou = overlap.intersection_over_union(joint, joint.sum(axis=1), comparable_area)
            for number, row in visible:
                result[row] = iou[number, 1:]
        for row, tracklet in enumerate(placed):
            if tracklet.silhouette is not None:
                seen, size = _under(tracklet.silhouette, place.centre[row] / stride, observation.map, num_current)
                iou_row = seen / np.maximum(size + current_area - seen, 1)
                result[row] = iou_row[1:] * math.exp(-place.gone[row] / self.settings.silhouette_fade)
        return result

    def _match_by_place(
        self,
        placed: Sequence[Tracklet],
        place: "_Place",
        observation: Observation,
        overlaps: NDArray[np.float64],
        contrast: Contrast,
    ) -> list[tuple[int, int]]:
        """First round: everything that has a place, by overlap, looks and class."""
        settings = self.settings
        if not overlaps.size:
            return []
        is_thing = np.array([t.is_thing for t in placed], dtype=bool)
        area = np.array([t.area for t in placed], dtype=np.float64)
        same_kind = is_thing[:, None] == observation.is_thing[None, :]
        size = 0 if observation.embedding is None else observation.embedding.shape[1]
        looks = np.zeros((len(placed), size), dtype=np.float32)
        has_looks = np.zeros(len(placed), dtype=bool)
        for row, tracklet in enumerate(placed):
            if size and tracklet.embedding is not None and len(tracklet.embedding) == size:
                looks[row], has_looks[row] = tracklet.embedding, True
        comparable = has_looks[:, None] & observation.has_embedding[None, :]
        offset = observation.centre[None, :, :] - place.centre[:, None, :]
        near = np.hypot(offset[..., 0], offset[..., 1]) <= place.reach[:, None]
        near &= comparable & is_thing[:, None] & size_allows(area, observation.area, settings)
        allowed = same_kind & ((overlaps >= settings.overlap_gate) | near)
        rows, columns = np.nonzero(allowed)
        if not len(rows):
            return []
        pair_comparable = comparable[rows, columns]
        likeness = np.zeros(len(rows))
        if pair_comparable.any() and observation.embedding is not None:
            pair_cosines = cosines(looks[rows[pair_comparable]], observation.embedding[columns[pair_comparable]])
            likeness[pair_comparable] = contrast.likeness(pair_cosines)
        missing = np.array([t.misses > 0 for t in placed], dtype=bool)
        allowed[rows, columns] = ~(missing[rows] & pair_comparable & (likeness < settings.contradiction))
        classes = np.array(
            [
                placed[i].evidence.likeness(observation.distribution[j])
                for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
            ]
        )
        matrix = np.ones(allowed.shape)
        matrix[rows, columns] = cost(overlaps[rows, columns], likeness, pair_comparable, classes, settings)
        return assign(matrix, limit=1.0 - settings.accept, allowed=allowed, solver=self.solver)

    def _match_lost(
        self,
        observation: Observation,
        owner: Mapping[int, Tracklet],
        contrast: Contrast,
        state: TrackerState,
        size: tuple[int, int],
    ) -> list[tuple[Tracklet, int]]:
        """Second round: lost things by their galleries, where they can have got to."""
        settings = self.settings
        if observation.embedding is None:
            return []
        free = [
            j
            for j in range(len(observation))
            if j not in owner and observation.is_thing[j] and observation.has_embedding[j]
        ]
        dimension = observation.embedding.shape[1]
        taken = {t.key for t in owner.values()}
        lost = [
            t
            for t in state.tracklets
            if t.status == "lost" and t.key not in taken and t.embedding is not None and len(t.embedding) == dimension
        ]
        if not free or not lost:
            return []
        place = self._predict(lost, state, size)
        placed = np.array([t.placed for t in lost], dtype=bool)
        area = np.array([t.area for t in lost], dtype=np.float64)
        offset = observation.centre[free][None, :, :] - place.centre[:, None, :]
        allowed = np.hypot(offset[..., 0], offset[..., 1]) <= place.reach[:, None]
        allowed &= size_allows(area, observation.area[free], settings)
        allowed |= ~placed[:, None]
        portraits = [_portraits(t) for t in lost]
        stacked = np.concatenate(portraits)
        starts = np.cumsum([0] + [len(p) for p in portraits[:-1]])
        best = np.stack(
            [np.maximum.reduceat(np.einsum("gd,d->g", stacked, observation.embedding[j]), starts) for j in free], axis=1
        )
        likeness = contrast.likeness(best)
        allowed &= likeness >= settings.refind_likeness
        allowed &= best >= contrast.mean + settings.refind_deviations * contrast.deviation
        matrix = np.ones(allowed.shape)
        rows, columns = np.nonzero(allowed)
        if not len(rows):
            return []
        classes = np.array(
            [
                lost[i].evidence.likeness(observation.distribution[free[j]])
                for i, j in zip(rows.tolist(), columns.tolist(), strict=True)
            ]
        )
        known = np.ones(len(rows), dtype=bool)
        matrix[rows, columns] = cost(None, likeness[rows, columns], known, classes, settings)
        pairs = assign(matrix, limit=1.0 - settings.accept, allowed=allowed, solver=self.solver)
        return [(lost[i], free[j]) for i, j in pairs]

    def _miss(self, owner: Mapping[int, Tracklet], stride: int, state: TrackerState) -> list[TrackEvent]:
        """Whatever was not seen in this frame gets older, loses patience, ends."""
        events: list[TrackEvent] = []
        seen = {t.key for t in owner.values()}
        number_of = {key: i + 1 for i, key in enumerate(state.previous_keys)}
        kept = []
        for tracklet in state.tracklets:
            if tracklet.key not in seen:
                silhouette = None
                if tracklet.misses == 0 and tracklet.placed and tracklet.key in number_of:
                    silhouette = _outline(tracklet, number_of[tracklet.key], stride, state)
                lives, told = life_cycle.miss(tracklet, state, self.settings, silhouette)
                events += told
                if not lives:
                    continue
            kept.append(tracklet)
        state.tracklets = kept
        return events

    def _publish(
        self, frame: PanopticFrame, observation: Observation, owner: dict[int, Tracklet], state: TrackerState
    ) -> tuple[PanopticFrame, list[TrackEvent]]:
        """Births, track ids and categories; `owner` is completed."""
        events: list[TrackEvent] = []
        stuff: dict[int, list[int]] = {}
        words: list[Segment] = []
        for j, segment in enumerate(observation.segments):
            if j not in owner:
                owner[j] = life_cycle.birth(state, observation, j, self.settings)
                if segment.is_thing:
                    events.append(life_cycle.event("born", owner[j], frame.index, "no track explains it"))
            tracklet = owner[j]
            category = tracklet.evidence.category
            if segment.is_thing:
                track = tracklet.track
            else:
                if category not in state.stuff_tracks:
                    track = state.stuff_tracks[category] = life_cycle.new_track(state)
                    events.append(TrackEvent("born", track, frame.index, "first stuff of its category"))
                    events.append(TrackEvent("confirmed", track, frame.index, "stuff is confirmed when it is born"))
                track = state.stuff_tracks[category]
                stuff.setdefault(track, []).append(j)
            words.append(replace(segment, track=track, category=category, probabilities=tracklet.evidence.posterior()))
        doubles = [group for group in stuff.values() if len(group) > 1]
        if not doubles:
            return frame.with_segments(sorted(words, key=lambda segment: segment.id)), events
        return _merge(frame, words, doubles), events


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where tracklets should be in the picture, in pixels."""

    centre: NDArray[np.float64]
    """`[N, 2]`, within the picture."""
    reach: NDArray[np.float64]
    """`[N]`: how far from there a segment may be."""
    shift: NDArray[np.float64]
    """`[N, 2]`: own motion since last seen, without the camera's."""
    gone: NDArray[np.float64]
    """`[N]`: seconds missing, 0 for what was in the frame before."""


def _keep_world_small(state: TrackerState) -> None:
    """Moves the origin of the scene to this frame before numbers lose their precision (an hour of zooming in)."""
    if 1e-2 < camera.scale_of(state.world) < 1e2 and np.abs(state.world).max() < 1e6:
        return
    to_picture = camera.invert(state.world)
    for tracklet in state.tracklets:
        x, y = camera.apply(to_picture, np.array([tracklet.centre]))[0].tolist()
        vx, vy = camera.turn(to_picture, np.array([tracklet.velocity]))[0].tolist()
        tracklet.centre, tracklet.velocity = (x, y), (vx, vy)
    state.world = camera.identity()


def _portraits(tracklet: Tracklet) -> NDArray[np.float32]:
    """The mean embedding of a tracklet that has one and its gallery, `[n, D]`."""
    mean = tracklet.embedding
    assert mean is not None
    own = tracklet.gallery if tracklet.gallery.shape[1] == len(mean) else tracklet.gallery[:0].reshape(0, len(mean))
    return np.concatenate([mean[None], own])


def _outline(tracklet: Tracklet, number: int, stride: int, state: TrackerState) -> Silhouette | None:
    """The tracklet's mask in the frame before."""
    left, top, right, bottom = tracklet.box
    y, x = int(top) // stride, int(left) // stride
    mask = state.previous_map[y : -(-int(bottom) // stride), x : -(-int(right) // stride)] == number
    if not mask.any():
        return None
    return Silhouette(mask, left=x - (left + right) / (2 * stride), top=y - (top + bottom) / (2 * stride))


def _under(
    silhouette: Silhouette, centre: NDArray[np.float64], current_map: NDArray[np.uint16], num_current: int
) -> tuple[NDArray[np.int64], int]:
    """Samples of each segment under a silhouette at `centre` (x, y in samples), and the size of its visible part."""
    height, width = current_map.shape
    left, top = round(float(centre[0]) + silhouette.left), round(float(centre[1]) + silhouette.top)
    rows, columns = silhouette.mask.shape
    window = current_map[max(top, 0) : min(top + rows, height), max(left, 0) : min(left + columns, width)]
    if not window.size:
        return np.zeros(num_current, dtype=np.int64), 0
    y, x = max(-top, 0), max(-left, 0)
    covered = window[silhouette.mask[y : y + window.shape[0], x : x + window.shape[1]]]
    return np.bincount(covered, minlength=num_current), len(covered)


def _merge(frame: PanopticFrame, words: Sequence[Segment], groups: Sequence[Sequence[int]]) -> PanopticFrame:
    """The frame with each group of segments (positions in `words`) as one: the larger gives its id."""
    table = np.arange(int(frame.id_map.max()) + 1, dtype=np.uint16)
    merged = {segment.id: segment for segment in words}
    for group in groups:
        parts = sorted((words[j] for j in group), key=lambda segment: -segment.area)
        area = sum(part.area for part in parts)
        for part in parts[1:]:
            table[part.id] = parts[0].id
            del merged[part.id]
        merged[parts[0].id] = replace(
            parts[0],
            area=area,
            score=min(sum(part.score * part.area for part in parts) / area, 1.0),
            box=(
                min(part.box[0] for part in parts),
                min(part.box[1] for part in parts),
                max(part.box[2] for part in parts),
                max(part.box[3] for part in parts),
            ),
        )
    segments = tuple(sorted(merged.values(), key=lambda segment: segment.id))
    return replace(frame, id_map=table[frame.id_map], segments=segments)
