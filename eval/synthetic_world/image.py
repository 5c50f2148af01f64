"""`render_image`: one picture of the world by its seed, with exact panoptic ground truth and a caption."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from eval.synthetic_world.background import draw_background
from eval.synthetic_world.captions import colour_word, write_caption
from eval.synthetic_world.concepts import (
    STUFF,
    STYLES,
    THINGS,
    UNSEEN_STYLE,
    Concepts,
    Split,
    thing_indices,
)
from eval.synthetic_world.sprites import Bend, Pose, Sprite, Stamp, load_style, stamp

Kind = Literal["scene", "object"]
"""A scene has 4 to 10 things over 3 to 5 regions; an object picture has one large thing over 1 or 2."""

MIN_VISIBLE = 0.0005
"""A segment of fewer pixels than this share of the frame (and than 12) is no segment: its pixels are void."""
_MIN_PIXELS = 12

SPLIT_NUMBER: dict[Split, int] = {"train": 0, "dev": 1, "test": 2}
_KIND_NUMBER: dict[Kind, int] = {"scene": 0, "object": 1}


@dataclass(frozen=True, slots=True)
class SyntheticSegment:
    """One segment of a synthetic picture."""

    id: int
    """In the id map, 1..; in video the same in every frame."""
    category: int
    """Index into `vocabulary()`."""
    is_thing: bool
    area: int
    """Visible pixels."""
    visible: float = 1.0
    """Visible share of what would be seen if nothing stood in front and the frame had no edge, in (0, 1]."""
    indistinguishable: bool = False
    """Another thing of the video looks exactly the same."""


@dataclass(frozen=True, slots=True, eq=False)
class SyntheticImage:
    """A picture with its truth."""

    rgb: NDArray[np.uint8]
    """uint8 `[H, W, 3]`."""
    id_map: NDArray[np.uint16]
    """uint16 `[H, W]`, 0 = void (slivers too small to be segments)."""
    segments: tuple[SyntheticSegment, ...]
    """In ascending order of id: things from back to front, then stuff."""
    caption: str
    nouns: tuple[str, ...]
    """The words of the caption that name a visible concept, singular."""


def styles_of(split: Split) -> tuple[str, ...]:
    """The art styles that a split draws from."""
    return STYLES if split == "test" else tuple(style for style in STYLES if style != UNSEEN_STYLE)


def render_image(
    seed: int,
    *,
    height: int,
    width: int,
    split: Split = "train",
    concepts: Concepts = "all",
    kind: Kind = "scene",
    styles: tuple[str, ...] | None = None,
) -> SyntheticImage:
    """Draws picture number `seed`.

    The same arguments give the same bytes. A thing's own pixels are those where it is the topmost sprite with at
    least half opacity; the rest belongs to the uppermost region of stuff with at least half opacity.

    Args:
        seed: any non-negative number.
        height: in pixels, at least 16.
        width: in pixels, at least 16.
        split: whose seeds, textures and styles; pictures of different splits have nothing in common.
        concepts: `base` never shows a novel thing.
        kind: what sort of picture.
        styles: art styles to draw from instead of the split's own.
    """
    rng = np.random.default_rng([11, SPLIT_NUMBER[split], _KIND_NUMBER[kind], seed])
    allowed = thing_indices(concepts)
    styles = styles or styles_of(split)
    single = kind == "object"
    background = draw_background(rng, height=height, width=width, split=split, regions=(1, 2) if single else (3, 5))
    wanted = 1 if single else int(rng.integers(4, 11))
    fractions = rng.uniform(0.1, 0.45, 1) if single else np.exp(rng.uniform(np.log(0.006), np.log(0.13), wanted))
    actors: list[tuple[int, Sprite]] = []
    for _ in range(wanted):
        if actors and rng.random() < 0.2:
            # Several alike: the same thing again, half the time in the same colours too.
            thing, sprite = actors[int(rng.integers(len(actors)))]
            actors.append((thing, sprite if rng.random() < 0.5 else choose_sprite(rng, thing, styles)))
        else:
            thing = int(rng.choice(allowed))
            actors.append((thing, choose_sprite(rng, thing, styles)))
    poses = [
        replace(pose, squash=float(np.exp(rng.normal(0, 0.08))), bend=draw_bend(rng, thing))
        for (thing, _), pose in zip(
            actors,
            _choose_poses(rng, [sprite for _, sprite in actors], fractions, height, width, centred=single),
            strict=True,
        )
    ]
    light = Light.draw(rng)
    placed = []
    for (thing, sprite), pose in zip(actors, poses, strict=True):
        mark = stamp(sprite, pose, height=height, width=width)
        if mark is not None:
            placed.append(_Placed(thing, sprite, pose, mark))
    if rng.random() < 0.3:
        for i in np.flatnonzero(rng.random(len(placed)) < 0.4).tolist():
            angle, length = rng.uniform(0, np.pi), rng.uniform(2, 6) * height / 256
            placed[i] = replace(placed[i], mark=blur_along(placed[i].mark, angle, length, height, width))
    # Back to front by the lower edge, as on ground seen at an angle, with exceptions.
    depth = [entry.mark.top + entry.mark.image.height + rng.normal(0, 0.1 * height) for entry in placed]
    placed = _drop_hidden([placed[i] for i in np.argsort(depth, kind="stable")], height, width)
    picture = background.image
    instance_map = np.zeros((height, width), dtype=np.uint16)
    for number, entry in enumerate(placed, start=1):
        paste(picture, entry.mark, light, unit=height)
        instance_map[entry.mark.window][entry.mark.own] = number
    rgb = light.expose(np.asarray(picture), rng)
    id_map, segments = label_pixels(
        instance_map,
        background.stuff_map,
        categories=[entry.thing for entry in placed],
        full_areas=[entry.sprite.area_at(entry.pose) for entry in placed],
    )
    seen = [segment for segment in segments if segment.is_thing]
    caption, nouns = write_caption(
        rng,
        [segment.category for segment in seen],
        [segment.category - len(THINGS) for segment in segments if not segment.is_thing],
        _shared_colours([placed[segment.id - 1] for segment in seen]),
    )
    return SyntheticImage(rgb, id_map, segments, caption, nouns)


@dataclass(frozen=True, slots=True, eq=False)
class _Placed:
    """A thing that stands in a picture."""

    thing: int
    sprite: Sprite
    pose: Pose
    mark: Stamp


def choose_sprite(
    rng: np.random.Generator,
    thing: int,
    styles: tuple[str, ...],
    art: Mapping[int, Sequence[Sprite]] | None = None,
) -> Sprite:
    """A picture of a thing in one of the styles, or of the `art`, recoloured as is natural for it."""
    entry = THINGS[thing]
    if art is not None:
        sprite = art[thing][int(rng.integers(len(art[thing])))]
    else:
        sprite = load_style(str(rng.choice(styles)))[str(rng.choice(entry.icons))]
    any_hue = entry.recolour and rng.random() < 0.6
    hue = rng.uniform(-180, 180) if any_hue else rng.normal(0, 8)
    return sprite.recoloured(hue=hue, saturation=rng.uniform(0.75, 1.15), gain=rng.uniform(0.75, 1.12))


def draw_bend(rng: np.random.Generator, thing: int) -> Bend:
    """A shape for a thing: living things bend freely, the others as little as another point of view would show."""
    amount = 1.0 if THINGS[thing].limber else 0.4
    lean, curve, wag, stride = (float(v) for v in np.clip(rng.normal(0, 1, 4), -2, 2))
    if not THINGS[thing].limber:
        # A wheel or a wall that wobbles looks like jelly: rigid things only lean and bulge.
        wag, stride = 0.25 * wag, 0.0
    return Bend(
        lean=0.14 * amount * lean,
        curve=0.05 * amount * curve,
        wag=0.03 * amount * wag,
        stride=0.035 * amount * stride,
        phase=float(rng.uniform(0, 2 * np.pi)),
    )


@dataclass(frozen=True, slots=True)
class Light:
    """How a picture is lit: exposure, tint, a gradient across the frame, shadows, noise of the sensor."""

    gain: tuple[float, float, float]
    slope_y: float
    """Change of brightness from the middle to the lower edge, as a share."""
    slope_x: float
    shadow_strength: float
    """Opacity of shadows, 0 for none."""
    shadow_y: float
    """Offset of shadows in shares of the frame's height."""
    shadow_x: float
    noise: float
    """Standard deviation in grey levels."""

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Light":
        """Any light."""
        red, green, blue = (float(v) for v in rng.uniform(0.72, 1.15) * rng.uniform(0.95, 1.05, 3))
        shadows = rng.random() < 0.6
        return cls(
            gain=(red, green, blue),
            slope_y=float(rng.normal(0, 0.1)),
            slope_x=float(rng.normal(0, 0.1)),
            shadow_strength=float(rng.uniform(0.15, 0.45)) if shadows else 0.0,
            shadow_y=float(rng.uniform(0.005, 0.03)),
            shadow_x=float(rng.uniform(-0.03, 0.03)),
            noise=float(rng.uniform(0, 6) if rng.random() < 0.7 else 0.0),
        )

    def brighter(self, factor: float) -> "Light":
        """The same light, stronger or weaker."""
        red, green, blue = self.gain
        return replace(self, gain=(red * factor, green * factor, blue * factor))

    def expose(self, rgb: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """uint8 `[H, W, 3]` under this light, with noise."""
        height, width = rgb.shape[:2]
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
        field = np.clip(1 + self.slope_y * y + self.slope_x * x, 0.4, 1.6)
        lit = rgb.astype(np.float32)
        lit *= field[..., None] * np.asarray(self.gain, dtype=np.float32)
        if self.noise:
            bank = _noise_bank()
            start = int(rng.integers(len(bank) // 2))
            # Reading on in a bank is far cheaper than fresh normal numbers and looks no different.
            noise = (
                np.resize(bank[start:], lit.size) if start + lit.size > len(bank) else bank[start : start + lit.size]
            )
            lit += np.float32(self.noise) * noise.reshape(lit.shape)
        np.clip(lit, 0, 255, out=lit)
        return lit.astype(np.uint8)


@cache
def _noise_bank() -> NDArray[np.float32]:
    return np.random.default_rng(3).standard_normal(1 << 20, dtype=np.float32)


def paste(picture: Image.Image, mark: Stamp, light: Light, *, unit: int) -> None:
    """Puts a stamp with its shadow into an RGB picture of height `unit`, in place."""
    alpha = mark.image.getchannel("A")
    if light.shadow_strength:
        softness = max(1, round(unit / 100))
        dark = alpha.point([int(v * light.shadow_strength) for v in range(256)]).filter(ImageFilter.BoxBlur(softness))
        offset = mark.left + round(light.shadow_x * unit), mark.top + round(light.shadow_y * unit)
        picture.paste((12, 12, 20), offset, dark)
    picture.paste(mark.image, (mark.left, mark.top), alpha)


def blur_along(mark: Stamp, angle: float, length: float, height: int, width: int) -> Stamp:
    """The stamp as it smears when it moves `length` pixels in direction `angle` (radians) while the shutter is open."""
    steps = max(2, round(length) + 1)
    reach = int(np.ceil(length / 2)) + 1
    top, left = max(0, mark.top - reach), max(0, mark.left - reach)
    bottom = min(height, mark.top + mark.image.height + reach)
    right = min(width, mark.left + mark.image.width + reach)
    # Sums are of colour multiplied by alpha, so that clear pixels do not darken the smear.
    source = np.asarray(mark.image.convert("RGBa"), dtype=np.uint16)
    total = np.zeros((bottom - top, right - left, 4), dtype=np.uint16)
    for step in range(steps):
        share = step / (steps - 1) - 0.5
        dy, dx = round(np.sin(angle) * length * share), round(np.cos(angle) * length * share)
        y0, x0 = mark.top + dy - top, mark.left + dx - left
        rows = slice(max(0, y0), min(total.shape[0], y0 + source.shape[0]))
        columns = slice(max(0, x0), min(total.shape[1], x0 + source.shape[1]))
        if rows.stop <= rows.start or columns.stop <= columns.start:
            continue  # This step of the smear lies wholly outside the frame.
        total[rows, columns] += source[rows.start - y0 : rows.stop - y0, columns.start - x0 : columns.stop - x0]
    smeared = Image.frombuffer("RGBa", (right - left, bottom - top), (total // steps).astype(np.uint8).tobytes())
    return Stamp(left=left, top=top, image=smeared.convert("RGBA"))


def label_pixels(
    instance_map: NDArray[np.uint16],
    stuff_map: NDArray[np.uint8],
    *,
    categories: Sequence[int],
    full_areas: Sequence[float],
) -> tuple[NDArray[np.uint16], tuple[SyntheticSegment, ...]]:
    """Joins things and stuff into one id map.

    Args:
        instance_map: uint16 `[H, W]`: 0 or the number of a thing, 1 .. `len(categories)`.
        stuff_map: uint8 `[H, W]` of indices into `STUFF`.
        categories: for each thing its index into `THINGS`.
        full_areas: for each thing the pixels it would have with nothing in front of it and no edge of the frame.

    Returns:
        The id map (a thing keeps its number, stuff comes after, slivers are void) and its segments.
    """
    count = len(categories)
    id_map = np.where(instance_map > 0, instance_map, stuff_map.astype(np.uint16) + np.uint16(count + 1))
    areas = np.bincount(id_map.ravel(), minlength=count + 1 + len(STUFF))
    least = max(_MIN_PIXELS, MIN_VISIBLE * id_map.size)
    table = np.arange(len(areas), dtype=np.uint16)
    table[areas < least] = 0
    segments = []
    for i in np.flatnonzero(table).tolist():
        area = int(areas[i])
        if i <= count:
            share = min(1.0, area / max(area, full_areas[i - 1]))
            segments.append(SyntheticSegment(i, categories[i - 1], True, area, share))
        else:
            segments.append(SyntheticSegment(i, len(THINGS) + i - count - 1, False, area))
    return table[id_map], tuple(segments)


def _choose_poses(
    rng: np.random.Generator,
    sprites: list[Sprite],
    fractions: NDArray[np.float64],
    height: int,
    width: int,
    *,
    centred: bool,
) -> list[Pose]:
    poses: list[Pose] = []
    boxes: list[tuple[float, float, float]] = []
    for sprite, fraction in zip(sprites, fractions, strict=True):
        side = min(sprite.side_for(fraction * height * width), 0.95 * height * 96 / sprite.height, 0.95 * width)
        reach = 0.35 * side
        best: tuple[float, float, float] | None = None
        for _ in range(4):
            if centred:
                y, x = height * rng.uniform(0.42, 0.58), width * rng.uniform(0.42, 0.58)
            else:
                low, high = min(reach, height / 2), min(reach, width / 2)
                y, x = rng.uniform(low, height - low), rng.uniform(high, width - high)
            # Some overlap is wanted, heaps are not.
            crowding = sum(max(0.0, 0.45 * (side + s) - float(np.hypot(y - v, x - u))) for v, u, s in boxes)
            if best is None or crowding < best[0]:
                best = crowding, y, x
            if crowding < 0.25 * side:
                break
        assert best is not None
        boxes.append((best[1], best[2], side))
        poses.append(Pose(best[1], best[2], side, angle=float(rng.uniform(-25, 25)), mirrored=bool(rng.random() < 0.5)))
    return poses


def _drop_hidden(placed: list[_Placed], height: int, width: int) -> list[_Placed]:
    """Leaves out things of which under a quarter would be seen: nobody could name them."""
    top = np.zeros((height, width), dtype=np.uint16)
    for number, entry in enumerate(placed, start=1):
        top[entry.mark.window][entry.mark.own] = number
    seen = np.bincount(top.ravel(), minlength=len(placed) + 1)[1:]
    least = max(_MIN_PIXELS, MIN_VISIBLE * height * width)
    return [
        entry
        for entry, pixels in zip(placed, seen, strict=True)
        if pixels >= max(least, 0.25 * entry.sprite.area_at(entry.pose))
    ]


def _shared_colours(shown: list[_Placed]) -> dict[int, str | None]:
    words: dict[int, set[str | None]] = {}
    for entry in shown:
        if THINGS[entry.thing].recolour:
            words.setdefault(entry.thing, set()).add(colour_word(*entry.sprite.colour()))
    return {thing: next(iter(found)) if len(found) == 1 else None for thing, found in words.items()}
