"""Stable Diffusion v1's UNet at any width, as diffusers builds it.

Source: Rombach et al., 2022, and the v1 inference configuration: 1x1 convolutions before and after each transformer
block, a fixed number of heads at every level, GEGLU, GroupNorm eps 1e-5 in residual and 1e-6 in transformer blocks.
"""

from diffusers import UNet2DConditionModel

from odise_frame.autoencoder import LATENT_CHANNELS
from odise_frame.sizes import UnetSize


def build_unet(size: UnetSize) -> UNet2DConditionModel:
    """A UNet with random weights, in evaluation mode.

    Takes latents `[B, 4, h, w]` with h and w divisible by 8, time steps `[B]` in 0..999 and context tokens
    `[B, T, size.context_dim]`; gives the predicted noise `[B, 4, h, w]`.
    """
    model = UNet2DConditionModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=size.channels,
        layers_per_block=2,
        norm_num_groups=size.norm_groups,
        norm_eps=1e-5,
        cross_attention_dim=size.context_dim,
        # diffusers' name is a known misnomer: for this model it is the NUMBER of heads at every level.
        attention_head_dim=size.heads,
        time_embedding_dim=size.time_embed_dim,
        use_linear_projection=False,
        flip_sin_to_cos=True,
        freq_shift=0,
    )
    return model.eval()
