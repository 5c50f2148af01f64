"""What may stand in the place of an official file, behind one small surface: names, shapes, one tensor at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from odise_frame.checkpoint_files.safetensors_file import SafetensorsFile
from odise_frame.checkpoint_files.torch_archive import TorchArchive, named_tensors
from odise_frame.checkpoint_files.weights_file import open_weights
from videoseg.errors import InputError


@dataclass(frozen=True, slots=True)
class Described:
    """A tensor that has not been read."""

    dtype: torch.dtype
    shape: tuple[int, ...]


class Weights(Protocol):
    """Tensors by name in somebody's file."""

    @property
    def path(self) -> Path: ...

    @property
    def tensors(self) -> Mapping[str, Described]: ...

    def read(self, name: str) -> Tensor: ...

    def close(self) -> None: ...


class TorchWeights:
    """A state dict or a TorchScript archive that PyTorch wrote; `is_script` tells which."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = TorchArchive(path)
        self._stored = named_tensors(self._archive.content)
        self.is_script = not isinstance(self._archive.content, dict)
        self.tensors = {name: Described(tensor.dtype, tensor.shape) for name, tensor in self._stored.items()}

    def read(self, name: str) -> Tensor:
        return self._archive.read(self._stored[name])

    def close(self) -> None:
        self._archive.close()


class SafetensorsWeights:
    """A safetensors file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = SafetensorsFile(path)
        self.tensors = {name: Described(entry.dtype, entry.shape) for name, entry in self._file.entries.items()}

    def read(self, name: str) -> Tensor:
        return self._file.read(name)

    def close(self) -> None:
        self._file.close()


DIFFUSERS_PARTS = ("vae", "unet", "text_encoder")
_DIFFUSERS_FILES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
)
"""The full precision first."""


class DiffusersWeights:
    """A folder in diffusers' layout; names are `vae.…`, `unet.…` and `text_encoder.…`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts: dict[str, Weights] = {}
        try:
            for part in DIFFUSERS_PARTS:
                self._parts[part] = open_weights_file(diffusers_file(path, part))
        except BaseException:
            self.close()
            raise
        self.tensors = {
            f"{part}.{name}": described
            for part, weights in self._parts.items()
            for name, described in weights.tensors.items()
        }

    def read(self, name: str) -> Tensor:
        part, rest = name.split(".", 1)
        return self._parts[part].read(rest)

    def close(self) -> None:
        for weights in self._parts.values():
            weights.close()


def diffusers_file(folder: Path, part: str) -> Path:
    """The file of weights of one part of a diffusers folder; InputError where there is none."""
    for name in _DIFFUSERS_FILES:
        if (folder / part / name).is_file():
            return folder / part / name
    raise InputError(
        f"{folder} has no weights in {part}/ (looked for {', '.join(_DIFFUSERS_FILES)}): a diffusers folder has "
        f"{', '.join(DIFFUSERS_PARTS)}. Download the whole folder."
    )


def is_diffusers_folder(path: Path) -> bool:
    """Whether a folder is laid out as diffusers does."""
    return path.is_dir() and all((path / part).is_dir() for part in ("vae", "unet"))


def open_weights_file(path: Path) -> Weights:
    """Any file or folder of weights that we read, by what is in it, not by its name.

    Raises:
        InputError: missing, damaged, or of another kind.
    """
    if path.is_dir():
        if is_diffusers_folder(path):
            return DiffusersWeights(path)
        raise InputError(f"{path} is a folder, but not one of diffusers (with vae/ and unet/). Name the file itself.")
    with open_weights(path) as file:
        start = file.read(9)
    if start[8:9] == b"{" and not start.startswith(b"PK"):
        return SafetensorsWeights(path)
    return TorchWeights(path)
