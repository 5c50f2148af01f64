"""OpenAI's CLIP at any size, as open_clip builds it: images and texts in one space.

Source: Radford et al., 2021. ViT image tower, causal text tower, QuickGELU.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from odise_frame.sizes import ClipSize

IMAGE_MEAN = (0.48145466, 0.4578275, 0.40821073)
IMAGE_STD = (0.26862954, 0.26130258, 0.27577711)
"""Per channel (red, green, blue), of images in [0, 1]."""


def build_clip(size: ClipSize) -> CLIP:
    """A CLIP with random weights, in evaluation mode; its state dict has OpenAI's keys."""
    model = CLIP(
        embed_dim=size.embed_dim,
        vision_cfg=CLIPVisionCfg(
            layers=size.vision_layers,
            width=size.vision_width,
            head_width=size.vision_width // size.vision_heads,
            patch_size=size.patch_size,
            image_size=size.image_size,
        ),
        text_cfg=CLIPTextCfg(
            context_length=size.context_length,
            vocab_size=size.vocab_size,
            width=size.text_width,
            heads=size.text_heads,
            layers=size.text_layers,
        ),
        quick_gelu=True,
    )
    return model.eval()


def normalize_image(image: Tensor) -> Tensor:
    """From [0, 1] to the range CLIP was trained on: float `[B, 3, H, W]`, same shape."""
    mean = image.new_tensor(IMAGE_MEAN).view(3, 1, 1)
    std = image.new_tensor(IMAGE_STD).view(3, 1, 1)
    return (image - mean) / std


def embed_images(clip: CLIP, images: Tensor) -> Tensor:
    """Embeddings `[B, embed_dim]`, not normalised, of float `[B, 3, image_size, image_size]` in [0, 1]."""
    embedding: Tensor = clip.encode_image(normalize_image(images))
    return embedding


def embed_texts(clip: CLIP, ids: Tensor, batch: int = 256) -> Tensor:
    """Embeddings `[N, embed_dim]`, not normalised, of token ids `[N, context_length]` from `Tokenizer.clip_ids`."""
    chunks: Sequence[Tensor] = [clip.encode_text(chunk) for chunk in torch.split(ids, batch)]
    return torch.cat(list(chunks))


def encode_tokens(clip: CLIP, ids: Tensor) -> Tensor:
    """The text tower's last hidden state after the final LayerNorm: `[N, context_length, text_width]`.

    Where a model has no prompt encoder of its own, this is what its UNet cross-attends to, for ids `[N,
    context_length]` from `Tokenizer.prompt_ids`.
    """
    hidden = clip.token_embedding(ids) + clip.positional_embedding
    hidden = clip.transformer(hidden, attn_mask=clip.attn_mask)
    states: Tensor = clip.ln_final(hidden)
    return states


def resize_square(image: Tensor, side: int, *, mode: str, antialias: bool) -> Tensor:
    """Float `[B, 3, H, W]` to `[B, 3, side, side]`, aspect ratio not kept; bicubic results are not clipped."""
    return F.interpolate(image, size=(side, side), mode=mode, align_corners=False, antialias=antialias)
