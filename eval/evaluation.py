"""`Evaluation`: every metric of predictions against ground truth, in one pass over the frames.

    report = evaluate(gt.frames(), run.frames(), gt.vocabulary, run.vocabulary)
    report.to_json()["vpq.mean_1246"]

Conventions (each is counted in the report where it happens):

- predicted categories are known by name: a predicted category is the ground-truth category that one of its names
  names; a prediction in no category of the ground truth is void;
- frames are paired by their index; a ground-truth frame without a prediction is predicted void, a predicted frame
  without ground truth is not looked at;
- ids are track ids, and of two segments of one frame with one track id the pixels are joined.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from eval.agreement import agreement_values
from eval.breakdown import SIZES, QualityBreakdown
from eval.contingency import FrameTable, Ints, Runs, Segments, count_runs, positions
from eval.flicker import Flicker
from eval.names import IMAGE_METRICS, PANOPTIC_METRICS
from eval.panoptic_quality import ShortVideos, VideoPanopticQuality, find_events, mean_quality, quality_parts
from eval.report import Charts, Conventions, Report, TrackMoment
from eval.scores import (
    Sums,
    mean_iou,
    quality_scores,
    scores,
    weighted,
    weighted_association,
    weighted_quality,
    weighted_tracks,
)
from eval.segmentation_tracking_quality import LENGTHS, SegmentationTrackingQuality
from eval.tracking_quality import ObjectTracking
from eval.video_consistency import VideoConsistency
from videoseg.errors import InputError
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary

Floats = NDArray[np.float64]

WINDOWS = (1, 2, 4, 6, 8)
"""Windows of VPQ that the field publishes."""
CONSISTENCY_WINDOWS = (2, 4, 8, 16)
"""Windows of mVC; VSPW publishes 8 and 16, shorter ones are for short videos."""
TIMELINES = 4
"""Videos whose matches are kept frame by frame for the timeline: as many as fit a picture."""
TIMELINE_FRAMES = 600
"""Of these only the beginning, for the same reason."""

Unlabelled = Literal["void", "background"]
"""What pixels without a label are: `void`, of which nothing is known, or `background`, which is surely no category."""

_AT_ONCE = 50
"""Videos whose counts by category are laid out together."""

_UNTRACKED = 1 << 40
"""Numbers from here on are given to segments without a track: no file has such ids."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledMap:
    """One side of one frame."""

    id_map: NDArray[np.integer]
    """integer `[H, W]`, 0 = void."""
    segments: Segments
    """What the ids of the map are; category -1 stands for one that the ground truth does not know: it becomes void."""
    tracks: Ints | None = None
    """int64 `[N]`: track of every segment, where the ids in the map are not the tracks. Segments of one track are
    joined; category and flag are those of the first."""

    def placed(self, ids: NDArray[np.integer], where: str) -> tuple[NDArray[np.integer], Segments]:
        """`positions` of ids, and the segments by track, without unknown ones."""
        place = positions(ids, self.segments, where)
        segments = self.segments
        tracks = segments.ids if self.tracks is None else self.tracks
        known = segments.categories >= 0
        distinct, first, inverse = np.unique(tracks[known], return_index=True, return_inverse=True)
        if len(distinct) == len(tracks):
            return place, Segments(tracks, segments.categories, segments.crowd)
        # In the order in which they are listed.
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        table = np.zeros(len(tracks) + 1, dtype=np.int64)
        table[1:][known] = 1 + rank[inverse]
        kept = np.flatnonzero(known)[first[order]]
        return table[place], Segments(tracks[kept], segments.categories[kept], segments.crowd[kept])


