"""`TrackTable`: all that is known of the tracks of one stream, as arrays with a row (a slot) for each track.

Slots are given out lowest first and used again; nothing that comes out may depend on them, so everything goes through
`rows()`, which is in the order of birth.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Slots = NDArray[np.intp]
"""intp `[n]`: rows of the table."""

FREE, TENTATIVE, CONFIRMED, LOST = 0, 1, 2, 3
"""Values of `TrackTable.status`; see `tracking.life_cycle`."""

Status = Literal["free", "tentative", "confirmed", "lost"]
STATUS: tuple[Status, ...] = ("free", "tentative", "confirmed", "lost")

_COLUMNS: dict[str, tuple[str, tuple[int, ...], float]] = {
    "key": ("<i8", (), 0),
    "track": ("<i8", (), 0),
    "is_thing": ("|b1", (), 0),
    "status": ("|i1", (), FREE),
    "hits": ("<f8", (), 0),
    "misses": ("<i4", (), 0),
    "born_clock": ("<f8", (), 0),
    "last_clock": ("<f8", (), 0),
    "placed": ("|b1", (), 0),
    "box": ("<f8", (4,), 0),
    "centre": ("<f8", (2,), 0),
    "velocity": ("<f8", (2,), 0),
    "area": ("<f8", (), 0),
    "score": ("<f8", (), 0),
    "split_since": ("<f8", (), np.nan),
    "merged_into": ("<i8", (), 0),
    "has_embedding": ("|b1", (), 0),
    "gallery_count": ("<i4", (), 0),
    "has_words": ("|b1", (), 0),
    "category": ("<i4", (), -1),
}
"""Name -> dtype, shape of one entry and its value in a fresh row, for all columns of fixed width."""


@dataclass(slots=True, eq=False)
class Silhouette:
    """The last mask of a track that is missing, to be compared where the track should be by now."""

    mask: NDArray[np.bool_]
    """bool `[h, w]` at the stride of the overlap maps."""
    left: float
    """From the middle of the track's box to the left edge of the mask, in samples."""
    top: float


