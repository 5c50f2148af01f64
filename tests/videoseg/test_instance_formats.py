"""YouTube-VIS, BURST and TAO files: to the letter of what they specify, written and read back, and their mistakes."""

import copy
import json
import pickle
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pycocotools import mask as coco

from videoseg.errors import InputError
from videoseg.formats import burst, export_run, read_segments, recognise, vipseg, youtube_vis
from videoseg.formats.instances import (
    InstanceTrack,
    InstanceVideo,
    LazyVideos,
    RecordedInstances,
    instances_of,
    read_instances,
    tracks_of,
)
from videoseg.formats.panoptic_png import Times
from videoseg.formats.run_lengths import area, decode, encode, read_mask, runs, to_json
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import SourceInfo
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.writer import RunWriter
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="person, man; dog", stuff="sky")
SIZE = (4, 6)


def square(top: int, left: int, side: int = 2) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


def uncompressed(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """As the specification says it: runs of background and object in turn, column by column."""
    flat = mask.ravel(order="F").tolist()
    counts, current = [0], False
    for pixel in flat:
        if pixel != current:
            counts.append(0)
            current = pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def recorded(*videos: InstanceVideo, vocabulary: Vocabulary = VOCABULARY) -> RecordedInstances:
    table = {video.name: video for video in videos}
    return RecordedInstances(Path("made.json"), "made", vocabulary, LazyVideos(tuple(table), table.__getitem__))


def assert_same_video(read: InstanceVideo, written: InstanceVideo) -> None:
    assert (read.name, read.size, read.num_frames, read.times) == (
        written.name,
        written.size,
        written.num_frames,
        written.times,
    )
    assert read.frame_names == written.frame_names
    assert [(t.id, t.category, t.score, t.crowd, dict(t.masks)) for t in read.tracks] == [
        (t.id, t.category, t.score, t.crowd, dict(t.masks)) for t in written.tracks
    ]


def edit(path: Path, change: Callable[[Any], None]) -> None:
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


@st.composite
def instance_videos(draw: st.DrawFn, name: str = "a/walk", first_id: int = 1) -> InstanceVideo:
    """Overlapping masks, tracks that are never seen, any scores."""
    count = draw(st.integers(1, 4))
    tracks = []
    ids = draw(st.lists(st.integers(first_id, first_id + 999), unique=True, max_size=4))
    for number in sorted(ids):
        masks = {}
        for frame in range(count):
            mask = draw(st.none() | hnp.arrays(bool, SIZE))
            if mask is not None and mask.any():
                masks[frame] = encode(mask)
        score = draw(st.floats(-5, 5)) if masks else 1.0
        tracks.append(InstanceTrack(number, draw(st.integers(0, 1)), score, False, masks))
    times = tuple(Times(5 * i, i // 2, 3003 * i, Fraction(1, 90000), i * 3003 / 90000) for i in range(count))
    names = tuple(f"walk/{i:05d}.jpg" for i in range(count))
    return InstanceVideo(name, SIZE, count, names, tuple(tracks), draw(st.sampled_from([times, None])))


class TestRunLengths:
    @given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=40)))
    def test_compressed_counts_are_understood(self, mask: NDArray[np.bool_]) -> None:
        found = runs(encode(mask)["counts"])
        assert found is not None
        assert found.tolist() == uncompressed(mask)["counts"]

    def test_long_runs(self) -> None:
        for mask in (np.zeros((2000, 3000), dtype=bool), np.ones((2000, 3000), dtype=bool)):
            found = runs(encode(mask)["counts"])
            assert found is not None
            assert found.sum() == mask.size

    @given(hnp.arrays(bool, SIZE))
    def test_all_forms_of_a_mask(self, mask: NDArray[np.bool_]) -> None:
        rle = encode(mask)
        for form in (to_json(rle), uncompressed(mask), rle["counts"].decode()):
            found = read_mask(form, SIZE, "here")
            if mask.any():
                assert found is not None
                np.testing.assert_array_equal(decode(found), mask)
            else:
                assert found is None

    def test_polygons(self) -> None:
        corners = [1.0, 1, 4, 1, 4, 3, 1, 3]
        found = read_mask([corners], SIZE, "here")
        assert found is not None
        expected = np.zeros(SIZE, dtype=bool)
        expected[1:3, 1:4] = True
        np.testing.assert_array_equal(decode(found), expected)
        assert read_mask([], SIZE, "here") is None
        assert read_mask(None, SIZE, "here") is None

    @given(st.text(st.characters(max_codepoint=127), max_size=12))
    def test_damaged_counts_never_get_through(self, text: str) -> None:
        try:
            found = read_mask({"size": list(SIZE), "counts": text}, SIZE, "here")
        except InputError:
            return
        assert found is None or decode(found).sum() == area(found) > 0

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            ({"size": [6, 4], "counts": "x"}, r"here\.size must be the height and width of the video, \[4, 6\]"),
            ({"size": [4, 6], "counts": [20, 5]}, r"here\.counts: the run lengths are of 25 pixels, the video has 6×4"),
            ({"size": [4, 6], "counts": [-1, 25]}, r"here\.counts: the run lengths"),
            ({"size": [4, 6], "counts": None}, r"here\.counts must be run lengths"),
            ({"size": [4, 6], "counts": [1.5, 22.5]}, r"here\.counts must be run lengths"),
            ([[1, 2, 3, 4]], r"here\[0\] must be a polygon"),
            ([[1, 2, 3, 4, 5, float("nan")]], r"here\[0\] must be a polygon"),
            ([[1, 2, 3, 4, 5, 10**12]], r"here\[0\] must be a polygon.* within 24"),
            (7, "here must be run lengths"),
        ],
    )
    def test_mistakes(self, value: object, says: str) -> None:
        with pytest.raises(InputError, match=says):
            read_mask(value, SIZE, "here")


