"""ADE20K, Pascal Context, Pascal VOC and COCO panoptic: small trees to the letter, written and read back, mistakes."""

import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from videoseg import label_sets
from videoseg.errors import InputError
from videoseg.formats import (
    ade20k_150,
    ade20k_847,
    export_run,
    pascal_context_59,
    pascal_context_459,
    pascal_voc,
    read_segments,
    recognise,
)
from videoseg.formats.panoptic_png import write_png
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import SourceInfo
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.writer import RunWriter
from videoseg.vocabulary import Vocabulary

VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [64] * 759


def picture(path: Path, numbers: Any, dtype: type = np.uint8, palette: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.array(numbers, dtype=dtype))
    if palette:
        image.putpalette(VOC_PALETTE)
    image.save(path)
    return path


def shown(frame: PanopticFrame, vocabulary: Vocabulary) -> list[list[str | None]]:
    """The name of every pixel."""
    names: dict[int, str | None] = {s.id: vocabulary[s.category].name for s in frame.segments}
    return [[names.get(int(i)) for i in row] for row in frame.id_map]


class TestAde150:
    def test_class_numbers(self, tmp_path: Path) -> None:
        root = tmp_path / "ADEChallengeData2016"
        picture(root / "annotations/validation/ADE_val_00000001.png", [[0, 1, 1], [13, 150, 13]])
        picture(root / "annotations/validation/ADE_val_00000002.png", [[3]])
        picture(root / "annotations/training/ADE_train_00000001.png", [[2, 2]])
        for path in (root, root / "annotations"):
            assert recognise(path) == ["ade20k_150"]
            assert read_segments(path).videos == ("training", "validation")
        found = read_segments(root / "annotations/validation")
        assert (found.videos, found.tracked, found.unlabelled, len(found.vocabulary)) == (
            ("validation",),
            False,
            "void",
            150,
        )
        frames = list(found.frames())
        assert shown(frames[0], found.vocabulary) == [[None, "wall", "wall"], ["person", "flag", "person"]]
        assert shown(frames[1], found.vocabulary) == [["sky"]]
        assert not any(s.is_thing for frame in frames for s in frame.segments)
        assert all(s.track is None for frame in frames for s in frame.segments)
        assert [frame.index for frame in frames] == [0, 1]

    def test_as_detectron2_has_it(self, tmp_path: Path) -> None:
        picture(tmp_path / "annotations_detectron2/validation/ADE_val_00000001.png", [[255, 0, 149]])
        found = read_segments(tmp_path)
        assert found.format == "ade20k_150"
        assert shown(next(found.frames()), found.vocabulary) == [[None, "wall", "flag"]]

    def test_with_instances(self, tmp_path: Path) -> None:
        # Two persons (thing 4 of 100, class 13), a bed (1, class 8) over the wall, a person pixel without an instance.
        picture(tmp_path / "annotations/validation/ADE_val_00000001.png", [[1, 13, 13, 13], [1, 1, 2, 0]])
        thing_and_instance = np.array(
            [[[0, 0], [4, 1], [4, 2], [0, 0]], [[0, 0], [1, 3], [0, 0], [0, 0]]], dtype=np.uint8
        )
        colours = np.concatenate([thing_and_instance, np.zeros((2, 4, 1), dtype=np.uint8)], axis=-1)
        picture(tmp_path / "annotations_instance/validation/ADE_val_00000001.png", colours)
        found = read_segments(tmp_path)
        frame = next(found.frames())
        assert shown(frame, found.vocabulary) == [["wall", "person", "person", None], ["wall", "bed", "building", None]]
        assert frame.id_map[0, 1] != frame.id_map[0, 2]
        assert sorted((found.vocabulary[s.category].name, s.is_thing) for s in frame.segments) == [
            ("bed", True),
            ("building", False),
            ("person", True),
            ("person", True),
            ("wall", False),
        ]
        assert sum(category.is_thing for category in found.vocabulary) == 100
        # One folder alone is class numbers.
        assert len(next(read_segments(tmp_path / "annotations").frames()).segments) == 3

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                lambda root: picture(root / "annotations/validation/ADE_val_00000001.png", [[1, 151]]),
                r"ADE_val_00000001\.png has pixels of class 151; ADE20K-150 has 1\.\.150, and 0 for void",
            ),
            (
                lambda root: picture(root / "annotations/validation/ADE_val_00000001.png", np.zeros((2, 2, 3))),
                r"00000001\.png is of Pillow's mode RGB; ADE20K-150 needs one number per pixel",
            ),
            (
                lambda root: (root / "annotations/validation/ADE_val_00000001.png").write_bytes(b"\x89PNG"),
                r"ADE_val_00000001\.png is no PNG or TIFF, or it is damaged",
            ),
            (
                lambda root: picture(
                    root / "annotations_instance/validation/ADE_val_00000001.png", [[[101, 1, 0], [0, 0, 0]]]
                ),
                r"annotations_instance/.*has an instance of class 101; the things are 1\.\.100",
            ),
            (
                lambda root: picture(root / "annotations_instance/validation/ADE_val_00000001.png", [[[1, 1, 0]]]),
                r"annotations_instance/.* is 1×1 pixels, .*annotations/validation/ADE_val_00000001\.png 2×1",
            ),
            (
                lambda root: picture(root / "annotations_instance/validation/ADE_val_00000001.png", [[1, 1]]),
                r"annotations_instance/.* is of Pillow's mode L; .*\(instances\) needs one number per pixel \(RGB\)",
            ),
            (
                lambda root: (root / "annotations_instance/validation/ADE_val_00000001.png").unlink(),
                r"annotations_instance/validation/ADE_val_00000001\.png is missing",
            ),
        ],
    )
    def test_mistakes(self, tmp_path: Path, change: Callable[[Path], None], says: str) -> None:
        picture(tmp_path / "annotations/validation/ADE_val_00000001.png", [[1, 13]])
        picture(tmp_path / "annotations_instance/validation/ADE_val_00000001.png", [[[0, 0, 0], [4, 1, 0]]])
        change(tmp_path)
        with pytest.raises(InputError, match=says):
            list(read_segments(tmp_path).frames())

    def test_other_names_have_to_be_asked_for(self, tmp_path: Path) -> None:
        picture(tmp_path / "annotations/a.png", [[1]])
        assert recognise(tmp_path) == []
        found = read_segments(tmp_path, "ade20k_150")
        assert found.videos == ("annotations",)
        with pytest.raises(InputError, match=r"has no labels of ADE20K-150: annotations/<split>/<image>\.png"):
            ade20k_150.read(tmp_path / "nothing")


