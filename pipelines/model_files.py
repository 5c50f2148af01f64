"""Official models onto this machine: found or downloaded, converted, verified."""

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from odise_frame.installed_models import cache_folder, installed_folder, models_folder
from pipelines.downloads import download
from pipelines.model_catalogue import OfficialFile, OfficialModel, licence_text, official_models
from videoseg.errors import InputError
from videoseg.label_sets import rows

if TYPE_CHECKING:
    from odise_frame.checkpoint_files.conversion import Source
    from odise_frame.checkpoint_files.recognition import Recognised, Role

LICENCES_FILE = "LICENCES.txt"

OnProgress = Callable[[str, int, int | None], None]
"""What is done (`download NAME`, `check NAME`, `convert`), bytes done, and bytes in all where that is known."""
OnNote = Callable[[str], None]

_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


def official_model(name: str) -> OfficialModel:
    """The official model of that name; InputError names all of them."""
    models = official_models()
    if name not in models:
        raise InputError(f"There is no official model {name!r}. The known ones are: {', '.join(models)}.")
    return models[name]


def downloads_folder() -> Path:
    """Where published files wait for their conversion."""
    return cache_folder() / "downloads"


# --- fetching ---------------------------------------------------------------------------------------------------------


def fetch(
    name: str, *, from_folder: Path | None = None, keep: bool = False, on_progress: OnProgress, on_note: OnNote
) -> Path:
    """Makes an official model usable: finds or downloads its files, checks and converts them.

    Args:
        name: of the model.
        from_folder: where the files lie already; nothing is downloaded then.
        keep: leave the downloaded files where they are once they are converted.

    Returns:
        the folder of the model.

    Raises:
        InputError: unknown name; a file that cannot be had, is damaged or another one.
        VideosegError: no connection, no room.
    """
    model = official_model(name)
    folder = installed_folder(name)
    if folder is not None:
        on_note(f"{name} is installed already, in {folder}.")
        return folder
    with _alone():
        if from_folder is not None:
            found = _found_in([from_folder])
            return _import(model, found, verified=True, on_progress=on_progress, on_note=on_note)
        return _fetch(model, keep, on_progress)


def _fetch(model: OfficialModel, keep: bool, on_progress: OnProgress) -> Path:
    from odise_frame.checkpoint_files.conversion import Source

    sources: dict[Role, Source] = {}
    downloaded = []
    for file in model.files:
        digest = _installed_digest(file)
        if digest is not None:
            sources[file.role] = Source(None, digest)
            continue
        path = _cached(file)
        if path is None:
            path = downloads_folder() / file.name
            if not path.is_file():
                download(
                    file.url,
                    path,
                    sha256_prefix=file.sha256,
                    by_hand=_by_hand(file),
                    on_progress=partial(on_progress, f"download {file.name}"),
                )
                path.with_name(f"{file.name}.licence.txt").write_text(
                    f"{file.licence.title}\n{file.licence.holder}\n{file.licence.terms}\n{file.licence.url}\n",
                    encoding="utf-8",
                )
            downloaded.append(path)
        sources[file.role] = Source(path, _check(file, path, on_progress))
    target = _convert(model, sources, on_progress)
    if not keep:
        for path in downloaded:
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.licence.txt").unlink(missing_ok=True)
    return target


def _alone() -> AbstractContextManager[None]:
    """Two downloads of one file would tread on each other."""
    from odise_frame.checkpoint_files.locking import alone

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return alone(folder / "fetch.lock", f"fetching models into {folder}")


def _installed_digest(file: OfficialFile) -> str | None:
    """The checksum of this file where an installed model was made from it."""
    from odise_frame.checkpoints import read_info

    if file.role == "odise":
        return None
    for folder in _installed():
        try:
            digest = read_info(folder).sources.get(file.role, "")
        except InputError:
            continue
        if digest.startswith(file.sha256):
            return digest
    return None


def _installed() -> list[Path]:
    return [folder for name in official_models() if (folder := installed_folder(name)) is not None]


def _cached(file: OfficialFile) -> Path | None:
    """The file where other programs keep it: the caches of the Hugging Face hub, of CLIP and open_clip, ODISE's own."""
    places = [Path.home() / ".cache" / "clip" / file.name]
    zoo = os.environ.get("ODISE_MODEL_ZOO")
    if zoo:
        places.append(Path(zoo) / file.name)
    for place in places:
        if place.is_file():
            return place
    if file.url.startswith("https://huggingface.co/") and "/resolve/main/" in file.url:
        from huggingface_hub import try_to_load_from_cache

        repository, name = file.url.removeprefix("https://huggingface.co/").split("/resolve/main/")
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def _check(file: OfficialFile, path: Path, on_progress: OnProgress) -> str:
    """The checksum of a file that has the published name; InputError where it is another."""
    from odise_frame.checkpoint_files.conversion import source_digest

    size = path.stat().st_size
    on_progress(f"check {file.name}", 0, size)
    digest = source_digest(path)
    on_progress(f"check {file.name}", size, size)
    if not digest.startswith(file.sha256):
        raise InputError(
            f"{path} has the wrong checksum: its SHA-256 begins with {digest[:12]}, that of the published file with "
            f"{file.sha256[:12]}. It is damaged, cut off or another file: remove it and run the command again, or read "
            f"it nonetheless with `videoseg models import --unverified`. {_by_hand(file)}"
        )
    return digest


def _by_hand(file: OfficialFile) -> str:
    return (
        f"Get {file.name} with a browser from {file.page}, and run `videoseg models import` with it and the other "
        "files."
    )


# --- importing --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    recognised: "Recognised"


