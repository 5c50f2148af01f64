"""VSPW: a tree from the specification, round trips, and what is wrong where."""

import json
from collections.abc import Hashable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image
from png_bytes import GREY, PALETTE, RGB, png, put, vspw_prediction
from png_bytes import vspw as tree
from round_trips import assert_kept, videos_of, written_and_read

from videoseg.errors import InputError
from videoseg.formats import read_segments, recognise, vspw
from videoseg.panoptic import Segment
from videoseg.vocabulary import Vocabulary

VIDEO = "0_wHjU6P2RxLM"
VOCABULARY = Vocabulary.build(things="train; person", stuff="wall")


def keep(segment: Segment) -> Hashable:
    """All of a class is one segment."""
    return VOCABULARY[segment.category].name, False


class TestSpecification:
    def test_what_the_tree_says(self, tmp_path: Path) -> None:
        recorded = read_segments(tree(tmp_path))
        assert (recorded.videos, recorded.tracked, recorded.unlabelled) == ((VIDEO,), True, "void")
        assert len(recorded.vocabulary) == 124
        assert not any(c.is_thing for c in recorded.vocabulary)
        assert [recorded.vocabulary[i].name for i in (0, 48, 60, 123)] == ["wall", "car", "person", "train"]
        first, second = recorded.frames()
        assert [(s.category, s.track, s.area) for s in first.segments] == [(0, 1, 2), (123, 124, 2)]
        assert first.id_map.tolist() == [[1, 1, 2], [0, 0, 2]]
        assert (second.index, second.time) == (1, 1 / 15)

    def test_predictions_count_from_0(self, tmp_path: Path) -> None:
        truth = next(read_segments(tree(tmp_path / "truth")).frames())
        (guess,) = read_segments(vspw_prediction(tmp_path / "guess")).frames()
        np.testing.assert_array_equal(guess.track_map(), truth.track_map())
        assert [s.category for s in guess.segments] == [0, 123]

    @pytest.mark.parametrize("colour", [GREY, PALETTE])
    @pytest.mark.parametrize(("name", "known"), [("00000333", ["vspw"]), ("333", [])])
    def test_predictions_are_recognised_by_their_digits(
        self, tmp_path: Path, colour: int, name: str, known: list[str]
    ) -> None:
        put(tmp_path / VIDEO / f"{name}.png", png([[0, 123, 255]], colour))
        assert recognise(tmp_path) == known
        assert [s.track for s in next(read_segments(tmp_path, "vspw").frames()).segments] == [1, 124]

    def test_the_list_of_classes(self, tmp_path: Path) -> None:
        listed = {c.name: str(i) for i, c in enumerate(vspw.CLASSES, start=1)}
        put(tree(tmp_path) / "label_num_dic_final.json", json.dumps({"others": "0", **listed}).encode())
        assert read_segments(tmp_path).format == read_segments(tmp_path / "data").format == "vspw"
        put(tmp_path / "label_num_dic_final.json", json.dumps({**listed, "sky": "124", "train": "29"}).encode())
        with pytest.raises(InputError, match=r"label_num_dic_final\.json: 'sky' must be number 29, found '124'"):
            read_segments(tmp_path)


class TestMistakes:
    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (png([[125] * 3] * 2), r"348\.png has pixels of class 125; VSPW's annotations have 1\.\.124, and 255"),
            (png([[1] * 3] * 2, GREY, 16), r"348\.png is grey of 16 bits; VSPW needs grey of 8 bits"),
            (png([[(1, 1, 1)] * 3] * 2, RGB), r"348\.png is RGB of 8 bits; VSPW needs grey of 8 bits"),
            (png([[1] * 3] * 2, PALETTE), r"348\.png is palette of 8 bits; VSPW needs grey of 8 bits"),
            (png([[1] * 2] * 2), r"348\.png is 2×2 pixels, the frames before it in the video are 3×2"),
            (b"PNG", r"348\.png is not a PNG, or it is damaged"),
        ],
    )
    def test_a_wrong_png(self, tmp_path: Path, content: bytes, says: str) -> None:
        put(tree(tmp_path) / f"data/{VIDEO}/mask/00000348.png", content)
        with pytest.raises(InputError, match=says):
            list(read_segments(tmp_path).frames())

    def test_a_class_too_high_for_a_prediction(self, tmp_path: Path) -> None:
        put(tmp_path / VIDEO / "00000333.png", png([[124]]))
        with pytest.raises(InputError, match=r"class 124; VSPW's predictions have 0\.\.123"):
            list(read_segments(tmp_path).frames())

    def test_wrong_folders(self, tmp_path: Path) -> None:
        folder = tree(tmp_path) / f"data/{VIDEO}/mask"
        (folder / "00000348.png").rename(folder / "0333.png")
        with pytest.raises(InputError, match=r"has frame 333 twice: 00000333\.png and 0333\.png"):
            read_segments(tmp_path)
        (folder / "0333.png").unlink()
        (tmp_path / "data/b/mask").mkdir(parents=True)
        with pytest.raises(InputError, match=r"b/mask has no frames"):
            read_segments(tmp_path)
        with pytest.raises(InputError, match="has no VSPW videos"):
            read_segments(folder, "vspw")


class TestWriting:
    @settings(max_examples=20, deadline=None)
    @given(videos_of(VOCABULARY, VIDEO))
    def test_round_trip(self, videos: dict) -> None:
        for prediction in (False, True):
            written_and_read(
                partial(vspw.write, prediction=prediction),
                VOCABULARY,
                videos,
                "vspw",
                lambda read: assert_kept(read, VIDEO, videos[VIDEO], keep),
            )

    def test_the_bytes(self, tmp_path: Path) -> None:
        frames = list(read_segments(tree(tmp_path / "tree")).frames())
        for prediction, below, expected in (
            (False, f"data/{VIDEO}/mask", [[1, 1, 124], [0, 0, 124]]),
            (True, VIDEO, [[0, 0, 123], [255, 255, 123]]),
        ):
            place = tmp_path / str(prediction)
            vspw.write(place, vspw.CLASSES, {VIDEO: frames}, prediction=prediction)
            with Image.open(place / below / "00000000.png") as image:
                assert image.mode == "L"
                assert np.asarray(image).tolist() == expected
        listed = json.loads((tmp_path / "False/label_num_dic_final.json").read_text())
        assert (len(listed), listed["others"], listed["wall"], listed["train"]) == (125, "0", "1", "124")

    def test_what_it_cannot_hold(self, tmp_path: Path) -> None:
        frames = list(read_segments(tree(tmp_path / "tree")).frames())
        with pytest.raises(InputError, match="VSPW has no class for unicorn, rainbow"):
            vspw.write(tmp_path / "a", Vocabulary.build(things="car; unicorn", stuff="rainbow"), {VIDEO: frames})
        with pytest.raises(InputError, match=r"cannot hold a video called '\.\.'"):
            vspw.write(tmp_path / "b", vspw.CLASSES, {"..": frames})
        assert [p.name for p in tmp_path.iterdir()] == ["tree"]
