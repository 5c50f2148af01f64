"""The published files of a full-size model, generated: their containers, their names, and weights by the goldens' rule.

An ODISE checkpoint as detectron2 writes it, Stable Diffusion as Lightning does (with a callback and an OmegaConf node
in it) and as a diffusers folder, CLIP as OpenAI's TorchScript archive.
"""

import json
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from golden_rules import weight
from safetensors.torch import save_file
from torch import Tensor, nn

from odise_frame import released_keys
from odise_frame.checkpoint_files.fitting import part_shapes
from odise_frame.sizes import OdiseSize

State = dict[str, Tensor]


def _value(key: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(weight(key, shape).copy())


def odise_state(size: OdiseSize) -> State:
    """What the ODISE checkpoint holds: the trained parts, and the classes' weights in the loss."""
    state = {}
    for name, shape in part_shapes(size)["odise"].items():
        key = released_keys.odise_key(name, size.supervision)
        assert key is not None
        state[key] = _value(key, shape)
    state["criterion.empty_weight"] = torch.ones(134 if size.supervision == "label" else 2)
    return state


def diffusion_state(size: OdiseSize) -> State:
    """What Stable Diffusion's file holds, by its own names: three networks and the constants of the schedule."""
    shapes = part_shapes(size)
    state = {"betas": torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, "model_ema.decay": torch.tensor(0.9999)}
    keys = {
        "unet": lambda name: f"model.diffusion_model.{released_keys.unet_key(name)}",
        "autoencoder": lambda name: f"first_stage_model.{released_keys.autoencoder_key(name)}",
        "prompt_encoder": lambda name: f"cond_stage_model.transformer.{released_keys.prompt_encoder_key(name)}",
    }
    for part, key_of in keys.items():
        for name, shape in shapes[part].items():
            key = key_of(name)
            # The autoencoder's attention is made of 1x1 convolutions there.
            convolution = part == "autoencoder" and "mid.attn_1" in key and len(shape) == 2
            # A matrix and the kernel of a 1x1 convolution have the same values by the rule.
            state[key] = _value(f"ldm.{key}", (*shape, 1, 1) if convolution else shape)
    state["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return state


def clip_state(size: OdiseSize) -> State:
    """What OpenAI's CLIP holds."""
    return {name: _value(f"clip.{name}", shape) for name, shape in part_shapes(size)["clip"].items()}


def as_openai_stores_it(state: Mapping[str, Tensor]) -> State:
    """Matrices in half precision, the rest in single."""
    return {
        name: value.half() if value.ndim >= 2 and "embedding" not in name else value for name, value in state.items()
    }


# --- containers -------------------------------------------------------------------------------------------------------


def save_odise(path: Path, state: State) -> Path:
    torch.save({"model": state, "trainer": {"iteration": 92187, "hooks": [None]}, "iteration": 92187}, path)
    return path


def save_diffusion(path: Path, state: State) -> Path:
    """With what Lightning and OmegaConf leave in a checkpoint; neither needs to be installed."""
    with _foreign_classes() as (callback, config):
        monitor = callback()
        monitor.__dict__.update(monitor="val/loss_simple_ema", best_model_score=torch.tensor(0.25))
        node = config()
        node.__dict__.update(_content={"target": "ldm.models.diffusion.ddpm.LatentDiffusion"}, _parent=None)
        torch.save(
            {
                "epoch": 3,
                "global_step": 440000,
                "pytorch-lightning_version": "1.4.2",
                "state_dict": state,
                "callbacks": {callback: {"monitor": monitor}},
                "lr_schedulers": [{"base_lrs": [1e-4]}],
                "hyper_parameters": node,
            },
            path,
        )
    return path


def save_diffusers(folder: Path, size: OdiseSize, state: Mapping[str, Tensor], *, old: bool = False) -> Path:
    """The same weights in diffusers' layout; `old`: with the names and the pickles of 2022."""
    shapes = part_shapes(size)
    for part, there in (("unet", "unet"), ("autoencoder", "vae"), ("prompt_encoder", "text_encoder")):
        (folder / there).mkdir(parents=True)
        tensors = {}
        for name, shape in shapes[part].items():
            if part == "unet":
                key, ours = f"model.diffusion_model.{released_keys.unet_key(name)}", name
            elif part == "autoencoder":
                key = f"first_stage_model.{released_keys.autoencoder_key(name)}"
                ours = released_keys.diffusers_keys(part, name)[1 if old else 0].removeprefix("vae.")
            else:
                key = f"cond_stage_model.transformer.{released_keys.prompt_encoder_key(name)}"
                ours = released_keys.prompt_encoder_key(name)
            tensors[ours] = state[key].reshape(shape).clone()
        stem = "model" if there == "text_encoder" else "diffusion_pytorch_model"
        if old:
            torch.save(tensors, folder / there / f"{'pytorch_model' if stem == 'model' else stem}.bin")
        else:
            save_file(tensors, folder / there / f"{stem}.safetensors")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    return folder


class ScriptPart(nn.Module):
    """A module of an archive, with whatever weights are put into it."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_clip_script(path: Path, state: Mapping[str, Tensor]) -> Path:
    """A TorchScript archive of nested modules with these parameters, as `torch.jit.save` writes it."""
    root = _module(state)
    root.input_resolution = torch.tensor(336)
    root.context_length = torch.tensor(77)
    root.vocab_size = torch.tensor(49408)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(root), path)
    return path


def _module(state: Mapping[str, Tensor]) -> Any:
    module = ScriptPart()
    children: dict[str, dict[str, Tensor]] = {}
    for name, value in state.items():
        first, _, rest = name.partition(".")
        if rest:
            children.setdefault(first, {})[rest] = value
        else:
            module.register_parameter(first, nn.Parameter(value, requires_grad=False))
    for first, inner in children.items():
        if all(name[0].isdecimal() for name in inner):
            blocks: dict[int, dict[str, Tensor]] = {}
            for name, value in inner.items():
                number, _, rest = name.partition(".")
                blocks.setdefault(int(number), {})[rest] = value
            module.add_module(first, nn.ModuleList(_module(blocks[i]) for i in sorted(blocks)))
        else:
            module.add_module(first, _module(inner))
    return module


@contextmanager
def _foreign_classes() -> Iterator[tuple[type, type]]:
    """Classes of packages that are not installed, for as long as something is pickled."""
    names = ("pytorch_lightning.callbacks.model_checkpoint", "omegaconf.dictconfig")
    kinds = (type("ModelCheckpoint", (), {"__module__": names[0]}), type("DictConfig", (), {"__module__": names[1]}))
    before = {}
    for name, kind in zip(names, kinds, strict=True):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            module = ".".join(parts[:end])
            before.setdefault(module, sys.modules.get(module))
            sys.modules[module] = ModuleType(module)
        setattr(sys.modules[name], kind.__name__, kind)
    try:
        yield kinds
    finally:
        for module, was in before.items():
            if was is None:
                del sys.modules[module]
            else:
                sys.modules[module] = was