class TestAde847:
    def test_to_the_letter(self, tmp_path: Path) -> None:
        root = tmp_path / "ADE20K_2021_17_01"
        picture(
            root / "annotations_detectron2/validation/ADE_val_00000001.tif", [[0, 846, 65535], [300, 0, 0]], np.uint16
        )
        assert recognise(root) == recognise(root / "annotations_detectron2/validation") == ["ade20k_847"]
        found = read_segments(root)
        rows = label_sets.rows("ade20k-847")
        assert shown(next(found.frames()), found.vocabulary) == [
            [rows[0].names[0], rows[846].names[0], None],
            [rows[300].names[0], rows[0].names[0], rows[0].names[0]],
        ]
        assert not any(category.is_thing for category in found.vocabulary)

    def test_mistakes(self, tmp_path: Path) -> None:
        picture(tmp_path / "annotations_detectron2/validation/ADE_val_00000001.tif", [[847]], np.uint16)
        with pytest.raises(InputError, match=r"\.tif has pixels of class 847; ADE20K-847 has 0\.\.846, and 65535"):
            list(read_segments(tmp_path).frames())
        (tmp_path / "original").mkdir()
        (tmp_path / "original/index_ade20k.pkl").write_bytes(b"")
        with pytest.raises(InputError, match=r"It is the original release \(index_ade20k\.pkl\), whose pictures"):
            read_segments(tmp_path / "original")


