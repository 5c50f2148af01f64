"""Every format's tree is recognised by exactly one module, and nothing else by any."""

import tempfile
from pathlib import Path

import numpy as np
import png_bytes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from videoseg.errors import InputError
from videoseg.formats import find_format, formats, read_segments, recognise


@pytest.mark.parametrize("what", png_bytes.TREES)
def test_a_tree_is_of_one_format(tmp_path: Path, what: str) -> None:
    name, build = png_bytes.TREES[what]
    build(tmp_path)
    assert recognise(tmp_path) == [name]
    recorded = read_segments(tmp_path)
    assert recorded.format == name
    assert all(list(recorded.frames(video)) for video in recorded.videos)
    assert len(recorded.checksum(recorded.videos[0])) == 64


@pytest.mark.parametrize(
    ("what", "below"),
    [
        ("KITTI-STEP", "panoptic_maps"),
        ("KITTI-STEP", "panoptic_maps/val"),
        ("Cityscapes-VPS", "panoptic_gt_val_city_vps.json"),
        ("KITTI-MOTS, PNG", "instances"),
        ("KITTI-MOTS, text", "instances_txt"),
        ("KITTI-MOTS, text", "instances_txt/0002.txt"),
        ("DAVIS", "Annotations"),
        ("DAVIS", "Annotations/480p"),
        ("DAVIS", "ImageSets/2017/val.txt"),
        ("VSPW", "data"),
        ("VIPSeg, raw", "panomasks"),
        ("VIPSeg", "panoptic_gt_VIPSeg_val.json"),
        ("COCO panoptic", "panoptic_val2017.json"),
    ],
)
def test_a_place_in_the_tree_is_the_same(tmp_path: Path, what: str, below: str) -> None:
    name, build = png_bytes.TREES[what]
    build(tmp_path)
    assert recognise(tmp_path / below) == [name]
    whole, part = read_segments(tmp_path), read_segments(tmp_path / below)
    assert part.videos == whole.videos
    for video in whole.videos:
        for ours, theirs in zip(part.frames(video), whole.frames(video), strict=True):
            assert [(s.category, s.track, s.area) for s in ours.segments] == [
                (s.category, s.track, s.area) for s in theirs.segments
            ]


def test_every_format_has_a_tree() -> None:
    """Run folders are recognised in `test_formats_run_folder`: only our store writes them."""
    assert {name for name, _ in png_bytes.TREES.values()} | {"run_folder"} == set(formats())
    for name, module in formats().items():
        assert find_format(name) is module


@pytest.mark.parametrize("nothing", ["empty", "photographs", "a text", "a JSON", "nested"])
def test_what_is_of_no_format(tmp_path: Path, nothing: str) -> None:
    place = tmp_path / "place"
    place.mkdir()
    if nothing == "photographs":
        png_bytes.put(place / "holiday/IMG_0001.png", png_bytes.png([[(1, 2, 3)]], png_bytes.RGB))
        png_bytes.put(place / "0001/photograph.png", png_bytes.png([[(1, 2, 3)]], png_bytes.RGB))
    elif nothing == "a text":
        png_bytes.put(place / "notes.txt", b"1 2 3\n")
    elif nothing == "a JSON":
        png_bytes.put(place / "list.json", b'{"annotations": [{"file_name": "1.png"}], "images": 5}')
        png_bytes.put(place / "bad.json", b"{")
    elif nothing == "nested":
        png_bytes.kitti_step(place / "deep")
    assert recognise(place) == []
    with pytest.raises(InputError, match=r"is no per-frame segments that videoseg knows .*docs/formats\.md"):
        read_segments(place)


def test_a_tree_of_two_formats_must_be_told(tmp_path: Path) -> None:
    png_bytes.davis(tmp_path)
    png_bytes.kitti_step(tmp_path)
    assert recognise(tmp_path) == ["kitti_step", "davis"]
    with pytest.raises(InputError, match=r"can be read as kitti_step or as davis\. Say which it is"):
        read_segments(tmp_path)
    assert read_segments(tmp_path, "davis").format == "davis"
    with pytest.raises(InputError, match=r"no format 'bmp'\. There are: vipseg,"):
        read_segments(tmp_path, "bmp")


def test_the_page_has_all_formats() -> None:
    page = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
    assert [name for name in formats() if f"`{name}`" not in page] == []


@settings(max_examples=120, deadline=None)
@given(
    what=st.sampled_from(sorted(png_bytes.TREES)), place=st.floats(0, 1, exclude_max=True), cut=st.integers(0, 12),
    new=st.binary(max_size=4),
)  # fmt: skip
def test_damage_anywhere_is_an_input_error_or_nothing(what: str, place: float, cut: int, new: bytes) -> None:
    """Some bytes of some file become others: it is read as something, or refused in a sentence; never a traceback.

    Not the sizes in headers, which can claim a hundred megapixels and would only cost time.
    """
    name, build = png_bytes.TREES[what]
    with tempfile.TemporaryDirectory() as folder:
        root = build(Path(folder))
        files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".tif")
        ends = np.cumsum([path.stat().st_size for path in files]) if files else np.zeros(0, dtype=int)
        if not len(ends):
            return
        at = int(place * ends[-1])
        number = int(np.searchsorted(ends, at, side="right"))
        at -= int(ends[number - 1]) if number else 0
        content = files[number].read_bytes()
        if files[number].suffix == ".png" and at < 24:
            at = 24
        files[number].write_bytes(content[:at] + new + content[at + cut :])
        recognise(root)
        refused = ""
        try:
            recorded = read_segments(root, name)
            for video in recorded.videos:
                for _ in recorded.frames(video, 0, 3):
                    pass
        except InputError as error:
            refused = str(error)
        assert not refused or str(root) in refused
