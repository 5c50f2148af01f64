"""`render_video`: one video of the world by its seed, frame by frame, with exact ground truth and track ids."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from eval.synthetic_world.concepts import Concepts, Split, thing_indices
from eval.synthetic_world.image import SPLIT_NUMBER, SyntheticSegment, label_pixels, styles_of
from eval.synthetic_world.levels import LEVELS, LevelName
from eval.synthetic_world.scene import SPAN, Scene, ThingTruth
from eval.synthetic_world.sprites import Sprite
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
    things: tuple[ThingTruth, ...] = ()
    """All things of the scene in ascending order of id, those that are hidden or out of view too."""

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
    art: Mapping[int, Sequence[Sprite]] | None = None,
    only: Iterable[int] | None = None,
) -> Iterator[SyntheticFrame]:
    """Yields the frames of video number `seed`.

    The same arguments give the same bytes; memory does not grow with the length. After a cut other things stand in
    another place, and where a later cut returns to the first scene, its things keep their ids. What is true of every
    video is in `scene.Promises`.

    Args:
        seed: any non-negative number.
        level: how difficult.
        frames: how many, at least 1.
        height: in pixels, at least 32.
        width: in pixels, at least 32.
        split: whose seeds, textures and styles.
        concepts: `base` never shows a novel thing.
        styles: art styles to draw from instead of the split's own.
        art: sprites of your own by index into `THINGS` (see `art.load_art`): only these things appear, drawn so.
        only: indices of the frames to yield, ascending, instead of all; they are the same as among all.
    """
    settings = LEVELS[level]
    number = [SPLIT_NUMBER[split], settings.number, seed]
    rng = np.random.default_rng([31, *number])
    cuts = int(rng.integers(settings.cuts[0], settings.cuts[1] + 1)) if frames >= 24 else 0
    starts = [0, *(int(frames * (i + 1 + rng.uniform(-0.2, 0.2)) / (cuts + 1)) for i in range(cuts))]
    scene_of = np.searchsorted(starts, range(min(frames, starts[-1] + 1)), side="right") - 1
    deck = _deck(number, [i for i in thing_indices(concepts) if art is None or i in art])
    scenes: list[Scene] = []
    for place in range(min(len(starts), 2)):
        # With two cuts the third scene is the first one again, later.
        pieces = [(start, end) for start, end in zip(starts, [*starts[1:], frames], strict=True)][place::2]
        shown = [t - starts[place] for start, end in pieces for t in range(start, min(end, start + SPAN))]
        scenes.append(
            Scene(
                [*number, place],
                settings,
                frames=frames - starts[place],
                shown=shown[:SPAN],
                height=height,
                width=width,
                split=split,
                things=deck[place * settings.things[1] :] + deck[: place * settings.things[1]],
                styles=styles or styles_of(split),
                art=art,
                first_id=1 + sum(len(scene.actors) for scene in scenes),
            )
        )
    actors = [actor for scene in scenes for actor in scene.actors]
    # Looks are numbered within a scene.
    looks = {actor.id: (i, actor.look) for i, scene in enumerate(scenes) for actor in scene.actors}
    alike = Counter(looks.values())
    distinct = {look: k for k, look in enumerate(alike)}
    twins = {id for id, look in looks.items() if alike[look] > 1}
    for index in range(frames) if only is None else only:
        place = int(scene_of[min(index, len(scene_of) - 1)]) % 2
        noise = np.random.default_rng([17, *number, index])
        rgb, instance_map, stuff_map, things = scenes[place].draw(index - starts[place], noise)
        whole = {thing.id: thing.whole for thing in things}
        id_map, segments = label_pixels(
            instance_map,
            stuff_map,
            categories=[actor.thing for actor in actors],
            full_areas=[whole.get(actor.id, 0.0) for actor in actors],
        )
        segments = tuple(replace(s, indistinguishable=True) if s.id in twins else s for s in segments)
        things = tuple(replace(thing, look=distinct[looks[thing.id]]) for thing in things)
        yield SyntheticFrame(index, rgb, id_map, segments, cut=index > 0 and index in starts, things=things)


_BLOCK = 8


def _deck(number: Sequence[int], allowed: Sequence[int]) -> list[int]:
    """The order in which things appear: eight successive seeds go through one shuffled deck, so all concepts come."""
    *kind, seed = number
    deck = np.random.default_rng([37, *kind, seed // _BLOCK]).permutation(allowed).tolist()
    first = seed % _BLOCK * max(1, len(deck) // _BLOCK)
    return [int(i) for i in deck[first:] + deck[:first]]
