"""The restricted reader: containers and tensors come out as they went in, and nothing else does anything at all."""

import collections
import contextlib
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_rules import tiny_size
from hypothesis import given
from hypothesis import strategies as st
from official_files import clip_state, odise_state, save_clip_script, save_diffusion, save_odise

from odise_frame.checkpoint_files.pickle_reading import DamagedPickleError, Global, Placeholder, read_pickle
from odise_frame.checkpoint_files.sources import TorchWeights, open_weights_file
from odise_frame.checkpoint_files.torch_archive import StoredTensor, TorchArchive, named_tensors
from videoseg.errors import InputError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.sets(st.integers(), max_size=4)
        | st.frozensets(st.text(), max_size=4)
    ),
    max_leaves=12,
)


@given(value=plain, protocol=st.sampled_from(PROTOCOLS))
def test_plain_values_come_out_as_they_went_in(value: Any, protocol: int) -> None:
    assert read_pickle(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_and_ordered_containers(protocol: int) -> None:
    inner = [1]
    found = read_pickle(pickle.dumps({"a": inner, "b": inner, "c": collections.OrderedDict(x=1, y=(2,))}, protocol))
    assert found == {"a": [1], "b": [1], "c": {"x": 1, "y": (2,)}}
    assert found["a"] is found["b"]


def test_a_list_that_holds_itself() -> None:
    value: list[Any] = [1]
    value.append(value)
    found = read_pickle(pickle.dumps(value))
    assert found[1] is found


# --- what must not run ------------------------------------------------------------------------------------------------


class Calls:
    """Calls `os.system` when it is unpickled the ordinary way."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


class CallsWithState:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return list, (), {"x": 1}, iter([Calls(self.command)]), iter([("key", Calls(self.command))])


class WithState:
    """Runs a command in `__setstate__`, and makes itself by NEWOBJ or NEWOBJ_EX."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __getnewargs_ex__(self) -> Any:
        return (self.command,), {}

    def __new__(cls, command: str = "") -> "WithState":
        if command and os.environ.get("UNPICKLING"):
            os.system(command)
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        os.system(state["command"])


def _raw(command: str) -> dict[str, bytes]:
    """Pickles by hand, for operations that no pickler of today writes."""
    text = command.encode()
    unicode = b"X" + struct.pack("<I", len(text)) + text
    return {
        "INST": b"(" + unicode + b"ios\nsystem\n.",
        "OBJ": b"(cos\nsystem\n" + unicode + b"o.",
        "REDUCE": b"cos\nsystem\n(" + unicode + b"tR.",
        "NEWOBJ": b"\x80\x02cos\nsystem\n" + unicode + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04\x8c\x02os\x8c\x06system\x93" + unicode + b"\x85}\x92.",
        "BUILD": b"\x80\x02cbuiltins\nexec\n)\x81}X\x0c\x00\x00\x00__setstate__cos\nsystem\nsb" + unicode + b"b.",
        "attributes": b"\x80\x02cbuiltins\ngetattr\ncos\nX\x06\x00\x00\x00systemR.".replace(b"cos\nX", b"cos\npath\nX"),
        "eval": b"cbuiltins\neval\n(" + unicode + b"tR.",
        "import": b"cbuiltins\n__import__\n(X\x02\x00\x00\x00ostR.",
        "PERSID": b"Pos.system\n.",
        "EXT": b"\x80\x02\x82\x01.",
        "tensor of a call": b"ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n(" + unicode + b"tR\x89NtR.",
        "subclass": b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\ncos\nsystem\n(" + unicode + b"tNtR.",
    }


def _bait(folder: Path) -> tuple[str, Path]:
    mark = folder / "it ran"
    return f"touch '{mark}'", mark


@pytest.mark.parametrize("name", list(_raw("")))
def test_no_operation_runs_anything(name: str, tmp_path: Path) -> None:
    command, mark = _bait(tmp_path)
    found = read_pickle(_raw(command)[name])
    assert isinstance(found, Placeholder)
    assert not mark.exists()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("kind", [Calls, CallsWithState, WithState])
def test_objects_that_run_something_run_nothing(kind: type, protocol: int, tmp_path: Path) -> None:
    command, mark = _bait(tmp_path)
    try:
        data = pickle.dumps({"model": {"deep": [(kind(command),)]}}, protocol)
    except (TypeError, pickle.PicklingError):
        pytest.skip("no such object in this protocol")
    read_pickle(data)
    assert not mark.exists()


def test_the_bait_works_on_an_ordinary_unpickler(tmp_path: Path) -> None:
    """Otherwise the tests above could not fail."""
    for name in ("INST", "OBJ", "REDUCE"):
        folder = tmp_path / name
        folder.mkdir()
        command, mark = _bait(folder)
        pickle.loads(_raw(command)[name])
        assert mark.exists()


def test_a_malicious_checkpoint_is_read_and_runs_nothing(tmp_path: Path) -> None:
    command, mark = _bait(tmp_path)
    path = tmp_path / "bad.ckpt"
    torch.save({"state_dict": {"w": torch.ones(2)}, "callbacks": Calls(command)}, path)
    weights = open_weights_file(path)
    assert torch.equal(weights.read("w"), torch.ones(2))
    assert not mark.exists()


def test_reading_imports_nothing_that_a_file_names(tmp_path: Path) -> None:
    (tmp_path / "poison.py").write_text(f"open({str(tmp_path / 'imported')!r}, 'w').close()\nclass Thing: pass\n")
    data = b"\x80\x02cpoison\nThing\n)\x81}b."
    program = (
        "import sys; from odise_frame.checkpoint_files.pickle_reading import read_pickle; "
        f"found = read_pickle({data!r}); assert found.kind == 'poison.Thing'; assert 'poison' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "imported").exists()


# --- bytes that are no pickle -----------------------------------------------------------------------------------------


@given(data=st.binary(max_size=200))
def test_any_bytes_give_a_value_or_a_complaint(data: bytes) -> None:
    with contextlib.suppress(DamagedPickleError):
        read_pickle(data)


@given(cut=st.integers(0, 10**6), protocol=st.sampled_from(PROTOCOLS))
def test_a_pickle_that_is_cut_off(cut: int, protocol: int) -> None:
    data = pickle.dumps({"a": [1, 2, ("x", 3.5)], "b": {"c": b"bytes"}}, protocol)
    with pytest.raises(DamagedPickleError):
        read_pickle(data[: cut % len(data)])


@given(data=st.data())
def test_a_pickle_with_changed_bytes(data: st.DataObject) -> None:
    good = bytearray(pickle.dumps([{"a": (1, 2.5)}, Global("m", "n"), np.float64(3)], 4))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DamagedPickleError):
        read_pickle(bytes(good))


# --- PyTorch's files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [
        torch.arange(12.0).view(3, 4),
        torch.arange(12.0).view(3, 4).T,
        torch.arange(24.0).view(2, 3, 4)[:, 1:, ::2],
        torch.ones(3, dtype=torch.bfloat16).expand(2, 3),
        torch.tensor(7.5, dtype=torch.float64),
        torch.zeros(0, 4),
        torch.arange(5, dtype=torch.int64)[2:],
        torch.tensor([True, False]),
        torch.tensor([0.25, -0.5, 1e-7, 65504.0], dtype=torch.float16),
        torch.nn.Parameter(torch.ones(2, 2)),
        torch.arange(120.0).view(2, 3, 4, 5).to(memory_format=torch.channels_last),
    ],
    ids=lambda value: f"{value.dtype} {tuple(value.shape)} {value.stride()}",
)
def test_tensors_come_out_as_they_went_in(value: torch.Tensor, tmp_path: Path) -> None:
    torch.save({"x": value}, tmp_path / "x.pt")
    with TorchArchive(tmp_path / "x.pt") as archive:
        stored = archive.content["x"]
        assert isinstance(stored, StoredTensor)
        found = archive.read(stored)
    assert found.dtype == value.dtype
    assert found.is_contiguous()
    assert torch.equal(found, value.detach())


