"""How sure the difference of two results is: paired bootstrap over videos.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16. Videos are drawn with
replacement, the same for both results, because a hard video is hard for both; the metric of each draw follows from
summed counts, and the interval holds the middle 95 % of the differences. With fewer than some ten videos an interval
says little, and it never covers what other data would bring.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.evaluation import Evaluation
from videoseg.errors import InputError

DRAWS = 1000
"""Enough for the ends of a 95 % interval to be stable to about a twentieth of its width."""
_AT_ONCE = 50
"""Draws that are summed together; their counts by category are what takes memory."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One value of two results."""

    ours: float
    other: float
    low: float
    """Lower end of the 95 % interval of `ours - other`; NaN where too few draws have a value."""
    high: float

    @property
    def difference(self) -> float:
        return self.ours - self.other

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0

    def to_json(self) -> dict[str, float | bool | None]:
        """JSON-ready."""
        numbers = {
            "value": self.ours,
            "other": self.other,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
        }
        return {**{k: None if np.isnan(v) else v for k, v in numbers.items()}, "clear": self.clear}


def compare(ours: Evaluation, other: Evaluation, *, draws: int = DRAWS, seed: int = 0) -> dict[str, Difference]:
    """Differences of all values that follow from counts (all but medians, class averages of tracking and AP).

    Args:
        ours, other: of the same videos, in the same order, with the same settings.
        draws: how often videos are drawn.
        seed: of the draws; one seed gives one result.

    Raises:
        InputError: the videos differ.
    """
    if ours.video_names != other.video_names:
        raise InputError("Two results can be compared only over the same videos; these have others, or another order.")
    if not ours.video_names:
        raise InputError("There is no video to compare two results on.")
    number = len(ours.video_names)
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(number, np.full(number, 1 / number), size=draws).astype(np.float64)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for start in range(0, draws, _AT_ONCE):
        part = weights[start : start + _AT_ONCE]
        first, second = ours.scores(part), other.scores(part)
        for name in first.keys() & second.keys():
            found.setdefault(name, []).append(first[name] - second[name])
    whole = [side.scores(np.ones((1, number))) for side in (ours, other)]
    return {
        name: Difference(float(whole[0][name][0]), float(whole[1][name][0]), *_interval(found[name]))
        for name in whole[0]
        if name in found
    }


def _interval(parts: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    draws = np.concatenate(parts)
    draws = draws[np.isfinite(draws)]
    if len(draws) < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)
