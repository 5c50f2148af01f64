"""`videoseg bench quality`: what its rows are made of, and the command itself on a tiny world."""

import json

import numpy as np
import torch
from command_lines import run_many
from hypothesis import given
from hypothesis import strategies as st

from eval.synthetic_world import vocabulary
from odise_frame.checkpoints import load_model, shipped_folder
from pipelines.quality.mean_colour import ColourTable, mean_colours
from pipelines.quality.shared_masks import SharedMasks
from pipelines.quality.variants import VARIANTS, clip_alone, diffusion_alone, shuffle_names, zero_unet


def test_shuffled_names_are_the_same_words_at_other_places() -> None:
    words = vocabulary()
    shuffled = shuffle_names(words)
    assert sorted(c.names for c in shuffled) == sorted(c.names for c in words)
    assert [c.is_thing for c in shuffled] == [c.is_thing for c in words]
    assert all(ours.names != theirs.names for ours, theirs in zip(words, shuffled, strict=True))
    assert [c.names for c in shuffle_names(words)] == [c.names for c in shuffled]


@given(seed=st.integers(0, 1000), count=st.integers(1, 6))
def test_mean_colours_are_those_of_the_pixels(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    id_map = random.integers(0, count + 1, (9, 13)).astype(np.uint16)
    id_map.flat[: count + 1] = np.arange(count + 1)
    rgb = random.integers(0, 256, (9, 13, 3)).astype(np.uint8)
    ids = list(range(1, count + 1))
    expected = np.stack([rgb[id_map == i].mean(axis=0) for i in ids])
    np.testing.assert_allclose(mean_colours(rgb, id_map, ids), expected, atol=1e-9)


def test_the_nearest_known_colour_names() -> None:
    table = ColourTable(np.array([[255.0, 0, 0], [0, 0, 255.0], [10, 0, 240.0]]), np.array([4, 7, 9]))
    assert table.nearest(np.array([[200.0, 30, 10], [0, 5, 250], [12, 0, 238]])).tolist() == [4, 7, 9]


def test_readers_share_masks_and_nothing_else() -> None:
    model, _ = load_model(shipped_folder("small"))
    shared = SharedMasks(model)
    plain, alone, clip = shared.reader(), shared.reader(diffusion_alone), shared.reader(clip_alone)
    assert (alone.size.ensemble_unseen, clip.size.ensemble_unseen) == (0.0, 1.0)
    assert plain.size == model.size != clip.size
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        first = plain.predict_masks(image)
        assert alone.predict_masks(image.clone()) is first
        assert torch.equal(first.mask_logits, model.predict_masks(image).mask_logits)
        other = plain.predict_masks(1 - image)
        assert other is not first
        zero_unet(model)
        assert not torch.equal(model.predict_masks(image).mask_logits, first.mask_logits)


def test_the_command(tmp_path) -> None:
    size = ["--frames", "2", "--height", "64", "--width", "96"]
    command = ["bench", "quality", tmp_path / "world", "--frames", "1", "--threads", "1"]
    [made, table, unknown, nowhere], _ = run_many(
        [
            ["synth", "-o", tmp_path / "world", *size],
            [*command, "--variants", "whole,diffusion alone", "--json"],
            [*command, "--variants", "hole"],
            ["bench", "quality", tmp_path / "nowhere"],
        ]
    )
    assert made.code == 0, made.err
    assert table.code == 0, table.err
    rows = json.loads(table.out)["rows"]
    assert {row["variant"] for row in rows} == {"whole", "diffusion alone"}
    assert {row["videos"] for row in rows} >= {"all", "easy"}
    assert all(0 <= row["pq stuff"] <= 100 for row in rows)
    assert unknown.code == 2
    assert VARIANTS[0].name in unknown.err
    assert nowhere.code == 2
