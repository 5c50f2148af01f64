"""Cityscapes-VPS: a tree from the specification, round trips, and what is wrong where."""

import json
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from png_bytes import GREY, RGB, png, put
from png_bytes import cityscapes_vps as tree
from round_trips import assert_kept, videos_of, written_and_read

from videoseg.errors import InputError
from videoseg.formats import cityscapes_vps, coco_panoptic, read_segments
from videoseg.panoptic import Segment
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="car; pedestrian; truck", stuff="Road; vegitation")
NAMES = ["car", "person", "truck", "road", "vegetation"]
JSON = "panoptic_gt_val_city_vps.json"


def keep(segment: Segment) -> Hashable:
    return NAMES[segment.category], segment.crowd, segment.track


def edit(folder: Path, change: Callable[[Any], Any]) -> None:
    data = json.loads((folder / JSON).read_text())
    change(data)
    (folder / JSON).write_text(json.dumps(data))


class TestSpecification:
    def test_what_the_tree_says(self, tmp_path: Path) -> None:
        recorded = read_segments(tree(tmp_path))
        assert (recorded.videos, recorded.tracked, recorded.unlabelled) == (("0005",), True, "void")
        assert [c.names for c in recorded.vocabulary] == [
            ("road",),
            ("vegetation", "vegitation"),
            ("person", "pedestrian"),
            ("car",),
        ]
        first, second = recorded.frames()
        said = {recorded.vocabulary[s.category].name: (s.is_thing, s.crowd, s.area, s.track) for s in first.segments}
        assert said == {
            "road": (False, False, 2, 0x804080),
            "person": (True, True, 1, 60 + 256 * 20 + 65536 * 220),
            "car": (True, False, 2, 4711),
        }
        assert [s.track for s in second.segments] == [4711, 0x804080]
        assert [(f.index, f.pts, f.time) for f in (first, second)] == [(0, 0, 0.0), (1, 5, 5 / 17)]

    def test_predictions(self, tmp_path: Path) -> None:
        """Without `categories` and `images`, beside `pan_pred`, named as the picture or by the image id alone."""
        tree(tmp_path)
        (tmp_path / "val/panoptic_video").rename(tmp_path / "pan_pred")

        def predicted(data: Any) -> None:
            del data["categories"], data["images"]
            for annotation, ending in zip(data["annotations"], ("", "_newImg8bit"), strict=True):
                name = f"{annotation['image_id']}{ending}.png"
                (tmp_path / "pan_pred" / annotation["file_name"]).rename(tmp_path / "pan_pred" / name)
                annotation["file_name"] = name

        edit(tmp_path, predicted)
        (tmp_path / JSON).rename(tmp_path / "pred.json")
        recorded = read_segments(tmp_path)
        assert recorded.format == "cityscapes_vps"
        assert [c.is_thing for c in recorded.vocabulary] == [False] * 11 + [True] * 8
        assert [recorded.vocabulary[s.category].name for s in next(recorded.frames()).segments] == [
            "car",
            "road",
            "person",
        ]

    def test_pictures_of_cityscapes_itself_are_coco(self, tmp_path: Path) -> None:
        tree(tmp_path)

        def images_of_cityscapes(data: Any) -> None:
            for annotation in data["annotations"]:
                annotation["file_name"] = annotation["file_name"].split("_", 2)[2]

        edit(tmp_path, images_of_cityscapes)
        assert coco_panoptic.sniff(tmp_path)
        assert not cityscapes_vps.sniff(tmp_path)


