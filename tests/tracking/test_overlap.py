"""The joint histogram and its motion compensation, against the plain way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tracking import overlap
from videoseg.motion import Motion

maps = st.tuples(st.integers(1, 20), st.integers(1, 20)).flatmap(
    lambda shape: st.tuples(*[arrays(np.uint16, shape, elements=st.integers(0, 4))] * 2)
)


@given(maps)
@settings(max_examples=40, deadline=None)
def test_the_histogram_counts_pairs(data) -> None:
    first, second = data
    joint = overlap.joint_histogram(first, overlap.SampledMap.of(second), 5, 5)
    for i in range(5):
        for j in range(5):
            assert joint[i, j] == np.count_nonzero((first == i) & (second == j))
    iou = overlap.intersection_over_union(joint, joint.sum(axis=1), joint.sum(axis=0))
    for i in range(5):
        union = np.count_nonzero((first == i) | (second == 2))
        assert iou[i, 2] == (pytest.approx(joint[i, 2] / union) if union else 0.0)


@given(maps, arrays(np.int32, (5, 2), elements=st.integers(-25, 25)))
@settings(max_examples=40, deadline=None)
def test_every_segment_by_its_own_shift(data, shift) -> None:
    first, second = data
    joint = overlap.shifted_histogram(overlap.SampledMap.of(first), overlap.SampledMap.of(second), 5, 5, shift)
    expected = np.zeros((5, 5), dtype=int)
    height, width = first.shape
    for y, x in np.ndindex(first.shape):
        dx, dy = shift[first[y, x]]
        if 0 <= y + dy < height and 0 <= x + dx < width:
            expected[first[y, x], second[y + dy, x + dx]] += 1
    # What flies out by more than the picture's size is out all the same.
    assert np.array_equal(joint, expected)


@given(
    height=st.integers(1, 50),
    width=st.integers(1, 50),
    stride=st.sampled_from([1, 2, 4]),
    block=st.sampled_from([8, 12, 6]),
    seed=st.integers(0, 999),
)
@settings(max_examples=40, deadline=None)
def test_blocks_come_from_where_they_came(height: int, width: int, stride: int, block: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    full = random.integers(0, 5, (height, width)).astype(np.uint16)
    previous = overlap.sample(full, stride)
    rows, columns = -(-height // block), -(-width // block)
    displacement = (random.integers(-6, 7, (rows, columns, 2)) * stride).astype(np.int16)
    motion = Motion(
        block, displacement, np.zeros((rows, columns), np.float32), np.ones((rows, columns), bool), np.eye(2, 3), False
    )
    moved = overlap.compensate(previous, motion, stride, outside=9)
    for y, x in np.ndindex(previous.shape):
        dx, dy = displacement[y * stride // block, x * stride // block] // stride
        inside = 0 <= y + dy < previous.shape[0] and 0 <= x + dx < previous.shape[1]
        assert moved[y, x] == (previous[y + dy, x + dx] if inside else 9)


def test_sampling_takes_the_middle_of_every_step() -> None:
    full = np.arange(7 * 9, dtype=np.uint16).reshape(7, 9)
    assert overlap.sample(full, 2).tolist() == full[[1, 3, 5, 6]][:, [1, 3, 5, 7, 8]].tolist()
    assert overlap.sample(full, 1).tolist() == full.tolist()
    assert [overlap.stride_for(h, w, 960) for h, w in ((480, 854), (1080, 1920), (2160, 3840), (4320, 7680))] == [
        1,
        2,
        4,
        8,
    ]