class TestTracksAndSegments:
    def test_overlaps_go_to_the_higher_score_then_the_lower_id(self) -> None:
        strong, first, second = square(0, 0, 3), square(1, 1, 3), square(1, 2, 3)
        video = InstanceVideo(
            "walk",
            SIZE,
            1,
            ("0.jpg",),
            (
                InstanceTrack(9, 0, 0.5, False, {0: encode(second)}),
                InstanceTrack(4, 1, 0.5, False, {0: encode(first)}),
                InstanceTrack(7, 0, 0.9, False, {0: encode(strong)}),
                InstanceTrack(2, 0, 1.0, True, {0: encode(np.ones(SIZE, dtype=bool))}),
            ),
        )
        frame = next(recorded(video).to_segments().frames())
        expected = np.full(SIZE, 2, dtype=np.uint32)
        expected[second] = 9
        expected[first] = 4
        expected[strong] = 7
        np.testing.assert_array_equal(frame.track_map(), expected)
        assert [(s.track, s.category, s.score, s.crowd) for s in frame.segments] == [
            (2, 0, 1.0, True),
            (4, 1, 0.5, False),
            (7, 0, 0.9, False),
            (9, 0, 0.5, False),
        ]

    def test_what_is_covered_has_no_segment(self) -> None:
        tracks = (
            InstanceTrack(1, 0, 0.5, False, {0: encode(square(1, 1)), 1: encode(square(0, 0))}),
            InstanceTrack(2, 0, 0.6, False, {0: encode(square(1, 1))}),
        )
        found = recorded(InstanceVideo("walk", SIZE, 2, ("0", "1"), tracks)).to_segments()
        assert [[segment.track for segment in frame.segments] for frame in found.frames()] == [[2], [1]]
        assert found.unlabelled == "background"

    def test_scores_that_are_no_confidence(self) -> None:
        track = InstanceTrack(1, 0, 3.5, False, {0: encode(square(0, 0))})
        with pytest.raises(InputError, match=r"video 'walk', track 1: the score 3\.5 is not in 0\.\.1"):
            list(recorded(InstanceVideo("walk", SIZE, 1, ("0",), (track,))).to_segments().frames())

    def test_things_of_panoptic_frames(self) -> None:
        def frame(index: int, *segments: tuple[int, int, float, int | None]) -> PanopticFrame:
            id_map = np.zeros(SIZE, dtype=np.uint16)
            for i, _ in enumerate(segments, start=1):
                id_map[i - 1, : index + 1] = i
            made = [
                Segment(i, category, category != 2, score, *measure_segments(id_map)[i], track=track)
                for i, (_, category, score, track) in enumerate(segments, start=1)
            ]
            return PanopticFrame("walk", 0, index, index, Fraction(1, 25), index / 25, id_map, tuple(made))

        frames = [
            frame(0, (1, 0, 0.5, 8), (2, 2, 0.9, 3), (3, 1, 0.25, None)),
            frame(1, (1, 1, 1.0, 8), (2, 1, 0.125, 5)),
            frame(2, (1, 1, 0.75, 8)),
        ]
        video = tracks_of("walk", frames)
        assert [(t.id, t.category, t.score, list(t.masks)) for t in video.tracks] == [
            (5, 1, 0.125, [1]),
            (8, 1, 0.75, [0, 1, 2]),  # mean of 0.5, 1 and 0.75; a dog in two frames of three
            (9, 1, 0.25, [0]),  # without a track: of one frame, after all others
        ]
        np.testing.assert_array_equal(decode(video.tracks[1].masks[2]), frames[2].id_map == 1)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(hnp.arrays(np.uint16, SIZE, elements=st.sampled_from([0, 1, 2, 300])), min_size=1, max_size=3))
    def test_there_and_back(self, id_maps: list[NDArray[np.uint16]]) -> None:
        """Things of a panoptic recording come back from their tracks, pixel by pixel."""
        frames = [
            PanopticFrame(
                "walk",
                0,
                i,
                i,
                Fraction(1, 25),
                i / 25,
                id_map,
                tuple(
                    Segment(n, n % 2, True, 0.5, size, box, track=n)
                    for n, (size, box) in measure_segments(id_map).items()
                ),
            )
            for i, id_map in enumerate(id_maps)
        ]
        back = recorded(tracks_of("walk", frames)).to_segments()
        for read, written in zip(back.frames(), frames, strict=True):
            np.testing.assert_array_equal(read.track_map(), written.track_map())
            assert [(s.track, s.category, s.score, s.area, s.box) for s in read.segments] == [
                (s.track, s.category, s.score, s.area, s.box) for s in written.segments
            ]

    def test_frames_of_two_sizes(self) -> None:
        def frame(width: int) -> PanopticFrame:
            return PanopticFrame("walk", 0, 0, 0, Fraction(1), 0.0, np.zeros((4, width), dtype=np.uint16))

        with pytest.raises(InputError, match="Frame 1 of 'walk' is 7×4 pixels, the frames before it 6×4"):
            tracks_of("walk", [frame(6), frame(7)])

    def test_any_format_can_be_asked_for_instances(self, tmp_path: Path) -> None:
        id_map = np.zeros(SIZE, dtype=np.uint16)
        id_map[:2] = 1
        id_map[2:] = 2
        segments = tuple(
            Segment(n, 2 if n == 2 else 0, n == 1, 0.5, *measure_segments(id_map)[n], track=40 + n) for n in (1, 2)
        )
        frame = PanopticFrame("walk", 0, 0, 0, Fraction(1, 25), 0.0, id_map, segments)
        vipseg.write(tmp_path, VOCABULARY, {"walk": [frame]})
        found = read_instances(tmp_path)
        assert (found.format, list(found.videos)) == ("vipseg", ["walk"])
        assert [(track.id, track.category) for track in found.videos["walk"].tracks] == [(41, 0)]
        assert found.videos["walk"].frame_names == ("00000000",)
        again = pickle.loads(pickle.dumps(instances_of(read_segments(tmp_path))))
        assert again.videos["walk"].tracks[0].id == 41


