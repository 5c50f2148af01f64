"""Whether a model fits a GPU, told before anything is put on it."""

from functools import lru_cache

import torch

from odise_frame.checkpoint_files.fitting import part_shapes
from odise_frame.sizes import OdiseSize
from videoseg.errors import InputError

_LIVE_MAPS = 4
"""Maps of the autoencoder's first level, the widest of all, that exist at once: a block's input, normed input and
result, and the workspace of the convolution."""
_FIXED = 0.8e9
"""Bytes: the CUDA context with cuDNN's kernels, and what the heads need for a frame."""


def memory_needed(size: OdiseSize, dtype: torch.dtype, window_batch: int) -> int:
    """Bytes of a GPU's memory that a model takes at work, about.

    Args:
        dtype: of the frozen networks; what training learns is float32.
        window_batch: windows that go through the networks together.
    """
    frozen, trained = _weights(size)
    widest = window_batch * size.vae.channels[0] * size.window**2
    return int((frozen + _LIVE_MAPS * widest) * dtype.itemsize + 4 * trained + _FIXED)


@lru_cache
def _weights(size: OdiseSize) -> tuple[int, int]:
    """Numbers in the frozen networks, without the prompt encoder, and in what training learns."""
    counts = {
        part: sum(torch.Size(shape).numel() for shape in shapes.values()) for part, shapes in part_shapes(size).items()
    }
    counts.pop("prompt_encoder", None)
    trained = counts.pop("odise")
    return sum(counts.values()), trained


def require_memory(
    size: OdiseSize, device: str, *, dtype: torch.dtype, window_batch: int, free: int, total: int
) -> None:
    """Passes where the model fits.

    Args:
        device: its name, for the message.
        free, total: bytes of its memory.

    Raises:
        InputError: it doesn't fit; says what would.
    """
    needed = memory_needed(size, dtype, window_batch)
    if needed <= free:
        return
    smaller = memory_needed(size, torch.bfloat16, window_batch)
    ways = []
    if needed <= total:
        ways.append(f"end the programs that hold the other {(total - free) / 1e9:.1f} GB (see nvidia-smi)")
    if dtype == torch.float32 and smaller <= free:
        ways.append(f"take --dtype bfloat16, which needs about {smaller / 1e9:.1f} GB")
    ways.append("take --device cpu")
    raise InputError(
        f"{size.name} in {str(dtype).removeprefix('torch.')} needs about {needed / 1e9:.1f} GB of GPU memory; {device} "
        f"has {total / 1e9:.1f} GB, of which {free / 1e9:.1f} GB are free. To go on: {', or '.join(ways)}."
    )


def require_room_on(size: OdiseSize, device: str, *, dtype: torch.dtype, window_batch: int) -> None:
    """`require_memory` for a GPU of this machine; passes on a CPU."""
    place = torch.device(device)
    if place.type != "cuda":
        return
    free, total = torch.cuda.mem_get_info(place)
    require_memory(size, device, dtype=dtype, window_batch=window_batch, free=free, total=total)
