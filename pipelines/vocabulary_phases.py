"""A vocabulary that changes in the middle of a run: what is looked for from which frame on.

The run has one vocabulary, in which all categories of all phases are, and every phase looks for some of them; so
whoever reads a result need not know of phases. `PhasedSegmenter` and `PhasedTracker` are an ordinary segmenter and an
ordinary tracker to everybody else. At the first frame of a phase the tracks that live are classified again
(`tracking.change_vocabulary`) and keep their ids.
"""

import importlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from pipelines.models import with_vocabulary
from pipelines.parts import LoadSegmenter, MakeTracker
from pipelines.settings import RunSettings, VocabularyPhase
from tracking import Classifier, DelayedState, DelayedTracker, PanopticTracker, TrackerState, change_vocabulary
from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Segmenter, StreamState, TrackingStep
from videoseg.tracks import TrackEvent
from videoseg.vocabulary import Category, Vocabulary, parse, spread_colour


@dataclass(frozen=True, slots=True)
class PlannedVocabulary:
    """The vocabulary of a run, and when which part of it is looked for."""

    vocabulary: Vocabulary
    phases: tuple[VocabularyPhase, ...]
    """In the order of frames, the first at 0; a single one means that nothing changes."""

    def __post_init__(self) -> None:
        frames = [phase.frame for phase in self.phases]
        if (frames and frames[0] != 0) or frames != sorted(set(frames)):
            raise ValueError(f"phases begin at frame 0 and go on at later and later frames, got {frames}")

    def at(self, index: int) -> int:
        """Number of the phase of a frame."""
        return max(i for i, phase in enumerate(self.phases) if phase.frame <= index)

    def part(self, number: int) -> Vocabulary:
        """What is looked for in a phase."""
        return Vocabulary(tuple(self.vocabulary[i] for i in self.phases[number].categories))


def plan_vocabulary(
    first: Vocabulary, things_at: Mapping[int, str], stuff_at: Mapping[int, str] | None = None
) -> PlannedVocabulary:
    """Joins a vocabulary with what replaces its things or its stuff later.

    A category that two phases share (by its first name) is one category, with the synonyms of both.

    Args:
        first: from frame 0 on.
        things_at: frame -> things from there on, in the grammar of `videoseg.vocabulary`; stuff stays as it was.
        stuff_at: frame -> stuff from there on, likewise.

    Raises:
        InputError: a frame below 1, nothing named, or a word that would be a thing here and stuff there.
    """
    parts: dict[bool, list[tuple[str, ...]]] = {
        kind: [category.names for category in first if category.is_thing == kind] for kind in (True, False)
    }
    names = {category.name.casefold(): category for category in first}
    order = [category.name.casefold() for category in first]
    spans = [(0, frozenset(order))]
    changes = {True: dict(things_at), False: dict(stuff_at or {})}
    for frame in sorted({*changes[True], *changes[False]}):
        if frame < 1:
            raise InputError(f"The vocabulary can change at frame 1 and later, got {frame}. Give the first as --vocab.")
        for is_thing, option in ((True, "--vocab-at"), (False, "--stuff-at")):
            if frame not in changes[is_thing]:
                continue
            given = parse(changes[is_thing][frame])
            if not given:
                raise InputError(f'{option} names nothing at frame {frame}. Write it as {option} "{frame}=dog; cat".')
            parts[is_thing] = given
            for words in given:
                key = words[0].casefold()
                known = names.get(key)
                if known is None:
                    names[key] = Category(words, is_thing, spread_colour(len(order)))
                    order.append(key)
                elif known.is_thing == is_thing:
                    names[key] = replace(known, names=tuple(dict.fromkeys((*known.names, *words))))
        now = [words[0].casefold() for kind in (True, False) for words in parts[kind]]
        twice = {word for word in now if now.count(word) > 1}
        twice |= {
            words[0].casefold() for kind, listed in parts.items() for words in listed if _is(names, words) != kind
        }
        if twice:
            raise InputError(
                f"The word {min(twice)!r} is given twice, or as a thing and as stuff, in the vocabulary from frame "
                f"{frame} on. Call one of them by another name."
            )
        spans.append((frame, frozenset(now)))
    place = {key: i for i, key in enumerate(order)}
    return PlannedVocabulary(
        Vocabulary(tuple(names[key] for key in order)),
        tuple(VocabularyPhase(frame, tuple(sorted(place[key] for key in keys))) for frame, keys in spans),
    )


def _is(names: Mapping[str, Category], words: Sequence[str]) -> bool:
    return names[words[0].casefold()].is_thing


