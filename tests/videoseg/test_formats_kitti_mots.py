"""KITTI-MOTS and MOTSChallenge, text and PNG: trees from the specification, round trips, and what is wrong where."""

from collections.abc import Hashable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from png_bytes import GREY, kitti_mots_png, kitti_mots_txt, png, put
from round_trips import assert_kept, videos_of, written_and_read

from videoseg.errors import InputError
from videoseg.formats import kitti_mots, read_segments
from videoseg.panoptic import Segment
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="dog; car; person", stuff="sky")
NAMES = {1: "car", 2: "pedestrian"}


def keep(segment: Segment) -> Hashable | None:
    """Cars and pedestrians by track; crowds of them as one region to pass over; the rest is background."""
    if segment.category not in NAMES:
        return None
    return ("ignore region", True) if segment.crowd else (NAMES[segment.category], False, segment.track)


class TestSpecification:
    @pytest.mark.parametrize("build", [kitti_mots_png, kitti_mots_txt])
    def test_what_the_trees_say(self, tmp_path: Path, build: object) -> None:
        assert callable(build)
        recorded = read_segments(build(tmp_path))
        assert (recorded.format, recorded.videos, recorded.tracked) == ("kitti_mots", ("0002",), True)
        assert recorded.unlabelled == "background"
        assert [(c.name, c.is_thing) for c in recorded.vocabulary] == [
            ("car", True),
            ("pedestrian", True),
            ("ignore region", False),
        ]
        first, second, *rest = recorded.frames()
        assert [(s.category, s.track, s.area, s.crowd) for s in first.segments] == [
            (0, 1005, 2, False),
            (1, 2001, 1, False),
            (2, 10000, 2, True),
        ]
        assert first.id_map.tolist() == [[1, 1, 0, 3], [0, 2, 0, 3]]
        assert second.id_map.tolist() == [[0, 0, 0, 0], [0, 1, 1, 0]]
        assert second.segments[0].track == 2001
        assert (second.index, second.time) == (1, 0.1)
        # The PNGs are two; the list of sequences beside the text says four frames, the last two of nothing.
        assert [f.segments for f in rest] == ([] if build is kitti_mots_png else [(), ()])

    def test_the_example_of_the_specification(self, tmp_path: Path) -> None:
        """Line 52 of the description, but for the mask, which is shortened there."""
        put(tmp_path / "0001.txt", b"52 1005 1 375 1242 0fjV>\n")
        recorded = read_segments(tmp_path)
        assert recorded.num_frames() == 53
        last = next(recorded.frames(start=52))
        assert (last.size, last.segments[0].track, last.segments[0].area) == ((375, 1242), 1005, 375 * 1242)

    def test_mots_challenge(self, tmp_path: Path) -> None:
        gt = put(tmp_path / "MOTS20-02/gt/gt.txt", b"1 2001 2 2 4 314\n3 2001 2 2 4 314\n")
        assert [len(f.segments) for f in read_segments(tmp_path).frames()] == [1, 0, 1]
        put(tmp_path / "MOTS20-02/seqinfo.ini", b"[Sequence]\nname=MOTS20-02\nframeRate=30\nseqLength=5\n")
        recorded = read_segments(tmp_path)
        assert recorded.videos == ("MOTS20-02",)
        assert [f.time for f in recorded.frames()] == [0, 1 / 30, 2 / 30, 0.1, 4 / 30]
        prediction = tmp_path / "results"
        put(prediction / "MOTS20-02.txt", gt.read_bytes())
        put(prediction / "MOTS20-05.txt", b"")
        recorded = read_segments(prediction)
        assert [recorded.num_frames(video) for video in recorded.videos] == [3, 0]
        gt.write_bytes(b"0 2001 2 2 4 314\n")
        with pytest.raises(InputError, match=r"gt\.txt, line 1: frame 0; in this file frames count from 1"):
            read_segments(tmp_path)
        put(tmp_path / "MOTS20-02/seqinfo.ini", b"[Sequence]\nseqLength=soon\n")
        gt.write_bytes(b"1 2001 2 2 4 314\n")
        with pytest.raises(InputError, match=r"seqinfo\.ini: \[Sequence\] must have whole numbers seqLength"):
            read_segments(tmp_path)

    def test_regions_to_pass_over_may_be_several(self, tmp_path: Path) -> None:
        put(tmp_path / "0001.txt", b"0 10000 10 2 4 62\n0 10000 10 2 4 314\n0 2003 2 2 4 8\n")
        (frame,) = read_segments(tmp_path).frames()
        assert [(s.track, s.area) for s in frame.segments] == [(10000, 3)]


