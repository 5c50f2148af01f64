"""`Scene`: one place of a video with its things, its light and its camera, planned so that what is promised is seen.

A plan is drawn, its things are laid out small and without colour over its first seconds, and it is thrown away where
a promise of `Promises` is broken; the next one is drawn from the next number. So any seed keeps the promises, the
same on every machine. It knows nothing of cuts: time here begins with the scene.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from eval.synthetic_world.background import Background, draw_background
from eval.synthetic_world.concepts import STUFF, THINGS, Split
from eval.synthetic_world.image import Light, blur_along, choose_sprite, draw_bend, paste
from eval.synthetic_world.levels import Level
from eval.synthetic_world.motion_paths import Camera, Path, Point, Waves, plan_path
from eval.synthetic_world.sprites import Bend, Pose, Sprite, stamp

SPAN = 240
"""Frames within which a scene keeps its promises; a longer one goes on in the same manner, unchecked."""


@dataclass(frozen=True, slots=True)
class Promises:
    """What is true of every video of at least a second and 128 × 228 pixels, in shares of the frame or of things."""

    smallest: float = 0.005
    """A thing covers at least this share of the frame where nothing hides it, at any time."""
    largest: float = 0.15
    at_once: int = 4
    """Things to be seen in every frame, each by a quarter at least."""
    regions: int = 3
    """Kinds of stuff to be seen in every frame."""
    region: float = 0.01
    """Share of the frame that each of these kinds covers at least."""
    eventful: float = 0.3
    """Share of tracks that are occluded (half of what is in view is hidden) or leave the view wholly."""


PROMISES = Promises()

_ATTEMPTS = 80
"""About every fourth plan keeps the promises; the one that breaks fewest is taken where none does (a tiny frame)."""
_SHRINK = 4  # Plans are judged on small maps.
_LEFT = 0.02  # Less than this share in view is out of view.


@dataclass(frozen=True, slots=True)
class ThingTruth:
    """What is true of a thing in one frame, also where it is not seen."""

    id: int
    """Track."""
    category: int
    """Index into `THINGS` and `vocabulary()`."""
    icon: str
    style: str
    look: int
    """Things of a video with the same number look exactly the same: nobody can tell them apart."""
    visible: int
    """Pixels that are seen."""
    in_view: int
    """Pixels inside the frame, with what stands in front taken away."""
    whole: float
    """Pixels it would have if also the frame had no edge (to within a few percent)."""

    @property
    def hidden(self) -> float:
        """Share of its pixels inside the frame that others hide, in [0, 1]."""
        return 1 - self.visible / self.in_view if self.in_view else 0.0

    @property
    def outside(self) -> float:
        """Share of it that lies beyond the frame's edge, in [0, 1]."""
        return float(np.clip(1 - self.in_view / self.whole, 0, 1))

    @property
    def occluded(self) -> bool:
        """Others hide at least half of it."""
        return self.hidden >= 0.5

    @property
    def out_of_view(self) -> bool:
        """It lies beyond the edge, all but a sliver."""
        return self.outside >= 1 - _LEFT


@dataclass(frozen=True, slots=True, eq=False)
class Actor:
    """One thing of a scene, from its first frame to its last."""

    id: int
    thing: int
    sprite: Sprite
    look: int
    side: float
    """Length in pixels of the longer side at rest."""
    sides: tuple[float, float]
    """Between which the length stays, however near the camera comes."""
    angle: float
    mirrored: bool
    path: Path
    size: Waves
    swing: Waves
    gait: Waves
    bend: Bend
    lean: Waves
    stride: Waves
    wag: float
    """Turn of the wave along the body, in radians per frame."""

    def pose(self, time: float, camera: Camera) -> Pose:
        """Where it stands, in pixels of the frame."""
        y, x = camera.to_frame(self.path.at(time), time)
        _, zoom, roll = camera.view(time)
        return Pose(
            y=float(y),
            x=float(x),
            side=float(np.clip(self.side * zoom * np.exp(self.size.at(time)), *self.sides)),
            angle=self.angle + self.swing.at(time) + float(np.rad2deg(roll)),
            mirrored=self.mirrored,
            squash=1.0 + self.gait.at(time),
            bend=replace(
                self.bend,
                lean=self.bend.lean + self.lean.at(time),
                stride=self.bend.stride + self.stride.at(time),
                phase=self.bend.phase + self.wag * time,
            ),
        )


