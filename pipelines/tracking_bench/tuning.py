"""`python -m pipelines.tracking_bench.tuning`: the rivals' thresholds, chosen on development videos.

Tries every combination of `rivals.GRID` and prints, for each rival, the one with the greatest mean of HOTA, AssA and
IDF1. The result is copied into `rivals.TUNED` by hand, so that a benchmark never tunes anything by itself.
"""

import argparse
from itertools import product
from pathlib import Path

from eval.synthetic_world import vocabulary
from pipelines.tracking_bench.degradation import Degradation
from pipelines.tracking_bench.report import COMPARED, run_bench, samples
from pipelines.tracking_bench.rivals import GRID, OfNorfair, OfTrackers, OverlapOnly, Rival
from pipelines.tracking_bench.rows import Row, rival


def make(name: str, rate: float, options: dict[str, object]) -> Rival:
    """A rival by the name that it has in `GRID`."""
    if name == "overlap only":
        return OverlapOnly(**options)  # type: ignore[arg-type]
    if name == "norfair":
        return OfNorfair(**options)
    return OfTrackers(name, frame_rate=rate, **options)


def rows_of(name: str) -> dict[str, Row]:
    """One row for each combination."""
    rows = {}
    for values in product(*GRID[name].values()):
        options = dict(zip(GRID[name], values, strict=True))
        rows[repr(options)] = rival(lambda rate, options=options: make(name, rate, options))  # type: ignore[misc]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Thresholds of the rivals, chosen on development videos.")
    parser.add_argument("--videos", type=int, default=1, help="of every level")
    parser.add_argument("--drops", type=float, nargs="+", default=[20.0])
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    settings = {f"drops {share:g} %": Degradation(drops=share / 100) for share in options.drops}
    given = list(samples("dev", videos=options.videos, settings=settings, cache=options.cache))
    for name in GRID:
        report = run_bench(rows_of(name), given, vocabulary())
        total: dict[str, float] = {}
        for setting in settings:
            for row, means in report.means(setting).items():
                total[row] = total.get(row, 0.0) + sum(means[metric] for metric in COMPARED) / len(COMPARED)
        best = max(total, key=lambda row: total[row])
        print(f'    "{name}": {best},  # {100 * total[best] / len(settings):.2f}', flush=True)


if __name__ == "__main__":
    main()