@dataclass(slots=True)
class PhasedState:
    """The state of a stream, and the phase of its last frame."""

    format_version: ClassVar[int] = 1
    phase: int
    inner: StreamState

    @property
    def nbytes(self) -> int:
        return self.inner.nbytes + 8

    def to_bytes(self) -> bytes:
        """A self-contained copy."""
        kind = type(self.inner)
        head = json.dumps([self.format_version, self.phase, kind.__module__, kind.__qualname__]).encode()
        return struct.pack("<I", len(head)) + head + self.inner.to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Raises InputError where `data` has another format version or is damaged."""
        try:
            size = struct.unpack("<I", data[:4])[0]
            version, phase, module, name = json.loads(data[4 : 4 + size])
            if version != cls.format_version or module.split(".")[0] not in ("pipelines", "odise_frame", "tracking"):
                raise ValueError
            kind = getattr(importlib.import_module(module), name)
        except (ValueError, TypeError, struct.error, AttributeError, ImportError):
            raise InputError(
                "The saved state of a run with a changing vocabulary is damaged or of another version: start anew."
            ) from None
        return cls(phase, kind.from_bytes(data[4 + size :]))


class PhasedSegmenter:
    """A segmenter for each phase, behind one face; categories come out as those of the run.

    Args:
        plan: see there.
        segmenters: of each phase, with its part of the vocabulary; they may share their weights.
    """

    def __init__(self, plan: PlannedVocabulary, segmenters: Sequence[Segmenter]) -> None:
        self._plan = plan
        self._segmenters = tuple(segmenters)

    @property
    def vocabulary(self) -> Vocabulary:
        return self._plan.vocabulary

    def describe(self) -> Mapping[str, str]:
        return self._segmenters[0].describe()

    def new_state(self, stream: str) -> PhasedState:
        return PhasedState(-1, self._segmenters[0].new_state(stream))

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        """One result per frame, each by the segmenter of its phase, which begins without memory."""
        results = []
        for frame, motion, state in zip(frames, motions, states, strict=True):
            assert isinstance(state, PhasedState)
            phase = self._plan.at(frame.index)
            segmenter = self._segmenters[phase]
            if phase != state.phase:
                motion = motion if state.phase < 0 else None
                state.phase, state.inner = phase, segmenter.new_state(frame.stream)
            (found,) = segmenter.segment([frame], [motion], [state.inner])
            results.append(_renamed(found, self._plan.phases[phase].categories))
        return results

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        return self._segmenters[0].classify(open_vocabulary, vocabulary)


class PhasedTracker:
    """A tracker that classifies its tracks again where a phase begins.

    Args:
        plan: see there.
        tracker: with the whole vocabulary of the run.
        make_classifier: called when it is needed first, where the tracker lives.
    """

    def __init__(
        self,
        plan: PlannedVocabulary,
        tracker: PanopticTracker | DelayedTracker,
        make_classifier: Callable[[], Classifier],
    ) -> None:
        self._plan = plan
        self._tracker = tracker
        self._make_classifier = make_classifier
        self._classifier: Classifier | None = None

    def describe(self) -> Mapping[str, str]:
        return self._tracker.describe()

    def new_state(self, stream: str) -> PhasedState:
        return PhasedState(-1, self._tracker.new_state(stream))

    def step(self, frame: PanopticFrame, motion: Motion | None, state: PhasedState) -> TrackingStep:
        """See `Tracker.step`; the first events of a phase are those of tracks that are called otherwise now."""
        phase = self._plan.at(frame.index)
        events = self._change(phase, state) if 0 <= state.phase != phase else ()
        state.phase = phase
        step = self._tracker.step(frame, motion, state.inner)  # type: ignore[arg-type]
        return replace(step, events=(*events, *step.events))

    def finish(self, state: PhasedState) -> TrackingStep:
        return self._tracker.finish(state.inner)  # type: ignore[arg-type]

    def _change(self, phase: int, state: PhasedState) -> tuple[TrackEvent, ...]:
        if self._classifier is None:
            self._classifier = self._make_classifier()
        tracker = self._tracker.tracker if isinstance(self._tracker, DelayedTracker) else self._tracker
        inner = state.inner.inner if isinstance(state.inner, DelayedState) else state.inner
        assert isinstance(inner, TrackerState)
        part = _Part(self._classifier, self._plan, phase)
        categories = self._plan.phases[phase].categories
        return change_vocabulary(tracker, inner, part, self._plan.vocabulary, looked_for=categories)[1]


@dataclass(frozen=True, slots=True)
class _Part:
    """A classifier that knows the categories of one phase only, and speaks of them as the run does."""

    classifier: Classifier
    plan: PlannedVocabulary
    phase: int

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        known = self.classifier.classify(open_vocabulary, self.plan.part(self.phase))
        result = np.zeros((len(open_vocabulary), len(vocabulary)), dtype=np.float32)
        result[:, list(self.plan.phases[self.phase].categories)] = known
        return result


_LOADED: "WeakValueDictionary[tuple[str, str, int, str], Segmenter]" = WeakValueDictionary()
"""What this process has loaded for a run with phases: a tracker beside the segmenter takes its weights."""


@dataclass(frozen=True, slots=True)
class LoadPhases:
    """Loads a model once and gives it the vocabularies of all phases."""

    plan: PlannedVocabulary
    load: LoadSegmenter
    """Its vocabulary is the run's."""

    def on(self, device: str) -> "LoadPhases":
        """The same on another device."""
        return replace(self, load=self.load.on(device))

    def __call__(self) -> PhasedSegmenter:
        """Raises InputError where the model is not here, or cannot change its vocabulary."""
        first = self.first()
        rest = [with_vocabulary(first, self.plan.part(i)) for i in range(1, len(self.plan.phases))]
        return PhasedSegmenter(self.plan, [first, *rest])

    def first(self) -> Segmenter:
        """The segmenter of the first phase; the one that is here already, if there is one."""
        found = _LOADED.get(self._key)
        if found is None:
            found = _LOADED[self._key] = replace(self.load, vocabulary=self.plan.part(0))()
        return found

    @property
    def _key(self) -> tuple[str, str, int, str]:
        return self.load.model, self.load.device, self.load.threads, self.plan.part(0).checksum


@dataclass(frozen=True, slots=True)
class MakePhasedTracker:
    """Makes the tracker of a run whose vocabulary changes."""

    load: LoadPhases
    settings: RunSettings

    def __call__(self) -> PhasedTracker:
        plan = self.load.plan
        return PhasedTracker(plan, MakeTracker(plan.vocabulary, self.settings)(), self.load.first)


def _renamed(frame: PanopticFrame, categories: Sequence[int]) -> PanopticFrame:
    """The frame with category `i` of a phase as `categories[i]` of the run."""
    return frame.with_segments(
        replace(
            segment,
            category=categories[segment.category],
            probabilities=tuple((categories[category], share) for category, share in segment.probabilities),
        )
        for segment in frame.segments
    )
