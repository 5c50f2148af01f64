"""Tensors that depend on shapes alone, made once: positions, grids, means."""

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, cast

import torch
from torch import Tensor

_Arguments = ParamSpec("_Arguments")

_KEPT = 24
"""Results per function. A stream needs three sizes of maps; at 1024 x 1856 the largest takes 30 MB."""


def constant(make: Callable[_Arguments, Tensor]) -> Callable[_Arguments, Tensor]:
    """`make` of hashable arguments, its last results kept. Nobody may change what it gives.

    Making one copies numbers to the device, which a graph of the device's work cannot hold; what was made before can
    be used in one.
    """

    @lru_cache(maxsize=_KEPT)
    def made(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> Tensor:
        # Training may take a tensor that inference made.
        with torch.inference_mode(False), torch.no_grad():
            return make(*args, **kwargs)

    return cast(Callable[_Arguments, Tensor], made)
