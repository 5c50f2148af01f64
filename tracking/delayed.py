"""`DelayedTracker`: output held back for some frames, so that what turns out to be false never appears.

Wraps a `PanopticTracker`. A frame comes out when `frames` newer ones have been seen. Until then, of the frames held,

- a track that ends before it was confirmed, or that was seen too rarely since its birth, is retracted: its segments
  become void, and an event says so (it may come out later, if it is seen more often then);
- a segment that was filled in (`propagated`) goes again if its track did not come back by then.

Files can wait; live streams use the tracker itself, which holds nothing back.
"""

import io
import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tracking.state import TrackerState
from tracking.tracker import PanopticTracker
from videoseg.errors import InputError
from videoseg.motion import Motion
from videoseg.panoptic import PanopticFrame, Segment
from videoseg.protocols import TrackingStep
from videoseg.tracks import TrackEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class DelaySettings:
    """How long output waits and what it waits for."""

    frames: int = 15
    """As many as SAM 3 holds: half a second of video, in which a false track has shown itself."""
    least_share: float = 0.25
    """A track is retracted if it was seen in fewer of the frames held since its birth: with 40 % of segments dropped, a
    true one falls below a fourth of 15 frames once in 300 times."""

    def __post_init__(self) -> None:
        if self.frames < 0:
            raise InputError(f"The delay is a number of frames from 0 on, got {self.frames}.")
        if not 0.0 <= self.least_share <= 1.0:
            raise InputError(f"The least share of sightings must be in [0, 1], got {self.least_share}.")


