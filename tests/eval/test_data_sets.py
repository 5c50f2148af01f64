"""The conventions of data sets: numbers as published, names that exist elsewhere, and files that are recognised."""

import numpy as np
import pytest

from eval import LabelledVideo, evaluate_arrays
from eval.data_sets import DataSet, data_set, data_sets, recognise_data_set
from eval.names import METRICS, VALUES
from videoseg import label_sets
from videoseg.errors import InputError
from videoseg.formats import find_format, formats
from videoseg.formats.cityscapes_classes import HUMANS_AND_VEHICLES, cityscapes_classes
from videoseg.formats.vipseg_classes import vipseg_classes, vspw_classes
from videoseg.vocabulary import Vocabulary

# (things, stuff), as published
NUMBERS = {
    "vipseg": (58, 66),
    "cityscapes_vps": (8, 11),
    "kitti_step": (2, 17),
    "vspw": (0, 124),
    "youtube_vis_2019": (40, 0),
    "youtube_vis_2021": (40, 0),
    "ovis": (25, 0),
    "coco_panoptic": (80, 53),
    "cityscapes": (8, 11),
    "ade20k_150": (100, 50),
    "ade20k_847": (0, 847),
    "pascal_context_59": (0, 59),
    "pascal_context_459": (0, 459),
    "pascal_voc": (0, 21),
    "pascal_voc_20": (0, 20),
}

ALL = pytest.mark.parametrize("each", data_sets(), ids=lambda each: each.name)


def test_which_have_their_categories_with_us() -> None:
    assert {each.name for each in data_sets() if each.vocabulary() is not None} == set(NUMBERS)
    assert {each.name for each in data_sets()} - set(NUMBERS) == {"lv_vis", "kitti_mots", "davis_2017", "burst"}


@pytest.mark.parametrize("name", NUMBERS)
def test_things_and_stuff_as_published(name: str) -> None:
    vocabulary = data_set(name).vocabulary()
    assert vocabulary is not None
    things = sum(category.is_thing for category in vocabulary)
    assert (things, len(vocabulary) - things) == NUMBERS[name]


@ALL
def test_every_word_is_one_that_we_know(each: DataSet) -> None:
    assert set(each.metrics) <= set(METRICS)
    assert set(each.formats) <= set(formats())
    assert each.label_set is None or each.label_set in label_sets.names()
    assert each.headline
    assert each.source
    assert each.licence
    if each.things is not None and each.label_set is not None:
        assert each.things <= {row.names[0] for row in label_sets.rows(each.label_set)}
    assert (not each.windows) == ("vpq" not in each.metrics)
    assert (not each.consistency_windows) == ("mvc" not in each.metrics)


@ALL
def test_headlines_are_values_that_are_measured(each: DataSet) -> None:
    rng = np.random.default_rng(0)
    id_maps = rng.integers(0, 3, size=(20, 4, 6))
    video = LabelledVideo(id_maps, {1: 0, 2: 1}, id_maps, {1: 0, 2: 1})
    metrics = [metric for metric in each.metrics if metric != "ap"]
    values = (
        evaluate_arrays(
            [video],
            [True, False],
            metrics=metrics,
            windows=each.windows or (1,),
            consistency_windows=each.consistency_windows or (8,),
            short_videos=each.short_videos,
        ).values
        if metrics
        else {}
    )
    of_tracks = {
        name.strip() for row in ("ap, ap50, ap75, ap.small|medium|large", "ar1, ar10, ar100") for name in row.split(",")
    }
    assert {"ap, ap50, ap75, ap.small|medium|large", "ar1, ar10, ar100"} <= set(VALUES)
    assert set(each.headline) <= set(values) | of_tracks


def test_windows_as_papers_call_them() -> None:
    assert data_set("cityscapes_vps").published_windows == {1: 0, 2: 5, 3: 10, 4: 15}
    assert data_set("vipseg").published_windows == {1: 1, 2: 2, 4: 4, 6: 6}
    assert data_set("vspw").consistency_windows == (8, 16)


