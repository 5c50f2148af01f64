"""The golden rules themselves: if these fail, no other golden comparison of this room means anything."""

import json

import numpy as np
import pytest
from golden_rules import CASES, DATA, image, probe, text_embeddings, weight

CHECKS = json.loads((DATA / "fill_rule_check.json").read_text(encoding="utf-8"))["checks"]


@pytest.mark.parametrize("key", sorted(CHECKS))
def test_the_weight_rule_gives_the_published_values(key: str) -> None:
    check = CHECKS[key]
    values = weight(key, tuple(check["shape"])).reshape(-1)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[:4], np.array(check["first4"], dtype=np.float32))
    assert values[-1] == np.float32(check["last"])


@pytest.mark.parametrize("case", sorted(CASES))
def test_images_have_the_size_of_their_case_and_uniform_squares(case: str) -> None:
    pixels, c = image(case), CASES[case]
    assert pixels.shape == (c.height, c.width, 3)
    assert (pixels[: c.square, : c.square] == pixels[0, 0]).all()
    assert not (pixels[c.square] == pixels[0]).all()


def test_text_embeddings_are_the_first_rows_of_any_longer_draw() -> None:
    longer = np.random.Generator(np.random.PCG64(0)).standard_normal((15, 64), dtype=np.float32)
    again = np.random.Generator(np.random.PCG64(0)).standard_normal((14, 64), dtype=np.float32)
    np.testing.assert_array_equal(longer[:14], again)
    assert text_embeddings("clip", 64).shape == (14, 64)


def test_probes_reach_from_the_first_to_the_last_value() -> None:
    values = np.arange(10_000)
    found = probe(values, 512)
    assert (found[0], found[-1], len(found)) == (0, 9_999, 512)
    assert found[100] == 100 * 9_999 // 511
    np.testing.assert_array_equal(probe(values[:2048], 2048), values[:2048])
