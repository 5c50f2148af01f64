"""Model folders: written, read back, and every way in which they can be wrong."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from micro_model import TRAINING_NAMES, VOCABULARY, micro_model, micro_size, save_micro_model
from safetensors.torch import load_file, save_file

from odise_frame.checkpoints import load_model, read_info, verify_model
from odise_frame.segmenter import load_segmenter
from videoseg.errors import InputError

PARTS = ["autoencoder", "unet", "clip", "odise"]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_micro_model(tmp_path_factory.mktemp("original"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "model")
    return tmp_path / "model"


def test_a_model_is_read_back_as_float16_kept_it(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [*(f"{p}.safetensors" for p in PARTS), "model.json"]
    )
    model, info = load_model(folder)
    assert info.size == micro_size()
    assert info.training_names == TRAINING_NAMES
    assert info.training == {"steps": 0}
    assert not model.training
    expected = micro_model().state_dict()
    state = model.state_dict()
    assert set(state) == set(expected)
    for name, value in state.items():
        assert value.dtype == torch.float32
        assert torch.equal(value, expected[name].half().float()), name
    assert model.frozen.empty_prompt.abs().sum() > 0


def mapped_pages(path: Path) -> dict[str, int]:
    """Kilobytes of a file that this process has mapped, by what the kernel says of them."""
    found: dict[str, int] = {}
    here = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if not first.endswith(":"):
            here = rest[-1:] == [str(path)]
        elif here and rest[-1:] == ["kB"]:
            found[first[:-1]] = found.get(first[:-1], 0) + int(rest[0])
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="asks Linux's kernel")
def test_weights_of_the_wanted_type_are_pages_of_their_file(folder: Path) -> None:
    """Several workers then hold them once; what is written to them is the writer's alone."""
    data = json.loads((folder / "model.json").read_text())
    for part in PARTS:
        path = folder / f"{part}.safetensors"
        save_file({name: value.float() for name, value in load_file(path).items()}, path)
        data["sha256"][path.name] = sha256(path.read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(data))
    path = folder / "unet.safetensors"
    stored = path.read_bytes()
    model, _ = load_model(folder)
    expected = micro_model().state_dict()
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name].half().float()), name
    pages = mapped_pages(path)
    assert pages["Rss"] >= len(stored) // 1024
    assert pages["Private_Dirty"] == 0
    assert pages["Anonymous"] == 0
    weight = next(model.frozen.unet.parameters())
    with torch.no_grad():
        weight.fill_(7.0)
    assert 0 < mapped_pages(path)["Anonymous"] < pages["Rss"]
    assert path.read_bytes() == stored
    half, _ = load_model(folder, dtype=torch.bfloat16)
    assert half.frozen.unet.state_dict().keys() == model.frozen.unet.state_dict().keys()
    del model, weight
    assert mapped_pages(path) == {}, "another type lies in memory of its own"


def test_the_trained_part_has_its_file_and_the_frozen_ones_theirs(folder: Path) -> None:
    odise = load_file(folder / "odise.safetensors")
    assert not [name for name in odise if name.startswith("frozen.")]
    assert {name for name, _ in micro_model().trained_parameters()} <= set(odise)


def test_writing_twice_gives_the_same_bytes(original: Path, tmp_path: Path) -> None:
    again = save_micro_model(tmp_path / "again")
    for path in original.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_the_checksum_knows_every_weight(folder: Path, tmp_path: Path) -> None:
    before = read_info(folder).checksum
    model, _ = load_model(folder)
    with torch.no_grad():
        model.frozen.clip.logit_scale.add_(0.5)
    from odise_frame.checkpoints import save_model

    changed = save_model(tmp_path / "changed", model, training_names=TRAINING_NAMES, training={})
    assert changed.checksum != before


def test_weights_that_float16_cannot_hold_are_not_written(tmp_path: Path) -> None:
    from odise_frame.checkpoints import save_model

    model = micro_model()
    with torch.no_grad():
        model.classifier.text_proj.bias[0] = 1e6
    with pytest.raises(ValueError, match=r"odise: classifier\.text_proj\.bias"):
        save_model(tmp_path / "wide", model, training_names=(), training={})


