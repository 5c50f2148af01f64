"""Pascal Context with its 59 frequent categories: class numbers of images.

Source: Mottaghi et al., CVPR 2014 (https://www.cs.stanford.edu/~roozbeh/pascal-context/), stored as open-vocabulary
segmentation does:

    pascal_ctx_d2/
      annotations_ctx59/<split>/2008_000002.png    grey of 8 bits: 0..58 the class, 255 void (the background too)

The original maps (`trainval/<image>.mat`) hold all 459 categories: named as this format, they are read with the other
400 as void. There is no official split into things and stuff: every class is one segment and none is a thing.
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

NAME = "pascal_context_59"

LABELS = Labels("Pascal Context 59", label_images.semantic_classes("pascal-context-59"), 0, 255, ".png")

_FOLDER = "annotations_ctx59"
_IMAGE = re.compile(r"[^.].*\.png")


def sniff(path: Path) -> bool:
    """Whether `path` is such a set, or a folder of its labels: by the name of the folder."""
    return bool(find_images(path, _FOLDER, _IMAGE))


def read(path: Path) -> RecordedSegments:
    """Reads the set, its folder, or one split of it; or the original maps.

    Raises:
        InputError: no labels there; and as images are read, one that is damaged, or a class that there is not.
    """
    from videoseg.formats import pascal_context_459

    streams = find_images(path, _FOLDER, _IMAGE)
    if streams:
        return label_images.recorded(path, NAME, LABELS, streams)
    streams = pascal_context_459.original_maps(path)
    if streams:
        return pascal_context_459.read_original(path, NAME, LABELS, streams)
    raise InputError(f"{path} has no labels of Pascal Context 59: {_FOLDER}/<split>/<image>.png.")


def export(run: "Run", folder: Path) -> Path:
    """Writes the classes of a run's frames."""
    return write(folder, run.vocabulary, label_images.run_images(run, "2012_", 6))


def write(
    folder: Path, vocabulary: Vocabulary, images: Iterable[tuple[str, PanopticFrame]], split: str = "validation"
) -> Path:
    """Writes class numbers; see `label_images.write_images` for arguments and errors."""
    return label_images.write_images(folder, f"{_FOLDER}/{split}", LABELS, vocabulary, images)
