"""From mask embeddings to results: the reference's chain of numbers, and what must hold for any input."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from golden_rules import (
    CHAIN_THINGS,
    CHAIN_VOCABULARY,
    DATA,
    VOCABULARY,
    Golden,
    assert_same_map,
    distances,
    fill,
    normal,
    text_embeddings,
    tiny_size,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from odise_frame.ensembling import attach_void, caption_scores, ensemble_open, label_scores, seen_categories
from odise_frame.inference import (
    Geometry,
    PanopticResult,
    instance_inference,
    panoptic_inference,
    resize_masks,
    semantic_inference,
    semantic_labels,
)
from odise_frame.open_vocabulary import CategoryHead, Synonyms, WordHead, category_logits, cosine_logits, prompted
from odise_frame.sizes import load_size
from videoseg import label_sets

COMPONENTS = Golden("golden_components")
SETTINGS = {"config": (0.30, 0.70, 0.8), "demo": (0.35, 0.65, 0.0)}
"""CLIP's exponents for seen and unseen categories, and the overlap threshold."""
GEOMETRY = Geometry(image=(120, 150), output=(240, 300))
QUICK = settings(max_examples=25, deadline=None)
seeds = st.integers(0, 2**32 - 1)


# --- the reference's chain --------------------------------------------------------------------------------------------