class Evaluation:
    """Takes frames, keeps counts, gives a report. Counts of two sets of videos merge into those of both.

    Memory: pixels of two frames, under 2 kB for every frame of one video, and a few kB for every video.
    """

    def __init__(
        self,
        categories: Vocabulary,
        *,
        metrics: Collection[str] = PANOPTIC_METRICS,
        windows: Sequence[int] = WINDOWS,
        consistency_windows: Sequence[int] = CONSISTENCY_WINDOWS,
        short_videos: ShortVideos = "skip",
        unlabelled: Unlabelled = "void",
        category_groups: Mapping[str, Collection[str]] | None = None,
        video_groups: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """
        Args:
            categories: those of the ground truth.
            metrics: what to measure; see `names.METRICS`.
            windows: of VPQ.
            consistency_windows: of mVC.
            short_videos: what VPQ does with videos shorter than a window.
            unlabelled: what void in the ground truth means. Beside background, predictions that lie mostly in a crowd
                and match nothing are left out of tracking metrics, as TrackEval does for MOTS.
            category_groups: group -> names of categories, for rows of their own.
            video_groups: group -> names of videos, for rows of their own.

        Raises:
            InputError: a group names a category that there is not.
        """
        self.categories = categories
        self.metrics = tuple(metrics)
        self.unlabelled = unlabelled
        self.is_thing = np.array([category.is_thing for category in categories])
        self.category_groups = {
            name: _marked(categories, members, name) for name, members in (category_groups or {}).items()
        }
        self.video_groups = {name: frozenset(members) for name, members in (video_groups or {}).items()}
        excuses = unlabelled == "void"
        size, wanted = len(categories), frozenset(metrics)
        # PQ of images is VPQ at a window of 1.
        spans = sorted({1, *windows}) if "vpq" in wanted else [1] if wanted & {"pq"} else []
        self.vpq = {k: VideoPanopticQuality(size, k, short_videos, void_excuses=excuses) for k in spans}
        self.stq = (
            SegmentationTrackingQuality(self.is_thing, only_categories="stq" not in wanted)
            if wanted & {"stq", "miou"}
            else None
        )
        self.stq_vipseg = SegmentationTrackingQuality(self.is_thing, "vipseg") if "stq" in wanted else None
        tracked = wanted & {"hota", "clear", "identity"}
        self.tracking = ObjectTracking(self.is_thing, drop_ignored=not excuses) if tracked else None
        self.consistency = VideoConsistency(tuple(consistency_windows)) if "mvc" in wanted else None
        self.flicker = Flicker() if "flicker" in wanted else None
        self.breakdown = QualityBreakdown(size, void_excuses=excuses) if wanted & {"pq", "agreement"} else None
        self.timelines: dict[str, tuple[TrackMoment, ...]] = {}
        self.conventions = Conventions()
        self.video_names: list[str] = []
        self.frames = 0
        self._moments: list[TrackMoment] = []
        self._video_frames = 0

    @property
    def videos(self) -> int:
        """How many have ended."""
        return len(self.video_names)

    def add(self, gt: LabelledMap, pred: LabelledMap) -> None:
        """Takes the next frame of the video; ValueError where a map and its list contradict each other."""
        runs = Runs.of(gt.id_map, pred.id_map)
        rows, gt_segments = gt.placed(runs.gt, "ground truth")
        columns, pred_segments = pred.placed(runs.pred, "prediction")
        table = count_runs(rows, gt_segments, columns, pred_segments, runs.lengths)
        for metric in (*self.vpq.values(), self.stq, self.stq_vipseg, self.tracking, self.breakdown):
            if metric is not None:
                metric.add(table)
        if self.consistency is not None:
            void, kind = [len(self.is_thing)], np.min_scalar_type(len(self.is_thing))
            maps = [
                runs.spread(np.concatenate([void, side.categories]).astype(kind)[place])
                for side, place in ((gt_segments, rows), (pred_segments, columns))
            ]
            self.consistency.add(maps[0], maps[1])
        if self.flicker is not None:
            labels = [self.flicker.labels(i, side) for i, side in enumerate((gt_segments, pred_segments))]
            self.flicker.add(table, runs.spread(labels[0][rows]), runs.spread(labels[1][columns]))
        if self.tracking is not None and len(self.timelines) < TIMELINES and self._video_frames < TIMELINE_FRAMES:
            self._note_moments(table)
        self._video_frames += 1
        self.frames += 1

    def end_video(self, name: str | None = None) -> None:
        """Ends the video; the next frame begins another."""
        for metric in (*self.vpq.values(), self.stq, self.stq_vipseg, self.tracking, self.breakdown, self.consistency):
            if metric is not None:
                metric.end_video()
        if self.flicker is not None:
            self.flicker.end_video()
        self.video_names.append(name if name is not None else f"video {len(self.video_names) + 1}")
        if self.tracking is not None and len(self.timelines) < TIMELINES:
            self.timelines[self.video_names[-1]] = tuple(self._moments)
        self._moments, self._video_frames = [], 0

    def add_video(
        self,
        gt: Iterable[PanopticFrame],
        pred: Iterable[PanopticFrame],
        pred_categories: Vocabulary,
        *,
        name: str | None = None,
    ) -> None:
        """Takes one video.

        Args:
            gt: its ground-truth frames in order, with tracks (without where only metrics of single frames are asked).
            pred: the predicted frames in order; segments without a track count as tracks of one frame.
            pred_categories: those of `pred`.
            name: of the video, for the report.

        Raises:
            InputError: sizes differ, or the ground truth has no tracks.
        """
        self.add_pairs(self.paired(gt, pred), pred_categories, name=name)

    def add_pairs(
        self,
        pairs: Iterable[tuple[PanopticFrame, PanopticFrame | None]],
        pred_categories: Vocabulary,
        *,
        name: str | None = None,
    ) -> None:
        """`add_video` where it is known which frames belong together; None stands for a missing prediction."""
        mapping = match_categories(pred_categories, self.categories)
        if (mapping < 0).all():
            raise InputError(
                f"The prediction knows none of the categories of the ground truth: {_names(pred_categories)} against "
                f"{_names(self.categories)}. Categories are paired by their names."
            )
        for position in np.flatnonzero(mapping < 0).tolist():
            unknown = pred_categories[position].name
            if unknown not in self.conventions.unknown_categories:
                self.conventions.unknown_categories.append(unknown)
        same = np.arange(len(self.categories))
        untracked_matters = not set(self.metrics) <= set(IMAGE_METRICS)
        following = _UNTRACKED
        for truth, guess in pairs:
            if any(segment.track is None for segment in truth.segments):
                if untracked_matters:
                    raise InputError(
                        f"The ground truth has segments without track ids ({truth.where}). Metrics of single frames "
                        f"need none: --metrics {','.join(IMAGE_METRICS[:2])}."
                    )
                self.conventions.untracked_truth = True
            gt_side, following = _labelled(truth, same, following)
            if guess is None:
                self.conventions.missing_frames += 1
                self.add(gt_side, LabelledMap(np.zeros(truth.size, dtype=np.uint16), Segments.of([])))
                continue
            if guess.size != truth.size:
                raise InputError(
                    f"The prediction is {guess.size[1]}×{guess.size[0]} pixels, the ground truth "
                    f"{truth.size[1]}×{truth.size[0]} ({truth.where}). Predict at the size of the ground truth."
                )
            if untracked_matters:
                self.conventions.untracked_segments += sum(segment.track is None for segment in guess.segments)
            pred_side, following = _labelled(guess, mapping, following)
            self.add(gt_side, pred_side)
        self.end_video(name)

    def __iadd__(self, other: "Evaluation") -> "Evaluation":
        for k, metric in self.vpq.items():
            metric += other.vpq[k]
        for ours, theirs in (
            (self.stq, other.stq),
            (self.stq_vipseg, other.stq_vipseg),
        ):
            if ours is not None and theirs is not None:
                ours += theirs
        if self.tracking is not None and other.tracking is not None:
            self.tracking += other.tracking
        if self.consistency is not None and other.consistency is not None:
            self.consistency += other.consistency
        if self.flicker is not None and other.flicker is not None:
            self.flicker += other.flicker
        if self.breakdown is not None and other.breakdown is not None:
            self.breakdown += other.breakdown
        for name, moments in other.timelines.items():
            if len(self.timelines) < TIMELINES:
                self.timelines[name] = moments
        self.conventions += other.conventions
        self.video_names += other.video_names
        self.frames += other.frames
        return self

    def part(self) -> "Evaluation":
        """An empty one with the same settings, whose counts merge into this one's."""
        return Evaluation(
            self.categories,
            metrics=self.metrics,
            windows=tuple(self.vpq) or (1,),
            consistency_windows=self.consistency.windows if self.consistency is not None else (),
            short_videos=next(iter(self.vpq.values())).short_videos if self.vpq else "skip",
            unlabelled=self.unlabelled,
        )

    def sums(self, weights: Floats) -> Sums:
        """Counts of R weighted sets of the ended videos: `weights` float64 `[R, V]`."""
        sums = Sums()
        if not self.video_names:
            return sums
        size = len(self.categories)
        sums.quality = {k: weighted_quality(weights, metric.videos, size) for k, metric in self.vpq.items()}
        for encoding, stq in (("native", self.stq), ("vipseg", self.stq_vipseg)):
            if stq is not None:
                sums.association[encoding] = weighted_association(weights, stq.videos)
        if self.stq is not None:
            sums.overlap = weighted(weights, [video.overlap.astype(np.float64) for video in self.stq.videos])
        if self.tracking is not None:
            sums.hota, sums.clear, sums.identity = weighted_tracks(weights, self.tracking.per_video)
        if self.consistency is not None:
            by_window = weighted(weights, self.consistency.videos)
            sums.consistency = {k: by_window[:, i] for i, k in enumerate(self.consistency.windows)}
        if self.flicker is not None:
            sums.flicker = weighted(weights, self.flicker.videos)
        return sums

    def scores(self, weights: Floats) -> dict[str, Floats]:
        """Plain name -> values, float64 `[R]`, of R weighted sets of the ended videos: `weights` float64 `[R, V]`."""
        return scores(self.sums(weights), self.is_thing, self.metrics)

    def report(self) -> Report:
        """Over all ended videos.

        Raises:
            InputError: there is no frame to measure.
        """
        if not self.frames:
            raise InputError("There is no frame to evaluate: the ground truth holds no video with frames.")
        number = len(self.video_names)
        return Report(
            values=self._values(),
            per_category=self._per_category(),
            videos=number,
            frames=self.frames,
            conventions=self.conventions,
            per_video=self._per_video(),
            category_groups={
                name: _first(self._of_categories(np.ones((1, number)), among), 0)
                for name, among in self.category_groups.items()
            },
            video_groups=self._per_video_group(),
            charts=self._charts(),
        )

    def _per_video(self) -> dict[str, dict[str, float]]:
        rows: dict[str, dict[str, float]] = {}
        every = np.eye(len(self.video_names))
        for start in range(0, len(every), _AT_ONCE):
            names = self.video_names[start : start + _AT_ONCE]
            rows |= _rows(names, self.scores(every[start : start + _AT_ONCE]))
        return rows

    def _values(self) -> dict[str, float]:
        values = _first(self.scores(np.ones((1, len(self.video_names)))), 0)
        wanted = frozenset(self.metrics)
        if "vpq" in wanted:
            for suffix, among in (("", None), (".things", self.is_thing), (".stuff", ~self.is_thing)):
                clipped = {k: metric.counts_of("clip").stacked()[None] for k, metric in self.vpq.items()}
                found = quality_scores(clipped, among, suffix, frozenset({"vpq"}))
                values |= {"vpq_clip" + name.removeprefix("vpq"): float(value[0]) for name, value in found.items()}
        if "pq" in wanted and self.breakdown is not None:
            for size in (*SIZES, "large"):
                values[f"pq.size.{size}"] = float(mean_quality(self.breakdown.of_size(size))[0])
            for i, length in enumerate([*LENGTHS, "long"] if not self.conventions.untracked_truth else []):
                values[f"pq.length.{length}"] = float(mean_quality(self.breakdown.by_length[i])[0])
        if "hota" in wanted and self.tracking is not None:
            values["hota.class_averaged"] = self.tracking.class_averaged()["HOTA"]["HOTA"]
            values["hota.detection_averaged"] = self.tracking.detection_averaged()["HOTA"]["HOTA"]
        if self.flicker is not None:
            values["flicker.area"] = self.flicker.area()
        if "agreement" in wanted and self.breakdown is not None:
            values |= agreement_values(np.concatenate([np.zeros((0, 4)), *self.breakdown.frames]))
        for name in ("id_switches", "fragments", "mostly_tracked", "partly_tracked", "mostly_lost"):
            if name in values:
                values[name] = round(values[name])
        return values

    def _of_categories(self, weights: Floats, among: NDArray[np.bool_]) -> dict[str, Floats]:
        sums = self.sums(weights)
        values = quality_scores(sums.quality, among, "", frozenset(self.metrics))
        if "miou" in self.metrics and sums.overlap is not None:
            values["miou"] = mean_iou(sums.overlap, among)
        return values

    def _per_video_group(self) -> dict[str, dict[str, float]]:
        names = list(self.video_groups)
        if not names:
            return {}
        weights = np.array([[video in self.video_groups[name] for video in self.video_names] for name in names], float)
        rows = _rows(names, self.scores(weights))
        for categories, among in self.category_groups.items():
            rows |= _rows([f"{name}: {categories}" for name in names], self._of_categories(weights, among))
        sizes = weights.sum(axis=1).astype(int).tolist()
        for name, size in zip(names, sizes, strict=True):
            rows[name] = {"videos": size, **rows[name]}
        return rows

    def _per_category(self) -> dict[str, dict[str, float]]:
        rows: dict[int, dict[str, float]] = {}
        if 1 in self.vpq:
            counts = self.vpq[1].counts.stacked()
            pq, sq, rq = quality_parts(counts)
            for i in np.flatnonzero(self.vpq[1].counts.seen).tolist():
                rows[i] = {"pq": float(pq[i]), "sq": float(sq[i]), "rq": float(rq[i])}
                rows[i] |= {"tp": int(counts[i, 1]), "fp": int(counts[i, 2]), "fn": int(counts[i, 3])}
            if "vpq" in self.metrics and set(self.vpq) >= {1, 2, 4, 6}:
                by_window = [quality_parts(self.vpq[k].counts.stacked())[0] for k in (1, 2, 4, 6)]
                for i, row in rows.items():
                    row["vpq.mean_1246"] = float(np.mean([of_category[i] for of_category in by_window]))
        if self.stq is not None:
            iou = self.stq.category_iou()
            for i in {*rows, *np.flatnonzero(np.isfinite(iou)).tolist()}:
                rows.setdefault(i, {})["iou"] = float(iou[i])
        if self.tracking is not None:
            for i, tracks in self.tracking.per_category.items():
                result = tracks.result()
                rows.setdefault(i, {}).update(hota=result["HOTA"]["HOTA"], idf1=result["Identity"]["IDF1"])
        names = [category.name for category in self.categories]
        return {names[i] if names.count(names[i]) == 1 else f"{names[i]} ({i})": row for i, row in sorted(rows.items())}

    def _charts(self) -> Charts | None:
        if self.breakdown is None or self.stq is None:
            return None
        by_area = self.breakdown.by_area.sum(axis=1)
        names = tuple(category.name for category in self.categories)
        return Charts(names, self.stq.confusion, by_area, self.breakdown.by_age, self.timelines)

    def _note_moments(self, table: FrameTable) -> None:
        events = find_events([table], 1)
        partner = dict(zip(events.matched_gt.tolist(), events.matched_pred.tolist(), strict=True))
        shown = self.is_thing[table.gt.categories] & ~table.gt.crowd
        self._moments += [
            TrackMoment(track, category, self._video_frames, partner.get(track, 0))
            for track, category in zip(table.gt.ids[shown].tolist(), table.gt.categories[shown].tolist(), strict=True)
        ]

    def paired(
        self, gt: Iterable[PanopticFrame], pred: Iterable[PanopticFrame]
    ) -> Iterator[tuple[PanopticFrame, PanopticFrame | None]]:
        """Frames of one index together, None where the prediction lacks one; counts predictions left over."""
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
    metrics: Collection[str] = PANOPTIC_METRICS,
    windows: Sequence[int] = WINDOWS,
    short_videos: ShortVideos = "skip",
) -> Report:
    """Evaluates one video; for several, use an `Evaluation`. See `Evaluation.add_video` for arguments and errors."""
    evaluation = Evaluation(gt_categories, metrics=metrics, windows=windows, short_videos=short_videos)
    evaluation.add_video(gt_frames, pred_frames, pred_categories)
    return evaluation.report()


