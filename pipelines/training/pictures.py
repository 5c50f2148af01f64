"""Pictures of the synthetic world, rendered once to disk, so that an epoch costs reading instead of drawing."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.synthetic_world.concepts import Concepts
from eval.synthetic_world.image import Kind, render_image
from videoseg.errors import InputError

_SHARD = 500
"""Pictures a file: small enough that an interrupted rendering loses half a minute."""


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Which pictures a set holds: numbers `first` to `first + count` of the world's training split."""

    name: str
    kind: Kind
    concepts: Concepts
    side: int
    """Height and width in pixels."""
    first: int
    count: int


SETS = {
    entry.name: entry
    for entry in (
        # Masks are learnt from base concepts only; novel ones are seen through captions alone.
        PictureSet("base-scenes", "scene", "base", side=256, first=0, count=5000),
        # For the captioner's stage, which sees each about once: after seven passes over the first set the heads' loss
        # was 27.2 on its pictures and 32.0 on others.
        PictureSet("more-base-scenes", "scene", "base", side=256, first=400_000, count=8000),
        PictureSet("captioned-scenes", "scene", "all", side=144, first=100_000, count=5000),
        PictureSet("captioned-objects", "object", "all", side=144, first=200_000, count=10_000),
        # For the last round of mosaics: forty passes over the first set teach less than ten over four times as many.
        PictureSet("more-captioned-objects", "object", "all", side=144, first=300_000, count=30_000),
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """A rendered set. N pictures of side S."""

    rgb: NDArray[np.uint8]
    """uint8 `[N, S, S, 3]`."""
    id_maps: NDArray[np.uint16]
    """uint16 `[N, S, S]`, 0 = void."""
    segments: list[list[tuple[int, int]]]
    """Per picture (id, category of the world's vocabulary)."""
    captions: list[str]

    def __len__(self) -> int:
        return len(self.captions)


def render_set(picture_set: PictureSet, folder: Path) -> None:
    """Draws what is still missing of a set, shard by shard; the same set gives the same bytes anywhere."""
    folder.mkdir(parents=True, exist_ok=True)
    for start in range(0, picture_set.count, _SHARD):
        path = _shard_path(picture_set, folder, start)
        if path.exists():
            continue
        numbers = range(picture_set.first + start, picture_set.first + min(start + _SHARD, picture_set.count))
        images = [
            render_image(
                number,
                height=picture_set.side,
                width=picture_set.side,
                kind=picture_set.kind,
                concepts=picture_set.concepts,
            )
            for number in numbers
        ]
        words = [
            {"caption": image.caption, "segments": [(segment.id, segment.category) for segment in image.segments]}
            for image in images
        ]
        unfinished = path.with_suffix(".unfinished")
        with unfinished.open("wb") as file:
            np.savez(
                file,
                rgb=np.stack([image.rgb for image in images]),
                id_maps=np.stack([image.id_map for image in images]),
                words=np.frombuffer(json.dumps(words).encode(), dtype=np.uint8),
            )
        unfinished.rename(path)


def read_set(picture_set: PictureSet, folder: Path) -> Pictures:
    """The whole set in memory; InputError where it is not rendered yet."""
    rgb, id_maps, captions, segments = [], [], [], []
    for start in range(0, picture_set.count, _SHARD):
        path = _shard_path(picture_set, folder, start)
        if not path.exists():
            raise InputError(
                f"The pictures {picture_set.name!r} are not all in {folder}. "
                f"Run `python -m pipelines.training render {picture_set.name}` first."
            )
        with np.load(path) as shard:
            rgb.append(shard["rgb"])
            id_maps.append(shard["id_maps"])
            words = json.loads(shard["words"].tobytes())
        captions += [entry["caption"] for entry in words]
        segments += [[(int(id), int(category)) for id, category in entry["segments"]] for entry in words]
    return Pictures(np.concatenate(rgb), np.concatenate(id_maps), segments, captions)


def _shard_path(picture_set: PictureSet, folder: Path, start: int) -> Path:
    return folder / f"{picture_set.name}-{picture_set.side}-{start:06d}.npz"
