"""The chunk plan: covers every frame once, from length and settings alone."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.chunks import FRAMES_PER_CHUNK, OVERLAP, plan_chunks


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 20_000), st.integers(30, 700), st.integers(0, 60))
def test_every_frame_is_in_one_chunk_and_chunks_are_alike(frames: int, length: int, overlap: int) -> None:
    plan = plan_chunks(frames, frames_per_chunk=length, overlap=overlap)
    assert plan[0].start == 0
    assert plan[-1].stop == frames
    assert [chunk.number for chunk in plan] == list(range(len(plan)))
    assert all(a.stop == b.start for a, b in pairwise(plan))
    sizes = [chunk.stop - chunk.start for chunk in plan if chunk.stop is not None]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 1.5 * length
    assert all(chunk.overlap == min(overlap, chunk.start) for chunk in plan)


def test_short_clips_are_one_chunk_and_hours_are_many() -> None:
    assert len(plan_chunks(FRAMES_PER_CHUNK)) == 1
    hour = plan_chunks(108_000)
    assert len(hour) == 180
    assert hour[1].overlap == OVERLAP


def test_unknown_length_is_one_open_chunk() -> None:
    (chunk,) = plan_chunks(None)
    assert (chunk.start, chunk.stop, chunk.overlap) == (0, None, 0)