RLE = encode(square(1, 1))


def ytvis() -> dict[str, Any]:
    """Follows the specification: every field and every way to write a mask."""
    return {
        "info": {"description": "YouTube-VIS", "version": "1.0", "year": 2019},
        "licenses": [{"id": 1, "name": "CC BY 4.0", "url": ""}],
        "videos": [
            {
                "id": 7,
                "width": 6,
                "height": 4,
                "length": 3,
                "date_captured": "2019-04-11 00:55:41.903902",
                "license": 1,
                "flickr_url": "",
                "coco_url": "",
                "file_names": ["0043f083b5/00000.jpg", "0043f083b5/00005.jpg", "0043f083b5/00010.jpg"],
            },
            {"id": 9, "width": 3, "height": 2, "length": 1, "file_names": ["00f88c4f0a/00000.jpg"]},
        ],
        "annotations": [
            {
                "id": 301,
                "video_id": 7,
                "category_id": 26,
                "iscrowd": 0,
                "width": 6,
                "height": 4,
                "length": 3,
                "segmentations": [uncompressed(square(0, 0)), None, to_json(encode(square(1, 3)))],
                "areas": [4, None, 4],
                "bboxes": [[0, 0, 2, 2], None, [3, 1, 2, 2]],
            },
            {
                "id": 302,
                "video_id": 7,
                "category_id": 9,
                "iscrowd": 1,
                "segmentations": [None, [[1, 1, 3, 1, 3, 3, 1, 3]], None],
                "areas": [None, 4, None],
                "bboxes": [None, [1, 1, 2, 2], None],
            },
        ],
        "categories": [
            {"supercategory": "object", "id": 9, "name": "dog"},
            {"supercategory": "object", "id": 26, "name": "person"},
        ],
    }


def ytvis_results() -> list[dict[str, Any]]:
    return [
        {"video_id": 7, "score": 0.25, "category_id": 9, "segmentations": [None, to_json(RLE), None]},
        {"video_id": 9, "score": 0.5, "category_id": 26, "segmentations": [uncompressed(np.ones((2, 3), dtype=bool))]},
        {"video_id": 7, "score": 0.75, "category_id": 26, "segmentations": [to_json(RLE), to_json(RLE), None]},
    ]


def save(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data))
    return path


