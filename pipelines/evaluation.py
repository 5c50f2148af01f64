"""Scoring: joins `eval` with what the command line asks; see `docs/metrics.md`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.bootstrap import Difference, compare
from eval.data_sets import data_set
from eval.evaluation import WINDOWS
from eval.folders import Measured, Question, measure, read_groups
from eval.names import chosen_metrics
from eval.panoptic_quality import ShortVideos
from eval.report import Report
from videoseg.errors import InputError


@dataclass(frozen=True, slots=True)
class Score:
    """What `videoseg eval` found."""

    report: Report
    against: dict[str, Difference] = field(default_factory=dict)
    """Plain name -> difference from another result; empty where none was named."""
    floor: dict[str, float] = field(default_factory=dict)
    """The same names as the agreement's, of a run that should agree wholly."""

    def to_json(self) -> dict[str, Any]:
        """The report's values at the top; see `Report.to_json`."""
        data = self.report.to_json()
        data |= {f"{name}.floor": value for name, value in self.floor.items()}
        if self.against:
            data["against"] = {name: difference.to_json() for name, difference in self.against.items()}
        return data


def score(
    truth: str | Path,
    prediction: str | Path,
    *,
    metrics: Sequence[str] | None = None,
    windows: Sequence[int] | None = None,
    short_videos: ShortVideos | None = None,
    conventions: str | None = None,
    gt_format: str | None = None,
    pred_format: str | None = None,
    against: str | Path | None = None,
    floor: str | Path | None = None,
    groups: str | Path | None = None,
    workers: int = 1,
    on_video: Callable[[int, int], None] | None = None,
) -> Score:
    """Evaluates a prediction.

    Args:
        truth: ground truth, or a run that stands for it.
        prediction: a run folder, a folder of run folders, or segments in any format that videoseg reads.
        metrics: see `eval.names.METRICS`; None means those that fit the ground truth.
        windows: of VPQ.
        short_videos: what VPQ does with videos shorter than a window; None: skips them.
        conventions: name of a data set (see `eval.data_sets`) whose metrics and windows are taken where none are given.
        gt_format, pred_format: names of formats; None means that they are recognised.
        against: another prediction, to compare with.
        floor: a run that should agree with `truth` wholly, as the noise floor of agreement.
        groups: a JSON with groups of categories and videos, for rows of their own; None: those of a world.
        workers: processes.

    Raises:
        InputError: nothing readable there, no video in common, an unknown metric.
    """
    chosen = None if metrics is None else chosen_metrics(metrics)
    if conventions is not None:
        known = data_set(conventions)
        chosen = known.metrics if chosen is None else chosen
        windows = known.windows or None if windows is None else windows
        short_videos = known.short_videos if short_videos is None else short_videos
    if floor is not None:
        chosen = ("agreement",) if chosen is None else chosen
        if "agreement" not in chosen:
            raise InputError("A noise floor is of agreement: add it to the metrics, --metrics agreement.")

    categories, videos = (None, None) if groups is None else read_groups(Path(groups))
    spans = WINDOWS if windows is None else tuple(windows)

    def measured(side: str | Path) -> Measured:
        question = Question(
            Path(truth), Path(side), chosen, spans, short_videos or "skip", categories, videos, gt_format, pred_format
        )
        return measure(question, workers=workers, on_video=on_video)

    ours = measured(prediction)
    report = ours.report()
    differences = {}
    if against is not None:
        differences = compare(ours.evaluation, measured(against).evaluation)
    floors = {}
    if floor is not None:
        floors = {name: v for name, v in measured(floor).report().values.items() if name.startswith("agreement.")}
    return Score(report, differences, floors)
