"""Both classifiers: CLIP's with the masks' tokens among the patches, and the best synonym of one category at a time."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from odise_frame.clip import embed_patches, normalize_image, resize_square
from odise_frame.mask_classification import allowed_patches
from odise_frame.model import Odise
from odise_frame.open_vocabulary import Synonyms


def embed_masks(model: Odise, image: Tensor, mask_logits: Tensor, padded: tuple[int, int]) -> Tensor:
    """`[1, Q, E]`: tokens of the masks go through every layer with all others, who must not look at them."""
    clip: Any = model.frozen.clip
    visual = clip.visual
    side = model.size.mask_image_size or visual.image_size[0]
    allowed = allowed_patches(
        mask_logits,
        clip,
        padded=padded,
        unpadded=(image.shape[-2], image.shape[-1]),
        stretched=model.quirks.stretched_masks,
        side=model.size.mask_image_size,
    )[0]
    tokens = embed_patches(visual, normalize_image(resize_square(image, side, mode="bilinear", antialias=False)))
    count, total = len(allowed), len(allowed) + tokens.shape[1]
    tokens = torch.cat([tokens[:, :1].expand(-1, count, -1), tokens], dim=1)
    blocked = torch.zeros(total, total, dtype=torch.bool, device=image.device)
    blocked[:, :count] = True
    blocked[:count, count + 1 :] = ~allowed
    for block in visual.transformer.resblocks:
        normed = block.ln_1(tokens)
        attention = block.attn
        heads = blocked[None].repeat(attention.num_heads, 1, 1)
        first = normed.transpose(0, 1)
        attended, _ = F.multi_head_attention_forward(
            first,
            first,
            first,
            attention.embed_dim,
            attention.num_heads,
            attention.in_proj_weight,
            attention.in_proj_bias,
            None,
            None,
            False,
            0.0,
            attention.out_proj.weight,
            attention.out_proj.bias,
            training=False,
            need_weights=False,
            attn_mask=heads,
        )
        tokens = tokens + attended.transpose(0, 1)
        tokens = tokens + block.mlp(block.ln_2(tokens))
    embedding: Tensor = visual.ln_post(tokens)[:, :count] @ visual.proj
    return embedding


def best_synonyms(synonyms: Synonyms, logits: Tensor) -> Tensor:
    """`[..., N]` per string to `[..., K]` per category."""
    return torch.stack([logits[..., sorted(set(row))].max(dim=-1).values for row in synonyms.index.tolist()], dim=-1)
