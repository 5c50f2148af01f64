"""Models without starting values: made at once, whatever was in memory before."""

import torch
from torch import nn

from odise_frame.blank import without_starting_values


class Drawn(nn.Module):
    """Parameters in every way that modules of ours and of others draw them."""

    def __init__(self, memory: torch.Tensor) -> None:
        super().__init__()
        self.truncated = nn.Parameter(memory.clone())
        self.normal = nn.Parameter(memory.clone())
        self.linear = nn.Linear(4, 4)
        self.ones = nn.LayerNorm(4)
        nn.init.trunc_normal_(self.truncated, std=0.02)
        nn.init.normal_(self.normal)


def test_nothing_is_drawn_and_nobody_waits_for_values_within_bounds() -> None:
    """What is in memory may be outside of any bounds: a sampler that rejects such values must not go on for ever."""
    garbage = torch.full((3, 4), 1e30)
    state = torch.random.get_rng_state()
    with without_starting_values():
        made = Drawn(garbage)
    assert torch.equal(made.truncated, garbage)
    assert torch.equal(made.normal, garbage)
    assert torch.equal(made.ones.weight, torch.ones(4)), "constants are as ever"
    assert torch.equal(torch.random.get_rng_state(), state)


def test_afterwards_values_are_drawn_again() -> None:
    with without_starting_values():
        pass
    made = Drawn(torch.full((3, 4), 1e30))
    assert made.truncated.abs().max() < 0.2
    assert 0.0 < made.normal.abs().max() < 10.0
