"""`Frame`, `Segment` and `PanopticFrame` refuse what contradicts itself, and measure what they are given."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from videoseg.frame import Frame
from videoseg.panoptic import MAX_SEGMENTS, PanopticFrame, Segment, count_pixels, measure_segments

id_maps = hnp.arrays(
    np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.sampled_from([0, 1, 2, 7, 65535])
)


def segment(number: int, area: int, *, track: int | None = None) -> Segment:
    return Segment(id=number, category=0, is_thing=True, score=0.5, area=area, box=(0, 0, 1, 1), track=track)


def panoptic(id_map: np.ndarray, *segments: Segment) -> PanopticFrame:
    return PanopticFrame("walk.mp4", 0, 3, 3, Fraction(1, 30), 0.1, id_map, segments)


MAP = np.array([[0, 1, 1], [4, 4, 4]], dtype=np.uint16)


class TestPanopticFrame:
    def test_a_partition(self) -> None:
        frame = panoptic(MAP, segment(1, 2, track=9), segment(4, 3, track=70_000))
        assert frame.size == (2, 3)
        assert frame.track_map().dtype == np.uint32
        assert frame.track_map().tolist() == [[0, 9, 9], [70_000, 70_000, 70_000]]
        assert repr(frame) == "PanopticFrame(walk.mp4, frame 3, 3×2, 2 segments)"

    def test_nothing_found(self) -> None:
        frame = panoptic(np.zeros((1, 1), dtype=np.uint16))
        assert frame.segments == ()
        assert frame.track_map().tolist() == [[0]]

    @pytest.mark.parametrize(
        ("segments", "says"),
        [
            ([segment(1, 2)], r"ids in the map \[1, 4\] and ids of the segments \[1\] differ \(walk\.mp4, frame 3\)"),
            ([segment(1, 2), segment(4, 3), segment(5, 1)], r"ids of the segments \[1, 4, 5\] differ"),
            ([segment(4, 3), segment(1, 2)], "ascending order of distinct ids"),
            ([segment(1, 2), segment(1, 2), segment(4, 3)], "ascending order of distinct ids"),
            ([segment(1, 2), segment(4, 2)], "segment 4 says area 2, the map has 3"),
        ],
    )
    def test_contradictions(self, segments: list[Segment], says: str) -> None:
        with pytest.raises(ValueError, match=says):
            panoptic(MAP, *segments)

    @pytest.mark.parametrize("id_map", [MAP.astype(np.int32), MAP[0], MAP[None]])
    def test_maps_of_other_kinds(self, id_map: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"id_map must be uint16 \[H, W\]"):
            panoptic(id_map)

    def test_a_segment_without_track_has_no_place_in_a_track_map(self) -> None:
        with pytest.raises(ValueError, match="segment 4 has no track yet"):
            panoptic(MAP, segment(1, 2, track=1), segment(4, 3)).track_map()

    def test_of_a_frame(self) -> None:
        rgb = np.zeros((2, 3, 3), dtype=np.uint8)
        frame = Frame("walk.mp4", 1, 7, 7007, Fraction(1, 30000), 0.2335, rgb)
        made = PanopticFrame.of(frame, MAP, [segment(4, 3), segment(1, 2)])
        assert [s.id for s in made.segments] == [1, 4]
        assert (made.stream, made.epoch, made.index, made.pts, made.time_base, made.time) == (
            "walk.mp4",
            1,
            7,
            7007,
            Fraction(1, 30000),
            0.2335,
        )
        other = made.with_segments([segment(1, 2, track=5), segment(4, 3, track=6)])
        assert other.id_map is made.id_map
        assert [s.track for s in other.segments] == [5, 6]
        with pytest.raises(ValueError, match="other ids or areas"):
            made.with_segments([segment(1, 2)])

    @given(id_maps)
    def test_what_is_measured_is_accepted(self, id_map: np.ndarray) -> None:
        segments = [segment(i, area) for i, (area, _) in measure_segments(id_map).items()]
        assert len(panoptic(id_map, *segments).segments) == len(set(id_map.ravel().tolist()) - {0})


class TestSegment:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            ({"id": 0}, f"Segment.id must be in 1..{MAX_SEGMENTS}, got 0"),
            ({"id": MAX_SEGMENTS + 1}, "Segment.id must be in"),
            ({"score": 1.01}, r"Segment.score must be in \[0, 1\], got 1.01 \(segment 3\)"),
            ({"score": float("nan")}, "Segment.score must be in"),
            ({"area": 0}, "Segment.area must be at least 1 pixel"),
        ],
    )
    def test_what_is_refused(self, change: dict[str, float], says: str) -> None:
        values = {"id": 3, "category": 0, "is_thing": True, "score": 0.5, "area": 1, "box": (0, 0, 1, 1)}
        with pytest.raises(ValueError, match=says):
            Segment(**(values | change))  # type: ignore[arg-type]


class TestMeasureSegments:
    def test_an_example(self) -> None:
        assert measure_segments(MAP) == {1: (2, (1, 0, 3, 1)), 4: (3, (0, 1, 3, 2))}

    @given(id_maps)
    def test_by_the_definition(self, id_map: np.ndarray) -> None:
        measured = measure_segments(id_map)
        assert list(measured) == sorted(set(id_map.ravel().tolist()) - {0})
        for number, (area, box) in measured.items():
            rows, columns = np.nonzero(id_map == number)
            assert area == len(rows)
            assert box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@given(id_maps, st.sampled_from([1, 40]))
def test_pixels_are_counted_as_one_by_one(id_map: np.ndarray, wide: int) -> None:
    """Of maps with a run per pixel and of such with long runs."""
    stretched = np.repeat(id_map, wide, axis=1)
    assert np.array_equal(count_pixels(stretched), np.bincount(stretched.ravel()))


class TestFrame:
    @pytest.mark.parametrize(
        "rgb",
        [
            np.zeros((2, 3), np.uint8),
            np.zeros((2, 3, 4), np.uint8),
            np.zeros((2, 3, 3), np.float32),
            np.zeros((0, 3, 3), np.uint8),
        ],
    )
    def test_pictures_of_other_kinds(self, rgb: np.ndarray) -> None:
        with pytest.raises(ValueError, match=r"must be uint8 \[H, W, 3\] and not empty"):
            Frame("walk.mp4", 0, 0, 0, Fraction(1, 30), 0.0, rgb)

    def test_what_it_says_of_itself(self) -> None:
        frame = Frame("walk.mp4", 0, 12, 12, Fraction(1, 30), 0.4, np.zeros((2, 3, 3), np.uint8))
        assert frame.size == (2, 3)
        assert repr(frame) == "Frame('walk.mp4', index=12, time=0.400 s, 3×2)"
