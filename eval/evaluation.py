"""`evaluate`: every metric of a prediction against ground truth, in one pass over the frames.

    report = evaluate(gt.frames(), run.frames(), gt.vocabulary, run.vocabulary)
    report.to_json()["vpq.mean_1246"]

Conventions (each is counted in the report where it happens):

- predicted categories are known by name: a predicted category is the ground-truth category that one of its names
  names; a prediction in no category of the ground truth is void;
- frames are paired by their index; a ground-truth frame without a prediction is predicted void, a predicted frame
  without ground truth is not looked at;
- ids are track ids, and of two segments of one frame with one track id the pixels are joined.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eval.contingency import FrameTable, Runs, Segments, count_runs, positions
from eval.panoptic_quality import Quality, ShortVideos, VideoPanopticQuality
from eval.segmentation_tracking_quality import SegmentationTrackingQuality
from eval.tracking_quality import ObjectTracking
from eval.video_consistency import VideoConsistency
from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

WINDOWS = (1, 2, 4, 6, 8)
"""Windows of VPQ that the field publishes."""
CONSISTENCY_WINDOWS = (8, 16)
"""Windows of mVC that VSPW publishes."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMap:
    """One side of one frame."""

    id_map: NDArray[np.integer]
    """integer `[H, W]`, 0 = void."""
    segments: Segments
    """Category -1 stands for one that the ground truth does not know; it becomes void."""


@dataclass(slots=True)
class Conventions:
    """How often a convention was needed."""

    missing_frames: int = 0
    """Ground-truth frames without a prediction, taken as void."""
    extra_frames: int = 0
    """Predicted frames without ground truth, not looked at."""
    unknown_categories: list[str] = field(default_factory=list)
    """Predicted categories that the ground truth does not know, taken as void."""
    untracked_segments: int = 0
    """Predicted segments without a track, taken as tracks of a single frame."""


@dataclass(frozen=True, slots=True)
class Report:
    """The values, as fractions, NaN where there is nothing to measure."""

    values: dict[str, float]
    """By plain name: `vpq.1`, `vpq.mean_1246`, `stq`, `hota`, …"""
    per_category: dict[str, dict[str, float]]
    """Category's name -> `pq`, `sq`, `rq`, `tp`, `fp`, `fn` and `iou`; only categories that either side showed."""
    videos: int
    frames: int
    conventions: Conventions

    def to_json(self) -> dict[str, Any]:
        """JSON-ready: the values at the top, NaN as null, the rest under `per_category` and `conventions`."""
        data: dict[str, Any] = {name: _plain(value) for name, value in self.values.items()}
        data["videos"], data["frames"] = self.videos, self.frames
        data["per_category"] = {
            name: {key: _plain(value) for key, value in row.items()} for name, row in self.per_category.items()
        }
        data["conventions"] = {
            "missing_frames": self.conventions.missing_frames,
            "extra_frames": self.conventions.extra_frames,
            "unknown_categories": self.conventions.unknown_categories,
            "untracked_segments": self.conventions.untracked_segments,
        }
        return data


class _Metric(Protocol):
    """What takes the tables of frames."""

    def add(self, table: FrameTable) -> None: ...

    def end_video(self) -> None: ...