class TestPascalContext:
    def test_59_to_the_letter(self, tmp_path: Path) -> None:
        picture(tmp_path / "annotations_ctx59/validation/2008_000002.png", [[0, 58, 255], [46, 46, 46]])
        assert recognise(tmp_path) == ["pascal_context_59"]
        found = read_segments(tmp_path)
        assert shown(next(found.frames()), found.vocabulary) == [
            ["aeroplane", "wood piece", None],
            ["sky", "sky", "sky"],
        ]

    def test_459_to_the_letter(self, tmp_path: Path) -> None:
        picture(tmp_path / "annotations_ctx459/validation/2008_000002.tif", [[0, 458, 65535]], np.uint16)
        assert recognise(tmp_path) == ["pascal_context_459"]
        found = read_segments(tmp_path)
        assert shown(next(found.frames()), found.vocabulary) == [["accordion", "wool", None]]
        assert len(found.vocabulary) == 459

    def test_both_in_one_folder(self, tmp_path: Path) -> None:
        picture(tmp_path / "annotations_ctx59/validation/2008_000002.png", [[0]])
        picture(tmp_path / "annotations_ctx459/validation/2008_000002.tif", [[0]], np.uint16)
        with pytest.raises(InputError, match=r"can be read as pascal_context_59 or as pascal_context_459\. Say which"):
            read_segments(tmp_path)
        assert read_segments(tmp_path, "pascal_context_459").format == "pascal_context_459"
        assert read_segments(tmp_path / "annotations_ctx59").format == "pascal_context_59"

    def test_the_original_maps(self, tmp_path: Path) -> None:
        (tmp_path / "trainval").mkdir()
        # labels.txt: 1 accordion, 2 aeroplane, 62 computer case, 85 computer, 324 road, 397 table, 459 wool
        label_map = np.array([[0, 1, 2], [62, 85, 324], [397, 459, 2]], dtype=np.uint16)
        savemat(tmp_path / "trainval/2008_000002.mat", {"LabelMap": label_map})
        assert recognise(tmp_path) == ["pascal_context_459"]
        found = read_segments(tmp_path)
        assert shown(next(found.frames()), found.vocabulary) == [
            [None, "accordion", "aeroplane"],
            ["computer case", "computer", "road"],
            ["table", "wool", "aeroplane"],
        ]
        frequent = read_segments(tmp_path, "pascal_context_59")
        assert shown(next(frequent.frames()), frequent.vocabulary) == [
            [None, None, "aeroplane"],
            [None, "computer case", "street"],  # OpenSeg's words for computer and road
            ["diningtable", None, "aeroplane"],
        ]

    def test_all_59_are_found_in_the_original_maps(self, tmp_path: Path) -> None:
        (tmp_path / "trainval").mkdir()
        savemat(tmp_path / "trainval/2008_000002.mat", {"LabelMap": np.arange(460, dtype=np.uint16)[None]})
        frame = next(read_segments(tmp_path, "pascal_context_59").frames())
        assert {segment.category for segment in frame.segments} == set(range(59))
        assert [segment.area for segment in frame.segments] == [1] * 59

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            ({"LabelMap": np.array([[460]], dtype=np.uint16)}, r"LabelMap has class 460; there are 1\.\.459"),
            ({"LabelMap": np.array([[0.5]])}, "LabelMap must be a matrix of whole numbers"),
            ({"Other": np.array([[1]])}, "LabelMap must be a matrix of whole numbers"),
            (None, r"2008_000002\.mat is no MATLAB file that can be read"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, content: dict[str, Any] | None, says: str) -> None:
        (tmp_path / "trainval").mkdir()
        file = tmp_path / "trainval/2008_000002.mat"
        if content is None:
            file.write_bytes(b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(40))
        else:
            savemat(file, content)
        with pytest.raises(InputError, match=says):
            list(read_segments(tmp_path).frames())
        with pytest.raises(InputError, match=r"has no labels of Pascal Context 59: annotations_ctx59/"):
            pascal_context_59.read(tmp_path / "other")


