"""The rules by which ODISE's golden numbers were made: weights, inputs, how tensors are recorded, how close is right.

The numbers in `tests/data/odise/*.npz` come from the published model's graph with seeded random weights. Everything
here needs NumPy alone to say what those weights and inputs were, so a test rebuilds them instead of storing them.
Section numbers refer to the README beside the numbers.
"""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from odise_frame.sizes import OdiseSize, parse_size

DATA = Path(__file__).resolve().parent.parent / "data" / "odise"

RELATIVE_TO_MAX = 2e-5
"""Largest difference of a probe, in units of the largest golden probe. The reference's own float32 run differs from
its float64 run by up to 6.4e-6."""
RELATIVE_L2 = 5e-5
"""Largest relative L2 distance of the probes; every wrong turn that was tried is above it."""
DIFFERING_PIXELS = 1e-3
"""Largest share of pixels of an id map that may differ: hard thresholds."""


# --- random numbers (§2) ----------------------------------------------------------------------------------------------


def generator(key: str) -> np.random.Generator:
    """PCG64 seeded with the CRC-32 of the key."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode("utf-8"))))


def normal(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """`N(key, shape)`: standard normal float32."""
    return generator(key).standard_normal(size=shape, dtype=np.float32)


def uniform(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """`U(key, shape)`: uniform float32 in [0, 1)."""
    return generator(key).random(size=shape, dtype=np.float32)


# --- weights (§1) -----------------------------------------------------------------------------------------------------


def _scale_and_offset(key: str, shape: tuple[int, ...]) -> tuple[float, float]:
    last = key.rsplit(".", 1)[-1]
    if last in {"alpha_cond", "alpha_cond_time_embed", "null_embed", "level_embed"} or key.endswith(
        ("query_feat.weight", "query_embed.weight", "level_embed.weight")
    ):
        return 1.0, 0.0
    if last in {"positional_embedding", "class_embedding"} or key.endswith("_embedding.weight"):
        return 0.5, 0.0
    if key.endswith("sampling_offsets.bias"):
        return 2.0, 0.0
    if key.endswith("sampling_offsets.weight"):
        return 0.5 / float(np.sqrt(shape[1])), 0.0
    if len(shape) == 1:
        return (0.1, 1.0) if last == "weight" else (0.05, 0.0)
    if last in {"proj", "text_projection"}:
        return 1.0 / float(np.sqrt(shape[0])), 0.0
    return 1.0 / float(np.sqrt(np.prod(shape[1:]))), 0.0


def weight(key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The value of the parameter with this canonical key: the name in the released checkpoint for ODISE's own
    parameters, `ldm.` + name in SD's file, `clip.` + name in OpenAI's file (one set of values for all CLIP copies)."""
    if key.rsplit(".", 1)[-1] == "logit_scale":
        return np.full(shape, np.log(100.0 if key.startswith("clip.") else 1.0 / 0.07), dtype=np.float32)
    scale, offset = _scale_and_offset(key, shape)
    return normal(key, shape) * np.float32(scale) + np.float32(offset)


@torch.no_grad()
def fill(module: torch.nn.Module, canonical: str | Mapping[str, str] | Callable[[str], str | None]) -> None:
    """Gives every parameter of `module` its value under the weight rule, in place and in the parameter's dtype.

    Args:
        module: buffers keep what they have.
        canonical: parameter name -> canonical key: a prefix (`"sem_seg_head."`), a mapping, or a function. A function
            may return None to leave a parameter as it is; a name missing from a mapping is an error.
    """
    for name, parameter in module.named_parameters():
        if isinstance(canonical, str):
            key: str | None = canonical + name
        elif callable(canonical):
            key = canonical(name)
        else:
            key = canonical[name]
        if key is not None:
            parameter.copy_(torch.from_numpy(weight(key, tuple(parameter.shape))))


@torch.no_grad()
def override_biases(module: torch.nn.Module, golden: "Golden", prefix: str) -> int:
    """Copies the `override.<canonical key>` arrays that start with `prefix` into `module`; returns how many."""
    parameters = dict(module.named_parameters())
    start = "override." + prefix
    keys = [key for key in golden.names if key.startswith(start)]
    for key in keys:
        parameters[key.removeprefix(start)].copy_(torch.from_numpy(golden[key]))
    return len(keys)


# --- inputs (§2) ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An input image: height, width, side of its uniform squares, and the size that output is asked at."""

    height: int
    width: int
    square: int
    output: tuple[int, int]


