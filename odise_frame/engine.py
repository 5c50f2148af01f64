"""How a model is run: in which numbers, in which order in memory, compiled or not. What it computes stays the same.

`OdiseSegmenter` runs any model; one that went through `prepare` runs faster.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from odise_frame.model import Odise
from videoseg.errors import InputError

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What may change the last bits of a result and the time that it takes."""

    precision: Precision = "float32"
    """`bfloat16`: weights and features of the frozen networks, and products elsewhere. Latents, noise, statistics of
    norms, softmax, where deformable attention looks, mask logits and scores stay float32."""
    compiled: bool = False
    """Through `torch.compile`: fewer passes over memory, minutes of compiling at the first frame of a size."""
    graphs: bool = False
    """On a GPU, all launches of a part of the work are recorded once and replayed: at batches of a few windows the
    processor cannot launch as fast as the GPU works."""

    def describe(self) -> dict[str, str]:
        """For a manifest."""
        return {"dtype": self.precision, "compiled": str(self.compiled), "graphs": str(self.graphs)}


def prepare(model: Odise, settings: EngineSettings | None = None) -> Odise:
    """Makes a model run as the settings say, in place; it stays on its device.

    May be called again with other settings, but lost bits stay lost.

    Raises:
        InputError: graphs without a GPU.
    """
    settings = settings or EngineSettings()
    device = model.frozen.empty_prompt.device
    if settings.graphs and device.type != "cuda":
        raise InputError("Graphs are of a GPU's launches, and this runs on the processor. Leave them out.")
    if settings.precision == "bfloat16":
        temperature = model.frozen.clip.logit_scale.detach().clone()
        model.frozen.to(torch.bfloat16)
        # Rounded to 8 bits, ln(100) would be a temperature of 98.9.
        model.frozen.clip.logit_scale.data = temperature
    # Convolutions take a fifth less time so on a processor, and with tensor cores.
    for network in (model.frozen.autoencoder, model.frozen.unet):
        network.to(memory_format=torch.channels_last)
    if device.type == "cuda":
        model.backbone.feature_projections.to(memory_format=torch.channels_last)
        model.mask_generator.pixel_decoder.to(memory_format=torch.channels_last)
    wrap = _wrap(settings)
    autocast = torch.bfloat16 if settings.precision == "bfloat16" else None
    model.backbone.accelerate(wrap, autocast)
    model.mask_generator.accelerate(wrap, autocast)
    return model


def _wrap(settings: EngineSettings) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def wrap(part: Callable[..., Any]) -> Callable[..., Any]:
        if settings.compiled:
            part = torch.compile(part, dynamic=False)
        return Graphs(part) if settings.graphs else part

    return wrap


@dataclass(slots=True, eq=False)
class _Recorded:
    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    outputs: Any


class Graphs:
    """A function of tensors and other things, recorded on the GPU once per shape and replayed from then on.

    Args:
        part: of tensors that it does not change, and of things that stay the same objects; it neither waits for the
            GPU nor copies from the processor once it has run a few times.
    """

    def __init__(self, part: Callable[..., Any]) -> None:
        self.part = part
        self._recorded: dict[tuple[Any, ...], _Recorded] = {}

    def __call__(self, *args: Any) -> Any:
        """What `part` gives; tensors in it belong to the caller."""
        leaves, structure = pytree.tree_flatten(args)
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        key = (
            structure,
            *((tuple(x.shape), x.dtype) if isinstance(x, Tensor) else id(x) if callable(x) else x for x in leaves),
        )
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return self.part(*args)
        recorded = self._recorded.get(key)
        if recorded is None:
            recorded = self._recorded[key] = self._record(leaves, structure)
        for place, tensor in zip(recorded.inputs, tensors, strict=True):
            place.copy_(tensor)
        recorded.graph.replay()
        return pytree.tree_map_only(Tensor, torch.clone, recorded.outputs)

    def _record(self, leaves: list[Any], structure: Any) -> _Recorded:
        places = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        args = pytree.tree_unflatten(places, structure)
        # On a stream of its own, as recording wants it: libraries choose and allocate what they need.
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.part(*args)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outputs = self.part(*args)
        return _Recorded(graph, [place for place in places if isinstance(place, Tensor)], outputs)
