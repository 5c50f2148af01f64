"""HOTA, CLEAR (MOTSA, identity switches) and Identity (IDF1) on segments of things.

Sources: Luiten et al., HOTA (IJCV 2021), sections 4 and 5; Bernardin and Stiefelhagen, CLEAR MOT (2008) with mask IoU
as in Voigtlaender et al., MOTS (CVPR 2019), section 3; Ristani et al., Performance Measures and a Data Set for
Multi-Target, Multi-Camera Tracking (2016). Conventions (thresholds, ties, empty videos) are those of TrackEval.

Detections are the thing segments of both sides, ground-truth crowds left out and nothing else filtered; similarity is
mask IoU, void not excepted. All things together are one class (`class_agnostic`), or each category is its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eval.contingency import FrameTable, Ints

Floats = NDArray[np.float64]

ALPHAS: Floats = np.arange(0.05, 0.99, 0.05)
"""The 19 localisation thresholds of HOTA."""
_THRESHOLD = 0.5
"""Of CLEAR and Identity."""
_EPSILON = float(np.finfo("float").eps)
_ALMOST_ZERO = 1e-10


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The detections of one frame and how much they overlap."""

    gt: Ints
    """int64 `[G]`: track numbers, 0 .. number of tracks - 1."""
    pred: Ints
    """int64 `[P]`."""
    similarity: Floats
    """float64 `[G, P]`: mask IoU."""


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    """The detections of one video."""

    frames: list[Detections]
    length: int
    """Frames of the video, also those without detections."""
    gt_tracks: int
    pred_tracks: int

    @classmethod
    def of(cls, tables: Iterable[FrameTable], chosen: NDArray[np.bool_]) -> "Sequence":
        """The detections of the categories that `chosen` (bool `[C]`) marks."""
        gt_numbers: dict[int, int] = {}
        pred_numbers: dict[int, int] = {}
        frames = []
        length = 0
        for table in tables:
            length += 1
            gt = np.flatnonzero(chosen[table.gt.categories] & ~table.gt.crowd)
            pred = np.flatnonzero(chosen[table.pred.categories])
            if not len(gt) and not len(pred):
                continue
            shared = np.zeros((len(table.gt), len(table.pred)))
            inside = (table.pair_gt >= 0) & (table.pair_pred >= 0)
            shared[table.pair_gt[inside], table.pair_pred[inside]] = table.pair_pixels[inside]
            shared = shared[np.ix_(gt, pred)]
            union = table.gt_areas[gt][:, None] + table.pred_areas[pred][None, :] - shared
            numbers = [gt_numbers.setdefault(i, len(gt_numbers)) for i in table.gt.ids[gt].tolist()]
            others = [pred_numbers.setdefault(i, len(pred_numbers)) for i in table.pred.ids[pred].tolist()]
            frames.append(
                Detections(np.array(numbers, dtype=np.int64), np.array(others, dtype=np.int64), shared / union)
            )
        return cls(frames, length, len(gt_numbers), len(pred_numbers))


@dataclass(slots=True, eq=False)
class HotaCounts:
    """Per threshold; float64 `[19]` each. Counts of parts add up to those of the whole."""

    tp: Floats = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    fn: Floats = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    fp: Floats = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    association: Floats = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    """Sum over the TPs of A(c)."""
    association_recall: Floats = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    association_precision: Floats = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    localisation: Floats = field(default_factory=lambda: np.zeros(len(ALPHAS)))
    """Sum over the TPs of the similarity."""

    def __iadd__(self, other: "HotaCounts") -> "HotaCounts":
        _add(self, other)
        return self

    def arrays(self) -> dict[str, Floats]:
        """HOTA and its parts at every threshold."""
        found = np.maximum(1, self.tp)
        detection = self.tp / np.maximum(1, self.tp + self.fn + self.fp)
        recall = self.tp / np.maximum(1, self.tp + self.fn)
        association = self.association / found
        return {
            "HOTA": np.sqrt(detection * association),
            "DetA": detection,
            "AssA": association,
            "DetRe": recall,
            "DetPr": self.tp / np.maximum(1, self.tp + self.fp),
            "AssRe": self.association_recall / found,
            "AssPr": self.association_precision / found,
            "LocA": np.maximum(_ALMOST_ZERO, self.localisation) / np.maximum(_ALMOST_ZERO, self.tp),
            "OWTA": np.sqrt(recall * association),
            "HOTA_TP": self.tp,
            "HOTA_FN": self.fn,
            "HOTA_FP": self.fp,
        }

    def result(self) -> dict[str, float]:
        """Means over the thresholds, and the values at the lowest one as `HOTA(0)`, `LocA(0)`, `HOTALocA(0)`."""
        arrays = self.arrays()
        values = {name: float(array.mean()) for name, array in arrays.items()}
        values["HOTA(0)"], values["LocA(0)"] = float(arrays["HOTA"][0]), float(arrays["LocA"][0])
        values["HOTALocA(0)"] = values["HOTA(0)"] * values["LocA(0)"]
        return values


