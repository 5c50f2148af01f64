"""A small seeded world for the tracker's tests: ellipses that move over two kinds of ground."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import pytest

from videoseg.panoptic import PanopticFrame, Segment, measure_segments

SKY, GROUND, FIRST_THING = 0, 1, 2
DIMENSION = 32


@dataclass(frozen=True)
class Actor:
    """An ellipse; `path` is (frame, x, y) corners between which it moves straight on."""

    path: tuple[tuple[float, float, float], ...]
    radius: tuple[float, float] = (9.0, 7.0)
    category: int = FIRST_THING
    look: int = 0
    depth: int = 0
    """Larger is nearer."""
    hidden: tuple[tuple[int, int], ...] = ()
    """Spans of frames [first, last] in which the segmenter does not see it."""

    def place(self, t: float) -> tuple[float, float]:
        times, x, y = zip(*self.path, strict=True)
        return float(np.interp(t, times, x)), float(np.interp(t, times, y))


@dataclass(frozen=True)
class World:
    """Frames and, for each, which actor each segment is (-1 - category for stuff)."""

    actors: tuple[Actor, ...]
    height: int = 72
    width: int = 128
    rate: float = 25.0
    embeddings: bool = True
    noise: float = 0.1
    """Length of the random part of an embedding, relative to its true part."""
    stuff: bool = True
    seed: int = 0

    def look(self, number: int) -> np.ndarray:
        vector = np.random.default_rng([77, number]).normal(size=DIMENSION)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def frame(self, t: int, *, shuffle: int | None = None) -> tuple[PanopticFrame, dict[int, int]]:
        """The frame and segment id -> actor. `shuffle` numbers the segments differently; nothing else changes."""
        y, x = np.mgrid[0 : self.height, 0 : self.width]
        canvas = np.zeros((self.height, self.width), dtype=np.int64)
        names: list[int] = []
        if self.stuff:
            canvas[: self.height // 2] = 1
            canvas[self.height // 2 :] = 2
            names = [-1 - SKY, -1 - GROUND]
        for number in sorted(range(len(self.actors)), key=lambda n: self.actors[n].depth):
            actor = self.actors[number]
            names.append(number)
            if any(first <= t <= last for first, last in actor.hidden):
                continue
            cx, cy = actor.place(t)
            inside = ((x - cx) / actor.radius[0]) ** 2 + ((y - cy) / actor.radius[1]) ** 2 <= 1.0
            canvas[inside] = len(names)
        present = [i for i in range(1, len(names) + 1) if (canvas == i).any()]
        ids = np.arange(1, len(present) + 1)
        if shuffle is not None:
            ids = np.random.default_rng([shuffle, t]).choice(np.arange(1, 4 * len(present) + 1), len(present), False)
        table = np.zeros(len(names) + 1, dtype=np.uint16)
        table[present] = ids
        id_map = table[canvas]
        truth = {int(table[i]): names[i - 1] for i in present}
        segments = []
        for segment_id, (area, box) in measure_segments(id_map).items():
            name = truth[segment_id]
            is_thing = name >= 0
            category = self.actors[name].category if is_thing else -1 - name
            embedding = None
            if self.embeddings:
                random = np.random.default_rng([self.seed, t, name + 10])
                look = self.look(self.actors[name].look if is_thing else 1000 - name)
                part = random.normal(size=DIMENSION)
                vector = look + self.noise * part / np.linalg.norm(part)
                embedding = (vector / np.linalg.norm(vector)).astype(np.float32)
            segments.append(
                Segment(
                    id=segment_id,
                    category=category,
                    is_thing=is_thing,
                    score=0.9,
                    area=area,
                    box=box,
                    embedding=embedding,
                    probabilities=((category, 0.8),),
                )
            )
        return make_frame(id_map, segments, t, self.rate), truth

    def frames(self, count: int, *, shuffle: int | None = None) -> list[tuple[PanopticFrame, dict[int, int]]]:
        return [self.frame(t, shuffle=shuffle) for t in range(count)]


def make_frame(id_map: np.ndarray, segments: Sequence[Segment], t: int, rate: float = 25.0) -> PanopticFrame:
    return PanopticFrame(
        stream="test",
        epoch=0,
        index=t,
        pts=t,
        time_base=Fraction(1, 25),
        time=t / rate,
        id_map=id_map.astype(np.uint16),
        segments=tuple(sorted(segments, key=lambda s: s.id)),
    )


def random_world(seed: int, *, num_actors: int = 6, **options: object) -> World:
    """Actors that cross, hide and come back."""
    random = np.random.default_rng(seed)
    actors = []
    for number in range(num_actors):
        corners = np.sort(random.choice(np.arange(5, 60), 3, replace=False))
        path = tuple(
            (float(time), float(random.uniform(0, 128)), float(random.uniform(0, 72))) for time in [0, *corners, 64]
        )
        start = int(random.integers(0, 50))
        hidden = ((start, start + int(random.integers(0, 12))),) if random.random() < 0.6 else ()
        actors.append(
            Actor(
                path=path,
                radius=(float(random.uniform(4, 14)), float(random.uniform(4, 12))),
                category=FIRST_THING + int(random.integers(0, 3)),
                look=number,
                depth=number,
                hidden=hidden,
            )
        )
    return replace(World(tuple(actors), seed=seed), **options)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Scenes:
    """What tests take from here (test folders are no packages, so nothing can be imported from beside a test)."""

    Actor = Actor
    World = World
    make_frame = staticmethod(make_frame)
    random_world = staticmethod(random_world)


@pytest.fixture(scope="session")
def scenes() -> Scenes:
    return Scenes()
