"""Models whose weights somebody else fills in: made without the minute that random starting values take."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_FILLS: frozenset[Callable[..., Any]] = frozenset(
    {
        Tensor.uniform_,
        Tensor.normal_,
        Tensor.erfinv_,
        # These hand themselves over whole, and what they call goes unseen.
        torch.nn.init.uniform_,
        torch.nn.init.normal_,
        torch.nn.init.kaiming_uniform_,
        torch.nn.init.kaiming_normal_,
        torch.nn.init.xavier_uniform_,
        torch.nn.init.xavier_normal_,
    }
)


class _NoFills(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func in _FILLS:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def without_starting_values() -> Iterator[None]:
    """Modules that are made in its body keep whatever memory they got in place of random weights; constants and
    buffers are as ever. Memory that nobody writes to costs nothing, so a model of 6 GB is made in seconds."""
    # It draws until every value lies within its bounds (torch 2.15): left to itself, with draws that change nothing, it
    # would wait for ever for what happens to be in memory to do so.
    drawn_until_within = torch.nn.init.trunc_normal_
    torch.nn.init.trunc_normal_ = _as_it_is
    try:
        with _NoFills():
            yield
    finally:
        torch.nn.init.trunc_normal_ = drawn_until_within


def _as_it_is(tensor: Tensor, *arguments: Any, **settings: Any) -> Tensor:
    return tensor
