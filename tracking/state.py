"""`TrackerState`: all that the tracker remembers of one stream, bounded, and saved and restored exactly."""

import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from tracking import camera
from tracking.category_evidence import CategoryEvidence
from videoseg.errors import InputError

Status = Literal["tentative", "confirmed", "lost"]

_MAGIC = b"videoseg tracker"


@dataclass(slots=True, eq=False)
class Silhouette:
    """The last mask of a track that is missing, to be compared where the track should be by now."""

    mask: NDArray[np.bool_]
    """bool `[h, w]` at the stride of the overlap maps."""
    left: float
    """From the middle of the track's box to the left edge of the mask, in samples."""
    top: float


@dataclass(slots=True, eq=False)
class Tracklet:
    """One thing, or one region of stuff, followed through the frames."""

    key: int
    """Own number within the state, in order of birth."""
    track: int
    """Public track id; 0 for a region of stuff, whose id is that of its category at the time."""
    is_thing: bool
    status: Status
    hits: int
    """Frames in which it was seen."""
    misses: int
    """Frames in a row in which it was not."""
    last_clock: float
    """When it was last seen, in seconds of the state's clock."""
    placed: bool
    """False after a cut: where it was says nothing about where it is."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom in pixels of the frame in which it was last seen."""
    centre: tuple[float, float]
    """Middle of the box in coordinates of the scene."""
    velocity: tuple[float, float]
    """In coordinates of the scene per second."""
    area: float
    """Usual number of pixels: a decayed mean."""
    evidence: CategoryEvidence = field(default_factory=CategoryEvidence)
    embedding: NDArray[np.float32] | None = None
    """float32 `[D]`, decayed mean of unit length."""
    gallery: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    """float32 `[n, D]`."""
    silhouette: Silhouette | None = None

    @property
    def nbytes(self) -> int:
        size = 400 + 16 * len(self.evidence.weights) + self.gallery.nbytes
        size += 0 if self.embedding is None else self.embedding.nbytes
        return size + (0 if self.silhouette is None else self.silhouette.mask.nbytes)


