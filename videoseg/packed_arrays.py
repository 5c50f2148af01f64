"""A header and arrays as bytes: what saved states are made of. No pickle.

Layout: the length of the header (64 bits, little-endian), the header as JSON, the arrays' bytes without gaps. The
header's `arrays` lists name, dtype and shape of each.
"""

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack_arrays(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Equal contents give equal bytes; `header` is of what JSON knows, without the key `arrays`."""
    table = [[name, array.dtype.str, list(array.shape)] for name, array in arrays.items()]
    text = json.dumps({**header, "arrays": table}, separators=(",", ":")).encode()
    return b"".join([struct.pack("<Q", len(text)), text, *(array.tobytes() for array in arrays.values())])


def unpack_arrays(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """The inverse: the header, and arrays that can be written to.

    Raises:
        ValueError: these are not such bytes, or they are damaged.
    """
    try:
        (length,) = struct.unpack_from("<Q", data)
        header: dict[str, Any] = json.loads(data[8 : 8 + length])
        arrays, place = {}, 8 + length
        for name, kind, shape in header["arrays"]:
            dtype = np.dtype(kind)
            size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            if dtype.hasobject or place + size > len(data):
                raise ValueError(f"{name} is cut off")
            arrays[name] = np.frombuffer(data, dtype, size // dtype.itemsize, place).reshape(shape).copy()
            place += size
    except (KeyError, TypeError, struct.error) as error:
        raise ValueError(str(error)) from None
    if place != len(data):
        raise ValueError("there is more than the arrays")
    return header, arrays
