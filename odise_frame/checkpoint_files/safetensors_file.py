"""safetensors files, one tensor at a time: what is not looked at takes no memory, and what is written neither.

The `safetensors` package maps whole files, which counts as resident memory while a model is loaded; these files are
simple enough to be read by offset, and mapped only where a tensor is used as it stands. Source: the format's
description in the safetensors repository: a little-endian 64-bit length, a JSON header (name -> dtype, shape,
data_offsets), the data without gaps.
"""

import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from odise_frame.checkpoint_files.weights_file import WeightsFile
from videoseg.errors import InputError

_MAX_HEADER = 100_000_000
"""Bytes; the limit of the format's own implementation."""

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor in a safetensors file."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    """Of its bytes, from the beginning of the file."""
    end: int


class SafetensorsFile(WeightsFile):
    """A safetensors file, open for reading; a context manager.

    Attributes:
        path: of the file.
        entries: name -> `Entry`, in the order of the data.

    Raises:
        InputError: missing, or not a safetensors file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self.entries = self._read_header()
        except BaseException:
            self.close()
            raise

    def read(self, name: str) -> Tensor:
        """The tensor with this name, on the CPU, in memory of its own."""
        entry = self.entries[name]
        return self._tensor(entry, self._bytes(entry.begin, entry.end - entry.begin))

    def read_all(self, mapped: Callable[[Entry], bool] = lambda entry: False) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of all entries, one at a time; afterwards `digest` is that of the whole file.

        Args:
            mapped: whether a tensor is to be the file's own pages, which all processes that map it share (whoever
                writes to it gets a copy of the page); the others lie in memory of their own.
        """
        pages: mmap.mmap | None = None
        self._file.seek(0)
        hasher = sha256(self._file.read(self._data_start))
        for name, entry in self.entries.items():
            if entry.end > entry.begin and entry.begin % entry.dtype.itemsize == 0 and mapped(entry):
                pages = pages or mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
                count = prod(entry.shape)
                value = torch.frombuffer(pages, dtype=entry.dtype, count=count, offset=entry.begin).view(entry.shape)
                hasher.update(memoryview(pages)[entry.begin : entry.end])
            else:
                data = self._bytes(entry.begin, entry.end - entry.begin)
                hasher.update(data)
                value = self._tensor(entry, data)
            yield name, value
        self.digest = hasher.hexdigest()

    def _tensor(self, entry: Entry, data: bytearray) -> Tensor:
        if not data:
            return torch.empty(entry.shape, dtype=entry.dtype)
        return torch.frombuffer(data, dtype=entry.dtype).view(entry.shape)

    def _read_header(self) -> dict[str, Entry]:
        size = os.fstat(self._file.fileno()).st_size
        length = int.from_bytes(self._file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER):
            raise InputError(f"{self.path} is not a safetensors file, or it is cut off. Take the file again.")
        self._data_start = 8 + length
        try:
            header = json.loads(self._file.read(length))
            header.pop("__metadata__", None)
            entries = {name: self._entry(fields) for name, fields in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.path} is not a safetensors file ({error}). Take the file again.") from None
        end = self._data_start
        ordered = dict(sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)))
        for name, entry in ordered.items():
            width = prod(entry.shape) * entry.dtype.itemsize
            if entry.begin != end or entry.end - entry.begin != width:
                raise InputError(
                    f"{self.path} is not a safetensors file: {name} lies wrong in it. Take the file again."
                )
            end = entry.end
        if end != size:
            raise InputError(f"{self.path} has {size:,} bytes instead of {end:,}: it is cut off. Take the file again.")
        return ordered

    def _entry(self, fields: Any) -> Entry:
        begin, end = fields["data_offsets"]
        shape = fields["shape"]
        if not all(type(n) is int and n >= 0 for n in (begin, end, *shape)):
            raise ValueError("a size that is no whole number")
        return Entry(_DTYPES[fields["dtype"]], tuple(shape), self._data_start + begin, self._data_start + end)


def write_safetensors(
    path: Path, entries: Mapping[str, tuple[torch.dtype, Sequence[int]]], tensors: Iterable[Tensor]
) -> str:
    """Writes tensors as they come, whole or not at all; returns the file's SHA-256.

    Args:
        path: replaced in one step once everything is on the disk.
        entries: name -> type and shape, in the order of `tensors`.
        tensors: of these types and shapes.
    """
    header: dict[str, Any] = {}
    end = 0
    for name, (dtype, shape) in entries.items():
        begin, end = end, end + prod(shape) * dtype.itemsize
        header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the data is aligned
    hasher = sha256()
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        for piece in (len(text).to_bytes(8, "little"), text):
            hasher.update(piece)
            file.write(piece)
        for (name, (dtype, shape)), tensor in zip(entries.items(), tensors, strict=True):
            if tensor.dtype != dtype or tuple(tensor.shape) != tuple(shape):
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}, announced {dtype} {tuple(shape)}")
            data = tensor.contiguous().view(-1).view(torch.uint8).numpy().data
            hasher.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    return hasher.hexdigest()
