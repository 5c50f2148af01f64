"""HOTA, CLEAR and Identity beside the field's own implementation, `trackeval` (MIT), on random videos."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_worlds import drawn_video, spoiled_video

from eval.contingency import Segments, count_frame
from eval.tracking_quality import ObjectTracking

trackeval = pytest.importorskip("trackeval", reason="trackeval is of the development extra")

THINGS = 3
CATEGORIES = 7


def as_trackeval(gt, gt_lists, pred, pred_lists, chosen):
    """What its metrics take, made mask by mask: detections of the chosen categories, crowds left out."""
    data = {"gt_ids": [], "tracker_ids": [], "similarity_scores": [], "num_timesteps": len(gt)}
    numbers: tuple[dict[int, int], dict[int, int]] = ({}, {})
    for t in range(len(gt)):
        truth = [(i, gt[t] == i) for i, category, crowd in gt_lists[t] if category in chosen and not crowd]
        guess = [(i, pred[t] == i) for i, category, _ in pred_lists[t] if category in chosen]
        data["gt_ids"].append(np.array([numbers[0].setdefault(i, len(numbers[0])) for i, _ in truth], int))
        data["tracker_ids"].append(np.array([numbers[1].setdefault(i, len(numbers[1])) for i, _ in guess], int))
        ious = [[(g & p).sum() / (g | p).sum() for _, p in guess] for _, g in truth]
        data["similarity_scores"].append(np.array(ious, float).reshape(len(truth), len(guess)))
    data["num_gt_ids"], data["num_tracker_ids"] = len(numbers[0]), len(numbers[1])
    data["num_gt_dets"] = sum(map(len, data["gt_ids"]))
    data["num_tracker_dets"] = sum(map(len, data["tracker_ids"]))
    return data


def same(ours, counts, metric, data):
    # Where one side is empty `eval_sequence` leaves some values out; the combination over videos has them.
    theirs = metric.combine_sequences({"only": metric.eval_sequence(data)})
    for name, value in ours.items():
        if name in theirs:
            wanted = np.mean(theirs[name])
            assert value == pytest.approx(wanted, abs=1e-12), name
            if name in counts:
                assert value == wanted, name


COUNTS = {"CLR_TP", "CLR_FN", "CLR_FP", "IDSW", "MT", "PT", "ML", "Frag", "CLR_Frames", "IDTP", "IDFN", "IDFP"}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), coarse=st.booleans())
def test_equal_on_random_videos(seed, coarse):
    rng = np.random.default_rng(seed)
    objects, frames = int(rng.integers(0, 7)), int(rng.integers(1, 10))
    gt, gt_lists = drawn_video(rng, frames=frames, objects=objects, crowds=int(rng.integers(0, 2)))
    pred, pred_lists = spoiled_video(rng, gt, gt_lists, miss=0.3 if coarse else 0.1, split=0.5)
    if coarse:  # few pixels a segment: many overlaps of exactly a half, and ties between rivals
        gt, pred = gt[:, ::4, ::4], pred[:, ::4, ::4]
        gt_lists = [[row for row in rows if (gt[t] == row[0]).any()] for t, rows in enumerate(gt_lists)]
        pred_lists = [[row for row in rows if (pred[t] == row[0]).any()] for t, rows in enumerate(pred_lists)]
    tracking = ObjectTracking(np.arange(CATEGORIES) < THINGS)
    for t in range(frames):
        tracking.add(count_frame(gt[t], Segments.of(gt_lists[t]), pred[t], Segments.of(pred_lists[t])))
    tracking.end_video()
    quiet = {"PRINT_CONFIG": False}
    metrics = {
        "HOTA": trackeval.metrics.HOTA(),
        "CLEAR": trackeval.metrics.CLEAR(quiet),
        "Identity": trackeval.metrics.Identity(quiet),
    }
    views = [(tracking.class_agnostic, range(THINGS))]
    views += [(counts, [category]) for category, counts in tracking.per_category.items()]
    for counts, chosen in views:
        data = as_trackeval(gt, gt_lists, pred, pred_lists, set(chosen))
        for family, metric in metrics.items():
            same(counts.result()[family], COUNTS, metric, data)
