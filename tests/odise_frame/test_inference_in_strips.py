"""Panoptic inference as a GPU does it, on the processor: the same partition as tile by tile."""

import pytest
import torch
from golden_rules import normal

from odise_frame import inference
from odise_frame.inference import Geometry, panoptic_inference


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6])
@pytest.mark.parametrize("strip", [1, 4000, 2**25])
def test_strips_and_tiles_give_the_same(threshold: float, strip: int, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = torch.nn.functional.interpolate(
        torch.from_numpy(normal("strips.masks", (1, 12, 5, 8))) * 4 - 4, size=(32, 48), mode="bicubic"
    )[0]
    log_probabilities = torch.from_numpy(normal("strips.scores", (12, 6)) * 2).log_softmax(dim=-1)
    geometry, things = Geometry((120, 150), (233, 301)), {0, 2}
    tiles = panoptic_inference(log_probabilities, masks, geometry, things, overlap_threshold=threshold)
    probabilities = log_probabilities.softmax(dim=-1)
    scores, labels = probabilities.max(dim=-1)
    monkeypatch.setattr(inference, "_STRIP_VALUES", strip)
    strips = inference._panoptic_in_strips(masks, scores, labels, labels != 5, geometry, things, threshold)
    assert tiles.segments
    assert strips.segments == tiles.segments
    assert torch.equal(strips.id_map, tiles.id_map)
    assert strips.id_map.dtype == torch.int32


def test_nobody_is_kept() -> None:
    masks = torch.from_numpy(normal("strips.masks", (3, 8, 8)))
    geometry = Geometry((32, 32), (20, 20))
    result = inference._panoptic_in_strips(
        masks, torch.rand(3), torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.bool), geometry, {0}, 0.0
    )
    assert result.segments == ()
    assert not result.id_map.any()
