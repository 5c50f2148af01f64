"""The metrics against what the reference evaluators say about eight seeded cases (tests/data/metrics/README.md)."""

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from eval.contingency import FrameTable, Segments, count_frame
from eval.panoptic_quality import VideoPanopticQuality
from eval.segmentation_tracking_quality import SegmentationTrackingQuality
from eval.tracking_quality import ObjectTracking
from eval.video_consistency import VideoConsistency

DATA = Path(__file__).parents[1] / "data" / "metrics"
CASES = sorted(path.stem for path in DATA.glob("*.json"))


@cache
def load(case):
    """The expected values, bool `[C]` of things, and per video the tables and category maps of its frames."""
    description = json.loads((DATA / f"{case}.json").read_text())
    is_thing = np.isin(np.arange(description["n_classes"]), description["things"])
    arrays = np.load(DATA / f"{case}.npz")
    videos: list[list[FrameTable]] = []
    categories = []
    for v, video in enumerate(description["videos"]):
        gt, pred = arrays[f"gt_{v}"], arrays[f"pred_{v}"]
        frames, maps = [], []
        for t in range(len(gt)):
            sides = [Segments.of(video[f"{side}_segments"][t]) for side in ("gt", "pred")]
            frames.append(count_frame(gt[t], sides[0], pred[t], sides[1]))
            maps.append(tuple(category_map(ids[t], side) for ids, side in zip((gt, pred), sides, strict=True)))
        videos.append(frames)
        categories.append(maps)
    return description["expected"], is_thing, videos, categories


def category_map(id_map, segments):
    table = np.full(int(id_map.max()) + 1, 255)
    table[segments.ids] = segments.categories
    return table[id_map]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("convention", ["skip", "clip"])
def test_vpq_equals_the_references(case, convention):
    expected, is_thing, videos, _ = load(case)
    means = {}
    for window, values in expected["vpq_windows"].items():
        metric = VideoPanopticQuality(len(is_thing), int(window), convention)
        for frames in videos:
            for frame in frames:
                metric.add(frame)
            metric.end_video()
        wanted = values["original"]
        if convention == "clip" and values["deva_clipped_window"] != "same":
            wanted = values["deva_clipped_window"]
        if wanted is None or wanted["All"] is None:
            assert not metric.counts.seen.any() or wanted is not None
            continue
        for category, counts in wanted["per_class"].items():
            c = int(category)
            found = {name: int(getattr(metric.counts, name)[c]) for name in ("tp", "fp", "fn")}
            assert found == {name: counts[name] for name in found}, (window, category)
            assert metric.counts.iou[c] == pytest.approx(counts["iou"], abs=1e-9)
        for name, among in (("All", None), ("Things", is_thing), ("Stuff", ~is_thing)):
            if wanted[name] is not None:
                found_mean = asdict(metric.counts.mean(among))
                assert found_mean.pop("categories") == wanted[name]["n"]
                assert found_mean == pytest.approx({k: wanted[name][k] for k in found_mean}, abs=1e-9)
        means[int(window)] = metric.counts.mean().pq
    variant = {"skip": "original", "clip": "deva_clipped_window"}[convention]
    for name, windows in (("k1246", (1, 2, 4, 6)), ("k12468", (1, 2, 4, 6, 8)), ("k1234", (1, 2, 3, 4))):
        published = (expected[f"vpq_mean_{name}"] or {}).get(variant)
        if published is not None and published["All"] is not None:
            assert 100 * np.mean([means[k] for k in windows]) == pytest.approx(published["All"], abs=1e-7)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("encoding", "key"), [("native", "stq_native"), ("vipseg", "stq_vipseg_script")])
def test_stq_equals_the_references(case, encoding, key):
    expected, is_thing, videos, _ = load(case)
    metric = SegmentationTrackingQuality(is_thing, encoding)
    for frames in videos:
        for frame in frames:
            metric.add(frame)
        metric.end_video()
    result, wanted = metric.result(), expected[key]
    assert [result.stq, result.aq, result.sq] == pytest.approx([wanted["STQ"], wanted["AQ"], wanted["IoU"]], abs=1e-9)
    for name, listed in (("stq", "STQ_per_seq"), ("aq", "AQ_per_seq"), ("sq", "IoU_per_seq")):
        assert [getattr(video, name) for video in metric.per_video] == pytest.approx(wanted[listed], abs=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_mvc_equals_the_reference(case):
    expected, _, _, categories = load(case)
    metric = VideoConsistency(tuple(int(window) for window in expected["mvc"]))
    for maps in categories:
        for gt, pred in maps:
            metric.add(gt, pred)
        metric.end_video()
    for window, value in metric.result().items():
        wanted = expected["mvc"][str(window)]
        assert value == pytest.approx(wanted, abs=1e-9) if wanted is not None else np.isnan(value)


@pytest.mark.parametrize("case", CASES)
def test_hota_clear_and_identity_equal_trackeval(case):
    expected, is_thing, videos, _ = load(case)
    metric = ObjectTracking(is_thing)
    for frames in videos:
        for frame in frames:
            metric.add(frame)
        metric.end_video()
    found = {
        "class_agnostic": metric.class_agnostic.result(),
        "class_averaged": metric.class_averaged(),
        "det_averaged": metric.detection_averaged(),
    }
    for family, views in expected["trackeval"].items():
        for view, values in found.items():
            same(values[family], views[view], (family, view))
        for counts, wanted in zip(metric.per_video, views["class_agnostic_per_seq"], strict=True):
            same(counts.result()[family], wanted, (family, "per video"))
        for category, wanted in views["per_class"].items():
            if int(category) in metric.per_category:
                same(metric.per_category[int(category)].result()[family], wanted, (family, category))
            else:
                assert not any(wanted[name] for name in wanted if name.endswith(("_TP", "_FN", "_FP")))
    arrays = metric.class_agnostic.hota.arrays()
    for name, wanted in expected["trackeval"]["HOTA"]["class_agnostic_arrays"].items():
        np.testing.assert_allclose(arrays[name], wanted, atol=1e-9, rtol=0)


def same(found, wanted, where):
    """Counts equal, values to 1e-9."""
    for name, value in wanted.items():
        if isinstance(value, int):
            assert found[name] == value, (*where, name)
        else:
            assert found[name] == pytest.approx(value, abs=1e-9), (*where, name)
