"""Pascal Context with all its 459 categories: class numbers of images, in 16 bits.

Source: Mottaghi et al., CVPR 2014 (https://www.cs.stanford.edu/~roozbeh/pascal-context/), the original and as
open-vocabulary segmentation stores it:

    trainval/2008_000002.mat                          `LabelMap`, uint16: 1..459 the class (labels.txt), 0 void
    annotations_ctx459/<split>/2008_000002.tif        grey of 16 bits: 0..458 the class, 65535 void

There is no official split into things and stuff: every class is one segment and none is a thing. Written is the second.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError
from videoseg.formats import label_images
from videoseg.formats.label_images import Labels, find_images
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

if TYPE_CHECKING:
    from videoseg.store.reader import Run

NAME = "pascal_context_459"

LABELS = Labels("Pascal Context 459", label_images.semantic_classes("pascal-context-459"), 0, 65535, ".tif")

# The same classes have other names in the label set of 59, where `computer case` is not what it is in that of 459.
_CALLED = {"computer": "computer case", "road": "street", "table": "diningtable"}

_FOLDER = "annotations_ctx459"
_ORIGINAL = "trainval"
_IMAGE = re.compile(r"[^.].*\.tiff?")
_MAP = re.compile(r"\d{4}_\d{6}\.mat")


def sniff(path: Path) -> bool:
    """Whether `path` is such a set, or a folder of its labels: by names of folders and files."""
    return bool(find_images(path, _FOLDER, _IMAGE) or original_maps(path))


def read(path: Path) -> RecordedSegments:
    """Reads the set, its folder, or one split of it.

    Raises:
        InputError: no labels there; and as images are read, one that is damaged, or a class that there is not.
    """
    streams = find_images(path, _FOLDER, _IMAGE)
    if streams:
        return label_images.recorded(path, NAME, LABELS, streams)
    streams = original_maps(path)
    if streams:
        return read_original(path, NAME, LABELS, streams)
    raise InputError(
        f"{path} has no labels of Pascal Context 459: {_FOLDER}/<split>/<image>.tif, or {_ORIGINAL}/<image>.mat."
    )


def export(run: "Run", folder: Path) -> Path:
    """Writes the classes of a run's frames."""
    return write(folder, run.vocabulary, label_images.run_images(run, "2012_", 6))


def write(
    folder: Path, vocabulary: Vocabulary, images: Iterable[tuple[str, PanopticFrame]], split: str = "validation"
) -> Path:
    """Writes class numbers; see `label_images.write_images` for arguments and errors."""
    return label_images.write_images(folder, f"{_FOLDER}/{split}", LABELS, vocabulary, images)


def original_maps(path: Path) -> dict[str, list[Path]]:
    """The original maps: stream -> files in the order of their names; `{}` where there are none."""
    return find_images(path, _ORIGINAL, _MAP)


def read_original(path: Path, format: str, labels: Labels, streams: Mapping[str, Sequence[Path]]) -> RecordedSegments:
    """The original maps with the classes of `labels`, found by name; pixels of others become void."""
    numbers = np.full(len(LABELS.classes) + 1, labels.void, dtype=np.uint32)
    here = {category.name: labels.first + i for i, category in enumerate(labels.classes)}
    for number, category in enumerate(LABELS.classes, start=1):
        name = category.name
        if labels is not LABELS:
            name = _CALLED.get(name, "" if name in _CALLED.values() else name)
        numbers[number] = here.get(name, labels.void)
    return RecordedSegments(
        path=path,
        format=format,
        vocabulary=labels.classes,
        tracked=False,
        recorded={
            stream: [
                RecordedFrame(file, partial(_read_map, file, labels, numbers, stream, number))
                for number, file in enumerate(files)
            ]
            for stream, files in streams.items()
        },
    )


def _read_map(file: Path, labels: Labels, numbers: NDArray[np.uint32], stream: str, number: int) -> PanopticFrame:
    from scipy.io import loadmat

    try:
        content: Mapping[str, Any] = loadmat(file, variable_names=["LabelMap"])
    except Exception as error:  # of a damaged file SciPy raises what it stumbles over
        raise InputError(f"The file {file} is no MATLAB file that can be read, or it is damaged: {error}") from None
    found = content.get("LabelMap")
    if not isinstance(found, np.ndarray) or found.ndim != 2 or not np.issubdtype(found.dtype, np.integer):
        raise InputError(f"{file}: LabelMap must be a matrix of whole numbers.")
    if found.size and (found.min() < 0 or found.max() >= len(numbers)):
        raise InputError(f"{file}: LabelMap has class {found.max()}; there are 1..{len(numbers) - 1}, and 0 for void.")
    return label_images.numbers_frame(file, numbers[found], labels, stream, number)