def match_categories(pred: Vocabulary, gt: Vocabulary) -> NDArray[np.int64]:
    """For every predicted category the index of the ground-truth category of that name, -1 where there is none.

    A category's own name goes before synonyms, and letter case does not matter. Two equal vocabularies match in their
    order, also where they give one name twice.

    Returns:
        int64 `[len(pred)]`.
    """
    if pred.checksum == gt.checksum:
        return np.arange(len(gt))
    owners: dict[str, int] = {}
    for part in (slice(0, 1), slice(1, None)):
        for i, category in enumerate(gt):
            for name in category.names[part]:
                owners.setdefault(name.casefold(), i)
    found = [next((owners[n.casefold()] for n in category.names if n.casefold() in owners), -1) for category in pred]
    return np.array(found, dtype=np.int64)


def _labelled(frame: PanopticFrame, mapping: NDArray[np.int64], following: int) -> tuple[LabelledMap, int]:
    """The frame, and the number for the next segment without a track; `following` is that for the first."""
    rows, tracks = [], []
    for segment in frame.segments:
        if segment.track is None:
            tracks.append(following)
            following += 1
        else:
            tracks.append(segment.track)
        rows.append((segment.id, int(mapping[segment.category]), int(segment.crowd)))
    return LabelledMap(frame.id_map, Segments.of(rows), np.array(tracks, dtype=np.int64)), following


def _marked(categories: Vocabulary, members: Collection[str], group: str) -> NDArray[np.bool_]:
    known = {name.casefold() for category in categories for name in category.names}
    for name in members:
        if name.casefold() not in known:
            raise InputError(f"The group {group!r} names the category {name!r}, which the ground truth does not know.")
    wanted = {name.casefold() for name in members}
    return np.array([any(name.casefold() in wanted for name in category.names) for category in categories])


def _names(categories: Vocabulary) -> str:
    shown = ", ".join(category.name for category in categories.categories[:3])
    return f"{shown}, …" if len(categories) > 3 else shown


def _first(values: Mapping[str, Floats], row: int) -> dict[str, float]:
    return {name: float(value[row]) for name, value in values.items()}


def _rows(names: Sequence[str], values: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    return {name: _first(values, row) for row, name in enumerate(names)}
