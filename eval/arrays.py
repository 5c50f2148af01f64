"""`evaluate_arrays`: every metric from id maps in memory, without files or vocabularies.

report = evaluate_arrays([LabelledVideo(gt, gt_segments, pred, pred_segments)], things=[True, False])
report.values["vpq.mean_1246"]
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from eval.contingency import Segments
from eval.evaluation import CONSISTENCY_WINDOWS, WINDOWS, Evaluation, LabelledMap, Unlabelled
from eval.names import PANOPTIC_METRICS
from eval.panoptic_quality import ShortVideos
from eval.report import Report
from videoseg.vocabulary import Vocabulary

Table = Sequence[Sequence[Sequence[int]]] | Mapping[int, int]
"""What ids are: per frame the list of its (id, category[, iscrowd]), or for the whole video id -> category."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVideo:
    """One video of both sides."""

    gt: NDArray[np.integer]
    """integer `[T, H, W]`: ids of the ground truth, 0 = void. An id is the same segment in every frame."""
    gt_segments: Table
    """Of `gt`; categories from 0. The order of a list matters only to VIPSeg's encoding of STQ and to which of several
    crowds of one category counts."""
    pred: NDArray[np.integer]
    """integer `[T, H, W]`: predicted ids, 0 = nothing predicted; unrelated to those of `gt`."""
    pred_segments: Table
    name: str | None = None

    def __post_init__(self) -> None:
        if self.gt.ndim != 3 or self.gt.shape != self.pred.shape:
            raise ValueError(
                f"id maps are [T, H, W] of one shape on both sides, got {self.gt.shape} and {self.pred.shape}"
                f"{f' ({self.name})' if self.name else ''}; a frame without prediction is all 0"
            )
        for table, side in ((self.gt_segments, "gt_segments"), (self.pred_segments, "pred_segments")):
            if not isinstance(table, Mapping) and len(table) != len(self.gt):
                raise ValueError(f"{side} has lists for {len(table)} frames, the maps have {len(self.gt)}")


def evaluate_arrays(
    videos: Iterable[LabelledVideo],
    things: Sequence[bool] | NDArray[np.bool_],
    *,
    names: Sequence[str] | None = None,
    metrics: Collection[str] = PANOPTIC_METRICS,
    windows: Sequence[int] = WINDOWS,
    consistency_windows: Sequence[int] = CONSISTENCY_WINDOWS,
    short_videos: ShortVideos = "skip",
    unlabelled: Unlabelled = "void",
    category_groups: Mapping[str, Collection[str]] | None = None,
    video_groups: Mapping[str, Collection[str]] | None = None,
) -> Report:
    """Evaluates videos in memory, one after the other: a generator keeps memory small.

    Args:
        videos: both sides of each.
        things: bool `[C]`: which categories are things; their number is that of the categories.
        names: of the categories, for the report; None calls them by their numbers.
        metrics, windows, short_videos, unlabelled, category_groups, video_groups: see `Evaluation`.
        consistency_windows: of mVC.

    Raises:
        ValueError: shapes, lists and maps contradict each other, or a category is not in range.
        InputError: no frame at all.
    """
    evaluation = measure_arrays(
        videos, things, names=names, metrics=metrics, windows=windows, consistency_windows=consistency_windows,
        short_videos=short_videos, unlabelled=unlabelled, category_groups=category_groups, video_groups=video_groups,
    )  # fmt: skip
    return evaluation.report()


def measure_arrays(
    videos: Iterable[LabelledVideo],
    things: Sequence[bool] | NDArray[np.bool_],
    *,
    names: Sequence[str] | None = None,
    metrics: Collection[str] = PANOPTIC_METRICS,
    windows: Sequence[int] = WINDOWS,
    consistency_windows: Sequence[int] = CONSISTENCY_WINDOWS,
    short_videos: ShortVideos = "skip",
    unlabelled: Unlabelled = "void",
    category_groups: Mapping[str, Collection[str]] | None = None,
    video_groups: Mapping[str, Collection[str]] | None = None,
) -> Evaluation:
    """`evaluate_arrays` with the counts, to compare two of them with `bootstrap.compare`."""
    called = [str(i) for i in range(len(things))] if names is None else list(names)
    if len(called) != len(things):
        raise ValueError(f"there are {len(called)} names for {len(things)} categories")
    vocabulary = Vocabulary.of([((name,), bool(thing)) for name, thing in zip(called, things, strict=True)])
    evaluation = Evaluation(
        vocabulary, metrics=metrics, windows=windows, consistency_windows=consistency_windows,
        short_videos=short_videos, unlabelled=unlabelled, category_groups=category_groups, video_groups=video_groups,
    )  # fmt: skip
    for video in videos:
        for t in range(len(video.gt)):
            gt = _side(video.gt[t], video.gt_segments, t, len(things))
            evaluation.add(gt, _side(video.pred[t], video.pred_segments, t, len(things)))
        evaluation.end_video(video.name)
    return evaluation


def _side(id_map: NDArray[np.integer], table: Table, frame: int, categories: int) -> LabelledMap:
    if isinstance(table, Mapping):
        present = [int(i) for i in np.unique(id_map) if i != 0]
        unknown = [i for i in present if i not in table]
        if unknown:
            raise ValueError(f"frame {frame}: the map has pixels of id {unknown[0]}, which has no category")
        segments = Segments.of([(i, table[i], 0) for i in present])
    else:
        segments = Segments.of(table[frame])
    if len(segments) and not 0 <= segments.categories.min() <= segments.categories.max() < categories:
        raise ValueError(f"frame {frame}: categories are 0..{categories - 1}, got {segments.categories.tolist()}")
    return LabelledMap(id_map, segments)
