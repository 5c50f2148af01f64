"""`python -m pipelines.tracking_bench.calibration`: how well the class probabilities of tracks are calibrated.

Tracks development videos and compares, for several values of `TrackerSettings.evidence_sharpness`, the probability of
each thing's strongest category with how often it is right.
"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eval.synthetic_world import vocabulary
from pipelines.tracking_bench.degradation import FALSE, Degradation
from pipelines.tracking_bench.report import Sample, samples
from tracking import PanopticTracker, TrackerSettings

POWERS = (0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
_BINS = 10


@dataclass(frozen=True, slots=True, eq=False)
class Shares:
    """Class evidence of tracked things, in shares of the whole, and which category is the true one."""

    share: NDArray[np.float64]
    """`[N, K]`, strongest first."""
    is_true: NDArray[np.bool_]
    """`[N, K]`; a row may have none."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What probabilities are worth."""

    confidence: float
    """Mean probability of the strongest category."""
    accuracy: float
    """How often it is the true one."""
    error: float
    """Expected calibration error over ten bins of equal width.

    Source: Guo et al., On Calibration of Modern Neural Networks (2017), equation 3.
    """
    log_loss: float


def collect(given: Iterable[Sample]) -> Shares:
    """Tracks videos with plain shares and looks at every true thing that comes out."""
    words = vocabulary()
    tracker = PanopticTracker(TrackerSettings(evidence_sharpness=1.0), vocabulary=words)
    shares, truths = [], []
    for sample in given:
        state = tracker.new_state(sample.world.name)
        for truth, spoiled in zip(sample.world.frames, sample.spoiled, strict=True):
            category = dict(zip(truth.ids.tolist(), truth.categories.tolist(), strict=True))
            (out,) = tracker.step(spoiled.frame, truth.motion, state).frames
            for segment in out.segments:
                # The id of a merged segment is that of its largest part.
                owner = spoiled.owner[segment.id]
                if segment.is_thing and owner < FALSE:
                    row = np.zeros((2, 5))
                    for k, (c, share) in enumerate(segment.probabilities[:5]):
                        row[:, k] = share, c == category[owner]
                    shares.append(row[0])
                    truths.append(row[1] > 0)
    return Shares(np.array(shares), np.array(truths))


def calibration(shares: Shares, power: float) -> Calibration:
    """Of the probabilities that `power` makes of the shares."""
    sharp = shares.share**power
    sharp /= np.maximum(sharp.sum(axis=1, keepdims=True), 1e-12)
    confidence, right = sharp.max(axis=1), shares.is_true[np.arange(len(sharp)), sharp.argmax(axis=1)]
    place = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    error = sum(abs(float(confidence[place == i].sum()) - float(right[place == i].sum())) for i in range(_BINS))
    true = np.maximum((sharp * shares.is_true).sum(axis=1), 1e-3)
    return Calibration(
        confidence=float(confidence.mean()),
        accuracy=float(right.mean()),
        error=error / len(sharp),
        log_loss=float(-np.log(true).mean()),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="How well the class probabilities of tracks are calibrated.")
    parser.add_argument("--videos", type=int, default=2, help="of every level")
    parser.add_argument("--frames", type=int, default=120)
    parser.add_argument("--drops", type=float, default=20.0)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args(arguments)
    settings = {"degraded": Degradation(drops=options.drops / 100)}
    given = samples("dev", videos=options.videos, frames=options.frames, settings=settings, cache=options.cache)
    shares = collect(given)
    print(f"{len(shares.share)} segments\n{'power':>6s}{'mean':>8s}{'right':>8s}{'error':>8s}{'loss':>8s}")
    for power in POWERS:
        found = calibration(shares, power)
        print(
            f"{power:6.2f}{found.confidence:8.3f}{found.accuracy:8.3f}{found.error:8.3f}{found.log_loss:8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