@dataclass(slots=True)
class ClearCounts:
    """Counts of CLEAR; those of parts add up to those of the whole."""

    tp: int = 0
    fn: int = 0
    fp: int = 0
    switches: int = 0
    """A ground-truth track matched to another predicted track than the last time it was matched."""
    mostly_tracked: int = 0
    partly_tracked: int = 0
    mostly_lost: int = 0
    fragments: int = 0
    """Interruptions of matched ground-truth tracks."""
    frames: int = 0
    similarity: float = 0.0
    """Sum over the TPs."""

    def __iadd__(self, other: "ClearCounts") -> "ClearCounts":
        _add(self, other)
        return self

    def result(self) -> dict[str, float]:
        """In TrackEval's names; with masks `MOTA` is MOTSA and `sMOTA` is sMOTSA."""
        truth = max(1, self.tp + self.fn)
        tracks = max(1, self.mostly_tracked + self.partly_tracked + self.mostly_lost)
        logarithm = float(np.log10(self.switches)) if self.switches else 0.0
        return {
            "MOTA": (self.tp - self.fp - self.switches) / truth,
            "MOTP": self.similarity / max(1, self.tp),
            "MODA": (self.tp - self.fp) / truth,
            "sMOTA": (self.similarity - self.fp - self.switches) / truth,
            "MOTAL": (self.tp - self.fp - logarithm) / truth,
            "CLR_Re": self.tp / truth,
            "CLR_Pr": self.tp / max(1, self.tp + self.fp),
            "CLR_F1": self.tp / max(1, self.tp + 0.5 * self.fn + 0.5 * self.fp),
            "MTR": self.mostly_tracked / tracks,
            "PTR": self.partly_tracked / tracks,
            "MLR": self.mostly_lost / tracks,
            "FP_per_frame": self.fp / max(1, self.frames),
            "CLR_TP": self.tp,
            "CLR_FN": self.fn,
            "CLR_FP": self.fp,
            "IDSW": self.switches,
            "MT": self.mostly_tracked,
            "PT": self.partly_tracked,
            "ML": self.mostly_lost,
            "Frag": self.fragments,
            "CLR_Frames": self.frames,
            "MOTP_sum": self.similarity,
        }


@dataclass(slots=True)
class IdentityCounts:
    """Counts of Identity; those of parts add up to those of the whole."""

    tp: int = 0
    fn: int = 0
    fp: int = 0

    def __iadd__(self, other: "IdentityCounts") -> "IdentityCounts":
        _add(self, other)
        return self

    def result(self) -> dict[str, float]:
        """In TrackEval's names."""
        return {
            "IDF1": self.tp / max(1.0, self.tp + 0.5 * self.fp + 0.5 * self.fn),
            "IDR": self.tp / max(1.0, self.tp + self.fn),
            "IDP": self.tp / max(1.0, self.tp + self.fp),
            "IDTP": self.tp,
            "IDFN": self.fn,
            "IDFP": self.fp,
        }


_COUNTED = frozenset(
    {"HOTA_TP", "HOTA_FN", "HOTA_FP", "CLR_TP", "CLR_FN", "CLR_FP", "CLR_Frames", "IDTP", "IDFN", "IDFP"}
    | {"IDSW", "MT", "PT", "ML", "Frag"}
)
"""Results that are numbers of something, which an average over categories sums."""


def _add(total: Any, part: Any) -> None:
    for entry in fields(total):
        value = getattr(total, entry.name)
        value += getattr(part, entry.name)
        setattr(total, entry.name, value)


