"""The mask generator with all its prediction heads, and deformable attention query by query."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odise_frame.as_reference.attention import plain_attention
from odise_frame.deformable_attention import Shapes, pixel_centres
from odise_frame.mask_generator import MaskGenerator
from odise_frame.position_embedding import sine_positions

_LEVELS = ("s5", "s4", "s3")


def predict(generator: MaskGenerator, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    """Mask logits `[1, Q, h4, w4]`, mask embeddings `[1, Q, D]` and the two class logits, if the model has them."""
    mask_features, memories = _pixels(generator.pixel_decoder, maps)
    return _decode(generator.predictor, mask_features, memories)


def _pixels(decoder: Any, maps: Mapping[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    levels = [projection(maps[name]) for name, projection in zip(_LEVELS, decoder.input_proj, strict=True)]
    shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
    source = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)
    dim, device = source.shape[-1], source.device
    position = torch.cat(
        [
            sine_positions(*shape, dim // 2, device=device).flatten(1).T + embed
            for shape, embed in zip(shapes, decoder.transformer.level_embed, strict=True)
        ]
    )
    centres = torch.cat([pixel_centres(*shape, device=device) for shape in shapes])
    for layer in decoder.transformer.encoder.layers:
        attended = _deformable(layer.self_attn, source + position, centres, source, shapes)
        source = layer.norm1(source + attended)
        source = layer.norm2(source + layer.linear2(F.relu(layer.linear1(source))))
    parts = torch.split(source.transpose(1, 2), [height * width for height, width in shapes], dim=2)
    memories = [part.view(*part.shape[:2], *shape) for part, shape in zip(parts, shapes, strict=True)]
    lateral = decoder.adapter_1(maps["s2"])
    finest = lateral + F.interpolate(memories[-1], size=lateral.shape[-2:], mode="bilinear", align_corners=False)
    return decoder.mask_features(F.relu(decoder.layer_1(finest))), memories


def _deformable(module: Any, query: Tensor, centres: Tensor, source: Tensor, shapes: Shapes) -> Tensor:
    batch, count, dim = query.shape
    heads, levels, points = module.heads, module.levels, module.points
    value = module.value_proj(source).view(batch, -1, heads, dim // heads)
    offsets = module.sampling_offsets(query).view(batch, count, heads, levels, points, 2)
    weights = module.attention_weights(query).view(batch, count, heads, -1).softmax(dim=-1)
    sizes = query.new_tensor([(width, height) for height, width in shapes])
    places = centres[:, None, None, None, :] + offsets / sizes[:, None, :]
    sampled = []
    start = 0
    for level, (height, width) in enumerate(shapes):
        plane = value[:, start : start + height * width].permute(0, 2, 3, 1).flatten(0, 1)
        start += height * width
        grid = (2.0 * places[:, :, :, level] - 1.0).transpose(1, 2).flatten(0, 1)
        sampled.append(
            F.grid_sample(
                plane.view(batch * heads, -1, height, width),
                grid,
                mode="bilinear",
                padding_mode="zeros",
                align_corners=False,
            )
        )
    # [B * heads, d, N, levels * points]
    together = torch.stack(sampled, dim=-2).flatten(-2)
    summed = (together * weights.transpose(1, 2).flatten(0, 1)[:, None]).sum(dim=-1)
    output: Tensor = module.output_proj(summed.view(batch, dim, count).transpose(1, 2))
    return output


def _decode(decoder: Any, mask_features: Tensor, memories: list[Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
    dim = mask_features.shape[1]
    values, keys = [], []
    for memory, embed in zip(memories, decoder.level_embed.weight, strict=True):
        position = sine_positions(memory.shape[-2], memory.shape[-1], dim // 2, device=memory.device).flatten(1).T
        values.append(memory.flatten(2).transpose(1, 2) + embed)
        keys.append(values[-1] + position)
    position, state = decoder.query_embed.weight, decoder.query_feat.weight[None]
    prediction = _head(decoder, state, mask_features)
    layers = zip(
        decoder.transformer_cross_attention_layers,
        decoder.transformer_self_attention_layers,
        decoder.transformer_ffn_layers,
        strict=True,
    )
    for number, (cross, own, feed_forward) in enumerate(layers):
        level = number % len(memories)
        blocked = _blocked(prediction[0], memories[level], cross.multihead_attn.heads)
        state = cross.norm(
            state + _attention(cross.multihead_attn, state + position, keys[level], values[level], blocked)
        )
        placed = state + position
        state = own.norm(state + _attention(own.self_attn, placed, placed, state, None))
        state = feed_forward(state)
        prediction = _head(decoder, state, mask_features)
    return prediction


def _blocked(mask_logits: Tensor, memory: Tensor, heads: int) -> Tensor:
    small = F.interpolate(mask_logits, size=memory.shape[-2:], mode="bilinear", align_corners=False)
    blocked = (small.sigmoid().flatten(2)[:, None].repeat(1, heads, 1, 1).flatten(0, 1) < 0.5).bool()
    blocked[blocked.sum(dim=-1) == blocked.shape[-1]] = False
    return blocked


def _head(decoder: Any, state: Tensor, mask_features: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    normed = decoder.decoder_norm(state)
    class_logits = None if decoder.class_embed is None else decoder.class_embed(normed)
    mask_logits = torch.einsum("bqc,bchw->bqhw", decoder.mask_embed(normed), mask_features)
    pooling: nn.Module = decoder.post_mask_embed
    _pool(mask_features, mask_logits)
    features = pooling.pool_proj(_pool(mask_features, mask_logits)) + normed  # type: ignore[operator]
    return mask_logits, pooling.mask_embed(features), class_logits  # type: ignore[operator]


def _pool(mask_features: Tensor, mask_logits: Tensor) -> Tensor:
    mask = (mask_logits.sigmoid() > 0.5).to(mask_features.dtype)
    return torch.einsum("bchw,bqhw->bqc", mask_features, mask) / (mask.sum(dim=(-1, -2))[..., None] + 1e-8)


def _attention(module: Any, query: Tensor, key: Tensor, value: Tensor, blocked: Tensor | None) -> Tensor:
    weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)
    query, key, value = (
        F.linear(x, weight, bias).view(*x.shape[:2], module.heads, -1).transpose(1, 2)
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
    )
    output: Tensor = module.out_proj(plain_attention(query, key, value, blocked).transpose(1, 2).flatten(2))
    return output