class TestYoutubeVis:
    def test_to_the_letter(self, tmp_path: Path) -> None:
        file = save(tmp_path / "instances_val_sub_GT.json", ytvis())
        assert recognise(file) == recognise(tmp_path) == ["youtube_vis"]
        found = read_instances(file)
        assert (found.path, found.format, found.unlabelled) == (file, "youtube_vis", "background")
        assert [(category.name, category.is_thing) for category in found.vocabulary] == [
            ("dog", True),
            ("person", True),
        ]
        assert list(found.videos) == ["0043f083b5", "00f88c4f0a"]
        video = found.videos["0043f083b5"]
        assert (video.size, video.num_frames) == ((4, 6), 3)
        assert video.frame_names[1] == "0043f083b5/00005.jpg"
        assert [(t.id, t.category, t.score, t.crowd, list(t.masks)) for t in video.tracks] == [
            (301, 1, 1.0, False, [0, 2]),
            (302, 0, 1.0, True, [1]),
        ]
        np.testing.assert_array_equal(decode(video.tracks[0].masks[0]), square(0, 0))
        np.testing.assert_array_equal(decode(video.tracks[0].masks[2]), square(1, 3))
        np.testing.assert_array_equal(decode(video.tracks[1].masks[1]), square(1, 1))
        assert found.videos["00f88c4f0a"].tracks == ()

    def test_as_panoptic_frames(self, tmp_path: Path) -> None:
        segments = read_segments(save(tmp_path / "a.json", ytvis()))
        assert (segments.tracked, segments.unlabelled) == (True, "background")
        frames = list(segments.frames("0043f083b5"))
        assert [[(s.track, s.is_thing, s.crowd) for s in f.segments] for f in frames] == [
            [(301, True, False)],
            [(302, True, True)],
            [(301, True, False)],
        ]
        assert [frame.size for frame in segments.frames("00f88c4f0a")] == [(2, 3)]

    def test_results_beside_their_ground_truth(self, tmp_path: Path) -> None:
        truth = save(tmp_path / "valid.json", ytvis())
        (tmp_path / "out").mkdir()
        results = save(tmp_path / "out/results.json", ytvis_results())
        assert recognise(results) == ["youtube_vis"]
        with pytest.raises(InputError, match=r"results\.json is a list of YouTube-VIS results, which names neither"):
            read_instances(results)
        found = read_instances(results, ground_truth=truth)
        assert list(found.videos) == ["0043f083b5", "00f88c4f0a"]
        assert [(t.id, t.category, t.score) for t in found.videos["0043f083b5"].tracks] == [(1, 0, 0.25), (2, 1, 0.75)]
        assert [(t.id, t.category, t.score) for t in found.videos["00f88c4f0a"].tracks] == [(1, 1, 0.5)]
        # The folder will do where it holds one ground truth, whatever lies beside it.
        save(tmp_path / "other.json", burst_annotations())
        assert list(read_instances(results, ground_truth=tmp_path).videos) == list(found.videos)
        save(tmp_path / "train.json", ytvis())
        with pytest.raises(InputError, match=r"holds several: train\.json, valid\.json"):
            read_instances(results, ground_truth=tmp_path)
        for name in ("other.json", "train.json"):
            (tmp_path / name).unlink()
        beside = save(tmp_path / "results.json", ytvis_results())
        assert len(read_instances(beside).videos["0043f083b5"].tracks) == 2
        # Of the folder, the annotations are read: results are named.
        assert read_instances(tmp_path).videos["0043f083b5"].tracks[0].id == 301

    def test_names_of_videos(self, tmp_path: Path) -> None:
        data = ytvis()
        data["videos"][0]["file_names"] = ["a.jpg", "b.jpg", "c.jpg"]
        assert list(read_instances(save(tmp_path / "a.json", data)).videos) == ["7", "00f88c4f0a"]
        data["videos"][0]["file_names"] = [f"00f88c4f0a/{i}.jpg" for i in range(3)]
        assert list(read_instances(save(tmp_path / "a.json", data)).videos) == ["7", "9"]

    def test_ids_from_0(self, tmp_path: Path) -> None:
        data = ytvis()
        data["annotations"][0]["id"] = 0
        found = read_instances(save(tmp_path / "a.json", data))
        assert [track.id for track in found.videos["0043f083b5"].tracks] == [1, 303]

    def test_an_empty_prediction(self, tmp_path: Path) -> None:
        data = ytvis()
        data["annotations"] = []
        found = read_segments(save(tmp_path / "a.json", data))
        assert [len(frame.segments) for frame in found.frames("0043f083b5")] == [0, 0, 0]

    @settings(max_examples=40, deadline=None)
    @given(instance_videos(), instance_videos("swim"))
    def test_any_instances(self, first: InstanceVideo, second: InstanceVideo) -> None:
        with tempfile.TemporaryDirectory() as place:
            folder = youtube_vis.write(Path(place), recorded(first, second))
            found = read_instances(folder)
            assert found.vocabulary == VOCABULARY
            assert list(found.videos) == ["a/walk", "swim"]
            assert_same_video(found.videos["a/walk"], first)
            # Ids are of the whole file, so those of the second video come after those of the first.
            offset = max((track.id for track in first.tracks), default=0)
            moved = replace(second, tracks=tuple(replace(t, id=t.id + offset) for t in second.tracks))
            assert_same_video(found.videos["swim"], moved)
            if first.tracks or second.tracks:
                results = read_instances(folder / "results.json").videos["swim"]
                assert [(t.score, t.category, dict(t.masks)) for t in results.tracks] == [
                    (t.score, t.category, dict(t.masks)) for t in second.tracks
                ]

    def test_the_files_are_the_format(self, tmp_path: Path) -> None:
        track = InstanceTrack(5, 1, 0.75, False, {1: encode(square(1, 3))})
        youtube_vis.write(tmp_path, recorded(InstanceVideo("walk", SIZE, 2, ("00", "01"), (track,))))
        assert not list(tmp_path.glob("*.partial"))
        data = json.loads((tmp_path / "instances.json").read_text())
        assert data["videos"] == [
            {
                "id": 1,
                "name": "walk",
                "width": 6,
                "height": 4,
                "length": 2,
                "file_names": ["walk/00.jpg", "walk/01.jpg"],
            }
        ]
        segmentation = {"size": [4, 6], "counts": encode(square(1, 3))["counts"].decode()}
        assert data["annotations"] == [
            {
                "id": 5,
                "video_id": 1,
                "score": 0.75,
                "category_id": 2,
                "segmentations": [None, uncompressed(square(1, 3))],
                "areas": [None, 4],
                "bboxes": [None, [3, 1, 2, 2]],
                "iscrowd": 0,
                "width": 6,
                "height": 4,
                "length": 2,
            }
        ]
        assert json.loads((tmp_path / "results.json").read_text()) == [
            {"video_id": 1, "score": 0.75, "category_id": 2, "segmentations": [None, segmentation]}
        ]
        # Stuff apart: other programs average over all categories.
        assert [(c["id"], c["name"]) for c in data["categories"]] == [(1, "person"), (2, "dog")]
        assert [(c["id"], c["name"]) for c in data["stuff"]] == [(3, "sky")]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda d: d["videos"][1].update(id=7), r"a\.json: videos\[1\]\.id 7 stands twice"),
            (lambda d: d["videos"][0].update(id=None), r"videos\[0\]\.id must be a number"),
            (lambda d: d["videos"][0].update(length=4), r"videos\[0\]\.length is 4, but there are 3 file_names"),
            (lambda d: d["videos"][0].update(width=0), r"videos\[0\]\.width must be a whole number of at least 1"),
            (lambda d: d["videos"][0].update(file_names=[1, 2, 3]), r"videos\[0\]\.file_names must be a list of texts"),
            (
                lambda d: d["annotations"][1].update(video_id=8),
                r"annotations\[1\]\.video_id 8 is not among the `videos`",
            ),
            (lambda d: d["annotations"][1].update(category_id=3), r"annotations\[1\]\.category_id 3 is not among the"),
            (lambda d: d["annotations"][1].update(id=301), r"annotations\[1\]\.id 301 stands twice"),
            (lambda d: d["annotations"][1].update(id="x"), r"annotations\[1\]\.id must be a whole number"),
            (lambda d: d["annotations"][1].update(iscrowd=2), r"annotations\[1\]\.iscrowd must be 0 or 1, found 2"),
            (lambda d: d["annotations"][1].update(score="high"), r"annotations\[1\]\.score must be a finite number"),
            (
                lambda d: d["annotations"][1]["segmentations"].pop(),
                r"annotations\[1\]\.segmentations must be a list of 3 masks, one per frame of the video '0043f083b5', "
                "found 2",
            ),
            (
                lambda d: d["annotations"][1].update(segmentations=None),
                r"segmentations must be a list of 3.*found None",
            ),
            (
                lambda d: d["annotations"][0]["segmentations"][2].update(size=[6, 4]),
                r"annotations\[0\]\.segmentations\[2\]\.size must be the height and width",
            ),
            (
                lambda d: d["annotations"][0]["segmentations"][2].update(counts="0"),
                r"annotations\[0\]\.segmentations\[2\]\.counts: the run lengths are of 0 pixels",
            ),
            (lambda d: d["annotations"].append(5), r"annotations\[2\] must be an object"),
            (lambda d: d["categories"][1].update(name=""), r"categories\[1\]\.name must be a word"),
            (lambda d: d["categories"][1].update(id=9), r"categories\[1\]\.id 9 stands twice"),
            (lambda d: d.pop("categories"), r"a\.json: categories must be a list"),
            (lambda d: d.update(annotations=None), r"a\.json has no annotations .*as in the published test sets"),
        ],
    )
    def test_mistakes(self, tmp_path: Path, change: Callable[[Any], None], says: str) -> None:
        data = ytvis()
        change(data)
        with pytest.raises(InputError, match=says):
            list(read_segments(save(tmp_path / "a.json", data)).frames("0043f083b5"))

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda d: d[1].update(video_id=1), r"results\.json: \[1\]\.video_id 1 is not among the `videos`"),
            (lambda d: d[1].pop("score"), r"results\.json: \[1\]\.score must be a finite number, found None"),
            (lambda d: d[1].update(category_id=-1), r"results\.json: \[1\]\.category_id must be a whole number"),
        ],
    )
    def test_mistakes_in_results(self, tmp_path: Path, change: Callable[[Any], None], says: str) -> None:
        truth, data = save(tmp_path / "truth.json", ytvis()), ytvis_results()
        change(data)
        with pytest.raises(InputError, match=says):
            read_instances(save(tmp_path / "results.json", data), truth)
        with pytest.raises(InputError, match="results need those of the ground truth"):
            read_instances(tmp_path / "results.json", tmp_path / "results.json")

    def test_several_files(self, tmp_path: Path) -> None:
        save(tmp_path / "a.json", ytvis())
        save(tmp_path / "b.json", ytvis())
        with pytest.raises(InputError, match=r"several YouTube-VIS files: a\.json, b\.json\. Name one"):
            read_instances(tmp_path)


