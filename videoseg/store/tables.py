"""The Parquet tables of a run: their schemas and how they are written.

Parquet files are the same bytes for the same rows: settings are fixed, row groups are cut by content, and nothing in
them knows the time. Floating-point columns hold less than the program does: scores and probabilities float32,
embeddings float16.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from videoseg.store.id_maps import ENCODING
from videoseg.tracks import TrackEvent

ID_MAPS = pa.schema(
    [
        pa.field("number", pa.int64(), False),  # among the selected frames
        pa.field("index", pa.int64(), False),  # among the shown frames of the source
        pa.field("epoch", pa.int32(), False),
        pa.field("pts", pa.int64(), False),
        pa.field("time_base_numerator", pa.int64(), False),
        pa.field("time_base_denominator", pa.int64(), False),
        pa.field("time", pa.float64(), False),  # seconds
        pa.field("overlap", pa.bool_(), False),  # a warm-up frame: the chunk before has the one that counts
        pa.field("height", pa.int32(), False),
        pa.field("width", pa.int32(), False),
        pa.field("id_map", pa.binary(), False),
    ],
    metadata={"id_map": ENCODING},
)
"""A row per frame."""

SEGMENTS = pa.schema(
    [
        pa.field("number", pa.int64(), False),
        pa.field("id", pa.uint16(), False),  # the value in the id map
        pa.field("track", pa.int64(), False),  # local to the chunk; `stitching.parquet` makes it global
        pa.field("category", pa.int32(), False),
        pa.field("is_thing", pa.bool_(), False),
        pa.field("score", pa.float32(), False),
        pa.field("area", pa.int64(), False),
        pa.field("left", pa.int32(), False),
        pa.field("top", pa.int32(), False),
        pa.field("right", pa.int32(), False),  # exclusive
        pa.field("bottom", pa.int32(), False),  # exclusive
        pa.field("propagated", pa.bool_(), False),  # drawn by the tracker; runs from before this column have none
        pa.field("top_categories", pa.list_(pa.int32()), False),  # most probable first, at most 5
        pa.field("top_probabilities", pa.list_(pa.float32()), False),
        pa.field("embedding", pa.list_(pa.float16())),
        pa.field("open_vocabulary", pa.list_(pa.float16())),
    ]
)
"""A row per segment per frame, in the order of frames and ids."""

TOP_CATEGORIES = 5
"""How many of a segment's categories are kept."""

CHUNK_TRACKS = pa.schema(
    [
        pa.field("track", pa.int64(), False),
        pa.field("categories", pa.list_(pa.int32()), False),
        pa.field("are_things", pa.list_(pa.bool_()), False),
        pa.field("evidence", pa.list_(pa.float64()), False),  # sum of scores by category
        pa.field("first_index", pa.int64(), False),
        pa.field("last_index", pa.int64(), False),
        pa.field("first_time", pa.float64(), False),
        pa.field("last_time", pa.float64(), False),
        pa.field("num_frames", pa.int64(), False),
        pa.field("sum_area", pa.int64(), False),
        pa.field("sum_score", pa.float64(), False),
        pa.field("gallery", pa.list_(pa.list_(pa.float16())), False),
        pa.field("gallery_scores", pa.list_(pa.float32()), False),
    ]
)
"""A row per local track of a chunk, over the frames that count."""

TRACKS = pa.schema(
    [
        pa.field("track", pa.int64(), False),
        pa.field("category", pa.int32(), False),
        pa.field("name", pa.string(), False),
        pa.field("is_thing", pa.bool_(), False),
        pa.field("first_index", pa.int64(), False),
        pa.field("last_index", pa.int64(), False),
        pa.field("first_time", pa.float64(), False),
        pa.field("last_time", pa.float64(), False),
        pa.field("num_frames", pa.int64(), False),
        pa.field("mean_area", pa.float64(), False),
        pa.field("mean_score", pa.float64(), False),
        pa.field("gallery", pa.list_(pa.list_(pa.float16())), False),
    ]
)
"""A row per track of the run."""

EVENTS = pa.schema(
    [
        pa.field("kind", pa.string(), False),
        pa.field("track", pa.int64(), False),
        pa.field("index", pa.int64(), False),
        pa.field("reason", pa.string(), False),
        pa.field("other", pa.int64()),
    ]
)
"""A row per event, in the order of frames."""

STITCHING = pa.schema(
    [
        pa.field("chunk", pa.int32(), False),
        pa.field("local", pa.int64(), False),
        pa.field("global", pa.int64(), False),
    ]
)
"""A row per local track of every chunk."""


def parquet_writer(file: Any, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with the fixed settings of all our tables."""
    return pq.ParquetWriter(
        file,
        schema,
        version="2.6",
        # An id map is compressed already; embeddings are noise that zstd only slows down.
        compression={name: "none" if name == "id_map" else "zstd" for name in _leaves(schema)},
        use_dictionary=[name for name in _leaves(schema) if name.split(".")[0] in _DICTIONARY],
        write_statistics=["number"] if "number" in schema.names else False,
        write_page_index=False,
    )


def write_table(file: Any, table: pa.Table) -> None:
    """Writes a whole small table."""
    with parquet_writer(file, table.schema) as writer:
        writer.write_table(table)


def events_table(events: Sequence[TrackEvent]) -> pa.Table:
    return pa.table(
        {
            "kind": [event.kind for event in events],
            "track": [event.track for event in events],
            "index": [event.index for event in events],
            "reason": [event.reason for event in events],
            "other": [event.other for event in events],
        },
        schema=EVENTS,
    )


def events_of(table: pa.Table) -> list[TrackEvent]:
    """The inverse of `events_table`."""
    return [TrackEvent(**row) for row in table.to_pylist()]


def list_array(rows: Sequence[NDArray[Any] | None], dtype: Any) -> pa.ListArray:
    """A list column from arrays `[n]`, None for a missing one."""
    lengths = [0 if row is None else len(row) for row in rows]
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int32)
    values = [row for row in rows if row is not None and len(row)]
    flat = np.concatenate(values).astype(dtype) if values else np.zeros(0, dtype=dtype)
    mask = pa.array([row is None for row in rows]) if any(row is None for row in rows) else None
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat), mask=mask)


def gallery_array(galleries: Sequence[NDArray[np.float16]]) -> pa.ListArray:
    """A list-of-lists column from arrays `[n, D]`."""
    vectors = list_array([vector for gallery in galleries for vector in gallery], np.float16)
    offsets = np.concatenate(([0], np.cumsum([len(gallery) for gallery in galleries], dtype=np.int64)))
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), vectors)


def gallery_of(rows: Sequence[Sequence[float]]) -> NDArray[np.float16]:
    """One cell of a gallery column as float16 `[n, D]`, `[0, 0]` where it is empty."""
    return np.array(rows, dtype=np.float16) if len(rows) else np.zeros((0, 0), dtype=np.float16)


# Columns with few distinct values within a row group.
_DICTIONARY = frozenset(
    {
        "epoch",
        "time_base_numerator",
        "time_base_denominator",
        "overlap",
        "propagated",
        "height",
        "width",
        "number",
        "category",
        "top_categories",
        "kind",
        "reason",
        "name",
        "chunk",
    }
)


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns: those of lists go on with `.list.element`."""
    names = []
    for field in schema:
        name, kind = field.name, field.type
        while pa.types.is_list(kind):
            name, kind = f"{name}.list.element", kind.value_type
        names.append(name)
    return names