def _refused(folder: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_segmenter(folder, VOCABULARY)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.mark.parametrize("part", PARTS)
def test_one_changed_byte_is_noticed(folder: Path, part: str) -> None:
    path = folder / f"{part}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    _refused(folder, f"{part}.safetensors", "damaged", "SHA-256", "again")


def test_a_missing_file(folder: Path) -> None:
    (folder / "unet.safetensors").unlink()
    _refused(folder, "unet.safetensors", "missing")


def test_a_pointer_in_the_place_of_a_file(folder: Path) -> None:
    (folder / "clip.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    _refused(folder, "clip.safetensors", "git lfs pull")


def _replace(folder: Path, part: str, data: bytes) -> None:
    """Puts another file in place, checksum and all."""
    (folder / f"{part}.safetensors").write_bytes(data)
    info = json.loads((folder / "model.json").read_text())
    info["sha256"][f"{part}.safetensors"] = sha256(data).hexdigest()
    (folder / "model.json").write_text(json.dumps(info))


def test_missing_and_misshapen_tensors_are_named(folder: Path, tmp_path: Path) -> None:
    tensors = load_file(folder / "odise.safetensors")
    del tensors["classifier.null_embed"]
    tensors["classifier.text_proj.bias"] = torch.zeros(3)
    tensors["stranger"] = torch.zeros(1)
    save_file(tensors, tmp_path / "changed.safetensors")
    _replace(folder, "odise", (tmp_path / "changed.safetensors").read_bytes())
    _refused(
        folder,
        "classifier.null_embed is missing",
        "stranger is unknown",
        "classifier.text_proj.bias has the shape [3] instead of [64]",
    )


def _change(folder: Path, tmp_path: Path, value: float, dtype: torch.dtype = torch.float16) -> None:
    tensors = load_file(folder / "unet.safetensors")
    tensors["conv_in.bias"] = torch.full(tensors["conv_in.bias"].shape, value, dtype=dtype)
    save_file(tensors, tmp_path / "changed.safetensors")
    _replace(folder, "unet", (tmp_path / "changed.safetensors").read_bytes())


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_no_numbers(folder: Path, tmp_path: Path, value: float) -> None:
    _change(folder, tmp_path, value)
    _refused(folder, "unet.safetensors", "conv_in.bias", "no numbers")
    assert list(verify_model(folder)) == ["unet.safetensors"]


def test_weights_that_a_type_cannot_hold(folder: Path, tmp_path: Path) -> None:
    _change(folder, tmp_path, 1e6, torch.float32)
    with pytest.raises(InputError, match=r"conv_in\.bias that float16 cannot hold\. Take --dtype bfloat16"):
        load_model(folder, dtype=torch.float16)
    model, _ = load_model(folder, dtype=torch.bfloat16)
    assert model.frozen.unet.conv_in.bias.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_frozen_networks_come_in_the_type_that_is_asked_for(folder: Path, dtype: torch.dtype) -> None:
    model, _ = load_model(folder, dtype=dtype)
    for name, parameter in model.named_parameters():
        in_float32 = not name.startswith("frozen.") or name == "frozen.clip.logit_scale"
        assert parameter.dtype == (torch.float32 if in_float32 else dtype), name
    expected = micro_model().frozen.unet.conv_in.weight.half().to(dtype)
    assert torch.equal(model.frozen.unet.conv_in.weight, expected)


def test_verify_names_every_damaged_file(folder: Path) -> None:
    assert verify_model(folder) == {}
    for part in ("clip", "odise"):
        path = folder / f"{part}.safetensors"
        path.write_bytes(path.read_bytes()[:-4])
    assert set(verify_model(folder)) == {"clip.safetensors", "odise.safetensors"}


def test_a_file_that_is_no_safetensors(folder: Path) -> None:
    _replace(folder, "odise", b"not at all")
    _refused(folder, "odise.safetensors", "not a safetensors file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ("model.json", "damaged")),
        ("[]", ("model.json", "format version")),
        ('{"format_version": 7}', ("model.json", "format version 7")),
        ('{"format_version": 1}', ("model.json", "incomplete")),
    ],
)
def test_a_damaged_description(folder: Path, text: str, words: tuple[str, ...]) -> None:
    (folder / "model.json").write_text(text)
    _refused(folder, *words)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    _refused(tmp_path, "not a model", "model.json")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("smal", ("no model 'smal'", "small", "odise-label")),
        ("odise-label", ("not installed", "small")),
        ("odise-caption", ("not installed",)),
    ],
)
def test_models_that_are_not_there(
    name: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VIDEOSEG_CACHE", str(tmp_path))
    with pytest.raises(InputError) as caught:
        load_segmenter(name, VOCABULARY)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("device", ["cuda:99", "toaster"])
def test_devices_that_are_not_there(folder: Path, device: str) -> None:
    with pytest.raises(InputError, match=f"device '{device}'.*--device cpu"):
        load_segmenter(folder, VOCABULARY, device=device)
