"""AP and AR of tracks against pycocotools: a track is a mask of all frames stacked, so COCO's evaluator applies."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from eval.instance_precision import AREAS, AveragePrecision
from videoseg.formats.instances import InstanceTrack, InstanceVideo
from videoseg.formats.run_lengths import encode
from videoseg.vocabulary import Vocabulary

CATEGORIES = Vocabulary.build(things="dog, puppy; car; ball")


def random_masks(rng, frames, size, largest):
    """bool `[T, H, W]`: a box that moves and is out of sight now and then."""
    height, width = size
    masks = np.zeros((frames, height, width), bool)
    y, x, h, w = rng.integers(0, height // 2), rng.integers(0, width // 2), *rng.integers(2, largest, 2)
    for t in range(frames):
        if rng.random() < 0.8:
            masks[t, y : y + h, x : x + w] = True
        y, x = max(0, y + rng.integers(-2, 3)), max(0, x + rng.integers(-2, 3))
    if not masks.any():
        masks[0, :h, :w] = True
    return masks


def random_video(rng, name, frames, size, largest):
    """Ground truth and a prediction, each a list of (category, score, crowd, masks)."""
    truth, guess = [], []
    for _ in range(rng.integers(0, 6)):
        masks = random_masks(rng, frames, size, largest)
        category = int(rng.integers(0, 3))
        truth.append((category, 1.0, bool(rng.random() < 0.15), masks))
        for _ in range(rng.integers(0, 3)):
            moved = np.roll(masks, tuple(rng.integers(-2, 3, 2)), (1, 2))
            wrong = rng.random() < 0.2
            guess.append((int(rng.integers(0, 3)) if wrong else category, float(rng.choice([0.2, 0.5, rng.random()])),
                          False, moved))  # fmt: skip
    guess += [
        (int(rng.integers(0, 3)), float(rng.random()), False, random_masks(rng, frames, size, largest))
        for _ in range(rng.integers(0, 3))
    ]
    return as_video(name, size, frames, truth), as_video(name, size, frames, guess), truth, guess


def as_video(name, size, frames, tracks):
    return InstanceVideo(
        name=name,
        size=size,
        num_frames=frames,
        frame_names=tuple(f"{t:05d}" for t in range(frames)),
        tracks=tuple(
            InstanceTrack(i, category, score, crowd, {t: encode(m) for t, m in enumerate(masks) if m.any()})
            for i, (category, score, crowd, masks) in enumerate(tracks, start=1)
        ),
    )


def coco_precision(videos):
    """COCO's evaluation: precision `[T, R, K, A, M]` and recall `[T, K, A, M]`, -1 where there is no ground truth."""
    images = [{"id": i, "height": 1, "width": 1} for i in range(len(videos))]
    annotations, results = [], []
    for i, (truth, guess) in enumerate(videos):
        for category, _, crowd, masks in truth:
            mask = encode(masks.reshape(-1, masks.shape[2]))
            annotations.append({"id": len(annotations) + 1, "image_id": i, "category_id": category + 1,
                                "iscrowd": int(crowd), "segmentation": mask, "area": int(masks.sum())})  # fmt: skip
        for category, score, _, masks in guess:
            mask = encode(masks.reshape(-1, masks.shape[2]))
            results.append({"image_id": i, "category_id": category + 1, "score": score, "segmentation": mask})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": images, "annotations": annotations, "categories": [{"id": 1}, {"id": 2}, {"id": 3}], "info": {}
        }  # fmt: skip
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results), "segm")
        evaluator.params.areaRng = [list(AREAS[name]) for name in AREAS]
        evaluator.params.areaRngLbl = list(AREAS)
        evaluator.evaluate()
        evaluator.accumulate()
    return evaluator.eval["precision"], evaluator.eval["recall"]


def mean(values):
    return values[values > -1].mean() if (values > -1).any() else np.nan


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), frames=st.sampled_from([1, 1, 4]))
def test_equal_to_coco(seed, frames):
    rng = np.random.default_rng(seed)
    # Of one frame masks of all three sizes; of several, area is a mean here and a sum there, so sizes are left out.
    size, largest = ((300, 320), 300) if frames == 1 else ((24, 32), 16)
    videos = [random_video(rng, f"v{i}", frames, size, largest) for i in range(3)]
    if not any(guess for *_, guess in videos):
        return  # loadRes takes no empty list
    precision = AveragePrecision(CATEGORIES)
    for gt, pred, _, _ in videos:
        precision.add_video(gt, pred, CATEGORIES)
    found = precision.result()
    wanted, recall = coco_precision([(truth, guess) for _, _, truth, guess in videos])
    expected = {
        "ap": mean(wanted[:, :, :, 0, 2]),
        "ap50": mean(wanted[0, :, :, 0, 2]),
        "ap75": mean(wanted[5, :, :, 0, 2]),
        **{f"ar{most}": mean(recall[:, :, 0, i]) for i, most in enumerate((1, 10, 100))},
    }
    if frames == 1:
        expected |= {f"ap.{name}": mean(wanted[:, :, :, i, 2]) for i, name in enumerate(AREAS) if i}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


def boxes(*places):
    """One frame of 8×8 pixels with boxes of 4 columns that begin at these."""
    tracks = []
    for category, score, left in places:
        masks = np.zeros((1, 8, 8), bool)
        masks[:, :, left : left + 4] = True
        tracks.append((category, score, False, masks))
    return as_video("v", (8, 8), 1, tracks)


def test_federated_ground_truth_judges_only_what_it_says():
    from dataclasses import replace

    gt, pred = boxes((0, 1.0, 0)), boxes((0, 0.5, 0), (0, 0.9, 4), (1, 0.9, 4))

    def ap(truth):
        precision = AveragePrecision(CATEGORIES)
        precision.add_video(truth, pred, CATEGORIES)
        return precision.result()["ap"]

    assert ap(gt) == pytest.approx(0.5)  # the better scored one is wrong
    assert ap(replace(gt, not_exhaustive=frozenset({0}))) == 1.0
    both = boxes((0, 1.0, 0), (2, 1.0, 0))
    assert ap(both) == pytest.approx(0.25)


def test_frames_are_paired_by_name():
    from dataclasses import replace

    masks = np.zeros((3, 8, 8), bool)
    masks[1] = True
    gt = as_video("v", (8, 8), 3, [(0, 1.0, False, masks)])
    pred = replace(as_video("v", (8, 8), 1, [(0, 0.5, False, masks[1:2])]), frame_names=("00001.png",))
    precision = AveragePrecision(CATEGORIES)
    precision.add_video(gt, pred, CATEGORIES)
    assert precision.result()["ap"] == 1.0


def test_a_video_without_prediction_is_missed():
    precision = AveragePrecision(CATEGORIES)
    precision.add_video(boxes((0, 1.0, 0)), None, CATEGORIES)
    assert precision.result()["ap"] == 0.0
    assert precision.per_category() == {"dog": 0.0}
    assert np.isnan(AveragePrecision(CATEGORIES).result()["ap"])
