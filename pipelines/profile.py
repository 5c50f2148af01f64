"""The numeric profile of a run: what changes the last bits of a result without being a choice about the result.

It stands in the manifest, is the same for every executor, and two runs are expected to agree byte for byte only under
the same one.
"""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

# Packages whose arithmetic or encoders reach the bytes of a result.
_ALWAYS = ("numpy", "scipy", "lap", "pyarrow", "pillow")
_NETWORK = ("torch", "diffusers", "transformers", "open_clip_torch")
_DECODERS = {"pyav": "av", "decord": "decord"}


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def numeric_profile(
    *, device: str, threads: int, decoder: str | None, uses_torch: bool, window_batch: int = 1, dtype: str = "float32"
) -> dict[str, Any]:
    """The profile of a run, JSON-ready.

    Args:
        device: class of the device: `cpu`, `cuda`.
        threads: of the network, per worker: sums are split by them.
        decoder: name of the decoder; None where nothing is decoded.
        uses_torch: whether the segmenter is a network.
        window_batch: frames per call of the network, padded to this size.
        dtype: of the network's frozen weights.
    """
    packages = [*_ALWAYS, *(_NETWORK if uses_torch else ()), *((_DECODERS[decoder],) if decoder else ())]
    return {
        "device": device if uses_torch else "cpu",
        "dtype": dtype if uses_torch else "float32",
        "threads": threads if uses_torch else 1,
        "window_batch": window_batch,
        "versions": {name: found for name in sorted(packages) if (found := installed_version(name))},
    }


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, None where it is missing; imports nothing."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
