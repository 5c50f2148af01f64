"""The training loop and the stages' data: what is resumed, what is drawn, what a caption teaches."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from eval.synthetic_world.concepts import THINGS
from odise_frame.clip import build_clip
from odise_frame.sizes import load_size
from pipelines.training import mosaic_stage
from pipelines.training.loop import Stage, StageSettings, step_generator, train
from pipelines.training.mask_generator_stage import training_categories
from pipelines.training.mosaic_stage import Round, draw_tiles, look_at, name_things
from pipelines.training.pictures import SETS, Pictures, PictureSet, read_set, render_set
from videoseg.errors import InputError

LINE = StageSettings(steps=12, batch=4, learning_rate=0.05, seed=3, log_every=4, save_every=4)


def line_stage(settings: StageSettings = LINE) -> Stage:
    torch.manual_seed(0)
    model = nn.Linear(2, 1)

    def losses(step: int) -> dict[str, torch.Tensor]:
        points = torch.from_numpy(step_generator(settings, step).normal(size=(settings.batch, 2))).float()
        return {"square": (model(points)[:, 0] - points.sum(dim=1)).square().mean()}

    return Stage("line", settings, model, losses)


def test_stopped_and_resumed_training_is_the_same_training(tmp_path: Path) -> None:
    straight, broken = line_stage(), line_stage()
    assert train(straight, tmp_path / "straight")
    assert not train(broken, tmp_path / "broken", stop_at=5)
    resumed = line_stage()
    with torch.no_grad():
        resumed.model.weight.zero_()  # whatever it begins with, the checkpoint counts
    assert train(resumed, tmp_path / "broken")
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_training_learns_and_logs(tmp_path: Path) -> None:
    settings = StageSettings(steps=300, batch=8, learning_rate=0.1, seed=3, weight_decay=0.0, log_every=100)
    stage = line_stage(settings)
    train(stage, tmp_path)
    torch.testing.assert_close(stage.model.weight, torch.ones(1, 2), atol=0.02, rtol=0)
    assert len((tmp_path / "line.log").read_text().splitlines()) == 3


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    train(line_stage(), tmp_path, stop_at=4)
    with pytest.raises(InputError, match="other settings"):
        train(line_stage(StageSettings(steps=20, batch=4, learning_rate=0.05, seed=3)), tmp_path)


def test_the_rate_climbs_then_falls_to_a_hundredth() -> None:
    schedule = StageSettings(steps=1000, batch=1, learning_rate=1.0, seed=0)
    rates = [schedule.rate(step) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 30)
    assert max(rates) == rates[29] == 1.0
    assert all(a > b for a, b in pairwise(rates[30:]))
    assert rates[-1] == pytest.approx(0.01, abs=1e-4)


def test_masks_are_learnt_of_base_concepts_only(tmp_path: Path) -> None:
    assert SETS["base-scenes"].concepts == "base"
    assert not any(THINGS[category].novel for category in training_categories() if category < len(THINGS))
    few = PictureSet("few", "scene", "base", side=64, first=0, count=20)
    render_set(few, tmp_path)
    pictures = read_set(few, tmp_path)
    seen = {category for segments in pictures.segments for _, category in segments}
    assert seen <= set(training_categories())
    assert len(seen) > 20


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_tiles_are_a_partition_and_every_token_sees_something_of_its_own_tile_only(seed: int) -> None:
    rng = np.random.default_rng(seed)
    canvas = mosaic_stage.ROUNDS["mosaic"].canvases[0]
    tiles = draw_tiles(rng, canvas)
    covered = np.zeros((240, 240), int)
    for tile in tiles:
        covered[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width] += 1
        assert min(tile.height, tile.width) >= canvas.smallest - 1
        assert max(tile.height, tile.width) <= canvas.largest
        look = look_at(rng, tile, 240, 12).reshape(20, 20)
        assert look.any()
        rows, columns = np.nonzero(look)
        assert rows.min() * 12 > tile.top - 12
        assert (rows.max() + 1) * 12 < tile.top + tile.height + 12
        assert columns.min() * 12 > tile.left - 12
        assert (columns.max() + 1) * 12 < tile.left + tile.width + 12
    assert (covered == 1).all()


@pytest.mark.parametrize(
    ("caption", "plain", "coloured"),
    [
        ("there is an orange truck in front of a rock under the sky", "a truck", "an orange truck"),
        ("a scene with a crab on tiles", "a crab", "a crab"),
        ("broccoli on tile floor", "broccoli", "broccoli"),
        ("an image of a green apple near water", "an apple", "a green apple"),
        ("a photo of an orange on a table", "an orange", "an orange"),
        ("two blue cars and a dog on grass", "two cars and a dog", "two blue cars and a dog"),
    ],
)
def test_what_a_caption_says_of_things(caption: str, plain: str, coloured: str) -> None:
    assert name_things(caption, coloured=False) == f"a photo of {plain}."
    assert name_things(caption, coloured=True) == f"a photo of {coloured}."


def test_mosaics_teach_the_image_tower_and_leave_the_text_tower(tmp_path: Path) -> None:
    size = load_size("small")
    torch.manual_seed(0)
    clip = build_clip(size.clip)
    before = {name: value.clone() for name, value in clip.state_dict().items()}
    few = PictureSet("few", "object", "all", side=72, first=0, count=12)
    render_set(few, tmp_path)
    objects: Pictures = read_set(few, tmp_path)
    plan = Round(
        StageSettings(steps=2, batch=1, learning_rate=1e-3, seed=0), mosaic_stage.ROUNDS["mosaic-large"].canvases
    )
    train(mosaic_stage.build_stage(size, clip, [objects, objects], plan=plan), tmp_path)
    changed = {name for name, value in clip.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all(name.startswith("visual.") or name == "logit_scale" for name in changed)