def test_tensors_that_share_a_storage(tmp_path: Path) -> None:
    base = torch.arange(10.0)
    torch.save({"a": base[:4], "b": base[3:]}, tmp_path / "x.pt")
    weights = TorchWeights(tmp_path / "x.pt")
    assert torch.equal(weights.read("a"), base[:4])
    assert torch.equal(weights.read("b"), base[3:])


def test_what_lightning_and_omegaconf_leave_stays_inert(tmp_path: Path) -> None:
    path = save_diffusion(tmp_path / "sd.ckpt", {"w": torch.ones(3), "b": torch.zeros(1)})
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)  # why all this is needed
    with TorchArchive(path) as archive:
        assert set(named_tensors(archive.content)) == {"w", "b"}
        (kind,) = archive.content["callbacks"]
        assert kind == Global("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
        node = archive.content["hyper_parameters"]
        assert isinstance(node, Placeholder)
        assert node.kind == "omegaconf.dictconfig.DictConfig"
        assert node.state["_content"]["target"] == "ldm.models.diffusion.ddpm.LatentDiffusion"
    assert "pytorch_lightning" not in sys.modules


def test_a_torchscript_archive_gives_its_parameters_by_name(tmp_path: Path) -> None:
    state = clip_state(tiny_size("label"))
    path = save_clip_script(tmp_path / "clip.pt", state)
    weights = TorchWeights(path)
    assert weights.is_script
    assert set(state) <= set(weights.tensors)
    for name, value in state.items():
        assert torch.equal(weights.read(name), value), name


def test_a_checkpoint_of_detectron2_and_a_bare_state_dict(tmp_path: Path) -> None:
    state = odise_state(tiny_size("caption"))
    save_odise(tmp_path / "a.pth", state)
    torch.save(state, tmp_path / "b.pth")
    torch.save(collections.OrderedDict(state), tmp_path / "c.pth")
    for name in "abc":
        assert set(TorchWeights(tmp_path / f"{name}.pth").tensors) == set(state)


def _read_all(path: Path) -> None:
    weights = open_weights_file(path)
    for name in weights.tensors:
        weights.read(name)


def _refused(path: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        _read_all(path)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message, message


def test_files_that_are_something_else(tmp_path: Path) -> None:
    good = tmp_path / "good.pt"
    torch.save({"x": torch.arange(1000.0)}, good)
    data = good.read_bytes()
    cases: dict[str, tuple[bytes, tuple[str, ...]]] = {
        "empty": (b"", ("empty",)),
        "page": (b"<!DOCTYPE html><html>Please log in", ("web page",)),
        "pointer": (b"version https://git-lfs.github.com/spec/v1\n", ("git lfs pull",)),
        "noise": (bytes(range(200)), ("not a file of PyTorch weights",)),
        "cut": (data[: len(data) // 2], ("cut off",)),
        "old": (b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02", ("before 1.6",)),
        "short safetensors": (struct.pack("<Q", 10**6) + b'{"a":', ("cut off",)),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        _refused(tmp_path / name, *words)
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    _refused(tmp_path / "zip", "data.pkl")
    with zipfile.ZipFile(good) as before, zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as after:
        for info in before.infolist():
            after.writestr(info.filename, before.read(info))
    _refused(tmp_path / "packed", "compressed")
    with zipfile.ZipFile(good) as before, zipfile.ZipFile(tmp_path / "robbed", "w") as after:
        for info in before.infolist():
            if not info.filename.endswith("data/0"):
                after.writestr(info.filename, before.read(info))
    _refused(tmp_path / "robbed", "data/0")
    with zipfile.ZipFile(good) as before, zipfile.ZipFile(tmp_path / "shrunk", "w") as after:
        for info in before.infolist():
            content = before.read(info)
            after.writestr(info.filename, content[:100] if info.filename.endswith("data/0") else content)
    _refused(tmp_path / "shrunk", "beyond its storage")
    _refused(tmp_path / "nowhere", "no file")


@pytest.mark.parametrize(
    "tampered",
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n(I1\nI0\n(I2\nt(I1\nttR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQI-1\n(I2\nt(I1\nttR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQI0\n(I2\nt(I-1\nttR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI4\ntQI0\n(I2\nt(tttR.",
        b"ctorch._utils\n_rebuild_tensor_v2\n((S'storage'\ncos\nsystem\nS'0'\nS'cpu'\nI4\ntQI0\n(I2\nt(I1\nttR.",
    ],
)
def test_tensors_that_cannot_be(tampered: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", tampered)
        archive.writestr("x/data/0", bytes(16))
    _refused(path, "damaged")
