"""A GPU that is too small is told so before the first frame, with what would fit."""

import pytest
import torch

from odise_frame.device_memory import memory_needed, require_memory, require_room_on
from odise_frame.sizes import load_size
from videoseg.errors import InputError

SIZE = load_size("odise-label")
GIGA = 10**9


def complaint(dtype: torch.dtype, free: float, total: float) -> str:
    with pytest.raises(InputError) as caught:
        require_memory(SIZE, "cuda:0", dtype=dtype, window_batch=8, free=int(free * GIGA), total=int(total * GIGA))
    return str(caught.value)


def test_the_weights_alone_are_counted_once_and_without_the_text_encoder() -> None:
    none = memory_needed(SIZE, torch.float32, 0)
    frozen = 859_520_964 + 83_653_863 + 427_944_193
    assert none == 4 * frozen + 4 * 28_067_009 + 800_000_000
    assert memory_needed(SIZE, torch.bfloat16, 0) == none - 2 * frozen
    assert memory_needed(SIZE, torch.bfloat16, 8) < 8 * GIGA


def test_a_card_that_is_too_small() -> None:
    said = complaint(torch.float32, 7.5, 8)
    for word in ("odise-label", "float32", "cuda:0 has 8.0 GB", "7.5 GB are free", "--dtype bfloat16", "--device cpu"):
        assert word in said
    said = complaint(torch.bfloat16, 3.9, 4)
    assert "--dtype" not in said
    assert "--device cpu" in said


def test_a_card_that_is_busy() -> None:
    said = complaint(torch.float32, 2, 24)
    assert "hold the other 22.0 GB" in said
    assert "bfloat16" not in said


def test_a_card_that_suffices_and_a_cpu() -> None:
    require_memory(SIZE, "cuda", dtype=torch.float32, window_batch=8, free=24 * GIGA, total=24 * GIGA)
    require_room_on(SIZE, "cpu", dtype=torch.float32, window_batch=8)
