"""From masks and class probabilities to panoptic, semantic and instance results at the frame's size.

Mask2Former's inference (Cheng et al., CVPR 2022, appendix A) as ODISE uses it.
"""

import functools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_STRIDE = 4
"""Of the mask logits, in the padded image."""

_TILE = 96
"""Pixels along a side of the tiles that panoptic inference works in: small enough that few masks meet in one and that
they stay in the processor's cache, large enough that Python's part is small."""

_STRIP_VALUES = 2**25
"""Mask probabilities held at a time on a GPU: 128 MB."""

_MARGIN = 1e-3
"""Slack, in logits, of the bounds that rule masks out of a tile: rounding is a thousand times smaller."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """How the mask logits lie on the frame: they cover the padded image, whose upper left part is the frame resized."""

    image: tuple[int, int]
    """Height and width that the frame was resized to, without padding."""
    output: tuple[int, int]
    """Height and width of the results: the frame's own."""


@dataclass(frozen=True, slots=True)
class PanopticSegment:
    """One segment of a panoptic result."""

    id: int
    """1.., in the order of the queries; the value of its pixels."""
    category: int
    is_thing: bool
    queries: tuple[int, ...]
    """The masks it is made of, first come first; more than one only for stuff."""
    areas: tuple[int, ...]
    """Pixels that each of these masks brought."""
    score: float
    """Probability of the category, the highest among its masks."""


@dataclass(frozen=True, slots=True)
class PanopticResult:
    """A partition of the frame."""

    id_map: Tensor
    """int32 `[H, W]`, 0 = void."""
    segments: tuple[PanopticSegment, ...]


@dataclass(frozen=True, slots=True)
class InstanceResult:
    """Masks with a category, best first; they may overlap."""

    masks: Tensor
    """bool `[N, H, W]`."""
    categories: Tensor
    """int64 `[N]`."""
    scores: Tensor
    """float `[N]`: class probability times mean mask probability inside the mask."""
    queries: Tensor
    """int64 `[N]`."""


def resize_masks(mask_logits: Tensor, geometry: Geometry) -> Tensor:
    """Mask logits `[Q, h4, w4]` at the output's size: `[Q, H, W]`; the padding is cut off in between."""
    height, width = geometry.image
    padded = (mask_logits.shape[-2] * _STRIDE, mask_logits.shape[-1] * _STRIDE)
    masks = F.interpolate(mask_logits[None], size=padded, mode="bilinear", align_corners=False)
    masks = masks[..., :height, :width]
    return F.interpolate(masks, size=geometry.output, mode="bilinear", align_corners=False)[0]


# --- panoptic ---------------------------------------------------------------------------------------------------------


def panoptic_inference(
    log_probabilities: Tensor,
    mask_logits: Tensor,
    geometry: Geometry,
    things: Collection[int],
    *,
    overlap_threshold: float,
    object_threshold: float = 0.0,
) -> PanopticResult:
    """Every pixel to the mask that is most probable there, where that mask is and stays mostly its own.

    Works tile by tile on the masks that can matter there, so neither all masks nor all classes are ever held at the
    output's size; waits for the device a fixed number of times.

    Args:
        log_probabilities: `[Q, K + 1]`, void last.
        mask_logits: `[Q, h4, w4]` at stride 4 of the padded image.
        things: categories whose instances are told apart; masks of one stuff category become one segment.
        overlap_threshold: a mask is dropped that wins less than this share of its pixels.
        object_threshold: a mask is dropped whose best category is not more probable.
    """
    probabilities = log_probabilities.softmax(dim=-1)
    scores, labels = probabilities.max(dim=-1)
    keep = (labels != probabilities.shape[-1] - 1) & (scores > object_threshold)
    if mask_logits.device.type == "cuda":
        return _panoptic_in_strips(mask_logits, scores, labels, keep, geometry, things, overlap_threshold)
    queries = keep.nonzero()[:, 0]
    if len(queries) == 0:
        empty = torch.zeros(geometry.output, dtype=torch.int32, device=mask_logits.device)
        return PanopticResult(empty, ())
    scores, labels = scores[queries], labels[queries]
    winner, inside, claimed = _compete(mask_logits[queries], scores, geometry)
    count = len(queries)
    outside_inside = torch.bincount((winner * 2 + inside).view(-1), minlength=2 * count).view(count, 2)
    won, final = outside_inside.sum(dim=1), outside_inside[:, 1]
    segments, ids = _emit(
        queries.tolist(),
        labels.tolist(),
        scores.tolist(),
        torch.stack([won, claimed, final]).tolist(),
        things,
        overlap_threshold,
    )
    table = torch.tensor(ids, dtype=torch.int32, device=winner.device)
    return PanopticResult(table[winner.long()] * inside, segments)


