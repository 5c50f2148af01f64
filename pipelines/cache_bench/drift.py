"""What is expected of moved features beside what is true of them: the predictor's rank correlation, and its fit."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from odise_frame.feature_projection import LEVELS
from odise_frame.temporal_cache import CacheSettings, Situation
from odise_frame.temporal_cache.loop import moved_maps
from odise_frame.temporal_cache.planner import Planner, affordable, drift_features
from pipelines.cache_bench.recording import FeatureStore


def true_errors(store: FeatureStore, situation: Situation) -> NDArray[np.float32]:
    """Relative distance of every window's moved features from its true ones, mean over the levels: float32 `[W]`."""
    canvas, step = situation.canvas, situation.step
    assert canvas is not None
    assert step is not None
    stream, frame = situation.where
    every = np.arange(len(canvas.grid))
    total = np.zeros(len(every), np.float32)
    for level in LEVELS:
        true = torch.from_numpy(np.array(store.read(stream, frame, f"s{level}")))
        moved = moved_maps(canvas, every, step, level, torch.float32).permute(0, 3, 1, 2)
        distance = (moved - true).flatten(1).norm(dim=1) / true.flatten(1).norm(dim=1).clamp(min=1e-6)
        total += distance.numpy() / len(LEVELS)
    return total


@dataclass(slots=True)
class DriftLog:
    """Rows of what was expected and what was true, a window of a frame each."""

    features: list[NDArray[np.float32]] = field(default_factory=list)
    expected: list[NDArray[np.float32]] = field(default_factory=list)
    true: list[NDArray[np.float32]] = field(default_factory=list)

    def rank_correlation(self) -> float:
        """Spearman's, of expected and true errors."""
        if not self.true:
            return float("nan")
        return float(spearmanr(np.concatenate(self.expected), np.concatenate(self.true)).statistic)

    def fit(self) -> list[float]:
        """Least squares weights of `drift_features`, none but the constant below 0."""
        from scipy.optimize import nnls

        rows, true = np.concatenate(self.features), np.concatenate(self.true)
        weights, _ = nnls(rows.astype(np.float64), true.astype(np.float64))
        return [round(float(weight), 5) for weight in weights]

    def by_age(self) -> dict[int, float]:
        """Mean true error by frames since a window was computed."""
        ages = np.concatenate([np.rint(rows[:, -1] ** 2) for rows in self.features]) if self.features else np.zeros(0)
        true = np.concatenate(self.true) if self.true else np.zeros(0)
        return {int(age): round(float(true[ages == age].mean()), 4) for age in np.unique(ages)}


@dataclass(frozen=True, slots=True)
class Watch:
    """Writes down, for every frame of a cache, what was expected beside what is true: a `TemporalCache.observer`."""

    store: FeatureStore
    log: DriftLog

    def __call__(self, situation: Situation) -> None:
        changed = ~situation.change.equal
        # Copies: the cache sets the errors of refreshed windows to 0 in place.
        self.log.features.append(drift_features(situation.change, situation.age)[changed])
        self.log.expected.append(situation.error[changed])
        self.log.true.append(true_errors(self.store, situation)[changed])


class Oracle(Planner):
    """Knows the true errors: what any planner could reach with as many windows."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store

    def choose(self, situation: Situation, settings: CacheSettings) -> tuple[int, ...]:
        """See `Planner`."""
        number = affordable(situation, settings)
        if not number:
            return ()
        order = np.argsort(-true_errors(self.store, situation), kind="stable")
        return tuple(int(i) for i in order[:number])


class ByChance(Planner):
    """Any windows, as many as are earned: what a planner has to beat."""

    def choose(self, situation: Situation, settings: CacheSettings) -> tuple[int, ...]:
        """See `Planner`."""
        number = affordable(situation, settings)
        rng = np.random.default_rng(situation.where[1])
        return tuple(int(i) for i in rng.permutation(len(situation.age))[:number])


class EveryKth(Planner):
    """All windows in every k-th frame, none between."""

    def __init__(self, k: int) -> None:
        self.k = k

    def choose(self, situation: Situation, settings: CacheSettings) -> tuple[int, ...]:
        """See `Planner`."""
        return tuple(range(len(situation.age))) if situation.where[1] % self.k == 0 else ()
