"""The published path, written from the specification, gives what the exact one gives."""

import numpy as np
import pytest
import torch
from golden_rules import Golden, assert_same_map, image
from tiny_model import injected_text, tiny_model

from odise_frame.as_reference import AsReference
from odise_frame.as_reference.attention import plain_attention
from odise_frame.diffusion_blocks import fused_attention
from odise_frame.timing import STAGES, StageTimes

THINGS = frozenset({0, 2, 3, 5, 6})


@pytest.mark.parametrize("file", ["golden_tiny_label_p_bal", "golden_tiny_caption_q"])
def test_it_meets_the_references_own_numbers(file: str) -> None:
    golden = Golden(file)
    supervision = "label" if "label" in file else "caption"
    model = tiny_model(supervision, golden)
    case = file.split("_")[3]
    pixels = torch.from_numpy(image(case).transpose(2, 0, 1).copy())[None] / 255.0
    times = StageTimes()
    output = tuple(golden["result.panoptic@0.8"].shape)
    found = AsReference(model, injected_text(golden), THINGS).segment(pixels, output, times)
    for window, taps in enumerate(found.taps):
        for number, tap in enumerate(taps):
            golden.assert_close(f"tap.{number}#{window}", tap)
    for name, value in found.maps.items():
        golden.assert_close(f"backbone.{name}#0", value)
    golden.assert_close("head.pred_masks#0", found.mask_logits[None])
    # What is pooled inside hard masks may jump (see `golden_runs`).
    golden.assert_close("post.mask_cls#0", found.scores[None].squeeze(0), relative_to_max=5e-4, relative_l2=5e-4)
    assert_same_map(found.id_map, golden["result.panoptic@0.8"])
    assert [[i, k, int(t)] for i, k, t in found.segments] == golden["result.segments@0.8"].tolist()
    assert set(times.seconds) == set(STAGES)


def test_plain_and_fused_attention_are_one() -> None:
    rng = np.random.default_rng(0)
    query, key, value = (torch.from_numpy(rng.standard_normal((2, 3, n, 8), dtype=np.float32)) for n in (5, 7, 7))
    torch.testing.assert_close(plain_attention(query, key, value), fused_attention(query, key, value))
    blocked = torch.zeros(6, 5, 7, dtype=torch.bool)
    blocked[:, 2, 3:] = True
    alone = plain_attention(query, key[:, :, :3], value[:, :, :3])
    torch.testing.assert_close(plain_attention(query, key, value, blocked)[:, :, 2], alone[:, :, 2])
