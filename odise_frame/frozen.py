"""The frozen networks that a model stands on: autoencoder, UNet, CLIP and what encodes the empty prompt."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from odise_frame.autoencoder import build_autoencoder
from odise_frame.clip import build_clip
from odise_frame.diffusion_unet import build_unet
from odise_frame.prompt_encoder import build_prompt_encoder, encode_prompts
from odise_frame.sizes import OdiseSize
from odise_frame.tokenizer import Tokenizer


class FrozenParts(nn.Module):
    """Always in evaluation mode and without gradients to its own weights. One CLIP serves all who need one."""

    empty_prompt: Tensor
    """`[1, context_length, context_dim]`: what the UNet's text encoder says of the empty text."""

    def __init__(self, size: OdiseSize) -> None:
        super().__init__()
        self.autoencoder: Any = build_autoencoder(size.vae)
        self.unet: Any = build_unet(size.unet)
        self.clip: Any = build_clip(size.clip)
        self.prompt_encoder = (
            None if size.prompt_encoder is None else build_prompt_encoder(size.prompt_encoder, size.clip)
        )
        self.has_prompt_encoder = size.prompt_encoder is not None
        self.tokenizer = Tokenizer(size.clip)
        self.register_buffer(
            "empty_prompt", torch.zeros(1, size.clip.context_length, size.unet.context_dim), persistent=False
        )
        self.requires_grad_(False)
        self.eval()

    @torch.no_grad()
    def encode_empty_prompt(self) -> None:
        """Computes `empty_prompt` from the weights: to be called whenever they have changed."""
        if self.prompt_encoder is None and self.has_prompt_encoder:
            raise ValueError("the prompt encoder is gone, and what it said of the empty prompt stays")
        ids = self.tokenizer.prompt_ids([""]).to(self.empty_prompt.device)
        self.empty_prompt.copy_(encode_prompts(self.prompt_encoder, self.clip, ids))

    def drop_prompt_encoder(self, empty_prompt: Tensor) -> None:
        """Lets go of the prompt encoder, which has nothing to say but `empty_prompt` (as there)."""
        self.prompt_encoder = None
        self.empty_prompt = empty_prompt

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode."""
        return super().train(False)
