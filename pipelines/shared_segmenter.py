"""One model for several streams of a process: loaded once, its batches filled from all of them.

Each stream has a `SharedSegmenter`, which looks to it like a segmenter of its own; behind them all is one `SharedModel`
with one thread, in which the model is loaded and run. A frame waits a moment for those of the other streams. Who meets
whom depends on time and load; results do not, because a segmenter gives a frame the same bits in any company.
"""

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.executors import WorkerLost
from videoseg.frame import Frame
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Segmenter, StreamState
from videoseg.vocabulary import Vocabulary

PATIENCE = 0.02
"""Seconds that a frame waits for the streams that are missing: what a stream needs from one frame to its next is far
less, and a frame takes a network ten times as long."""

ACTIVE = 1.0
"""Seconds after its last frame for which a stream is waited for: between two chunks it reads for longer."""


class SharedSegmenter:
    """A stream's share in a model."""

    def __init__(self, model: "SharedModel") -> None:
        self._model = model
        self._number = model.enter()
        self.work: dict[str, int] = {}
        """What the network ran for this stream so far, by its ledger: of a batch, an equal part."""

    @property
    def vocabulary(self) -> Vocabulary:
        return self._model.segmenter.vocabulary

    def describe(self) -> Mapping[str, str]:
        return self._model.segmenter.describe()

    def new_state(self, stream: str) -> StreamState:
        return self._model.segmenter.new_state(stream)

    def segment(
        self, frames: Sequence[Frame], motions: Sequence[Motion | None], states: Sequence[StreamState]
    ) -> list[PanopticFrame]:
        """As the segmenter does it.

        Raises:
            WorkerLost: the model failed on a batch of several streams; none of their states can be relied on.
        """
        outcome = self._model.run(_Request(self._number, frames, motions, states))
        for name, count in outcome.work.items():
            self.work[name] = self.work.get(name, 0) + count
        return outcome.results

    def classify(self, open_vocabulary: NDArray[np.float32], vocabulary: Vocabulary) -> NDArray[np.float32]:
        probabilities: NDArray[np.float32] = self._model.call(lambda s: s.classify(open_vocabulary, vocabulary))
        return probabilities


@dataclass(frozen=True, slots=True)
class ShareSegmenter:
    """Gives a stream its share in the model of that key in this process, which the first to ask loads."""

    make: Callable[[], Segmenter]
    key: str

    def __call__(self) -> SharedSegmenter:
        with _loading:
            model = _models.get(self.key)
            if model is None:
                model = _models[self.key] = SharedModel(self.make)
            return SharedSegmenter(model)


@dataclass(frozen=True, slots=True, eq=False)
class _Outcome:
    results: list[PanopticFrame]
    work: dict[str, int]


@dataclass(slots=True, eq=False)
class _Request:
    """Frames of one stream that want to be segmented."""

    stream: int
    frames: Sequence[Frame]
    motions: Sequence[Motion | None]
    states: Sequence[StreamState]
    since: float = field(default_factory=monotonic)
    outcome: "Future[_Outcome]" = field(default_factory=Future)


class SharedModel:
    """A segmenter and the thread that it lives in: threads of the network are counted by the thread that calls it."""

    def __init__(self, make: Callable[[], Segmenter]) -> None:
        self._thread = ThreadPoolExecutor(1, "videoseg-model")
        self.segmenter = self._thread.submit(make).result()
        self._meeting = threading.Condition()
        self._waiting: list[_Request] = []
        self._last_seen: dict[int, float] = {}
        self._free_since = monotonic()
        self._streams = 0
        self.batches: dict[int, int] = {}
        """How often so many streams met."""

    def enter(self) -> int:
        """The number of a new stream."""
        with self._meeting:
            self._streams += 1
            return self._streams

    def run(self, request: _Request) -> _Outcome:
        """Waits for the request's turn and its outcome."""
        with self._meeting:
            self._waiting.append(request)
            self._last_seen[request.stream] = monotonic()
            self._meeting.notify()
        # A round for each request is enough: whoever meets others leaves them a round with nothing to do.
        self._thread.submit(self._round)
        return request.outcome.result()

    def call(self, what: Callable[[Segmenter], Any]) -> Any:
        """Does something else with the segmenter, in its thread."""
        return self._thread.submit(what, self.segmenter).result()

    def _round(self) -> None:
        batch = self._meet()
        if not batch:
            return
        before = work_of(self.segmenter)
        try:
            results = self.segmenter.segment(
                [frame for request in batch for frame in request.frames],
                [motion for request in batch for motion in request.motions],
                [state for request in batch for state in request.states],
            )
        except Exception as error:
            self._over(batch)
            for request in batch:
                request.outcome.set_exception(error if len(batch) == 1 else _failed_together(batch, error))
            return
        done = {name: count - before.get(name, 0) for name, count in work_of(self.segmenter).items()}
        self._over(batch)
        start = 0
        for place, request in enumerate(batch):
            own = results[start : start + len(request.frames)]
            start += len(request.frames)
            share = {name: (count + place) // len(batch) for name, count in done.items()}
            request.outcome.set_result(_Outcome(own, share))

    def _meet(self) -> list[_Request]:
        """Everybody who waits, after a moment for those who should come; in the order of streams."""
        with self._meeting:
            while self._waiting:
                left = max(self._waiting[0].since, self._free_since) + PATIENCE - monotonic()
                here = {request.stream for request in self._waiting}
                recently = monotonic() - ACTIVE
                missing = [s for s, seen in self._last_seen.items() if s not in here and seen > recently]
                if not missing or left <= 0:
                    break
                self._meeting.wait(left)
            batch, self._waiting = sorted(self._waiting, key=lambda request: request.stream), []
        return batch

    def _over(self, batch: Sequence[_Request]) -> None:
        with self._meeting:
            self._free_since = monotonic()
            self._last_seen |= {request.stream: self._free_since for request in batch}
            self.batches[len(batch)] = self.batches.get(len(batch), 0) + 1


def work_of(segmenter: Segmenter) -> dict[str, int]:
    """What the network ran so far, for this stream where the model is shared; empty where nobody counts."""
    if isinstance(segmenter, SharedSegmenter):
        return dict(segmenter.work)
    ledger = getattr(segmenter, "ledger", None)
    return {} if ledger is None else dict(ledger.total().to_json())


def _failed_together(batch: Sequence[_Request], error: Exception) -> WorkerLost:
    lost = WorkerLost(f"The model failed on a batch of {len(batch)} streams ({error or type(error).__name__}).")
    lost.__cause__ = error
    return lost


_loading = threading.Lock()
_models: "weakref.WeakValueDictionary[str, SharedModel]" = weakref.WeakValueDictionary()
"""The models of this process that streams have a share in; a model goes with its last stream."""
