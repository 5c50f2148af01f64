"""PyTorch's own files: a zip with one pickle and one entry per storage, as `torch.save` and `torch.jit.save` write it.

Nothing in the file is executed (see `pickle_reading`), and tensors are read when they are asked for, one at a time, so
that a checkpoint of gigabytes takes no more memory than its largest tensor.

Source: PyTorch, "Serialization semantics" (layout of the archive, persistent ids, alignment); the TorchScript
serialization notes (`data.pkl` with module attributes as nested objects).
"""

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from odise_frame.checkpoint_files.pickle_reading import Builder, DamagedPickleError, Global, Placeholder, read_pickle
from odise_frame.checkpoint_files.weights_file import WeightsFile
from videoseg.errors import InputError

_MAX_PICKLE = 2**29
"""Bytes of the pickle beside the tensors; those of real checkpoints have some hundred kilobytes."""

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DTYPES = {
    "float64": torch.float64,
    "double": torch.float64,
    "float32": torch.float32,
    "float": torch.float32,
    "float16": torch.float16,
    "half": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "int16": torch.int16,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "bool": torch.bool,
}


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the archive."""

    key: str
    dtype: torch.dtype | None
    """None where the tensors say it (untyped storages)."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor that is still in its file."""

    storage: Storage
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    """In elements."""
    offset: int
    """Of the first element in the storage, in elements."""

    @property
    def is_contiguous(self) -> bool:
        expected = 1
        for size, stride in zip(reversed(self.shape), reversed(self.stride), strict=True):
            if size != 1 and stride != expected:
                return False
            expected *= size
        return True


class TorchArchive(WeightsFile):
    """A PyTorch file, open for reading; a context manager.

    Attributes:
        path: of the file.
        content: the value of its pickle: containers, numbers, `StoredTensor` and `Placeholder`.

    Raises:
        InputError: not a PyTorch file, cut off or damaged.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            try:
                self._zip = zipfile.ZipFile(self._file)
            except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError):
                raise InputError(_what_it_is_instead(path, self._file)) from None
            self._prefix = self._find_prefix()
            self.content = self._read_pickle()
        except BaseException:
            self.close()
            raise

    def read(self, tensor: StoredTensor) -> Tensor:
        """The tensor itself, contiguous, on the CPU, in its own dtype and memory.

        Raises:
            InputError: the file ends before the tensor does, or its place makes no sense.
        """
        width = tensor.dtype.itemsize
        if 0 in tensor.shape:
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        # Elements from the first to the last one that the strides reach.
        span = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride, strict=True))
        start, length = self._locate(f"{self._prefix}data/{tensor.storage.key}")
        if tensor.offset < 0 or (tensor.offset + span) * width > length:
            raise InputError(f"{self.path} is damaged: a tensor reaches beyond its storage. Take the file again.")
        flat = torch.frombuffer(self._bytes(start + tensor.offset * width, span * width), dtype=tensor.dtype)
        if tensor.is_contiguous:
            return flat.view(tensor.shape)
        return flat.as_strided(tensor.shape, tensor.stride).contiguous()

    def _find_prefix(self) -> str:
        for info in self._zip.infolist():
            folder, _, name = info.filename.rpartition("/")
            if name == "data.pkl" and "/" not in folder:
                return f"{folder}/" if folder else ""
        raise InputError(
            f"{self.path} is a zip file, but not one that PyTorch wrote (it has no data.pkl). Name the checkpoint file "
            "itself, unpacked where it came in an archive."
        )

    def _read_pickle(self) -> Any:
        start, length = self._locate(f"{self._prefix}data.pkl")
        order = self._text("byteorder")
        if order not in ("", "little"):
            raise InputError(f"{self.path} was written on a {order}-endian machine, which videoseg does not read.")
        if length > _MAX_PICKLE:
            raise InputError(
                f"{self.path} has {length:,} bytes beside its tensors: this is not a checkpoint of weights."
            )
        self._file.seek(start)
        try:
            return read_pickle(self._file.read(length), builders=_TENSORS, persistent=_storage)
        except DamagedPickleError as error:
            raise InputError(f"{self.path} is damaged ({error}). Take the file again.") from None

    def _text(self, name: str) -> str:
        if f"{self._prefix}{name}" not in self._zip.NameToInfo:
            return ""
        start, length = self._locate(f"{self._prefix}{name}")
        self._file.seek(start)
        return self._file.read(min(length, 100)).decode("utf-8", "replace").strip()

    def _locate(self, name: str) -> tuple[int, int]:
        """Where an entry's bytes begin in the file, and how many they are."""
        info = self._zip.NameToInfo.get(name)
        if info is None:
            raise InputError(f"{self.path} is damaged: it has no {name}. Take the file again.")
        if info.compress_type != zipfile.ZIP_STORED:
            raise InputError(f"{self.path} has compressed tensors, which PyTorch never writes. Take the original file.")
        self._file.seek(info.header_offset)
        header = self._file.read(30)
        if len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise InputError(f"{self.path} is damaged: {name} is not where it should be. Take the file again.")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        return info.header_offset + 30 + name_length + extra_length, info.file_size