class Evaluation:
    """Takes frames, keeps counts, gives a report. Counts of two sets of videos merge into those of both."""

    def __init__(
        self,
        categories: Vocabulary,
        *,
        windows: Sequence[int] = WINDOWS,
        consistency_windows: Sequence[int] = CONSISTENCY_WINDOWS,
        short_videos: ShortVideos = "skip",
    ) -> None:
        """`categories` are those of the ground truth."""
        self.categories = categories
        self._is_thing = np.array([category.is_thing for category in categories])
        # PQ of images is VPQ at a window of 1, so that window is always there.
        self.vpq = {k: VideoPanopticQuality(len(categories), k, short_videos) for k in sorted({1, *windows})}
        self.stq = SegmentationTrackingQuality(self._is_thing)
        self.stq_vipseg = SegmentationTrackingQuality(self._is_thing, "vipseg")
        self.tracking = ObjectTracking(self._is_thing)
        self.consistency = VideoConsistency(tuple(consistency_windows))
        self.conventions = Conventions()
        self.videos = 0
        self.frames = 0

    def add(self, gt: LabelledMap, pred: LabelledMap) -> None:
        """Takes the next frame of the video; ValueError where a map and its list contradict each other."""
        pred = _without_unknown(pred)
        runs = Runs.of(gt.id_map, pred.id_map)
        rows = positions(runs.gt, gt.segments, "ground truth")
        columns = positions(runs.pred, pred.segments, "prediction")
        table = count_runs(rows, gt.segments, columns, pred.segments, runs.lengths)
        for metric in self._metrics():
            metric.add(table)
        void = np.array([len(self._is_thing)])
        self.consistency.add(
            runs.spread(np.concatenate([void, gt.segments.categories]).astype(np.uint16)[rows]).reshape(runs.shape),
            runs.spread(np.concatenate([void, pred.segments.categories]).astype(np.uint16)[columns]).reshape(
                runs.shape
            ),
        )
        self.frames += 1

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        for metric in self._metrics():
            metric.end_video()
        self.consistency.end_video()
        self.videos += 1

    def add_video(
        self, gt: Iterable[PanopticFrame], pred: Iterable[PanopticFrame], pred_categories: Vocabulary
    ) -> None:
        """Takes one video.

        Args:
            gt: its ground-truth frames in order, with tracks.
            pred: the predicted frames in order; segments without a track count as tracks of one frame.
            pred_categories: those of `pred`.

        Raises:
            InputError: sizes differ, or the ground truth has no tracks.
        """
        mapping = match_categories(pred_categories, self.categories)
        for position in np.flatnonzero(mapping < 0).tolist():
            name = pred_categories[position].name
            if name not in self.conventions.unknown_categories:
                self.conventions.unknown_categories.append(name)
        same = np.arange(len(self.categories))
        gt_numbers, pred_numbers = _Numbers(), _Numbers()
        for truth, guess in self._paired(gt, pred):
            if any(segment.track is None for segment in truth.segments):
                raise InputError(f"The ground truth has segments without track ids ({truth.where}).")
            if guess is None:
                self.conventions.missing_frames += 1
                empty = LabelledMap(np.zeros(truth.size, dtype=np.int64), Segments.of([]))
                self.add(_labelled(truth, same, gt_numbers), empty)
                continue
            if guess.size != truth.size:
                raise InputError(
                    f"The prediction is {guess.size[1]}×{guess.size[0]} pixels, the ground truth "
                    f"{truth.size[1]}×{truth.size[0]} ({truth.where}). Predict at the size of the ground truth."
                )
            self.conventions.untracked_segments += sum(segment.track is None for segment in guess.segments)
            self.add(_labelled(truth, same, gt_numbers), _labelled(guess, mapping, pred_numbers))
        self.end_video()

    def __iadd__(self, other: "Evaluation") -> "Evaluation":
        for k, metric in self.vpq.items():
            metric.counts += other.vpq[k].counts
        self.stq += other.stq
        self.stq_vipseg += other.stq_vipseg
        self.tracking += other.tracking
        self.consistency += other.consistency
        self.conventions.missing_frames += other.conventions.missing_frames
        self.conventions.extra_frames += other.conventions.extra_frames
        self.conventions.untracked_segments += other.conventions.untracked_segments
        known = self.conventions.unknown_categories
        known += [name for name in other.conventions.unknown_categories if name not in known]
        self.videos += other.videos
        self.frames += other.frames
        return self

    def report(self) -> Report:
        """Over all ended videos."""
        values: dict[str, float] = {}
        image = self.vpq[1].counts
        for suffix, among in (("", None), (".things", self._is_thing), (".stuff", ~self._is_thing)):
            quality = image.mean(among)
            values |= {f"pq{suffix}": quality.pq, f"sq{suffix}": quality.sq, f"rq{suffix}": quality.rq}
            by_window: dict[int, Quality] = {k: metric.counts.mean(among) for k, metric in self.vpq.items()}
            values |= {f"vpq.{k}{suffix}": quality.pq for k, quality in by_window.items()}
            for windows in ((1, 2, 4, 6), (1, 2, 4, 6, 8)):
                if all(k in by_window for k in windows):
                    name = "vpq.mean_" + "".join(str(k) for k in windows) + suffix
                    values[name] = sum(by_window[k].pq for k in windows) / len(windows)
        for name, stq in (("", self.stq), ("_vipseg", self.stq_vipseg)):
            quality_of_tracks = stq.result()
            values[f"stq{name}"], values[f"aq{name}"] = quality_of_tracks.stq, quality_of_tracks.aq
            values[f"stq_sq{name}"] = quality_of_tracks.sq
        values["miou"] = self.stq.mean_iou()
        values |= {f"mvc.{k}": value for k, value in self.consistency.result().items()}
        agnostic = self.tracking.class_agnostic.result()
        values |= {name.lower(): agnostic["HOTA"][name] for name in ("HOTA", "DetA", "AssA", "LocA")}
        values |= {
            "hota.class_averaged": self.tracking.class_averaged()["HOTA"]["HOTA"],
            "idf1": agnostic["Identity"]["IDF1"],
            "motsa": agnostic["CLEAR"]["MOTA"],
            "smotsa": agnostic["CLEAR"]["sMOTA"],
            "id_switches": agnostic["CLEAR"]["IDSW"],
            "fragments": agnostic["CLEAR"]["Frag"],
            "mostly_tracked": agnostic["CLEAR"]["MT"],
            "partly_tracked": agnostic["CLEAR"]["PT"],
            "mostly_lost": agnostic["CLEAR"]["ML"],
        }
        pq, sq, rq = image.per_category()
        iou = self.stq.category_iou()
        per_category = {
            self.categories[i].name: {
                "pq": float(pq[i]),
                "sq": float(sq[i]),
                "rq": float(rq[i]),
                "tp": int(image.tp[i]),
                "fp": int(image.fp[i]),
                "fn": int(image.fn[i]),
                "iou": float(iou[i]),
            }
            for i in np.flatnonzero(image.seen).tolist()
        }
        return Report(values, per_category, self.videos, self.frames, self.conventions)

    def _metrics(self) -> list[_Metric]:
        return [*self.vpq.values(), self.stq, self.stq_vipseg, self.tracking]

    def _paired(
        self, gt: Iterable[PanopticFrame], pred: Iterable[PanopticFrame]
    ) -> Iterator[tuple[PanopticFrame, PanopticFrame | None]]:
        predictions = iter(pred)
        guess = next(predictions, None)
        for truth in gt:
            while guess is not None and (guess.epoch, guess.index) < (truth.epoch, truth.index):
                self.conventions.extra_frames += 1
                guess = next(predictions, None)
            if guess is not None and (guess.epoch, guess.index) == (truth.epoch, truth.index):
                yield truth, guess
                guess = next(predictions, None)
            else:
                yield truth, None
        while guess is not None:
            self.conventions.extra_frames += 1
            guess = next(predictions, None)


