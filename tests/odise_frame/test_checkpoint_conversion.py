"""Official files into a model folder: every name and shape, values that give the reference's numbers, and what can be
wrong with them."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import official_files as official
import pytest
import torch
from golden_rules import DATA, Golden, tiny_size
from safetensors.torch import load_file, save_file

from odise_frame.checkpoint_files.conversion import Source, convert, source_digest, unfinished
from odise_frame.checkpoint_files.fitting import fit, part_shapes
from odise_frame.checkpoint_files.recognition import Role, recognise
from odise_frame.checkpoint_files.sources import Described
from odise_frame.checkpoints import ModelInfo, load_model, verify_model
from odise_frame.model import Odise
from odise_frame.quirks import PUBLISHED
from odise_frame.sizes import load_size
from videoseg.errors import InputError, VideosegError

Supervision = Literal["label", "caption"]
SIZE = tiny_size("label")
MANIFEST = json.loads(gzip.decompress((DATA / "manifest_names.json.gz").read_bytes()))
"""Names and shapes of the reference's state dict: what its checkpoint holds (`released`) and what it leaves out
(`ignored`)."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Role, Path]:
    """The three files of the tiny model, in their containers."""
    folder = tmp_path_factory.mktemp("official")
    return {
        "odise": official.save_odise(folder / "odise.pth", official.odise_state(SIZE)),
        "stable-diffusion": official.save_diffusion(folder / "sd.ckpt", official.diffusion_state(SIZE)),
        "clip": official.save_clip_script(folder / "clip.pt", official.clip_state(SIZE)),
    }


def sources(files: Mapping[Role, Path]) -> dict[Role, Source]:
    return {role: Source(path, source_digest(path)) for role, path in files.items()}


def make(target: Path, files: Mapping[Role, Path], **options: Any) -> ModelInfo:
    arguments: dict[str, Any] = {"training_names": ("person", "sky"), "training": {"data": "a test"}} | options
    return convert(target, arguments.pop("size", SIZE), sources(files), **arguments)


