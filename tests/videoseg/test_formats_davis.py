"""DAVIS: a tree from the specification, round trips, and what is wrong where."""

from collections.abc import Hashable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from png_bytes import GREY, PALETTE, png, put
from png_bytes import davis as tree
from round_trips import assert_kept, videos_of, written_and_read

from videoseg.errors import InputError
from videoseg.formats import davis, read_segments
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="dog; car", stuff="sky")


def keep(segment: Segment) -> Hashable | None:
    """Things by track; crowds run together to void; stuff is background."""
    if segment.crowd:
        return "object", True
    return ("object", False, segment.track) if segment.is_thing else None


class TestSpecification:
    def test_what_the_tree_says(self, tmp_path: Path) -> None:
        recorded = read_segments(tree(tmp_path))
        assert (recorded.videos, recorded.tracked, recorded.unlabelled) == (("bike-packing",), True, "background")
        assert [(c.name, c.is_thing) for c in recorded.vocabulary] == [("object", True)]
        first, second = recorded.frames()
        assert [(s.track, s.area, s.crowd) for s in first.segments] == [(1, 2, False), (2, 1, False)]
        assert [(s.track, s.area, s.crowd) for s in second.segments] == [(1, 1, False), (2, 1, False), (255, 1, True)]
        assert second.id_map.tolist() == [[0, 0, 1], [2, 3, 0]]
        assert (second.index, second.time) == (1, 1 / 24)

    def test_unsupervised_annotations_and_full_resolution(self, tmp_path: Path) -> None:
        (tree(tmp_path) / "Annotations").rename(tmp_path / "Annotations_unsupervised")
        (tmp_path / "Annotations_unsupervised/480p").rename(tmp_path / "Annotations_unsupervised/Full-Resolution")
        assert read_segments(tmp_path).num_frames() == 2

    def test_a_list_of_sequences(self, tmp_path: Path) -> None:
        put(tree(tmp_path) / "Annotations/480p/camel/00000.png", png([[1]], PALETTE))
        assert read_segments(tmp_path).videos == ("bike-packing", "camel")
        subset = put(tmp_path / "ImageSets/2017/train.txt", b"camel\n")
        assert read_segments(subset).videos == ("camel",)
        subset.write_text("camel\ncat\n")
        with pytest.raises(InputError, match=r"train\.txt, line 2: there is no sequence 'cat'"):
            read_segments(subset)

    def test_a_palette_of_few_bits(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.array([[0, 1, 2, 1]], dtype=np.uint8)).convert("P")
        folder = tmp_path / "camel"
        folder.mkdir()
        image.save(folder / "00000.png", bits=2)
        assert next(read_segments(tmp_path).frames()).id_map.tolist() == [[0, 1, 2, 1]]


class TestMistakes:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (png([[0, 255, 255]] * 2, GREY), r"00001\.png is grey; DAVIS 2017 has palettes\. Masks of DAVIS 2016"),
            (png([[(1, 2, 3)] * 3] * 2, 2), r"00001\.png is RGB of 8 bits; DAVIS needs palette of 1 bits or palette"),
            (png([[1] * 4] * 2, PALETTE), r"00001\.png is 4×2 pixels, the frames before it in the video are 3×2"),
            (b"", r"00001\.png is not a PNG, or it is damaged"),
        ],
    )
    def test_a_wrong_png(self, tmp_path: Path, content: bytes, says: str) -> None:
        put(tree(tmp_path) / "Annotations/480p/bike-packing/00001.png", content)
        with pytest.raises(InputError, match=says):
            list(read_segments(tmp_path).frames())

    def test_wrong_folders(self, tmp_path: Path) -> None:
        folder = tree(tmp_path) / "Annotations/480p/bike-packing"
        (folder / "00001.png").rename(folder / "00004.png")
        with pytest.raises(InputError, match="bike-packing has no frame 1"):
            read_segments(tmp_path)
        (folder / "00004.png").unlink()
        (folder.parent / "camel").mkdir()
        with pytest.raises(InputError, match=r"The folder .*camel has no frames"):
            read_segments(tmp_path)
        with pytest.raises(InputError, match="has no DAVIS sequences"):
            read_segments(folder, "davis")


class TestWriting:
    @settings(max_examples=30, deadline=None)
    @given(videos_of(VOCABULARY, "dog-agility"))
    def test_round_trip(self, videos: dict) -> None:
        written_and_read(
            davis.write,
            VOCABULARY,
            videos,
            "davis",
            lambda read: assert_kept(read, "dog-agility", videos["dog-agility"], keep),
        )

    def test_the_bytes(self, tmp_path: Path) -> None:
        frames = list(read_segments(tree(tmp_path / "tree")).frames())
        folder = davis.write(tmp_path / "written", davis.CLASSES, {"bike-packing": frames})
        with Image.open(folder / "Annotations/480p/bike-packing/00001.png") as image:
            assert image.mode == "P"
            assert np.asarray(image).tolist() == [[0, 0, 1], [2, 255, 0]]
            palette = image.getpalette()
        assert palette is not None
        # As in every picture of the data set: dark red, dark green, olive, dark blue, …
        assert palette[:15] == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
        assert palette[-3:] == [224, 224, 192]
        assert (folder / "ImageSets/2017/val.txt").read_text() == "bike-packing\n"

    def test_what_it_cannot_hold(self, tmp_path: Path) -> None:
        id_map = np.arange(256, dtype=np.uint16)[None]
        segments = tuple(
            Segment(id=i, category=0, is_thing=True, score=1.0, area=area, box=box, track=i)
            for i, (area, box) in measure_segments(id_map).items()
        )
        crowded = PanopticFrame("x", 0, 0, 0, Fraction(1, 25), 0.0, id_map, segments)
        with pytest.raises(InputError, match="DAVIS holds up to 254 tracks of a class in a video"):
            davis.write(tmp_path / "a", VOCABULARY, {"x": [crowded]})
        with pytest.raises(InputError, match=r"cannot hold a video called '\.\./x'"):
            davis.write(tmp_path / "b", VOCABULARY, {"../x": [crowded]})
        untracked = crowded.with_segments(replace(s, track=None) for s in segments)
        with pytest.raises(ValueError, match="has no track"):
            davis.write(tmp_path / "c", VOCABULARY, {"x": [untracked]})
        assert list(tmp_path.iterdir()) == []