def annotation(data: Any) -> Any:
    return data["annotations"][0]


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                lambda data: annotation(data)["segments_info"].pop(0),
                r"0005_0025\S*_final_mask\.png has pixels of id 4711, which .*annotations\[0\]\.segments_info does not",
            ),
            (
                lambda data: annotation(data)["segments_info"].append({"id": 9, "category_id": 0}),
                r"annotations\[0\]\.segments_info lists id 9, which no pixel",
            ),
            (
                lambda data: annotation(data)["segments_info"][0].update(category_id=7),
                r"annotations\[0\]\.segments_info\[0\]\.category_id 7 is not among the `categories`",
            ),
            (lambda data: data["images"][0].update(width=7), r"final_mask\.png is 3×2 pixels, the JSON says 7×2"),
            (
                lambda data: data["annotations"].append(annotation(data)),
                r"annotations\[2\]\.file_name '0005\S*' stands",
            ),
            (
                lambda data: annotation(data).update(file_name="0005_0029_frankfurt_000000_000001.png"),
                r"annotations\[0\]\.file_name '0005_0029\S*' has frame 1, the one before it 1741",
            ),
            (lambda data: annotation(data).update(segments_info=3), r"segments_info must be a list"),
            (lambda data: data["categories"][0].update(isthing=4), r"categories\[0\]\.isthing must be 0 or 1"),
        ],
    )
    def test_wrong_fields(self, tmp_path: Path, change: Callable[[Any], Any], says: str) -> None:
        edit(tree(tmp_path), change)
        with pytest.raises(InputError, match=says):
            list(read_segments(tmp_path).frames())

    def test_wrong_pngs(self, tmp_path: Path) -> None:
        folder = tree(tmp_path) / "val/panoptic_video"
        second = folder / "0005_0026_frankfurt_000000_001741_gtFine_color.png"
        put(second, png([[(1, 2, 3)] * 3] * 2, RGB, 16))
        with pytest.raises(InputError, match=r"gtFine_color\.png has 16 bits per channel"):
            list(read_segments(tmp_path).frames())
        second.unlink()
        with pytest.raises(InputError, match=r"gtFine_color\.png is missing; the JSON lists it"):
            list(read_segments(tmp_path).frames())
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(
            InputError, match=r"there is no folder with PNGs: neither .*val/panoptic_video nor .*pan_pred"
        ):
            read_segments(tmp_path)

    def test_several_files(self, tmp_path: Path) -> None:
        tree(tmp_path)
        put(tmp_path / "pred.json", (tmp_path / JSON).read_bytes())
        with pytest.raises(
            InputError, match=r"several Cityscapes-VPS files: panoptic_gt_val_city_vps\.json, pred\.json"
        ):
            read_segments(tmp_path)


class TestWriting:
    @settings(max_examples=30, deadline=None)
    @given(videos_of(VOCABULARY, "0007"))
    def test_round_trip(self, videos: dict) -> None:
        written_and_read(
            cityscapes_vps.write,
            VOCABULARY,
            videos,
            "cityscapes_vps",
            lambda read: assert_kept(read, "0007", videos["0007"], keep),
        )

    def test_the_files(self, tmp_path: Path) -> None:
        frames = list(read_segments(tree(tmp_path / "tree")).frames())
        vocabulary = read_segments(tmp_path / "tree").vocabulary
        folder = cityscapes_vps.write(tmp_path / "written", vocabulary, {"0005": frames}, city="berlin")
        data = json.loads((folder / JSON).read_text())
        assert data["images"][1] == {
            "id": "0005_0001_berlin_000000_000001",
            "file_name": "0005_0001_berlin_000000_000001_newImg8bit.png",
            "width": 3,
            "height": 2,
        }
        listed = data["annotations"][0]["segments_info"]
        assert [(s["id"], s["category_id"], s["isthing"], s["iscrowd"]) for s in listed] == [
            (4711, 13, 1, 0),
            (0x804080, 0, 0, 0),
            (60 + 256 * 20 + 65536 * 220, 11, 1, 1),
        ]
        assert (folder / "val/panoptic_video/0005_0001_berlin_000000_000001_final_mask.png").is_file()
        assert [c["id"] for c in data["categories"]] == list(range(19))

    def test_what_it_cannot_hold(self, tmp_path: Path) -> None:
        frames = list(read_segments(tree(tmp_path / "tree")).frames())
        with pytest.raises(InputError, match=r"Cityscapes-VPS has no class for unicorn"):
            cityscapes_vps.write(tmp_path / "a", Vocabulary.build(things="car; unicorn"), {"0005": frames})
        with pytest.raises(InputError, match="cannot hold a video called 'walk'"):
            cityscapes_vps.write(tmp_path / "b", cityscapes_vps.CLASSES, {"walk": frames})
        assert [p.name for p in tmp_path.iterdir()] == ["tree"]


def test_a_grey_png_of_small_ids_is_read(tmp_path: Path) -> None:
    """COCO panoptic readers take grey PNGs for ids."""
    folder = tree(tmp_path) / "val/panoptic_video"
    put(folder / "0005_0026_frankfurt_000000_001741_gtFine_color.png", png([[5] * 3] * 2, GREY))
    edit(tmp_path, lambda data: data["annotations"][1].update(segments_info=[{"id": 5, "category_id": 0}]))
    assert [s.track for s in list(read_segments(tmp_path).frames())[1].segments] == [5]
