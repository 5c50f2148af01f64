"""Where the official models are published: files, checksums, licences. Data in `model_catalogue.json`, read here.

`VIDEOSEG_CATALOGUE` names a JSON file of the same form whose entries take the place of those of the same name: for a
mirror inside a company, or for files that have moved.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from videoseg.errors import InputError

CATALOGUE_VARIABLE = "VIDEOSEG_CATALOGUE"


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms somebody's weights are given."""

    title: str
    holder: str
    terms: str
    """What matters of it, for a person in a hurry; the text at `url` is what counts."""
    url: str


@dataclass(frozen=True, slots=True)
class OfficialFile:
    """One published file."""

    role: Literal["odise", "stable-diffusion", "clip"]
    name: str
    url: str
    sha256: str
    """Hexadecimal; where only its beginning is published, that."""
    bytes: int
    """About."""
    page: str
    """Where a person gets it with a browser."""
    licence: Licence


@dataclass(frozen=True, slots=True)
class OfficialModel:
    """A model that is made of published files."""

    name: str
    files: tuple[OfficialFile, ...]
    size: str | Mapping[str, Any]
    """A name in `odise_frame.sizes`, or the object of a size file."""
    training_labels: str
    """The label set whose names the model was trained on."""
    training: str
    """What it was trained on, for a person."""

    @property
    def licences(self) -> tuple[Licence, ...]:
        return tuple(dict.fromkeys(file.licence for file in self.files))


def official_models() -> dict[str, OfficialModel]:
    """The official models by name.

    Raises:
        InputError: the file that VIDEOSEG_CATALOGUE names cannot be read.
    """
    data = json.loads((files("pipelines") / "model_catalogue.json").read_text(encoding="utf-8"))
    other = os.environ.get(CATALOGUE_VARIABLE)
    if not other:
        return _parse(data)
    try:
        for section, entries in json.loads(Path(other).read_text(encoding="utf-8")).items():
            data[section] |= entries
        return _parse(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The catalogue {other} (named by {CATALOGUE_VARIABLE}) cannot be read: {type(error).__name__}: {error}. "
            "Mend it, or unset the variable."
        ) from None


def licence_text(model: OfficialModel) -> str:
    """What stands beside the weights: which file is under which licence."""
    lines = [f"The weights of {model.name} were made from files of others, each under its own licence.", ""]
    for file in model.files:
        licence = file.licence
        lines += [file.name, f"  {licence.title}", f"  {licence.holder}", f"  {licence.terms}", f"  {licence.url}"]
        lines += [f"  from {file.page}", ""]
    return "\n".join(lines)


def _parse(data: Mapping[str, Any]) -> dict[str, OfficialModel]:
    licences = {key: Licence(**fields) for key, fields in data["licences"].items()}
    known = {
        key: OfficialFile(**{**fields, "licence": licences[fields["licence"]]}) for key, fields in data["files"].items()
    }
    return {
        name: OfficialModel(
            name=name,
            files=tuple(known[key] for key in fields["files"]),
            size=fields["size"],
            training_labels=fields["training_labels"],
            training=fields["training"],
        )
        for name, fields in data["models"].items()
    }