@functools.cache
def chain(setting: str, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    seen_weight, unseen_weight, _ = SETTINGS[setting]
    text, null = normal("comp.chain.text_embed", (9, 16)), normal("comp.chain.null_embed", (1, 16))
    logits = category_logits(
        torch.from_numpy(COMPONENTS["chain.mask_embed"]).to(dtype),
        torch.from_numpy(np.concatenate([text, null])).to(dtype),
        Synonyms.of(CHAIN_VOCABULARY),
        1.0 / 0.07,
    )
    clip_logits = 4.0 * torch.from_numpy(normal("comp.chain.clip_logits", (1, 12, 5))).to(dtype)
    seen = torch.from_numpy(COMPONENTS["chain.overlap"])
    weights = {"seen_weight": seen_weight, "unseen_weight": unseen_weight}
    return {
        "category_logits": logits,
        "ensembled_open": ensemble_open(logits[..., :-1], clip_logits, seen, **weights),
        "final_log_probs": label_scores(logits, clip_logits, seen, **weights)[0],
    }


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", ["category_logits", "ensembled_open", "final_log_probs"])
def test_scores_are_the_references(setting: str, name: str) -> None:
    COMPONENTS.assert_array_close(f"chain.{setting}.{name}", chain(setting)[name])
    worst, _ = distances(chain(setting, torch.float64)[name].numpy(), COMPONENTS[f"chain.{setting}.{name}_f64"])
    assert worst <= 1e-7, "in float64 nothing but the reference's own rounding of its constants is left"


@functools.cache
def chain_masks() -> Tensor:
    return torch.from_numpy(COMPONENTS["chain.pred_masks"])[0]


@pytest.mark.parametrize("setting", SETTINGS)
def test_resized_masks_and_semantic_scores_are_the_references(setting: str) -> None:
    scores, masks = chain(setting)["final_log_probs"], chain_masks()
    resized = resize_masks(masks, GEOMETRY)
    COMPONENTS.assert_array_close(f"chain.{setting}.mask_pred_crop", resized[:, ::16, ::16])
    semantic = semantic_inference(scores, masks, GEOMETRY)
    COMPONENTS.assert_array_close(f"chain.{setting}.sem_seg_crop", semantic[:, ::16, ::16])
    assert_same_map(semantic.argmax(dim=0), COMPONENTS[f"chain.{setting}.sem_argmax"])
    assert_same_map(semantic_labels(scores, masks, GEOMETRY), COMPONENTS[f"chain.{setting}.sem_argmax"])


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_panoptic_result_is_the_references(setting: str) -> None:
    scores, threshold = chain(setting)["final_log_probs"], SETTINGS[setting][2]
    found = panoptic_inference(scores, chain_masks(), GEOMETRY, CHAIN_THINGS, overlap_threshold=threshold)
    assert_same_map(found.id_map, COMPONENTS[f"chain.{setting}.panoptic"])
    rows = [(segment.id, segment.category, int(segment.is_thing)) for segment in found.segments]
    assert rows == [tuple(row) for row in COMPONENTS[f"chain.{setting}.segments"].tolist()]
    id_map, segments = plain_panoptic(scores, chain_masks(), GEOMETRY, CHAIN_THINGS, threshold)
    assert torch.equal(found.id_map, id_map), "tile by tile is the same as all at once"
    assert rows == segments


@pytest.mark.parametrize("setting", SETTINGS)
def test_instances_are_the_references(setting: str) -> None:
    scores = chain(setting)["final_log_probs"]
    found = instance_inference(scores, chain_masks(), GEOMETRY, top=15, categories=CHAIN_THINGS)
    COMPONENTS.assert_array_close(f"chain.{setting}.inst_scores", found.scores)
    np.testing.assert_array_equal(found.categories.numpy(), COMPONENTS[f"chain.{setting}.inst_classes"])
    np.testing.assert_array_equal(found.masks.sum(dim=(1, 2)).numpy(), COMPONENTS[f"chain.{setting}.inst_areas"])


def test_seen_categories_of_the_chain_are_the_references() -> None:
    training = [name for row in label_sets.rows("coco") for name in row.names]
    np.testing.assert_array_equal(seen_categories(CHAIN_VOCABULARY, training).numpy(), COMPONENTS["chain.overlap"])


@pytest.mark.parametrize(
    "file", ["golden_tiny_label_p", "golden_tiny_label_p_bal", "golden_tiny_label_q", "golden_tiny_caption_q"]
)
def test_scores_of_whole_models_follow_from_their_embeddings(file: str) -> None:
    """From the recorded mask embeddings on: these records are small enough to hold every value."""
    golden, is_label = Golden(file), "label" in file

    def whole(name: str) -> Tensor:
        values, shape = golden[f"{name}#0|probe"], golden[f"{name}#0|shape"]
        assert len(values) == np.prod(shape)
        return torch.from_numpy(values.reshape(shape))

    synonyms, dim = Synonyms.of(VOCABULARY), tiny_size("label").mask_generator.hidden_dim
    head = CategoryHead(64, dim) if is_label else WordHead(64, dim)
    fill(head, "category_head." if is_label else "word_head.")
    category_text, clip_text = (torch.from_numpy(text_embeddings(kind, 64)) for kind in ("category", "clip"))
    seen = torch.from_numpy(golden["overlap_mask"])
    with torch.no_grad():
        logits = head(whole("head.mask_embed"), category_text, synonyms, torch.tensor(1.0 / 0.07))
        clip_logits = synonyms.best(cosine_logits(whole("clip.mask_embed"), clip_text, 100.0))
        if is_label:
            weights = {"seen_weight": 0.30, "unseen_weight": 0.70}
            scores = label_scores(logits, clip_logits, seen, **weights)
        else:
            weights = {"seen_weight": 0.35, "unseen_weight": 0.65}
            scores = caption_scores(logits, whole("head.pred_logits_raw"), clip_logits, seen, **weights)
    golden.assert_close("cls.category_logits#0", logits)
    golden.assert_close("clip.logits#0", clip_logits)
    golden.assert_close("cls.ensembled_open#0", ensemble_open(logits[..., :7], clip_logits, seen, **weights))
    golden.assert_close("post.mask_cls#0", scores[0])
    training = [name for row in label_sets.rows("coco") for name in row.names]
    assert torch.equal(seen_categories(VOCABULARY, training), seen)


def plain_panoptic(
    log_probabilities: Tensor, mask_logits: Tensor, geometry: Geometry, things: frozenset[int], threshold: float
) -> tuple[Tensor, list[tuple[int, int, int]]]:
    """The specification word for word, all masks at full size."""
    scores, labels = log_probabilities.softmax(-1).max(-1)
    kept = [q for q in range(len(labels)) if int(labels[q]) != log_probabilities.shape[-1] - 1]
    id_map = torch.zeros(geometry.output, dtype=torch.int32)
    if not kept:
        return id_map, []
    masks = resize_masks(mask_logits, geometry)[kept].sigmoid()
    winner = (scores[kept][:, None, None] * masks).argmax(0)
    segments: list[tuple[int, int, int]] = []
    stuff: dict[int, int] = {}
    for i, query in enumerate(kept):
        won, claimed, category = winner == i, masks[i] >= 0.5, int(labels[query])
        final = won & claimed
        if 0 in (int(won.sum()), int(claimed.sum()), int(final.sum())):
            continue
        if int(won.sum()) / int(claimed.sum()) < threshold:
            continue
        if category in stuff:
            id_map[final] = stuff[category]
            continue
        segments.append((len(segments) + 1, category, int(category in things)))
        id_map[final] = len(segments)
        if category not in things:
            stuff[category] = len(segments)
    return id_map, segments


# --- open vocabulary --------------------------------------------------------------------------------------------------

vocabularies = st.lists(st.integers(1, 5), min_size=1, max_size=7).map(
    lambda counts: [[f"{k}.{i}" for i in range(count)] for k, count in enumerate(counts)]
)


@given(vocabularies, seeds)
@QUICK
def test_a_categorys_logit_is_its_best_synonyms(names: list[list[str]], seed: int) -> None:
    synonyms = Synonyms.of(names)
    assert synonyms.strings == tuple(name for category in names for name in category)
    assert len(synonyms) == len(names)
    logits = torch.randn(2, 3, len(synonyms.strings), generator=torch.Generator().manual_seed(seed))
    place = {name: i for i, name in enumerate(synonyms.strings)}
    expected = [logits[..., [place[name] for name in category]].max(dim=-1).values for category in names]
    assert torch.equal(synonyms.best(logits), torch.stack(expected, dim=-1))


@given(vocabularies, seeds, st.randoms(use_true_random=False))
@QUICK
def test_the_order_of_synonyms_and_their_repetition_change_nothing(
    names: list[list[str]], seed: int, random: Any
) -> None:
    generator = torch.Generator().manual_seed(seed)
    embeddings = {name: torch.randn(8, generator=generator) for category in names for name in category}
    head = CategoryHead(8, 4)
    mask_embed, scale = torch.randn(5, 4, generator=generator), torch.tensor(14.0)

    def logits(vocabulary: Sequence[Sequence[str]]) -> Tensor:
        synonyms = Synonyms.of(vocabulary)
        with torch.no_grad():
            result: Tensor = head(
                mask_embed, torch.stack([embeddings[name] for name in synonyms.strings]), synonyms, scale
            )
        return result

    shuffled = [[*random.sample(category, len(category)), category[0]] for category in names]
    torch.testing.assert_close(logits(shuffled), logits(names), rtol=1e-5, atol=1e-5)


def test_only_the_best_synonym_learns_and_learns_it_all() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 5.0]], requires_grad=True)
    Synonyms.of([["a", "b", "c"], ["d"]]).best(logits).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 1.0, 0.0, 1.0]]


