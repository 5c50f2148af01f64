"""Stable Diffusion's autoencoder (f8) at any width, as diffusers builds it.

Source: the latent-diffusion autoencoder (Rombach et al., 2022, section 3.1), kl-f8 configuration.
"""

from diffusers import AutoencoderKL

from odise_frame.sizes import VaeSize

LATENT_CHANNELS = 4
LATENT_STRIDE = 8
"""Pixels per latent cell along one side: 3 halvings between the 4 levels."""


def build_autoencoder(size: VaeSize) -> AutoencoderKL:
    """An autoencoder with random weights, in evaluation mode.

    Images are float `[B, 3, H, W]` in [-1, 1] with sides divisible by 8, latents `[B, 4, H/8, W/8]`; the posterior's
    mean times `size.scale_factor` is what the UNet works on. GroupNorm eps is 1e-6 throughout.
    """
    levels = len(size.channels)
    model = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=size.channels,
        layers_per_block=2,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=size.norm_groups,
        scaling_factor=size.scale_factor,
    )
    return model.eval()