@dataclass(slots=True, eq=False)
class DelayedState:
    """The state of the tracker inside, and the frames held."""

    format_version: ClassVar[int] = 1

    inner: TrackerState
    held: list[PanopticFrame] = field(default_factory=list)
    """Oldest first."""
    young: dict[int, list[int]] = field(default_factory=dict)
    """Track born among the frames held -> index of the frame of its birth, sightings since."""
    unconfirmed: set[int] = field(default_factory=set)

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        frames = sum(frame.id_map.nbytes + 2000 * len(frame.segments) for frame in self.held)
        return self.inner.nbytes + frames + 32 * (len(self.young) + len(self.unconfirmed))

    def to_bytes(self) -> bytes:
        """A self-contained copy: equal states give equal bytes."""
        inner = self.inner.to_bytes()
        frames = [_frame_to_bytes(frame) for frame in self.held]
        head = json.dumps(
            {
                "inner": len(inner),
                "frames": [len(data) for data in frames],
                "young": [[track, *entry] for track, entry in sorted(self.young.items())],
                "unconfirmed": sorted(self.unconfirmed),
            }
        ).encode()
        body = struct.pack("<Q", len(head)) + head + inner + b"".join(frames)
        return _MAGIC + struct.pack("<II", self.format_version, zlib.crc32(body)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`.

        Raises:
            InputError: another format version, or damaged.
        """
        start = len(_MAGIC) + 8
        if not data.startswith(_MAGIC) or len(data) < start:
            raise InputError("This is not a saved state of a delayed tracker. Pass the bytes that to_bytes gave.")
        version, checksum = struct.unpack("<II", data[len(_MAGIC) : start])
        if version != cls.format_version:
            raise InputError(
                f"The saved state of the delayed tracker has format version {version}, this program reads version "
                f"{cls.format_version}. Go on with the program that saved it, or start the stream anew."
            )
        body = data[start:]
        if zlib.crc32(body) != checksum:
            raise InputError("The saved state of the tracker is damaged (its checksum differs). Start the stream anew.")
        length = struct.unpack("<Q", body[:8])[0]
        head: dict[str, Any] = json.loads(body[8 : 8 + length])
        position = 8 + length
        inner = TrackerState.from_bytes(body[position : position + head["inner"]])
        position += head["inner"]
        held = []
        for size in head["frames"]:
            held.append(_frame_from_bytes(body[position : position + size]))
            position += size
        return cls(
            inner=inner,
            held=held,
            young={track: [born, seen] for track, born, seen in head["young"]},
            unconfirmed=set(head["unconfirmed"]),
        )


class DelayedTracker:
    """A tracker whose frames come out `settings.frames` later, without what proved false by then.

    Args:
        tracker: the tracker inside.
        settings: see there; None takes the defaults.
    """

    def __init__(self, tracker: PanopticTracker, settings: DelaySettings | None = None) -> None:
        self.tracker = tracker
        self.settings = settings or DelaySettings()

    def describe(self) -> Mapping[str, str]:
        """What the tracker inside says, and the delay."""
        return {**self.tracker.describe(), "delay": json.dumps(asdict(self.settings))}

    def new_state(self, stream: str) -> DelayedState:
        """The state of a stream of which nothing has been seen yet."""
        return DelayedState(self.tracker.new_state(stream))

    def step(self, frame: PanopticFrame, motion: Motion | None, state: DelayedState) -> TrackingStep:
        """Takes the next frame; gives out the frame that has waited long enough, if there is one.

        Events come when they happen, so an event can be of a frame that is still held.
        """
        step = self.tracker.step(frame, motion, state.inner)
        events = list(step.events)
        (now,) = step.frames
        state.held.append(now)
        for event in step.events:
            if event.kind == "re-identified" and event.other is not None:
                self._rename(event.other, event.track, state)
        self._note(now, step.events, state)
        events += self._retract(now.index, state)
        out = []
        while len(state.held) > self.settings.frames:
            out.append(self._release(state))
        return TrackingStep(frames=tuple(out), events=tuple(events))

    def finish(self, state: DelayedState) -> TrackingStep:
        """Gives out all frames held and ends every track."""
        step = self.tracker.finish(state.inner)
        last = state.held[-1].index if state.held else state.inner.last_index
        events = [
            _retracted(track, last, "the stream ended before it was confirmed") for track in sorted(state.unconfirmed)
        ]
        _strip(state.held, state.unconfirmed)
        state.unconfirmed = set()
        state.young = {}
        out = []
        while state.held:
            out.append(self._release(state))
        return TrackingStep(frames=tuple(out), events=(*events, *step.events))

    def _rename(self, before: int, after: int, state: DelayedState) -> None:
        """A young track turned out to be an older one: it is that one in the frames held, too."""
        state.young.pop(before, None)
        state.unconfirmed.discard(before)
        for i, frame in enumerate(state.held):
            if any(segment.track == before for segment in frame.segments):
                state.held[i] = frame.with_segments(
                    replace(segment, track=after) if segment.track == before else segment for segment in frame.segments
                )

    def _note(self, frame: PanopticFrame, events: Iterable[TrackEvent], state: DelayedState) -> None:
        """Who is young, and how often seen."""
        things = {s.track for s in frame.segments if s.is_thing and not s.propagated and s.track is not None}
        for event in events:
            if event.kind == "born" and event.track in things:
                state.young[event.track] = [event.index, 0]
                state.unconfirmed.add(event.track)
            elif event.kind == "confirmed":
                state.unconfirmed.discard(event.track)
        for track in things & set(state.young):
            state.young[track][1] += 1

    def _retract(self, index: int, state: DelayedState) -> list[TrackEvent]:
        """Takes back what proved false by this frame."""
        events = []
        false: set[int] = set()
        alive = set(state.inner.tracks.track[state.inner.tracks.rows()].tolist())
        for track in sorted(state.unconfirmed - alive):
            false.add(track)
            state.young.pop(track, None)
            events.append(_retracted(track, index, "it ended before it was confirmed"))
        state.unconfirmed &= alive
        oldest = state.held[0].index
        for track, (born, seen) in sorted(state.young.items()):
            frames = sum(1 for frame in state.held if frame.index >= born)
            if born > oldest or frames < self.settings.frames:
                continue
            del state.young[track]
            if seen < self.settings.least_share * frames:
                false.add(track)
                events.append(_retracted(track, index, f"seen in {seen} of its first {frames} frames"))
        _strip(state.held, false)
        return events

    def _release(self, state: DelayedState) -> PanopticFrame:
        """The oldest frame, without what was filled in for nothing."""
        frame = state.held.pop(0)
        later = {
            s.track for following in state.held for s in following.segments if not s.propagated and s.track is not None
        }
        return without(frame, {s.id for s in frame.segments if s.propagated and s.track not in later})


def _strip(frames: list[PanopticFrame], tracks: set[int]) -> None:
    """Takes tracks out of the frames held, in place."""
    for i, frame in enumerate(frames):
        frames[i] = without(frame, {s.id for s in frame.segments if s.is_thing and s.track in tracks})


def without(frame: PanopticFrame, ids: set[int]) -> PanopticFrame:
    """The frame with some of its segments made void."""
    if not ids:
        return frame
    table = np.arange(int(frame.id_map.max()) + 1, dtype=np.uint16)
    table[list(ids)] = 0
    return replace(frame, id_map=table[frame.id_map], segments=tuple(s for s in frame.segments if s.id not in ids))


def _retracted(track: int, index: int, reason: str) -> TrackEvent:
    return TrackEvent("retracted", track, index, reason)


_MAGIC = b"videoseg delayed"
_VECTORS = ("embedding", "open_vocabulary")


def _frame_to_bytes(frame: PanopticFrame) -> bytes:
    segments = []
    vectors: list[NDArray[np.float32]] = []
    for segment in frame.segments:
        entry: dict[str, Any] = {
            "id": segment.id,
            "category": segment.category,
            "is_thing": segment.is_thing,
            "score": segment.score,
            "area": segment.area,
            "box": segment.box,
            "probabilities": segment.probabilities,
            "track": segment.track,
            "crowd": segment.crowd,
            "propagated": segment.propagated,
        }
        for name in _VECTORS:
            vector = getattr(segment, name)
            entry[name] = None if vector is None else len(vectors)
            if vector is not None:
                vectors.append(np.asarray(vector, dtype=np.float32))
        segments.append(entry)
    head = {
        "stream": frame.stream,
        "epoch": frame.epoch,
        "index": frame.index,
        "pts": frame.pts,
        "time_base": [frame.time_base.numerator, frame.time_base.denominator],
        "time": frame.time,
        "shape": frame.id_map.shape,
        "vectors": [len(vector) for vector in vectors],
        "segments": segments,
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    raw = struct.pack("<Q", len(text)) + text + frame.id_map.astype("<u2").tobytes()
    return zlib.compress(raw + b"".join(vector.astype("<f4").tobytes() for vector in vectors), 1)


def _frame_from_bytes(data: bytes) -> PanopticFrame:
    stream = io.BytesIO(zlib.decompress(data))
    head: dict[str, Any] = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
    height, width = head["shape"]
    id_map = np.frombuffer(stream.read(2 * height * width), dtype="<u2").reshape(height, width).astype(np.uint16)
    vectors = [np.frombuffer(stream.read(4 * n), dtype="<f4").astype(np.float32) for n in head["vectors"]]
    segments = []
    for entry in head["segments"]:
        fields = dict(entry)
        fields["box"] = tuple(entry["box"])
        fields["probabilities"] = tuple((category, share) for category, share in entry["probabilities"])
        for name in _VECTORS:
            fields[name] = None if entry[name] is None else vectors[entry[name]]
        segments.append(Segment(**fields))
    return PanopticFrame(
        stream=head["stream"],
        epoch=head["epoch"],
        index=head["index"],
        pts=head["pts"],
        time_base=Fraction(*head["time_base"]),
        time=head["time"],
        id_map=id_map,
        segments=tuple(segments),
    )
