"""AP and AR of instance tracks.

Source: Yang et al., Video Instance Segmentation (ICCV 2019), section 4, and its evaluator (youtube_vis's `ytvoseval`),
which is COCO's with spatio-temporal masks. Tracks may overlap; each has one score.

- IoU of two tracks = Σ over the frames of their common pixels / Σ over the frames of the pixels of either. Against a
  crowd the divisor is the predicted track alone, as in COCO.
- Per category and video the predictions, highest score first, take the free ground-truth track of the highest IoU that
  reaches the threshold. A prediction that takes a crowd, or none while its area is out of range, is neither right nor
  wrong.
- AP is the mean of the interpolated precision at recalls 0, 0.01, …, 1, over the thresholds 0.50, 0.55, …, 0.95 and
  then over the categories that have ground truth; AR is the largest recall, averaged alike, with up to 1, 10 or 100
  predictions a video and category.
- Areas are means over the frames in which a track is seen: small below 128² pixels, medium below 256², large above.
- Of federated data sets (BURST, TAO): a video is asked only about its `judged` categories, and where annotation is
  `not_exhaustive` an unmatched prediction is neither right nor wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from videoseg.formats.instances import InstanceTrack, InstanceVideo
from videoseg.formats.run_lengths import RLE
from videoseg.vocabulary import Vocabulary

Floats = NDArray[np.float64]
Masks = Mapping[int, RLE]
"""Frame number -> mask."""

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
AREAS = {
    "all": (0.0, 1e10),
    "small": (0.0, 128.0**2),
    "medium": (128.0**2, 256.0**2),
    "large": (256.0**2, 1e10),
}
"""Name -> lowest and highest mean area in pixels, both inclusive as in the reference."""
MOST = (1, 10, 100)
"""Predictions a video and category, for AR; AP is at the last."""


@dataclass(slots=True, eq=False)
class _Matches:
    """Of one category and area range: what the predictions of all videos are."""

    score: list[Floats] = field(default_factory=list)
    """Per video float64 `[D]`, highest first."""
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    """Per video bool `[10, D]`."""
    left_out: list[NDArray[np.bool_]] = field(default_factory=list)
    """Per video bool `[10, D]`: neither right nor wrong."""
    truth: int = 0
    """Ground-truth tracks to be found."""

    def extend(self, other: "_Matches") -> None:
        self.score += other.score
        self.right += other.right
        self.left_out += other.left_out
        self.truth += other.truth


class AveragePrecision:
    """Collects the matches of videos; memory grows with the predictions, some ten bytes each."""

    def __init__(self, categories: Vocabulary) -> None:
        """`categories` are those of the ground truth."""
        self.categories = categories
        self._matches: dict[tuple[int, str], _Matches] = {}

    def add_video(self, gt: InstanceVideo, pred: InstanceVideo | None, pred_categories: Vocabulary) -> None:
        """Takes one video; without a prediction everything in it is missed.

        Frames are paired by their names where both sides share some, else by number. Predictions of categories that
        the ground truth does not know are left out.
        """
        from eval.evaluation import match_categories

        mapping = match_categories(pred_categories, self.categories)
        frames = _frame_numbers(gt, pred) if pred is not None else {}
        by_category: dict[int, tuple[list[InstanceTrack], list[_Guess]]] = {}
        for track in gt.tracks:
            by_category.setdefault(track.category, ([], []))[0].append(track)
        for track in pred.tracks if pred is not None else ():
            category = int(mapping[track.category])
            judged = gt.judged is None or category in gt.judged or category in by_category
            masks = {frames[number]: mask for number, mask in track.masks.items() if number in frames}
            if category >= 0 and judged:
                by_category.setdefault(category, ([], []))[1].append(_Guess(track.score, masks))
        for category, (truth, guesses) in by_category.items():
            # Stable, as the reference's merge sort: of equal scores the first listed goes first.
            guesses = sorted(guesses, key=lambda guess: -guess.score)[: MOST[-1]]
            ious = track_ious(truth, [guess.masks for guess in guesses])
            gt_area = np.array([mean_area(track.masks) for track in truth])
            pred_area = np.array([mean_area(guess.masks) for guess in guesses])
            crowd = np.array([track.crowd for track in truth], dtype=bool)
            scores = np.array([guess.score for guess in guesses], dtype=np.float64)
            for name, (low, high) in AREAS.items():
                passed_over = crowd | (gt_area < low) | (gt_area > high)
                right, left_out = _match(ious, passed_over, crowd)
                unmatched_out = (pred_area < low) | (pred_area > high)
                if category in gt.not_exhaustive:
                    unmatched_out = np.ones_like(unmatched_out)
                left_out |= ~right & unmatched_out[None, :]
                found = _Matches([scores], [right & ~left_out], [left_out], int((~passed_over).sum()))
                self._matches.setdefault((category, name), _Matches()).extend(found)

    def __iadd__(self, other: "AveragePrecision") -> "AveragePrecision":
        for key, matches in other._matches.items():
            self._matches.setdefault(key, _Matches()).extend(matches)
        return self

    def result(self) -> dict[str, float]:
        """`ap`, `ap50`, `ap75`, `ap.small|medium|large`, `ar1`, `ar10`, `ar100`; NaN where there is no ground truth."""
        precision = {name: self.precision(name) for name in AREAS}
        values = {
            "ap": _mean(precision["all"]),
            "ap50": _mean(precision["all"][:, 0]),
            "ap75": _mean(precision["all"][:, 5]),
        }
        values |= {f"ap.{name}": _mean(found) for name, found in precision.items() if name != "all"}
        return values | {f"ar{most}": _mean(self.recall(most)) for most in MOST}

    def per_category(self) -> dict[str, float]:
        """Category's name -> AP, of those that have ground truth."""
        names = [c for c, name in sorted(self._matches) if name == "all" and self._matches[c, name].truth]
        means = self.precision("all").mean(axis=1) if names else []
        return {self.categories[c].name: float(mean) for c, mean in zip(names, means, strict=True)}

    def precision(self, area: str = "all") -> Floats:
        """float64 `[C, 10]`: AP at every threshold, of the categories that have ground truth of that size."""
        rows = [_precision(m) for (_, name), m in sorted(self._matches.items()) if name == area and m.truth]
        return np.array(rows).reshape(-1, len(THRESHOLDS))

    def recall(self, most: int, area: str = "all") -> Floats:
        """float64 `[C, 10]`: recall with up to `most` predictions a video, of the same categories."""
        rows = [
            sum((right[:, :most].sum(axis=1) for right in m.right), np.zeros(len(THRESHOLDS))) / m.truth
            for (_, name), m in sorted(self._matches.items())
            if name == area and m.truth
        ]
        return np.array(rows).reshape(-1, len(THRESHOLDS))