class TestPascalVoc:
    def test_classes_and_objects(self, tmp_path: Path) -> None:
        root = tmp_path / "VOCdevkit/VOC2012"
        picture(root / "SegmentationClass/2007_000032.png", [[0, 15, 15, 255], [0, 1, 15, 0]], palette=True)
        picture(root / "SegmentationObject/2007_000032.png", [[0, 1, 2, 255], [0, 3, 2, 0]], palette=True)
        assert recognise(root) == ["pascal_voc"]
        found = read_segments(root)
        frame = next(found.frames())
        assert shown(frame, found.vocabulary) == [
            ["background", "person", "person", None],
            ["background", "aeroplane", "person", "background"],
        ]
        assert sorted((s.category, s.is_thing, s.area) for s in frame.segments) == [
            (0, False, 3),
            (1, True, 1),
            (15, True, 1),
            (15, True, 2),
        ]
        classes = read_segments(root / "SegmentationClass")
        assert [s.is_thing for s in next(classes.frames()).segments] == [False] * 3

    def test_without_background(self, tmp_path: Path) -> None:
        picture(tmp_path / "annotations_pascal20/validation/2007_000032.png", [[255, 0, 19]])
        found = read_segments(tmp_path)
        assert len(found.vocabulary) == 20
        assert shown(next(found.frames()), found.vocabulary) == [[None, "aeroplane", "tvmonitor"]]
        picture(tmp_path / "annotations_pascal21/validation/2007_000032.png", [[255, 0, 20]])
        with pytest.raises(InputError, match=r"labels in annotations_pascal21 and in annotations_pascal20\. Name one"):
            read_segments(tmp_path)
        found = read_segments(tmp_path / "annotations_pascal21")
        assert shown(next(found.frames()), found.vocabulary) == [[None, "background", "tvmonitor"]]

    def test_mistakes(self, tmp_path: Path) -> None:
        picture(tmp_path / "SegmentationClass/a.png", [[1, 2]], palette=True)
        picture(tmp_path / "SegmentationObject/a.png", [[1, 1]], palette=True)
        with pytest.raises(InputError, match=r"SegmentationObject/a\.png: object 1 has pixels of the classes \[1, 2\]"):
            list(read_segments(tmp_path).frames())
        picture(tmp_path / "SegmentationObject/a.png", [[1]], palette=True)
        with pytest.raises(
            InputError, match=r"SegmentationObject/a\.png is 1×1 pixels, .*SegmentationClass/a\.png 2×1"
        ):
            list(read_segments(tmp_path).frames())
        picture(tmp_path / "SegmentationClass/a.png", [[21]], palette=True)
        with pytest.raises(InputError, match=r"has pixels of class 21; Pascal VOC has 0\.\.20, and 255 for void"):
            list(read_segments(tmp_path / "SegmentationClass").frames())


class TestCocoPanoptic:
    """The layout in which COCO is published, and that of `ade20k_panoptic_val`."""

    def tree(self, root: Path, layout: str, first_category: int) -> Path:
        json_file = root / layout
        json_file.parent.mkdir(parents=True, exist_ok=True)
        name = json_file.stem
        (root / name).mkdir(parents=True)
        write_png(root / name / "000000000139.png", np.array([[3226956, 3226956, 0, 6979964]], dtype=np.uint32))
        data = {
            "info": {"year": 2018},
            "licenses": [],
            "images": [
                {
                    "id": 139,
                    "file_name": "000000000139.jpg",
                    "height": 1,
                    "width": 4,
                    "license": 3,
                    "date_captured": "2013-11-21 01:34:01",
                }
            ],
            "annotations": [
                {
                    "image_id": 139,
                    "file_name": "000000000139.png",
                    "segments_info": [
                        {
                            "id": 3226956,
                            "category_id": first_category,
                            "iscrowd": 0,
                            "bbox": [0, 0, 2, 1],
                            "area": 2,
                        },
                        {
                            "id": 6979964,
                            "category_id": first_category + 1,
                            "iscrowd": 1,
                            "bbox": [3, 0, 1, 1],
                            "area": 1,
                        },
                    ],
                }
            ],
            "categories": [
                {"id": first_category, "name": "wall", "supercategory": "wall", "isthing": 0, "color": [1, 2, 3]},
                {
                    "id": first_category + 1,
                    "name": "person",
                    "supercategory": "person",
                    "isthing": 1,
                    "color": [4, 5, 6],
                },
            ],
        }
        json_file.write_text(json.dumps(data))
        return json_file

    @pytest.mark.parametrize(
        ("layout", "first_category"), [("ade20k_panoptic_val.json", 0), ("panoptic_val2017.json", 1)]
    )
    def test_pngs_beside_the_json(self, tmp_path: Path, layout: str, first_category: int) -> None:
        found = read_segments(self.tree(tmp_path, layout, first_category))
        frame = next(found.frames())
        assert (found.format, found.tracked) == ("coco_panoptic", False)
        assert shown(frame, found.vocabulary) == [["wall", "wall", None, "person"]]
        assert [(s.is_thing, s.crowd) for s in frame.segments] == [(False, False), (True, True)]

    def test_annotations_folder(self, tmp_path: Path) -> None:
        file = self.tree(tmp_path, "annotations/panoptic_val2017.json", 1)
        frame = next(read_segments(file).frames())
        assert shown(frame, read_segments(file).vocabulary) == [["wall", "wall", None, "person"]]


