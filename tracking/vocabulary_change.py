"""A vocabulary that changes in the middle of a stream: live tracks are classified again and keep their ids."""

from collections.abc import Collection
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tracking.life_cycle import new_track
from tracking.state import TrackerState
from tracking.tracker import PanopticTracker
from videoseg.errors import InputError
from videoseg.tracks import TrackEvent
from videoseg.vocabulary import Vocabulary


class Classifier(Protocol):
    """The part of a segmenter that names segments again."""

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        """See `videoseg.protocols.Segmenter.classify`."""


def change_vocabulary(
    tracker: PanopticTracker,
    state: TrackerState,
    segmenter: Classifier,
    vocabulary: Vocabulary,
    *,
    looked_for: Collection[int] | None = None,
) -> tuple[PanopticTracker, tuple[TrackEvent, ...]]:
    """Prepares a stream for frames in another vocabulary; call it between two steps.

    What every track has been taken for so far is replaced by what the segmenter says of it in the new vocabulary, with
    as much weight as all evidence had. Things stay things and stuff stays stuff: only categories of a track's own kind
    count. A stuff category that the new vocabulary also has keeps its track.

    Args:
        tracker: of the old vocabulary.
        state: changed in place.
        segmenter: whose segments were tracked, and who has to be able to classify them again.
        vocabulary: the new one.
        looked_for: the categories of it that count from now on; None is all.

    Returns:
        The tracker for the frames from now on, and a `class changed` event for every thing whose name changed.

    Raises:
        InputError: the segmenter cannot classify again, gave nothing to classify by, or the new vocabulary has no
            category of a kind that is alive. The state is then as it was.
    """
    old, table = tracker.vocabulary, state.tracks
    if old is None:
        raise InputError("A tracker without a vocabulary cannot change it. Make the tracker with the first vocabulary.")
    rows = table.rows()
    kinds = np.array([category.is_thing for category in vocabulary], dtype=bool)
    open_to = np.isin(np.arange(len(vocabulary)), list(range(len(vocabulary)) if looked_for is None else looked_for))
    for is_thing, name in ((True, "things"), (False, "stuff")):
        if (table.is_thing[rows] == is_thing).any() and not (open_to & (kinds == is_thing)).any():
            raise InputError(f"The new vocabulary has no {name}, but {name} are being followed. Add a category.")
    silent = rows[~table.has_words[rows]]
    if len(silent):
        raise InputError(
            f"{len(silent)} of {len(rows)} tracks came without open-vocabulary vectors, so this segmenter's segments "
            "cannot be classified again. Start the stream anew with the new vocabulary."
        )
    replaced = PanopticTracker(tracker.settings, vocabulary=vocabulary, solver=tracker.solver)
    if not len(rows):
        state.stuff_tracks = _same_stuff(state.stuff_tracks, old, vocabulary, open_to)
        return replaced, ()
    probabilities = np.asarray(segmenter.classify(table.words[rows], vocabulary), dtype=np.float64)
    if probabilities.shape != (len(rows), len(vocabulary)):
        raise InputError(
            f"The segmenter classified {len(rows)} tracks among {len(vocabulary)} categories and gave an array of "
            f"shape {probabilities.shape}. This is a defect of the segmenter."
        )
    possible = open_to[None, :] & (kinds[None, :] == table.is_thing[rows][:, None])
    probabilities = np.where(possible, np.maximum(probabilities, 0.0), 0.0)
    probabilities /= np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : table.categories]
    weight = np.maximum(table.evidence[rows].sum(axis=1), 1e-3)[:, None]
    before = table.category[rows].copy()
    table.evidence_category[rows], table.evidence[rows] = -1, 0.0
    table.evidence_category[rows[:, None], np.arange(order.shape[1])[None, :]] = order
    table.evidence[rows[:, None], np.arange(order.shape[1])[None, :]] = weight * np.take_along_axis(
        probabilities, order, axis=1
    )
    table.category[rows] = order[:, 0]
    state.stuff_tracks = _moved_stuff(state, before, old, vocabulary, open_to)
    events = [
        TrackEvent(
            "class changed",
            int(table.track[slot]),
            state.last_index,
            f"{vocabulary[int(table.category[slot])].name} in the new vocabulary, was {old[int(was)].name}",
        )
        for slot, was in zip(rows.tolist(), before.tolist(), strict=True)
        if table.is_thing[slot] and vocabulary[int(table.category[slot])].name != old[int(was)].name
    ]
    return replaced, tuple(events)


def _same_stuff(tracks: dict[int, int], old: Vocabulary, new: Vocabulary, open_to: NDArray[np.bool_]) -> dict[int, int]:
    """Tracks of the stuff categories that both vocabularies have."""
    place = {category.name.casefold(): i for i, category in enumerate(new) if open_to[i] and not category.is_thing}
    found = {place.get(old[category].name.casefold()): track for category, track in tracks.items()}
    return {category: track for category, track in found.items() if category is not None}


def _moved_stuff(
    state: TrackerState, before: NDArray[np.int32], old: Vocabulary, new: Vocabulary, open_to: NDArray[np.bool_]
) -> dict[int, int]:
    """Category -> track: by name first, then by what the largest region of each old category has become."""
    table = state.tracks
    rows = table.rows()
    kept = _same_stuff(state.stuff_tracks, old, new, open_to)
    used = set(kept.values())
    regions = sorted(
        (-float(table.area[slot]), int(table.key[slot]), slot, int(was))
        for slot, was in zip(rows.tolist(), before.tolist(), strict=True)
        if not table.is_thing[slot]
    )
    for _, _, slot, was in regions:
        track, category = state.stuff_tracks.get(was), int(table.category[slot])
        if category not in kept and track is not None and track not in used:
            kept[category] = track
            used.add(track)
    for slot in rows.tolist():
        if not table.is_thing[slot] and int(table.category[slot]) not in kept:
            kept[int(table.category[slot])] = new_track(state)
    return kept
