"""The official files of a full-size model into a model folder of ours: once, tensor by tensor.

A conversion writes into a folder beside its target, part by part, and keeps a record of the finished ones; when it is
killed, the next one with the same files goes on behind the last finished part. The target appears in one step.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from odise_frame.checkpoint_files.fitting import PART_ROLES, ROLE_NAMES, Origin, fit, part_shapes
from odise_frame.checkpoint_files.locking import alone
from odise_frame.checkpoint_files.recognition import Role
from odise_frame.checkpoint_files.safetensors_file import write_safetensors
from odise_frame.checkpoint_files.sources import (
    DIFFUSERS_PARTS,
    Weights,
    diffusers_file,
    is_diffusers_folder,
    open_weights_file,
)
from odise_frame.checkpoint_files.weights_file import file_digest
from odise_frame.checkpoints import EMPTY_PROMPT, ModelInfo, read_info, write_info
from odise_frame.prompt_encoder import build_prompt_encoder, encode_prompts
from odise_frame.quirks import PUBLISHED
from odise_frame.sizes import OdiseSize, size_to_json
from odise_frame.tokenizer import Tokenizer
from videoseg.errors import InputError, VideosegError, is_disk_full

_RECORD = "conversion.json"

OnProgress = Callable[[int, int], None]
"""Called with bytes written and bytes in all."""


@dataclass(frozen=True, slots=True)
class Source:
    """One of the official files."""

    path: Path | None
    """The file, or a folder of diffusers; None where another installed model was made from it, see `convert`."""
    sha256: str
    """Of the file; see `source_digest`."""


def source_digest(path: Path) -> str:
    """SHA-256 of a file; of a diffusers folder, that of the digests of its three files of weights."""
    if is_diffusers_folder(path):
        return sha256("".join(file_digest(diffusers_file(path, part)) for part in DIFFUSERS_PARTS).encode()).hexdigest()
    return file_digest(path)


def convert(
    target: Path,
    size: OdiseSize,
    sources: Mapping[Role, Source],
    *,
    training_names: Iterable[str],
    training: Mapping[str, Any],
    beside: Mapping[str, str] | None = None,
    relatives: Sequence[Path] = (),
    on_progress: OnProgress = lambda done, total: None,
) -> ModelInfo:
    """Makes a model folder from official files; it holds the weights in the types that they have there.

    Args:
        target: the folder to be; what is there is replaced once everything else is done.
        size: with a prompt encoder, which runs here once for the empty prompt and is not stored.
        sources: for each role.
        training_names: all names of the categories that the model was trained on.
        training: facts for people.
        beside: name -> text of further files for the folder (licences).
        relatives: folders of installed models; parts that were made from the same files are linked or copied.

    Raises:
        InputError: files that don't fit, weights that are not finite, no room on the disk.
        VideosegError: another process is converting the same model.
    """
    key = sha256(
        json.dumps([size_to_json(size), {role: sources[role].sha256 for role in sorted(sources)}]).encode()
    ).hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with _only_one(target), ExitStack() as files, _room(target):
        opened = {
            role: files.enter_context(closing(open_weights_file(source.path)))
            for role, source in sources.items()
            if source.path is not None
        }
        shapes = part_shapes(size)
        origins: dict[str, dict[str, Origin]] = {}
        # Everything is checked before anything is written.
        for role, weights in opened.items():
            origins |= fit(size, shapes, role, weights)
        work = _Work(target.with_name(f"{target.name}.partial"), key)
        for part in shapes:
            role = PART_ROLES[part]
            if part not in origins and not work.adopt(_file(part), role, sources[role].sha256, relatives):
                raise InputError(f"{ROLE_NAMES[role]} is needed to make {size.name}, and was not given.")
        waiting = [part for part in origins if not work.is_finished(_file(part))]
        total = sum(_bytes(origins[part], opened[PART_ROLES[part]]) for part in waiting if part != "prompt_encoder")
        _check_room(target, total)
        done = 0

        def wrote(count: int) -> None:
            nonlocal done
            done += count
            on_progress(done, total)

        for part in waiting:
            weights = opened[PART_ROLES[part]]
            if part == "prompt_encoder":
                work.write(_file(part), {EMPTY_PROMPT: _empty_prompt(size, origins[part], weights)}, wrote)
            else:
                work.write_part(_file(part), origins[part], weights, wrote)
        info = ModelInfo(
            size,
            PUBLISHED,
            {_file(part): work.finished[_file(part)] for part in shapes},
            tuple(sorted(set(training_names))),
            dict(training),
            {role: sources[role].sha256 for role in sorted(sources)},
        )
        for name, text in (beside or {}).items():
            (work.folder / name).write_text(text, encoding="utf-8")
        write_info(work.folder, info)
        work.become(target)
    return info


def unfinished(target: Path) -> bool:
    """Whether a conversion to this folder was begun and not finished."""
    return (target.with_name(f"{target.name}.partial") / _RECORD).is_file()


def _file(part: str) -> str:
    return f"{'empty_prompt' if part == 'prompt_encoder' else part}.safetensors"


class _Work:
    """The folder in which a model comes to be, and the record of what is finished in it."""

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        self.finished: dict[str, str] = {}
        record = folder / _RECORD
        try:
            data = json.loads(record.read_text(encoding="utf-8"))
            if data["key"] == key:
                self.finished = {name: digest for name, digest in data["finished"].items() if (folder / name).is_file()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # nothing was begun, or nothing that could be gone on with
        if not self.finished and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(exist_ok=True)
        self._record()

    def is_finished(self, name: str) -> bool:
        return name in self.finished

    def write_part(
        self, name: str, origins: Mapping[str, Origin], weights: Weights, wrote: Callable[[int], None]
    ) -> None:
        entries = {ours: (_stored_type(weights, origin), origin.shape) for ours, origin in origins.items()}

        def tensors() -> Iterator[Tensor]:
            for origin in origins.values():
                value = _read(weights, origin)
                yield value
                wrote(value.nbytes)

        self._finish(name, write_safetensors(self.folder / name, entries, tensors()))

    def write(self, name: str, tensors: Mapping[str, Tensor], wrote: Callable[[int], None]) -> None:
        entries = {key: (value.dtype, tuple(value.shape)) for key, value in tensors.items()}
        self._finish(name, write_safetensors(self.folder / name, entries, tensors.values()))
        wrote(0)

    def adopt(self, name: str, role: Role, digest: str, relatives: Sequence[Path]) -> bool:
        """Takes a part from another model that was made from the same file; whether there was one."""
        if self.is_finished(name):
            return True
        for folder in relatives:
            try:
                info = read_info(folder)
            except InputError:
                continue
            if info.sources.get(role) == digest and name in info.sha256 and (folder / name).is_file():
                (self.folder / name).unlink(missing_ok=True)
                try:
                    os.link(folder / name, self.folder / name)
                except OSError:
                    shutil.copyfile(folder / name, self.folder / name)
                self._finish(name, info.sha256[name])
                return True
        return False

    def become(self, target: Path) -> None:
        for leftover in self.folder.glob("*.partial"):
            leftover.unlink()
        old = target.with_name(f"{target.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if target.exists():
            target.rename(old)
        self.folder.rename(target)
        (target / _RECORD).unlink()
        shutil.rmtree(old, ignore_errors=True)

    def _finish(self, name: str, digest: str) -> None:
        self.finished[name] = digest
        self._record()

    def _record(self) -> None:
        partial = self.folder / f"{_RECORD}.partial"
        partial.write_text(json.dumps({"key": self.key, "finished": self.finished}), encoding="utf-8")
        partial.replace(self.folder / _RECORD)


def _stored_type(weights: Weights, origin: Origin) -> torch.dtype:
    """As in the file, but for float64, which no weight of these models needs."""
    found = weights.tensors[origin.key].dtype
    return torch.float32 if found == torch.float64 else found


def _read(weights: Weights, origin: Origin) -> Tensor:
    value = weights.read(origin.key).reshape(origin.shape)
    if not torch.isfinite(value).all():
        raise InputError(
            f"{weights.path} has weights that are no numbers (NaN or infinity) in {origin.key}: it was damaged in "
            "training or conversion. Take the published file."
        )
    return value.to(_stored_type(weights, origin))


def _empty_prompt(size: OdiseSize, origins: Mapping[str, Origin], weights: Weights) -> Tensor:
    """What the prompt encoder says of the empty text, float32 `[1, context_length, context_dim]`."""
    assert size.prompt_encoder is not None
    encoder = build_prompt_encoder(size.prompt_encoder, size.clip)
    state = encoder.state_dict()
    for ours, origin in origins.items():
        state[ours].copy_(_read(weights, origin))
    with torch.no_grad():
        return encode_prompts(encoder, None, Tokenizer(size.clip).prompt_ids([""]))


def _bytes(origins: Mapping[str, Origin], weights: Weights) -> int:
    return sum(torch.Size(origin.shape).numel() * _stored_type(weights, origin).itemsize for origin in origins.values())


def _check_room(target: Path, needed: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise InputError(
            f"The converted weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {target.parent}. "
            "Free some space, or set VIDEOSEG_CACHE to a folder on another disk."
        )


@contextmanager
def _room(target: Path) -> Iterator[None]:
    """A disk that runs full becomes a sentence."""
    try:
        yield
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise VideosegError(
            f"The disk is full ({target.parent}): free some space, or set VIDEOSEG_CACHE to a folder on another disk, "
            "and run the command again; it goes on where it stopped."
        ) from error


def _only_one(target: Path) -> AbstractContextManager[None]:
    """Two conversions to one folder would tread on each other."""
    return alone(target.with_name(f"{target.name}.lock"), f"making {target}")