class Scene:
    """One place with its things, its light and the camera in it.

    Args:
        number: any numbers; the same ones and the same other arguments make the same scene.
        level: how much happens.
        frames: for how many frames the scene must hold.
        shown: the times in frames, 0 first, at which it is seen and the promises are kept.
        height: in pixels.
        width: in pixels.
        split: whose textures.
        things: indices into `THINGS` of what appears, in this order, as many as are needed.
        styles: art styles to draw from.
        art: sprites by thing instead of the styles'.
        first_id: track of the first thing; the others follow.
    """

    actors: list[Actor]
    """In ascending order of id."""

    def __init__(
        self,
        number: Sequence[int],
        level: Level,
        *,
        frames: int,
        shown: Sequence[int],
        height: int,
        width: int,
        split: Split,
        things: Sequence[int],
        styles: tuple[str, ...],
        art: Mapping[int, Sequence[Sprite]] | None,
        first_id: int,
    ) -> None:
        self._height, self._width, self._level = height, width, level
        # What something looks like and where the camera goes are drawn once, so that only paths are thrown away.
        rng = np.random.default_rng([13, *number])
        self._light = replace(Light.draw(rng), noise=float(rng.uniform(*level.noise)))
        self._brightness = Waves.draw(rng, level.light, (20, 80))
        self._camera = Camera.draw(rng, level, height=height, width=width)
        cast = _cast(rng, level, things, styles, art)
        samples = sorted({shown[i] for i in np.linspace(0, len(shown) - 1, min(len(shown), 20)).round().astype(int)})
        span = next((i for i, time in enumerate(shown) if time != i), len(shown))
        fewest: tuple[int, int] | None = None
        for attempt in range(_ATTEMPTS):
            self._stage([*number, attempt], cast, frames=min(frames, SPAN), span=span, first_id=first_id)
            maps, broken = self._rehearse(samples, eventful=len(shown) >= 16, limit=fewest[0] if fewest else 1 << 30)
            if fewest is None or broken < fewest[0]:
                fewest, covered = (broken, attempt), maps
            if not broken:
                break
        assert fewest is not None
        # The chosen one again, whole: the first draws of a longer path are those of the shorter one.
        self._stage([*number, fewest[1]], cast, frames=frames, span=span, first_id=first_id)
        top, left, bottom, right = self._camera.extent(frames)
        self._origin = np.array([top - 2, left - 2])
        self._background: Background = draw_background(
            np.random.default_rng([19, *number]),
            height=int(np.ceil(bottom - top)) + 4,
            width=int(np.ceil(right - left)) + 4,
            split=split,
            unit=height,
            accept=lambda stuff_map: self._shows_enough(stuff_map, samples, covered),
        )
        self._stuff_image = Image.fromarray(self._background.stuff_map)

    def _stage(
        self,
        number: Sequence[int],
        cast: Sequence[tuple[int, Sprite, int]],
        *,
        frames: int,
        span: int,
        first_id: int,
    ) -> None:
        """Draws who is how large, who goes where, and who stands in front."""
        level, height, width = self._level, self._height, self._width
        rng = np.random.default_rng([23, *number])
        count = len(cast)
        leaving = max(round(level.leaving * count), int(np.ceil(PROMISES.eventful * count)))
        leavers = set(rng.permutation(count)[:leaving].tolist())
        depth = rng.permutation(count).astype(float)
        paths: list[Path] = []
        starts: list[Point] = []
        self.actors = []
        for i, (thing, sprite, look) in enumerate(cast):
            own = np.random.default_rng([29, *number, i])
            # A little within the promise: a bent or breathing thing covers somewhat more or less than planned.
            least, most = 1.1 * PROMISES.smallest, 0.93 * PROMISES.largest
            sides = sprite.side_for(least * height * width), sprite.side_for(most * height * width)
            area = float(np.exp(own.uniform(np.log(0.008), np.log(0.11)))) * height * width
            side = float(np.clip(min(sprite.side_for(area), 0.8 * height), *sides))
            meets = None
            if paths and i not in leavers and own.random() < level.meeting:
                other = int(own.integers(len(paths)))
                meets = paths[other]
                # What is smaller passes behind, mostly: the other way round hides little.
                front, back = (i, other) if side > self.actors[other].side else (other, i)
                if own.random() < 0.75:
                    depth[[front, back]] = max(depth[front], depth[back]), min(depth[front], depth[back])
            path = plan_path(
                own,
                level,
                self._camera,
                frames=frames,
                span=span,
                reach=side / 2,
                leaves=i in leavers,
                meets=meets,
                others=starts,
            )
            paths.append(path)
            starts.append(self._camera.to_frame(path.at(0), 0))
            amount = level.bend * (1.0 if THINGS[thing].limber else 0.2)
            self.actors.append(
                Actor(
                    id=first_id + i,
                    thing=thing,
                    sprite=sprite,
                    look=look,
                    side=side,
                    sides=sides,
                    angle=float(own.uniform(-15, 15)),
                    mirrored=bool(own.random() < 0.5),
                    path=path,
                    size=Waves.draw(own, level.rescale, (40, 120)),
                    swing=Waves.draw(own, level.swing, (30, 90)),
                    gait=Waves.draw(own, 0.04, (8, 20)),
                    bend=draw_bend(own, thing),
                    lean=Waves.draw(own, 0.10 * amount, (16, 48)),
                    stride=Waves.draw(own, 0.05 * amount, (8, 20)),
                    wag=float(own.uniform(0.15, 0.45) * own.choice([-1.0, 1.0])),
                )
            )
        self._order = [int(i) for i in np.argsort(depth, kind="stable")]

    def _rehearse(self, samples: Sequence[int], *, eventful: bool, limit: int) -> tuple[list[NDArray[np.bool_]], int]:
        """Lays the things out small, and gives up where `limit` promises are broken.

        Returns:
            For each sampled time a bool map of where things stand, and how often a promise is broken.
        """
        height, width = max(8, self._height // _SHRINK), max(8, self._width // _SHRINK)
        scale = height / self._height
        count = len(self.actors)
        maps: list[NDArray[np.bool_]] = []
        broken = 0
        seen = np.zeros(count, dtype=int)
        appeared, event = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        for time in samples:
            owner = np.full((height, width), -1, dtype=np.int16)
            in_view, whole = np.zeros(count), np.zeros(count)
            for i in self._order:
                actor = self.actors[i]
                pose = actor.pose(time, self._camera)
                small = replace(pose, y=pose.y * scale, x=pose.x * scale, side=pose.side * scale, bend=None)
                whole[i] = actor.sprite.area_at(small)
                mark = stamp(actor.sprite, small, height=height, width=width)
                if mark is not None:
                    owner[mark.window][mark.own] = i
                    in_view[i] = mark.own.sum()
            visible = np.bincount(owner.ravel() + 1, minlength=count + 1)[1:]
            # Judged a little more strictly than promised, because the maps are small.
            good = visible >= np.maximum(0.3 * whole, 0.002 * owner.size)
            broken += max(0, PROMISES.at_once - int(good.sum()))
            if broken >= limit:
                return maps, broken
            seen += visible >= 0.6 * whole
            appeared |= in_view >= 0.5 * whole
            event |= appeared & ((in_view < 0.5) | ((in_view >= 12) & (visible < 0.4 * in_view)))
            maps.append(owner >= 0)
        if eventful:
            broken += max(0, int(np.ceil(PROMISES.eventful * count)) - int(event.sum()))
        # Nobody could name what is hidden nearly all the time.
        broken += int((seen < 0.2 * len(samples)).sum())
        return maps, broken

    def _shows_enough(
        self, stuff_map: NDArray[np.uint8], samples: Sequence[int], covered: Sequence[NDArray[np.bool_]]
    ) -> bool:
        """Whether enough kinds of stuff are seen at the sampled times, by half more than promised."""
        height, width = covered[0].shape
        image = Image.fromarray(stuff_map)
        for time, mask in zip(samples, covered, strict=True):
            a, b, c, d, e, f = self._view(time)
            across, down = self._width / width, self._height / height
            view = (a * across, b * down, c, d * across, e * down, f)
            small = np.asarray(image.transform((width, height), Image.Transform.AFFINE, view))
            shares = np.bincount(small[~mask], minlength=len(STUFF)) / small.size
            if (shares >= 1.5 * PROMISES.region).sum() < PROMISES.regions:
                return False
        return True

    def draw(
        self, time: int, noise: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16], NDArray[np.uint8], tuple[ThingTruth, ...]]:
        """The frame at a time.

        Returns:
            uint8 `[H, W, 3]` picture, uint16 `[H, W]` map of actors' ids, uint8 `[H, W]` map of stuff, and what is true
            of each actor, in ascending order of id.
        """
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
        in_view, whole = {}, {}
        for i in self._order:
            actor = self.actors[i]
            pose = actor.pose(time, self._camera)
            whole[actor.id] = actor.sprite.area_at(pose)
            in_view[actor.id] = 0
            mark = stamp(actor.sprite, pose, height=self._height, width=self._width)
            if mark is None:
                continue
            if self._level.shutter:
                dy, dx = self._step(actor, time)
                smear = float(np.hypot(dy, dx)) * self._level.shutter
                if smear > 1.0:
                    mark = blur_along(mark, float(np.arctan2(dy, dx)), smear, self._height, self._width)
            paste(picture, mark, self._light, unit=self._height)
            in_view[actor.id] = int(mark.own.sum())
            instance_map[mark.window][mark.own] = actor.id
        light = self._light.brighter(float(np.exp(self._brightness.at(time))))
        first = self.actors[0].id
        visible = np.bincount(instance_map.ravel(), minlength=first + len(self.actors))
        truth = tuple(
            ThingTruth(
                id=actor.id,
                category=actor.thing,
                icon=actor.sprite.icon,
                style=actor.sprite.style,
                look=actor.look,
                visible=int(visible[actor.id]),
                in_view=in_view[actor.id],
                whole=whole[actor.id],
            )
            for actor in self.actors
        )
        return light.expose(np.asarray(picture), noise), instance_map, np.asarray(stuff_image), truth

    def _step(self, actor: Actor, time: float) -> Point:
        """How far an actor moved in the picture since the frame before, down and to the right."""
        now = self._camera.to_frame(actor.path.at(time), time)
        return now - self._camera.to_frame(actor.path.at(time - 1), time - 1)

    def _view(self, time: float) -> tuple[float, float, float, float, float, float]:
        """Frame to background coordinates, as PIL's affine coefficients."""
        origin = self._camera.to_world(np.zeros(2), time) - self._origin
        right = self._camera.to_world(np.array([0.0, 1.0]), time) - self._origin - origin
        down = self._camera.to_world(np.array([1.0, 0.0]), time) - self._origin - origin
        a, b, c, d, e, f = right[1], down[1], origin[1], right[0], down[0], origin[0]
        return float(a), float(b), float(c), float(d), float(e), float(f)


def _cast(
    rng: np.random.Generator,
    level: Level,
    things: Sequence[int],
    styles: tuple[str, ...],
    art: Mapping[int, Sequence[Sprite]] | None,
) -> list[tuple[int, Sprite, int]]:
    """Who appears: index into `THINGS`, sprite, and a number that those who look the same share."""
    count = int(rng.integers(level.things[0], level.things[1] + 1))
    cast: list[tuple[int, Sprite, int]] = []
    fresh = 0
    while len(cast) < count:
        if cast and rng.random() < level.twins:
            thing, sprite, look = cast[int(rng.integers(len(cast)))]
            same = bool(rng.random() < 0.5)
            cast.append((thing, sprite, look) if same else (thing, choose_sprite(rng, thing, styles, art), len(cast)))
        else:
            thing = things[fresh % len(things)]
            fresh += 1
            cast.append((thing, choose_sprite(rng, thing, styles, art), len(cast)))
    return cast
