"""Oracle noise: true segments spoiled as segmenters spoil them, by seed, with the truth about every segment kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from pipelines.tracking_bench.worlds import TruthFrame, World
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.vocabulary import Vocabulary

DIMENSION = 64
"""Of embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Degradation:
    """How much of everything goes wrong. Shares are per thing and frame."""

    drops: float = 0.2
    """Share of things that the segmenter misses; misses come in bursts of two frames on average."""
    splits: float = 0.03
    """Share of things that come in two parts."""
    merges: float = 0.03
    """Share of things that are swallowed by a thing that they touch."""
    boundary: float = 1.0
    """Standard deviation, in pixels, by which outlines wander."""
    flips: float = 0.1
    """Share of things with a wrong label."""
    false_positives: float = 0.2
    """False segments that begin per frame; they last 2.5 frames on average."""
    embedding_noise: float = 0.6
    """Length of the random part of an embedding, relative to its true part; more where less of a thing shows."""


PERFECT = Degradation(
    drops=0.0, splits=0.0, merges=0.0, boundary=0.0, flips=0.0, false_positives=0.0, embedding_noise=0.3
)
"""True segments; embeddings still differ from frame to frame."""


@dataclass(frozen=True, slots=True, eq=False)
class SpoiledFrame:
    """What a tracker gets, and who each segment is."""

    frame: PanopticFrame
    owner: dict[int, int]
    """Segment -> true track; false segments have tracks of their own, from `FALSE` on."""


FALSE = 1_000_000
"""First track of false segments."""


def degrade(world: World, degradation: Degradation, vocabulary: Vocabulary, seed: int) -> tuple[SpoiledFrame, ...]:
    """Spoils all frames of a video.

    Args:
        seed: the same seed, video and degradation give the same bytes.
    """
    spoiler = _Spoiler(world, degradation, vocabulary, np.random.default_rng([41, seed]))
    return tuple(spoiler.spoil(index, frame) for index, frame in enumerate(world.frames))


@dataclass(slots=True)
class _False:
    """A false segment while it lasts."""

    track: int
    left: int
    place: tuple[float, float]
    radius: tuple[float, float]
    category: int
    score: float


