"""The engine: other numbers and orders in memory, the same results; nothing that depends on shapes made twice."""

import pytest
import torch
from golden_rules import uniform
from micro_model import VOCABULARY, micro_model
from torch import Tensor

from odise_frame.backbone import pad_frames
from odise_frame.constants import constant
from odise_frame.engine import EngineSettings, prepare
from odise_frame.mask_generator import MaskPredictions
from odise_frame.model import Odise
from odise_frame.position_embedding import sine_positions
from odise_frame.vocabulary_text import VocabularyReader
from videoseg.errors import InputError


def image() -> Tensor:
    # Noise rather than squares of one colour, where norms divide rounding by next to nothing.
    return torch.from_numpy(uniform("engine.image", (1, 3, 64, 128)))


@torch.inference_mode()
def see(model: Odise) -> tuple[list[Tensor], MaskPredictions, Tensor]:
    taps: list[Tensor] = []
    hook = model.backbone.feature_projections.register_forward_pre_hook(lambda _, args: taps.extend(args[0]))
    padded = pad_frames(image(), 64)
    masks = model.predict_masks(padded, window_batch=2)
    hook.remove()
    return taps, masks, model.look_at_masks(image(), masks.mask_logits, (padded.shape[-2], padded.shape[-1]))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


def test_a_prepared_model_sees_the_same() -> None:
    plain, prepared = see(micro_model()), see(prepare(micro_model()))
    assert len(plain[0]) == len(prepared[0]) == 8
    for one, other in zip(plain[0], prepared[0], strict=True):
        assert relative(other, one) <= 1e-5


def test_half_the_bits_cost_percents_of_the_features_and_no_type_leaks_out() -> None:
    plain, half = see(micro_model()), see(prepare(micro_model(), EngineSettings(precision="bfloat16")))
    for number, (one, other) in enumerate(zip(plain[0], half[0], strict=True)):
        # This UNet's maps have a pixel and norms of two channels, which amplify.
        assert 1e-4 < relative(other, one) < (0.15 if 2 <= number <= 5 else 0.06), number
    for value in (half[1].mask_logits, half[1].mask_embed, half[1].pooled_features, half[2]):
        assert value.dtype == torch.float32


def test_temperature_and_texts_keep_their_precision() -> None:
    names = [category.names for category in VOCABULARY]
    model = prepare(micro_model(), EngineSettings(precision="bfloat16"))
    assert float(model.frozen.clip.logit_scale.exp()) == pytest.approx(1 / 0.07, rel=1e-5)
    text = VocabularyReader(model.frozen, "label", ["person"]).read(names)
    plain = VocabularyReader(micro_model().frozen, "label", ["person"]).read(names)
    assert text.clip_embed.dtype == torch.float32
    assert relative(text.clip_embed, plain.clip_embed) < 0.03


def test_graphs_want_a_gpu() -> None:
    with pytest.raises(InputError, match="Leave them out"):
        prepare(micro_model(), EngineSettings(graphs=True))


def test_what_depends_on_shapes_alone_is_made_once_even_for_training() -> None:
    with torch.inference_mode():
        first = sine_positions(5, 7, 8, device=torch.device("cpu"))
    assert sine_positions(5, 7, 8, device=torch.device("cpu")) is first
    assert not first.is_inference()
    weight = torch.ones(1, requires_grad=True)
    (first * weight).sum().backward()
    assert weight.grad is not None
    assert float(weight.grad) == pytest.approx(float(first.sum()), rel=1e-4)


def test_constants_tell_their_arguments_apart() -> None:
    @constant
    def filled(value: float) -> Tensor:
        return torch.full((2,), value)

    assert filled(1.0).tolist() == [1.0, 1.0]
    assert filled(2.0).tolist() == [2.0, 2.0]
