"""How a source is cut into chunks: from its length and the settings only.

Never from the executor, the number of workers or the clock: the same file gives the same chunks, and with them the same
bytes, wherever it runs.
"""

from itertools import pairwise

from videoseg.store.manifest import ChunkPlan

FRAMES_PER_CHUNK = 600
"""20 s at 30 frames/s: enough chunks to share an hour among dozens of workers and to lose only seconds with one of
them, few enough that warming up costs 4 %."""

OVERLAP = 24
"""Frames that a chunk computes before its own: a track is confirmed within a few frames, a feature cache is warm after
one key frame interval, and stitching wants a second of both chunks side by side (at 24 frames/s)."""


def plan_chunks(
    num_frames: int | None, *, frames_per_chunk: int = FRAMES_PER_CHUNK, overlap: int = OVERLAP
) -> tuple[ChunkPlan, ...]:
    """Cuts `num_frames` selected frames into chunks of nearly equal length.

    Chunk `i` answers for the frames `start` to `stop` and is computed from `start - overlap`, from nothing: it shares
    no state with its neighbours.

    Args:
        num_frames: selected frames; None where the length is unknown (then there is one open chunk).
        frames_per_chunk: wanted length; the number of chunks is the length divided by it, rounded, so that no chunk is
            a small remainder.
        overlap: frames to warm up in; cut where a chunk begins with less before it.

    Returns:
        At least one chunk; a source without frames has one empty chunk.
    """
    if num_frames is None:
        return (ChunkPlan(number=0, start=0, stop=None),)
    count = max(1, (num_frames + frames_per_chunk // 2) // frames_per_chunk)
    starts = [i * num_frames // count for i in range(count + 1)]
    return tuple(
        ChunkPlan(number=i, start=start, stop=stop, overlap=min(overlap, start))
        for i, (start, stop) in enumerate(pairwise(starts))
    )
