"""OpenAI's CLIP at any size, as open_clip builds it: images and texts in one space.

Source: Radford et al., 2021. ViT image tower, causal text tower, QuickGELU.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor

from odise_frame.constants import constant
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


def causal_mask(size: ClipSize) -> Tensor:
    """What the text tower adds to its attention: float32 `[context_length, context_length]`, no token sees what follows
    it."""
    length = size.context_length
    return torch.full((length, length), float("-inf")).triu_(1)


def normalize_image(image: Tensor) -> Tensor:
    """From [0, 1] to the range CLIP was trained on: float `[B, 3, H, W]`, same shape."""
    mean = _channels(IMAGE_MEAN, device=image.device, dtype=image.dtype)
    std = _channels(IMAGE_STD, device=image.device, dtype=image.dtype)
    return (image - mean) / std


@constant
def _channels(values: tuple[float, ...], *, device: torch.device, dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, device=device, dtype=dtype).view(-1, 1, 1)


def embed_images(clip: CLIP, images: Tensor) -> Tensor:
    """Embeddings `[B, embed_dim]`, not normalised, of float `[B, 3, side, side]` in [0, 1].

    The side is a multiple of the patch size, not necessarily the one that the model was built for.
    """
    visual = clip.visual
    normal = normalize_image(images).to(visual.proj.dtype)
    *layers, last = visual.transformer.resblocks
    tokens = embed_patches(visual, normal)
    for layer in layers:
        tokens = layer(tokens)
    embedding: Tensor = visual.ln_post(_first_after(last, tokens)) @ visual.proj
    return embedding.to(images.dtype)


def _first_after(layer: Any, tokens: Tensor) -> Tensor:
    """The class token `[B, width]` after the last layer, of which nobody reads another."""
    attention, normed = layer.attn, layer.ln_1(tokens)
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = F.linear(normed[:, :1], weight[:width], bias[:width])
    key, value = F.linear(normed, weight[width:], bias[width:]).chunk(2, dim=-1)
    query, key, value = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
    attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
    first = tokens[:, :1] + attention.out_proj(attended)
    output: Tensor = first + layer.mlp(layer.ln_2(first))
    return output[:, 0]


def embed_patches(visual: Any, images: Tensor) -> Tensor:
    """Class token and patches as they enter the first layer: `[B, 1 + patches, width]`.

    Args:
        visual: a CLIP's image tower.
        images: normalised, `[B, 3, side, side]`; where the side is not the tower's own, its positions are resized.
    """
    patches = visual.conv1(images).flatten(2).transpose(1, 2)
    first = visual.class_embedding.expand(len(patches), 1, -1)
    positions = positions_at(visual, images.shape[-1] // visual.patch_size[0])
    tokens: Tensor = visual.ln_pre(torch.cat([first, patches], dim=1) + positions)
    return tokens


def positions_at(visual: Any, grid: int) -> Tensor:
    """The position embeddings of class token and `grid` x `grid` patches: `[1 + grid * grid, width]`.

    Source: Dosovitskiy et al., ViT, 2021, section 3.2 (resized where the image has another size than in training).
    """
    own: Tensor = visual.positional_embedding
    native = visual.grid_size[0]
    if grid == native:
        return own
    maps = own[1:].T.reshape(1, -1, native, native)
    resized = F.interpolate(maps, size=(grid, grid), mode="bicubic", align_corners=False, antialias=grid < native)
    return torch.cat([own[:1], resized.flatten(2)[0].T])


def embed_texts(clip: CLIP, ids: Tensor, batch: int = 256) -> Tensor:
    """Embeddings `[N, embed_dim]`, not normalised, of token ids `[N, context_length]` from `Tokenizer.clip_ids`."""
    chunks: Sequence[Tensor] = [clip.encode_text(chunk) for chunk in torch.split(ids, batch)]
    return torch.cat(list(chunks))


def embed_short_texts(clip: CLIP, ids: Tensor) -> Tensor:
    """`embed_texts` without the work on columns that are padding in every row: no token sees what follows it."""
    length = int(ids.argmax(dim=1).max()) + 1
    ids = ids[:, :length]
    hidden = clip.token_embedding(ids) + clip.positional_embedding[:length]
    hidden = clip.ln_final(clip.transformer(hidden, attn_mask=clip.attn_mask[:length, :length]))
    embedding: Tensor = hidden[torch.arange(len(ids)), ids.argmax(dim=1)] @ clip.text_projection
    return embedding


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
