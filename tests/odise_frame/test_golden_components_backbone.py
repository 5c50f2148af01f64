"""Parts of the backbone, CLIP and the text side against the reference's component numbers."""

import numpy as np
import pytest
import torch
from golden_rules import Golden, fill, normal, tiny_size, uniform, weight
from tiny_model import frozen_parts

from odise_frame.autoencoder import build_autoencoder
from odise_frame.clip import embed_images, embed_texts, encode_tokens, normalize_image, resize_square
from odise_frame.diffusion_backbone import describe_taps, shared_noise
from odise_frame.diffusion_unet import build_unet
from odise_frame.feature_projection import Bottleneck
from odise_frame.mask_classification import allowed_patches, embed_masks
from odise_frame.noise import add_noise, alphas_cumprod
from odise_frame.open_vocabulary import CategoryHead, Synonyms, cosine_logits
from odise_frame.prompt_encoder import encode_prompts
from odise_frame.sizes import ClipSize, load_size
from odise_frame.tokenizer import Tokenizer

COMPONENTS = Golden("golden_components")
MASK_CLIP = Golden("golden_maskclip_tiny")
TEXTS = Golden("golden_text_and_losses")


@pytest.mark.parametrize(("name", "channels"), [("proj_a", 96), ("proj_b", 128)])
def test_feature_projection(name: str, channels: int) -> None:
    block = Bottleneck(channels, 32, 128, 32)
    fill(block, f"comp.{name}.")
    x = torch.from_numpy(normal(f"comp.{name}.x", (1, channels, 6, 5)))
    with torch.no_grad():
        COMPONENTS.assert_array_close(f"{name}.out", block(x))


@pytest.mark.parametrize(
    ("name", "mode"), [("resize.bicubic_64_42_noaa", "bicubic"), ("resize.bilinear_64_42", "bilinear")]
)
def test_resizing_without_antialiasing(name: str, mode: str) -> None:
    image = torch.from_numpy(uniform("comp.resize.img", (1, 3, 64, 64)))
    COMPONENTS.assert_array_close(name, resize_square(image, 42, mode=mode, antialias=False))


def test_noise_schedule_and_the_one_noise() -> None:
    steps = [0, 1, 10, 100, 500, 999]
    COMPONENTS.assert_array_close("sched.alphas_cumprod", alphas_cumprod()[steps], relative_to_max=1e-7)
    latent = torch.from_numpy(normal("comp.q.x0", (1, 4, 8, 8)))
    noise = torch.from_numpy(normal("comp.q.noise", (1, 4, 8, 8)))
    COMPONENTS.assert_array_close("q_sample.out", add_noise(latent, noise, torch.tensor([0])))
    np.testing.assert_array_equal(shared_noise(64).numpy(), COMPONENTS["shared_noise"])


@pytest.fixture(scope="module")
def full_clip() -> ClipSize:
    return load_size("odise-label").clip


def test_token_ids(full_clip: ClipSize) -> None:
    ids = Tokenizer(full_clip).clip_ids([str(text) for text in COMPONENTS["tok.strings"]])
    np.testing.assert_array_equal(ids.numpy(), COMPONENTS["tok.ids"])
    prompts = Tokenizer(full_clip).prompt_ids(["", "a photo of a person."])
    np.testing.assert_array_equal(prompts.numpy(), TEXTS["sd_tiny.token_ids"])


def test_text_embeddings_and_their_projection() -> None:
    frozen = frozen_parts()
    with torch.no_grad():
        embed = embed_texts(frozen.clip, frozen.tokenizer.clip_ids([str(text) for text in TEXTS["strings"]]))
        TEXTS.assert_array_close("clip_tiny.text_embed", embed)
        head = CategoryHead(64, 64)
        fill(head, "category_head.")
        TEXTS.assert_array_close("text_proj.out", head.text_proj(embed))
        TEXTS.assert_array_close("null_proj.out", head.text_proj(head.null_embed))


def test_texts_are_embedded_alike_in_any_batch() -> None:
    frozen = frozen_parts()
    ids = frozen.tokenizer.clip_ids([f"thing number {i}" for i in range(7)])
    with torch.no_grad():
        whole, parts = embed_texts(frozen.clip, ids), embed_texts(frozen.clip, ids, batch=3)
    torch.testing.assert_close(whole, parts, rtol=1e-5, atol=1e-5)


def test_prompts_for_the_unet() -> None:
    frozen = frozen_parts()
    ids = torch.from_numpy(TEXTS["sd_tiny.token_ids"]).long()
    with torch.no_grad():
        encoded = encode_prompts(frozen.prompt_encoder, frozen.clip, ids)
    TEXTS.assert_array_close("sd_tiny.text", encoded[..., :8])
    torch.testing.assert_close(encoded[:1], frozen.empty_prompt)


def test_without_a_prompt_encoder_clips_own_tokens_serve() -> None:
    frozen = frozen_parts()
    ids = frozen.tokenizer.prompt_ids(["a red truck"])
    with torch.no_grad():
        tokens = encode_prompts(None, frozen.clip, ids)
        torch.testing.assert_close(tokens, encode_tokens(frozen.clip, ids))
        # The text embedding is the projection of the token at the end of the text.
        end = int((ids[0] == frozen.tokenizer.end).nonzero()[0])
        embedding = embed_texts(frozen.clip, frozen.tokenizer.clip_ids(["a red truck"]))
        torch.testing.assert_close(tokens[:, end] @ frozen.clip.text_projection, embedding)


