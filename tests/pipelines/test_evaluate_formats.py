"""`videoseg eval` on a synthetic world with several runs, on images, and on instance tracks."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_lines import Answer, run_many

from videoseg.formats import coco_panoptic, kitti_mots, read_segments, run_folder, youtube_vis
from videoseg.formats.instances import InstanceTrack, InstanceVideo, RecordedInstances
from videoseg.formats.run_lengths import encode
from videoseg.panoptic import PanopticFrame
from videoseg.vocabulary import Vocabulary


def split_track(frames: list[PanopticFrame]) -> list[PanopticFrame]:
    """The first track gets another id from the second frame on."""
    first = frames[0].segments[0].track
    return [
        frame.with_segments(replace(s, track=9999) if s.track == first else s for s in frame.segments)
        if number
        else frame
        for number, frame in enumerate(frames)
    ]


def instances(shift: int, scores: tuple[float, float]) -> RecordedInstances:
    """Two people who overlap, in three frames; the second is moved by `shift` pixels."""
    masks = np.zeros((2, 3, 300, 400), bool)
    masks[0, :, 20:220, 20:140] = True
    masks[1, :, 40:240, 100 + shift : 220 + shift] = True
    tracks = tuple(
        InstanceTrack(i + 1, 0, scores[i], False, {t: encode(mask) for t, mask in enumerate(masks[i])})
        for i in range(2)
    )
    video = InstanceVideo("walk", (300, 400), 3, tuple(f"walk/{t:05d}.jpg" for t in range(3)), tracks)
    return RecordedInstances(Path("x"), "youtube_vis", Vocabulary.build(things="person; dog"), {"walk": video})


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("formats")
    size = ["--frames", "3", "--height", "48", "--width", "64"]
    [made], _ = run_many([["synth", "-o", folder / "world", "--videos", "2", *size]])
    assert made.code == 0, made.err
    truth = read_segments(folder / "world" / "ground_truth")
    for name in truth.videos:
        run_folder.write(folder / "runs" / name, truth.vocabulary, {name: split_track(list(truth.frames(name)))})

    frames = list(truth.frames(truth.videos[0]))
    coco_panoptic.write(folder / "images", truth.vocabulary, frames)
    youtube_vis.write(folder / "people", instances(0, (1.0, 1.0)))
    youtube_vis.write(folder / "found", instances(20, (0.4, 0.9)))

    mots = Vocabulary.build(things="car; pedestrian")
    box = frames[0].with_segments(
        replace(s, category=0, is_thing=True, track=i) for i, s in enumerate(frames[0].segments, 1)
    )
    kitti_mots.write(folder / "mots", mots, {"0001": [box]}, kind="png")

    lines: dict[str, list[str | Path]] = {
        "runs": ["eval", folder / "world" / "ground_truth", folder / "runs", "--json"],
        "runs text": ["eval", folder / "world" / "ground_truth", folder / "runs"],
        "runs, two workers": ["eval", folder / "world" / "ground_truth", folder / "runs", "--json", "--workers", "2"],
        "one run": ["eval", folder / "world" / "ground_truth", folder / "runs" / truth.videos[1], "--json"],
        "a run as truth": ["eval", folder / "runs" / truth.videos[0], folder / "runs" / truth.videos[0], "--json"],
        "images": ["eval", folder / "images", folder / "images", "--json"],
        "images, tracks": ["eval", folder / "images", folder / "images", "--metrics", "vpq"],
        "people": ["eval", folder / "people" / "instances.json", folder / "found" / "results.json", "--json"],
        "only AP": ["eval", folder / "people", folder / "found", "--json", "--metrics", "ap"],
        "mots": ["eval", folder / "mots", folder / "mots", "--json"],
    }
    said, loaded = run_many(list(lines.values()))
    assert loaded == []
    for name, answer in zip(lines, said, strict=True):
        assert answer.code == 0 or name == "images, tracks", (name, answer.err)
    return dict(zip(lines, said, strict=True))


def test_a_folder_of_runs_is_a_result(answers: dict[str, Answer]) -> None:
    found = json.loads(answers["runs"].out)
    assert (found["videos"], found["frames"]) == (2, 6)
    assert found["pq"] == found["miou"] == 1
    assert found["vpq.2"] < 1
    assert found["conventions"]["missing_frames"] == 0
    assert answers["runs, two workers"].out == answers["runs"].out


def test_groups_of_a_world_have_rows(answers: dict[str, Answer]) -> None:
    found = json.loads(answers["runs"].out)
    assert set(found["category_groups"]) >= {"base", "stuff", "base and stuff"}
    assert found["category_groups"]["stuff"]["pq"] == 1
    assert found["video_groups"]["easy"]["videos"] == 2
    assert found["video_groups"]["easy"]["vpq.2"] == found["vpq.2"]
    assert found["video_groups"]["easy: stuff"]["pq"] == 1
    assert "base and stuff" in answers["runs text"].out
    assert len(found["per_video"]) == 2


def test_one_run_is_scored_on_its_own_video(answers: dict[str, Answer]) -> None:
    found = json.loads(answers["one run"].out)
    assert (found["videos"], found["pq"]) == (1, 1)
    truth = json.loads(answers["a run as truth"].out)
    assert truth["vpq.2"] == truth["stq"] == 1


def test_images_have_no_tracks(answers: dict[str, Answer]) -> None:
    found = json.loads(answers["images"].out)
    assert found["pq"] == found["miou"] == 1
    assert not {"stq", "hota", "vpq.2", "pq.length.short"} & found.keys()
    assert answers["images, tracks"].code == 2
    assert "has no tracks, which vpq need" in answers["images, tracks"].err


def test_instance_tracks_may_overlap_and_have_scores(answers: dict[str, Answer]) -> None:
    found = json.loads(answers["people"].out)
    # The second one's IoU is 100/140 = 0.714: right at thresholds up to 0.70, and it comes first.
    assert (found["ap50"], found["ar1"]) == (1, pytest.approx(0.5 * 5 / 10))
    half = sum(0.5 for recall in np.linspace(0, 1, 101) if recall <= 0.5) / 101
    assert found["ap"] == pytest.approx((5 * 1 + 5 * half) / 10)
    assert found["ap.medium"] == pytest.approx(found["ap"])
    assert found["ap.small"] is None
    assert 0 < found["hota"] < 1
    assert "miou" not in found
    only = json.loads(answers["only AP"].out)
    assert only["ap"] == found["ap"]
    assert "hota" not in only


def test_mots(answers: dict[str, Answer]) -> None:
    found = json.loads(answers["mots"].out)
    assert found["hota"] == found["smotsa"] == found["idf1"] == 1
    assert "stq" not in found
    assert "ap" not in found
