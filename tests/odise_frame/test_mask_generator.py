"""The mask generator against the reference's numbers, tensor by tensor, and its properties."""

import functools
import json

import numpy as np
import pytest
import torch
from golden_rules import (
    DATA,
    RELATIVE_TO_MAX,
    Golden,
    distances,
    fill,
    normal,
    override_biases,
    probe,
    tiny_size,
    uniform,
)
from torch import Tensor

from odise_frame.deformable_attention import DeformableAttention, pixel_centres, sample_and_sum
from odise_frame.mask_decoder import PooledMaskEmbed
from odise_frame.mask_generator import MaskGenerator, MaskPredictions
from odise_frame.pixel_decoder import DeformableEncoderLayer, PixelFeatures
from odise_frame.position_embedding import sine_positions
from odise_frame.sizes import load_size

FILES = {"golden_head_label": "label", "golden_head_caption": "caption", "golden_head_label_bal": "label"}
COMPONENTS = Golden("golden_components")
SHAPES = [(3, 4), (6, 8), (12, 16)]
"""Levels of the component numbers."""


@functools.cache
def features() -> dict[str, Tensor]:
    """The inputs of the head numbers: of a 192×256 image."""
    return {
        f"s{i}": torch.from_numpy(normal(f"golden.head.s{i}", (1, 512, 192 // 2**i, 256 // 2**i))).relu()
        for i in range(2, 6)
    }


@functools.cache
def generator(file: str) -> MaskGenerator:
    model = MaskGenerator(load_size(f"odise-{FILES[file]}")).eval()
    fill(model, "sem_seg_head.")
    overridden = override_biases(model, Golden(file), "sem_seg_head.")
    assert overridden == (3 if file.endswith("_bal") else 0)
    return model


def predict(
    model: MaskGenerator, inputs: dict[str, Tensor], *, all_layers: bool
) -> tuple[dict[str, Tensor], MaskPredictions]:
    """The predictions, and all tensors that a head file names."""
    seen: list[PixelFeatures] = []
    hook = model.pixel_decoder.register_forward_hook(lambda module, args, output: seen.append(output))
    with torch.no_grad():
        predictions = model(inputs, all_layers=all_layers)
    hook.remove()
    found = {
        "mask_features": predictions.mask_features,
        "pred_masks": predictions.mask_logits,
        "mask_embed": predictions.mask_embed,
        "mask_pooled_features": predictions.pooled_features,
        **{f"ms{i}": memory for i, memory in enumerate(seen[0].memories)},
    }
    for i, layer in enumerate(predictions.auxiliary):
        found[f"aux{i}.pred_masks"] = layer.mask_logits
        found[f"aux{i}.mask_embed"] = layer.mask_embed
    if predictions.class_logits is not None:
        found["pred_logits"] = predictions.class_logits
    return found, predictions


@functools.cache
def run(file: str, all_layers: bool) -> tuple[dict[str, Tensor], MaskPredictions]:
    return predict(generator(file), features(), all_layers=all_layers)


def recorded(file: str) -> list[str]:
    # Label supervision has no class logits here; the reference's are a constant that stands in for them.
    return [name for name in Golden(file).recorded if not (name == "pred_logits" and FILES[file] == "label")]


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in recorded(file)])
def test_every_tensor_of_the_head_is_the_references(file: str, name: str) -> None:
    golden, tensor = Golden(file), run(file, True)[0][name]
    if not file.endswith("_bal"):
        golden.assert_close(name, tensor)
    elif name.endswith("pred_masks"):
        # Logits of these files are small differences of large numbers.
        golden.assert_close(name, tensor, relative_to_max=1e-4, relative_l2=1e-4)
    elif name in ("mask_embed", "mask_pooled_features"):
        # A mask pixel within rounding of the threshold changes what is pooled for that query: all but a few agree.
        expected = golden[f"{name}|probe"]
        difference = np.abs(probe(tensor.numpy(), len(expected)) - expected) / np.abs(expected).max()
        assert np.quantile(difference, 0.95) <= RELATIVE_TO_MAX
    else:
        golden.assert_close(name, tensor)


@pytest.mark.parametrize("file", FILES)
def test_the_whole_mask_of_one_query_is_the_references(file: str) -> None:
    tolerance = 1e-4 if file.endswith("_bal") else RELATIVE_TO_MAX
    worst, _ = distances(run(file, True)[0]["pred_masks"][0, 0].numpy(), Golden(file)["pred_masks|q0"])
    assert worst <= tolerance


def test_in_float64_every_tensor_with_active_masks_is_the_references_to_ten_digits() -> None:
    """Rounding aside nothing differs: no pixel sits on a threshold here."""
    file = "golden_head_label_bal"
    golden = Golden(file)
    model = MaskGenerator(load_size("odise-label")).eval()
    model.load_state_dict(generator(file).state_dict())
    model.double()
    found, _ = predict(model, {name: feature.double() for name, feature in features().items()}, all_layers=True)
    for name in golden.recorded:
        golden.assert_close(name, found[name], suffix="_f64", relative_to_max=1e-10, relative_l2=1e-10)


@pytest.mark.parametrize("all_layers", [True, False])
def test_as_many_places_are_blocked_as_in_the_reference(all_layers: bool) -> None:
    golden = Golden("golden_head_label_bal")["attn_blocked_count_per_query"]
    counts = torch.stack(run("golden_head_label_bal", all_layers)[1].blocked_counts)[:, 0]
    np.testing.assert_array_equal(counts.numpy(), golden)
    assert (golden[0] == 48).sum() == 3, "three queries are blocked everywhere in the first layer"


@pytest.mark.parametrize("file", FILES)
def test_the_lean_way_gives_what_training_sees(file: str) -> None:
    full, lean = run(file, True)[1], run(file, False)[1]
    assert lean.auxiliary == ()
    assert distances(lean.mask_logits.numpy(), full.mask_logits.numpy())[0] <= RELATIVE_TO_MAX
    assert np.quantile((lean.mask_embed - full.mask_embed).abs().numpy(), 0.95) <= RELATIVE_TO_MAX


@pytest.mark.parametrize("file", ["golden_head_label", "golden_head_caption"])
def test_parameters_are_named_as_in_the_released_checkpoints(file: str) -> None:
    released = json.loads((DATA / "released_heads.json").read_text())[FILES[file]]
    ours = {f"sem_seg_head.{name}": list(tensor.shape) for name, tensor in generator(file).state_dict().items()}
    assert ours == {name: shape for name, shape in released.items() if name.startswith("sem_seg_head.")}


# --- components -------------------------------------------------------------------------------------------------------


def test_the_core_samples_and_sums_as_the_reference() -> None:
    value = torch.from_numpy(normal("comp.core.value", (2, 252, 4, 8)))
    locations = torch.from_numpy(uniform("comp.core.loc", (2, 30, 4, 3, 4, 2))) * 1.2 - 0.1
    weights = torch.from_numpy(normal("comp.core.attn", (2, 30, 4, 12))).softmax(-1).view(2, 30, 4, 3, 4)
    found = sample_and_sum(value, SHAPES, (2 * locations - 1).permute(0, 2, 3, 4, 1, 5), weights.permute(0, 2, 3, 4, 1))
    COMPONENTS.assert_array_close("core.out", found)


def test_reference_points_are_the_pixels_centres() -> None:
    found = torch.cat([pixel_centres(*shape, device=torch.device("cpu")) for shape in SHAPES])
    golden = COMPONENTS["msda.reference_points"]
    np.testing.assert_allclose(found[None, :, None, :].expand(1, 252, 3, 2).numpy(), golden, atol=1e-7)


def test_deformable_attention_and_its_layer_are_the_references() -> None:
    query = torch.from_numpy(normal("comp.msda.query", (1, 252, 32)))
    source = torch.from_numpy(normal("comp.msda.input", (1, 252, 32)))
    centres = torch.from_numpy(COMPONENTS["msda.reference_points"])[0, :, 0]
    attention = DeformableAttention(32, heads=4, levels=3, points=4)
    fill(attention, "comp.msda.")
    layer = DeformableEncoderLayer(32, 64, heads=4, levels=3, points=4)
    fill(layer, "comp.msda_layer.")
    with torch.no_grad():
        COMPONENTS.assert_array_close("msda.out", attention(query, centres, source, SHAPES))
        COMPONENTS.assert_array_close("msda_layer.out", layer(source, query, centres, SHAPES))


def test_sine_positions_are_the_references() -> None:
    COMPONENTS.assert_array_close("sine.out", sine_positions(5, 7, 8)[None])


def test_pooled_mask_embedding_is_the_references() -> None:
    embed = PooledMaskEmbed(32)
    fill(embed, "comp.pme.")
    mask_logits = torch.from_numpy(normal("comp.pme.pred_masks", (1, 6, 10, 12)))
    mask_logits[:, 5] = -3.0
    mask_features = torch.from_numpy(normal("comp.pme.mask_features", (1, 32, 10, 12)))
    with torch.no_grad():
        found, pooled = embed(
            torch.from_numpy(normal("comp.pme.decoder_output", (1, 6, 32))), mask_features, mask_logits
        )
        COMPONENTS.assert_array_close("pme.mask_embed", found)
        COMPONENTS.assert_array_close("pme.mask_pooled_features", pooled)
        COMPONENTS.assert_array_close("pme.logit_scale", embed.scale())


# --- properties -------------------------------------------------------------------------------------------------------


def _tiny() -> tuple[MaskGenerator, dict[str, Tensor]]:
    torch.manual_seed(0)
    model = MaskGenerator(tiny_size("caption"))
    # 3 images of 96×160: no power of two anywhere.
    return model, {f"s{i}": torch.randn(3, 128, 96 // 2**i, 160 // 2**i) for i in range(2, 6)}


def test_permuting_the_queries_permutes_what_they_predict() -> None:
    model, inputs = _tiny()
    order = torch.randperm(20)
    with torch.no_grad():
        before = model(inputs)
        for embedding in (model.predictor.query_feat, model.predictor.query_embed):
            embedding.weight.copy_(embedding.weight[order])
        after = model(inputs)
    torch.testing.assert_close(after.mask_logits, before.mask_logits[:, order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.mask_embed, before.mask_embed[:, order], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after.class_logits, before.class_logits[:, order], rtol=1e-4, atol=1e-4)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    model, inputs = _tiny()
    with torch.no_grad():
        together = model(inputs)
        alone = model({name: feature[1:2] for name, feature in inputs.items()})
    torch.testing.assert_close(together.mask_logits[1:2], alone.mask_logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(together.mask_embed[1:2], alone.mask_embed, rtol=1e-4, atol=1e-4)


def test_every_parameter_learns_from_all_layers() -> None:
    model, inputs = _tiny()
    # Untrained, every place is sampled alike whatever the query says; with these weights it matters.
    fill(model, "sem_seg_head.")
    predictions = model(inputs, all_layers=True)
    assert len(predictions.auxiliary) == 3
    total = predictions.logit_scale + predictions.mask_embed.square().mean()
    for layer in (*predictions.auxiliary, predictions):
        total = total + layer.mask_logits.square().mean() + layer.class_logits.square().mean()
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_pooled_pixels_learn_but_the_hard_mask_does_not() -> None:
    embed = PooledMaskEmbed(16)
    mask_logits = torch.randn(1, 4, 6, 5, requires_grad=True)
    mask_features = torch.randn(1, 16, 6, 5, requires_grad=True)
    found, _ = embed(torch.randn(1, 4, 16), mask_features, mask_logits)
    found.square().sum().backward()
    assert mask_logits.grad is None
    assert mask_features.grad is not None
    outside = ~(mask_logits > 0).any(dim=1)
    assert (mask_features.grad.abs().sum(dim=1)[~outside] > 0).all()
    assert (mask_features.grad.abs().sum(dim=1)[outside] == 0).all()


def test_an_empty_mask_pools_nothing_whatever_the_pixels_are() -> None:
    embed = PooledMaskEmbed(16)
    normed, empty = torch.randn(1, 2, 16), torch.full((1, 2, 6, 5), -1.0)
    with torch.no_grad():
        one, _ = embed(normed, torch.randn(1, 16, 6, 5), empty)
        other, _ = embed(normed, torch.randn(1, 16, 6, 5), empty)
    assert torch.isfinite(one).all()
    assert torch.equal(one, other)
