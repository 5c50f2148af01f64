"""MaskCriterion: from the predictions of all decoder layers and the targets to one loss.

Every output (the final one, then the auxiliary ones) is matched with the targets anew and gets its own losses; all
have the same weights. Source: Mask2Former's set criterion, with ODISE's grounding loss.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from odise_frame.losses import category_cross_entropy, dice_loss, grounding_loss, mask_cross_entropy
from odise_frame.matching import Match, category_costs, dice_costs, mask_costs, match_all
from odise_frame.point_sampling import UniformDraws, read_logits, read_masks, uncertain_points


@dataclass(frozen=True, slots=True)
class CriterionConfig:
    """Numbers of the criterion; the defaults are ODISE's."""

    points: int = 12544
    """Where each mask is read: 112 × 112, a fifth of the 256 × 256 logits of a 1024-pixel image. A smaller image needs
    as much less as it has fewer pixels (256 pixels: 784)."""
    oversampling: float = 3.0
    """Candidates for the uncertain points, times `points` (PointRend's k)."""
    importance: float = 0.75
    """Share of the points that lie where the mask is uncertain; the rest is uniform (PointRend's beta)."""
    category_weight: float = 2.0
    """Of the category's cross-entropy in the loss and of its probability in the matching cost; masks, which cover
    far more numbers and learn slower, weigh 2.5 times as much in each of their two terms."""
    mask_weight: float = 5.0
    """Of the masks' cross-entropy, in loss and cost."""
    dice_weight: float = 5.0
    """Of dice, in loss and cost."""
    grounding_weight: float = 1.0
    """Of the grounding loss (caption supervision)."""
    void_weight: float = 0.1
    """Of queries without a target in the category's cross-entropy: most of the 100 queries have none."""


@dataclass(frozen=True, slots=True)
class MaskOutput:
    """The prediction of one decoder layer for a batch."""

    class_logits: Tensor
    """float [B, Q, K + 1], void last; K = 1 under caption supervision."""
    mask_logits: Tensor
    """float [B, Q, h, w], at stride 4 of the padded batch."""
    mask_embed: Tensor | None = None
    """float [B, Q, D], not normalised; only the grounding loss reads it."""


@dataclass(frozen=True, slots=True)
class MaskTargets:
    """What one image shows."""

    categories: Tensor
    """int64 [T] in 0..K-1; all 0 under caption supervision."""
    masks: Tensor
    """bool [T, H, W] at the size of the padded batch (`pad_masks`); empty masks are targets too."""


@dataclass(frozen=True, slots=True)
class CaptionTargets:
    """The words of the captions of a batch."""

    word_embed: Tensor
    """float [B, W, D], projected, not normalised."""
    valid: Tensor
    """bool [B]: the caption holds at least one word."""
    logit_scale: Tensor | float
    """Multiplies the cosines of masks and words."""


@dataclass(frozen=True, slots=True)
class OutputLosses:
    """Unweighted losses of one output, and the assignment they rest on."""

    category: Tensor
    mask: Tensor
    dice: Tensor
    grounding: Tensor | None
    matches: tuple[Match, ...]
    """One for each image."""
    points: Tensor
    """Where the masks were read: [N, P, 2], rows as the matched pairs of image 0, then image 1, …"""


@dataclass(frozen=True, slots=True)
class CriterionResult:
    """The loss to minimise, and what it is made of."""

    total: Tensor
    outputs: tuple[OutputLosses, ...]
    """The final output first, then the auxiliary ones in the order of the decoder."""
    config: CriterionConfig

    def weighted(self) -> dict[str, Tensor]:
        """The terms of `total` under the field's names: loss_ce, loss_mask, loss_dice, loss_mask_word.

        Auxiliary output i has the suffix `_i`.
        """
        terms: dict[str, Tensor] = {}
        for index, losses in enumerate(self.outputs):
            suffix = f"_{index - 1}" if index else ""
            terms[f"loss_ce{suffix}"] = self.config.category_weight * losses.category
            terms[f"loss_mask{suffix}"] = self.config.mask_weight * losses.mask
            terms[f"loss_dice{suffix}"] = self.config.dice_weight * losses.dice
            if losses.grounding is not None:
                terms[f"loss_mask_word{suffix}"] = self.config.grounding_weight * losses.grounding
        return terms


