"""The text encoder whose tokens the diffusion UNet cross-attends to."""

from typing import Any

from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from odise_frame.clip import encode_tokens
from odise_frame.sizes import ClipSize, PromptEncoderSize


def build_prompt_encoder(size: PromptEncoderSize, clip: ClipSize) -> nn.Module:
    """Stable Diffusion's text encoder with random weights, in evaluation mode, over the ids of CLIP's vocabulary."""
    encoder: nn.Module = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=clip.vocab_size,
            hidden_size=size.width,
            intermediate_size=size.mlp_width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            max_position_embeddings=clip.context_length,
            hidden_act="quick_gelu",
            layer_norm_eps=1e-5,
        )
    )
    return encoder.eval()


def encode_prompts(prompt_encoder: nn.Module | None, clip: Any, ids: Tensor) -> Tensor:
    """Tokens `[N, context_length, context_dim]` of ids from `Tokenizer.prompt_ids`: the last hidden state.

    Where a model has no encoder of its own (None), CLIP's text tower serves.
    """
    if prompt_encoder is None:
        return encode_tokens(clip, ids)
    tokens: Tensor = prompt_encoder(input_ids=ids).last_hidden_state
    return tokens
