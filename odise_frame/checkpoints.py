"""Models in folders: one safetensors file per part, and `model.json`, which says what they are.

A folder holds `autoencoder`, `unet`, `clip` and `odise` (`.safetensors`; the last is what training the mask generator
learns), `empty_prompt` where the size has a prompt encoder (what that says of the empty text, which is all that is
ever asked of it), and `model.json`: format version, size, SHA-256 of each file, names of the training vocabulary, facts
about the training, where the weights are from. Models of our own are stored in float16, the official ones in the types
of their own files.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from odise_frame.checkpoint_files.safetensors_file import Entry, SafetensorsFile
from odise_frame.checkpoint_files.weights_file import file_digest
from odise_frame.clip import causal_mask
from odise_frame.model import Odise
from odise_frame.quirks import MENDED, Quirks
from odise_frame.sizes import OdiseSize, parse_size, size_to_json
from videoseg.errors import InputError

FORMAT_VERSION = 1
INFO_FILE = "model.json"

EMPTY_PROMPT = "empty_prompt"
"""Name of the part and of its one tensor."""

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
    sources: Mapping[str, str] = field(default_factory=dict)
    """Of converted models: role of an official file (`odise`, `stable-diffusion`, `clip`) -> its SHA-256."""

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
    for part, tensors in _parts(model).items():
        stored = {}
        for name, value in tensors.items():
            value = value.detach().cpu()
            # One tensor beside the weights, of which every window takes part.
            half = (value if part == EMPTY_PROMPT else value.to(torch.float16)).contiguous()
            if not torch.isfinite(half).all():
                raise ValueError(f"{part}: {name} has values that float16 cannot hold")
            stored[name] = half
        data = save(stored)
        (folder / f"{part}.safetensors").write_bytes(data)
        digests[f"{part}.safetensors"] = sha256(data).hexdigest()
    info = ModelInfo(model.size, model.quirks, digests, tuple(sorted(set(training_names))), dict(training))
    write_info(folder, info)
    return info


def write_info(folder: Path, info: ModelInfo) -> None:
    """Writes `model.json`, whole or not at all."""
    data = {
        "format_version": FORMAT_VERSION,
        "size": size_to_json(info.size),
        "quirks": asdict(info.quirks),
        "sha256": dict(info.sha256),
        "training_names": info.training_names,
        "training": dict(info.training),
    }
    if info.sources:
        data["sources"] = dict(info.sources)
    partial = folder / f"{INFO_FILE}.partial"
    partial.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / INFO_FILE)


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
            sources=dict(data.get("sources", {})),
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} is incomplete or names what this videoseg does not know: {error}. {_AGAIN}") from None


def load_model(
    folder: Path, *, dtype: torch.dtype = torch.float32, device: str | torch.device = "cpu"
) -> tuple[Odise, ModelInfo]:
    """A model in evaluation mode, and what it says of itself.

    Every file is held to its checksum before anything of it is used. Tensors are read, converted and put on the device
    one at a time, so that the machine never holds much more than the finished model. On the CPU, those that are stored
    in the type that is asked for are mapped: several processes hold them once.

    Args:
        folder: see the module.
        dtype: of the frozen networks; CLIP's temperature and what training learns are float32 always (28 million of
            1.4 billion numbers).
        device: where all of it goes.

    Raises:
        InputError: a missing or damaged file; tensors that are missing, too many or of another shape; weights that are
            not finite, or that `dtype` cannot hold.
    """
    info = read_info(folder)
    with torch.device("meta"):
        model = Odise(info.size, info.quirks)
    place = torch.device(device)
    # Whatever is neither trained nor stored.
    model.backbone.diffusion.noise = model.backbone.diffusion.noise.to(place)
    model.frozen.clip.attn_mask = causal_mask(info.size.clip).to(place, dtype)
    model.frozen.empty_prompt = torch.zeros(model.frozen.empty_prompt.shape, dtype=dtype, device=place)
    for part, expected in _parts(model).items():
        tensors = _read_part(folder, part, expected, info, torch.float32 if part == "odise" else dtype, place)
        if part == EMPTY_PROMPT:
            model.frozen.drop_prompt_encoder(tensors[EMPTY_PROMPT])
        else:
            module: nn.Module = model if part == "odise" else getattr(model.frozen, part)
            module.load_state_dict(tensors, strict=False, assign=True)
    if not model.frozen.has_prompt_encoder:
        model.frozen.encode_empty_prompt()
    nowhere = [name for name, value in [*model.named_parameters(), *model.named_buffers()] if value.is_meta]
    assert not nowhere, f"nobody filled {nowhere}"
    return model, info


def verify_model(folder: Path) -> dict[str, str]:
    """Reads every file of a model folder and holds it to its checksum, names and shapes.

    Returns:
        file name -> what is wrong with it; empty where all is well.

    Raises:
        InputError: the folder has no readable `model.json`.
    """
    info = read_info(folder)
    with torch.device("meta"):
        model = Odise(info.size, info.quirks)
    wrong = {}
    for part, expected in _parts(model).items():
        try:
            for _ in _checked(folder, part, expected, info):
                pass
        except InputError as error:
            wrong[f"{part}.safetensors"] = str(error)
    return wrong


def _parts(model: Odise) -> dict[str, dict[str, Tensor]]:
    """The tensors of every file, sharing memory with the model."""
    frozen = model.frozen
    parts: dict[str, dict[str, Tensor]] = {
        "autoencoder": frozen.autoencoder.state_dict(),
        "unet": frozen.unet.state_dict(),
        "clip": frozen.clip.state_dict(),
    }
    if frozen.has_prompt_encoder:
        parts[EMPTY_PROMPT] = {EMPTY_PROMPT: frozen.empty_prompt}
    return parts | {"odise": {n: v for n, v in model.state_dict().items() if not n.startswith("frozen.")}}


def _read_part(
    folder: Path, part: str, expected: Mapping[str, Tensor], info: ModelInfo, dtype: torch.dtype, device: torch.device
) -> dict[str, Tensor]:
    """The tensors of a file, in `dtype` and on the device.

    Those that are used on the CPU as they are stored are pages of the file: workers on one machine share them. The
    others lie in memory of their own.
    """

    def wanted(shape: Sequence[int]) -> torch.dtype:
        # CLIP's temperature is stored as its logarithm: rounded to 8 bits, 100 would be 98.9.
        return dtype if shape else torch.float32

    def as_stored(entry: Entry) -> bool:
        return device.type == "cpu" and entry.dtype == wanted(entry.shape)

    tensors = {}
    for name, value in _checked(folder, part, expected, info, as_stored):
        moved = value.to(device, wanted(value.shape))
        # Nothing overflows in the others.
        if dtype == torch.float16 and not torch.isfinite(moved).all() and torch.isfinite(value).all():
            raise InputError(
                f"The weights {folder / f'{part}.safetensors'} have values in {name} that "
                f"{str(dtype).removeprefix('torch.')} cannot hold. Take --dtype bfloat16 or float32."
            )
        tensors[name] = moved
    return tensors


def _checked(
    folder: Path,
    part: str,
    expected: Mapping[str, Tensor],
    info: ModelInfo,
    mapped: Callable[[Entry], bool] = lambda entry: False,
) -> Iterator[tuple[str, Tensor]]:
    """Name and tensor of all in a file, one at a time; InputError before the first or behind the last."""
    name = f"{part}.safetensors"
    path = folder / name
    if name not in info.sha256:
        raise InputError(f"{folder / INFO_FILE} has no checksum for {name}, which the model needs. {_AGAIN}")
    if not path.is_file():
        raise InputError(f"The weights {path} are missing. {_AGAIN}")
    try:
        file = SafetensorsFile(path)
    except InputError:
        if path.read_bytes()[:23] != b"version https://git-lfs":
            _check_digest(path, file_digest(path), info)
        raise
    with file:
        problems = _misfits(file, expected)
        if problems:
            _check_digest(path, file_digest(path), info)
            raise InputError(
                f"The weights {path} do not fit the size that {INFO_FILE} gives: {problems}. "
                "Put files and model.json of one model into the folder."
            )
        strange = ""
        for key, value in file.read_all(mapped):
            if not strange and not torch.isfinite(value).all():
                strange = key
            yield key, value
        _check_digest(path, file.digest, info)
        if strange:
            raise InputError(
                f"The weights {path} have values in {strange} that are no numbers (NaN or infinity): the model was "
                "damaged before it was stored. Make or fetch it again."
            )


def _check_digest(path: Path, found: str, info: ModelInfo) -> None:
    expected = info.sha256[path.name]
    if found != expected:
        raise InputError(
            f"The weights {path} are damaged: their SHA-256 begins with {found[:12]}, "
            f"it should begin with {expected[:12]}. {_AGAIN}"
        )


def _misfits(file: SafetensorsFile, expected: Mapping[str, Tensor]) -> str:
    """What does not fit, the first three of it; empty where all does."""
    wrong = [f"{name} is missing" for name in expected if name not in file.entries]
    wrong += [f"{name} is unknown" for name in file.entries if name not in expected]
    wrong += [
        f"{name} has the shape {list(file.entries[name].shape)} instead of {list(value.shape)}"
        for name, value in expected.items()
        if name in file.entries and file.entries[name].shape != tuple(value.shape)
    ]
    more = f" and {len(wrong) - 3} more like it" if len(wrong) > 3 else ""
    return "; ".join(wrong[:3]) + more


def new_model(size: OdiseSize) -> Odise:
    """A model of our own to be trained, with random weights."""
    return Odise(size, MENDED)