def burst_annotations() -> dict[str, Any]:
    """Follows ANNOTATION_FORMAT.md: every field of it."""
    counts = {name: encode(mask)["counts"].decode() for name, mask in (("a", square(0, 0)), ("b", square(1, 3)))}
    return {
        "sequences": [
            {
                "width": 6,
                "height": 4,
                "id": 12,
                "seq_name": "b1d968b9-ce42734a",
                "dataset": "BDD",
                "fps": 30,
                "all_image_paths": ["f1.jpg", "f2.jpg", "f3.jpg", "f4.jpg", "f5.jpg"],
                "annotated_image_paths": ["f1.jpg", "f3.jpg", "f5.jpg"],
                "neg_category_ids": [805],
                "not_exhaustive_category_ids": [207],
                "track_category_ids": {"2": 805, "11": 207},
                "segmentations": [
                    {"2": {"rle": counts["a"], "is_gt": True}},
                    {},
                    {
                        "2": {"rle": counts["b"], "is_gt": False, "score": 0.5, "bbox": [3, 1, 2, 2], "point": [4, 2]},
                        "11": {"rle": counts["a"], "is_gt": True},
                    },
                ],
            }
        ],
        "categories": [
            {"id": 207, "name": "car", "synset": "car.n.01", "def": "a motor vehicle", "synonyms": ["car", "auto"]},
            {"id": 805, "name": "person", "synset": "person.n.01", "def": "a human", "synonyms": ["person"]},
            {"id": 3, "name": "airplane", "synset": "airplane.n.01", "def": "flies", "synonyms": ["aeroplane"]},
        ],
        "split": "val",
    }


