"""ADE20K with 847 categories: class numbers of images, in 16 bits.

Source: the full ADE20K (https://groups.csail.mit.edu/vision/datasets/ADE20K/, release of 2021-01-17), with the 847
categories that occur in training and in validation images, as open-vocabulary segmentation has stored them since
MaskFormer (https://github.com/facebookresearch/MaskFormer/blob/main/datasets/README.md):

    ADE20K_2021_17_01/
      annotations_detectron2/<split>/ADE_val_00000001.tif    grey of 16 bits: 0..846 the class, 65535 void

There is no official split into things and stuff: every class is one segment and none is a thing.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from videoseg.errors import InputError
from videoseg.formats import label_images
from videoseg.formats.label_images import Labels, find_images
from videoseg.formats.recorded import RecordedSegments
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "ade20k_847"

LABELS = Labels("ADE20K-847", label_images.semantic_classes("ade20k-847"), first=0, void=65535, suffix=".tif")

_FOLDER = "annotations_detectron2"
_INDEX = "index_ade20k.pkl"
_IMAGE = re.compile(r"ADE_\w+_\d{8}\.tif")
_ANY = re.compile(r"[^.].*\.tiff?")


def sniff(path: Path) -> bool:
    """Whether `path` is such a set, or a folder of its labels; the original release too, to say what it lacks."""
    return bool(find_images(path, _FOLDER, _IMAGE)) or (path / _INDEX).is_file()


def read(path: Path) -> RecordedSegments:
    """Reads the set, its folder, or one split of it.

    Raises:
        InputError: no labels there; and as images are read, one that is damaged, or a class that there is not.
    """
    streams = find_images(path, _FOLDER, _ANY)
    if not streams:
        hint = (
            f" It is the original release ({_INDEX}), whose pictures number 3688 classes: convert it as the Detectron2 "
            "data sets are."
            if (path / _INDEX).is_file()
            else ""
        )
        raise InputError(f"{path} has no labels of ADE20K-847: {_FOLDER}/<split>/<image>.tif.{hint}")
    return label_images.recorded(path, NAME, LABELS, streams)


def export(run: "Run", folder: Path) -> Path:
    """Writes the classes of a run's frames."""
    return write(folder, run.vocabulary, label_images.run_images(run, "ADE_val_", 8))


def write(
    folder: Path, vocabulary: Vocabulary, images: Iterable[tuple[str, PanopticFrame]], split: str = "validation"
) -> Path:
    """Writes class numbers; see `label_images.write_images` for arguments and errors."""
    return label_images.write_images(folder, f"{_FOLDER}/{split}", LABELS, vocabulary, images)
