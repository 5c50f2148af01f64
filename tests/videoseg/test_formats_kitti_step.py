"""KITTI-STEP: a tree from the specification, round trips, and what is wrong where."""

from collections.abc import Hashable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from PIL import Image
from png_bytes import RGB, png, put
from png_bytes import kitti_step as tree
from round_trips import assert_kept, videos_of, written_and_read

from videoseg.errors import InputError
from videoseg.formats import kitti_step, read_segments
from videoseg.panoptic import Segment
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="car; pedestrian; truck", stuff="Road; vegetation, plants")
NAMES = ["car", "person", "truck", "road", "vegetation"]


def keep(segment: Segment) -> Hashable:
    """Cars and persons by track, or as one crowd; the others as one segment of their class."""
    name = NAMES[segment.category]
    crowd = segment.crowd and name in ("car", "person")
    return name, crowd, segment.track if name in ("car", "person") and not crowd else None


class TestSpecification:
    def test_what_the_tree_says(self, tmp_path: Path) -> None:
        recorded = read_segments(tree(tmp_path))
        assert (recorded.videos, recorded.tracked, recorded.unlabelled) == (("0002",), True, "void")
        assert len(recorded.vocabulary) == 19
        assert [c.name for c in recorded.vocabulary if c.is_thing] == ["person", "car"]
        first, second = recorded.frames()
        said = {recorded.vocabulary[s.category].name: s for s in first.segments}
        assert {name: (s.is_thing, s.crowd, s.area) for name, s in said.items()} == {
            "road": (False, False, 2),
            "person": (True, True, 1),
            "car": (True, False, 2),
        }
        assert first.id_map[1, 2] == 0
        assert [s.track for s in second.segments] == [said["road"].track, said["car"].track]
        assert len({s.track for s in said.values()}) == 3
        assert (second.index, second.time) == (1, 0.1)

    def test_instances_of_stuff_and_void_mean_nothing(self, tmp_path: Path) -> None:
        row = [(0, 0, 1), (0, 7, 7), (15, 0, 3), (15, 0, 4), (255, 0, 9)]
        put(tmp_path / "0000/000000.png", png([row], RGB))
        frame = next(read_segments(tmp_path).frames())
        assert frame.id_map.tolist() == [[1, 1, 2, 2, 0]]

    def test_the_largest_instance(self, tmp_path: Path) -> None:
        put(tmp_path / "0000/000000.png", png([[(13, 255, 255), (13, 255, 254), (11, 255, 255)]], RGB))
        assert len({s.track for s in next(read_segments(tmp_path).frames()).segments}) == 3

    def test_splits(self, tmp_path: Path) -> None:
        tree(tmp_path)
        put(tmp_path / "panoptic_maps/train/0000/000000.png", png([[(0, 0, 0)]], RGB))
        assert read_segments(tmp_path).videos == ("0000", "0002")
        put(tmp_path / "panoptic_maps/train/0002/000000.png", png([[(0, 0, 0)]], RGB))
        with pytest.raises(InputError, match=r"has the sequence 0002 twice: .*train.*val.*Name a split"):
            read_segments(tmp_path)
        assert read_segments(tmp_path / "panoptic_maps/train").videos == ("0000", "0002")


