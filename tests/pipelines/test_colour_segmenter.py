"""The cheap segmenter keeps the contract of a segmenter and finds what is plainly there."""

from fractions import Fraction

import moving_shapes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pipelines.colour_segmenter import ColourSegmenter, NoMemory, appearance, connected_regions
from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.panoptic import PanopticFrame, measure_segments
from videoseg.protocols import Segmenter
from videoseg.vocabulary import Vocabulary


def frame_of(rgb: NDArray[np.uint8]) -> Frame:
    return Frame("film", 0, 0, 0, Fraction(1, 30), 0.0, rgb)


def segment(rgb: NDArray[np.uint8], vocabulary: Vocabulary | None = None) -> PanopticFrame:
    segmenter = ColourSegmenter(vocabulary or moving_shapes.vocabulary())
    (result,) = segmenter.segment([frame_of(rgb)], [None], [segmenter.new_state("film")])
    return result


def test_is_a_segmenter() -> None:
    assert isinstance(ColourSegmenter(moving_shapes.vocabulary()), Segmenter)


@pytest.mark.parametrize("size", [(160, 90), (1280, 720), (331, 257)])
def test_finds_the_discs_and_both_grounds(size: tuple[int, int]) -> None:
    words = moving_shapes.vocabulary()
    result = segment(moving_shapes.picture(0, *size))
    found = {words[s.category].name: s for s in result.segments}
    assert set(found) == {"red ball", "yellow duck", "blue box", "cyan sky", "grey road"}
    width, height = size
    left, top, right, bottom = found["red ball"].box
    assert ((left + right) / 2 / width, (top + bottom) / 2 / height) == pytest.approx((0.2, 0.3), abs=0.02)
    assert found["red ball"].area == pytest.approx(np.pi * (0.14 * height) ** 2, rel=0.1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_areas_boxes_and_embeddings_are_those_of_the_map(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 6 // width
    result = segment(coarse[rows][:, columns])
    assert {s.id: (s.area, s.box) for s in result.segments} == measure_segments(result.id_map)
    for found in result.segments:
        assert found.embedding is not None
        assert np.linalg.norm(found.embedding) == pytest.approx(1, abs=1e-5)
    stuff = [s.category for s in result.segments if not s.is_thing]
    assert len(stuff) == len(set(stuff)), "a stuff category is one segment"


def test_a_thing_is_more_like_itself_a_frame_later_than_like_others() -> None:
    first, second = (segment(moving_shapes.picture(i)) for i in (0, 5))
    for mine in first.segments:
        likeness = {s.category: float(np.dot(mine.embedding, s.embedding)) for s in second.segments}
        assert max(likeness, key=lambda c: likeness[c]) == mine.category
        assert likeness[mine.category] > 0.95


def test_classify_agrees_with_the_segments_and_takes_other_words() -> None:
    segmenter = ColourSegmenter(moving_shapes.vocabulary())
    result = segment(moving_shapes.picture(0))
    codes = np.stack([s.open_vocabulary for s in result.segments])
    assert segmenter.classify(codes, segmenter.vocabulary).argmax(1).tolist() == [s.category for s in result.segments]
    others = Vocabulary.build(things="white thing; red thing")
    ball = next(i for i, s in enumerate(result.segments) if s.category == 0)
    assert segmenter.classify(codes, others)[ball].argmax() == 1


@settings(max_examples=60, deadline=None)
@given(arrays(np.int32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)))
def test_regions_are_what_a_flood_fill_finds(values: NDArray[np.int32]) -> None:
    expected = np.full(values.shape, -1)
    count = 0
    for start in np.ndindex(values.shape):
        if expected[start] >= 0:
            continue
        pending = [start]
        while pending:
            row, column = pending.pop()
            inside = 0 <= row < values.shape[0] and 0 <= column < values.shape[1]
            if not inside or expected[row, column] >= 0 or values[row, column] != values[start]:
                continue
            expected[row, column] = count
            pending += [(row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)]
        count += 1
    np.testing.assert_array_equal(connected_regions(values), expected)


def test_appearance_has_one_unit_vector_for_every_id() -> None:
    result = segment(moving_shapes.picture(0))
    found = appearance(moving_shapes.picture(0), result.id_map)
    assert set(found) == {s.id for s in result.segments}
    assert all(np.linalg.norm(v) == pytest.approx(1, abs=1e-5) for v in found.values())


def test_a_saved_state_of_something_else_is_refused() -> None:
    assert NoMemory.from_bytes(NoMemory().to_bytes()) == NoMemory()
    with pytest.raises(InputError, match="without memory"):
        NoMemory.from_bytes(b"\x09")