@dataclass(frozen=True, slots=True, eq=False)
class _Guess:
    score: float
    masks: Masks


def mean_area(masks: Masks) -> float:
    """Pixels of a track, mean over the frames in which it has any; 0 where it has none."""
    from pycocotools import mask as coco

    areas = [float(coco.area(mask)) for mask in masks.values()]
    seen = [area for area in areas if area > 0]
    return sum(seen) / len(seen) if seen else 0.0


def track_ious(truth: list[InstanceTrack], guesses: list[Masks]) -> Floats:
    """float64 `[D, G]`: spatio-temporal IoU; of crowds, the share of the prediction that they cover."""
    from pycocotools import mask as coco

    shared = np.zeros((len(guesses), len(truth)))
    for frame in sorted({number for track in truth for number in track.masks}):
        g = [i for i, track in enumerate(truth) if frame in track.masks]
        d = [i for i, masks in enumerate(guesses) if frame in masks]
        if not d:
            continue
        gt_masks, pred_masks = [truth[i].masks[frame] for i in g], [guesses[i][frame] for i in d]
        # As if all were crowds, pycocotools divides by the area of the prediction alone.
        share = np.asarray(coco.iou(pred_masks, gt_masks, [1] * len(g)), dtype=np.float64)
        pixels = np.asarray(coco.area(pred_masks), dtype=np.float64)
        shared[np.ix_(d, g)] += np.rint(share * pixels[:, None])
    gt_pixels = np.array([sum(float(coco.area(m)) for m in track.masks.values()) for track in truth])
    pred_pixels = np.array([sum(float(coco.area(m)) for m in masks.values()) for masks in guesses])
    crowd = np.array([track.crowd for track in truth], dtype=bool)
    union = pred_pixels[:, None] + np.where(crowd, 0.0, gt_pixels)[None, :] - np.where(crowd, 0.0, shared)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _match(
    ious: Floats, passed_over: NDArray[np.bool_], crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Right and left out, bool `[10, D]` each, of predictions in order of their scores."""
    guesses, tracks = ious.shape
    right = np.zeros((len(THRESHOLDS), guesses), dtype=bool)
    left_out = np.zeros_like(right)
    # Tracks to be found go before those to be passed over, each kind in its order.
    order = np.argsort(passed_over, kind="stable")
    for t, threshold in enumerate(THRESHOLDS):
        taken = np.zeros(tracks, dtype=bool)
        for d in range(guesses):
            best, at = min(float(threshold), 1 - 1e-10), -1
            for g in order.tolist():
                if taken[g] and not crowd[g]:
                    continue
                if at >= 0 and not passed_over[at] and passed_over[g]:
                    break
                if ious[d, g] >= best:
                    best, at = float(ious[d, g]), g
            if at >= 0:
                taken[at] = True
                right[t, d] = True
                left_out[t, d] = passed_over[at]
    return right, left_out


def _precision(matches: _Matches) -> Floats:
    """float64 `[10]`: interpolated precision, mean over the recalls."""
    order = np.argsort(-np.concatenate(matches.score), kind="stable")
    right = np.concatenate(matches.right, axis=1)[:, order]
    left_out = np.concatenate(matches.left_out, axis=1)[:, order]
    result = np.zeros(len(THRESHOLDS))
    for t in range(len(THRESHOLDS)):
        tp, fp = np.cumsum(right[t]), np.cumsum(~right[t] & ~left_out[t])
        if not len(tp):
            continue
        recall = tp / matches.truth
        precision = tp / np.maximum(tp + fp, np.spacing(1))
        precision = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, RECALLS, side="left")
        result[t] = np.where(at < len(tp), precision[np.minimum(at, len(tp) - 1)], 0.0).mean()
    return result


def _frame_numbers(gt: InstanceVideo, pred: InstanceVideo) -> dict[int, int]:
    """Predicted frame number -> that of the ground truth."""
    places = {_stem(name): place for place, name in enumerate(gt.frame_names)}
    names = [_stem(name) for name in pred.frame_names]
    if len(places) == gt.num_frames and set(places) & set(names):
        return {number: places[name] for number, name in enumerate(names) if name in places}
    return {number: number for number in range(min(gt.num_frames, pred.num_frames))}


def _stem(name: str) -> str:
    return name.rsplit("/", 1)[-1].rsplit(".", 1)[0]


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")
