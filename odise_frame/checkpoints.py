"""Models in folders: one safetensors file per part in float16, and `model.json`, which says what they are.

A folder holds `autoencoder`, `unet`, `clip` and `odise` (`.safetensors`; the last is what training the mask generator
learns), `prompt_encoder` where the size has one, and `model.json`: format version, size, SHA-256 of each file, names
of the training vocabulary, facts about the training.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from odise_frame.model import Odise
from odise_frame.quirks import MENDED, Quirks
from odise_frame.sizes import OdiseSize, parse_size, size_to_json
from videoseg.errors import InputError

FORMAT_VERSION = 1
INFO_FILE = "model.json"

SHIPPED = ("small",)
"""Models whose weights come with the package."""

_AGAIN = "Take the file again from where the model came from (for the models that ship with videoseg: reinstall it)."


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What `model.json` says."""

    size: OdiseSize
    quirks: Quirks
    sha256: Mapping[str, str]
    """File name -> hexadecimal digest."""
    training_names: tuple[str, ...]
    """All names of the categories that the mask generator was trained on."""
    training: Mapping[str, Any]
    """Facts for people: data, steps, time, figures."""

    @property
    def checksum(self) -> str:
        """One digest for the whole model: it changes with any weight, size or seen category."""
        text = json.dumps(
            [size_to_json(self.size), asdict(self.quirks), dict(self.sha256), self.training_names], sort_keys=True
        )
        return sha256(text.encode()).hexdigest()


def shipped_folder(name: str) -> Path:
    """Where the weights of a shipped model lie; InputError where they are missing."""
    folder = Path(str(files("odise_frame"))) / "weights" / name
    if not (folder / INFO_FILE).is_file():
        raise InputError(f"The weights of the model {name!r} are missing ({folder}): reinstall videoseg.")
    return folder


def save_model(
    folder: Path,
    model: Odise,
    *,
    training_names: Iterable[str],
    training: Mapping[str, Any],
) -> ModelInfo:
    """Writes a model into a folder, made where it is missing; what stands there is overwritten.

    Raises:
        ValueError: a weight that float16 cannot hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for part, module in _parts(model).items():
        tensors = {}
        for name, value in _state(part, module).items():
            half = value.detach().to("cpu", torch.float16).contiguous()
            if not torch.isfinite(half).all():
                raise ValueError(f"{part}: {name} has values that float16 cannot hold")
            tensors[name] = half
        data = save(tensors)
        (folder / f"{part}.safetensors").write_bytes(data)
        digests[f"{part}.safetensors"] = sha256(data).hexdigest()
    info = ModelInfo(model.size, model.quirks, digests, tuple(sorted(set(training_names))), dict(training))
    text = json.dumps(
        {
            "format_version": FORMAT_VERSION,
            "size": size_to_json(info.size),
            "quirks": asdict(info.quirks),
            "sha256": digests,
            "training_names": info.training_names,
            "training": info.training,
        },
        indent=1,
    )
    (folder / INFO_FILE).write_text(text + "\n", encoding="utf-8")
    return info


def read_info(folder: Path) -> ModelInfo:
    """What a model folder says of itself; InputError where it is not one."""
    path = folder / INFO_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} is not a model: it has no {INFO_FILE}. Name a folder with one.") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is damaged: {error}. {_AGAIN}") from None
    version = data.get("format_version") if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format version {version}, this videoseg reads {FORMAT_VERSION}: "
            "use the videoseg that wrote it, or a newer one."
        )
    try:
        return ModelInfo(
            size=parse_size(data["size"]),
            quirks=Quirks(**data["quirks"]),
            sha256=dict(data["sha256"]),
            training_names=tuple(data["training_names"]),
            training=dict(data["training"]),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is incomplete or names what this videoseg does not know: {error}. {_AGAIN}") from None


def load_model(folder: Path) -> tuple[Odise, ModelInfo]:
    """A model in float32 on the CPU, in evaluation mode, and what it says of itself.

    Every file is held to its checksum before anything of it is used.

    Raises:
        InputError: a missing or damaged file; tensors that are missing, too many or of another shape.
    """
    info = read_info(folder)
    model = Odise(info.size, info.quirks)
    for part, module in _parts(model).items():
        tensors = _read_part(folder, f"{part}.safetensors", info)
        expected = _state(part, module)
        _check_tensors(folder / f"{part}.safetensors", tensors, expected)
        for name, value in tensors.items():
            expected[name].copy_(value)
    model.frozen.encode_empty_prompt()
    return model, info


def _parts(model: Odise) -> dict[str, nn.Module]:
    frozen = model.frozen
    parts: dict[str, nn.Module] = {"autoencoder": frozen.autoencoder, "unet": frozen.unet, "clip": frozen.clip}
    if frozen.prompt_encoder is not None:
        parts["prompt_encoder"] = frozen.prompt_encoder
    return parts | {"odise": model}


def _state(part: str, module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a part, sharing memory with it."""
    state: dict[str, Tensor] = module.state_dict()
    if part == "odise":
        state = {name: value for name, value in state.items() if not name.startswith("frozen.")}
    return state


def _read_part(folder: Path, name: str, info: ModelInfo) -> dict[str, Tensor]:
    path = folder / name
    if name not in info.sha256:
        raise InputError(f"{folder / INFO_FILE} has no checksum for {name}, which the model needs. {_AGAIN}")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"The weights {path} are missing. {_AGAIN}") from None
    if data.startswith(b"version https://git-lfs"):
        raise InputError(f"The weights {path} are only a pointer of Git LFS: run `git lfs pull`.")
    found = sha256(data).hexdigest()
    if found != info.sha256[name]:
        raise InputError(
            f"The weights {path} are damaged: their SHA-256 begins with {found[:12]}, "
            f"it should begin with {info.sha256[name][:12]}. {_AGAIN}"
        )
    try:
        tensors: dict[str, Tensor] = load(data)
    except SafetensorError as error:
        raise InputError(f"The weights {path} are not a safetensors file: {error}. {_AGAIN}") from None
    return tensors


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    wrong = [f"{name} is missing" for name in expected if name not in tensors]
    wrong += [f"{name} is unknown" for name in tensors if name not in expected]
    wrong += [
        f"{name} has the shape {list(tensors[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more like it" if len(wrong) > 3 else ""
        raise InputError(
            f"The weights {path} do not fit the size that {INFO_FILE} gives: {'; '.join(wrong[:3])}{more}. "
            "Put files and model.json of one model into the folder."
        )


def new_model(size: OdiseSize) -> Odise:
    """A model of our own to be trained, with random weights."""
    return Odise(size, MENDED)
