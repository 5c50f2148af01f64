"""The overlay, by what can be measured in it: what is coloured, what is left alone, where words stand."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.rendering import OverlayRenderer, contact_sheet, render_overlay, segment_colour, track_colour
from videoseg.rendering.colours import luminance
from videoseg.rendering.labels import find_rooms, label_patch
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="person; dog; black pickup truck", stuff="sky; road")


def frame_of(id_map: np.ndarray, *, categories: dict[int, int], tracks: dict[int, int | None]) -> PanopticFrame:
    segments = tuple(
        Segment(
            id=i,
            category=categories[i],
            is_thing=VOCABULARY[categories[i]].is_thing,
            score=0.9,
            area=area,
            box=box,
            track=tracks[i],
        )
        for i, (area, box) in measure_segments(id_map).items()
    )
    return PanopticFrame("walk.mp4", 0, 0, 0, Fraction(1, 30), 0.0, id_map, segments)


def scene(height: int = 180, width: int = 320, *, shift: int = 0) -> PanopticFrame:
    """Sky, road, a truck and a dog; the last rows are void."""
    id_map = np.ones((height, width), dtype=np.uint16)
    id_map[height // 2 :] = 2
    id_map[height // 3 : 3 * height // 4, 20 + shift : 20 + shift + width // 2] = 3
    id_map[height // 2 : height // 2 + 8, width - 40 : width - 28] = 4
    id_map[-6:] = 0
    return frame_of(id_map, categories={1: 3, 2: 4, 3: 2, 4: 1}, tracks={1: 1, 2: 2, 3: 3, 4: 12})


def grey(frame: PanopticFrame) -> np.ndarray:
    return np.full((*frame.size, 3), 100, dtype=np.uint8)


class TestMasks:
    def test_void_is_left_alone_and_the_input_too(self) -> None:
        frame = scene()
        rgb = np.random.default_rng(0).integers(0, 256, (*frame.size, 3), dtype=np.uint8)
        before = rgb.copy()
        shown = render_overlay(rgb, frame, VOCABULARY, labels=False)
        assert (shown.dtype, shown.shape) == (np.uint8, rgb.shape)
        np.testing.assert_array_equal(rgb, before)
        void = frame.id_map == 0
        np.testing.assert_array_equal(shown[void], rgb[void])
        assert (shown[~void] != rgb[~void]).any(axis=-1).mean() > 0.99

    def test_a_thing_is_its_colour_over_the_picture(self) -> None:
        frame = scene()
        shown = render_overlay(grey(frame), frame, VOCABULARY, labels=False)
        share = round(256 * 0.48)
        expected = [(100 * (256 - share) + part * share) >> 8 for part in track_colour(3)]
        assert shown[90, 100].tolist() == expected

    def test_outlines_between_segments_and_not_at_the_border_of_the_picture(self) -> None:
        frame = scene()
        shown = render_overlay(grey(frame), frame, VOCABULARY, labels=False)
        inside = shown[90, 100].tolist()
        assert shown[90, 20].tolist() != inside  # the truck's left edge
        assert shown[90, 21].tolist() == inside  # one pixel wide at this size
        np.testing.assert_array_equal(shown[0, 5], shown[10, 5])  # sky, at the border and inside
        large = scene(1080, 1920)
        shown = render_overlay(grey(large), large, VOCABULARY, labels=False)
        edge = [tuple(pixel) == tuple(shown[600, 20]) for pixel in shown[600, 20:30]]
        assert edge == [True] * 3 + [False] * 7

    def test_a_frame_with_nothing(self) -> None:
        frame = frame_of(np.zeros((7, 9), dtype=np.uint16), categories={}, tracks={})
        np.testing.assert_array_equal(render_overlay(grey(frame), frame, VOCABULARY), grey(frame))

    @settings(max_examples=40, deadline=None)
    @given(
        hnp.arrays(
            np.uint16,
            hnp.array_shapes(min_dims=2, max_dims=2, max_side=40),
            elements=st.sampled_from([0, 1, 2, 65535]),
        ),
        st.booleans(),
    )
    def test_any_frame_of_any_size(self, id_map: np.ndarray, tracked: bool) -> None:
        tracks = {1: 1, 2: 2**40, 65535: 3} if tracked else dict.fromkeys((1, 2, 65535))
        frame = frame_of(id_map, categories={1: 0, 2: 1, 65535: 3}, tracks=tracks)
        shown = render_overlay(grey(frame), frame, VOCABULARY)
        assert shown.shape == (*id_map.shape, 3)

    def test_pictures_of_another_size(self) -> None:
        with pytest.raises(ValueError, match=r"rgb must be uint8 \(180, 320, 3\), got uint8 \(90, 160, 3\)"):
            render_overlay(np.zeros((90, 160, 3), np.uint8), scene(), VOCABULARY)


class TestColours:
    def test_things_by_track_stuff_by_category(self) -> None:
        sky, _, truck, dog = scene().segments
        assert segment_colour(truck, VOCABULARY) == track_colour(3)
        assert segment_colour(replace(dog, track=3), VOCABULARY) == track_colour(3)
        assert segment_colour(replace(sky, track=77), VOCABULARY) == segment_colour(sky, VOCABULARY)
        assert segment_colour(replace(dog, track=None), VOCABULARY) == VOCABULARY[1].colour

    def test_they_never_change(self) -> None:
        assert [track_colour(i) for i in (1, 2, 3, 1000)] == [
            (220, 90, 60),
            (0, 234, 186),
            (203, 137, 251),
            (0, 144, 231),
        ]

    def test_tracks_born_together_look_apart(self) -> None:
        colours = np.array([track_colour(i) for i in range(1, 13)], dtype=float)
        apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
        assert apart[~np.eye(12, dtype=bool)].min() > 40
        assert all(0.1 < luminance(track_colour(i)) < 0.75 for i in range(1, 300))


class TestLabels:
    def test_labels_lie_on_their_segments_and_apart(self) -> None:
        frame = scene(360, 640)
        plain = render_overlay(grey(frame), frame, VOCABULARY, labels=False)
        shown = render_overlay(grey(frame), frame, VOCABULARY)
        changed = (plain != shown).any(axis=-1)
        touched = {int(i): int(changed[frame.id_map == i].sum()) for i in (0, 1, 2, 3, 4)}
        # The truck's label lies whole within the truck; the dog is far too small for one; void has none.
        truck = label_patch("black pickup truck", "3", track_colour(3), 12, True)
        assert touched[3] == pytest.approx((truck[..., 3] > 0).sum(), rel=0.05)
        assert touched[4] == touched[0] == 0
        assert touched[1] > 0
        assert touched[2] > 0

    def test_a_small_thing_has_its_label_beside_it(self) -> None:
        id_map = np.zeros((360, 640), dtype=np.uint16)
        id_map[200:230, 300:330] = 1
        frame = frame_of(id_map, categories={1: 0}, tracks={1: 5})
        changed = (render_overlay(grey(frame), frame, VOCABULARY) != grey(frame)).any(axis=-1)
        rows, columns = np.nonzero(changed & (id_map == 0))
        assert rows.max() < 200 or rows.min() >= 230
        assert abs(columns.mean() - 315) < 2

    def test_a_label_at_the_edge_stays_in_the_picture(self) -> None:
        id_map = np.zeros((200, 300), dtype=np.uint16)
        id_map[60:140, 280:] = 1
        frame = frame_of(id_map, categories={1: 2}, tracks={1: 5})
        patch = label_patch("black pickup truck", "5", track_colour(5), 11, True)
        changed = (render_overlay(grey(frame), frame, VOCABULARY) != grey(frame)).any(axis=-1) & (id_map == 0)
        assert changed.sum() > 0.9 * (patch[..., 3] > 0).sum()

    def test_without_labels_and_too_small_for_them(self) -> None:
        frame = scene(24, 60)
        np.testing.assert_array_equal(
            render_overlay(grey(frame), frame, VOCABULARY)[:6, :20],
            render_overlay(grey(frame), frame, VOCABULARY, labels=False)[:6, :20],
        )

    def test_labels_follow_without_jumping(self) -> None:
        renderer = OverlayRenderer(VOCABULARY)
        middles = []
        for shift in range(0, 60, 2):
            frame = scene(360, 640, shift=shift)
            plain = render_overlay(grey(frame), frame, VOCABULARY, labels=False)
            changed = (renderer.render(grey(frame), frame) != plain).any(axis=-1) & (frame.id_map == 3)
            rows, columns = np.nonzero(changed)
            middles.append((columns.min() + columns.max(), rows.min() + rows.max()))
        steps = np.abs(np.diff(np.array(middles) / 2, axis=0))
        assert steps[:, 0].max() <= 4
        assert steps[:, 1].max() <= 1

    def test_rooms_lie_in_their_segments(self) -> None:
        frame = scene(360, 640)
        rooms = find_rooms(frame.id_map, [1, 2, 3, 4])
        for number, room in rooms.items():
            assert frame.id_map[int(room.y), int(room.x)] == number
        assert rooms[3].half_width * 2 <= 320 + 4
        assert rooms[3].half_height * 2 <= 150 + 4
        assert rooms[3].half_width > 60
        # A place that is taken is no place: the road's label goes elsewhere.
        road = rooms[2]
        box = (int(road.x) - 60, int(road.y) - 12, int(road.x) + 60, int(road.y) + 12)
        other = find_rooms(frame.id_map, [2], taken=[box])[2]
        assert not (box[0] < other.x < box[2] and box[1] < other.y < box[3])

    @pytest.mark.parametrize("strong", [True, False])
    @pytest.mark.parametrize("size", [11, 36])
    def test_text_can_be_read(self, size: int, strong: bool) -> None:
        """The ink and its ground have a contrast of at least 4.5 (WCAG 2.2, AA), for every colour of a track."""
        for track in range(1, 25):
            patch = label_patch("person", "7", track_colour(track), size, strong)
            over = patch[..., :3] + 128 * (1 - patch[..., 3:])
            middle = over[patch.shape[0] // 4 : -patch.shape[0] // 4, patch.shape[0] // 4 : -patch.shape[0] // 4]
            brightness = [luminance((int(r), int(g), int(b))) for r, g, b in np.clip(middle, 0, 255).reshape(-1, 3)]
            assert (max(brightness) + 0.05) / (min(brightness) + 0.05) > 4.5


class TestContactSheet:
    def test_frames_in_rows(self) -> None:
        frames = [np.full((90, 160, 3), 40 * i, dtype=np.uint8) for i in range(1, 6)]
        sheet = contact_sheet(frames, columns=3, width=502, gap=4)
        assert sheet.shape == (2 * (91 + 4) + 4, 502, 3)
        assert [int(sheet[50, 80 + 166 * i, 0]) for i in range(3)] == [40, 80, 120]
        assert [int(sheet[145, 80 + 166 * i, 0]) for i in range(3)] == [160, 200, 18]

    def test_other_sizes_are_fitted_in(self) -> None:
        frames = [np.full((90, 160, 3), 200, dtype=np.uint8), np.full((100, 20, 3), 200, dtype=np.uint8)]
        sheet = contact_sheet(frames, columns=2, width=326, gap=2)
        assert sheet[45, 240].tolist() == [200, 200, 200]
        assert sheet[45, 180].tolist() == [18, 20, 24]

    def test_captions(self) -> None:
        frames = [np.full((360, 640, 3), 200, dtype=np.uint8)] * 2
        plain, named = contact_sheet(frames), contact_sheet(frames, captions=["0:01.5", ""])
        columns = np.nonzero((plain != named).any(axis=(0, 2)))[0]
        assert 0 < len(columns) < 200
        assert columns.max() < 640
        with pytest.raises(ValueError, match="1 captions for 2 frames"):
            contact_sheet(frames, captions=["x"])

    def test_nothing(self) -> None:
        with pytest.raises(ValueError, match="at least one frame"):
            contact_sheet([])

    def test_one_pixel(self) -> None:
        assert contact_sheet([np.zeros((1, 1, 3), np.uint8)], width=20).shape == (20, 20, 3)