CASES = {
    "a": Case(512, 512, 32, (512, 512)),
    "q": Case(256, 320, 16, (256, 320)),
    "p": Case(200, 330, 16, (150, 247)),
    "r": Case(150, 200, 16, (150, 200)),
    "t": Case(330, 200, 16, (330, 200)),
    "w": Case(512, 640, 32, (512, 640)),
    # Training images (README of the training numbers, §1); their output size is not used.
    "train0": Case(512, 512, 32, (512, 512)),
    "train1": Case(512, 512, 32, (512, 512)),
    "train2": Case(256, 320, 16, (256, 320)),
    "train3": Case(200, 250, 16, (200, 250)),
}


def image(case: str) -> NDArray[np.uint8]:
    """The image of a case: RGB uint8 `[H, W, 3]`, fed to the model as it is (no resizing to short side 1024)."""
    c = CASES[case]
    rows, columns = -(-c.height // c.square), -(-c.width // c.square)
    base = generator("golden.image." + case).integers(0, 256, size=(rows, columns, 3), dtype=np.uint8)
    return base.repeat(c.square, axis=0).repeat(c.square, axis=1)[: c.height, : c.width]


VOCABULARY: tuple[tuple[str, ...], ...] = (
    ("black pickup truck", "pickup truck"),
    ("blue sky", "sky"),
    ("person", "child", "girl"),
    ("unicorn",),
    ("grass", "lawn"),
    ("zebra",),
    ("luggage", "suitcase", "baggage"),
)
"""The 7 categories of the end-to-end numbers, 14 strings."""
THINGS = frozenset({0, 2, 3, 5, 6})

CHAIN_VOCABULARY: tuple[tuple[str, ...], ...] = (
    ("black pickup truck", "pickup truck"),
    ("blue sky", "sky"),
    ("person", "child"),
    ("unicorn",),
    ("zebra", "zebras"),
)
"""The 5 categories of `chain.*` in golden_components, 9 strings."""
CHAIN_THINGS = frozenset({0, 2, 3, 4})


def text_embeddings(head: Literal["category", "clip"], dim: int) -> NDArray[np.float32]:
    """Embeddings `[14, dim]` of the 14 strings as the classifiers get them: before projection and normalisation."""
    return normal(f"golden.text_embed.{head}", (14, dim))


def tiny_size(supervision: Literal["label", "caption"]) -> OdiseSize:
    """The model of the `golden_tiny_*` numbers (§7)."""
    seen, unseen = (0.3, 0.7) if supervision == "label" else (0.35, 0.65)
    data: dict[str, Any] = {
        "name": f"tiny-{supervision}",
        "supervision": supervision,
        "window": 256,
        "short_side": 512,
        "max_long_side": 2560,
        "size_divisibility": 64,
        "noise_size": 64,
        "feature_dim": 128,
        "bottleneck_dim": 32,
        "projection_norm_groups": 32,
        "vae": {"channels": [32, 64, 128, 128], "norm_groups": 32, "scale_factor": 0.18215},
        "unet": {
            "channels": [32, 64, 128, 128],
            "norm_groups": 32,
            "heads": 8,
            "context_dim": 64,
            "time_embed_dim": 128,
        },
        "clip": {
            "embed_dim": 64,
            "image_size": 84,
            "patch_size": 14,
            "vision_width": 128,
            "vision_layers": 2,
            "vision_heads": 2,
            "text_width": 64,
            "text_layers": 2,
            "text_heads": 1,
            "context_length": 77,
            "vocab_size": 49408,
        },
        "prompt_encoder": {"width": 64, "mlp_width": 128, "layers": 2, "heads": 4},
        "mask_generator": {
            "hidden_dim": 64,
            "pixel_decoder_layers": 2,
            "pixel_decoder_ffn": 128,
            "decoder_layers": 3,
            "decoder_ffn": 128,
            "heads": 8,
            "points": 4,
            "levels": 3,
            "queries": 20,
            "norm_groups": 32,
        },
        "ensemble_seen": seen,
        "ensemble_unseen": unseen,
        "overlap_threshold": 0.8,
        "object_threshold": 0.0,
    }
    return parse_size(data)


# --- how tensors are recorded (§3, §6) --------------------------------------------------------------------------------


def numpy(tensor: torch.Tensor | NDArray[Any]) -> NDArray[Any]:
    """A tensor as an array on the CPU, without gradient."""
    return tensor.detach().cpu().numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


def probe(values: NDArray[Any], count: int) -> NDArray[Any]:
    """`count` values at the flat C-order places floor(j·(n−1)/(count−1)); all of them where `count` is n."""
    flat = values.reshape(-1)
    if count == flat.size:
        return flat
    return flat[np.arange(count, dtype=np.int64) * (flat.size - 1) // (count - 1)]


def stats(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean, standard deviation (population), minimum, maximum, root mean square."""
    v = values.astype(np.float64)
    return np.array([v.mean(), v.std(), v.min(), v.max(), np.sqrt((v**2).mean())])


@dataclass(frozen=True)
class Deviation:
    """How far a tensor is from its golden record."""

    name: str
    relative_to_max: float
    """Of the probes: largest |difference| / largest |golden|."""
    relative_l2: float
    """Of the probes."""
    stats: float
    """Of mean, deviation, minimum, maximum and root mean square, which cover every element:
    largest |difference| / largest of their magnitudes."""

    def __str__(self) -> str:
        return f"{self.name}: {self.relative_to_max:.1e} of max, {self.relative_l2:.1e} L2, stats {self.stats:.1e}"


class Golden:
    """One file of golden numbers; `golden[name]` is an array of it."""

    def __init__(self, file: str) -> None:
        with np.load(DATA / f"{file}.npz", allow_pickle=False) as archive:
            self._arrays = {name: archive[name] for name in archive.files}
        self.file = file

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    @property
    def recorded(self) -> tuple[str, ...]:
        """The tensors that are recorded as shape, stats and probe (`tap.3#1`, `aux0.pred_masks`)."""
        return tuple(name.removesuffix("|probe") for name in self._arrays if name.endswith("|probe"))

    def deviation(self, name: str, tensor: torch.Tensor | NDArray[Any], *, suffix: str = "") -> Deviation:
        """Compares a whole tensor with the record `name`; AssertionError where the shape is another.

        Args:
            suffix: `_f64` for the float64 record where the same file has one.
        """
        values = numpy(tensor)
        if f"{name}|shape" in self:
            expected_shape = tuple(int(n) for n in self[f"{name}|shape"])
            assert values.shape == expected_shape, f"{name} is {values.shape}, the golden is {expected_shape}"
        expected = self[f"{name}|probe{suffix}"].astype(np.float64)
        probes = probe(values, len(expected)).astype(np.float64)
        worst, l2 = distances(probes, expected)
        by_stats = 0.0
        if f"{name}|stats{suffix}" in self:
            golden_stats = self[f"{name}|stats{suffix}"]
            by_stats = float(np.abs(stats(values) - golden_stats).max() / max(np.abs(golden_stats).max(), 1e-30))
        return Deviation(name, worst, l2, by_stats)

    def assert_close(
        self,
        name: str,
        tensor: torch.Tensor | NDArray[Any],
        *,
        relative_to_max: float = RELATIVE_TO_MAX,
        relative_l2: float = RELATIVE_L2,
        suffix: str = "",
    ) -> Deviation:
        """`deviation`, held to the tolerances; the statistics are held to `relative_to_max` too."""
        found = self.deviation(name, tensor, suffix=suffix)
        assert found.relative_to_max <= relative_to_max, f"{self.file}, {found}"
        assert found.relative_l2 <= relative_l2, f"{self.file}, {found}"
        assert found.stats <= relative_to_max, f"{self.file}, {found}"
        return found

    def assert_array_close(
        self,
        name: str,
        tensor: torch.Tensor | NDArray[Any],
        *,
        relative_to_max: float = RELATIVE_TO_MAX,
        relative_l2: float = RELATIVE_L2,
    ) -> Deviation:
        """Compares with an array that is stored whole (`core.out`, crops)."""
        values, expected = numpy(tensor), self[name]
        assert values.shape == expected.shape, f"{name} is {values.shape}, the golden is {expected.shape}"
        found = Deviation(name, *distances(values, expected), stats=0.0)
        assert found.relative_to_max <= relative_to_max, f"{self.file}, {found}"
        assert found.relative_l2 <= relative_l2, f"{self.file}, {found}"
        return found


def distances(values: NDArray[Any], expected: NDArray[Any]) -> tuple[float, float]:
    """Largest difference relative to the largest expected magnitude, and relative L2 distance."""
    difference = values.astype(np.float64) - expected.astype(np.float64)
    assert np.isfinite(difference).all(), "not finite"
    worst = float(np.abs(difference).max() / max(float(np.abs(expected).max()), 1e-30))
    l2 = float(np.linalg.norm(difference) / max(float(np.linalg.norm(expected.astype(np.float64))), 1e-30))
    return worst, l2


def assert_same_map(
    found: torch.Tensor | NDArray[Any], expected: NDArray[Any], share: float = DIFFERING_PIXELS
) -> float:
    """Id or label maps: at most this share of pixels differs; returns the share."""
    values = numpy(found)
    assert values.shape == expected.shape, f"the map is {values.shape}, the golden is {expected.shape}"
    differing = float((values.astype(np.int64) != expected.astype(np.int64)).mean())
    assert differing <= share, f"{differing:.3%} of the pixels differ"
    return differing
