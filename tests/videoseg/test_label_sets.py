"""The built-in label sets hold what was published, no more and no less."""

import pytest

from videoseg import label_sets
from videoseg.errors import InputError

# Categories and names (synonyms counted) as used for the published results; things by the panoptic split.
COUNTS = {
    "coco": (133, 254, 80),
    "ade20k": (150, 403, 100),
    "ade20k-847": (847, 1342, 0),
    "pascal-context-59": (59, 160, 0),
    "pascal-context-459": (459, 559, 0),
    "pascal-voc": (21, 153, 20),
    "lvis": (1203, 1825, 1203),
    "vipseg": (124, 172, 58),
    "cityscapes": (19, 21, 8),
    "youtube-vis-2019": (40, 43, 40),
    "youtube-vis-2021": (40, 44, 40),
    "ovis": (25, 27, 25),
}


def test_all_sets_are_counted() -> None:
    assert set(label_sets.names()) == set(COUNTS)


@pytest.mark.parametrize("name", COUNTS)
def test_counts(name: str) -> None:
    rows = label_sets.rows(name)
    assert (len(rows), sum(len(row.names) for row in rows), sum(row.is_thing for row in rows)) == COUNTS[name]
    assert len({row.id for row in rows}) == len(rows)
    assert all(word == " ".join(word.split()) != "" for row in rows for word in row.names)


def test_things_and_stuff() -> None:
    coco = {row.names[0]: row for row in label_sets.rows("coco")}
    assert coco["person"].is_thing
    assert coco["toothbrush"].is_thing
    assert not coco["rug"].is_thing
    assert (coco["person"].id, coco["rug"].id) == (1, 200)
    ade = {row.names[0]: row for row in label_sets.rows("ade20k")}
    assert not ade["wall"].is_thing
    assert ade["flag"].is_thing
    assert not next(row for row in label_sets.rows("pascal-voc") if row.names[0] == "background").is_thing


def test_an_unknown_name() -> None:
    with pytest.raises(InputError, match=r"no label set 'nothing'. The built-in ones are: coco, ade20k, ade20k-847"):
        label_sets.rows("nothing")
