"""VPQ and STQ written from their papers' definitions, mask by mask: slow, short, and the other side of the benchmark.

Source: Kim et al., Video Panoptic Segmentation (CVPR 2020), section 3.2, with PQ's rules for void and crowds (Kirillov
et al., CVPR 2019, section 4); Weber et al., STEP (NeurIPS 2021 datasets), section 4. Nothing here is shared with the
quick implementation but the type of a list of segments; tests hold both to equal values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = Sequence[Sequence[int]]
"""(id, category, iscrowd) of the segments of a frame."""


@dataclass(frozen=True, slots=True, eq=False)
class PlainVideo:
    """One video of both sides."""

    gt: NDArray[np.integer]
    """integer `[T, H, W]`, 0 = void."""
    gt_segments: Sequence[Rows]
    pred: NDArray[np.integer]
    pred_segments: Sequence[Rows]


@dataclass(frozen=True, slots=True, eq=False)
class _Tube:
    category: int
    crowd: bool
    mask: NDArray[np.bool_]


def plain_vpq(videos: Sequence[PlainVideo], categories: int, window: int) -> float:
    """VPQ at one window, as a fraction; videos shorter than the window are skipped. NaN where nothing was seen."""
    iou, tp, fp, fn = (np.zeros(categories) for _ in range(4))
    for video in videos:
        for start in range(len(video.gt) - window + 1):
            frames = slice(start, start + window)
            truth = _tubes(video.gt[frames], video.gt_segments[frames])
            guess = _tubes(video.pred[frames], video.pred_segments[frames])
            void = video.gt[frames] == 0
            found: set[int] = set()
            for p in guess:
                matched = False
                in_void = int((p.mask & void).sum())
                for i, g in enumerate(truth):
                    if g.crowd or g.category != p.category:
                        continue
                    shared = int((p.mask & g.mask).sum())
                    union = int(p.mask.sum()) + int(g.mask.sum()) - shared - in_void
                    if 2 * shared > union:
                        iou[g.category] += shared / union
                        tp[g.category] += 1
                        found.add(i)
                        matched = True
                if not matched:
                    crowds = [g for g in truth if g.crowd and g.category == p.category]
                    in_crowd = int((p.mask & crowds[-1].mask).sum()) if crowds else 0
                    if 2 * (in_void + in_crowd) <= int(p.mask.sum()):
                        fp[p.category] += 1
            for i, g in enumerate(truth):
                if i not in found and not g.crowd:
                    fn[g.category] += 1
    seen = tp + fp + fn > 0
    if not seen.any():
        return float("nan")
    return float((iou[seen] / (tp + fp / 2 + fn / 2)[seen]).mean())


def _tubes(maps: NDArray[np.integer], lists: Sequence[Rows]) -> list[_Tube]:
    first: dict[int, tuple[int, bool]] = {}
    for rows in lists:
        for number, category, crowd in rows:
            first.setdefault(number, (category, bool(crowd)))
    return [_Tube(category, crowd, maps == number) for number, (category, crowd) in first.items()]


def plain_stq(videos: Sequence[PlainVideo], is_thing: Sequence[bool]) -> tuple[float, float, float]:
    """STQ, AQ and SQ, as fractions."""
    size = len(is_thing)
    right, true, guessed = np.zeros(size + 1), np.zeros(size + 1), np.zeros(size + 1)
    association, tubes = 0.0, 0
    for video in videos:
        gt_of: dict[tuple[int, int], dict[int, NDArray[np.bool_]]] = {}
        pred_of: dict[tuple[int, int], dict[int, NDArray[np.bool_]]] = {}
        for t, (gt, pred) in enumerate(zip(video.gt, video.pred, strict=True)):
            gt_category, pred_category = np.full(gt.shape, size), np.full(pred.shape, size)
            counted = np.ones(gt.shape, dtype=bool)
            for number, category, crowd in video.gt_segments[t]:
                mask = gt == number
                gt_category[mask] = category
                if is_thing[category]:
                    if crowd:
                        counted[mask] = False
                    else:
                        gt_of.setdefault((category, number), {})[t] = mask
            for number, category, _ in video.pred_segments[t]:
                mask = pred == number
                pred_category[mask] = category
                if is_thing[category]:
                    pred_of.setdefault((category, number), {})[t] = mask & counted
            labelled = gt_category < size
            for category in range(size + 1):
                g, p = labelled & (gt_category == category), labelled & (pred_category == category)
                right[category] += (g & p).sum()
                true[category] += g.sum()
                guessed[category] += p.sum()
        for g_masks in gt_of.values():
            g_size = sum(int(mask.sum()) for mask in g_masks.values())
            tubes += 1
            for p_masks in pred_of.values():
                shared = sum(int((mask & p_masks[t]).sum()) for t, mask in g_masks.items() if t in p_masks)
                if shared:
                    p_size = sum(int(mask.sum()) for mask in p_masks.values())
                    association += shared / g_size * shared / (g_size + p_size - shared)
    union = true + guessed - right
    sq = float((right[union > 0] / union[union > 0]).mean()) if (union > 0).any() else float("nan")
    aq = association / tubes if tubes else 0.0
    return float(np.sqrt(aq * sq)), aq, sq
