"""What was executed, and what that costs: windows with the padding of their batches, captions, heads, looks at masks.

Operations per window and per frame are counted from the operations that a model really runs (`odise_frame.flops`);
here they are multiplied by how often.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import torch

from odise_frame.sizes import OdiseSize
from odise_frame.timing import STAGES

BACKBONE = ("autoencoder", "unet", "captioner")
"""The stages that are the diffusion backbone."""


@dataclass(slots=True)
class Work:
    """How often each part ran."""

    frames: int = 0
    windows: int = 0
    """Through autoencoder, UNet and feature projections; black ones that fill a batch are counted, too."""
    captions: int = 0
    """Windows that CLIP described, filling included."""
    heads: int = 0
    """Frames whose masks were generated."""
    looks: int = 0
    """Frames whose masks CLIP looked at."""
    refreshed: int = 0
    """Windows without the filling."""
    seen: int = 0
    """Windows of all frames: what a segmenter without a cache would run."""

    def __iadd__(self, other: "Work") -> "Work":
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def to_json(self) -> dict[str, int]:
        """JSON-ready."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class CostTable:
    """Operations of one of each, by stage."""

    window: dict[str, int]
    """What every window costs, whoever described it."""
    caption: int
    """CLIP's view of a window."""
    heads: int
    look: int
    windows: int
    """Windows of a frame."""

    def flops(self, work: Work) -> dict[str, int]:
        """Operations by stage (`timing.STAGES`)."""
        total = dict.fromkeys(STAGES, 0)
        for stage, count in self.window.items():
            total[stage] += count * work.windows
        total["captioner"] += self.caption * work.captions
        total["heads"] += self.heads * work.heads
        total["mask classification"] += self.look * work.looks
        return total

    def total(self, work: Work) -> int:
        """All stages."""
        return sum(self.flops(work).values())

    def backbone(self, work: Work) -> int:
        """The stages of the diffusion backbone."""
        flops = self.flops(work)
        return sum(flops[stage] for stage in BACKBONE)

    def uncached(self, frames: int, *, batch: int) -> Work:
        """The work without a cache, batches of `batch` windows filled up."""
        windows = -(-self.windows // batch) * batch * frames
        captions = windows if self.caption else 0
        return Work(frames, windows, captions, frames, frames, self.windows * frames, self.windows * frames)


@dataclass(slots=True)
class Ledger:
    """The work of a segmenter by size of the image that it saw."""

    by_image: dict[tuple[int, int], Work] = field(default_factory=dict)

    def of(self, image: tuple[int, int]) -> Work:
        """The work on images of that height and width, to be added to."""
        return self.by_image.setdefault(image, Work())

    def total(self) -> Work:
        """All of it."""
        total = Work()
        for work in self.by_image.values():
            total += work
        return total


@lru_cache(maxsize=32)
def cost_table(size: OdiseSize, image: tuple[int, int], *, captions: bool) -> CostTable:
    """Of a model of this size for images of this height and width.

    Args:
        captions: False where the captioner's gates are closed, so that CLIP does not look at windows.
    """
    # At the top, these imports would go in a circle: counting needs the segmenter.
    from odise_frame.backbone import pad_frames
    from odise_frame.feature_projection import LEVELS
    from odise_frame.flops import StageFlops
    from odise_frame.model import Odise

    with torch.device("meta"):
        model = Odise(size)
    model = model.to("meta").requires_grad_(False)
    window, look = StageFlops(), StageFlops()
    frame = torch.zeros(1, 3, *image, device="meta")
    padded = pad_frames(frame, size.size_divisibility)
    height, width = padded.shape[-2:]
    grid = model.backbone.plan(height, width)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            pixels = torch.zeros(1, 3, grid.side, grid.side, device="meta")
            embedding = model.backbone.embed_windows(model.frozen, pixels, meter=look)
            features = model.backbone.describe_windows(model.frozen, pixels, embedding=embedding, meter=window)
            with window.stage("heads"):
                model.backbone.project(features, grid.side)
            maps = {
                f"s{level}": torch.zeros(1, size.feature_dim, height >> level, width >> level, device="meta")
                for level in LEVELS
            }
            with look.stage("heads"):
                masks = model.mask_generator(maps)
            with look.stage("mask classification"):
                model.look_at_masks(frame, masks.mask_logits, (height, width))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    caption = look.flops["captioner"]
    return CostTable(
        window={stage: count for stage, count in window.flops.items() if count},
        caption=caption if captions else 0,
        heads=look.flops["heads"],
        look=look.flops["mask classification"],
        windows=len(grid),
    )