@dataclass(slots=True, eq=False)
class TrackerState:
    """What one stream has been so far. Change it only through the tracker."""

    format_version: ClassVar[int] = 1

    stream: str
    next_track: int = 1
    """Track ids are given out in order and never again."""
    next_key: int = 1
    steps: int = 0
    clock: float = 0.0
    """Seconds of the stream seen so far: never runs back, whatever the time stamps do."""
    last_time: float = 0.0
    last_index: int = -1
    last_epoch: int = 0
    size: tuple[int, int] | None = None
    """Height and width of the last frame."""
    world: camera.Transform = field(default_factory=camera.identity)
    previous_map: NDArray[np.uint16] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.uint16))
    """Sampled map of the last frame: 0 = void, `i + 1` = its segment number `i` in raster order."""
    previous_keys: list[int] = field(default_factory=list)
    """Keys of the tracklets of those segments."""
    contrast: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Decayed count, sum and sum of squares of cosines between different segments of one frame."""
    tracklets: list[Tracklet] = field(default_factory=list)
    """In ascending order of key."""
    stuff_tracks: dict[int, int] = field(default_factory=dict)
    """Category -> track id."""

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        own = self.previous_map.nbytes + 16 * (len(self.previous_keys) + len(self.stuff_tracks)) + 300
        return own + sum(tracklet.nbytes for tracklet in self.tracklets)

    def to_bytes(self) -> bytes:
        """A self-contained copy: equal states give equal bytes (no pickle; JSON for numbers, raw arrays)."""
        arrays: list[NDArray[Any]] = []

        def keep(array: NDArray[Any] | None) -> int | None:
            if array is None:
                return None
            arrays.append(np.ascontiguousarray(array))
            return len(arrays) - 1

        def describe(silhouette: Silhouette) -> list[Any]:
            mask = silhouette.mask
            return [keep(np.packbits(mask)), mask.shape, silhouette.left, silhouette.top]

        data: dict[str, Any] = {
            "stream": self.stream,
            "next_track": self.next_track,
            "next_key": self.next_key,
            "steps": self.steps,
            "clock": self.clock,
            "last_time": self.last_time,
            "last_index": self.last_index,
            "last_epoch": self.last_epoch,
            "size": self.size,
            "world": self.world.tolist(),
            "previous_map": keep(self.previous_map),
            "previous_keys": self.previous_keys,
            "contrast": self.contrast,
            "stuff_tracks": list(self.stuff_tracks.items()),
            "tracklets": [
                {
                    "key": t.key,
                    "track": t.track,
                    "is_thing": t.is_thing,
                    "status": t.status,
                    "hits": t.hits,
                    "misses": t.misses,
                    "last_clock": t.last_clock,
                    "placed": t.placed,
                    "box": t.box,
                    "centre": t.centre,
                    "velocity": t.velocity,
                    "area": t.area,
                    "evidence": [t.evidence.category, list(t.evidence.weights.items())],
                    "embedding": keep(t.embedding),
                    "gallery": keep(t.gallery),
                    "silhouette": None if t.silhouette is None else describe(t.silhouette),
                }
                for t in self.tracklets
            ],
        }  # fmt: skip
        data["arrays"] = [[array.dtype.str, array.shape] for array in arrays]
        head = json.dumps(data, ensure_ascii=True, separators=(",", ":")).encode()
        body = zlib.compress(struct.pack("<Q", len(head)) + head + b"".join(a.tobytes() for a in arrays), 1)
        return _MAGIC + struct.pack("<II", self.format_version, zlib.crc32(body)) + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of `to_bytes`.

        Raises:
            InputError: another format version, or damaged.
        """
        start = len(_MAGIC) + 8
        if not data.startswith(_MAGIC) or len(data) < start:
            raise InputError(
                "This is not a saved state of the tracker. Pass the bytes that TrackerState.to_bytes gave."
            )
        version, checksum = struct.unpack("<II", data[len(_MAGIC) : start])
        if version != cls.format_version:
            raise InputError(
                f"The saved tracker state has format version {version}, this program reads version "
                f"{cls.format_version}. Go on with the program that saved it, or start the stream anew."
            )
        if zlib.crc32(data[start:]) != checksum:
            raise InputError("The saved tracker state is damaged (its checksum differs). Start the stream anew.")
        body = zlib.decompress(data[start:])
        length = struct.unpack("<Q", body[:8])[0]
        head: dict[str, Any] = json.loads(body[8 : 8 + length])
        arrays, position = [], 8 + length
        for dtype, shape in head["arrays"]:
            count = int(np.prod(shape, dtype=np.int64))
            arrays.append(np.frombuffer(body, dtype=dtype, count=count, offset=position).reshape(shape).copy())
            position += arrays[-1].nbytes
        return cls(
            stream=head["stream"],
            next_track=head["next_track"],
            next_key=head["next_key"],
            steps=head["steps"],
            clock=head["clock"],
            last_time=head["last_time"],
            last_index=head["last_index"],
            last_epoch=head["last_epoch"],
            size=None if head["size"] is None else (head["size"][0], head["size"][1]),
            world=np.array(head["world"], dtype=np.float64),
            previous_map=arrays[head["previous_map"]],
            previous_keys=head["previous_keys"],
            contrast=(head["contrast"][0], head["contrast"][1], head["contrast"][2]),
            stuff_tracks=dict(head["stuff_tracks"]),
            tracklets=[_read_tracklet(entry, arrays) for entry in head["tracklets"]],
        )


def _read_tracklet(entry: dict[str, Any], arrays: list[NDArray[Any]]) -> Tracklet:
    silhouette = None
    if entry["silhouette"] is not None:
        number, (height, width), left, top = entry["silhouette"]
        mask = np.unpackbits(arrays[number], count=height * width).reshape(height, width).astype(bool)
        silhouette = Silhouette(mask, left, top)
    category, weights = entry["evidence"]
    box, centre, velocity = entry["box"], entry["centre"], entry["velocity"]
    return Tracklet(
        key=entry["key"],
        track=entry["track"],
        is_thing=entry["is_thing"],
        status=entry["status"],
        hits=entry["hits"],
        misses=entry["misses"],
        last_clock=entry["last_clock"],
        placed=entry["placed"],
        box=(box[0], box[1], box[2], box[3]),
        centre=(centre[0], centre[1]),
        velocity=(velocity[0], velocity[1]),
        area=entry["area"],
        evidence=CategoryEvidence(category, dict(weights)),
        embedding=None if entry["embedding"] is None else arrays[entry["embedding"]],
        gallery=arrays[entry["gallery"]],
        silhouette=silhouette,
    )
