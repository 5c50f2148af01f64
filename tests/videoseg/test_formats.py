"""VIPSeg and COCO panoptic folders: written and read back exactly, other people's variants, and their mistakes."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from videoseg.errors import InputError
from videoseg.formats import coco_panoptic, export_run, formats, read_segments, vipseg
from videoseg.formats.panoptic_png import read_png, write_png
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import SourceInfo
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.writer import RunWriter
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="person, man; dog, puppy", stuff="sky")


def frame_of(id_map: np.ndarray, index: int, tracks: dict[int, int] | None = None) -> PanopticFrame:
    """Category and score follow from the id; tracks from `tracks`, else from the id too."""
    segments = tuple(
        Segment(
            id=i,
            category=i % 3,
            is_thing=i % 3 != 2,
            score=1 / (1 + i),
            area=area,
            box=box,
            track=i if tracks is None else tracks[i],
        )
        for i, (area, box) in measure_segments(id_map).items()
    )
    return PanopticFrame(
        "walk", index // 4, index, 3003 * index, Fraction(1, 90000), index * 3003 / 90000, id_map, segments
    )


def walk(frames: int = 3) -> list[PanopticFrame]:
    made = []
    for index in range(frames):
        id_map = np.full((4, 6), 2, dtype=np.uint16)
        id_map[1:3, index : index + 2] = 1
        id_map[3, 5] = 0
        made.append(frame_of(id_map, index, tracks={1: 70_000, 2: 300}))
    return made


def assert_same_content(read: PanopticFrame, written: PanopticFrame, *, tracks: bool) -> None:
    """Equal but for the numbering of segments within the frame, which a file doesn't keep."""
    for name in ("stream", "epoch", "index", "pts", "time_base", "time"):
        assert getattr(read, name) == getattr(written, name), name
    if tracks:
        np.testing.assert_array_equal(read.track_map(), written.track_map())
        key = "track"
    else:
        np.testing.assert_array_equal(read.id_map > 0, written.id_map > 0)
        key = "box"
        assert all(segment.track is None for segment in read.segments)
    ours = {getattr(segment, key): segment for segment in read.segments}
    theirs = {getattr(segment, key): segment for segment in written.segments}
    assert ours.keys() == theirs.keys()
    for number, segment in ours.items():
        for name in ("category", "is_thing", "score", "area", "box"):
            assert getattr(segment, name) == getattr(theirs[number], name), name


