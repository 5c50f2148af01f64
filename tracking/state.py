"""`TrackerState`: all that the tracker remembers of one stream, bounded, and saved and restored exactly."""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from tracking import camera
from tracking.overlap import SampledMap
from tracking.table import Silhouette, TrackTable
from videoseg.errors import InputError
from videoseg.packed_arrays import pack_arrays, unpack_arrays

_MAGIC = b"videoseg tracker"
_ON_GRID = ("embedding", "gallery")
"""Columns whose numbers are multiples of 1/2048 in [-1, 1] (see `tracking.gallery`): int16 holds them exactly."""


def _nothing() -> SampledMap:
    return SampledMap.of(np.zeros((0, 0), dtype=np.uint16))


@dataclass(slots=True, eq=False)
class TrackerState:
    """What one stream has been so far. Change it only through the tracker."""

    format_version: ClassVar[int] = 2

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
    previous_map: SampledMap = field(default_factory=_nothing)
    """Sampled map of the last frame: 0 = void, `i + 1` = its segment number `i` in raster order."""
    previous_keys: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """int64: keys of the tracks of those segments."""
    contrast: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Decayed count, sum and sum of squares of cosines between different segments of one frame."""
    kin: tuple[float, float] = (0.0, 0.0)
    """Decayed count and sum of cosines between tracks and their own segments."""
    tracks: TrackTable = field(default_factory=TrackTable)
    stuff_tracks: dict[int, int] = field(default_factory=dict)
    """Category -> track id."""

    @property
    def nbytes(self) -> int:
        """Bytes held, about."""
        own = self.previous_map.numbers.nbytes + self.previous_map.starts.nbytes + self.previous_keys.nbytes
        return own + 16 * len(self.stuff_tracks) + 300 + self.tracks.nbytes

    def to_bytes(self) -> bytes:
        """A self-contained copy: equal states give equal bytes (no pickle; JSON for numbers, raw arrays)."""
        arrays: dict[str, NDArray[Any]] = {
            "previous_map": self.previous_map.numbers,
            "previous_keys": self.previous_keys,
            "world": self.world,
        }
        table = self.tracks
        rows = table.rows()
        for name, column in table.arrays():
            taken = column[rows]
            arrays[f"tracks.{name}"] = np.rint(taken * 2048.0).astype("<i2") if name in _ON_GRID else taken
        silhouettes = []
        for key, silhouette in sorted(table.silhouettes.items()):
            arrays[f"silhouette.{key}"] = np.packbits(silhouette.mask)
            silhouettes.append([key, *silhouette.mask.shape, silhouette.left, silhouette.top])
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
            "contrast": self.contrast,
            "kin": self.kin,
            "gallery_size": table.gallery_size,
            "categories": table.categories,
            "stuff_tracks": list(self.stuff_tracks.items()),
            "silhouettes": silhouettes,
        }
        body = zlib.compress(pack_arrays(data, arrays), 1)
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
        head, arrays = unpack_arrays(zlib.decompress(data[start:]))
        table = TrackTable(gallery_size=head["gallery_size"], categories=head["categories"])
        for name, _ in list(table.arrays()):
            column = arrays[f"tracks.{name}"]
            setattr(table, name, column.astype(np.float32) / np.float32(2048.0) if name in _ON_GRID else column)
        for key, height, width, left, top in head["silhouettes"]:
            mask = np.unpackbits(arrays[f"silhouette.{key}"], count=height * width).reshape(height, width)
            table.silhouettes[key] = Silhouette(mask.astype(bool), left, top)
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
            world=arrays["world"],
            previous_map=SampledMap.of(arrays["previous_map"]),
            previous_keys=arrays["previous_keys"],
            contrast=(head["contrast"][0], head["contrast"][1], head["contrast"][2]),
            kin=(head["kin"][0], head["kin"][1]),
            tracks=table,
            stuff_tracks=dict(head["stuff_tracks"]),
        )