def named_tensors(content: Any) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint by name.

    Takes a state dict, one under the key `model` or `state_dict` (training checkpoints of detectron2 and Lightning),
    and the module tree of a TorchScript archive, whose names are joined by dots. Other entries are left out.
    """
    if isinstance(content, dict):
        for key in ("model", "state_dict"):
            inner = content.get(key)
            if isinstance(inner, dict) and any(isinstance(value, StoredTensor) for value in inner.values()):
                content = inner
                break
        return {
            name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, StoredTensor)
        }
    if isinstance(content, Placeholder):
        return _tensors_of_module(content)
    return {}


def _tensors_of_module(root: Placeholder) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    seen: set[int] = set()
    waiting: list[tuple[str, Placeholder]] = [("", root)]
    while waiting:
        prefix, module = waiting.pop()
        if id(module) in seen or not isinstance(module.state, dict):
            continue
        seen.add(id(module))
        for name, value in module.state.items():
            if isinstance(value, StoredTensor):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, Placeholder):
                waiting.append((f"{prefix}{name}.", value))
    return found


def _storage(identifier: Any) -> Storage:
    if not isinstance(identifier, (tuple, list)) or len(identifier) < 5 or identifier[0] != "storage":
        raise DamagedPickleError("a reference that is not to a storage")
    kind, key = identifier[1], identifier[2]
    if not isinstance(kind, Global) or not isinstance(key, str):
        raise DamagedPickleError("a storage without type or name")
    if kind.name == "UntypedStorage":
        return Storage(key, None)
    if kind.module not in ("torch", "torch.storage", "torch.cuda") or kind.name not in _STORAGES:
        raise DamagedPickleError(f"a storage of the type {kind}")
    return Storage(key, _STORAGES[kind.name])


def _tensor(arguments: Any, dtype: torch.dtype | None = None) -> StoredTensor:
    storage, offset, shape, stride = arguments[:4]
    if not isinstance(storage, Storage):
        raise DamagedPickleError("a tensor without a storage")
    dtype = dtype or storage.dtype
    if dtype is None:
        raise DamagedPickleError("a tensor without a type")
    numbers = (offset, *shape, *stride)
    if len(shape) != len(stride) or not all(type(n) is int and 0 <= n < 2**48 for n in numbers):
        raise DamagedPickleError("a tensor of an impossible shape")
    return StoredTensor(storage, dtype, tuple(shape), tuple(stride), offset)


def _tensor_with_dtype(arguments: Any) -> StoredTensor:
    kind = arguments[6]
    if not isinstance(kind, Global) or kind.module != "torch" or kind.name not in _DTYPES:
        raise DamagedPickleError(f"a tensor of the type {kind}")
    return _tensor(arguments, _DTYPES[kind.name])


def _first(arguments: Any) -> Any:
    return arguments[0]


_TENSORS: Mapping[str, Builder] = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_with_dtype,
    "torch._utils._rebuild_parameter": _first,
    "torch._utils._rebuild_parameter_with_state": _first,
    "torch.nn.parameter.Parameter": _first,
    "torch.Size": lambda arguments: tuple(arguments[0]) if arguments else (),
    "torch.jit._pickle.build_intlist": _first,
    "torch.jit._pickle.build_doublelist": _first,
    "torch.jit._pickle.build_boollist": _first,
    "torch.jit._pickle.build_tensorlist": _first,
    "torch.jit._pickle.restore_type_tag": _first,
}


def _what_it_is_instead(path: Path, file: IO[bytes]) -> str:
    file.seek(0)
    start = file.read(1024)
    if start.startswith(b"PK\x03\x04"):
        return f"{path} is cut off: its table of contents, which stands at the end, is missing. Take the file again."
    if start.lstrip()[:1] == b"<":
        return (
            f"{path} is a web page, not a file of weights: the download led to a page (a login?). Take the file again."
        )
    if start.startswith(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"):
        return (
            f"{path} is in the format of PyTorch before 1.6, which videoseg does not read. Where you trust the file, "
            "load it with torch.load and write it again with torch.save."
        )
    return f"{path} is not a file of PyTorch weights, or its beginning is damaged. Take the file again."
