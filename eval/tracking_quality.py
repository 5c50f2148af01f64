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
class Sequence:
    """The detections of one video and which of them overlap; `[G]` ground truth, `[P]` predicted, `[N]` pairs.

    Both sides and the pairs are in order of their frames, and within a frame in the order of its table.
    """

    length: int
    """Frames of the video, also those without detections."""
    gt_frame: Ints
    """int64 `[G]`: number of the frame."""
    gt_track: Ints
    """int64 `[G]`: track ids."""
    gt_category: Ints
    pred_frame: Ints
    pred_track: Ints
    pred_category: Ints
    pair_gt: Ints
    """int64 `[N]`: index into the ground-truth detections."""
    pair_pred: Ints
    """int64 `[N]`: index into the predicted detections."""
    similarity: Floats
    """float64 `[N]`: mask IoU, above 0."""

    @classmethod
    def of(cls, tables: Iterable[FrameTable], chosen: NDArray[np.bool_], *, drop_ignored: bool = False) -> "Sequence":
        """The detections of the categories that `chosen` (bool `[C]`) marks.

        Args:
            tables: the frames of the video.
            drop_ignored: as TrackEval does for MOTS: predictions that match nothing and lie mostly in crowds go.
        """
        return cls.joined([Detections.of(table, chosen, drop_ignored) for table in tables])

    @classmethod
    def joined(cls, rows: "list[Detections]") -> "Sequence":
        """From the detections of every frame."""
        gt_before = np.cumsum([0, *(len(row.gt_track) for row in rows)])
        pred_before = np.cumsum([0, *(len(row.pred_track) for row in rows)])
        empty, none = np.zeros(0, np.int64), np.zeros(0)
        return cls(
            length=len(rows),
            gt_frame=np.repeat(np.arange(len(rows)), [len(row.gt_track) for row in rows]),
            gt_track=np.concatenate([empty, *(row.gt_track for row in rows)]),
            gt_category=np.concatenate([empty, *(row.gt_category for row in rows)]),
            pred_frame=np.repeat(np.arange(len(rows)), [len(row.pred_track) for row in rows]),
            pred_track=np.concatenate([empty, *(row.pred_track for row in rows)]),
            pred_category=np.concatenate([empty, *(row.pred_category for row in rows)]),
            pair_gt=np.concatenate(
                [empty, *(r.pair_gt.astype(np.int64) + n for r, n in zip(rows, gt_before, strict=False))]
            ),
            pair_pred=np.concatenate(
                [empty, *(r.pair_pred.astype(np.int64) + n for r, n in zip(rows, pred_before, strict=False))]
            ),
            similarity=np.concatenate([none, *(row.similarity for row in rows)]),
        )

    def of_category(self, category: int) -> "Sequence":
        """The detections of one category only, on both sides."""
        gt, pred = self.gt_category == category, self.pred_category == category
        pairs = gt[self.pair_gt] & pred[self.pair_pred]
        return Sequence(
            self.length,
            self.gt_frame[gt],
            self.gt_track[gt],
            self.gt_category[gt],
            self.pred_frame[pred],
            self.pred_track[pred],
            self.pred_category[pred],
            (np.cumsum(gt) - 1)[self.pair_gt[pairs]],
            (np.cumsum(pred) - 1)[self.pair_pred[pairs]],
            self.similarity[pairs],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The part of a `Sequence` that one frame gives: it is kept to the end of a video, so its indices are small."""

    gt_track: Ints
    gt_category: Ints
    pred_track: Ints
    pred_category: Ints
    pair_gt: NDArray[np.uint16]
    """uint16 `[N]`: index into the detections of the frame."""
    pair_pred: NDArray[np.uint16]
    similarity: Floats

    @classmethod
    def of(cls, table: FrameTable, chosen: NDArray[np.bool_], drop_ignored: bool) -> "Detections":
        """See `Sequence.of`."""
        gt = chosen[table.gt.categories] & ~table.gt.crowd
        pred = chosen[table.pred.categories]
        inside = (table.pair_gt >= 0) & (table.pair_pred >= 0)
        g, p, shared = table.pair_gt[inside], table.pair_pred[inside], table.pair_pixels[inside]
        similarity = shared / (table.gt_areas[g] + table.pred_areas[p] - shared)
        if drop_ignored and table.gt.crowd.any():
            in_crowd = table.gt.crowd[g]
            covered = np.bincount(p[in_crowd], weights=shared[in_crowd], minlength=len(pred))
            # A detection is matched within its category; segments of a map don't overlap, so the halves decide.
            same = gt[g] & (table.gt.categories[g] == table.pred.categories[p])
            matched = np.zeros(len(pred), dtype=bool)
            matched[p[same & (similarity >= _THRESHOLD - _EPSILON)]] = True
            pred = pred & (matched | (covered <= (0.5 + _EPSILON) * table.pred_areas))
        kept = gt[g] & pred[p]
        return cls(
            table.gt.ids[gt],
            table.gt.categories[gt],
            table.pred.ids[pred],
            table.pred.categories[pred],
            (np.cumsum(gt) - 1)[g[kept]].astype(np.uint16),
            (np.cumsum(pred) - 1)[p[kept]].astype(np.uint16),
            similarity[kept],
        )


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

    def stacked(self) -> Floats:
        """float64 `[5, 19]`: TP, FN, FP, association, localisation; see `hota_parts`."""
        return np.stack([self.tp, self.fn, self.fp, self.association, self.localisation])

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

    def stacked(self) -> Floats:
        """float64 `[9]`; see `clear_parts`."""
        return np.array([getattr(self, name) for name in CLEAR_COUNTS], dtype=np.float64)

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


CLEAR_COUNTS = (
    "tp",
    "fn",
    "fp",
    "similarity",
    "switches",
    "fragments",
    "mostly_tracked",
    "partly_tracked",
    "mostly_lost",
)
"""Fields of `ClearCounts` in the order of `ClearCounts.stacked`."""


def hota_parts(counts: Floats) -> dict[str, Floats]:
    """`hota`, `deta`, `assa`, `loca`: means over the thresholds, float64 `[...]`, from `HotaCounts.stacked` `[..., 5,
    19]`."""
    tp, fn, fp, association, localisation = np.moveaxis(counts, -2, 0)
    detection = tp / np.maximum(1, tp + fn + fp)
    associated = association / np.maximum(1, tp)
    located = np.maximum(_ALMOST_ZERO, localisation) / np.maximum(_ALMOST_ZERO, tp)
    return {
        "hota": np.sqrt(detection * associated).mean(axis=-1),
        "deta": detection.mean(axis=-1),
        "assa": associated.mean(axis=-1),
        "loca": located.mean(axis=-1),
    }


def clear_parts(counts: Floats) -> dict[str, Floats]:
    """`motsa`, `smotsa` and the numbers of events, float64 `[...]`, from `ClearCounts.stacked` `[..., 9]`."""
    tp, fn, fp, similarity, switches, fragments, tracked, partly, lost = np.moveaxis(counts, -1, 0)
    truth = np.maximum(1, tp + fn)
    return {
        "motsa": (tp - fp - switches) / truth,
        "smotsa": (similarity - fp - switches) / truth,
        "id_switches": switches,
        "fragments": fragments,
        "mostly_tracked": tracked,
        "partly_tracked": partly,
        "mostly_lost": lost,
    }


def identity_parts(counts: Floats) -> dict[str, Floats]:
    """`idf1`, `idr`, `idp`, float64 `[...]`, from (TP, FN, FP) `[..., 3]`."""
    tp, fn, fp = np.moveaxis(counts, -1, 0)
    return {
        "idf1": tp / np.maximum(1.0, tp + 0.5 * fp + 0.5 * fn),
        "idr": tp / np.maximum(1.0, tp + fn),
        "idp": tp / np.maximum(1.0, tp + fp),
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


class _Frames:
    """The pairs of a sequence frame by frame, to be matched one to one."""

    def __init__(self, sequence: Sequence, pairs: Ints) -> None:
        """`pairs`: int64 `[M]`, ascending: the pairs that may match."""
        self._sequence, self._pairs = sequence, pairs
        gt, pred = sequence.pair_gt[pairs], sequence.pair_pred[pairs]
        frame = sequence.gt_frame[gt]
        rival = (np.bincount(gt, minlength=1)[gt] > 1) | (np.bincount(pred, minlength=1)[pred] > 1)
        contested = np.zeros(sequence.length, dtype=bool)
        contested[frame[rival]] = True
        self.settled = pairs[~contested[frame]]
        """Pairs of the frames in which nothing overlaps two others: they are the one best matching, without search."""
        self.contested = np.flatnonzero(contested)
        """The other frames."""
        self._frame = frame

    def __getitem__(self, frame: int) -> tuple[Ints, Ints, Ints, tuple[int, int]]:
        """Of a frame: its pairs, their rows and columns in its matrix, and the shape of the matrix."""
        first, last = np.searchsorted(self._frame, (frame, frame + 1))
        pairs = self._pairs[first:last]
        gt_first, gt_last = np.searchsorted(self._sequence.gt_frame, (frame, frame + 1))
        pred_first, pred_last = np.searchsorted(self._sequence.pred_frame, (frame, frame + 1))
        return (
            pairs,
            self._sequence.pair_gt[pairs] - gt_first,
            self._sequence.pair_pred[pairs] - pred_first,
            (int(gt_last - gt_first), int(pred_last - pred_first)),
        )


def _chosen(pairs: Ints, rows: Ints, columns: Ints, score: Floats, shape: tuple[int, int]) -> Ints:
    """Of one frame the pairs that the best matching takes; `score` is that of each pair, others have 0."""
    matrix = np.zeros(shape)
    matrix[rows, columns] = score
    partner = np.full(shape[0], -1)
    best_rows, best_columns = _assign(matrix)
    partner[best_rows] = best_columns
    taken: Ints = pairs[partner[rows] == columns]
    return taken


def count_hota(sequence: Sequence) -> HotaCounts:
    """HOTA's counts of one video."""
    counts = HotaCounts()
    counts.fn += len(sequence.gt_track)
    counts.fp += len(sequence.pred_track)
    _, gt_number, gt_lengths = np.unique(sequence.gt_track, return_inverse=True, return_counts=True)
    pred_tracks, pred_number, pred_lengths = np.unique(sequence.pred_track, return_inverse=True, return_counts=True)
    if not len(sequence.similarity):
        return counts
    # Pairs of tracks that ever meet; there are far fewer than pairs of tracks.
    tracks, pair_track = np.unique(
        gt_number[sequence.pair_gt] * len(pred_tracks) + pred_number[sequence.pair_pred], return_inverse=True
    )
    ends = gt_lengths[tracks // len(pred_tracks)], pred_lengths[tracks % len(pred_tracks)]
    frames = _Frames(sequence, np.arange(len(sequence.similarity)))
    share = np.ones(len(sequence.similarity))
    for frame in frames.contested.tolist():
        pairs, rows, columns, shape = frames[frame]
        together = np.zeros(shape)
        together[rows, columns] = sequence.similarity[pairs]
        rivals = together.sum(0)[None, :] + together.sum(1)[:, None] - together
        share[pairs] = together[rows, columns] / rivals[rows, columns]
    potential = np.bincount(pair_track, weights=share)
    score = (potential / (ends[0] + ends[1] - potential))[pair_track] * sequence.similarity
    found = [frames.settled]
    for frame in frames.contested.tolist():
        pairs, rows, columns, shape = frames[frame]
        found.append(_chosen(pairs, rows, columns, score[pairs], shape))
    matched = np.concatenate(found)
    similarity = sequence.similarity[matched]
    hit = similarity[None, :] >= ALPHAS[:, None] - _EPSILON
    counts.tp += hit.sum(axis=1)
    counts.fn -= hit.sum(axis=1)
    counts.fp -= hit.sum(axis=1)
    counts.localisation += (hit * similarity).sum(axis=1)
    matches = np.stack([np.bincount(pair_track[matched], weights=row, minlength=len(tracks)) for row in hit])
    union = np.maximum(1, ends[0] + ends[1] - matches)
    counts.association = (matches * matches / union).sum(axis=1)
    counts.association_recall = (matches * matches / np.maximum(1, ends[0])).sum(axis=1)
    counts.association_precision = (matches * matches / np.maximum(1, ends[1])).sum(axis=1)
    return counts


def clear_matches(sequence: Sequence) -> Ints:
    """int64 `[M]`: the pairs that CLEAR matches, frame by frame: those of IoU ≥ 1/2, where several would do (which
    of panoptic maps only halves can) the one that was matched in the frame before."""
    possible = np.flatnonzero(sequence.similarity >= _THRESHOLD - _EPSILON)
    frames = _Frames(sequence, possible)
    if not len(frames.contested):
        return frames.settled
    gt_of, pred_of = sequence.gt_track[sequence.pair_gt], sequence.pred_track[sequence.pair_pred]
    # Frames in which one side has nothing leave the memory of the frame before as it was.
    both = np.intersect1d(sequence.gt_frame, sequence.pred_frame)
    settled_frame = sequence.gt_frame[sequence.pair_gt[frames.settled]]
    found: dict[int, Ints] = {}
    for frame in frames.contested.tolist():
        at = int(np.searchsorted(both, frame))
        before: Ints = np.zeros(0, np.int64)
        if at:
            earlier = int(both[at - 1])
            first, last = np.searchsorted(settled_frame, (earlier, earlier + 1))
            before = found.get(earlier, frames.settled[first:last])
        partner = dict(zip(gt_of[before].tolist(), pred_of[before].tolist(), strict=True))
        pairs, rows, columns, shape = frames[frame]
        goes_on = [partner.get(gt) == pred for gt, pred in zip(gt_of[pairs], pred_of[pairs], strict=True)]
        score = 1000.0 * np.array(goes_on) + sequence.similarity[pairs]
        found[frame] = _chosen(pairs, rows, columns, score, shape)
    return np.sort(np.concatenate([frames.settled, *found.values()]))


def count_clear(sequence: Sequence) -> ClearCounts:
    """CLEAR's counts of one video."""
    counts = ClearCounts()
    gt_tracks, number, seen = np.unique(sequence.gt_track, return_inverse=True, return_counts=True)
    if not len(sequence.gt_track) or not len(sequence.pred_track):
        # The reference leaves here, before it counts frames.
        counts.fp, counts.fn, counts.mostly_lost = len(sequence.pred_track), len(sequence.gt_track), len(gt_tracks)
        return counts
    matches = clear_matches(sequence)
    counts.frames = sequence.length
    counts.tp = len(matches)
    counts.fn, counts.fp = len(sequence.gt_track) - counts.tp, len(sequence.pred_track) - counts.tp
    counts.similarity = float(sequence.similarity[matches].sum())
    share = np.bincount(number[sequence.pair_gt[matches]], minlength=len(gt_tracks)) / seen
    counts.mostly_tracked = int(np.sum(share > 0.8))
    counts.partly_tracked = int(np.sum(share >= 0.2)) - counts.mostly_tracked
    counts.mostly_lost = len(gt_tracks) - counts.mostly_tracked - counts.partly_tracked
    by_track = matches[np.argsort(number[sequence.pair_gt[matches]], kind="stable")]
    gt, pred = sequence.gt_track[sequence.pair_gt[by_track]], sequence.pred_track[sequence.pair_pred[by_track]]
    both = np.intersect1d(sequence.gt_frame, sequence.pred_frame)
    step = np.searchsorted(both, sequence.gt_frame[sequence.pair_gt[by_track]])
    same = gt[1:] == gt[:-1]
    counts.switches = int(np.sum(same & (pred[1:] != pred[:-1])))
    counts.fragments = int(np.sum(same & (step[1:] > step[:-1] + 1)))
    return counts


def count_identity(sequence: Sequence) -> IdentityCounts:
    """Identity's counts of one video: one bijection of tracks for the whole of it."""
    close = sequence.similarity >= _THRESHOLD
    gts, g = np.unique(sequence.gt_track[sequence.pair_gt[close]], return_inverse=True)
    preds, p = np.unique(sequence.pred_track[sequence.pair_pred[close]], return_inverse=True)
    together = np.zeros((len(gts), len(preds)))
    np.add.at(together, (g, p), 1)
    rows, columns = _assign(together)
    hits = int(together[rows, columns].sum())
    return IdentityCounts(tp=hits, fn=len(sequence.gt_track) - hits, fp=len(sequence.pred_track) - hits)


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

    def __init__(self, is_thing: NDArray[np.bool_], *, drop_ignored: bool = False) -> None:
        """`is_thing`: bool `[C]`; `drop_ignored` as in `Sequence.of`."""
        self._is_thing = is_thing
        self._drop_ignored = drop_ignored
        self._rows: list[Detections] = []
        self.class_agnostic = TrackCounts()
        self.per_category: dict[int, TrackCounts] = {}
        """Of the things that either side showed."""
        self.per_video: list[TrackCounts] = []
        """Class-agnostic."""

    def add(self, table: FrameTable) -> None:
        """Takes the next frame of the video. Its things (about a kilobyte) are kept until the end: HOTA looks ahead."""
        self._rows.append(Detections.of(table, self._is_thing, self._drop_ignored))

    def end_video(self) -> None:
        """Ends the video; the next frame begins another."""
        sequence = Sequence.joined(self._rows)
        self._rows = []
        counts = TrackCounts.of(sequence)
        self.per_video.append(counts)
        self.class_agnostic += counts
        # Crowds alone make a category present without any detection.
        for category in np.union1d(sequence.gt_category, sequence.pred_category).tolist():
            self.per_category.setdefault(category, TrackCounts())
            self.per_category[category] += TrackCounts.of(sequence.of_category(category))

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