def test_a_category_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        Synonyms.of([["a"], []])
    with pytest.raises(ValueError, match="needs a name"):
        Synonyms.of([])


def test_only_angles_count_and_zero_embeddings_are_harmless() -> None:
    masks, texts = torch.randn(3, 8), torch.randn(4, 8)
    torch.testing.assert_close(cosine_logits(masks * 7, texts * 0.1, 2.0), cosine_logits(masks, texts, 2.0))
    assert cosine_logits(masks, texts, 2.0).abs().max() <= 2.0 + 1e-5
    assert torch.equal(cosine_logits(torch.zeros(1, 8), texts, 2.0), torch.zeros(1, 4))


@pytest.mark.parametrize("supervision", ["label", "caption"])
def test_heads_are_named_as_in_the_released_checkpoints(supervision: str) -> None:
    released = json.loads((DATA / "released_heads.json").read_text())[supervision]
    size = load_size(f"odise-{supervision}")
    kind, prefix = (CategoryHead, "category_head.") if supervision == "label" else (WordHead, "word_head.")
    head = kind(size.clip.embed_dim, size.mask_generator.hidden_dim)
    ours = {prefix + name: list(tensor.shape) for name, tensor in head.state_dict().items()}
    assert ours == {name: shape for name, shape in released.items() if not name.startswith("sem_seg_head.")}


def test_tiny_projections_of_text_are_the_references() -> None:
    golden = Golden("golden_text_and_losses")
    head = CategoryHead(64, tiny_size("label").mask_generator.hidden_dim)
    fill(head, "category_head.")
    with torch.no_grad():
        found = head.text_proj(torch.from_numpy(golden["clip_tiny.text_embed"]))
        golden.assert_array_close("text_proj.out", found)
        golden.assert_array_close("null_proj.out", head.text_proj(head.null_embed))


def test_prompts_are_the_references() -> None:
    assert prompted(["traffic light", "sky"]) == ["a photo of a traffic light.", "a photo of a sky."]


# --- ensembling -------------------------------------------------------------------------------------------------------