def frame_of(id_map: NDArray[np.uint16], categories: int) -> PanopticFrame:
    segments = tuple(
        Segment(i, (i * 7) % categories, False, 1.0, area, box) for i, (area, box) in measure_segments(id_map).items()
    )
    return PanopticFrame("validation", 0, 0, 0, Fraction(1, 25), 0.0, id_map, segments)


SETS = (
    (ade20k_150, ade20k_150.SEMANTIC.classes, "ADE_val_0000000"),
    (ade20k_847, ade20k_847.LABELS.classes, "ADE_val_0000000"),
    (pascal_context_59, pascal_context_59.LABELS.classes, "2008_00000"),
    (pascal_context_459, pascal_context_459.LABELS.classes, "2008_00000"),
    (pascal_voc, pascal_voc.SEMANTIC.classes, "2007_00000"),
)


@pytest.mark.parametrize(("module", "classes", "prefix"), SETS)
@settings(max_examples=15, deadline=None)
@given(
    id_maps=st.lists(
        hnp.arrays(np.uint16, (3, 5), elements=st.sampled_from([0, 1, 2, 300, 65535])), min_size=1, max_size=3
    )
)
def test_any_classes_are_written_and_read(
    module: ModuleType, classes: Vocabulary, prefix: str, id_maps: list[NDArray[np.uint16]]
) -> None:
    written = [frame_of(id_map, len(classes)) for id_map in id_maps]
    with tempfile.TemporaryDirectory() as place:
        folder = module.write(
            Path(place) / "out", classes, ((f"{prefix}{i}", frame) for i, frame in enumerate(written))
        )
        found = read_segments(folder)
        assert (found.format, found.vocabulary) == (module.NAME, classes)
        for read, expected in zip(found.frames(), written, strict=True):
            assert shown(read, classes) == shown(expected, classes)
            # Segments of one class run together.
            assert len({s.category for s in read.segments}) == len(read.segments)


def test_what_cannot_be_written(tmp_path: Path) -> None:
    frame = frame_of(np.array([[1]], dtype=np.uint16), 1)
    with pytest.raises(InputError, match="ADE20K-150 has no class for dragon"):
        ade20k_150.write(tmp_path / "a", Vocabulary.build(things="dragon"), [("x", frame)])
    with pytest.raises(InputError, match="'x' cannot name an image"):
        ade20k_150.write(tmp_path / "a", Vocabulary.build(stuff="wall"), [("x", frame), ("x", frame)])
    with pytest.raises(InputError, match=r"'\.\./x' cannot name an image"):
        ade20k_150.write(tmp_path / "a", Vocabulary.build(stuff="wall"), [("../x", frame)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["ade20k_150", "ade20k_847", "pascal_context_59", "pascal_context_459", "pascal_voc"])
def test_a_run_is_exported(tmp_path: Path, name: str) -> None:
    from videoseg.store.reader import open_run

    vocabulary = Vocabulary.build(things="person", stuff="sky")
    id_map = np.array([[1, 1, 2, 0]], dtype=np.uint16)
    segments = tuple(
        Segment(i, i - 1, i == 1, 0.5, area, box, track=i) for i, (area, box) in measure_segments(id_map).items()
    )
    frame = PanopticFrame("walk.mp4", 0, 0, 0, Fraction(1, 25), 0.0, id_map, segments)
    manifest = Manifest.of(
        model={},
        tracker={},
        vocabulary=vocabulary,
        source=SourceInfo("walk.mp4", "file", 4, 1, 1, Fraction(25), 0.04),
        chunk_plan=[ChunkPlan(number=0, start=0, stop=1)],
    )
    writer = RunWriter.create(tmp_path / "run", manifest)
    with writer.begin_chunk(0) as chunk:
        chunk.append(frame, number=0, overlap=False)
    writer.write_stitching({0: {1: 1, 2: 2}})
    writer.finish({})
    found = read_segments(export_run(open_run(tmp_path / "run"), name))
    background = "background" if name == "pascal_voc" else "sky"  # sky is among the synonyms of VOC's background
    assert shown(next(found.frames()), found.vocabulary) == [["person", "person", background, None]]