def test_the_same_classes_in_two_rooms() -> None:
    """Formats number classes by lists of their own; label sets give them words."""
    for name, classes in (
        ("vipseg", vipseg_classes()),
        ("vspw", vspw_classes()),
        ("cityscapes", cityscapes_classes(HUMANS_AND_VEHICLES)),
        ("kitti_step", cityscapes_classes(frozenset({11, 13}))),
    ):
        vocabulary = data_set(name).vocabulary()
        assert vocabulary is not None
        assert [(c.name, c.is_thing) for c in vocabulary] == [(c.name, c.is_thing) for c in classes]


@pytest.mark.parametrize(
    ("name", "format_name"),
    [("ade20k_847", "ade20k_847"), ("pascal_context_59", "pascal_context_59"), ("pascal_context_459",) * 2],
)
def test_numbers_in_pictures_are_those_of_the_format(name: str, format_name: str) -> None:
    labels = find_format(format_name).LABELS  # type: ignore[attr-defined]
    each = data_set(name)
    assert (labels.first, (labels.void,), labels.classes) == (each.label_offset, each.ignore_labels, each.vocabulary())


def test_names() -> None:
    assert data_set("VIPSeg") is data_set("vipseg")
    assert data_set("KITTI-STEP") is data_set("kitti step") is data_set("kitti_step")
    assert data_set("COCO") is data_set("coco_panoptic")
    assert data_set("YTVIS-2019") is data_set("youtube_vis_2019")
    assert len({each.name for each in data_sets()}) == len(data_sets())
    with pytest.raises(
        InputError, match=r"There is no data set 'imagenet'\. There are: vipseg, cityscapes_vps, kitti_st"
    ):
        data_set("imagenet")


@ALL
def test_files_are_recognised_by_format_and_categories(each: DataSet) -> None:
    vocabulary = each.vocabulary()
    if vocabulary is None:
        return
    for format_name in each.formats:
        assert recognise_data_set(format_name, vocabulary) is each
        bare = Vocabulary.of([(category.names[:1], category.is_thing) for category in vocabulary])
        assert recognise_data_set(format_name, bare) is each


def test_files_that_are_of_no_data_set() -> None:
    own = Vocabulary.build(things="person; dog")
    for name in ("vipseg", "coco_panoptic", "youtube_vis", "run_folder", "vspw"):
        assert recognise_data_set(name, own) is None
    assert recognise_data_set("kitti_mots", own) is data_set("kitti_mots")  # two categories, which only its files name
    other = Vocabulary.of([((f"thing {i}",), True) for i in range(40)])
    assert recognise_data_set("youtube_vis", other) is None


# As `panoptic_val2017.json` spells them, in its order.
COCO_STUFF = """
banner blanket bridge cardboard counter curtain door-stuff floor-wood flower fruit gravel house light
mirror-stuff net pillow platform playingfield railroad river road roof sand sea shelf snow stairs tent towel wall-brick
wall-stone wall-tile wall-wood water-other window-blind window-other tree-merged fence-merged ceiling-merged
sky-other-merged cabinet-merged table-merged floor-other-merged pavement-merged mountain-merged grass-merged
dirt-merged paper-merged food-other-merged building-other-merged rock-merged wall-other-merged rug-merged
"""


def test_words_of_the_label_set_for_the_spelling_of_the_files() -> None:
    coco = data_set("coco_panoptic")
    ours = coco.vocabulary()
    assert ours is not None
    published = Vocabulary.of(
        [(category.names[:1], True) for category in ours.categories[:80]]
        + [((name,), False) for name in COCO_STUFF.split()]
    )
    assert recognise_data_set("coco_panoptic", published) is coco
    worded = coco.with_words(published)
    sky = worded[80 + COCO_STUFF.split().index("sky-other-merged")]
    assert sky.names[:2] == ("sky-other-merged", "sky")
    assert not sky.is_thing
    assert [category.name for category in worded] == [category.name for category in published]
    with pytest.raises(InputError, match=r"not those of COCO panoptic: 2, beginning with person, dog; it has 133"):
        coco.with_words(Vocabulary.build(things="person; dog"))
    burst = Vocabulary.build(things="person; dog")
    assert data_set("burst").with_words(burst) is burst
