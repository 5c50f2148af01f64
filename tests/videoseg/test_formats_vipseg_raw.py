"""VIPSeg's masks as they are published: category, or category · 100 + instance."""

import json
from pathlib import Path

import pytest
from png_bytes import GREY, RGB, png, put
from png_bytes import vipseg_raw as tree

from videoseg.errors import InputError
from videoseg.formats import read_segments, vipseg
from videoseg.formats.vipseg_classes import vipseg_classes

VIDEO = "12_1mWNahzcsAc"


def test_what_the_tree_says(tmp_path: Path) -> None:
    recorded = read_segments(tree(tmp_path))
    assert (recorded.format, recorded.videos, recorded.tracked, recorded.unlabelled) == (
        "vipseg",
        (VIDEO,),
        True,
        "void",
    )
    assert (len(recorded.vocabulary), sum(c.is_thing for c in recorded.vocabulary)) == (124, 58)
    (frame,) = recorded.frames()
    assert [(recorded.vocabulary[s.category].name, s.is_thing, s.track, s.area, s.crowd) for s in frame.segments] == [
        ("sky", False, 29, 2, False),
        ("person", True, 6100, 1, False),
        ("person", True, 6101, 2, False),
    ]
    assert frame.id_map[1, 2] == 0


def test_the_ends_of_the_numbers(tmp_path: Path) -> None:
    """124 is a train without an instance, 12499 the last one with; 100 is a refrigerator and no wall."""
    put(tmp_path / f"panomasks/{VIDEO}/1.png", png([[124, 12499, 100, 1]], GREY, 16))
    (frame,) = read_segments(tmp_path).frames()
    names = [vipseg_classes()[s.category].name for s in frame.segments]
    assert names == ["wall", "refrigerator", "train", "train"]


def test_frames_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 100):
        put(tmp_path / f"panomasks/{VIDEO}/{number}.png", png([[number]]))
    assert [f.segments[0].track for f in read_segments(tmp_path, "vipseg").frames()] == [9, 10, 100]


def test_the_json_goes_before_the_raw_masks(tmp_path: Path) -> None:
    tree(tmp_path)
    recorded = read_segments(tmp_path)
    frames = [f.with_segments(f.segments) for f in recorded.frames()]
    whole = vipseg.write(tmp_path / "whole", recorded.vocabulary, {VIDEO: frames})
    (tmp_path / "panomasks").rename(whole / "panomasks")
    assert read_segments(whole).path.name == "pred.json"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            png([[12500] * 3] * 2, GREY, 16),
            r"00000010\.png has pixels of value 12500, of class 125; VIPSeg has 1\.\.124",
        ),
        (png([[(1, 1, 1)] * 3] * 2, RGB), r"00000010\.png is RGB of 8 bits; VIPSeg needs grey of 16 bits or grey of 8"),
        (b"x", r"00000010\.png is not a PNG, or it is damaged"),
    ],
)
def test_a_wrong_png(tmp_path: Path, content: bytes, says: str) -> None:
    put(tree(tmp_path) / f"panomasks/{VIDEO}/00000010.png", content)
    with pytest.raises(InputError, match=says):
        list(read_segments(tmp_path, "vipseg").frames())


def test_the_list_of_classes(tmp_path: Path) -> None:
    listed = [{"id": i, "name": c.name, "isthing": int(c.is_thing)} for i, c in enumerate(vipseg_classes())]
    file = put(tree(tmp_path) / "panoVIPSeg_categories.json", json.dumps(listed).encode())
    assert read_segments(tmp_path).num_frames() == 1
    file.write_text(json.dumps(listed[:-1]))
    with pytest.raises(InputError, match=r"panoVIPSeg_categories\.json lists 123 classes; VIPSeg has 124"):
        read_segments(tmp_path)
    file.write_text(json.dumps([listed[1], *listed[1:]]))
    with pytest.raises(InputError, match=r"panoVIPSeg_categories\.json: the list\[1\]\.id 1 stands twice"):
        read_segments(tmp_path)
    file.write_text(json.dumps([{**listed[0], "isthing": 1}, *listed[1:]]))
    with pytest.raises(InputError, match=r"panoVIPSeg_categories\.json: entry 0 is not VIPSeg's 'wall'"):
        read_segments(tmp_path)
