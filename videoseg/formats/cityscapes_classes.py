"""The 19 classes of Cityscapes, in the order of their training ids: KITTI-STEP and Cityscapes-VPS number them so.

Source: https://www.cityscapes-dataset.com/dataset-overview/#class-definitions and the table of KITTI-STEP
(https://github.com/google-research/deeplab2/blob/main/g3doc/setup/kitti_step.md).
"""

from videoseg.vocabulary import Vocabulary

# Synonyms let vocabularies in other words be written; Cityscapes-VPS itself spells `vegitation`.
_NAMES = (
    ("road",),
    ("sidewalk",),
    ("building",),
    ("wall",),
    ("fence",),
    ("pole",),
    ("traffic light",),
    ("traffic sign",),
    ("vegetation", "vegitation"),
    ("terrain",),
    ("sky",),
    ("person", "pedestrian"),
    ("rider",),
    ("car",),
    ("truck",),
    ("bus",),
    ("train",),
    ("motorcycle",),
    ("bicycle",),
)

PERSON, CAR = 11, 13

HUMANS_AND_VEHICLES = frozenset(range(11, 19))
"""What Cityscapes has instances of."""


def cityscapes_classes(things: frozenset[int]) -> Vocabulary:
    """The classes, of which those numbered in `things` are told apart."""
    return Vocabulary.of([(names, number in things) for number, names in enumerate(_NAMES)])