def _assign(score: Floats) -> tuple[Ints, Ints]:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(score, maximize=True)
    return rows, columns


def _track_lengths(sequence: Sequence) -> tuple[Floats, Floats]:
    gt, pred = np.zeros(sequence.gt_tracks), np.zeros(sequence.pred_tracks)
    for frame in sequence.frames:
        gt[frame.gt] += 1
        pred[frame.pred] += 1
    return gt, pred


def count_hota(sequence: Sequence) -> HotaCounts:
    """HOTA's counts of one video."""
    counts = HotaCounts()
    gt_lengths, pred_lengths = _track_lengths(sequence)
    potential = np.zeros((sequence.gt_tracks, sequence.pred_tracks))
    for frame in sequence.frames:
        together = frame.similarity
        rivals = together.sum(0)[None, :] + together.sum(1)[:, None] - together
        potential[np.ix_(frame.gt, frame.pred)] += np.divide(
            together, rivals, out=np.zeros_like(together), where=rivals > _EPSILON
        )
    alignment = potential / (gt_lengths[:, None] + pred_lengths[None, :] - potential)
    matches = np.zeros((len(ALPHAS), sequence.gt_tracks, sequence.pred_tracks))
    for frame in sequence.frames:
        counts.fn += len(frame.gt)
        counts.fp += len(frame.pred)
        rows, columns = _assign(alignment[np.ix_(frame.gt, frame.pred)] * frame.similarity)
        similarity = frame.similarity[rows, columns]
        hit = similarity[None, :] >= ALPHAS[:, None] - _EPSILON
        counts.tp += hit.sum(axis=1)
        counts.fn -= hit.sum(axis=1)
        counts.fp -= hit.sum(axis=1)
        counts.localisation += (hit * similarity).sum(axis=1)
        matches[:, frame.gt[rows], frame.pred[columns]] += hit
    union = np.maximum(1, gt_lengths[:, None] + pred_lengths[None, :] - matches)
    counts.association = (matches * matches / union).sum(axis=(1, 2))
    counts.association_recall = (matches * matches / np.maximum(1, gt_lengths[:, None])).sum(axis=(1, 2))
    counts.association_precision = (matches * matches / np.maximum(1, pred_lengths[None, :])).sum(axis=(1, 2))
    return counts


def count_clear(sequence: Sequence) -> ClearCounts:
    """CLEAR's counts of one video."""
    counts = ClearCounts()
    if not sequence.gt_tracks or not sequence.pred_tracks:
        # The reference leaves here, before it counts frames.
        counts.fp = sum(len(frame.pred) for frame in sequence.frames)
        counts.fn = sum(len(frame.gt) for frame in sequence.frames)
        counts.mostly_lost = sequence.gt_tracks
        return counts
    counts.frames = sequence.length
    seen, matched = np.zeros(sequence.gt_tracks), np.zeros(sequence.gt_tracks)
    begun = np.zeros(sequence.gt_tracks, dtype=np.int64)
    last = np.full(sequence.gt_tracks, -1)
    just_now = np.full(sequence.gt_tracks, -1)
    for frame in sequence.frames:
        if not len(frame.gt):
            counts.fp += len(frame.pred)
            continue
        seen[frame.gt] += 1
        if not len(frame.pred):
            counts.fn += len(frame.gt)
            continue
        goes_on = just_now[frame.gt][:, None] == frame.pred[None, :]
        score = np.where(frame.similarity < _THRESHOLD - _EPSILON, 0.0, 1000.0 * goes_on + frame.similarity)
        rows, columns = _assign(score)
        hit = score[rows, columns] > _EPSILON
        rows, columns = rows[hit], columns[hit]
        gt, pred = frame.gt[rows], frame.pred[columns]
        counts.switches += int(np.sum((last[gt] >= 0) & (last[gt] != pred)))
        matched[gt] += 1
        before = just_now < 0
        last[gt] = pred
        just_now[:] = -1
        just_now[gt] = pred
        begun += before & (just_now >= 0)
        counts.tp += len(gt)
        counts.fn += len(frame.gt) - len(gt)
        counts.fp += len(frame.pred) - len(gt)
        counts.similarity += float(frame.similarity[rows, columns].sum())
    share = matched[seen > 0] / seen[seen > 0]
    counts.mostly_tracked = int(np.sum(share > 0.8))
    counts.partly_tracked = int(np.sum(share >= 0.2)) - counts.mostly_tracked
    counts.mostly_lost = sequence.gt_tracks - counts.mostly_tracked - counts.partly_tracked
    counts.fragments = int(np.sum(begun[begun > 0] - 1))
    return counts