def _masks() -> torch.Tensor:
    masks = torch.from_numpy(COMPONENTS["chain.pred_masks"])
    return torch.cat([masks, torch.full((1, 1, *masks.shape[2:]), -5.0)], dim=1)


def _allowed(*, stretched: bool) -> torch.Tensor:
    return allowed_patches(_masks(), frozen_parts().clip, padded=(128, 192), unpadded=(120, 150), stretched=stretched)


def test_patches_that_a_mask_may_see() -> None:
    np.testing.assert_array_equal(_allowed(stretched=True)[0].view(-1, 6, 6).numpy(), MASK_CLIP["allowed"])


@pytest.mark.parametrize(("dtype", "suffix", "close"), [(torch.float32, "", 2e-5), (torch.float64, "_f64", 1e-12)])
def test_embeddings_of_masks(dtype: torch.dtype, suffix: str, close: float) -> None:
    clip = frozen_parts().clip.to(dtype)
    try:
        image = torch.from_numpy(uniform("golden.maskclip.image", (1, 3, 120, 150))).to(dtype)
        text = torch.from_numpy(normal("golden.maskclip.text", (4, 64))).to(dtype)
        with torch.no_grad():
            embed = embed_masks(clip, image, _allowed(stretched=True))
            logits = Synonyms.of([["a"], ["b", "c"], ["d"]]).best(
                cosine_logits(embed, text, clip.logit_scale.exp().clamp(max=100))
            )
        MASK_CLIP.assert_array_close(f"mask_embed{suffix}", embed, relative_to_max=close)
        MASK_CLIP.assert_array_close(f"logits{suffix}", logits, relative_to_max=close)
    finally:
        clip.float()


def test_a_mask_that_sees_everything_is_embedded_as_the_image() -> None:
    clip = frozen_parts().clip
    image = torch.from_numpy(uniform("golden.maskclip.image", (1, 3, 120, 150)))
    squashed = resize_square(image, 84, mode="bilinear", antialias=False)
    with torch.no_grad():
        plain = embed_images(clip, squashed)
        all_seeing = embed_masks(clip, image, torch.ones(1, 1, 36, dtype=torch.bool))
    MASK_CLIP.assert_array_close("image_embed_plain", plain)
    torch.testing.assert_close(all_seeing[:, 0], plain, rtol=1e-5, atol=1e-5)


def test_masks_do_not_see_each_other() -> None:
    clip, allowed = frozen_parts().clip, _allowed(stretched=True)
    image = torch.from_numpy(uniform("golden.maskclip.image", (1, 3, 120, 150)))
    with torch.no_grad():
        together = embed_masks(clip, image, allowed)
        alone = embed_masks(clip, image, allowed[:, 3:4])
    torch.testing.assert_close(together[:, 3:4], alone, rtol=1e-5, atol=1e-5)


def test_masks_that_are_not_stretched_lie_over_the_image_without_padding() -> None:
    # A mask over the right half of the unpadded image, on a frame whose padding is as wide as the image.
    logits = torch.full((1, 1, 16, 32), -9.0)
    logits[..., 8:16] = 9.0
    clip = frozen_parts().clip
    found = allowed_patches(logits, clip, padded=(64, 128), unpadded=(64, 64), stretched=False).view(6, 6)
    assert found[:, 3:].all()
    assert not found[:, :2].any()
    stretched = allowed_patches(logits, clip, padded=(64, 128), unpadded=(64, 64), stretched=True).view(6, 6)
    assert not stretched[:, 4:].any()


def test_what_the_captioner_sees() -> None:
    clip = frozen_parts().clip
    image = torch.from_numpy(uniform("golden.maskclip.square", (1, 3, 256, 256)))
    seen = resize_square(image, 84, mode="bicubic", antialias=False)
    probe = normalize_image(seen).numpy().reshape(-1)[::41]
    np.testing.assert_allclose(probe, MASK_CLIP["captioner_preprocessed_probe"], atol=2e-5 * np.abs(probe).max())
    with torch.no_grad():
        MASK_CLIP.assert_array_close("captioner_embed_256sq", embed_images(clip, seen))


def test_the_weights_of_clip_follow_the_rule() -> None:
    key = "clip.visual.transformer.resblocks.1.attn.in_proj_weight"
    parameters = dict(frozen_parts().named_parameters())
    np.testing.assert_array_equal(parameters[key].numpy(), weight(key, (384, 128)))
    assert tiny_size("label").clip.vision_width == 128


@pytest.mark.parametrize("name", ["small", "odise-label"])
def test_features_have_the_channels_of_the_blocks_that_they_enter(name: str) -> None:
    size = load_size(name)
    with torch.device("meta"):
        autoencoder, unet = build_autoencoder(size.vae), build_unet(size.unet)
    blocks = [
        *(autoencoder.encoder.down_blocks[level].resnets[1] for level in (2, 3)),
        *(level.resnets[2] for level in unet.up_blocks),
        *(autoencoder.decoder.up_blocks[level].resnets[2] for level in (0, 1)),
    ]
    assert [tap.channels for tap in describe_taps(size.vae, size.unet)] == [block.in_channels for block in blocks]
