"""What a frame costs: floating-point operations by stage, counted from the operations that are really run.

Counted are matrix products and convolutions, a multiplication and an addition as two. Not counted: norms, activations,
resizing and the sampling of deformable attention, together a few percent. A vocabulary's texts are encoded once per
run, not per frame, and are not counted either.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from odise_frame.backbone import pad_frames
from odise_frame.model import Odise
from odise_frame.segmenter import frame_size
from odise_frame.sizes import OdiseSize, load_size, names
from odise_frame.timing import STAGES


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, out_shape: Any = None, **__: Any) -> int:
    # torch's counter knows attention on GPUs, not the operator that CPUs run.
    flops: int = sdpa_flop_count(query, key, value)  # type: ignore[no-untyped-call]
    return flops


_CPU_ATTENTION = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}


class StageFlops:
    """A `StageMeter` that counts operations in place of seconds."""

    def __init__(self) -> None:
        self.flops: dict[str, int] = dict.fromkeys(STAGES, 0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the operations of its body to the stage `name`."""
        with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION) as counter:
            yield
        self.flops[name] += counter.get_total_flops()


@torch.no_grad()
def count_flops(size: OdiseSize, height: int, width: int, *, model: Odise | None = None) -> dict[str, int]:
    """Operations by stage (`timing.STAGES`) for one frame of this size in pixels.

    Args:
        size: of the model.
        model: to run on its device, without parameters that require gradients (torch's counter trips over them); by
            default a model without memory, for which any size costs nothing.
    """
    if model is None:
        with torch.device("meta"):
            model = Odise(size)
        model = model.to("meta").requires_grad_(False)
    device = model.frozen.empty_prompt.device
    meter = StageFlops()
    # The fused layer that torch puts in the place of attention and linear layers hides them from the counter.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        image = torch.zeros(1, 3, *frame_size(height, width, size), device=device)
        padded = pad_frames(image, size.size_divisibility)
        masks = model.predict_masks(padded, meter=meter)
        with meter.stage("mask classification"):
            model.look_at_masks(image, masks.mask_logits, (padded.shape[-2], padded.shape[-1]))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return meter.flops


def main() -> None:
    """`python -m odise_frame.flops SIZE HEIGHT WIDTH` prints a table."""
    parser = argparse.ArgumentParser(prog="python -m odise_frame.flops", description=__doc__)
    parser.add_argument("size", choices=names())
    parser.add_argument("height", type=int, help="of the frame in pixels")
    parser.add_argument("width", type=int)
    options = parser.parse_args()
    flops = count_flops(load_size(options.size), options.height, options.width)
    total = sum(flops.values())
    for stage, count in [*flops.items(), ("total", total)]:
        print(f"{stage:20s}{count / 1e9:12.2f} GFLOP{100 * count / total:7.1f} %")


if __name__ == "__main__":
    main()
