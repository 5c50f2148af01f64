"""Values from counts: groups, bootstrap, sizes, lengths, flicker, ignore regions, and what arrays must be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metric_worlds import drawn_video, spoiled_video

from eval import LabelledVideo, compare, evaluate_arrays
from eval.agreement import agreement_values
from eval.arrays import measure_arrays
from eval.contingency import Segments, count_frame
from eval.evaluation import Evaluation, LabelledMap
from eval.tracking_quality import ObjectTracking
from videoseg.errors import InputError
from videoseg.vocabulary import Vocabulary

THINGS = [True] * 3 + [False] * 4
NAMES = ["dog", "car", "ball", "sky", "grass", "road", "wall"]


def random_videos(seed, number=4):
    rng = np.random.default_rng(seed)
    videos = []
    for i in range(number):
        gt, gt_segments = drawn_video(rng, frames=int(rng.integers(1, 7)))
        videos.append(LabelledVideo(gt, gt_segments, *spoiled_video(rng, gt, gt_segments), f"v{i}"))
    return videos


def same(found, wanted):
    for name, value in found.items():
        assert value == pytest.approx(wanted[name], abs=1e-12, nan_ok=True), name


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_groups_and_videos_are_what_they_would_be_alone(seed):
    videos = random_videos(seed)
    report = evaluate_arrays(
        videos, THINGS, names=NAMES, consistency_windows=(2,),
        category_groups={"base": ["dog", "sky"]}, video_groups={"easy": ["v0", "v2"], "none": []},
    )  # fmt: skip
    assert list(report.per_video) == ["v0", "v1", "v2", "v3"]
    same(report.per_video["v1"], evaluate_arrays([videos[1]], THINGS, consistency_windows=(2,)).values)
    easy = dict(report.video_groups["easy"])
    assert easy.pop("videos") == 2
    same(easy, evaluate_arrays([videos[0], videos[2]], THINGS, consistency_windows=(2,)).values)
    base = [report.per_category[name] for name in ("dog", "sky") if "pq" in report.per_category.get(name, {})]
    assert report.category_groups["base"]["pq"] == pytest.approx(
        np.mean([row["pq"] for row in base] or [np.nan]), nan_ok=True
    )
    assert np.isnan(report.video_groups["none"]["pq"])
    assert "easy: base" in report.video_groups


def test_groups_name_what_there_is():
    with pytest.raises(InputError, match="'base' names the category 'cat'"):
        evaluate_arrays([], THINGS, names=NAMES, category_groups={"base": ["cat"]})


def test_bootstrap_of_the_same_result_is_nought_and_of_a_worse_one_is_clear():
    videos = random_videos(1, 12)
    perfect = [LabelledVideo(v.gt, v.gt_segments, v.gt, v.gt_segments, v.name) for v in videos]
    ours = measure_arrays(perfect, THINGS, metrics=("vpq", "stq", "hota"), windows=(1, 2))
    other = measure_arrays(videos, THINGS, metrics=("vpq", "stq", "hota"), windows=(1, 2))
    for name, difference in compare(ours, ours, draws=60).items():
        if np.isfinite(difference.ours):
            assert (difference.difference, difference.low, difference.high) == (0, 0, 0), name
    found = compare(ours, other, draws=200)
    for name in ("vpq.1", "vpq.2", "stq", "hota"):
        assert found[name].clear, name
        assert found[name].low < found[name].difference < found[name].high
    assert str(found) == str(compare(ours, other, draws=200))
    with pytest.raises(InputError, match="same videos"):
        compare(ours, measure_arrays(perfect[:3], THINGS, metrics=("vpq", "stq", "hota"), windows=(1, 2)))


def test_the_interval_covers_what_it_promises():
    """Differences between two results whose videos differ by chance alone: about one interval in twenty misses 0."""
    rng = np.random.default_rng(0)
    gt = np.ones((1, 1, 100), int)

    def result():
        videos = []
        for i in range(20):
            pred = np.ones_like(gt)
            pred[0, 0, : rng.integers(0, 45)] = 0  # found, with an IoU that varies
            videos.append(LabelledVideo(gt, {1: 0}, pred, {1: 0}, f"v{i}"))
        return measure_arrays(videos, [True], metrics=("pq",))

    missed = sum(compare(result(), result(), draws=200)["pq"].clear for _ in range(40))
    assert missed <= 8


def test_sizes_and_lengths():
    gt = np.zeros((12, 100, 200), int)
    gt[:] = 9
    gt[:, :20, :20] = 1  # small, 12 frames
    gt[:4, 40:80, 40:80] = 2  # medium, 4 frames
    pred = gt.copy()
    pred[gt == 2] = 9
    kinds = {1: 0, 2: 1, 9: 3}
    values = evaluate_arrays([LabelledVideo(gt, kinds, pred, kinds)], THINGS, metrics=("pq", "stq")).values
    assert values["pq.size.small"] == 1
    assert values["pq.length.medium"] == pytest.approx((1 + values["pq.size.large"]) / 2)
    assert values["pq.size.medium"] == values["pq.length.short"] == 0
    # The ground takes the missed one in: 18 000 of its 19 600 pixels are right in 4 of 12 frames.
    assert values["pq.size.large"] == pytest.approx((8 + 4 * 18_000 / 19_600) / 12)
    assert (values["aq.length.short"], values["aq.length.medium"]) == (0, 1)
    assert np.isnan(values["aq.length.long"])


def test_flicker_by_hand():
    gt = np.ones((8, 10, 10), int)
    pred = gt.copy()
    pred[3, :5] = 2  # half of one frame in a track of its own
    rows = [[(1, 0)]] * 8
    pred_rows = [[(1, 0)]] * 3 + [[(1, 0), (2, 0)]] + [[(1, 0)]] * 2 + [[(1, 1)]] * 2  # and a change of category
    values = evaluate_arrays([LabelledVideo(gt, rows, pred, pred_rows)], THINGS, metrics=("flicker",)).values
    assert values["flicker.id"] == pytest.approx(100 / 8)
    assert values["flicker.label"] == pytest.approx(1 / 7)
    assert values["flicker.pixel"] == pytest.approx((50 + 50 + 100) / 700)
    # Matched in frames 0-1, 1-2 and 4-5 (half of it is no match), always of one size.
    assert values["flicker.area"] == 0
    steady = evaluate_arrays([LabelledVideo(pred, pred_rows, pred, pred_rows)], THINGS, metrics=("flicker",)).values
    assert steady["flicker.pixel"] == 0
    assert steady["flicker.area"] == 0


def test_agreement_by_hand():
    frames = np.array([[0.8, 1, 0, 0], [0.9, 1, 1, 0], [0, 0, 0, 0]])
    found = agreement_values(frames)
    assert found["agreement.segments"] == pytest.approx(1.7 / 2.5)
    assert found["agreement.frames"] == pytest.approx((0.8 + 0.6) / 2)
    assert found["agreement.worst"] == pytest.approx(0.6)
    assert np.isnan(agreement_values(np.zeros((2, 4)))["agreement.frames"])


def test_beside_background_what_is_unlabelled_is_wrong():
    gt, pred = np.zeros((2, 8, 8), int), np.zeros((2, 8, 8), int)
    gt[:, :, :4] = 1
    pred[:, :, :4], pred[:, :, 4:] = 1, 2
    video = LabelledVideo(gt, {1: 0}, pred, {1: 0, 2: 0})
    void = evaluate_arrays([video], THINGS, metrics=("pq", "clear")).values
    background = evaluate_arrays([video], THINGS, metrics=("pq", "clear"), unlabelled="background").values
    assert (void["pq"], background["pq"]) == (1, pytest.approx(2 / 3))
    assert void["motsa"] == background["motsa"] == 0


def test_predictions_in_ignore_regions_are_left_out_as_in_mots():
    """KITTI-MOTS as TrackEval prepares it: unmatched and more than half in an ignore region goes, half of it stays."""
    gt, pred = np.zeros((10, 20), int), np.zeros((10, 20), int)
    gt[:, :4], gt[:, 10:] = 1, 2
    pred[:, :4] = 1  # found
    pred[:5, 8:16] = 2  # 30 of 40 in the region
    pred[5:, 8:12] = 3  # 10 of 20
    sides = Segments.of([(1, 0, 0), (2, 1, 1)]), Segments.of([(1, 0), (2, 0), (3, 0)])
    for drop, false in ((False, 2), (True, 1)):
        tracking = ObjectTracking(np.array([True, True]), drop_ignored=drop)
        tracking.add(count_frame(gt, sides[0], pred, sides[1]))
        tracking.end_video()
        counts = tracking.class_agnostic.clear
        assert (counts.tp, counts.fp, counts.fn) == (1, false, 0)


def test_arrays_must_fit():
    maps = np.ones((2, 4, 4), int)
    with pytest.raises(ValueError, match="one shape on both sides"):
        LabelledVideo(maps, {1: 0}, maps[:1], {1: 0})
    with pytest.raises(ValueError, match="lists for 1 frames, the maps have 2"):
        LabelledVideo(maps, [[(1, 0)]], maps, {1: 0})
    for table, says in (({2: 0}, "id 1, which has no category"), ({1: 9}, "categories are 0..6")):
        with pytest.raises(ValueError, match=says):
            evaluate_arrays([LabelledVideo(maps, table, maps, {1: 0})], THINGS)
    with pytest.raises(ValueError, match="segment 5 has no pixel"):
        evaluate_arrays([LabelledVideo(maps, [[(1, 0), (5, 0)]] * 2, maps, {1: 0})], THINGS)
    with pytest.raises(ValueError, match="an id map is integer"):
        evaluate_arrays([LabelledVideo(maps.astype(float), [[(1, 0)]] * 2, maps, {1: 0})], THINGS)
    with pytest.raises(InputError, match="no frame to evaluate"):
        evaluate_arrays([], THINGS)


def test_kinds_of_integers_and_large_ids_change_nothing():
    video = random_videos(7, 1)[0]
    wanted = evaluate_arrays([video], THINGS).values
    big = 1 << 30
    lists = [[(i + big, *rest) for i, *rest in rows] for rows in video.pred_segments]
    for gt, pred, pred_lists in (
        (
            video.gt.astype(np.int64),
            video.pred.astype(np.uint8 if video.pred.max() < 256 else np.int32),
            video.pred_segments,
        ),
        (video.gt.astype(">u2"), video.pred[:, :, ::1], video.pred_segments),
        (np.asfortranarray(video.gt), np.where(video.pred > 0, video.pred.astype(np.int64) + big, 0), lists),
    ):
        same(evaluate_arrays([LabelledVideo(gt, video.gt_segments, pred, pred_lists)], THINGS).values, wanted)


def test_memory_does_not_grow_with_the_videos():
    import tracemalloc

    rng = np.random.default_rng(0)
    gt, rows = drawn_video(rng, frames=10, height=96, width=160)
    pred, pred_rows = spoiled_video(rng, gt, rows)
    video = LabelledVideo(gt, rows, pred, pred_rows)
    peaks = []
    for number in (2, 2, 8):
        tracemalloc.start()
        evaluate_arrays((video for _ in range(number)), THINGS)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < peaks[1] + 6 * 60_000  # a few kB a video


def test_segments_of_one_track_are_joined():
    ids = np.array([[1, 1, 2, 2, 3, 3]])
    segments = Segments.of([(1, 0, 0), (2, 0, 0), (3, -1, 0)])
    joined = LabelledMap(ids, segments, np.array([5, 5, 6]))
    evaluation = Evaluation(Vocabulary.build(things="dog; car", stuff="sky"), metrics=("pq", "hota"))
    whole = LabelledMap(np.array([[1, 1, 1, 1, 0, 0]]), Segments.of([(1, 0, 0)]))
    evaluation.add(whole, joined)
    evaluation.end_video()
    values = evaluation.report().values
    assert (values["pq"], values["hota"]) == (1, 1)
