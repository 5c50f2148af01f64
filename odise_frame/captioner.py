"""The implicit captioner: from what CLIP sees in a window to what the diffusion UNet is told about it.

Source: Xu et al., 2023, section 3.3 (there an MLP; the published model has one linear layer).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from odise_frame.sizes import OdiseSize


@dataclass(frozen=True, slots=True, eq=False)
class Caption:
    """What the UNet gets in place of a caption."""

    context: Tensor
    """`[B, context_length, context_dim]`, in the place of encoded text."""
    time_offset: Tensor
    """`[B, time_embed_dim]`, added to the embedding of the time step."""


class PositionedLinear(nn.Module):
    """One linear layer, its result repeated at every position, and a learned embedding per position."""

    def __init__(self, in_features: int, out_features: int, positions: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.empty(1, positions, out_features))
        self.linear = nn.Linear(in_features, out_features)
        nn.init.trunc_normal_(self.positional_embedding, std=0.02)

    def forward(self, embedding: Tensor) -> Tensor:
        """`[B, in_features]` to `[B, positions, out_features]`."""
        result: Tensor = self.linear(embedding)[:, None] + self.positional_embedding
        return result


class ImplicitCaptioner(nn.Module):
    """A CLIP image embedding to a `Caption`.

    Both gates start at 0, so that an untrained captioner says what the empty prompt says.
    """

    def __init__(self, size: OdiseSize) -> None:
        super().__init__()
        length, width = size.clip.context_length, size.unet.context_dim
        self.alpha_cond = nn.Parameter(torch.zeros(1, length, width))
        self.alpha_cond_time_embed = nn.Parameter(torch.zeros(size.unet.time_embed_dim))
        self.clip_project = PositionedLinear(size.clip.embed_dim, width, length)
        self.time_embed_project = PositionedLinear(size.clip.embed_dim, size.unet.time_embed_dim, 1)

    @property
    def is_closed(self) -> bool:
        """Whether both gates are exactly 0: then what CLIP sees has no say in the caption."""
        return not (bool(self.alpha_cond.any()) or bool(self.alpha_cond_time_embed.any()))

    def forward(self, embedding: Tensor, empty_prompt: Tensor) -> Caption:
        """From CLIP embeddings `[B, embed_dim]`, not normalised, and the encoded empty prompt `[1, T, C]`."""
        context = empty_prompt + torch.tanh(self.alpha_cond) * self.clip_project(embedding)
        offset = torch.tanh(self.alpha_cond_time_embed) * self.time_embed_project(embedding)
        return Caption(context, offset[:, 0])
