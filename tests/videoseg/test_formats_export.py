"""A run exported as every format of tracks: what is promised comes back, under the name that reading needs."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from videoseg.errors import InputError
from videoseg.formats import export_run, read_segments
from videoseg.panoptic import PanopticFrame, Segment, measure_segments
from videoseg.protocols import SourceInfo
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.reader import Run
from videoseg.store.writer import RunWriter
from videoseg.vocabulary import Vocabulary

VOCABULARY = Vocabulary.build(things="car; person, pedestrian", stuff="sky")


def write_run(folder: Path, vocabulary: Vocabulary = VOCABULARY) -> Run:
    """Two frames: two cars, a person, sky above and void at the bottom; the cars swap places."""
    manifest = Manifest.of(
        model={},
        tracker={},
        vocabulary=vocabulary,
        source=SourceInfo("/clips/my walk.mp4", "file", 4, 3, 2, Fraction(30), 2 / 30),
        chunk_plan=[ChunkPlan(number=0, start=0, stop=2)],
    )
    writer = RunWriter.create(folder, manifest)
    categories = {1: 0, 2: 0, 3: 1, 4: 2}
    with writer.begin_chunk(0) as chunk:
        for number, row in enumerate(([1, 1, 2, 3], [2, 2, 1, 3])):
            id_map = np.array([[4, 4, 4, 4], row, [0, 0, 0, 0]], dtype=np.uint16)
            segments = tuple(
                Segment(i, categories[i], i != 4, 0.5, area, box, track=i + 1000)
                for i, (area, box) in measure_segments(id_map).items()
            )
            frame = PanopticFrame(manifest.stream, 0, number, number, Fraction(1, 30), number / 30, id_map, segments)
            chunk.append(frame, number=number, overlap=False)
    writer.write_stitching({0: {i + 1000: i for i in categories}})
    return writer.finish({})


@pytest.mark.parametrize(
    ("name", "video", "expected"),
    [
        ("vipseg", "my_walk", {"car": [2, 1], "person": [1], "sky": [4]}),
        ("coco_panoptic", "panoptic", {"car": [2, 1], "person": [1], "sky": [4]}),
        ("run_folder", "my walk", {"car": [2, 1], "person": [1], "sky": [4]}),
        ("kitti_step", "0000", {"car": [2, 1], "person": [1], "sky": [4]}),
        ("cityscapes_vps", "0000", {"car": [2, 1], "person": [1], "sky": [4]}),
        ("kitti_mots", "my_walk", {"car": [2, 1], "pedestrian": [1]}),
        ("davis", "my_walk", {"object": [2, 1, 1]}),
        ("vspw", "my_walk", {"car": [3], "person": [1], "sky": [4]}),
    ],
)
def test_a_run_comes_back(tmp_path: Path, name: str, video: str, expected: dict[str, list[int]]) -> None:
    run = write_run(tmp_path / "run")
    folder = export_run(run, name)
    assert folder == tmp_path / "run/exports" / name
    recorded = read_segments(folder)
    assert (recorded.format, recorded.videos) == (name, (video,))
    first, second = recorded.frames()
    found: dict[str, list[int]] = {}
    for segment in first.segments:
        found.setdefault(recorded.vocabulary[segment.category].name, []).append(segment.area)
    assert {category: sorted(areas) for category, areas in found.items()} == {
        category: sorted(areas) for category, areas in expected.items()
    }
    if name not in ("coco_panoptic", "vspw"):
        # The cars swapped places, and their tracks with them.
        before, after = first.track_map(), second.track_map()
        assert before[1, 0] == after[1, 2] != before[1, 2] == after[1, 0]
        assert before[1, 3] == after[1, 3]
    with pytest.raises(InputError, match="is not empty"):
        export_run(run, name)


@pytest.mark.parametrize("name", ["kitti_step", "cityscapes_vps", "vspw"])
def test_a_vocabulary_that_a_format_cannot_say(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "run", Vocabulary.build(things="car; goblin", stuff="sky"))
    with pytest.raises(InputError, match=r"has no class for goblin\. Call the categories as it does .*take vipseg"):
        export_run(run, name)
    assert not (tmp_path / "run/exports" / name).exists()
