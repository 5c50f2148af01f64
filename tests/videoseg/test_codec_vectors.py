"""Motion vectors of a file: the same pixels with and without, the same from anywhere, and no more than guesses."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from videoseg.motion import CodecVectors
from videoseg.motion_estimation import LumaPyramid, estimate_motion_between
from videoseg.video import open_source

HEIGHT, WIDTH, SPEED = 144, 256, 36


def texture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 255, (height // 4 + 1, width // 4 + 1, 3)).astype(np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)[:height, :width]


def pictures() -> list[NDArray[np.uint8]]:
    """A patch of 48×48 that moves faster than the search reaches, over ground that stands still."""
    ground, patch = texture(0, HEIGHT, WIDTH), texture(1, 48, 48)
    frames = []
    for t in range(6):
        frame = ground.copy()
        frame[48:96, 16 + SPEED * t : 64 + SPEED * t] = patch[:, : WIDTH - 16 - SPEED * t]
        frames.append(frame)
    return frames


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = str(tmp_path_factory.mktemp("vectors") / "fast.mp4")
    write(path, {"bf": "0", "refs": "1", "crf": "10", "x264-params": "me=esa:merange=48"})
    return path


def write(path: str, options: dict[str, object]) -> None:
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = options
        for picture in pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def test_pixels_are_the_same_and_vectors_only_come_when_asked_for(film: str) -> None:
    plain = list(open_source(film).frames())
    asked = list(open_source(film, codec_vectors=True).frames())
    assert all(frame.vectors is None for frame in plain)
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(plain, asked, strict=True))
    assert asked[0].vectors is None, "the first picture is coded by itself"
    assert all(frame.vectors is not None for frame in asked[1:])


@pytest.mark.parametrize("options", [{"bf": "0"}, {"bf": "3", "g": "3"}], ids=["no B-frames", "B-frames"])
def test_vectors_do_not_depend_on_where_reading_began(tmp_path: Path, options: dict[str, object]) -> None:
    path = str(tmp_path / "film.mp4")
    write(path, options)
    whole = [frame.vectors for frame in open_source(path, codec_vectors=True).frames()]
    assert any(vectors is not None for vectors in whole)
    for start in range(1, len(whole)):
        (frame,) = open_source(path, codec_vectors=True).frames(start, start + 1)
        assert_same(frame.vectors, whole[start])


def assert_same(first: CodecVectors | None, second: CodecVectors | None) -> None:
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert first.cell == second.cell
        assert np.array_equal(first.displacement, second.displacement)
        assert np.array_equal(first.known, second.known)


def test_what_is_too_fast_for_the_search_is_found_by_the_vectors(film: str) -> None:
    frames = list(open_source(film, codec_vectors=True).frames())
    pyramids = [LumaPyramid.of(frame.rgb) for frame in frames]
    for t in (2, 3, 4):
        # Blocks that lie wholly on the patch.
        left = 16 + SPEED * t
        inside = np.s_[48 // 8 : 96 // 8, -(-left // 8) : (left + 48) // 8]
        searched = estimate_motion_between(pyramids[t - 1], pyramids[t])
        helped = estimate_motion_between(pyramids[t - 1], pyramids[t], vectors=frames[t].vectors)
        true = [-SPEED, 0]
        assert (searched.displacement[inside] == true).all(axis=2).mean() < 0.2
        assert (helped.displacement[inside] == true).all(axis=2).mean() > 0.8
        assert helped.residual[inside].mean() < 0.5 * searched.residual[inside].mean()
        assert np.allclose(helped.similarity, np.eye(2, 3), atol=0.05)


def test_vectors_that_lie_change_nothing() -> None:
    """Blocks that fit already keep their displacement, whatever an encoder says."""
    ground = texture(0, HEIGHT + 40, WIDTH + 40)
    before, after = ground[20:-20, 20:-20], ground[23:-17, 15:-25]
    pyramids = LumaPyramid.of(before), LumaPyramid.of(after)
    random = np.random.default_rng(5)
    shape = HEIGHT // 8, WIDTH // 8
    liar = CodecVectors(8, random.integers(-60, 60, (*shape, 2)).astype(np.int16), np.ones(shape, dtype=bool))
    honest, misled = estimate_motion_between(*pyramids), estimate_motion_between(*pyramids, vectors=liar)
    covered = np.s_[1:-1, 1:-1]
    assert np.array_equal(honest.displacement[covered], misled.displacement[covered])
    assert np.array_equal(honest.valid[covered], misled.valid[covered])
    assert not misled.cut
