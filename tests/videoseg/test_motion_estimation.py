"""Motion and cuts on synthetic pictures whose motion is known."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, uniform_filter

from videoseg.motion_estimation import LumaPyramid, MotionSettings, estimate_motion, estimate_motion_between

HEIGHT, WIDTH = 270, 480


@cache
def texture(seed: int, scales: tuple[int, ...], height: int = 470, width: int = 860, ramp: float = 0.0) -> np.ndarray:
    """Smooth random colours at the given scales, brighter above by `ramp` levels than in the middle."""
    random = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3))
    for scale in scales:
        noise = random.normal(size=(height // scale + 4, width // scale + 4, 3))
        noise = noise.repeat(scale, axis=0).repeat(scale, axis=1)[:height, :width]
        size = (scale, scale, 1)
        picture += uniform_filter(uniform_filter(noise, size), size)
    picture = (picture - picture.mean()) / picture.std() * 35 + 120
    picture += np.linspace(ramp, -ramp, height)[:, None, None]
    return picture.clip(0, 255).astype(np.uint8)


def crop(picture: np.ndarray, x: int = 190, y: int = 100) -> np.ndarray:
    return np.ascontiguousarray(picture[y : y + HEIGHT, x : x + WIDTH])


SCALES = [(2, 4, 20), (10,), (20,), (4, 80), (40, 80)]


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("shift", [(0, 0), (7, -4), (-21, 13), (48, 0), (0, -40), (144, 0)])
def test_pans_are_found_to_a_pixel(scales: tuple[int, ...], shift: tuple[int, int]) -> None:
    picture = texture(3, scales)
    motion = estimate_motion(crop(picture), crop(picture, 190 + shift[0], 100 + shift[1]))
    assert not motion.cut
    # This frame's (x, y) was at (x + dx, y + dy) of the frame before.
    assert np.abs(motion.similarity - [[1, 0, shift[0]], [0, 1, shift[1]]]).max() < 1.0
    # The few others are in the strip that came into view, matched by chance.
    assert (np.abs(motion.displacement[motion.valid] - shift).max(axis=1) <= 1).mean() > 0.95


def test_a_larger_picture_is_answered_in_its_own_pixels() -> None:
    picture = texture(5, (4, 8, 40), 600, 1060)
    motion = estimate_motion(picture[20:560, 50:1010], picture[33:573, 17:977])
    assert motion.block == 16
    assert motion.displacement.shape == (34, 60, 2)
    assert np.abs(motion.similarity - [[1, 0, -33], [0, 1, 13]]).max() < 0.5
    assert (np.abs(motion.displacement[motion.valid] - [-33, 13]).max(axis=1) <= 1).mean() > 0.97


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize(("zoom", "degrees"), [(1.05, 0.0), (0.96, 0.0), (1.0, 3.0), (1.02, -2.0)])
def test_zoom_and_roll_are_found(scales: tuple[int, ...], zoom: float, degrees: float) -> None:
    picture = texture(4, scales).astype(np.float32)
    angle = np.deg2rad(degrees)
    linear = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / zoom  # on (y, x)
    middle = np.array([HEIGHT / 2, WIDTH / 2])
    start = middle + np.array([100, 190]) - linear @ middle
    later = np.stack(
        [affine_transform(picture[..., c], linear, start, (HEIGHT, WIDTH), order=1) for c in range(3)], axis=-1
    )
    motion = estimate_motion(crop(picture.astype(np.uint8)), later.clip(0, 255).astype(np.uint8))
    assert not motion.cut
    corners = np.array([[0, 0], [WIDTH, 0], [0, HEIGHT], [WIDTH, HEIGHT]], dtype=float)
    expected = (corners[:, ::-1] - middle) @ linear.T + middle  # (y, x)
    found = corners @ motion.similarity[:, :2].T + motion.similarity[:, 2]
    assert np.abs(found - expected[:, ::-1]).max() < 2.0


def test_an_object_moves_on_its_own_and_does_not_move_the_camera() -> None:
    ground, thing = texture(6, (2, 4, 20)), texture(7, (2, 4, 20))
    before, after = crop(ground), crop(ground, 194, 100)
    before[80:176, 120:232] = thing[:96, :112]
    after[88:184, 132:244] = thing[:96, :112]
    motion = estimate_motion(before, after)
    assert np.abs(motion.similarity - [[1, 0, 4], [0, 1, 0]]).max() < 0.5
    inside = motion.displacement[12:22, 18:29]  # blocks wholly on the object: y 96..176, x 144..232
    assert np.array_equal(np.unique(inside.reshape(-1, 2), axis=0), [[-12, -8]])
    assert motion.valid[12:22, 18:29].all()
    # What it uncovered came from nowhere.
    assert not motion.valid[11:20, 15].any()


@pytest.mark.parametrize("ramp", [0.0, 60.0])
@pytest.mark.parametrize("scales", SCALES)
def test_cuts_are_seen(scales: tuple[int, ...], ramp: float) -> None:
    pictures = [crop(texture(seed, scales, ramp=ramp)) for seed in range(10, 14)]
    for i, before in enumerate(pictures):
        for after in pictures[:i] + pictures[i + 1 :]:
            motion = estimate_motion(before, after)
            assert motion.cut
            assert not motion.valid.any()
            assert not motion.displacement.any()
            assert np.array_equal(motion.similarity, np.eye(2, 3))


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize(
    ("gain", "offset"), [(1.3, 20.0), (1.6, 30.0), (0.7, 0.0), (0.5, -10.0)], ids=["flash", "hard flash", "dim", "dark"]
)
def test_flashes_and_exposure_are_not_cuts(scales: tuple[int, ...], gain: float, offset: float) -> None:
    before = crop(texture(8, scales))
    after = (before * gain + offset).clip(0, 255).astype(np.uint8)
    assert not estimate_motion(before, after).cut
    assert not estimate_motion(after, before).cut


@pytest.mark.parametrize("scales", SCALES)
def test_fades_and_dissolves_are_not_cuts(scales: tuple[int, ...]) -> None:
    first, second = crop(texture(8, scales)).astype(float), crop(texture(9, scales)).astype(float)
    fade = [(first * k / 12).astype(np.uint8) for k in range(12, -1, -1)]
    assert not any(estimate_motion(a, b).cut for a, b in pairwise(fade))
    dissolve = [(first * (1 - k / 12) + second * k / 12).astype(np.uint8) for k in range(13)]
    assert not any(estimate_motion(a, b).cut for a, b in pairwise(dissolve))


def test_black_and_white_frames_end_a_scene() -> None:
    picture = crop(texture(8, (2, 4, 20)))
    assert estimate_motion(picture, np.zeros_like(picture)).cut
    assert estimate_motion(np.zeros_like(picture), picture).cut
    assert estimate_motion(picture, np.full_like(picture, 255)).cut
    assert not estimate_motion(np.zeros_like(picture), np.zeros_like(picture)).cut


@pytest.mark.parametrize(("sigma", "still"), [(2.0, 0.98), (6.0, 0.95)])
def test_noise_does_not_move_anything_by_more_than_a_pixel(sigma: float, still: float) -> None:
    random = np.random.default_rng(0)
    picture = crop(texture(8, (4, 80)))
    noisy = [(picture + random.normal(0, sigma, picture.shape)).clip(0, 255).astype(np.uint8) for _ in range(2)]
    motion = estimate_motion(*noisy)
    assert not motion.cut
    assert (motion.displacement == 0).all(axis=2).mean() > still
    assert (np.abs(motion.displacement) <= 1).all(axis=2).mean() > 0.99
    assert np.abs(motion.similarity - np.eye(2, 3)).max() < 0.1


@given(
    height=st.integers(1, 90), width=st.integers(1, 90), seed=st.integers(0, 1000), level=st.sampled_from([0, 20, 255])
)
@settings(max_examples=60, deadline=None)
def test_any_size_and_content_gives_a_sound_motion(height: int, width: int, seed: int, level: int) -> None:
    random = np.random.default_rng(seed)
    before, after = (random.integers(0, level + 1, (height, width, 3)).astype(np.uint8) for _ in range(2))
    motion = estimate_motion(before, after)
    shape = (-(-height // motion.block), -(-width // motion.block))
    assert motion.displacement.shape == (*shape, 2)
    assert motion.residual.shape == motion.valid.shape == shape
    assert np.isfinite(motion.similarity).all()
    assert (motion.residual >= 0).all()
    assert (motion.residual <= 255).all()
    still = estimate_motion(before, before)
    assert not still.cut
    assert not still.displacement.any()


def test_same_pictures_same_motion_and_pyramids_can_be_kept() -> None:
    picture = texture(3, (2, 4, 20))
    frames = [crop(picture, 190 + 5 * k, 100 - 2 * k) for k in range(3)]
    pyramids = [LumaPyramid.of(frame) for frame in frames]
    for k in (1, 2):
        kept = estimate_motion_between(pyramids[k - 1], pyramids[k])
        again = estimate_motion(frames[k - 1], frames[k], settings=MotionSettings())
        for field in ("displacement", "residual", "valid", "similarity"):
            assert np.array_equal(getattr(kept, field), getattr(again, field))


def test_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        estimate_motion(np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8))