def _panoptic_in_strips(
    mask_logits: Tensor,
    scores: Tensor,
    labels: Tensor,
    keep: Tensor,
    geometry: Geometry,
    things: Collection[int],
    overlap_threshold: float,
) -> PanopticResult:
    """All masks over a few rows at a time, and a single wait for the device: for one that has more arithmetic to spare
    than patience for small pieces of work."""
    device, dtype = mask_logits.device, mask_logits.dtype
    height, width = geometry.output
    count = len(mask_logits)
    rows = _Axis.of(mask_logits.shape[1], geometry.image[0], height)
    columns = _Axis.of(mask_logits.shape[2], geometry.image[1], width)
    across = torch.matmul(mask_logits, columns.weights_on(device, dtype).transpose(0, 1))
    row_weights = rows.weights_on(device, dtype)
    # Who is not kept wins nowhere; where nobody is, nobody's name comes out either.
    strength = torch.where(keep, scores, -1.0)[:, None, None]
    winner = torch.empty((height, width), dtype=torch.int64, device=device)
    inside = torch.empty((height, width), dtype=torch.bool, device=device)
    claimed = torch.zeros(count, dtype=torch.int64, device=device)
    step = max(1, _STRIP_VALUES // (count * width))
    for start in range(0, height, step):
        part = slice(start, min(start + step, height))
        probability = torch.matmul(row_weights[part], across).sigmoid_()
        claims = probability >= 0.5
        claimed += claims.sum(dim=(1, 2))
        best = (probability * strength).argmax(dim=0)
        winner[part] = best
        inside[part] = claims.gather(0, best[None])[0]
    # Sums of whole numbers, so their order does not matter.
    areas = torch.zeros(2 * count, dtype=torch.int64, device=device)
    areas.index_add_(0, (winner * 2 + inside).view(-1), torch.ones_like(winner).view(-1))
    outside, final = areas.view(count, 2).unbind(dim=1)
    facts = torch.stack([outside + final, claimed, final, labels, keep.long()]).double()
    told = torch.cat([facts, scores[None].double()]).cpu()
    kept = [int(query) for query in torch.nonzero(told[4])[:, 0]]
    segments, ids = _emit(
        kept,
        [int(told[3, query]) for query in kept],
        [float(told[5, query]) for query in kept],
        [[int(told[fact, query]) for query in kept] for fact in range(3)],
        things,
        overlap_threshold,
    )
    table = torch.zeros(count, dtype=torch.int32)
    table[kept] = torch.tensor(ids, dtype=torch.int32)
    return PanopticResult(table.to(device)[winner] * inside, segments)


def _emit(
    queries: list[int],
    labels: list[int],
    scores: list[float],
    areas: list[list[int]],
    things: Collection[int],
    overlap_threshold: float,
) -> tuple[tuple[PanopticSegment, ...], list[int]]:
    """Segments in the order of the queries, and the id that each query's pixels get (0: none)."""
    ids = [0] * len(queries)
    segments: list[PanopticSegment] = []
    stuff: dict[int, int] = {}
    for i, (query, label, score, won, claimed, final) in enumerate(zip(queries, labels, scores, *areas, strict=True)):
        # `won` counts pixels where the mask beats the others, also such as it doesn't claim: the ratio may exceed 1.
        if min(won, claimed, final) == 0 or won / claimed < overlap_threshold:
            continue
        if label in stuff:
            same = segments[stuff[label]]
            ids[i] = same.id
            segments[stuff[label]] = PanopticSegment(
                same.id, label, False, (*same.queries, query), (*same.areas, final), max(same.score, score)
            )
            continue
        ids[i] = len(segments) + 1
        if label not in things:
            stuff[label] = len(segments)
        segments.append(PanopticSegment(ids[i], label, label in things, (query,), (final,), score))
    return tuple(segments), ids


def _compete(mask_logits: Tensor, scores: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Which mask wins each pixel, whether it is also inside that mask, and how many pixels each mask claims.

    Returns:
        int16 `[H, W]`, bool `[H, W]`, int64 `[Q]`.
    """
    device, dtype = mask_logits.device, mask_logits.dtype
    height, width = geometry.output
    rows = _Axis.of(mask_logits.shape[1], geometry.image[0], height)
    columns = _Axis.of(mask_logits.shape[2], geometry.image[1], width)
    # Interpolated logits stay between the least and the greatest of those around, so these bounds hold in a tile.
    high = _windows(mask_logits, rows, columns, torch.amax) + _MARGIN
    low = _windows(mask_logits, rows, columns, torch.amin) - _MARGIN
    strength = scores[:, None, None]
    can_win = strength * high.sigmoid() >= (strength * low.sigmoid()).amax(dim=0)
    has_edge = (high >= 0) & (low <= 0)
    needed = can_win | has_edge
    tile_areas = rows.lengths(device)[:, None] * columns.lengths(device)
    claimed = (tile_areas * ((low > 0) & ~needed)).sum(dim=(1, 2))

    winner = torch.empty((height, width), dtype=torch.int16, device=device)
    inside = torch.empty((height, width), dtype=torch.bool, device=device)
    row_weights, column_weights = rows.weights_on(device, dtype), columns.weights_on(device, dtype).transpose(0, 1)
    where: NDArray[np.bool_] = needed.cpu().numpy()
    for i, row in enumerate(rows.tiles):
        across = row_weights[row.start : row.stop, row.low : row.high]
        for j, column in enumerate(columns.tiles):
            chosen = torch.from_numpy(np.flatnonzero(where[:, i, j])).to(device)
            part = mask_logits[chosen, row.low : row.high, column.low : column.high]
            down = column_weights[column.low : column.high, column.start : column.stop]
            probability = torch.matmul(across, torch.matmul(part, down)).sigmoid_()
            claims = probability >= 0.5
            # Summed as floats, exact at this size: PyTorch widens booleans to 64 bits first.
            claimed.index_add_(0, chosen, claims.to(torch.float32).sum(dim=(1, 2)).long())
            best = _argmax(probability * scores[chosen, None, None])
            tile = (slice(row.start, row.stop), slice(column.start, column.stop))
            winner[tile] = chosen.to(torch.int16)[best]
            inside[tile] = claims.gather(0, best[None])[0]
    return winner, inside, claimed


def _argmax(values: Tensor) -> Tensor:
    """`values.argmax(dim=0)`, the first of equals: int64.

    PyTorch reduces over a leading axis to values in vector instructions but to indices one by one, ten times slower.
    """
    count = len(values)
    rank = torch.arange(count, 0, -1, dtype=torch.int16, device=values.device)
    rank = rank.view(-1, *[1] * (values.ndim - 1))
    return count - torch.where(values == values.amax(dim=0), rank, 0).amax(dim=0).long()


def _windows(masks: Tensor, rows: "_Axis", columns: "_Axis", reduce: Callable[..., Tensor]) -> Tensor:
    """`[Q, h4, w4]` to `[Q, tiles down, tiles across]`: reduced over all that a tile is interpolated from."""
    by_row = torch.stack([reduce(masks[:, tile.low : tile.high], dim=1) for tile in rows.tiles], dim=1)
    return torch.stack([reduce(by_row[:, :, tile.low : tile.high], dim=2) for tile in columns.tiles], dim=2)


@dataclass(frozen=True, slots=True)
class _Tile:
    start: int
    stop: int
    """Output pixels."""
    low: int
    high: int
    """The mask pixels that they are interpolated from."""


@dataclass(frozen=True, slots=True)
class _Axis:
    """`resize_masks` along one axis as a matrix: each output pixel is a mean of at most four mask pixels."""

    weights: NDArray[np.float32]
    """`[output, mask]`."""
    tiles: tuple[_Tile, ...]

    @staticmethod
    @functools.lru_cache(maxsize=64)
    def of(mask: int, image: int, output: int) -> "_Axis":
        # In float32, as the places are computed in `F.interpolate`.
        upper = _bilinear(mask, mask * _STRIDE)[:image]
        low, high, share = _neighbours(image, output)
        weights = upper[low] * (1.0 - share)[:, None] + upper[high] * share[:, None]
        count = max(1, round(output / _TILE))
        edges = [i * output // count for i in range(count + 1)]
        tiles = []
        for start, stop in pairwise(edges):
            touched = np.flatnonzero(weights[start:stop].any(axis=0))
            tiles.append(_Tile(start, stop, int(touched[0]), int(touched[-1]) + 1))
        return _Axis(weights, tuple(tiles))

    def lengths(self, device: torch.device) -> Tensor:
        return torch.tensor([tile.stop - tile.start for tile in self.tiles], device=device)

    def weights_on(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        return torch.from_numpy(self.weights).to(device, dtype)


def _neighbours(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Per target pixel: the two source pixels that it lies between, and how far it is towards the second."""
    scale = np.float32(source) / np.float32(target)
    place = np.maximum(scale * (np.arange(target, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5), 0)
    low = np.minimum(place.astype(np.intp), source - 1)
    return low, np.minimum(low + 1, source - 1), (place - low).astype(np.float32)


def _bilinear(source: int, target: int) -> NDArray[np.float32]:
    """`[target, source]`."""
    low, high, share = _neighbours(source, target)
    weights = np.zeros((target, source), dtype=np.float32)
    np.add.at(weights, (np.arange(target), low), 1.0 - share)
    np.add.at(weights, (np.arange(target), high), share)
    return weights


# --- semantic ---------------------------------------------------------------------------------------------------------


def semantic_inference(log_probabilities: Tensor, mask_logits: Tensor, geometry: Geometry) -> Tensor:
    """Scores `[K, H, W]`: per category, the masks' probabilities weighted with how probably they are of it.

    As large as it sounds; `semantic_labels` is enough where only the best category is wanted.
    """
    categories = log_probabilities.shape[-1] - 1
    result = mask_logits.new_empty((categories, *geometry.output))
    for start, scores in _semantic_rows(log_probabilities, mask_logits, geometry):
        result[:, start : start + scores.shape[1]] = scores
    return result


def semantic_labels(log_probabilities: Tensor, mask_logits: Tensor, geometry: Geometry) -> Tensor:
    """The best category of every pixel: int64 `[H, W]`, never void. Holds a few rows of scores at a time."""
    rows = _semantic_rows(log_probabilities, mask_logits, geometry)
    return torch.cat([_argmax(scores) for _, scores in rows])


def _semantic_rows(
    log_probabilities: Tensor, mask_logits: Tensor, geometry: Geometry, values: int = 2**20
) -> Iterator[tuple[int, Tensor]]:
    """Yields first row and scores `[K, R, W]`, at most about `values` of them at a time."""
    probabilities = log_probabilities.softmax(dim=-1)[:, :-1].transpose(0, 1)
    height, width = geometry.output
    device, dtype = mask_logits.device, mask_logits.dtype
    rows = _Axis.of(mask_logits.shape[1], geometry.image[0], height)
    columns = _Axis.of(mask_logits.shape[2], geometry.image[1], width)
    across = torch.matmul(mask_logits, columns.weights_on(device, dtype).transpose(0, 1))
    weights = rows.weights_on(device, dtype)
    step = max(1, values // (width * max(probabilities.shape)))
    for start in range(0, height, step):
        part = weights[start : start + step]
        masks = torch.matmul(part, across).sigmoid_()
        yield start, (probabilities @ masks.flatten(1)).view(-1, len(part), width)


# --- instance ---------------------------------------------------------------------------------------------------------


def instance_inference(
    log_probabilities: Tensor,
    mask_logits: Tensor,
    geometry: Geometry,
    *,
    top: int = 100,
    categories: Collection[int] | None = None,
) -> InstanceResult:
    """The best (mask, category) pairs, each with its mask.

    Args:
        log_probabilities: `[Q, K + 1]`, void last.
        mask_logits: `[Q, h4, w4]`.
        top: how many pairs are looked at.
        categories: pairs of other categories are dropped afterwards (things, as a rule); None keeps all.
    """
    probabilities = log_probabilities.softmax(dim=-1)[:, :-1]
    count = probabilities.shape[1]
    scores, pairs = probabilities.flatten().topk(min(top, probabilities.numel()))
    queries, labels = pairs // count, pairs % count
    if categories is not None:
        wanted = torch.isin(labels, torch.tensor(sorted(categories), dtype=labels.dtype, device=labels.device))
        scores, queries, labels = scores[wanted], queries[wanted], labels[wanted]
    distinct, which = torch.unique(queries, return_inverse=True)
    masks = torch.empty((len(distinct), *geometry.output), dtype=torch.bool, device=mask_logits.device)
    quality = mask_logits.new_empty(len(distinct))
    # One at a time: at the output's size a single mask is megabytes.
    for i, logits in enumerate(mask_logits[distinct]):
        resized = resize_masks(logits[None], geometry)[0]
        masks[i] = resized > 0
        quality[i] = (resized.sigmoid() * masks[i]).sum() / (masks[i].sum() + 1e-6)
    scores = scores * quality[which]
    order = scores.argsort(descending=True, stable=True)
    return InstanceResult(masks[which[order]], labels[order], scores[order], queries[order])
