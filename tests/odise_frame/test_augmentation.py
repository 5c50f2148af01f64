"""Large-scale jitter: the reference's geometry, and that image and id map stay on each other."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training_rules import DATA

from odise_frame.augmentation import JitterConfig, plan_view
from videoseg.errors import InputError

EXAMPLES: list[dict[str, Any]] = json.loads((DATA / "augmentation_examples.json").read_text())
unit = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"seed{example['seed']}")
def test_geometry_of_the_reference(example: dict[str, Any]) -> None:
    view = plan_view(*example["input"], example["draws"])
    assert view.flipped == example["flipped"]
    assert view.scale == pytest.approx(example["scale"], rel=1e-12)
    assert view.resized == tuple(example["resized"])
    assert view.offset == (example["crop_y0"], example["crop_x0"])
    assert view.visible == tuple(example["visible"])
    assert view.padding == tuple(example["pad_bottom_right"])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.tuples(unit, unit, unit))
def test_image_and_ids_fill_the_same_part_of_the_square(
    height: int, width: int, draws: tuple[float, float, float]
) -> None:
    view = plan_view(height, width, draws, JitterConfig(size=64))
    image = view.show_image(np.full((height, width, 3), 7, np.uint8))
    ids = view.show_ids(np.full((height, width), 300, np.uint16))
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    assert ids.shape == (64, 64)
    shown = np.zeros((64, 64), bool)
    shown[: view.visible[0], : view.visible[1]] = True
    np.testing.assert_array_equal(ids, np.where(shown, 300, 0))
    np.testing.assert_array_equal(image, np.where(shown, 7, 128)[..., None].repeat(3, -1))
    assert all(
        0 <= first <= side - seen for first, side, seen in zip(view.offset, view.resized, view.visible, strict=True)
    )


@settings(max_examples=40, deadline=None)
@given(st.tuples(unit, st.floats(0.3, 0.99), unit))
def test_colours_stay_on_their_segment(draws: tuple[float, float, float]) -> None:
    ids = np.arange(1, 13).reshape(3, 4).repeat(40, 0).repeat(40, 1)
    image = np.stack([ids * 20, 255 - ids * 20, ids * 5], -1).astype(np.uint8)
    view = plan_view(*ids.shape, draws, JitterConfig(size=128))
    shown, where = view.show_image(image), view.show_ids(ids)
    # Away from borders, where bilinear mixes neighbours, a pixel has the colour of its id.
    inner = np.ones(where.shape, bool)
    for axis in (0, 1):
        for shift in (-3, 3):
            inner &= np.roll(where, shift, axis) == where
    inner &= where > 0
    np.testing.assert_array_equal(shown[inner][:, 0], where[inner] * 20)
    assert inner.any()


def test_a_flip_exchanges_left_and_right() -> None:
    ids = np.arange(64).repeat(64).reshape(64, 64).T
    scale_one = (1 - 0.1) / 1.9
    straight = plan_view(64, 64, (0.9, scale_one, 0.0), JitterConfig(size=64))
    flipped = plan_view(64, 64, (0.1, scale_one, 0.0), JitterConfig(size=64))
    np.testing.assert_array_equal(straight.show_ids(ids), ids)
    np.testing.assert_array_equal(flipped.show_ids(ids), ids[:, ::-1])


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="0 × 5"):
        plan_view(5, 0, (0.5, 0.5, 0.5))
