"""Chooses a model's weights of the two classifiers and its thresholds on development videos.

`python -m pipelines.quality.tuning WORLD [--model FOLDER] [--frames N]`, with a world that
`videoseg synth --benchmark standard-v1-dev` made. All readings share their masks, so a reading costs little. First the
weights are chosen with the thresholds that the model has, then the thresholds with those weights.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import torch

from odise_frame.model import Odise
from pipelines.quality.bench import Row, measure
from pipelines.quality.variants import Variant

SEEN = (0.0, 0.2, 0.4, 0.6)
UNSEEN = (0.4, 0.6, 0.7, 0.8)
OVERLAP = (0.5, 0.6, 0.7, 0.8)
OBJECT = (0.0, 0.2, 0.4)
"""Values that are tried."""


def main() -> None:
    """The command line of tuning."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.quality.tuning", description=__doc__)
    parser.add_argument("world", type=Path)
    parser.add_argument("--model", default="small")
    parser.add_argument("--frames", type=int, default=6, help="of each video, the first so many")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    weights = [_reading(ensemble_seen=seen, ensemble_unseen=unseen) for seen, unseen in product(SEEN, UNSEEN)]
    rows = measure(options.world, options.model, weights, frames=options.frames)
    _show(rows)
    seen, unseen = (float(value) for value in max(rows, key=worth).variant.asks.split())
    thresholds = [
        _reading(ensemble_seen=seen, ensemble_unseen=unseen, overlap_threshold=overlap, object_threshold=least)
        for overlap, least in product(OVERLAP, OBJECT)
    ]
    _show(measure(options.world, options.model, thresholds, frames=options.frames))


def _reading(**changes: Any) -> Variant:
    def change(model: Odise) -> None:
        model.size = replace(model.size, **changes)

    name = ", ".join(f"{key} {value:g}" for key, value in changes.items())
    return Variant(name, " ".join(f"{value:g}" for value in changes.values()), change=change)


def worth(row: Row) -> float:
    """What is maximised, in percent: PQ of base things and stuff plus PQ of novel things, of equal weight."""
    return sum(_figures(row))


def _figures(row: Row) -> tuple[float, float]:
    groups = row.report.category_groups
    return 100 * groups["base and stuff"]["pq"], 100 * groups["novel"]["pq"]


def _show(rows: Sequence[Row]) -> None:
    print("PQ base and stuff, PQ novel, PQ base, PQ stuff, AssA; best first")
    for row in sorted(rows, key=worth, reverse=True):
        groups = row.report.category_groups
        more = (100 * groups["base"]["pq"], 100 * groups["stuff"]["pq"], 100 * row.report.values["assa"])
        print(" ".join(f"{value:6.2f}" for value in (*_figures(row), *more)), row.variant.name, flush=True)


if __name__ == "__main__":
    main()
