"""The second classifier: what CLIP sees in every mask.

One token per mask looks on while CLIP sees the whole image: it takes part in every layer as a query over the image's
keys and values, confined to its mask, and nothing looks back at it.

Source: Ding et al., "Open-Vocabulary Universal Image Segmentation with MaskCLIP", 2023 (mask class tokens), as used by
Xu et al., 2023, section 3.5.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from odise_frame.clip import embed_patches, normalize_image, resize_square


def allowed_patches(
    mask_logits: Tensor,
    clip: Any,
    *,
    padded: tuple[int, int],
    unpadded: tuple[int, int],
    stretched: bool,
    side: int | None = None,
) -> Tensor:
    """Which patches a mask's token may look at: bool `[B, Q, rows * columns]`.

    A patch is allowed where the mask reaches it at all.

    Args:
        mask_logits: `[B, Q, h, w]`, over the padded frame.
        clip: only its image and patch size are asked for.
        padded: height and width of the padded frame in pixels.
        unpadded: height and width of the image in its upper left corner.
        stretched: the masks are stretched over the image padding and all (see `Quirks.stretched_masks`); otherwise
            only the part of them that lies over the image is used.
        side: of the square that CLIP sees, in pixels; None: its own.
    """
    side, patch = side or clip.visual.image_size[0], clip.visual.patch_size[0]
    if stretched or padded == unpadded:
        resized = F.interpolate(mask_logits, size=(side, side), mode="bilinear", align_corners=False)
    else:
        resized = _resize_corner(mask_logits, side, unpadded[0] / padded[0], unpadded[1] / padded[1])
    return F.max_pool2d(resized.sigmoid(), patch).flatten(2) >= 0.5


def _resize_corner(maps: Tensor, side: int, rows: float, columns: float) -> Tensor:
    """Bilinear, of the upper left `rows` and `columns` (shares of the whole) to `[B, Q, side, side]`."""
    places = (torch.arange(side, device=maps.device, dtype=maps.dtype) + 0.5) / side
    y, x = 2.0 * places * rows - 1.0, 2.0 * places * columns - 1.0
    grid = torch.stack([x.expand(side, side), y[:, None].expand(side, side)], dim=-1)
    return F.grid_sample(
        maps, grid.expand(len(maps), -1, -1, -1), mode="bilinear", padding_mode="border", align_corners=False
    )


def embed_masks(clip: Any, images: Tensor, allowed: Tensor, side: int | None = None) -> Tensor:
    """Embeddings `[B, Q, embed_dim]`, not normalised, of masks in images.

    Args:
        clip: an open_clip model.
        images: float `[B, 3, H, W]` in [0, 1], unpadded; squashed to CLIP's square without antialiasing.
        allowed: bool `[B, Q, patches]` from `allowed_patches`. The class token is always allowed, so an empty mask has
            the embedding of a token that sees it alone.
        side: as of `allowed_patches`.
    """
    visual = clip.visual
    seen = resize_square(images, side or visual.image_size[0], mode="bilinear", antialias=False)
    image_tokens = embed_patches(visual, normalize_image(seen).to(visual.proj.dtype))
    count = allowed.shape[1]
    # Rows: mask tokens, then class token and patches. Columns: class token and patches only.
    tokens = torch.cat([image_tokens[:, :1].expand(-1, count, -1), image_tokens], dim=1)
    visible = torch.cat([allowed.new_ones(*allowed.shape[:2], 1), allowed], dim=2)
    visible = torch.cat([visible, visible.new_ones(len(visible), visible.shape[2], visible.shape[2])], dim=1)
    last = len(visual.transformer.resblocks) - 1
    for number, block in enumerate(visual.transformer.resblocks):
        attention = block.attn
        heads, width = attention.num_heads, attention.embed_dim
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        normed = block.ln_1(tokens)
        if number == last:  # nobody reads what the image tokens become here
            tokens, visible = tokens[:, :count], visible[:, :count]
        query = F.linear(normed[:, : tokens.shape[1]], weight[:width], bias[:width])
        key, value = F.linear(normed[:, count:], weight[width:], bias[width:]).chunk(2, dim=-1)
        query, key, value = (x.view(*x.shape[:2], heads, -1).transpose(1, 2) for x in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=visible[:, None])
        tokens = tokens + attention.out_proj(attended.transpose(1, 2).flatten(2))
        tokens = tokens + block.mlp(block.ln_2(tokens))
    embedding: Tensor = visual.ln_post(tokens) @ visual.proj
    return embedding.to(images.dtype)
