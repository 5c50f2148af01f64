"""`OdiseSegmenter`: results on frames of every size, determinism, classification in other vocabularies."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from micro_model import VOCABULARY, micro_model, micro_size, picture, save_micro_model

from odise_frame.segmenter import FrameByFrameState, OdiseSegmenter, frame_size, load_segmenter, resize_frame
from odise_frame.sizes import load_size
from odise_frame.timing import STAGES
from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.panoptic import PanopticFrame
from videoseg.protocols import Segmenter
from videoseg.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_micro_model(tmp_path_factory.mktemp("micro"))


@pytest.fixture(scope="module")
def segmenter(folder: Path) -> Iterator[OdiseSegmenter]:
    threads = torch.get_num_threads()
    yield load_segmenter(folder, VOCABULARY, threads=1)
    torch.set_num_threads(threads)


def frame(key: str, height: int, width: int, index: int = 0) -> Frame:
    return Frame("test", 0, index, index, Fraction(1, 25), index / 25, picture(key, height, width))


def run(segmenter: OdiseSegmenter, *frames: Frame) -> list[PanopticFrame]:
    return segmenter.segment(frames, [None] * len(frames), [segmenter.new_state("test") for _ in frames])


def assert_same(one: PanopticFrame, other: PanopticFrame) -> None:
    assert one.id_map.tobytes() == other.id_map.tobytes()
    assert len(one.segments) == len(other.segments)
    for a, b in zip(one.segments, other.segments, strict=True):
        assert (a.id, a.category, a.score, a.probabilities) == (b.id, b.category, b.score, b.probabilities)
        assert a.embedding is not None
        assert b.embedding is not None
        assert a.embedding.tobytes() == b.embedding.tobytes()
        assert a.open_vocabulary is not None
        assert b.open_vocabulary is not None
        assert a.open_vocabulary.tobytes() == b.open_vocabulary.tobytes()


def test_it_is_a_segmenter(segmenter: OdiseSegmenter) -> None:
    assert isinstance(segmenter, Segmenter)
    assert segmenter.vocabulary == VOCABULARY
    described = segmenter.describe()
    assert described["model"] == "micro"
    assert len(described["checksum"]) == 64
    assert described["window_batch"] == "8"


def test_segments_carry_all_that_others_need(segmenter: OdiseSegmenter) -> None:
    (result,) = run(segmenter, frame("scene", 135, 240))
    assert result.size == (135, 240)
    assert len(result.segments) >= 3
    for segment in result.segments:
        assert segment.is_thing == VOCABULARY[segment.category].is_thing
        assert segment.probabilities[0] == (segment.category, pytest.approx(segment.score))
        values = [p for _, p in segment.probabilities]
        assert len(values) == 5
        assert values == sorted(values, reverse=True)
        assert segment.embedding is not None
        assert segment.embedding.dtype == np.float32
        assert np.linalg.norm(segment.embedding) == pytest.approx(1.0, abs=1e-5)
    stuff = [s.category for s in result.segments if not s.is_thing]
    assert len(stuff) == len(set(stuff))


@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (16, 16), (1, 300), (37, 1001), (3000, 9), (241, 135), pytest.param(4320, 7680, marks=pytest.mark.full)],
)
def test_frames_of_any_size(segmenter: OdiseSegmenter, height: int, width: int) -> None:
    (result,) = run(segmenter, frame("any", height, width))
    assert result.size == (height, width)


def test_frames_given_together_do_not_influence_each_other(segmenter: OdiseSegmenter) -> None:
    frames = [frame("a", 90, 160), frame("b", 64, 64, 1), frame("c", 90, 160, 2)]
    together = run(segmenter, *frames)
    for one, result in zip(frames, together, strict=True):
        assert_same(run(segmenter, one)[0], result)


def test_windows_in_a_batch_do_not_influence_each_other() -> None:
    model = micro_model()
    windows = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    def maps(*which: int) -> dict[str, torch.Tensor]:
        features = model.backbone.describe_windows(model.frozen, windows[list(which)])
        return model.backbone.project(features, 64)

    with torch.no_grad():
        first, second, third = maps(0, 1), maps(0, 2), maps(2, 0)
    for name, value in first.items():
        assert torch.equal(value[0], second[name][0]), name
        assert torch.equal(value[0], third[name][1]), name


def test_an_incomplete_batch_of_windows_is_filled_up() -> None:
    model = micro_model()
    images = torch.rand(1, 3, 64, 192, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        padded = model.backbone(model.frozen, images, window_batch=2)
        whole = model.backbone(model.frozen, images)
    for name, value in whole.items():
        torch.testing.assert_close(padded[name], value, rtol=1e-4, atol=1e-4)


def test_segments_are_classified_again_as_they_were(segmenter: OdiseSegmenter) -> None:
    (result,) = run(segmenter, frame("scene", 135, 240))
    stacked = np.stack([s.open_vocabulary for s in result.segments if s.open_vocabulary is not None])
    again = segmenter.classify(stacked, VOCABULARY)
    assert again.shape == (len(result.segments), len(VOCABULARY))
    assert again.dtype == np.float32
    for segment, row in zip(result.segments, again, strict=True):
        for category, probability in segment.probabilities:
            assert row[category] == pytest.approx(probability, abs=1e-5)
    # Words can be asked for that nobody thought of before; a category keeps its place among fewer rivals.
    fewer = segmenter.classify(stacked, Vocabulary.build(things="zebra", stuff="grass, lawn"))
    assert fewer.shape == (len(result.segments), 2)
    assert (fewer.sum(axis=1) <= 1.0 + 1e-5).all()


def test_evidence_of_another_model_is_refused(segmenter: OdiseSegmenter) -> None:
    with pytest.raises(InputError, match="cannot be classified again"):
        segmenter.classify(np.zeros((2, 7), np.float32), VOCABULARY)


def test_two_thousand_categories(folder: Path) -> None:
    vocabulary = Vocabulary.of([((f"kind {i}", f"sort {i}"), i % 2 == 0) for i in range(2000)])
    (result,) = run(load_segmenter(folder, vocabulary), frame("scene", 72, 128))
    assert result.segments
    assert all(0 <= k < 2000 for s in result.segments for k, _ in s.probabilities)


def test_time_is_told_by_stage(folder: Path) -> None:
    segmenter = load_segmenter(folder, VOCABULARY)
    run(segmenter, frame("scene", 72, 128))
    assert set(segmenter.times.seconds) == set(STAGES)
    assert min(segmenter.times.seconds.values()) > 0


def test_state_is_saved_and_restored(segmenter: OdiseSegmenter) -> None:
    state = segmenter.new_state("a stream")
    assert FrameByFrameState.from_bytes(state.to_bytes()) == state
    for damaged in (b"", b"\x00", b"{}", b'{"format_version": 99, "stream": "x"}'):
        with pytest.raises(InputError, match="start the stream anew"):
            FrameByFrameState.from_bytes(damaged)


@pytest.mark.parametrize(
    ("frame_shape", "expected"),
    [
        ((480, 640), (1024, 1365)),
        ((1080, 1920), (1024, 1820)),
        ((100, 1000), (256, 2560)),
        ((1, 100_000), (1, 2560)),
        ((2000, 1500), (1365, 1024)),
    ],
)
def test_frames_are_resized_as_the_published_model_does(
    frame_shape: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert frame_size(*frame_shape, load_size("odise-label")) == expected


def test_frames_of_the_right_size_are_not_touched() -> None:
    rgb = picture("exact", 128, 150)
    image = resize_frame(rgb, micro_size())
    np.testing.assert_array_equal((image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy(), rgb)
