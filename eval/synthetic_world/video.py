"""`render_video`: one video of the world by its seed, frame by frame, with exact ground truth and track ids."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.synthetic_world.background import Background, draw_background
from eval.synthetic_world.concepts import Concepts, Split, thing_indices
from eval.synthetic_world.image import (
    SPLIT_NUMBER,
    Light,
    SyntheticSegment,
    blur_along,
    choose_sprite,
    label_pixels,
    paste,
    styles_of,
)
from eval.synthetic_world.levels import LEVELS, Level, LevelName
from eval.synthetic_world.motion_paths import Camera, Path, Point, Waves, plan_path
from eval.synthetic_world.sprites import Pose, Sprite, stamp
from videoseg.panoptic import PanopticFrame, Segment, measure_segments

RATE = Fraction(24)
"""Frames per second."""


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticFrame:
    """A frame with its truth; ids in the map are track ids, the same in every frame of the video."""

    index: int
    rgb: NDArray[np.uint8]
    """uint8 `[H, W, 3]`."""
    id_map: NDArray[np.uint16]
    """uint16 `[H, W]`, 0 = void (slivers too small to be segments)."""
    segments: tuple[SyntheticSegment, ...]
    """In ascending order of id."""
    cut: bool
    """True where a new scene begins with this frame."""

    @property
    def time(self) -> float:
        """In seconds."""
        return float(self.index / RATE)

    def to_panoptic(self, stream: str) -> PanopticFrame:
        """The truth as a `PanopticFrame`; categories are indices into `vocabulary()`, every track is the id."""
        boxes = measure_segments(self.id_map)
        return PanopticFrame(
            stream=stream,
            epoch=0,
            index=self.index,
            pts=self.index,
            time_base=1 / RATE,
            time=self.time,
            id_map=self.id_map,
            segments=tuple(
                Segment(
                    id=segment.id,
                    category=segment.category,
                    is_thing=segment.is_thing,
                    score=1.0,
                    area=segment.area,
                    box=boxes[segment.id][1],
                    track=segment.id,
                )
                for segment in self.segments
            ),
        )


def render_video(
    seed: int,
    *,
    level: LevelName,
    frames: int,
    height: int,
    width: int,
    split: Split = "dev",
    concepts: Concepts = "all",
    styles: tuple[str, ...] | None = None,
) -> Iterator[SyntheticFrame]:
    """Yields the frames of video number `seed`.

    The same arguments give the same bytes; memory does not grow with the length. After a cut other things stand in
    another place, and where a later cut returns to the first scene, its things keep their ids.

    Args:
        seed: any non-negative number.
        level: how difficult.
        frames: how many, at least 1.
        height: in pixels, at least 32.
        width: in pixels, at least 32.
        split: whose seeds, textures and styles.
        concepts: `base` never shows a novel thing.
        styles: art styles to draw from instead of the split's own.
    """
    settings = LEVELS[level]
    rng = np.random.default_rng([13, SPLIT_NUMBER[split], settings.number, seed])
    cuts = int(rng.integers(settings.cuts[0], settings.cuts[1] + 1)) if frames >= 24 else 0
    starts = [0, *(int(frames * (i + 1 + rng.uniform(-0.2, 0.2)) / (cuts + 1)) for i in range(cuts))]
    scenes: list[_Scene] = []
    for _ in range(min(len(starts), 2)):
        first = 1 + sum(len(scene.actors) for scene in scenes)
        scenes.append(
            _Scene(
                rng,
                settings,
                frames=frames,
                height=height,
                width=width,
                split=split,
                things=thing_indices(concepts),
                styles=styles or styles_of(split),
                first_id=first,
            )
        )
    actors = [actor for scene in scenes for actor in scene.actors]
    for index in range(frames):
        number = int(np.searchsorted(starts, index, side="right")) - 1
        # With two cuts the third scene is the first one again, later.
        noise = np.random.default_rng([17, SPLIT_NUMBER[split], settings.number, seed, index])
        rgb, instance_map, stuff_map, full_areas = scenes[number % 2].draw(index, noise)
        id_map, segments = label_pixels(
            instance_map,
            stuff_map,
            categories=[actor.thing for actor in actors],
            full_areas=[full_areas.get(actor.id, 0.0) for actor in actors],
        )
        twins = {actor.id for actor in actors if actor.twin}
        segments = tuple(replace(s, indistinguishable=True) if s.id in twins else s for s in segments)
        yield SyntheticFrame(index, rgb, id_map, segments, cut=index > 0 and index in starts)


@dataclass(frozen=True, slots=True, eq=False)
class _Actor:
    """One thing of a scene, from its first frame to its last."""

    id: int
    thing: int
    sprite: Sprite
    side: float
    angle: float
    mirrored: bool
    path: Path
    size: Waves
    swing: Waves
    gait: Waves
    twin: bool
    """Another actor looks the same."""

    def pose(self, time: float, camera: Camera) -> Pose:
        y, x = camera.to_frame(self.path.at(time), time)
        _, zoom, roll = camera.view(time)
        return Pose(
            y=float(y),
            x=float(x),
            side=self.side * zoom * float(np.exp(self.size.at(time))),
            angle=self.angle + self.swing.at(time) + float(np.rad2deg(roll)),
            mirrored=self.mirrored,
            squash=1.0 + self.gait.at(time),
        )


class _Scene:
    """One place with its things, its light and the camera in it."""

    actors: list[_Actor]
    """From back to front."""

    def __init__(
        self,
        rng: np.random.Generator,
        level: Level,
        *,
        frames: int,
        height: int,
        width: int,
        split: Split,
        things: tuple[int, ...],
        styles: tuple[str, ...],
        first_id: int,
    ) -> None:
        self._height, self._width, self._level = height, width, level
        self._camera = Camera.draw(rng, level, height=height, width=width)
        top, left, bottom, right = self._camera.extent(frames)
        self._origin = np.array([top - 2, left - 2])
        self._background: Background = draw_background(
            rng, height=int(np.ceil(bottom - top)) + 4, width=int(np.ceil(right - left)) + 4, split=split, unit=height
        )
        self._stuff_image = Image.fromarray(self._background.stuff_map)
        self._light = replace(Light.draw(rng), noise=float(rng.uniform(*level.noise)))
        self._brightness = Waves.draw(rng, level.light, (20, 80))
        count = int(rng.integers(level.things[0], level.things[1] + 1))
        cast: list[tuple[int, Sprite, bool]] = []
        for _ in range(count):
            if cast and rng.random() < level.twins:
                position = int(rng.integers(len(cast)))
                thing, sprite, _ = cast[position]
                same = bool(rng.random() < 0.5)
                if same:
                    cast[position] = thing, sprite, True
                cast.append((thing, sprite if same else choose_sprite(rng, thing, styles), same))
            else:
                thing = int(rng.choice(things))
                cast.append((thing, choose_sprite(rng, thing, styles), False))
        paths: list[Path] = []
        starts: list[Point] = []
        self.actors = []
        for i, (thing, sprite, twin) in enumerate(cast):
            area = float(np.exp(rng.uniform(np.log(0.008), np.log(0.11)))) * height * width
            side = min(sprite.side_for(area), 0.8 * height)
            meets = paths[int(rng.integers(len(paths)))] if paths and rng.random() < level.meeting else None
            path = plan_path(
                rng,
                level,
                self._camera,
                frames=frames,
                reach=side / 2,
                leaves=bool(rng.random() < level.leaving),
                meets=meets,
                others=starts,
            )
            paths.append(path)
            starts.append(self._camera.to_frame(path.at(0), 0))
            self.actors.append(
                _Actor(
                    id=first_id + i,
                    thing=thing,
                    sprite=sprite,
                    side=side,
                    angle=float(rng.uniform(-15, 15)),
                    mirrored=bool(rng.random() < 0.5),
                    path=path,
                    size=Waves.draw(rng, level.rescale, (40, 120)),
                    swing=Waves.draw(rng, level.swing, (30, 90)),
                    gait=Waves.draw(rng, 0.04, (8, 20)),
                    twin=twin,
                )
            )
        # Ids follow the cast, depth is drawn apart from them.
        self._order = [int(i) for i in rng.permutation(count)]

    def draw(
        self, time: int, noise: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8], dict[int, float]]:
        """The frame at a time: picture, map of actors' ids, map of stuff, and each actor's unhindered area."""
        size = self._width, self._height
        view = self._view(time)
        picture = self._background.image.transform(size, Image.Transform.AFFINE, view, Image.Resampling.BILINEAR)
        if self._level.shutter:
            before = self._view(time - self._level.shutter)
            if abs(before[2] - view[2]) + abs(before[5] - view[5]) > 1.5:
                other = self._background.image.transform(
                    size, Image.Transform.AFFINE, before, Image.Resampling.BILINEAR
                )
                picture = Image.blend(picture, other, 0.5)
        stuff_image = self._stuff_image.transform(size, Image.Transform.AFFINE, view, Image.Resampling.NEAREST)
        instance_map = np.zeros((self._height, self._width), dtype=np.uint16)
        full_areas = {}
        for i in self._order:
            actor = self.actors[i]
            pose = actor.pose(time, self._camera)
            full_areas[actor.id] = actor.sprite.area_at(pose)
            mark = stamp(actor.sprite, pose, height=self._height, width=self._width)
            if mark is None:
                continue
            earlier = actor.pose(time - 1, self._camera)
            dy, dx = pose.y - earlier.y, pose.x - earlier.x
            smear = float(np.hypot(dy, dx)) * self._level.shutter
            if smear > 1.0:
                mark = blur_along(mark, float(np.arctan2(dy, dx)), smear, self._height, self._width)
            paste(picture, mark, self._light, unit=self._height)
            instance_map[mark.window][mark.own] = actor.id
        light = self._light.brighter(float(np.exp(self._brightness.at(time))))
        return light.expose(np.asarray(picture), noise), instance_map, np.asarray(stuff_image), full_areas

    def _view(self, time: float) -> tuple[float, float, float, float, float, float]:
        """Frame to background coordinates, as PIL's affine coefficients."""
        origin = self._camera.to_world(np.zeros(2), time) - self._origin
        right = self._camera.to_world(np.array([0.0, 1.0]), time) - self._origin - origin
        down = self._camera.to_world(np.array([1.0, 0.0]), time) - self._origin - origin
        a, b, c, d, e, f = right[1], down[1], origin[1], right[0], down[0], origin[0]
        return float(a), float(b), float(c), float(d), float(e), float(f)