class TestMistakes:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (
                png([[(19, 0, 0)] * 3] * 2, RGB),
                r"000001\.png has pixels of class 19 \(red\); KITTI-STEP has classes 0\.\.18",
            ),
            (png([[7] * 3] * 2), r"000001\.png is grey of 8 bits; KITTI-STEP needs RGB of 8 bits"),
            (png([[(0, 0, 0)] * 3] * 2, RGB, 16), r"000001\.png is RGB of 16 bits; KITTI-STEP needs RGB of 8 bits"),
            (png([[(0, 0, 0)] * 2] * 2, RGB), r"000001\.png is 2×2 pixels, the frames before it in the video are 3×2"),
            (png([[(0, 0, 0)] * 3] * 2, RGB)[:-26], r"000001\.png is not a PNG, or it is damaged"),
            (b"GIF89a", r"000001\.png is not a PNG, or it is damaged"),
        ],
    )
    def test_a_wrong_png(self, tmp_path: Path, content: bytes, says: str) -> None:
        put(tree(tmp_path) / "panoptic_maps/val/0002/000001.png", content)
        with pytest.raises(InputError, match=says):
            list(read_segments(tmp_path).frames())

    def test_wrong_folders(self, tmp_path: Path) -> None:
        folder = tree(tmp_path) / "panoptic_maps/val/0002"
        png_of_2 = (folder / "000001.png").rename(folder / "000002.png")
        with pytest.raises(InputError, match=r"0002 has no frame 1, between 000000\.png and 000002\.png"):
            read_segments(tmp_path)
        png_of_2.rename(folder / "000001_pan.png")
        with pytest.raises(InputError, match=r"000001_pan\.png is not called as a frame is: 000000\.png"):
            read_segments(tmp_path)
        (tmp_path / "panoptic_maps/val/0003").mkdir()
        (folder / "000001_pan.png").unlink()
        with pytest.raises(InputError, match=r"The folder .*0003 has no frames"):
            read_segments(tmp_path)
        with pytest.raises(InputError, match="has no KITTI-STEP sequences"):
            read_segments(folder, "kitti_step")

    def test_a_frame_that_went_meanwhile(self, tmp_path: Path) -> None:
        recorded = read_segments(tree(tmp_path))
        (tmp_path / "panoptic_maps/val/0002/000001.png").unlink()
        with pytest.raises(InputError, match=r"000001\.png is missing"):
            list(recorded.frames())


class TestWriting:
    @settings(max_examples=30, deadline=None)
    @given(videos_of(VOCABULARY, "0007"))
    def test_round_trip(self, videos: dict) -> None:
        written_and_read(
            kitti_step.write,
            VOCABULARY,
            videos,
            "kitti_step",
            lambda read: assert_kept(read, "0007", videos["0007"], keep),
        )

    def test_the_bytes(self, tmp_path: Path) -> None:
        frames = list(read_segments(tree(tmp_path / "tree")).frames())
        written = kitti_step.write(tmp_path / "written", kitti_step.CLASSES, {"0002": frames})
        with Image.open(written / "panoptic_maps/val/0002/000000.png") as image:
            assert image.mode == "RGB"
            pixels = [[image.getpixel((x, y)) for x in range(3)] for y in range(2)]
        assert pixels == [[(0, 0, 0), (13, 0, 1), (13, 0, 1)], [(0, 0, 0), (11, 0, 0), (255, 0, 0)]]

    def test_what_it_cannot_hold(self, tmp_path: Path) -> None:
        frames = list(read_segments(tree(tmp_path / "tree")).frames())
        with pytest.raises(InputError, match=r"KITTI-STEP has no class for unicorn\. .*take vipseg"):
            kitti_step.write(tmp_path / "a", Vocabulary.build(things="car; unicorn"), {"0002": frames})
        with pytest.raises(InputError, match="cannot hold a video called 'walk': its sequences are numbers of four"):
            kitti_step.write(tmp_path / "b", kitti_step.CLASSES, {"walk": frames})
        twice = [frames[0].with_segments(replace(s, track=5) for s in frames[0].segments)]
        with pytest.raises(ValueError, match="a track stands twice"):
            kitti_step.write(tmp_path / "c", kitti_step.CLASSES, {"0002": twice})
        untracked = [frames[0].with_segments(replace(s, track=None) for s in frames[0].segments)]
        with pytest.raises(ValueError, match="has no track"):
            kitti_step.write(tmp_path / "d", kitti_step.CLASSES, {"0002": untracked})
        assert sorted(p.name for p in tmp_path.iterdir()) == ["tree"], "what failed leaves nothing behind"
        put(tmp_path / "e/x", b"")
        with pytest.raises(InputError, match="is not empty"):
            kitti_step.write(tmp_path / "e", kitti_step.CLASSES, {"0002": frames})


def test_a_header_that_claims_billions_of_pixels(tmp_path: Path) -> None:
    content = bytearray(png([[(0, 0, 0)] * 3] * 2, RGB))
    content[16:24] = b"\x00\x10\x00\x00" * 2
    put(tree(tmp_path) / "panoptic_maps/val/0002/000001.png", bytes(content))
    with pytest.raises(InputError, match=r"000001\.png is 1048576×1048576 pixels, and frames have up to 100000000"):
        list(read_segments(tmp_path).frames())