class MaskCriterion:
    """The loss of ODISE's mask generator, for label and caption supervision."""

    def __init__(self, config: CriterionConfig | None = None) -> None:
        self.config = config or CriterionConfig()
        self._uncertain = int(self.config.importance * self.config.points)
        self._candidates = int(self.config.oversampling * self.config.points)

    def __call__(
        self,
        outputs: Sequence[MaskOutput],
        targets: Sequence[MaskTargets],
        draw: UniformDraws,
        *,
        captions: CaptionTargets | None = None,
        mask_count: float | None = None,
    ) -> CriterionResult:
        """The losses of a batch.

        `outputs`: the final output, then the auxiliary ones. `targets`: one per image; images without targets, empty
        masks and batches without any mask are fine. `draw` is called, for each output in order, once for each image
        (its matching points, [1, P, 2]), then for the candidates [N, C, 2] and for the uniform rest [N, R, 2] of all
        N matched masks. `mask_count` divides the mask losses: the number of targets in the batch, at least 1; with
        many workers, pass the mean over the workers.
        """
        config = self.config
        if mask_count is None:
            mask_count = max(sum(len(target.categories) for target in targets), 1)
        with torch.autocast(outputs[0].mask_logits.device.type, enabled=False):
            draws = [self._draw(output, targets, draw) for output in outputs]
            matches = self._match(outputs, targets, [match_points for match_points, _, _ in draws])
            losses = tuple(
                self._losses(output, targets, match, candidates, rest, captions, float(mask_count))
                for output, match, (_, candidates, rest) in zip(outputs, matches, draws, strict=True)
            )
        unsummed = CriterionResult(torch.zeros(()), losses, config)
        return CriterionResult(torch.stack(list(unsummed.weighted().values())).sum(), losses, config)

    def _draw(
        self, output: MaskOutput, targets: Sequence[MaskTargets], draw: UniformDraws
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Matching points of each image, candidates and rest: the number of pairs is known before the assignment."""
        device = output.mask_logits.device
        queries = output.mask_logits.shape[1]
        pairs = sum(min(len(target.categories), queries) for target in targets)
        matching = [draw((1, self.config.points, 2)).to(device) for _ in targets]
        candidates = draw((pairs, self._candidates, 2)).to(device)
        rest = draw((pairs, self.config.points - self._uncertain, 2)).to(device)
        return matching, candidates, rest

    @torch.no_grad()
    def _match(
        self, outputs: Sequence[MaskOutput], targets: Sequence[MaskTargets], points: Sequence[Sequence[Tensor]]
    ) -> list[tuple[Match, ...]]:
        config = self.config
        costs = []
        for output, output_points in zip(outputs, points, strict=True):
            for image, target in enumerate(targets):
                logits = read_logits(_at_least_single(output.mask_logits[image]), output_points[image])
                labels = read_masks(target.masks, output_points[image]).to(logits.dtype)
                costs.append(
                    config.mask_weight * mask_costs(logits, labels)
                    + config.dice_weight * dice_costs(logits, labels)
                    + config.category_weight
                    * category_costs(_at_least_single(output.class_logits[image]), target.categories)
                )
        matches = match_all(costs)
        return [tuple(matches[start : start + len(targets)]) for start in range(0, len(matches), len(targets))]

    def _losses(
        self,
        output: MaskOutput,
        targets: Sequence[MaskTargets],
        matches: tuple[Match, ...],
        candidates: Tensor,
        rest: Tensor,
        captions: CaptionTargets | None,
        mask_count: float,
    ) -> OutputLosses:
        mask_logits, class_logits = output.mask_logits, _at_least_single(output.class_logits)
        device = mask_logits.device
        images = torch.cat([torch.full((len(match),), image) for image, match in enumerate(matches)]).to(device)
        queries = torch.cat([torch.from_numpy(match.queries) for match in matches]).to(device)
        chosen = [torch.from_numpy(match.targets).to(device) for match in matches]

        wanted = torch.full(class_logits.shape[:2], class_logits.shape[2] - 1, dtype=torch.int64, device=device)
        wanted[images, queries] = torch.cat(
            [target.categories[index] for target, index in zip(targets, chosen, strict=True)]
        )

        matched = _at_least_single(mask_logits[images, queries])
        points = torch.cat([uncertain_points(matched.detach(), candidates, self._uncertain), rest], 1)
        parts = torch.split(points, [len(match) for match in matches])
        labels = torch.cat(
            [read_masks(target.masks, part, index) for target, index, part in zip(targets, chosen, parts, strict=True)]
        ).to(matched.dtype)
        logits = read_logits(matched, points)
        return OutputLosses(
            category=category_cross_entropy(class_logits, wanted, self.config.void_weight),
            mask=mask_cross_entropy(logits, labels, mask_count),
            dice=dice_loss(logits, labels, mask_count),
            grounding=_grounding(output, captions),
            matches=matches,
            points=points,
        )


def pad_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks [T, H, W] on the canvas of the padded batch, [T, *size], with nothing at the right and the bottom."""
    count, height, width = masks.shape
    padded = masks.new_zeros(count, *size)
    padded[:, :height, :width] = masks
    return padded


def targets_from_ids(ids: Tensor, segments: Sequence[tuple[int, int]]) -> MaskTargets:
    """The targets of one image from its id map.

    `ids` integer [H, W] at the size of the padded batch; `segments` (id, category) of each target. Other ids belong to
    no target. A segment without a pixel, cropped away for instance, stays a target with an empty mask, as in the
    reference.
    """
    numbers = torch.tensor([number for number, _ in segments], dtype=ids.dtype, device=ids.device)
    categories = torch.tensor([category for _, category in segments], dtype=torch.int64, device=ids.device)
    return MaskTargets(categories, ids == numbers[:, None, None])


def _grounding(output: MaskOutput, captions: CaptionTargets | None) -> Tensor | None:
    if captions is None:
        return None
    if output.mask_embed is None:
        raise ValueError("caption supervision reads mask_embed, which this output does not have")
    return grounding_loss(
        _at_least_single(output.mask_embed),
        _at_least_single(captions.word_embed),
        captions.logit_scale,
        captions.valid,
    )


def _at_least_single(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 as float32: sums over thousands of points would lose the small terms."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
