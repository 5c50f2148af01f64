"""A header and arrays as bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, scalar_dtypes

from videoseg.packed_arrays import pack_arrays, unpack_arrays


@given(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none()),
    st.dictionaries(
        st.text(max_size=5), scalar_dtypes().flatmap(lambda kind: arrays(kind, array_shapes(min_dims=0, min_side=0)))
    ),
)
def test_what_is_packed_comes_back(header: dict[str, object], held: dict[str, np.ndarray]) -> None:
    header.pop("arrays", None)
    data = pack_arrays(header, held)
    assert pack_arrays(header, held) == data
    back, found = unpack_arrays(data)
    back.pop("arrays")
    assert back == header
    assert list(found) == list(held)
    for name, array in held.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()
        assert found[name].flags.writeable


@given(st.integers(0, 10_000), st.booleans())
def test_what_is_cut_off_or_longer_is_refused(place: int, longer: bool) -> None:
    data = pack_arrays({"a": 1}, {"x": np.arange(100), "y": np.zeros((3, 4))})
    broken = data + b"\0" * (1 + place % 50) if longer else data[: place % len(data)]
    with pytest.raises(ValueError):  # noqa: PT011  (the callers have the words)
        unpack_arrays(broken)