class _Spoiler:
    def __init__(
        self, world: World, degradation: Degradation, vocabulary: Vocabulary, random: np.random.Generator
    ) -> None:
        self._world, self._degradation, self._random = world, degradation, random
        self._things = [i for i, category in enumerate(vocabulary) if category.is_thing]
        self._dropped: dict[int, bool] = {}
        self._false: list[_False] = []
        self._next_false = FALSE
        looks = np.random.default_rng([43, *world.name.encode()])
        self._of_category = _unit(looks.normal(size=(len(vocabulary), DIMENSION)))
        self._own: dict[int, NDArray[np.float64]] = {}
        self._looks = looks

    def spoil(self, index: int, truth: TruthFrame) -> SpoiledFrame:
        degradation, random = self._degradation, self._random
        id_map = self._wander(truth.id_map)
        category = dict(zip(truth.ids.tolist(), truth.categories.tolist(), strict=True))
        is_thing = dict(zip(truth.ids.tolist(), truth.is_thing.tolist(), strict=True))
        visible = dict(zip(truth.ids.tolist(), truth.visible.tolist(), strict=True))
        twin = dict(zip(truth.ids.tolist(), truth.indistinguishable.tolist(), strict=True))
        things = [track for track in truth.ids.tolist() if is_thing[track]]
        out = id_map.astype(np.int64)
        # Every draw is made whatever came before it, so that settings differ only in what they spoil.
        chance = {track: random.random(4) for track in things}
        for track in things:
            drop, split, merge, angle = chance[track].tolist()
            if self._is_dropped(track, drop):
                out[out == track] = 0
                continue
            if split < degradation.splits:
                _split(out, track, np.pi * angle)
            elif merge < degradation.merges:
                _swallow(out, track, [other for other in things if other != track])
        owner: dict[int, int] = {}
        ids = np.unique(out)
        numbers = np.zeros(out.shape, dtype=np.uint16)
        segments: list[tuple[int, int]] = [(int(i), int(i) % _PART) for i in ids if i]
        for number, (value, track) in enumerate(segments, start=1):
            numbers[out == value] = number
            owner[number] = track
        false = self._draw_false(numbers, len(segments))
        measured = measure_segments(numbers)
        made = []
        for number, (area, box) in measured.items():
            if number in false:
                made.append(self._false_segment(number, area, box, false[number]))
                owner[number] = false[number].track
                continue
            track = owner[number]
            made.append(
                self._segment(
                    number,
                    area,
                    box,
                    category[track],
                    is_thing[track],
                    visible[track],
                    self._look(track, category, twin),
                )
            )
        frame = PanopticFrame(
            stream=self._world.name,
            epoch=0,
            index=index,
            pts=index,
            time_base=Fraction(1, 24),
            time=index / self._world.rate,
            id_map=numbers,
            segments=tuple(made),
        )
        return SpoiledFrame(frame, {number: owner[number] for number in measured})

    def _is_dropped(self, track: int, chance: float) -> bool:
        share = self._degradation.drops
        stay, enter = 0.5, share * 0.5 / max(1.0 - share, 1e-9)
        before = self._dropped.get(track)
        limit = share if before is None else stay if before else enter
        self._dropped[track] = chance < limit
        return self._dropped[track]

    def _wander(self, id_map: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """Moves every pixel by a smooth random field."""
        size = self._degradation.boundary
        if size <= 0.0:
            return id_map
        height, width = id_map.shape
        step = 12
        coarse = self._random.normal(size=(2, height // step + 3, width // step + 3))
        smooth = coarse.repeat(step, axis=1).repeat(step, axis=2)
        # Bilinear between the nodes, by two box means.
        for axis in (1, 2):
            total = np.cumsum(smooth, axis=axis)
            smooth = (
                np.take(total, range(step, total.shape[axis]), axis)
                - np.take(total, range(total.shape[axis] - step), axis)
            ) / step
        y = np.clip(np.rint(np.arange(height)[:, None] + 1.5 * size * smooth[0, :height, :width]), 0, height - 1)
        x = np.clip(np.rint(np.arange(width)[None, :] + 1.5 * size * smooth[1, :height, :width]), 0, width - 1)
        moved: NDArray[np.uint16] = id_map[y.astype(np.intp), x.astype(np.intp)]
        return moved

    def _look(self, track: int, category: dict[int, int], twin: dict[int, bool]) -> NDArray[np.float64]:
        """The true embedding of a track: partly that of its category; what looks the same has the same."""
        key = -1 - category[track] if twin[track] else track
        if key not in self._own:
            rng = np.random.default_rng([47, *self._world.name.encode(), key + 100_000])
            own = _unit(rng.normal(size=(1, DIMENSION)))[0]
            self._own[key] = _unit((0.6 * self._of_category[category[track]] + 0.8 * own)[None])[0]
        return self._own[key]

    def _noisy(self, look: NDArray[np.float64], noise: float) -> NDArray[np.float32]:
        vector = look + noise * _unit(self._random.normal(size=(1, DIMENSION)))[0]
        noisy: NDArray[np.float32] = _unit(vector[None])[0].astype(np.float32)
        return noisy

    def _probabilities(self, category: int, flipped: bool, is_thing: bool) -> tuple[tuple[int, float], ...]:
        """Three categories; a wrong label is less sure of itself than a right one."""
        random = self._random
        others = [int(c) for c in random.permutation(self._things)[:3] if c != category]
        sure = float(random.uniform(0.4, 0.6) if flipped else random.uniform(0.5, 0.9))
        first, second = (others[0], category) if flipped else (category, others[0])
        if not is_thing:
            return ((category, sure),)
        return ((first, sure), (second, 0.6 * (1 - sure)), (others[1], 0.2 * (1 - sure)))

    def _segment(
        self,
        number: int,
        area: int,
        box: tuple[int, int, int, int],
        category: int,
        is_thing: bool,
        visible: float,
        look: NDArray[np.float64],
    ) -> Segment:
        random, degradation = self._random, self._degradation
        flipped = bool(random.random() < degradation.flips) and is_thing
        probabilities = self._probabilities(category, flipped, is_thing)
        low = visible < 0.4
        score = float(random.uniform(0.35, 0.7) if low else random.uniform(0.6, 1.0))
        noise = degradation.embedding_noise / max(visible, 0.15) ** 0.5
        return Segment(
            id=number,
            category=probabilities[0][0],
            is_thing=is_thing,
            score=score,
            area=area,
            box=box,
            embedding=self._noisy(look, noise),
            probabilities=probabilities,
        )

    def _draw_false(self, numbers: NDArray[np.uint16], highest: int) -> dict[int, _False]:
        random, (height, width) = self._random, numbers.shape
        begin = int(random.poisson(self._degradation.false_positives))
        for _ in range(begin):
            self._false.append(
                _False(
                    track=self._next_false,
                    left=int(random.geometric(1 / 2.5)),
                    place=(float(random.uniform(0, height)), float(random.uniform(0, width))),
                    radius=(float(random.uniform(0.03, 0.1) * height), float(random.uniform(0.03, 0.1) * height)),
                    category=int(random.choice(self._things)),
                    score=float(random.uniform(0.3, 0.7)),
                )
            )
            self._next_false += 1
        drawn = {}
        for false in self._false:
            y, x = np.ogrid[0:height, 0:width]
            inside = ((y - false.place[0]) / false.radius[0]) ** 2 + ((x - false.place[1]) / false.radius[1]) ** 2 <= 1
            if not inside.any():
                continue
            highest += 1
            numbers[inside] = highest
            drawn[highest] = false
            false.left -= 1
        self._false = [
            false for false in self._false if false.left > 0 and false.track in {d.track for d in drawn.values()}
        ]
        return drawn

    def _false_segment(self, number: int, area: int, box: tuple[int, int, int, int], false: _False) -> Segment:
        own = np.random.default_rng([53, false.track]).normal(size=(1, DIMENSION))
        return Segment(
            id=number,
            category=false.category,
            is_thing=True,
            score=false.score,
            area=area,
            box=box,
            embedding=self._noisy(_unit(own)[0], self._degradation.embedding_noise),
            probabilities=self._probabilities(false.category, False, True),
        )


_PART = 1 << 20
"""The second part of a split track is this number more."""


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return result


def _split(out: NDArray[np.int64], track: int, angle: float) -> None:
    """Cuts a thing in two along a line through its middle."""
    y, x = np.nonzero(out == track)
    if len(y) < 24:
        return
    side = (y - y.mean()) * np.cos(angle) + (x - x.mean()) * np.sin(angle) > 0
    out[y[side], x[side]] += _PART


def _swallow(out: NDArray[np.int64], track: int, others: Sequence[int]) -> None:
    """Gives a thing's pixels to the largest other thing that it touches."""
    own = out == track
    if not own.any():
        return
    around = np.zeros_like(own)
    around[1:] |= own[:-1]
    around[:-1] |= own[1:]
    around[:, 1:] |= own[:, :-1]
    around[:, :-1] |= own[:, 1:]
    touching = set((np.unique(out[around]) % _PART).tolist()) & set(others)
    if touching:
        largest = max(touching, key=lambda other: (int(np.count_nonzero(out == other)), -other))
        if np.count_nonzero(out == largest):
            out[own] = largest