def tao() -> dict[str, Any]:
    """Follows the definition in TAO's toolkit; masks as its extension by BURST."""
    return {
        "info": {},
        "licenses": [],
        "videos": [
            {
                "id": 1,
                "name": "val/BDD/b1",
                "width": 6,
                "height": 4,
                "neg_category_ids": [2],
                "not_exhaustive_category_ids": [],
                "metadata": {"dataset": "BDD"},
            }
        ],
        "images": [
            {"id": 31, "video_id": 1, "file_name": "val/BDD/b1/0061.jpg", "width": 6, "height": 4, "frame_index": 60},
            {"id": 30, "video_id": 1, "file_name": "val/BDD/b1/0031.jpg", "width": 6, "height": 4, "frame_index": 30},
        ],
        "tracks": [{"id": 5, "category_id": 1, "video_id": 1}],
        "annotations": [
            {
                "id": 1,
                "image_id": 31,
                "track_id": 5,
                "bbox": [1, 1, 2, 2],
                "area": 4.0,
                "category_id": 1,
                "segmentation": to_json(RLE),
            }
        ],
        "categories": [{"id": 1, "name": "car", "synset": "car.n.01"}, {"id": 2, "name": "dog", "synset": "dog.n.01"}],
    }


class TestBurst:
    def test_to_the_letter(self, tmp_path: Path) -> None:
        file = save(tmp_path / "all_classes.json", burst_annotations())
        assert recognise(file) == recognise(tmp_path) == ["burst"]
        found = read_instances(file)
        assert (found.format, found.unlabelled) == ("burst", "void")
        assert [category.names for category in found.vocabulary] == [
            ("car", "auto"),
            ("person",),
            ("airplane", "aeroplane"),
        ]
        assert list(found.videos) == ["BDD/b1d968b9-ce42734a"]
        video = found.videos["BDD/b1d968b9-ce42734a"]
        assert (video.size, video.frame_names) == ((4, 6), ("f1.jpg", "f3.jpg", "f5.jpg"))
        assert [(t.id, t.category, t.score, list(t.masks)) for t in video.tracks] == [
            (2, 1, 0.5, [0, 2]),
            (11, 0, 1.0, [2]),
        ]
        np.testing.assert_array_equal(decode(video.tracks[0].masks[2]), square(1, 3))
        assert (video.judged, video.not_exhaustive) == (frozenset({0, 1}), frozenset({0}))

    def test_frames_have_their_number_among_all_images(self, tmp_path: Path) -> None:
        frames = list(read_segments(save(tmp_path / "a.json", burst_annotations())).frames())
        assert [frame.index for frame in frames] == [0, 2, 4]
        assert [[segment.track for segment in frame.segments] for frame in frames] == [[2], [], [2, 11]]

    def test_categories_of_the_ground_truth(self, tmp_path: Path) -> None:
        truth = save(tmp_path / "truth.json", burst_annotations())
        data = burst_annotations()
        del data["categories"]
        results = save(tmp_path / "results.json", data)
        assert len(read_instances(results, truth).vocabulary) == 3
        with pytest.raises(InputError, match=r"results\.json: categories must be a list"):
            read_instances(results)

    @settings(max_examples=40, deadline=None)
    @given(instance_videos(first_id=0), instance_videos("swim"))
    def test_any_instances(self, first: InstanceVideo, second: InstanceVideo) -> None:
        with tempfile.TemporaryDirectory() as place:
            found = read_instances(burst.write(Path(place), recorded(first, second)))
            assert found.vocabulary == VOCABULARY
            for video in (first, second):
                read = found.videos[video.name]
                numbered = tuple(Times.at(i, Fraction(25)) for i in range(video.num_frames))
                assert_same_video(read, replace(video, times=video.times or numbered))
                assert (read.judged, read.not_exhaustive) == (None, frozenset())

    @given(st.sets(st.integers(0, 2)), st.sets(st.integers(0, 2)), st.integers(0, 2))
    def test_what_is_judged_comes_back(self, judged: set[int], open_ended: set[int], category: int) -> None:
        vocabulary = Vocabulary.build(things="a; b; c")
        track = InstanceTrack(1, category, 1.0, False, {0: encode(square(0, 0))})
        video = InstanceVideo(
            "x/y",
            SIZE,
            1,
            ("0",),
            (track,),
            judged=frozenset(judged | {category}),
            not_exhaustive=frozenset(open_ended),
        )
        with tempfile.TemporaryDirectory() as place:
            read = read_instances(burst.write(Path(place), recorded(video, vocabulary=vocabulary))).videos["x/y"]
        assert read.not_exhaustive == video.not_exhaustive
        assert (read.judged or frozenset({0, 1, 2})) == video.judged

    def test_the_file_is_the_format(self, tmp_path: Path) -> None:
        tracks = (
            InstanceTrack(5, 1, 0.75, False, {1: encode(square(1, 3))}),
            InstanceTrack(6, 0, 1.0, True, {1: encode(square(1, 3))}),  # a crowd, which BURST has none of
        )
        burst.write(tmp_path, recorded(InstanceVideo("BDD/b1", SIZE, 2, ("0.jpg", "1.jpg"), tracks)), split="test")
        data = json.loads((tmp_path / "all_classes.json").read_text())
        assert data["split"] == "test"
        assert data["sequences"] == [
            {
                "id": 0,
                "dataset": "BDD",
                "seq_name": "b1",
                "width": 6,
                "height": 4,
                "fps": 1,
                "all_image_paths": ["0.jpg", "1.jpg"],
                "annotated_image_paths": ["0.jpg", "1.jpg"],
                "neg_category_ids": [1],
                "not_exhaustive_category_ids": [],
                "track_category_ids": {"5": 2},
                "segmentations": [
                    {},
                    {"5": {"rle": encode(square(1, 3))["counts"].decode(), "is_gt": False, "score": 0.75}},
                ],
            }
        ]
        # As its own programs decode it.
        rle = {"size": [4, 6], "counts": data["sequences"][0]["segmentations"][1]["5"]["rle"]}
        np.testing.assert_array_equal(coco.decode(rle), square(1, 3))

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda s: s.update(height="4"), r"a\.json: sequences\[0\]\.height must be a whole number"),
            (lambda s: s.update(seq_name=4), r"sequences\[0\]\.seq_name must be a text"),
            (
                lambda s: s["segmentations"].pop(),
                r"sequences\[0\]\.segmentations is of 2 frames, but there are 3 annotated_image_paths",
            ),
            (lambda s: s.update(track_category_ids=[]), r"track_category_ids must be an object"),
            (lambda s: s["track_category_ids"].update({"2": 4}), r"track_category_ids\['2'\]: the category 4 is not"),
            (lambda s: s["track_category_ids"].update({"x": 3}), "tracks must be called by whole numbers, found 'x'"),
            (
                lambda s: s["track_category_ids"].pop("11"),
                r"segmentations\[2\]\['11'\]: the track has no category in `track_category_ids`",
            ),
            (lambda s: s["segmentations"][0]["2"].pop("rle"), r"segmentations\[0\]\['2'\]\.rle must be the text"),
            (
                lambda s: s["segmentations"][0]["2"].update(rle="0"),
                r"segmentations\[0\]\['2'\]\.rle: the run lengths are of 0 pixels, the video has 6×4 = 24",
            ),
            (lambda s: s["segmentations"][2]["2"].update(score="x"), r"\['2'\]\.score must be a finite number"),
            (lambda s: s.update(neg_category_ids=[9]), r"neg_category_ids\[0\]: the category 9 is not among"),
            (lambda s: s.update(not_exhaustive_category_ids=3), r"not_exhaustive_category_ids must be a list"),
            (
                lambda s: s.update(annotated_image_paths=["f1.jpg", "f3.jpg", "f9.jpg"]),
                r"annotated_image_paths names 'f9\.jpg', which all_image_paths does not",
            ),
        ],
    )
    def test_mistakes(self, tmp_path: Path, change: Callable[[Any], None], says: str) -> None:
        data = burst_annotations()
        change(data["sequences"][0])
        with pytest.raises(InputError, match=says):
            list(read_segments(save(tmp_path / "a.json", data)).frames())

    def test_the_same_video_twice(self, tmp_path: Path) -> None:
        data = burst_annotations()
        data["sequences"].append(copy.deepcopy(data["sequences"][0]))
        with pytest.raises(
            InputError, match=r"sequences\[1\]\.seq_name: the video 'BDD/b1d968b9-ce42734a' stands twice"
        ):
            read_instances(save(tmp_path / "a.json", data))