def evaluate(
    gt_frames: Iterable[PanopticFrame],
    pred_frames: Iterable[PanopticFrame],
    gt_categories: Vocabulary,
    pred_categories: Vocabulary,
    *,
    windows: Sequence[int] = WINDOWS,
    short_videos: ShortVideos = "skip",
) -> Report:
    """Evaluates one video; for several, use an `Evaluation`. See `Evaluation.add_video` for arguments and errors."""
    evaluation = Evaluation(gt_categories, windows=windows, short_videos=short_videos)
    evaluation.add_video(gt_frames, pred_frames, pred_categories)
    return evaluation.report()


def evaluate_folders(
    gt: str | Path,
    pred: str | Path,
    *,
    windows: Sequence[int] = WINDOWS,
    short_videos: ShortVideos = "skip",
) -> Report:
    """Evaluates a folder of predictions against a folder of ground truth, in any format that videoseg reads.

    Videos are known by their names; where either folder holds only one, the names need not agree. A ground-truth
    video without a prediction is predicted void.

    Raises:
        InputError: nothing readable there, no video in common, ground truth without tracks, differing sizes.
    """
    from videoseg.formats import read_segments

    truth, guess = read_segments(gt), read_segments(pred)
    pairs: list[tuple[str, str | None]] = [(name, name if name in guess.videos else None) for name in truth.videos]
    if len(truth.videos) == len(guess.videos) == 1:
        pairs = [(truth.videos[0], guess.videos[0])]
    if all(other is None for _, other in pairs):
        raise InputError(
            f"{gt} and {pred} have no video in common: {', '.join(truth.videos[:3])} against "
            f"{', '.join(guess.videos[:3])}. Videos are paired by name."
        )
    evaluation = Evaluation(truth.vocabulary, windows=windows, short_videos=short_videos)
    for name, other in pairs:
        predicted: Iterable[PanopticFrame] = guess.frames(other) if other is not None else ()
        evaluation.add_video(truth.frames(name), predicted, guess.vocabulary)
    return evaluation.report()


