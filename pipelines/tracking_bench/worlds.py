"""Videos of the synthetic world for the tracking benchmark: truth, pictures and motion, kept on disk once made."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.synthetic_world import RATE, LevelName, render_video
from eval.synthetic_world.concepts import Split
from videoseg.motion import Motion
from videoseg.motion_estimation import LumaPyramid, estimate_motion_between

LEVELS: tuple[LevelName, ...] = ("easy", "medium", "hard")
HEIGHT, WIDTH, FRAMES = 144, 256, 120
"""Small pictures of five seconds: association depends on how far things move in their own sizes, not on pixels, and
five seconds hold an occlusion of three."""

_VERSION = 2
"""Part of the files' names; grows when what is in them changes."""


@dataclass(frozen=True, slots=True, eq=False)
class TruthFrame:
    """One frame with its truth."""

    id_map: NDArray[np.uint16]
    """uint16 `[H, W]`; ids are true tracks."""
    ids: NDArray[np.int64]
    """int64 `[N]`: tracks in this frame."""
    categories: NDArray[np.int64]
    is_thing: NDArray[np.bool_]
    visible: NDArray[np.float64]
    """float64 `[N]`: visible share."""
    indistinguishable: NDArray[np.bool_]
    """bool `[N]`: another thing of the video looks the same."""
    rgb: NDArray[np.uint8]
    motion: Motion | None
    """Estimated from the pictures; None for the first frame."""
    cut: bool


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """One video."""

    name: str
    level: str
    frames: tuple[TruthFrame, ...]

    @property
    def rate(self) -> float:
        return float(RATE)


def worlds(
    split: Split,
    *,
    videos: int,
    levels: tuple[LevelName, ...] = LEVELS,
    frames: int = FRAMES,
    height: int = HEIGHT,
    width: int = WIDTH,
    cache: Path | None = None,
) -> Iterator[World]:
    """Yields `videos` videos of every level, seeds from 0.

    Args:
        cache: folder in which rendered videos are kept; None renders them every time.
    """
    for level in levels:
        for seed in range(videos):
            name = f"{level}-{split}-{seed:03d}"
            path = None if cache is None else cache / f"{name}-{frames}x{height}x{width}-v{_VERSION}.npz"
            if path is not None and path.is_file():
                yield _load(path, name, level)
                continue
            world = World(name, level, tuple(_render(seed, level, split, frames, height, width)))
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                _save(path, world)
            yield world


def _render(seed: int, level: LevelName, split: Split, frames: int, height: int, width: int) -> Iterator[TruthFrame]:
    before: LumaPyramid | None = None
    for frame in render_video(seed, level=level, frames=frames, height=height, width=width, split=split):
        pyramid = LumaPyramid.of(frame.rgb)
        motion = None if before is None else estimate_motion_between(before, pyramid)
        before = pyramid
        yield TruthFrame(
            id_map=frame.id_map,
            ids=np.array([s.id for s in frame.segments], dtype=np.int64),
            categories=np.array([s.category for s in frame.segments], dtype=np.int64),
            is_thing=np.array([s.is_thing for s in frame.segments], dtype=bool),
            visible=np.array([s.visible for s in frame.segments], dtype=np.float64),
            indistinguishable=np.array([s.indistinguishable for s in frame.segments], dtype=bool),
            rgb=frame.rgb,
            motion=motion,
            cut=frame.cut,
        )


_PER_SEGMENT = ("ids", "categories", "is_thing", "visible", "indistinguishable")
_OF_MOTION = ("displacement", "residual", "valid", "similarity", "cut")


def _save(path: Path, world: World) -> None:
    frames = world.frames
    motions = [f.motion for f in frames[1:]]
    arrays: dict[str, NDArray[np.generic]] = {
        "id_maps": np.array([f.id_map for f in frames]),
        "rgb": np.array([f.rgb for f in frames]),
        "cut": np.array([f.cut for f in frames]),
        "counts": np.array([len(f.ids) for f in frames]),
        "block": np.array([m.block for m in motions if m is not None][:1]),
    }
    arrays |= {name: np.concatenate([getattr(f, name) for f in frames]) for name in _PER_SEGMENT}
    arrays |= {f"motion_{name}": np.array([getattr(m, name) for m in motions]) for name in _OF_MOTION}
    with path.with_suffix(".part").open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    path.with_suffix(".part").replace(path)


def _load(path: Path, name: str, level: str) -> World:
    with np.load(path) as file:
        data = {key: file[key] for key in file.files}
    ends = np.cumsum(data["counts"])
    frames = []
    for i, (end, count) in enumerate(zip(ends.tolist(), data["counts"].tolist(), strict=True)):
        of_motion = {key: data[f"motion_{key}"][i - 1] for key in _OF_MOTION} if i else {}
        motion = None
        if of_motion:
            motion = Motion(block=int(data["block"][0]), **{**of_motion, "cut": bool(of_motion["cut"])})
        frames.append(
            TruthFrame(
                id_map=data["id_maps"][i],
                rgb=data["rgb"][i],
                motion=motion,
                cut=bool(data["cut"][i]),
                **{key: data[key][end - count : end] for key in _PER_SEGMENT},
            )
        )
    return World(name, level, tuple(frames))
