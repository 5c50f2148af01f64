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

from tracking import camera, category_evidence, gallery, life_cycle, overlap
from tracking.assignment import Solver, assign
from tracking.cost import Contrast, cost, size_allows
from tracking.filling import fill_gaps
from tracking.observation import Observation, kinds_of, observe
from tracking.settings import TrackerSettings
from tracking.state import TrackerState
from tracking.table import CONFIRMED, LOST, Silhouette, Slots, TrackTable
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.protocols import TrackingStep
from videoseg.tracks import TrackEvent
from videoseg.vocabulary import Vocabulary

_NOMINAL_STEP = 1.0 / 25.0
"""Seconds taken to have passed where time stamps stand still or run back (no time stamps, a reconnected camera)."""

_ALL = slice(None)


class PanopticTracker:
    """Follows the segments of any segmenter through a stream, one frame at a time and without delay.

    Every segment of every frame comes out with a track id and the category for which its track has the most evidence.
    Ids start at 1, grow in the order of birth (within a frame: things in raster order of their first pixels, then
    stuff) and are never used again; an id never serves two segments of a frame.

    Things are followed one by one (see `tracking.life_cycle`). A segment that only is a part of a track that was found
    already is no birth: it comes out as one segment with the rest of it, as long as that lasts no longer than
    `split_seconds`. Stuff has one track per category and stream. Its label is steadied too: regions of stuff are
    followed by overlap and gather evidence, and where that gives two regions of a frame the same category, they come
    out as one segment (id and embedding of the larger, `id_map` rewritten), as the panoptic formats want it.

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
        self._kinds = kinds_of(vocabulary)

    def describe(self) -> Mapping[str, str]:
        """Name, version of the rules and all settings: what results depend on."""
        return {"name": "PanopticTracker", "version": "3", "settings": json.dumps(asdict(self.settings))}

    def new_state(self, stream: str) -> TrackerState:
        """The state of a stream of which nothing has been seen yet."""
        settings = self.settings
        table = TrackTable(gallery_size=settings.gallery_size, categories=settings.evidence_categories)
        return TrackerState(stream=stream, tracks=table)

    def step(self, frame: PanopticFrame, motion: Motion | None, state: TrackerState) -> TrackingStep:
        """Takes the next frame and gives it out with tracks.

        Args:
            frame: any segments; those without embeddings are followed by overlap and class.
            motion: from the frame before; None where it is not known (the tracks' own velocities stand in).
            state: changed in place.

        Returns:
            The one frame, and the events in it in the order: cut, sightings, ends and losses, births.
        """
        settings = self.settings
        events = self._advance(frame, motion, state)
        stride = overlap.stride_for(*frame.size, settings.overlap_side)
        observation = observe(frame, stride, self._kinds)
        contrast = self._contrast(observation, state)
        table = state.tracks
        rows = table.rows()
        outlined = np.isin(table.key[rows], list(table.silhouettes)) if table.silhouettes else False
        here = (table.misses[rows] == 0) | (table.status[rows] != LOST) | outlined
        placed = rows[table.placed[rows] & here]
        place = self._predict(placed, state, frame.size)
        seen = self._overlaps(placed, place, observation, motion, stride, state)
        owner = np.full(len(observation), -1, dtype=np.intp)
        how: dict[int, str] = {}
        for i, j in self._match_by_place(placed, place, observation, seen.iou, contrast, state):
            owner[j] = placed[i]
            missing = table.misses[placed[i]] > 0
            how[j] = "found where its silhouette was expected" if missing else "overlaps its last mask"
        for slot, j in self._match_lost(observation, owner, contrast, state, frame.size):
            owner[j] = slot
            how[j] = "recognised by its embedding"
        parts, separated = self._parts(placed, observation, owner, seen, contrast, stride, state)
        observation = _with_parts(observation, parts)
        found = np.flatnonzero(owner >= 0)
        found = found[np.argsort(table.key[owner[found]])]
        slots = owner[found]
        events += life_cycle.found_again(state, slots, [how[j] for j in found.tolist()])
        missed = rows[~table.among(slots)[rows]]
        self._outline(missed, stride, state)
        events += self._merges(placed, seen, observation, owner, state)
        events += life_cycle.sightings(state, observation, slots, found, settings)
        events += life_cycle.misses(state, missed, settings)
        events += self._adopt(slots, contrast, state)
        unclaimed = owner < 0
        unclaimed[list(parts)] = False
        born = np.flatnonzero(unclaimed)
        confirmed: list[TrackEvent] = []
        if len(born):
            owner[born] = fresh = life_cycle.births(state, observation, born)
            confirmed = life_cycle.sightings(state, observation, fresh, born, settings)
        tracked, told = self._publish(frame, observation, owner, parts, born, separated, state)
        events += sorted(told, key=lambda event: event.track) + confirmed
        events += life_cycle.limit(state, settings)
        for part, whole in parts.items():
            owner[part] = owner[whole]
        state.previous_map = observation.map
        state.previous_keys = table.key[owner]
        state.size = frame.size
        if settings.fill_seconds > 0.0:
            tracked = self._fill(tracked, stride, state)
        return TrackingStep(frames=(tracked,), events=tuple(events))

    def finish(self, state: TrackerState) -> TrackingStep:
        """Ends every track that still lives. Nothing is held back, so no frames come."""
        table = state.tracks
        rows = table.rows()
        alive = sorted({*table.track[rows[table.is_thing[rows]]].tolist(), *state.stuff_tracks.values()})
        table.drop(rows)
        state.stuff_tracks, state.previous_keys = {}, np.zeros(0, dtype=np.int64)
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
                values = np.einsum("nd,nd->n", known[:-1], known[1:]).astype(np.float64)
                memory = 1.0 - 1.0 / self.settings.contrast_frames
                count, total, squares = state.contrast
                state.contrast = (
                    memory * count + len(values),
                    memory * total + float(np.add.reduce(values)),
                    memory * squares + float(np.add.reduce(values * values)),
                )
        return Contrast.of(state.contrast, state.kin)

    def _predict(self, slots: Slots, state: TrackerState, size: tuple[int, int]) -> "_Place":
        """Where tracks should be in this frame and how far from there they may be."""
        settings, table = self.settings, state.tracks
        velocity, box = table.velocity[slots], table.box[slots]
        gone = state.clock - table.last_clock[slots]
        missing = table.misses[slots] > 0
        seconds = settings.velocity_seconds
        slowing = seconds * -np.expm1(-gone / seconds)
        to_picture = camera.invert(state.world)
        expected = camera.apply(to_picture, table.centre[slots] + velocity * slowing[:, None])
        shift = camera.turn(to_picture, velocity) * slowing[:, None]
        # The last box may have been a sliver: at least the diagonal of a square of the usual area.
        usual = np.sqrt(2.0 * table.area[slots])
        diagonal = np.maximum(np.hypot(box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]), usual)
        speed = np.hypot(velocity[:, 0], velocity[:, 1]) / camera.scale_of(state.world)
        growth = np.where(missing, gone * (speed + math.hypot(*size) / settings.reach_seconds), 0.0)
        # What has left the picture comes back at its edge.
        inside = np.clip(expected, 0.0, [size[1], size[0]])
        return _Place(inside, settings.place_gate * diagonal + growth, shift, np.where(missing, gone, 0.0))

    def _overlaps(
        self,
        placed: Slots,
        place: "_Place",
        observation: Observation,
        motion: Motion | None,
        stride: int,
        state: TrackerState,
    ) -> "_Overlaps":
        """What every placed track shares with every segment."""
        table, num_current = state.tracks, len(observation) + 1
        shared = np.zeros((len(placed), num_current), dtype=np.int64)
        before = np.zeros(len(placed), dtype=np.int64)
        current_area = observation.map.areas(num_current)
        result = _Overlaps(np.zeros((len(placed), len(observation))), shared[:, 1:], before, current_area[1:])
        if not len(placed) or not len(observation):
            return result
        # Rows are in the order of their keys.
        keys = table.key[placed]
        row = np.searchsorted(keys, state.previous_keys)
        number = np.flatnonzero(np.append(keys, -1)[row] == state.previous_keys) + 1
        row = row[number - 1]
        if len(number) and state.previous_map.shape == observation.map.shape:
            num_previous = len(state.previous_keys) + 1
            if motion is not None:
                # Of what comes into view only the part that was visible before can be compared.
                moved = overlap.compensate(state.previous_map.numbers, motion, stride, outside=num_previous)
                joint = overlap.joint_histogram(moved, observation.map, num_previous + 1, num_current)[:-1]
                comparable_area = joint.sum(axis=0)
            else:
                shift = np.zeros((num_previous, 2), dtype=np.intp)
                moving = table.is_thing[placed[row]]
                shift[number[moving]] = np.rint(place.shift[row[moving]] / stride)
                joint = overlap.shifted_histogram(state.previous_map, observation.map, num_previous, num_current, shift)
                comparable_area = current_area
            shared[row] = joint[number]
            if len(set(row.tolist())) < len(row):
                # A track may have come in several parts.
                shared[:] = 0
                np.add.at(shared, row, joint[number])
            before[:] = shared.sum(axis=1)
            result.iou[:] = overlap.intersection_over_union(shared, before, comparable_area)[:, 1:]
        if table.silhouettes:
            for i in np.flatnonzero(np.isin(keys, list(table.silhouettes))).tolist():
                silhouette = table.silhouettes[int(keys[i])]
                under, size = _under(silhouette, place.centre[i] / stride, observation.map.numbers, num_current)
                iou = under / np.maximum(size + current_area - under, 1)
                # What comes out from behind something begins as a sliver within the mask.
                within = self.settings.sliver * under / np.maximum(current_area, 1)
                fade = math.exp(-place.gone[i] / self.settings.silhouette_fade)
                result.iou[i] = np.maximum(iou, within)[1:] * fade
        return result

    def _match_by_place(
        self,
        placed: Slots,
        place: "_Place",
        observation: Observation,
        iou: NDArray[np.float64],
        contrast: Contrast,
        state: TrackerState,
    ) -> list[tuple[int, int]]:
        """First rounds: everything that has a place; sure segments choose before doubtful ones."""
        settings, table = self.settings, state.tracks
        if not iou.size:
            return []
        things, area = table.is_thing[placed], table.area[placed]
        cosines, comparable = _cosines(table, placed, observation)
        away_x = (observation.centre[None, :, 0] - place.centre[:, None, 0]) / place.reach[:, None]
        away_y = (observation.centre[None, :, 1] - place.centre[:, None, 1]) / place.reach[:, None]
        squared = away_x * away_x + away_y * away_y
        near = (squared <= 1.0) & comparable & things[:, None] & size_allows(area, observation.area, settings)
        allowed = (things[:, None] == observation.is_thing[None, :]) & ((iou >= settings.overlap_gate) | near)
        rows, columns = np.nonzero(allowed)
        if not len(rows):
            return []
        known = comparable[rows, columns]
        likeness = np.where(known, contrast.likeness(cosines[rows, columns]), 0.0)
        missing = table.misses[placed] > 0
        allowed[rows, columns] = ~(missing[rows] & known & (likeness < settings.contradiction))
        classes = category_evidence.likeness(
            table, placed[rows], observation.categories[columns], observation.probabilities[columns]
        )
        ratio = area[rows] / observation.area[columns]
        size = np.minimum(ratio, 1.0 / ratio) * np.exp(-squared[rows, columns])
        matrix = np.ones(allowed.shape)
        matrix[rows, columns] = cost(iou[rows, columns], likeness, known, classes, size, settings)
        sure = observation.score >= settings.high_score
        if sure.all() or not sure.any():
            pairs = assign(matrix, limit=1.0 - settings.accept, allowed=allowed, solver=self.solver)
        else:
            pairs = assign(matrix, limit=1.0 - settings.accept, allowed=allowed & sure, solver=self.solver)
            free = np.ones(len(placed), dtype=bool)
            free[[i for i, _ in pairs]] = False
            doubtful = allowed & ~sure & free[:, None] & (iou >= settings.overlap_gate)
            pairs += assign(matrix, limit=1.0 - settings.low_accept, allowed=doubtful, solver=self.solver)
        self._learn_kin(pairs, iou, cosines, comparable, state)
        return pairs

    def _learn_kin(
        self,
        pairs: Sequence[tuple[int, int]],
        iou: NDArray[np.float64],
        cosines: NDArray[np.float32],
        comparable: NDArray[np.bool_],
        state: TrackerState,
    ) -> None:
        """Goes on measuring the cosine of tracks and their own segments, where the overlap alone is telling."""
        if not pairs:
            return
        rows, columns = np.array(pairs, dtype=np.intp).T
        telling = (iou[rows, columns] >= 0.5) & comparable[rows, columns]
        values = cosines[rows[telling], columns[telling]].astype(np.float64)
        memory = 1.0 - 1.0 / self.settings.contrast_frames
        count, total = state.kin
        state.kin = (memory * count + len(values), memory * total + float(np.add.reduce(values)))

    def _match_lost(
        self,
        observation: Observation,
        owner: NDArray[np.intp],
        contrast: Contrast,
        state: TrackerState,
        size: tuple[int, int],
    ) -> list[tuple[int, int]]:
        """Last round: things that were not found by their galleries, where they can have got to.

        Returns:
            Pairs of slot and segment.
        """
        settings, table = self.settings, state.tracks
        if observation.embedding is None or table.dimension != observation.embedding.shape[1]:
            return []
        free = np.flatnonzero((owner < 0) & observation.is_thing & observation.has_embedding)
        rows = table.rows()
        lost = rows[table.is_thing[rows] & table.has_embedding[rows]]
        lost = lost[~table.among(owner[owner >= 0])[lost]]
        if not len(free) or not len(lost):
            return []
        place = self._predict(lost, state, size)
        offset = observation.centre[free][None, :, :] - place.centre[:, None, :]
        allowed = np.hypot(offset[..., 0], offset[..., 1]) <= place.reach[:, None]
        allowed &= size_allows(table.area[lost], observation.area[free], settings)
        allowed |= ~table.placed[lost][:, None]
        within = allowed.any(axis=1)
        lost, allowed = lost[within], allowed[within]
        best = gallery.best_likeness(table, lost, observation.embedding[free])
        likeness = contrast.likeness(best)
        allowed &= likeness >= settings.refind_likeness
        allowed &= best >= contrast.surely(settings.refind_deviations)
        rows, columns = np.nonzero(allowed)
        if not len(rows):
            return []
        segments = free[columns]
        classes = category_evidence.likeness(
            table, lost[rows], observation.categories[segments], observation.probabilities[segments]
        )
        known = np.ones(len(rows), dtype=bool)
        matrix = np.ones(allowed.shape)
        matrix[rows, columns] = cost(None, likeness[rows, columns], known, classes, None, settings)
        pairs = assign(matrix, limit=1.0 - settings.accept, allowed=allowed, solver=self.solver)
        return [(int(lost[i]), int(free[j])) for i, j in pairs]

    def _adopt(self, seen: Slots, contrast: Contrast, state: TrackerState) -> list[TrackEvent]:
        """Young tracks that turn out, now that more of their looks is known, to be ones that were missing before."""
        settings, table = self.settings, state.tracks
        hits = table.hits[seen]
        young = seen[table.is_thing[seen] & (hits <= settings.adopt_hits) & table.has_embedding[seen]]
        rows = table.rows()
        missing = (table.misses[rows] > 0) & (table.status[rows] >= CONFIRMED)
        old = rows[missing & table.is_thing[rows] & table.has_embedding[rows]]
        if not len(young) or not len(old):
            return []
        allowed = table.last_clock[old][:, None] < table.born_clock[young][None, :]
        allowed &= size_allows(table.area[old], table.area[young], settings)
        best = gallery.best_likeness(table, old, table.embedding[young])
        likeness = contrast.likeness(best)
        allowed &= likeness >= settings.adopt_likeness
        allowed &= best >= contrast.surely(settings.refind_deviations)
        i, j = np.nonzero(allowed)
        if not len(i):
            return []
        classes = category_evidence.likeness(table, old[i], table.evidence_category[young[j]], table.evidence[young[j]])
        matrix = np.ones(allowed.shape)
        known = np.ones(len(i), dtype=bool)
        matrix[i, j] = cost(None, likeness[i, j], known, classes, None, settings)
        pairs = assign(matrix, limit=1.0 - settings.accept, allowed=allowed, solver=self.solver)
        events = []
        for row, column in pairs:
            events += life_cycle.adoption(state, int(old[row]), int(young[column]), settings)
        return events

    def _parts(
        self,
        placed: Slots,
        observation: Observation,
        owner: NDArray[np.intp],
        seen: "_Overlaps",
        contrast: Contrast,
        stride: int,
        state: TrackerState,
    ) -> tuple[dict[int, int], dict[int, int]]:
        """Segments that no track claims, but that lie on one that was found, or beside it with its looks: parts of it,
        until that lasts too long.

        Returns:
            Part -> segment of the whole; part -> public id of the track from which it parts now for good.
        """
        settings, table = self.settings, state.tracks
        parts: dict[int, int] = {}
        separated: dict[int, int] = {}
        whole = np.flatnonzero((owner >= 0) & observation.is_thing)
        loose = np.flatnonzero((owner < 0) & observation.is_thing)
        split = set()
        if len(whole) and len(loose) and settings.split_seconds > 0.0:
            slots = owner[whole]
            cosines, comparable = _cosines(table, slots, observation, loose)
            likeness = np.where(comparable, contrast.likeness(cosines), np.nan)
            row_of = {slot: row for row, slot in enumerate(placed.tolist())}
            rows = np.array([row_of.get(slot, -1) for slot in slots.tolist()], dtype=np.intp)
            # Nothing is shared with what was found without having a place.
            shared = np.append(seen.shared[:, loose], np.zeros((1, len(loose)), dtype=np.int64), axis=0)[rows]
            share = shared / np.maximum(seen.area[loose], 1)
            before = np.append(seen.before, 0)[rows] * float(stride * stride)
            beside = _touching(observation.box[whole], observation.box[loose])
            size = observation.area[whole]
            for k, j in enumerate(loose.tolist()):
                together = size + observation.area[j]
                explained = (share[:, k] >= settings.explained_share) & (together <= settings.explained_growth * before)
                explained &= ~(likeness[:, k] < settings.contradiction)
                usual = settings.explained_growth * table.area[slots]
                fragment = beside[:, k] & (likeness[:, k] >= settings.part_likeness) & (together <= usual)
                fits = np.flatnonzero(explained | fragment)
                if not len(fits):
                    continue
                i = int(fits[np.lexsort((-likeness[fits, k], -share[fits, k]))[0]])
                if state.clock - float(table.split_since[slots[i]]) > settings.split_seconds:
                    separated[j] = int(table.track[slots[i]])
                    continue
                parts[j] = int(whole[i])
                size[i] += observation.area[j]
                split.add(int(slots[i]))
        found = owner[owner >= 0]
        began = np.isnan(table.split_since[found])
        coming_in_parts = table.among(list(split))[found]
        since = np.where(began, state.clock, table.split_since[found])
        table.split_since[found] = np.where(coming_in_parts, since, np.nan)
        return parts, separated

    def _merges(
        self,
        placed: Slots,
        seen: "_Overlaps",
        observation: Observation,
        owner: NDArray[np.intp],
        state: TrackerState,
    ) -> list[TrackEvent]:
        """Things that were here a frame ago and whose place is now part of another thing's segment."""
        settings, table = self.settings, state.tracks
        events = []
        row_of = {slot: row for row, slot in enumerate(placed.tolist())}
        gone = (
            ~table.among(owner[owner >= 0])[placed]
            & table.is_thing[placed]
            & (table.misses[placed] == 0)
            & (seen.before > 0)
        )
        for row in np.flatnonzero(gone).tolist():
            slot = int(placed[row])
            j = int(seen.shared[row].argmax())
            other = int(owner[j])
            other_row = row_of.get(other)
            if other_row is None or not observation.is_thing[j] or table.misses[other] > 0:
                continue
            covered = seen.shared[row, j] >= settings.merged_share * seen.before[row]
            grown = seen.area[j] >= settings.merged_share * (seen.before[row] + seen.before[other_row])
            if covered and grown:
                into = int(table.track[other])
                table.merged_into[slot] = into
                reason = f"one segment covers it and track {into}"
                events.append(TrackEvent("merged", int(table.track[slot]), state.last_index, reason, other=into))
        # Who is seen again beside the one into which it had merged has split off.
        parted = owner[owner >= 0]
        parted = parted[table.merged_into[parted] > 0]
        for slot in parted[np.argsort(table.key[parted])].tolist():
            into = int(table.merged_into[slot])
            if into in table.track[owner[owner >= 0]]:
                reason = f"seen again beside track {into}"
                events.append(TrackEvent("split", int(table.track[slot]), state.last_index, reason, other=into))
        return events

    def _outline(self, missed: Slots, stride: int, state: TrackerState) -> None:
        """Keeps the masks, in the frame before, of what is missing since this frame."""
        table = state.tracks
        for slot in missed[(table.misses[missed] == 0) & table.placed[missed]].tolist():
            numbers = np.flatnonzero(state.previous_keys == table.key[slot]) + 1
            left, top, right, bottom = table.box[slot].tolist()
            y, x = int(top) // stride, int(left) // stride
            window = state.previous_map.numbers[y : -(-int(bottom) // stride), x : -(-int(right) // stride)]
            mask = window == numbers[0] if len(numbers) == 1 else np.isin(window, numbers)
            if mask.any():
                table.silhouettes[int(table.key[slot])] = Silhouette(
                    mask, left=x - (left + right) / (2 * stride), top=y - (top + bottom) / (2 * stride)
                )

    def _publish(
        self,
        frame: PanopticFrame,
        observation: Observation,
        owner: NDArray[np.intp],
        parts: Mapping[int, int],
        born: NDArray[np.intp],
        separated: Mapping[int, int],
        state: TrackerState,
    ) -> tuple[PanopticFrame, list[TrackEvent]]:
        """Track ids and categories into the frame, and what is to be told of births."""
        table = state.tracks
        events: list[TrackEvent] = []
        fresh = set(born.tolist())
        whole = np.array([parts.get(j, j) for j in range(len(observation))], dtype=np.intp)
        slots = owner[whole]
        tracks, categories = table.track[slots].tolist(), table.category[slots].tolist()
        known, share = category_evidence.posterior(table, slots, self.settings)
        counts = (known >= 0).sum(axis=1).tolist()
        posteriors = [
            tuple(zip(names[:count], shares[:count], strict=True))
            for names, shares, count in zip(known.tolist(), share.tolist(), counts, strict=True)
        ]
        groups: dict[int, list[int]] = {}
        words: dict[int, Segment] = {}
        for j, segment in enumerate(observation.segments):
            track, category = tracks[j], categories[j]
            if not segment.is_thing:
                if category not in state.stuff_tracks:
                    track = state.stuff_tracks[category] = life_cycle.new_track(state)
                    events.append(TrackEvent("born", track, frame.index, "first stuff of its category"))
                    events.append(TrackEvent("confirmed", track, frame.index, "stuff is confirmed when it is born"))
                track = state.stuff_tracks[category]
                groups.setdefault(track, []).append(j)
            elif j in fresh:
                other = separated.get(j)
                events.append(TrackEvent("born", track, frame.index, "no track explains it"))
                if other is not None:
                    reason = f"a part of track {other} that stays apart"
                    events.append(TrackEvent("split", track, frame.index, reason, other=other))
            words[segment.id] = Segment(
                id=segment.id,
                category=category,
                is_thing=segment.is_thing,
                score=segment.score,
                area=segment.area,
                box=segment.box,
                embedding=segment.embedding,
                open_vocabulary=segment.open_vocabulary,
                probabilities=posteriors[j],
                track=track,
                crowd=segment.crowd,
            )
        for j, target in parts.items():
            groups.setdefault(-1 - target, [target]).append(j)
        doubles = [[observation.segments[j].id for j in group] for group in groups.values() if len(group) > 1]
        if not doubles:
            return frame.with_segments(words[segment.id] for segment in frame.segments), events
        return _merge(frame, words, doubles), events

    def _fill(self, frame: PanopticFrame, stride: int, state: TrackerState) -> PanopticFrame:
        """Draws confirmed things that are missing where they are expected, on pixels that belong to nobody."""
        table, settings = state.tracks, self.settings
        rows = table.rows()
        rows = rows[table.is_thing[rows] & table.placed[rows] & (table.misses[rows] > 0)]
        place = self._predict(rows, state, frame.size)
        return fill_gaps(frame, table, rows, place.centre, place.gone, stride, settings)


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """Where tracks should be in the picture, in pixels."""

    centre: NDArray[np.float64]
    """`[N, 2]`, within the picture."""
    reach: NDArray[np.float64]
    """`[N]`: how far from there a segment may be."""
    shift: NDArray[np.float64]
    """`[N, 2]`: own motion since last seen, without the camera's."""
    gone: NDArray[np.float64]
    """`[N]`: seconds missing, 0 for what was in the frame before."""


@dataclass(frozen=True, slots=True, eq=False)
class _Overlaps:
    """What `N` tracks share with `M` segments, in samples."""

    iou: NDArray[np.float64]
    """`[N, M]`: O of the cost."""
    shared: NDArray[np.int64]
    """`[N, M]`: of the track's mask in the frame before, moved; 0 for what was not in it."""
    before: NDArray[np.int64]
    """`[N]`: size of that mask."""
    area: NDArray[np.int64]
    """`[M]`."""


def _cosines(
    table: TrackTable, slots: Slots, observation: Observation, chosen: NDArray[np.intp] | slice = _ALL
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cosines of tracks and (chosen) segments, and where there is one, `[N, M]` each."""
    size = 0 if observation.embedding is None else observation.embedding.shape[1]
    known = observation.has_embedding[chosen]
    if observation.embedding is None or table.dimension != size:
        shape = len(slots), len(known)
        return np.zeros(shape, dtype=np.float32), np.zeros(shape, dtype=bool)
    comparable = table.has_embedding[slots][:, None] & known[None, :]
    return gallery.cosines(table.embedding[slots], observation.embedding[chosen]), comparable


def _keep_world_small(state: TrackerState) -> None:
    """Moves the origin of the scene to this frame before numbers lose their precision (an hour of zooming in)."""
    if 1e-2 < camera.scale_of(state.world) < 1e2 and np.abs(state.world).max() < 1e6:
        return
    to_picture = camera.invert(state.world)
    table = state.tracks
    table.centre = camera.apply(to_picture, table.centre)
    table.velocity = camera.turn(to_picture, table.velocity)
    state.world = camera.identity()


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


def _touching(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which boxes of `[N, 4]` and `[M, 4]` overlap or have at most two pixels between them, bool `[N, M]`."""
    begin = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, 2:], second[None, :, 2:])
    gap = begin - end
    result: NDArray[np.bool_] = (gap[..., 0] <= 2.0) & (gap[..., 1] <= 2.0)
    return result


def _with_parts(observation: Observation, parts: Mapping[int, int]) -> Observation:
    """Area and box of each whole with its parts."""
    if not parts:
        return observation
    area, box = observation.area.copy(), observation.box.copy()
    for part, whole in parts.items():
        area[whole] += observation.area[part]
        box[whole, :2] = np.minimum(box[whole, :2], observation.box[part, :2])
        box[whole, 2:] = np.maximum(box[whole, 2:], observation.box[part, 2:])
    return replace(observation, area=area, box=box, centre=(box[:, :2] + box[:, 2:]) / 2)


def _merge(frame: PanopticFrame, words: Mapping[int, Segment], groups: Sequence[Sequence[int]]) -> PanopticFrame:
    """The frame with each group of segments (ids) as one: the larger gives its id, the first its track."""
    table = np.arange(int(frame.id_map.max()) + 1, dtype=np.uint16)
    merged = dict(words)
    for group in groups:
        track = words[group[0]].track
        parts = sorted((words[i] for i in group), key=lambda segment: -segment.area)
        area = sum(part.area for part in parts)
        for part in parts[1:]:
            table[part.id] = parts[0].id
            del merged[part.id]
        merged[parts[0].id] = replace(
            parts[0],
            track=track,
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