class TestTao:
    def test_boxes_are_refused(self, tmp_path: Path) -> None:
        data = tao()
        del data["annotations"][0]["segmentation"]
        file = save(tmp_path / "validation.json", data)
        assert recognise(file) == ["burst"]
        with pytest.raises(InputError, match=r"validation\.json holds boxes only .* Take the masks of BURST"):
            read_segments(file)
        results = save(tmp_path / "results.json", [{"image_id": 1, "track_id": 2, "bbox": [0, 0, 1, 1], "score": 1.0}])
        with pytest.raises(InputError, match=r"results\.json is a list of TAO results"):
            read_segments(results)

    def test_masks_are_read(self, tmp_path: Path) -> None:
        found = read_instances(save(tmp_path / "a.json", tao()))
        video = found.videos["val/BDD/b1"]
        assert video.frame_names == ("val/BDD/b1/0031.jpg", "val/BDD/b1/0061.jpg")
        assert [(t.id, t.category, list(t.masks)) for t in video.tracks] == [(5, 0, [1])]
        assert video.judged is None  # of two categories one is annotated, one absent
        assert [frame.index for frame in found.to_segments().frames()] == [30, 60]

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (
                lambda d: d["annotations"][0].update(image_id=4),
                r"annotations\[0\]\.image_id 4 is not among the `images`",
            ),
            (
                lambda d: d["annotations"][0].update(track_id=4),
                r"annotations\[0\]\.track_id 4 is not among the `tracks`",
            ),
            (lambda d: d["images"][0].update(video_id=4), r"images\[0\]\.video_id 4 is not among the `videos`"),
            (lambda d: d["images"][0].update(frame_index=-1), r"images\[0\]\.frame_index must be a whole number"),
            (lambda d: d["tracks"][0].update(category_id=4), r"tracks\[0\]\.category_id: the category 4 is not"),
            (
                lambda d: d["videos"].append(d["videos"][0]),
                r"videos\[1\]: the video 'val/BDD/b1' \(id 1\) stands twice",
            ),
        ],
    )
    def test_mistakes(self, tmp_path: Path, change: Callable[[Any], None], says: str) -> None:
        data = tao()
        change(data)
        with pytest.raises(InputError, match=says):
            read_instances(save(tmp_path / "a.json", data))


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a JSON."""
    if path:
        yield path
    if isinstance(data, dict | list):
        for key in data if isinstance(data, dict) else range(len(data)):
            yield from places(data[key], (*path, key))


@pytest.mark.parametrize("make", [ytvis, ytvis_results, burst_annotations, tao], ids=lambda make: make.__name__)
def test_a_wrong_value_anywhere_is_an_input_error(tmp_path: Path, make: Callable[[], Any]) -> None:
    """Nothing else is raised, nothing breaks down (pycocotools would), whatever stands at one place of the file."""
    wrong: list[Any] = [None, -1, 0, 10**12, 1.5, float("nan"), "", "../..", [], {}, [[]], {"2": None}, True, [1, 2]]
    truth, file = save(tmp_path / "truth.json", ytvis()), tmp_path / "a.json"
    refused = 0
    draw = random.Random(0)
    for path in places(make()):
        for value in draw.sample(wrong, 5):
            data = make()
            parent = data
            for key in path[:-1]:
                parent = parent[key]
            parent[path[-1]] = value
            save(file, data)
            try:
                found = read_instances(file, truth if make is ytvis_results else None)
                for video in found.videos:
                    list(found.to_segments().frames(video))
            except InputError as error:
                refused += str(tmp_path) in str(error)
    assert refused > 100


@pytest.mark.parametrize("name", ["youtube_vis", "burst"])
def test_a_run_is_exported_and_read_back(tmp_path: Path, name: str) -> None:
    from videoseg.store.reader import open_run

    frames = []
    for index in range(3):
        id_map = np.full(SIZE, 2, dtype=np.uint16)
        id_map[1:3, index : index + 2] = 1
        segments = tuple(
            Segment(n, 2 if n == 2 else 0, n == 1, 0.5, size, box, track=n)
            for n, (size, box) in measure_segments(id_map).items()
        )
        frames.append(
            PanopticFrame("walk.mp4", 0, index, 512 * index, Fraction(1, 15360), index / 30, id_map, segments)
        )
    manifest = Manifest.of(
        model={},
        tracker={},
        vocabulary=VOCABULARY,
        source=SourceInfo("walk.mp4", "file", 6, 4, 3, Fraction(30), 0.1),
        chunk_plan=[ChunkPlan(number=0, start=0, stop=3)],
    )
    writer = RunWriter.create(tmp_path / "run", manifest)
    with writer.begin_chunk(0) as chunk:
        for i, frame in enumerate(frames):
            chunk.append(frame, number=i, overlap=False)
    writer.write_stitching({0: {1: 7, 2: 3}})
    writer.finish({})
    folder = export_run(open_run(tmp_path / "run"), name)
    found = read_segments(folder)
    assert (found.format, found.videos, found.vocabulary) == (name, ("walk",), VOCABULARY)
    for read, written in zip(found.frames(), frames, strict=True):
        np.testing.assert_array_equal(read.track_map(), np.where(written.id_map == 1, 7, 0))
        assert (read.index, read.pts, read.time_base) == (written.index, written.pts, written.time_base)
        assert [(s.category, s.score) for s in read.segments] == [(0, 0.5)]