def count_identity(sequence: Sequence) -> IdentityCounts:
    """Identity's counts of one video: one bijection of tracks for the whole of it."""
    together = np.zeros((sequence.gt_tracks, sequence.pred_tracks))
    for frame in sequence.frames:
        together[np.ix_(frame.gt, frame.pred)] += frame.similarity >= _THRESHOLD
    rows, columns = _assign(together)
    hits = int(together[rows, columns].sum())
    truth = sum(len(frame.gt) for frame in sequence.frames)
    predicted = sum(len(frame.pred) for frame in sequence.frames)
    return IdentityCounts(tp=hits, fn=truth - hits, fp=predicted - hits)


@dataclass(slots=True, eq=False)
class TrackCounts:
    """All three families together."""

    hota: HotaCounts = field(default_factory=HotaCounts)
    clear: ClearCounts = field(default_factory=ClearCounts)
    identity: IdentityCounts = field(default_factory=IdentityCounts)

    @classmethod
    def of(cls, sequence: Sequence) -> "TrackCounts":
        """Of one video."""
        return cls(count_hota(sequence), count_clear(sequence), count_identity(sequence))

    def __iadd__(self, other: "TrackCounts") -> "TrackCounts":
        _add(self, other)
        return self

    def result(self) -> dict[str, dict[str, float]]:
        """`HOTA`, `CLEAR`, `Identity` -> values."""
        return {"HOTA": self.hota.result(), "CLEAR": self.clear.result(), "Identity": self.identity.result()}


class ObjectTracking:
    """Tracking metrics over videos, class-agnostic and per category."""

    def __init__(self, is_thing: NDArray[np.bool_]) -> None:
        """`is_thing`: bool `[C]`."""
        self._is_thing = is_thing
        self._tables: list[FrameTable] = []
        self.class_agnostic = TrackCounts()
        self.per_category: dict[int, TrackCounts] = {}
        """Of the things that either side showed."""
        self.per_video: list[TrackCounts] = []
        """Class-agnostic."""

    def add(self, table: FrameTable) -> None:
        """Takes the next frame of the video. Tables (a few kilobytes each) are kept until its end: HOTA looks ahead."""
        self._tables.append(table)

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        counts = TrackCounts.of(Sequence.of(self._tables, self._is_thing))
        self.per_video.append(counts)
        self.class_agnostic += counts
        sides = [side for table in self._tables for side in (table.gt, table.pred)]
        present = np.unique(np.concatenate([side.categories for side in sides])) if sides else np.zeros(0, np.int64)
        for category in present[self._is_thing[present]].tolist():
            only = np.zeros_like(self._is_thing)
            only[category] = True
            sequence = Sequence.of(self._tables, only)
            # Crowds alone make a category present without any detection.
            if sequence.gt_tracks or sequence.pred_tracks:
                self.per_category.setdefault(category, TrackCounts())
                self.per_category[category] += TrackCounts.of(sequence)
        self._tables = []

    def __iadd__(self, other: "ObjectTracking") -> "ObjectTracking":
        self.class_agnostic += other.class_agnostic
        self.per_video += other.per_video
        for category, counts in other.per_category.items():
            self.per_category.setdefault(category, TrackCounts())
            self.per_category[category] += counts
        return self

    def class_averaged(self) -> dict[str, dict[str, float]]:
        """Means of the values (sums of the counts) over the categories that were seen."""
        results = [self.per_category[category].result() for category in sorted(self.per_category)]
        return {
            family: {
                name: sum(r[family][name] for r in results) / (1 if name in _COUNTED else max(1, len(results)))
                for name in values
            }
            for family, values in TrackCounts().result().items()
        }

    def detection_averaged(self) -> dict[str, dict[str, float]]:
        """Values of the counts summed over the categories: every detection has the same weight."""
        total = TrackCounts()
        for category in sorted(self.per_category):
            total += self.per_category[category]
        return total.result()