class TrackTable:
    """Arrays of equal length; a row is one thing, or one region of stuff, followed through the frames."""

    key: NDArray[np.int64]
    """Own number within the stream, in order of birth."""
    track: NDArray[np.int64]
    """Public track id; 0 for a region of stuff, whose id is that of its category at the time."""
    is_thing: NDArray[np.bool_]
    status: NDArray[np.int8]
    hits: NDArray[np.float64]
    """Sightings; one of low confidence counts half."""
    misses: NDArray[np.int32]
    """Frames in a row in which it was not seen."""
    born_clock: NDArray[np.float64]
    """When it was first seen, in seconds of the state's clock."""
    last_clock: NDArray[np.float64]
    """When it was last seen, in seconds of the state's clock."""
    placed: NDArray[np.bool_]
    """False after a cut: where it was says nothing about where it is."""
    box: NDArray[np.float64]
    """`[n, 4]`: left, top, right, bottom in pixels of the frame in which it was last seen."""
    centre: NDArray[np.float64]
    """`[n, 2]`: middle of the box in coordinates of the scene."""
    velocity: NDArray[np.float64]
    """`[n, 2]`: in coordinates of the scene per second."""
    area: NDArray[np.float64]
    """Usual number of pixels: a decayed mean."""
    score: NDArray[np.float64]
    """Usual score: a decayed mean."""
    split_since: NDArray[np.float64]
    """Clock at which it began to come in parts; NaN while it is whole."""
    merged_into: NDArray[np.int64]
    """Track in whose segment it disappeared; 0 while it is not."""
    has_embedding: NDArray[np.bool_]
    gallery_count: NDArray[np.int32]
    has_words: NDArray[np.bool_]
    """Whether `words` is known."""
    category: NDArray[np.int32]
    """The category decided on; -1 before the first sighting."""
    embedding: NDArray[np.float32]
    """float32 `[n, D]`: decayed mean of unit length, see `tracking.gallery`."""
    gallery: NDArray[np.float32]
    """float32 `[n, G, D]`: earlier means that differ from each other, zero behind `gallery_count`."""
    words: NDArray[np.float32]
    """float32 `[n, E]`: the last clear `Segment.open_vocabulary`."""
    evidence_category: NDArray[np.int32]
    """int32 `[n, K]`, strongest first, -1 where there is none."""
    evidence: NDArray[np.float64]
    """float64 `[n, K]`."""

    def __init__(self, *, gallery_size: int = 8, categories: int = 16) -> None:
        self.gallery_size, self.categories = gallery_size, categories
        self.silhouettes: dict[int, Silhouette] = {}
        """Key -> last mask, of tracks that are missing."""
        for name, (dtype, shape, _) in _COLUMNS.items():
            setattr(self, name, np.zeros((0, *shape), dtype=dtype))
        self.embedding = np.zeros((0, 0), dtype=np.float32)
        self.gallery = np.zeros((0, gallery_size, 0), dtype=np.float32)
        self.words = np.zeros((0, 0), dtype=np.float32)
        self.evidence_category = np.full((0, categories), -1, dtype=np.int32)
        self.evidence = np.zeros((0, categories))

    def __len__(self) -> int:
        return int(np.count_nonzero(self.status))

    @property
    def dimension(self) -> int:
        """Of embeddings; 0 before the first."""
        return int(self.embedding.shape[1])

    def rows(self) -> Slots:
        """Slots in use, in order of birth."""
        used = np.flatnonzero(self.status)
        return used[np.argsort(self.key[used])]

    def among(self, slots: Slots | Sequence[int]) -> NDArray[np.bool_]:
        """Which of all slots are among these, bool of the length of the columns."""
        result = np.zeros(len(self.key), dtype=bool)
        result[slots] = True
        return result

    def add(self, count: int) -> Slots:
        """Takes `count` fresh rows."""
        free = np.flatnonzero(self.status == FREE)
        if len(free) < count:
            self._grow(max(len(self.key) + count, len(self.key) * 3 // 2, 16))
            free = np.flatnonzero(self.status == FREE)
        slots = free[:count]
        for name, (_, _, fresh) in _COLUMNS.items():
            getattr(self, name)[slots] = fresh
        self.embedding[slots], self.gallery[slots], self.words[slots] = 0.0, 0.0, 0.0
        self.evidence_category[slots], self.evidence[slots] = -1, 0.0
        return slots

    def drop(self, slots: Slots) -> None:
        """Gives rows back."""
        self.status[slots] = FREE
        for key in self.key[slots].tolist():
            self.silhouettes.pop(key, None)

    def require_dimension(self, size: int) -> None:
        """Makes room for embeddings of `size` numbers; those of another size are forgotten."""
        if size != self.dimension:
            self.embedding = np.zeros((len(self.key), size), dtype=np.float32)
            self.gallery = np.zeros((len(self.key), self.gallery_size, size), dtype=np.float32)
            self.has_embedding[:], self.gallery_count[:] = False, 0

    def require_words(self, size: int) -> None:
        """Makes room for open-vocabulary vectors of `size` numbers; those of another size are forgotten."""
        if size != self.words.shape[1]:
            self.words = np.zeros((len(self.key), size), dtype=np.float32)
            self.has_words[:] = False

    @property
    def nbytes(self) -> int:
        """Bytes of the rows in use and of the silhouettes."""
        row = sum(array.nbytes for _, array in self.arrays()) // max(len(self.key), 1)
        return row * len(self) + sum(s.mask.nbytes + 100 for s in self.silhouettes.values())

    def arrays(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every column by name."""
        for name in (*_COLUMNS, "embedding", "gallery", "words", "evidence_category", "evidence"):
            yield name, getattr(self, name)

    def _grow(self, capacity: int) -> None:
        for name, array in list(self.arrays()):
            grown = np.zeros((capacity, *array.shape[1:]), dtype=array.dtype)
            grown[: len(array)] = array
            setattr(self, name, grown)