def match_categories(pred: Vocabulary, gt: Vocabulary) -> NDArray[np.int64]:
    """For every predicted category the index of the ground-truth category of that name, -1 where there is none.

    A category's own name goes before synonyms, and letter case does not matter.

    Returns:
        int64 `[len(pred)]`.
    """
    owners: dict[str, int] = {}
    for part in (slice(0, 1), slice(1, None)):
        for i, category in enumerate(gt):
            for name in category.names[part]:
                owners.setdefault(name.casefold(), i)
    found = [next((owners[n.casefold()] for n in category.names if n.casefold() in owners), -1) for category in pred]
    return np.array(found, dtype=np.int64)


class _Numbers:
    """Small consecutive numbers for the tracks of one side of one video."""

    def __init__(self) -> None:
        self._of_track: dict[int, int] = {}
        self._count = 0

    def of(self, track: int | None) -> int:
        """The number of a track, the same every time; of a segment without one (None), a new number."""
        if track is not None and track in self._of_track:
            return self._of_track[track]
        self._count += 1
        if track is not None:
            self._of_track[track] = self._count
        return self._count


def _labelled(frame: PanopticFrame, mapping: NDArray[np.int64], numbers: _Numbers) -> LabelledMap:
    """The frame with numbers of tracks instead of frame-local ids."""
    table = np.zeros(int(frame.id_map.max(initial=0)) + 1, dtype=np.int32)
    rows: dict[int, tuple[int, int, int]] = {}
    for segment in frame.segments:
        number = numbers.of(segment.track)
        table[segment.id] = number
        rows.setdefault(number, (number, int(mapping[segment.category]), 0))
    return LabelledMap(table[frame.id_map], Segments.of(list(rows.values())))


def _without_unknown(side: LabelledMap) -> LabelledMap:
    known = side.segments.categories >= 0
    if known.all():
        return side
    dropped = side.segments.ids[~known]
    id_map = np.where(np.isin(side.id_map, dropped), 0, side.id_map)
    kept = Segments(side.segments.ids[known], side.segments.categories[known], side.segments.crowd[known])
    return LabelledMap(id_map, kept)


def _plain(value: float) -> float | int | None:
    return None if isinstance(value, float) and math.isnan(value) else value