@given(seeds, st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 3000.0))
@QUICK
def test_scores_are_probabilities_however_sure_the_classifiers_are(
    seed: int, seen_weight: float, unseen_weight: float, sharpness: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    category, clip = torch.randn(4, 7, generator=generator), torch.randn(4, 6, generator=generator)
    seen = torch.rand(6, generator=generator) < 0.5
    weights = {"seen_weight": seen_weight, "unseen_weight": unseen_weight}
    for scores in (
        label_scores(category * sharpness, clip * sharpness, seen, **weights),
        caption_scores(category[:, :6] * sharpness, category[:, :2] * sharpness, clip * sharpness, seen, **weights),
    ):
        assert scores.shape == (4, 7)
        assert torch.isfinite(scores).all()
        torch.testing.assert_close(scores.exp().sum(-1), torch.ones(4), rtol=1e-5, atol=1e-5)


@given(seeds)
@QUICK
def test_ensembling_is_the_weighted_geometric_mean_of_the_specification(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    category = torch.randn(4, 7, generator=generator, dtype=torch.float64) * 3
    clip = torch.randn(4, 6, generator=generator, dtype=torch.float64) * 3
    seen = torch.rand(6, generator=generator) < 0.5
    gamma = torch.where(seen, torch.tensor(0.3, dtype=torch.float64), torch.tensor(0.7, dtype=torch.float64))
    product = category[:, :6].softmax(-1) ** (1 - gamma) * clip.softmax(-1) ** gamma
    void = category.softmax(-1)[:, 6:]
    expected = torch.cat([product / product.sum(-1, keepdim=True) * (1 - void), void], dim=-1)
    found = label_scores(category, clip, seen, seen_weight=0.3, unseen_weight=0.7)
    torch.testing.assert_close(found, (expected + 1e-8).log(), rtol=1e-9, atol=1e-9)


@given(seeds)
@QUICK
def test_without_weight_clip_has_no_say_and_void_is_always_the_mask_generators(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    category, clip = torch.randn(4, 7, generator=generator), torch.randn(4, 6, generator=generator)
    seen = torch.tensor([True] * 3 + [False] * 3)
    found = label_scores(category, clip, seen, seen_weight=0.0, unseen_weight=0.0)
    torch.testing.assert_close(found, category.log_softmax(-1), rtol=1e-4, atol=1e-4)
    mixed = label_scores(category, clip, seen, seen_weight=0.4, unseen_weight=0.9)
    torch.testing.assert_close(mixed[:, -1], category.log_softmax(-1)[:, -1], rtol=1e-4, atol=1e-4)


@given(seeds)
@QUICK
def test_permuting_categories_permutes_their_scores(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    category, clip = torch.randn(4, 7, generator=generator), torch.randn(4, 6, generator=generator)
    seen, order = torch.rand(6, generator=generator) < 0.5, torch.randperm(6, generator=generator)
    weights = {"seen_weight": 0.3, "unseen_weight": 0.7}
    with_void = torch.cat([order, torch.tensor([6])])
    before = label_scores(category, clip, seen, **weights)
    after = label_scores(category[:, with_void], clip[:, order], seen[order], **weights)
    torch.testing.assert_close(after, before[:, with_void], rtol=1e-5, atol=1e-5)


def test_the_captions_void_is_a_question_of_its_own() -> None:
    found = attach_void(torch.zeros(1, 4), torch.tensor([0.25]).log(), torch.tensor([0.75]).log()).exp()
    torch.testing.assert_close(found, torch.tensor([[0.1875] * 4 + [0.25]]))


def test_a_category_is_seen_by_any_exact_synonym() -> None:
    found = seen_categories([["dog", "puppy"], ["Dog"], ["hot dog"], ["puppy"]], ["puppy", "cat"])
    assert found.tolist() == [True, False, False, True]


# --- inference --------------------------------------------------------------------------------------------------------


def scene(seed: int, queries: int = 9, categories: int = 5) -> tuple[Tensor, Tensor]:
    """Log-probabilities and masks `[Q, 16, 24]` with smooth and with ragged edges."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, queries, 4, 6, generator=generator) * 6
    masks = torch.nn.functional.interpolate(coarse, size=(16, 24), mode="bicubic")[0]
    masks = masks + 0.5 * torch.randn(queries, 16, 24, generator=generator)
    return (torch.randn(queries, categories + 1, generator=generator) * 2).log_softmax(-1), masks


GEOMETRIES = [
    Geometry(image=(64, 96), output=(64, 96)),
    Geometry(image=(50, 75), output=(215, 323)),
    Geometry(image=(61, 96), output=(31, 48)),
    Geometry(image=(64, 40), output=(400, 250)),
    Geometry(image=(33, 96), output=(1, 1)),
]
THINGS = frozenset({0, 2, 3})


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_tile_by_tile_is_the_same_as_all_at_once(geometry: Geometry, seed: int) -> None:
    scores, masks = scene(seed)
    for threshold in (0.0, 0.6):
        found = panoptic_inference(scores, masks, geometry, THINGS, overlap_threshold=threshold)
        id_map, segments = plain_panoptic(scores, masks, geometry, THINGS, threshold)
        assert [(s.id, s.category, int(s.is_thing)) for s in found.segments] == segments
        # Interpolation in another order rounds otherwise; that may only show where two answers are equally right.
        resized = resize_masks(masks, geometry).sigmoid()
        strength = scores.softmax(-1).max(-1).values[:, None, None] * resized
        first, second = strength.sort(dim=0, descending=True).values[:2]
        tie = (first - second < 1e-5) | ((resized - 0.5).abs() < 1e-5).any(dim=0)
        assert torch.equal(found.id_map[~tie], id_map[~tie])
        assert tie.double().mean() < 0.01


def check_partition(result: PanopticResult, size: tuple[int, int]) -> None:
    assert result.id_map.shape == size
    areas = torch.bincount(result.id_map.flatten().long(), minlength=len(result.segments) + 1)
    assert [segment.id for segment in result.segments] == list(range(1, len(result.segments) + 1))
    for segment in result.segments:
        assert sum(segment.areas) == int(areas[segment.id]) > 0
        assert len(segment.queries) == len(segment.areas)
        assert len(segment.queries) == 1 or not segment.is_thing
        assert 0.0 < segment.score <= 1.0
    assert len(areas) == len(result.segments) + 1
    stuff = [segment.category for segment in result.segments if not segment.is_thing]
    assert len(stuff) == len(set(stuff))


@given(seeds, st.sampled_from(GEOMETRIES[:3]), st.floats(0, 1))
@QUICK
def test_segments_and_pixels_are_the_same_partition(seed: int, geometry: Geometry, threshold: float) -> None:
    scores, masks = scene(seed)
    check_partition(panoptic_inference(scores, masks, geometry, THINGS, overlap_threshold=threshold), geometry.output)


@given(seeds)
@QUICK
def test_permuting_queries_renames_segments_and_nothing_else(seed: int) -> None:
    scores, masks = scene(seed)
    order = torch.randperm(len(masks), generator=torch.Generator().manual_seed(seed))
    before = panoptic_inference(scores, masks, GEOMETRIES[0], THINGS, overlap_threshold=0.5)
    after = panoptic_inference(scores[order], masks[order], GEOMETRIES[0], THINGS, overlap_threshold=0.5)
    by_queries = {frozenset(segment.queries): segment for segment in before.segments}
    assert len(after.segments) == len(before.segments)
    for segment in after.segments:
        same = by_queries[frozenset(int(order[query]) for query in segment.queries)]
        assert (same.category, same.score) == (segment.category, segment.score)
        assert torch.equal(before.id_map == same.id, after.id_map == segment.id)


def sure(category: int, queries: int = 1, categories: int = 5) -> Tensor:
    """Log-probabilities that leave no doubt."""
    return (torch.nn.functional.one_hot(torch.full((queries,), category), categories + 1) * 20.0).log_softmax(-1)


def test_nothing_but_void_gives_void() -> None:
    masks = torch.ones(3, 16, 24)
    found = panoptic_inference(sure(5, queries=3), masks, GEOMETRIES[1], THINGS, overlap_threshold=0.8)
    assert found.segments == ()
    assert not found.id_map.any()
    assert found.id_map.shape == GEOMETRIES[1].output


def test_empty_masks_give_void_though_they_win_pixels() -> None:
    masks = torch.full((3, 16, 24), -1.0)
    found = panoptic_inference(sure(0, queries=3), masks, GEOMETRIES[0], THINGS, overlap_threshold=0.0)
    assert found.segments == ()
    assert not found.id_map.any()


def test_improbable_masks_are_dropped() -> None:
    scores = torch.tensor([[0.6, 0.0, 0.0, 0.0, 0.0, 0.4]]).log()
    masks = torch.ones(1, 16, 24)
    assert panoptic_inference(scores, masks, GEOMETRIES[0], THINGS, overlap_threshold=0, object_threshold=0.5).segments
    found = panoptic_inference(scores, masks, GEOMETRIES[0], THINGS, overlap_threshold=0, object_threshold=0.7)
    assert found.segments == ()


def test_masks_of_one_stuff_category_become_one_segment_and_things_stay_apart() -> None:
    masks = torch.full((2, 16, 24), -8.0)
    masks[0, :, :12], masks[1, :, 12:] = 8.0, 8.0
    stuff = panoptic_inference(sure(1, queries=2), masks, GEOMETRIES[0], THINGS, overlap_threshold=0.8)
    assert [(segment.queries, segment.is_thing) for segment in stuff.segments] == [((0, 1), False)]
    assert (stuff.id_map == 1).all()
    things = panoptic_inference(sure(2, queries=2), masks, GEOMETRIES[0], THINGS, overlap_threshold=0.8)
    assert [segment.queries for segment in things.segments] == [(0,), (1,)]
    assert (things.id_map[:, :47] == 1).all()
    assert (things.id_map[:, 49:] == 2).all()


def test_a_mask_that_others_cover_is_dropped() -> None:
    masks = torch.full((2, 16, 24), -8.0)
    masks[0, :, :20], masks[1, :, 5:] = 1.0, 8.0
    found = panoptic_inference(sure(0, queries=2), masks, GEOMETRIES[0], THINGS, overlap_threshold=0.8)
    assert [segment.queries for segment in found.segments] == [(1,)]
    kept = panoptic_inference(sure(0, queries=2), masks, GEOMETRIES[0], THINGS, overlap_threshold=0.1)
    assert [segment.queries for segment in kept.segments] == [(0,), (1,)]


def test_what_masks_say_in_the_padding_does_not_matter() -> None:
    scores, masks = scene(3)
    geometry = Geometry(image=(40, 60), output=(80, 120))
    # Pixel 39 lies between mask rows 9 and 10, pixel 59 between columns 14 and 15.
    other = masks.clone()
    other[:, 11:], other[:, :, 16:] = 30.0, 30.0
    for infer in (
        lambda m: panoptic_inference(scores, m, geometry, THINGS, overlap_threshold=0.5).id_map,
        lambda m: semantic_labels(scores, m, geometry),
        lambda m: instance_inference(scores, m, geometry).masks,
    ):
        assert torch.equal(infer(masks), infer(other))


@given(seeds)
@QUICK
def test_instances_come_best_first_and_are_binary_masks_of_their_query(seed: int) -> None:
    scores, masks = scene(seed)
    found = instance_inference(scores, masks, GEOMETRIES[1], top=12, categories=THINGS)
    assert (found.scores.diff() <= 0).all()
    assert set(found.categories.tolist()) <= THINGS
    assert len(found.masks) == len(found.scores) <= 12
    resized = resize_masks(masks, GEOMETRIES[1])
    for mask, query in zip(found.masks, found.queries.tolist(), strict=True):
        assert torch.equal(mask, resized[query] > 0)


def test_no_instances_where_no_category_is_wanted() -> None:
    scores, masks = scene(0)
    found = instance_inference(scores, masks, GEOMETRIES[1], categories=())
    assert found.masks.shape == (0, *GEOMETRIES[1].output)


class _Watch(TorchDispatchMode):
    """Notes the largest tensor that any operation makes, and how often a scalar is fetched."""

    largest = 0
    fetched = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.fetched += func is torch.ops.aten._local_scalar_dense.default
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_panoptic_inference_stays_small_at_full_hd() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(100, 2, 1, 1, generator=generator)
    down, across = torch.linspace(0, 1, 256)[:, None], torch.linspace(0, 1, 464)
    masks = 8.0 - 40.0 * ((down - centres[:, 0]) ** 2 + (across - centres[:, 1]) ** 2).sqrt()
    scores = (torch.randn(100, 1487, generator=generator) * 3).log_softmax(-1)
    things = set(range(1200))
    geometry = Geometry(image=(1024, 1820), output=(1080, 1920))
    with _Watch() as watch:
        found = panoptic_inference(scores, masks, geometry, things, overlap_threshold=0.0)
    check_partition(found, geometry.output)
    assert len(found.segments) > 10
    assert watch.largest <= 100 * 256 * 464, "nothing is larger than the masks that were given"
    assert watch.fetched <= 4, "no wait for the device per query"