@pytest.fixture(scope="module")
def converted(files: dict[Role, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("models") / "tiny"
    make(target, files, beside={"LICENCES.txt": "share alike"})
    return target


# --- names and shapes at full size ------------------------------------------------------------------------------------


class Named:
    """A file of which only names and shapes are known."""

    def __init__(self, shapes: Mapping[str, list[int]]) -> None:
        self.path = Path("manifest")
        self.tensors = {name: Described(torch.float32, tuple(shape)) for name, shape in shapes.items()}

    def read(self, name: str) -> torch.Tensor:
        raise AssertionError(name)

    def close(self) -> None:
        pass


def _below(ignored: Mapping[str, list[int]], prefix: str) -> dict[str, list[int]]:
    return {name.removeprefix(prefix): shape for name, shape in ignored.items() if name.startswith(prefix)}


@pytest.mark.parametrize("supervision", ["label", "caption"])
def test_every_name_and_shape_of_the_reference_has_one_place(supervision: Supervision) -> None:
    size = load_size(f"odise-{supervision}")
    shapes = part_shapes(size)
    released, ignored = MANIFEST[supervision]["released"], MANIFEST[supervision]["ignored"]
    head = "category_head" if supervision == "label" else "word_head"
    copies = [_below(ignored, f"{place}.clip.clip.") for place in ("backbone.feature_extractor", head, "clip_head")]
    diffusion = _below(ignored, "backbone.feature_extractor.ldm_extractor.ldm.ldm.")
    # Nothing in the reference is outside of these five.
    others = {"shared_noise", "ldm.uncond_inputs"}
    assert len(ignored) == sum(map(len, copies)) + len(diffusion) + len(others)
    assert set(_below(ignored, "backbone.feature_extractor.ldm_extractor.")) >= others
    # One CLIP serves where the reference has three.
    assert copies[0] == copies[1] == copies[2]

    used: dict[str, set[str]] = {}
    files: dict[Role, dict[str, list[int]]] = {"odise": released, "stable-diffusion": diffusion, "clip": copies[0]}
    for role, names in files.items():
        origins = fit(size, shapes, role, Named(names))
        keys = [origin.key for part in origins.values() for origin in part.values()]
        assert len(keys) == len(set(keys))
        used[role] = set(keys)
        assert used[role] <= set(names)
    assert set(released) - used["odise"] == {"criterion.empty_weight"}
    assert set(copies[0]) == used["clip"]
    constants = set(diffusion) - used["stable-diffusion"]
    assert {name for name in constants if "." in name} == {
        "cond_stage_model.transformer.text_model.embeddings.position_ids"
    }
    assert all(diffusion[name] == [1000] for name in constants if "." not in name)
    assert len(constants) == 13


# --- values at reduced size -------------------------------------------------------------------------------------------


def test_the_reference_numbers_come_out_of_its_files(converted: Path) -> None:
    from golden_runs import assert_all_close, run

    model, info = load_model(converted)
    assert info.size == SIZE
    assert info.quirks == PUBLISHED
    assert set(info.sources) == {"odise", "stable-diffusion", "clip"}
    assert model.frozen.prompt_encoder is None
    golden = Golden("golden_tiny_label_q")
    assert_all_close(golden, run(model, golden, "q"))


def test_one_clip_and_no_text_encoder_in_memory(converted: Path) -> None:
    model, _ = load_model(converted, dtype=torch.bfloat16)
    shapes = part_shapes(SIZE)
    numbers = {part: sum(torch.Size(shape).numel() for shape in names.values()) for part, names in shapes.items()}
    held = {p.data_ptr(): p.numel() for p in model.parameters()}
    assert sum(held.values()) == sum(numbers.values()) - numbers["prompt_encoder"]
    for name, parameter in model.named_parameters():
        in_float32 = not name.startswith("frozen.") or name == "frozen.clip.logit_scale"
        assert parameter.dtype == (torch.float32 if in_float32 else torch.bfloat16)
    assert model.frozen.empty_prompt.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="gone"):
        model.frozen.encode_empty_prompt()


def test_the_folder_says_where_it_is_from(converted: Path) -> None:
    assert sorted(path.name for path in converted.iterdir()) == [
        "LICENCES.txt", "autoencoder.safetensors", "clip.safetensors", "empty_prompt.safetensors", "model.json",
        "odise.safetensors", "unet.safetensors",
    ]  # fmt: skip
    assert [path.name for path in converted.parent.iterdir() if "partial" in path.name] == []
    assert verify_model(converted) == {}
    assert not unfinished(converted)


@pytest.mark.parametrize("old", [False, True])
def test_a_diffusers_folder_gives_the_same_weights(
    files: dict[Role, Path], converted: Path, tmp_path: Path, old: bool
) -> None:
    folder = official.save_diffusers(tmp_path / "sd", SIZE, official.diffusion_state(SIZE), old=old)
    make(tmp_path / "tiny", {**files, "stable-diffusion": folder})
    for part in ("autoencoder", "unet", "empty_prompt"):
        name = f"{part}.safetensors"
        assert (tmp_path / "tiny" / name).read_bytes() == (converted / name).read_bytes()


def test_clip_in_half_precision_and_through_open_clip(files: dict[Role, Path], tmp_path: Path) -> None:
    state = official.as_openai_stores_it(official.clip_state(SIZE))
    half = official.save_clip_script(tmp_path / "ViT-L-14-336px.pt", state)
    save_file(state, tmp_path / "open_clip_model.safetensors")
    make(tmp_path / "a", {**files, "clip": half})
    make(tmp_path / "b", {**files, "clip": tmp_path / "open_clip_model.safetensors"})
    stored = load_file(tmp_path / "a" / "clip.safetensors")
    assert {name: value.dtype for name, value in stored.items()} == {name: v.dtype for name, v in state.items()}
    assert (tmp_path / "a" / "clip.safetensors").read_bytes() == (tmp_path / "b" / "clip.safetensors").read_bytes()
    model, _ = load_model(tmp_path / "a")
    assert torch.equal(model.frozen.clip.visual.proj, state["visual.proj"].float())


def test_the_second_model_shares_what_it_can(files: dict[Role, Path], converted: Path, tmp_path: Path) -> None:
    size = tiny_size("caption")
    odise = official.save_odise(tmp_path / "caption.pth", official.odise_state(size))
    given = sources({**files, "odise": odise})
    for role in ("stable-diffusion", "clip"):
        given[role] = replace(given[role], path=None)  # not downloaded again
    target = tmp_path / "caption"
    convert(target, size, given, training_names=(), training={}, relatives=[tmp_path / "nothing", converted])
    assert (target / "unet.safetensors").samefile(converted / "unet.safetensors") or (
        (target / "unet.safetensors").read_bytes() == (converted / "unet.safetensors").read_bytes()
    )
    model, info = load_model(target)
    assert isinstance(model, Odise)
    assert info.size.supervision == "caption"
    with pytest.raises(InputError, match=r"Stable Diffusion v1\.3 is needed"):
        convert(tmp_path / "alone", size, given, training_names=(), training={})


# --- files that do not fit --------------------------------------------------------------------------------------------


def _refused(files: Mapping[Role, Path], target: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        make(target, files)
    assert not target.exists()
    assert not target.with_name(f"{target.name}.partial").exists()  # nothing was written before all was checked
    for word in words:
        assert word in str(caught.value), str(caught.value)


def _clip_of(width: int, patch: int, side: int) -> dict[str, torch.Tensor]:
    state = official.clip_state(SIZE)
    state["visual.conv1.weight"] = torch.zeros(width, 3, patch, patch)
    state["visual.positional_embedding"] = torch.zeros(1 + (side // patch) ** 2, width)
    return state


def test_checkpoints_of_other_models(files: dict[Role, Path], tmp_path: Path) -> None:
    diffusion = official.diffusion_state(SIZE)
    second = dict(diffusion)
    for name in diffusion:
        if name.endswith("attn2.to_k.weight"):
            second[name] = torch.zeros(diffusion[name].shape[0], 1024)
    painting = diffusion | {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, 9, 3, 3)}
    cases: list[tuple[Role, dict[str, torch.Tensor], tuple[str, ...]]] = [
        ("odise", official.odise_state(tiny_size("caption")), ("category_head.text_proj.weight is missing",
            "looks like the caption-supervised ODISE", "needs the label-supervised ODISE")),
        ("odise", diffusion, ("looks like Stable Diffusion 1", "more like it")),
        ("odise", {"sem_seg_head.pixel_decoder.x": torch.ones(1)}, ("Mask2Former",)),
        ("odise", {"module.a": torch.ones(1)}, ("DataParallel",)),
        ("odise", {"a": torch.ones(1), "b": torch.ones(1)}, ("unknown, 2 tensors such as a, b",)),
        ("stable-diffusion", second, ("looks like Stable Diffusion 2", "needs Stable Diffusion v1.3", "1024")),
        ("stable-diffusion", painting, ("inpainting", "9 input channels")),
        ("stable-diffusion", official.clip_state(SIZE), ("looks like CLIP ViT-128 wide/14",)),
        ("clip", _clip_of(1024, 14, 224), ("CLIP ViT-L/14 for images of 224 pixels", "CLIP ViT-L/14-336")),
        ("clip", _clip_of(768, 32, 224), ("CLIP ViT-B/32 for images of 224 pixels",)),
        ("clip", {"visual.layer1.0.conv1.weight": torch.ones(1)}, ("ResNet",)),
        ("clip", {"text_model.a": torch.ones(1), "vision_model.b": torch.ones(1)}, ("layout of transformers",)),
    ]  # fmt: skip
    for number, (role, state, words) in enumerate(cases):
        path = tmp_path / f"{number}.pth"
        torch.save({"model": state}, path)
        _refused({**files, role: path}, tmp_path / "tiny", str(path), *words)


def test_keys_that_are_missing_misshapen_unexpected_or_no_numbers(files: dict[Role, Path], tmp_path: Path) -> None:
    key = "sem_seg_head.predictor.query_feat.weight"
    good = official.odise_state(SIZE)
    path = tmp_path / "odise.pth"
    cases: list[tuple[dict[str, torch.Tensor], tuple[str, ...]]] = [
        ({name: value for name, value in good.items() if name != key}, (f"{key} is missing", "incomplete")),
        (good | {key: torch.zeros(3, 4)}, (f"{key} has the shape [3, 4] instead of [20, 64]",)),
        (good | {"sem_seg_head.extra": torch.zeros(1)}, ("sem_seg_head.extra is unexpected",)),
        (good | {key: torch.zeros(20, 64, dtype=torch.int8)}, (f"{key} is of the type int8",)),
    ]
    for state, words in cases:
        official.save_odise(path, state)
        _refused({**files, "odise": path}, tmp_path / "tiny", str(path), *words)
    for bad in (float("nan"), float("inf")):
        official.save_odise(path, good | {key: torch.full((20, 64), bad)})
        with pytest.raises(InputError, match=f"no numbers.*{re.escape(key)}"):
            make(tmp_path / "tiny", {**files, "odise": path})
        assert not (tmp_path / "tiny").exists()


def test_what_official_files_may_hold_besides(files: dict[Role, Path], tmp_path: Path) -> None:
    state = official.odise_state(SIZE) | {
        "pixel_mean": torch.zeros(3, 1, 1),
        "category_head.clip.clip.logit_scale": torch.tensor(4.6),
        "backbone.feature_extractor.ldm_extractor.shared_noise": torch.zeros(1),
    }
    make(tmp_path / "tiny", {**files, "odise": official.save_odise(tmp_path / "odise.pth", state)})


def test_recognition_never_fails() -> None:
    for names in ([], ["unet.x", "vae.y"], ["visual.a"], ["model.diffusion_model.x"], ["lora_a.b"], ["conditioner.x"]):
        assert recognise({name: Described(torch.float32, ()) for name in names}).what


# --- interruptions ----------------------------------------------------------------------------------------------------

_CONVERT = """
import json, os, sys, time
from pathlib import Path
from odise_frame.checkpoint_files.conversion import Source, convert
from odise_frame.sizes import parse_size
target, size, files, stop = json.load(sys.stdin)
def progress(done, total):
    if stop and done > stop * total:
        print("here", flush=True)
        time.sleep(60)
sources = {role: Source(Path(path), digest) for role, (path, digest) in files.items()}
convert(Path(target), parse_size(size), sources, training_names=(), training={}, on_progress=progress)
print("done", flush=True)
"""


def _start(target: Path, files: Mapping[Role, Path], stop: float, **options: Any) -> "subprocess.Popen[str]":
    from odise_frame.sizes import size_to_json

    process = subprocess.Popen(
        [sys.executable, "-c", _CONVERT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, **options,
    )  # fmt: skip
    assert process.stdin is not None
    named = {role: (str(source.path), source.sha256) for role, source in sources(files).items()}
    json.dump([str(target), size_to_json(SIZE), named, stop], process.stdin)
    process.stdin.close()
    return process


def test_killed_in_the_middle_the_next_run_finishes(files: dict[Role, Path], converted: Path, tmp_path: Path) -> None:
    target = tmp_path / "tiny"
    process = _start(target, files, stop=0.6)
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"
    with pytest.raises(VideosegError, match="Another process is making"):
        make(target, files)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not target.exists()
    assert unfinished(target)
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tiny.partial").glob("*.safetensors")}
    assert kept
    time.sleep(0.01)
    make(target, files)
    assert not unfinished(target)
    for path in converted.glob("*.safetensors"):
        assert (target / path.name).read_bytes() == path.read_bytes()
    for name, when in kept.items():  # finished parts were not made again
        assert (target / name).stat().st_mtime_ns == when


def test_other_files_start_anew(files: dict[Role, Path], tmp_path: Path) -> None:
    target = tmp_path / "tiny"
    official.save_odise(tmp_path / "bad.pth", official.odise_state(SIZE) | {
        "sem_seg_head.predictor.query_feat.weight": torch.full((20, 64), torch.nan)})  # fmt: skip
    with pytest.raises(InputError, match="no numbers"):
        make(target, {**files, "odise": tmp_path / "bad.pth"})
    assert unfinished(target)
    make(target, files)
    assert verify_model(target) == {}


def test_a_full_disk(files: dict[Role, Path], tmp_path: Path) -> None:
    """A limit on the size of files says `no room` in the middle of a file, as a full disk does."""
    target = tmp_path / "tiny"
    program = _CONVERT.replace(
        "import json", "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20,) * 2)\nimport json", 1
    )
    from odise_frame.sizes import size_to_json

    named = {role: (str(source.path), source.sha256) for role, source in sources(files).items()}
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps([str(target), size_to_json(SIZE), named, 0]),
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert "VideosegError: The disk is full" in done.stderr, done.stderr
    assert not target.exists()
    make(target, files)
    assert verify_model(target) == {}


def test_no_room_is_said_before_anything_is_written(
    files: dict[Role, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1000))  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"take 0\.\d GB, and 0\.0 GB are free .*VIDEOSEG_CACHE"):
        make(tmp_path / "tiny", files)