def import_files(
    paths: Sequence[Path], *, verified: bool = True, on_progress: OnProgress, on_note: OnNote
) -> tuple[str, Path]:
    """Makes an official model usable from files that are here; which model, the files tell.

    Args:
        paths: files, diffusers folders, or folders with files in them.
        verified: hold files to the published checksums. Files that are published without one (a diffusers folder,
            open_clip's) are taken when names and shapes fit.

    Returns:
        name and folder of the model.

    Raises:
        InputError: files that are missing, damaged or of another model.
    """
    found = _found_in(paths)
    kinds = {each.recognised.supervision for each in found if each.recognised.role == "odise"}
    models = [model for model in official_models().values() if _supervision(model) in kinds]
    if len(models) != 1:
        seen = "; ".join(f"{each.path.name} is {each.recognised.what}" for each in found) or "no file of weights"
        raise InputError(
            f"{'Several ODISE checkpoints are' if models else 'No ODISE checkpoint is'} among the files ({seen}). Name "
            "one, with Stable Diffusion v1.3 and CLIP ViT-L/14-336 where no installed model has them already."
        )
    (model,) = models
    with _alone():
        return model.name, _import(model, found, verified=verified, on_progress=on_progress, on_note=on_note)


def _supervision(model: OfficialModel) -> Literal["label", "caption"]:
    from odise_frame.sizes import load_size, parse_size

    size = load_size(model.size) if isinstance(model.size, str) else parse_size(dict(model.size))
    return size.supervision


def _found_in(paths: Sequence[Path]) -> list[_Found]:
    from contextlib import closing

    from odise_frame.checkpoint_files.recognition import recognise
    from odise_frame.checkpoint_files.sources import open_weights_file

    found = []
    for path in _candidates(paths):
        with closing(open_weights_file(path)) as weights:
            found.append(_Found(path, recognise(weights.tensors)))
    return found


def _candidates(paths: Iterable[Path]) -> list[Path]:
    from odise_frame.checkpoint_files.sources import is_diffusers_folder

    candidates: list[Path] = []
    for path in paths:
        if path.is_dir() and not is_diffusers_folder(path):
            inside = sorted(path.iterdir())
            chosen = [
                inner
                for inner in inside
                if is_diffusers_folder(inner) or (inner.is_file() and inner.suffix in _SUFFIXES)
            ]
            if not chosen:
                raise InputError(f"{path} has no files of weights in it ({', '.join(_SUFFIXES)}). Name the files.")
            candidates += chosen
        else:
            candidates.append(path)
    return candidates


def _import(
    model: OfficialModel, found: Sequence[_Found], *, verified: bool, on_progress: OnProgress, on_note: OnNote
) -> Path:
    from odise_frame.checkpoint_files.conversion import Source, source_digest

    supervision = _supervision(model)
    sources: dict[Role, Source] = {}
    for file in model.files:
        fitting = [
            each
            for each in found
            if each.recognised.role == file.role and each.recognised.supervision in (None, supervision)
        ]
        if not fitting:
            digest = _installed_digest(file)
            if digest is None:
                seen = (
                    "; ".join(f"{each.path.name} is {each.recognised.what}" for each in found) or "no file of weights"
                )
                raise InputError(f"{file.name} for {model.name} is not among the files ({seen}). {_by_hand(file)}")
            sources[file.role] = Source(None, digest)
            continue
        # A file with the published name before others that would do.
        each = sorted(fitting, key=lambda each: each.path.name != file.name)[0]
        if not _has_published_form(each.path, file):
            on_note(f"{each.path} has no published checksum; it is held to the names and shapes of its weights alone.")
            digest = source_digest(each.path)
        elif verified:
            digest = _check(file, each.path, on_progress)
        else:
            digest = source_digest(each.path)
            if not digest.startswith(file.sha256):
                on_note(f"{each.path} is not {file.name} as it was published; results may differ from the published.")
        sources[file.role] = Source(each.path, digest)
    return _convert(model, sources, on_progress)


def _has_published_form(path: Path, file: OfficialFile) -> bool:
    """Whether the file is of the kind that has a published checksum."""
    return path.is_file() and (path.name == file.name or path.suffix not in (".safetensors", ".bin"))


def _convert(model: OfficialModel, sources: "dict[Role, Source]", on_progress: OnProgress) -> Path:
    from odise_frame.checkpoint_files.conversion import convert
    from odise_frame.sizes import load_size, parse_size

    size = load_size(model.size) if isinstance(model.size, str) else parse_size(dict(model.size))
    target = models_folder() / model.name
    convert(
        target,
        size,
        sources,
        training_names=[name for row in rows(model.training_labels) for name in row.names],
        training={"data": model.training, "licences": [licence.title for licence in model.licences]},
        beside={LICENCES_FILE: licence_text(model)},
        relatives=[folder for folder in _installed() if folder != target],
        on_progress=partial(on_progress, "convert"),
    )
    return target


# --- verifying --------------------------------------------------------------------------------------------------------


def verify(name: str) -> tuple[Path, dict[str, str]]:
    """Reads all files of an installed model and holds them to checksums, names and shapes.

    Returns:
        the model's folder, and what is wrong: file -> sentence; empty where all is well.

    Raises:
        InputError: no such model, or not installed.
    """
    from odise_frame.checkpoints import verify_model
    from pipelines.models import weights_folder

    folder = weights_folder(name)
    if folder is None and Path(name).is_dir():
        folder = Path(name)
    if folder is None:
        from pipelines.models import KnownModel, find_model

        known = find_model(name)
        assert isinstance(known, KnownModel)
        if not known.uses_torch:
            raise InputError(f"The model {name!r} has no weights to verify.")
        raise InputError(f"The model {name!r} is not installed: {known.how_to_get}.")
    return folder, verify_model(folder)