def edit(path: Path, change: Callable[[Any], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A VIPSeg folder of ours."""
    return vipseg.write(tmp_path / "vipseg", VOCABULARY, {"walk": walk()})


@pytest.fixture
def coco_folder(tmp_path: Path) -> Path:
    return coco_panoptic.write(tmp_path / "coco", VOCABULARY, walk())


class TestVipseg:
    def test_written_and_read(self, folder: Path) -> None:
        assert vipseg.sniff(folder)
        assert not coco_panoptic.sniff(folder)
        recorded = read_segments(folder)
        assert (recorded.format, recorded.videos, recorded.tracked) == ("vipseg", ("walk",), True)
        assert recorded.vocabulary == VOCABULARY
        assert recorded.num_frames() == 3
        for read, written in zip(recorded.frames(), walk(), strict=True):
            assert_same_content(read, written, tracks=True)
        assert [f.index for f in recorded.frames("walk", 1, 3)] == [1, 2]

    def test_the_files_are_the_format(self, folder: Path) -> None:
        data = json.loads((folder / "pred.json").read_text())
        assert data["categories"][2] == {
            "id": 3,
            "name": "sky",
            "supercategory": "stuff",
            "isthing": 0,
            "color": list(VOCABULARY[2].colour),
            "synonyms": [],
        }
        assert data["videos"][0]["images"][1]["file_name"] == "00000001.jpg"
        annotation = data["annotations"][0]["annotations"][1]
        assert annotation["file_name"] == "00000001.png"
        assert annotation["segments_info"][0] == {
            "id": 70_000,
            "category_id": 2,
            "isthing": 1,
            "area": 4,
            "bbox": [1, 1, 2, 2],
            "iscrowd": 0,
            "score": 0.5,
        }
        with Image.open(folder / "pan_pred/walk/00000001.png") as image:
            assert image.mode == "RGB"
            # 70000 = 112 + 256 · 17 + 256² · 1, 300 = 44 + 256 · 1
            assert image.getpixel((1, 1)) == (112, 17, 1)
            assert image.getpixel((0, 0)) == (44, 1, 0)
            assert image.getpixel((5, 3)) == (0, 0, 0)

    @settings(max_examples=40, deadline=None)
    @given(
        st.lists(
            hnp.arrays(np.uint16, (3, 5), elements=st.sampled_from([0, 1, 2, 300, 65535])), min_size=1, max_size=4
        ),
        st.lists(st.integers(1, 256**3 - 1), min_size=4, max_size=4, unique=True),
    )
    def test_any_frames(self, id_maps: list[np.ndarray], tracks: list[int]) -> None:
        table = dict(zip([1, 2, 300, 65535], tracks, strict=True))
        written = [frame_of(id_map, i, table) for i, id_map in enumerate(id_maps)]
        with tempfile.TemporaryDirectory() as place:
            folder = vipseg.write(Path(place), VOCABULARY, {"walk": iter(written)})
            for read, expected in zip(read_segments(folder).frames(), written, strict=True):
                assert_same_content(read, expected, tracks=True)
                assert [s.id for s in read.segments] == list(range(1, len(read.segments) + 1))

    def test_one_pixel(self, tmp_path: Path) -> None:
        written = frame_of(np.array([[1]], dtype=np.uint16), 0)
        folder = vipseg.write(tmp_path, VOCABULARY, {"walk": [written]})
        assert_same_content(next(read_segments(folder).frames()), written, tracks=True)

    def test_several_videos(self, tmp_path: Path) -> None:
        folder = vipseg.write(tmp_path, VOCABULARY, {"walk": walk(2), "run": walk(1)})
        recorded = read_segments(folder)
        assert recorded.videos == ("walk", "run")
        assert [f.stream for f in recorded.frames("run")] == ["run"]
        with pytest.raises(InputError, match="holds 2 videos; say which: walk, run"):
            recorded.num_frames()
        with pytest.raises(InputError, match="no video 'swim'"):
            list(recorded.frames("swim"))

    def test_tracks_are_needed_and_only_once_each(self, tmp_path: Path) -> None:
        id_map = np.array([[1, 2]], dtype=np.uint16)
        with pytest.raises(ValueError, match="twice"):
            vipseg.write(tmp_path, VOCABULARY, {"walk": [frame_of(id_map, 0, {1: 5, 2: 5})]})
        with pytest.raises(ValueError, match="does not fit"):
            vipseg.write(tmp_path, VOCABULARY, {"walk": [frame_of(id_map, 0, {1: 5, 2: 256**3})]})
        untracked = frame_of(id_map, 0)
        untracked = untracked.with_segments(replace(s, track=None) for s in untracked.segments)
        with pytest.raises(ValueError, match="no track"):
            vipseg.write(tmp_path, VOCABULARY, {"walk": [untracked]})
        assert not vipseg.sniff(tmp_path)  # an export that failed is none

    def test_ground_truth_layout(self, folder: Path) -> None:
        (folder / "pan_pred").rename(folder / "panomasksRGB")
        (folder / "pred.json").rename(folder / "panoptic_gt_VIPSeg_val.json")

        def as_published(data: Any) -> None:
            for image in data["videos"][0]["images"]:
                for key in ("index", "epoch", "pts", "time_base", "time"):
                    del image[key]
            for annotation in data["annotations"][0]["annotations"]:
                annotation["file_name"] = annotation["file_name"].replace(".png", ".jpg")
                for segment in annotation["segments_info"]:
                    del segment["isthing"], segment["score"]
            for category in data["categories"]:
                del category["synonyms"]

        edit(folder / "panoptic_gt_VIPSeg_val.json", as_published)
        recorded = read_segments(folder / "panoptic_gt_VIPSeg_val.json")
        assert [category.names for category in recorded.vocabulary] == [("person",), ("dog",), ("sky",)]
        frames = list(recorded.frames())
        assert [frame.time for frame in frames] == [0, 0.04, 0.08]
        assert [s.score for s in frames[0].segments] == [1.0, 1.0]
        assert [s.is_thing for s in frames[0].segments] == [True, False]

    def test_predictions_without_videos_and_categories(self, folder: Path) -> None:
        def bare(data: Any) -> None:
            del data["videos"], data["categories"]

        edit(folder / "pred.json", bare)
        recorded = read_segments(folder)
        assert [(c.name, c.is_thing) for c in recorded.vocabulary] == [("category 2", True), ("category 3", False)]
        np.testing.assert_array_equal(next(recorded.frames()).track_map(), walk()[0].track_map())

    def test_crowds(self, folder: Path, tmp_path: Path) -> None:
        edit(folder / "pred.json", set_in(lambda data: first_segments(data)[0], "iscrowd", 1))
        first, second, _ = read_segments(folder).frames()
        assert [(segment.track, segment.crowd) for segment in first.segments] == [
            (70_000, True),
            (300, False),
        ]  # as listed
        assert not any(segment.crowd for segment in second.segments)
        again = vipseg.write(tmp_path / "again", VOCABULARY, {"walk": [first]})
        assert [segment.crowd for segment in next(read_segments(again).frames()).segments] == [True, False]


def first_segments(data: Any) -> Any:
    return data["annotations"][0]["annotations"][0]["segments_info"]


def set_in(place: Callable[[Any], Any], key: Any, value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        place(data)[key] = value

    return change


class TestMistakes:
    """Every message names the file and the field."""

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                lambda data: first_segments(data).pop(0),
                r"00000000\.png has pixels of id 70000, which .*annotations\[0\]\.segments_info does not list",
            ),
            (
                lambda data: first_segments(data).append({"id": 9, "category_id": 1}),
                r"annotations\[0\]\.annotations\[0\]\.segments_info lists id 9, which no pixel of .*00000000\.png has",
            ),
            (
                set_in(lambda data: first_segments(data)[1], "category_id", 44),
                r"segments_info\[1\]\.category_id 44 is not among the `categories`",
            ),
            (
                set_in(lambda data: first_segments(data)[1], "id", 70_000),
                r"segments_info\[1\]\.id 70000 stands twice",
            ),
            (
                set_in(lambda data: first_segments(data)[1], "id", "300"),
                r"segments_info\[1\]\.id must be a whole number",
            ),
            (set_in(lambda data: first_segments(data)[1], "id", 0), r"segments_info\[1\]\.id must be in 1\.\."),
            (set_in(lambda data: first_segments(data)[0], "score", 7), r"segments_info\[0\]\.score must be a number"),
            (set_in(lambda data: first_segments(data)[0], "iscrowd", 2), r"segments_info\[0\]\.iscrowd must be 0 or 1"),
            (set_in(lambda data: first_segments(data), 0, 5), r"segments_info\[0\] must be an object"),
            (
                set_in(lambda data: data["annotations"][0]["annotations"][0], "segments_info", None),
                r"segments_info must be a list",
            ),
            (
                set_in(lambda data: data["annotations"][0]["annotations"][0], "file_name", "../../x.png"),
                r"file_name '\.\./\.\./x\.png' leads out of the folder",
            ),
            (
                set_in(lambda data: data["annotations"][0]["annotations"][0], "file_name", "9.png"),
                r"9\.png is missing; the JSON lists it",
            ),
            (set_in(lambda data: data["annotations"][0], "video_id", None), r"annotations\[0\]\.video_id must name"),
            (set_in(lambda data: data["annotations"][0], "video_id", "swim"), "no folder with its PNGs"),
            (set_in(lambda data: data["categories"][1], "name", 3), r"categories\[1\]\.name must be a word"),
            (lambda data: data["categories"][1].pop("isthing"), r"categories\[1\]\.isthing must be 0 or 1"),
            (set_in(lambda data: data["categories"][1], "id", 1), r"categories\[1\]\.id 1 stands twice"),
            (lambda data: data["categories"].clear(), r"categories must be a list of categories, and not empty"),
            (
                set_in(lambda data: data["videos"][0]["images"][0], "width", 7),
                r"00000000\.png is 6×4 pixels, the JSON says 7×4",
            ),
            (
                set_in(lambda data: data["videos"][0]["images"][0], "time_base", "soon"),
                r"`time_base` and `time` must be",
            ),
        ],
    )
    def test_vipseg(self, folder: Path, change: Callable[[Any], None], says: str) -> None:
        edit(folder / "pred.json", change)
        with pytest.raises(InputError, match=says):
            list(read_segments(folder).frames())

    def test_frames_of_two_sizes(self, folder: Path) -> None:
        write_png(folder / "pan_pred/walk/00000002.png", np.array([[70_000, 300]], dtype=np.uint32))
        edit(folder / "pred.json", lambda data: data.pop("videos"))
        with pytest.raises(InputError, match=r"00000002\.png is 2×1 pixels, the frames before it in the video are 6×4"):
            list(read_segments(folder).frames())

    @pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n cut"])
    def test_a_png_that_is_none(self, folder: Path, content: bytes) -> None:
        (folder / "pan_pred/walk/00000001.png").write_bytes(content)
        with pytest.raises(InputError, match=r"00000001\.png is not a PNG, or it is damaged"):
            list(read_segments(folder).frames())

    def test_a_png_that_is_cut_off(self, folder: Path) -> None:
        png = folder / "pan_pred/walk/00000001.png"
        png.write_bytes(png.read_bytes()[:-30])
        with pytest.raises(InputError, match=r"00000001\.png is not a PNG, or it is damaged"):
            list(read_segments(folder).frames())

    def test_folders_of_no_known_format(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"There is no .*nothing"):
            read_segments(tmp_path / "nothing")
        with pytest.raises(InputError, match=r"no per-frame segments that videoseg knows \(vipseg, coco_panoptic, "):
            read_segments(tmp_path)
        (tmp_path / "a.json").write_text("{")
        (tmp_path / "b.json").write_text('{"annotations": [{"bbox": []}]}')
        with pytest.raises(InputError, match="no per-frame segments"):
            read_segments(tmp_path)

    def test_several_files(self, folder: Path) -> None:
        (folder / "second.json").write_text((folder / "pred.json").read_text())
        with pytest.raises(InputError, match=r"several VIPSeg files: pred\.json, second\.json"):
            read_segments(folder)
        assert read_segments(folder / "pred.json").num_frames() == 3


class TestPng:
    @given(hnp.arrays(np.uint32, hnp.array_shapes(min_dims=2, max_dims=2), elements=st.integers(0, 256**3 - 1)))
    def test_any_ids(self, ids: np.ndarray) -> None:
        with tempfile.TemporaryDirectory() as place:
            write_png(Path(place) / "x.png", ids)
            read = read_png(Path(place) / "x.png", [])
        assert read.dtype == np.uint32
        np.testing.assert_array_equal(read, ids)

    def test_grey_of_8_and_16_bits(self, tmp_path: Path) -> None:
        ids = np.array([[0, 1], [200, 255]], dtype=np.uint8)
        Image.fromarray(ids).save(tmp_path / "8.png")
        np.testing.assert_array_equal(read_png(tmp_path / "8.png", []), ids)
        wide = ids.astype(np.uint16) * 257
        Image.fromarray(wide).save(tmp_path / "16.png")
        np.testing.assert_array_equal(read_png(tmp_path / "16.png", []), wide)

    def test_palettes_of_both_kinds(self, tmp_path: Path) -> None:
        image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8)).convert("P")
        image.putpalette([0, 0, 0, 5, 1, 0, 7, 0, 1])
        image.save(tmp_path / "palette.png")
        assert read_png(tmp_path / "palette.png", [1, 2]).tolist() == [[0, 1, 2]]
        assert read_png(tmp_path / "palette.png", [261, 65543]).tolist() == [[0, 261, 65543]]

    def test_transparency_is_no_part_of_an_id(self, tmp_path: Path) -> None:
        Image.fromarray(np.array([[[1, 2, 3, 255]]], dtype=np.uint8)).save(tmp_path / "x.png")
        assert read_png(tmp_path / "x.png", []).tolist() == [[1 + 2 * 256 + 3 * 65536]]

    def test_colours_of_16_bits_are_refused(self, tmp_path: Path) -> None:
        import struct
        import zlib

        def part(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
        pixels = zlib.compress(b"\0" + bytes(6))
        (tmp_path / "x.png").write_bytes(
            b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", pixels) + part(b"IEND", b"")
        )
        with pytest.raises(InputError, match="16 bits per channel"):
            read_png(tmp_path / "x.png", [])


class TestCocoPanoptic:
    def test_written_and_read(self, coco_folder: Path) -> None:
        assert coco_panoptic.sniff(coco_folder)
        assert not vipseg.sniff(coco_folder)
        recorded = read_segments(coco_folder)
        assert (recorded.format, recorded.videos, recorded.tracked) == ("coco_panoptic", ("panoptic",), False)
        assert recorded.vocabulary == VOCABULARY
        for read, written in zip(recorded.frames(), walk(), strict=True):
            assert_same_content(replace(read, stream="walk"), written, tracks=False)
            np.testing.assert_array_equal(read.id_map, written.id_map)

    def test_images_in_natural_order_and_pngs_beside_the_json(self, tmp_path: Path) -> None:
        annotations = []
        for name, category in (("10.png", 7), ("9.png", 8), ("1.png", 7)):
            write_png(tmp_path / name, np.array([[5]], dtype=np.uint32))
            annotations.append(
                {"image_id": name, "file_name": name, "segments_info": [{"id": 5, "category_id": category}]}
            )
        categories = [{"id": 8, "name": "dog", "isthing": 1}, {"id": 7, "name": "sky", "isthing": 0}]
        (tmp_path / "a.json").write_text(json.dumps({"annotations": annotations, "categories": categories}))
        recorded = read_segments(tmp_path)
        assert [recorded.vocabulary[f.segments[0].category].name for f in recorded.frames()] == ["sky", "dog", "sky"]

    def test_folders_are_videos(self, coco_folder: Path) -> None:
        (coco_folder / "panoptic/walk").mkdir()
        for png in (coco_folder / "panoptic").glob("*.png"):
            png.rename(coco_folder / "panoptic/walk" / png.name)

        def below(data: Any) -> None:
            for annotation in data["annotations"]:
                annotation["file_name"] = "walk/" + annotation["file_name"]

        edit(coco_folder / "panoptic.json", below)
        assert read_segments(coco_folder).videos == ("walk",)
        assert len(list(read_segments(coco_folder).frames("walk"))) == 3

    def test_a_category_that_nobody_explains(self, coco_folder: Path) -> None:
        def bare(data: Any) -> None:
            del data["categories"]
            for annotation in data["annotations"]:
                for segment in annotation["segments_info"]:
                    del segment["isthing"]

        edit(coco_folder / "panoptic.json", bare)
        with pytest.raises(InputError, match=r"no `categories`, and no segment says `isthing` for category"):
            read_segments(coco_folder)

    def test_the_same_file_twice(self, coco_folder: Path) -> None:
        edit(coco_folder / "panoptic.json", lambda data: data["annotations"].append(data["annotations"][0]))
        with pytest.raises(InputError, match=r"annotations\[3\]\.file_name '00000000\.png' stands twice"):
            read_segments(coco_folder)


class TestExport:
    @pytest.fixture
    def run_folder(self, tmp_path: Path) -> Path:
        stream = "clips/my walk (1).mp4"
        manifest = Manifest.of(
            model={},
            tracker={},
            vocabulary=VOCABULARY,
            source=SourceInfo(stream, "file", 6, 4, 3, Fraction(30), 0.1),
            chunk_plan=[ChunkPlan(number=0, start=0, stop=3)],
        )
        writer = RunWriter.create(tmp_path / "run", manifest)
        with writer.begin_chunk(0) as chunk:
            for i, frame in enumerate(walk()):
                chunk.append(replace(frame, stream=stream), number=i, overlap=False)
        writer.write_stitching({0: {70_000: 2, 300: 1}})
        writer.finish({})
        return tmp_path / "run"

    def test_a_run_as_vipseg(self, run_folder: Path) -> None:
        from videoseg.store.reader import open_run

        run = open_run(run_folder)
        folder = export_run(run, "vipseg")
        assert folder == run_folder / "exports/vipseg"
        recorded = read_segments(folder)
        assert recorded.videos == ("my_walk_1",)
        for read, written in zip(recorded.frames(), run.frames(), strict=True):
            np.testing.assert_array_equal(read.track_map(), written.track_map())
            assert (read.index, read.time) == (written.index, written.time)
            assert sorted((s.track, s.category, s.score) for s in read.segments) == sorted(
                (s.track, s.category, s.score) for s in written.segments
            )
        with pytest.raises(InputError, match="is not empty"):
            export_run(run, "vipseg")

    def test_a_run_as_images(self, run_folder: Path, tmp_path: Path) -> None:
        from videoseg.store.reader import open_run

        folder = export_run(open_run(run_folder), "coco_panoptic", tmp_path / "images")
        assert [len(frame.segments) for frame in read_segments(folder).frames()] == [2, 2, 2]

    def test_the_formats_there_are(self, run_folder: Path) -> None:
        from videoseg.store.reader import open_run

        assert list(formats())[:2] == ["vipseg", "coco_panoptic"]
        with pytest.raises(InputError, match=r"no format 'bmp'. There are: vipseg, coco_panoptic"):
            export_run(open_run(run_folder), "bmp")

    @pytest.mark.parametrize(
        ("stream", "name"),
        [
            ("walk.mp4", "walk"),
            ("/a/b/walk.2.mp4", "walk.2"),
            ("frames/", "frames"),
            ("rtsp://cam/live?x=1", "live_x_1"),
            ("..", "video"),
            ("日本.mp4", "日本"),
        ],
    )
    def test_names_of_videos(self, stream: str, name: str) -> None:
        assert vipseg.video_name(stream) == name