class TestMistakesInText:
    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ("1 2001 2 2 4", "line 5: must be six fields"),
            ("1  2002 2 2 4 314", "line 5: must be six fields"),
            ("one 2002 2 2 4 314", "line 5: must be six fields"),
            ("99999999 2002 2 2 4 314", "line 5: must be six fields"),
            ("1 2002 1 2 4 314", "line 5: class_id 1 of id 2002, which is of class 2"),
            ("1 3002 3 2 4 314", r"line 5: id 3002 is of class 3; MOTS has 1 \(car\), 2 \(pedestrian\) and 10000"),
            ("1 5 0 2 4 314", "line 5: id 5 is of class 0"),
            ("1 2002 2 3 4 318", "line 5: img_width and img_height are 4×3, in the lines before 4×2"),
            ("1 2002 2 0 4 314", "line 5: img_height and img_width must be at least 1"),
            ("1 2002 2 2 4 315", "line 5: rle: the run lengths are of 9 pixels, the video has 4×2 = 8"),
            ("1 2002 2 2 4 3\x7f", "line 5: rle is not the text of compressed run lengths"),
            ("1 2001 2 2 4 62", "line 5: id 2001 stands twice in frame 1"),
            ("1 1001 1 2 4 314", r"line 5: the mask of id 1001 overlaps that of id 2001 \(.*line 4\)"),
            ("7 1001 1 2 4 314", r"0002\.txt has objects in frame 7; the sequence has 4 frames"),
        ],
    )
    def test_a_wrong_line(self, tmp_path: Path, line: str, says: str) -> None:
        file = kitti_mots_txt(tmp_path) / "instances_txt/0002.txt"
        file.write_text(file.read_text() + line + "\n")
        with pytest.raises(InputError, match=says):
            list(read_segments(tmp_path).frames())

    def test_a_wrong_list_of_sequences(self, tmp_path: Path) -> None:
        put(kitti_mots_txt(tmp_path) / "instances_txt/val.seqmap", b"0001 empty 000000 000009\n0002 empty 000000 end\n")
        with pytest.raises(InputError, match=r"val\.seqmap, line 2: must be sequence"):
            read_segments(tmp_path)
        put(tmp_path / "instances_txt/val.seqmap", b"\xff\xfe\n0002 empty 000000 000004\n")
        assert read_segments(tmp_path).num_frames() == 5


class TestMistakesInPngs:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (png([[3001] * 4] * 2, GREY, 16), r"000001\.png: the id 3001 is of class 3; MOTS has"),
            (png([[7] * 4] * 2), r"000001\.png is grey of 8 bits; KITTI-MOTS needs grey of 16 bits"),
            (png([[1001] * 5] * 2, GREY, 16), r"000001\.png is 5×2 pixels, the frames before it in the video are 4×2"),
            (b"\x89PNG", r"000001\.png is not a PNG, or it is damaged"),
        ],
    )
    def test_a_wrong_png(self, tmp_path: Path, content: bytes, says: str) -> None:
        put(kitti_mots_png(tmp_path) / "instances/0002/000001.png", content)
        with pytest.raises(InputError, match=says):
            list(read_segments(tmp_path).frames())

    def test_a_gap(self, tmp_path: Path) -> None:
        folder = kitti_mots_png(tmp_path) / "instances/0002"
        (folder / "000001.png").rename(folder / "000003.png")
        with pytest.raises(InputError, match="0002 has no frame 1"):
            read_segments(tmp_path)
        with pytest.raises(InputError, match="has no MOTS sequences"):
            read_segments(folder, "kitti_mots")


class TestWriting:
    @settings(max_examples=30, deadline=None)
    @given(videos_of(VOCABULARY, "0007"))
    def test_round_trip_as_pngs(self, videos: dict) -> None:
        written_and_read(
            partial(kitti_mots.write, kind="png"),
            VOCABULARY,
            videos,
            "kitti_mots",
            lambda read: assert_kept(read, "0007", videos["0007"], keep),
        )

    @settings(max_examples=30, deadline=None)
    @given(videos_of(VOCABULARY, "MOTS20-02"))
    def test_round_trip_as_text(self, videos: dict) -> None:
        """A video in which nothing is seen has no lines, and so neither frames nor a format to be known by."""
        frames = videos["MOTS20-02"]
        if not any(keep(s) for f in frames for s in f.segments):
            return
        written_and_read(
            kitti_mots.write,
            VOCABULARY,
            videos,
            "kitti_mots",
            lambda read: assert_kept(read, "MOTS20-02", frames, keep),
        )

    def test_text_and_pngs_hold_the_same(self, tmp_path: Path) -> None:
        frames = list(read_segments(kitti_mots_png(tmp_path / "tree")).frames())
        text = kitti_mots.write(tmp_path / "text", kitti_mots.CLASSES, {"0002": frames})
        assert (text / "instances_txt/0002.txt").read_text() == (
            "0 1001 1 2 4 01104\n0 2001 2 2 4 314\n0 10000 10 2 4 62\n1 2001 2 2 4 31101\n"
        )
        assert (text / "instances_txt/all.seqmap").read_text() == "0002 empty 000000 000001\n"
        pngs = kitti_mots.write(tmp_path / "pngs", kitti_mots.CLASSES, {"0002": frames}, kind="png")
        for ours, theirs in zip(read_segments(text).frames(), read_segments(pngs).frames(), strict=True):
            np.testing.assert_array_equal(ours.track_map(), theirs.track_map())

    def test_what_it_cannot_hold(self, tmp_path: Path) -> None:
        frames = list(read_segments(kitti_mots_png(tmp_path / "tree")).frames())
        with pytest.raises(InputError, match="has cars and pedestrians only, and the vocabulary has neither"):
            kitti_mots.write(tmp_path / "a", Vocabulary.build(things="dog", stuff="sky; road"), {"0002": frames})
        with pytest.raises(InputError, match="cannot hold a video called 'walk': PNGs are in folders of four digits"):
            kitti_mots.write(tmp_path / "b", kitti_mots.CLASSES, {"walk": frames}, kind="png")
        with pytest.raises(InputError, match="cannot hold a video called 'a/b'"):
            kitti_mots.write(tmp_path / "c", kitti_mots.CLASSES, {"a/b": frames})
        assert [p.name for p in tmp_path.iterdir()] == ["tree"]
