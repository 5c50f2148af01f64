"""`Manifest`: what a run is made of, written before its first frame and never changed.

All that a result depends on is here; when and where the run happened is in `run.json`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from fractions import Fraction
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from videoseg.errors import InputError
from videoseg.protocols import SourceInfo
from videoseg.vocabulary import Vocabulary

FORMAT_VERSION = 1
"""Grows when an older reader would misread a newer folder."""

FORMAT: Literal["videoseg-run"] = "videoseg-run"
"""By this word in `manifest.json` a folder is known as ours."""


class ChunkPlan(BaseModel):
    """One chunk: the selected frames `start` to `stop`, computed from `start - overlap` on to warm up."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=0)
    start: int = Field(ge=0)
    """Number of the first frame that counts (frames are counted after sampling)."""
    stop: int | None
    """Exclusive; None where the length of the source is unknown (then it is the last chunk)."""
    overlap: int = Field(default=0, ge=0)
    """Frames computed before `start`: they warm up cache and tracker and let stitching compare, and don't count."""

    @model_validator(mode="after")
    def _check(self) -> "ChunkPlan":
        if self.overlap > self.start:
            raise ValueError(f"chunk {self.number} starts at {self.start} and cannot overlap {self.overlap} frames")
        if self.stop is not None and self.stop < self.start:
            raise ValueError(f"chunk {self.number} stops at {self.stop}, before its start {self.start}")
        return self


class Manifest(BaseModel):
    """All that the result of a run depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["videoseg-run"] = FORMAT
    format_version: int = FORMAT_VERSION
    videoseg: str = ""
    """Version of the program that wrote the folder."""
    model: dict[str, str]
    """`Segmenter.describe()`: name, checksum of the weights, settings that change results."""
    tracker: dict[str, str]
    """`Tracker.describe()`."""
    vocabulary: list[dict[str, Any]]
    """`Vocabulary.to_json()`."""
    settings: dict[str, Any] = Field(default_factory=dict)
    """Everything the user chose that changes results (sampling, range, batch, …), JSON-ready."""
    profile: dict[str, Any] = Field(default_factory=dict)
    """The numeric profile: batch, threads, dtype, device class, library versions, JSON-ready."""
    source: dict[str, Any]
    """`source_to_json(SourceInfo)`."""
    chunk_plan: tuple[ChunkPlan, ...]
    embeddings: bool = True
    """Whether the segment shards hold `Segment.embedding` (float16)."""
    open_vocabulary: bool = False
    """Whether the segment shards hold `Segment.open_vocabulary` (float16): needed to classify a run again."""

    @model_validator(mode="after")
    def _check(self) -> "Manifest":
        end: int | None = None
        for i, chunk in enumerate(self.chunk_plan):
            if chunk.number != i:
                raise ValueError(f"chunks must be numbered 0, 1, …, found {chunk.number} at place {i}")
            if i and chunk.start != end:
                raise ValueError(f"chunk {i} starts at {chunk.start}, the one before stops at {end}")
            end = chunk.stop
        return self

    @classmethod
    def of(
        cls,
        *,
        model: Mapping[str, str],
        tracker: Mapping[str, str],
        vocabulary: Vocabulary,
        source: SourceInfo,
        chunk_plan: tuple[ChunkPlan, ...] | list[ChunkPlan],
        settings: Mapping[str, Any] | None = None,
        profile: Mapping[str, Any] | None = None,
        embeddings: bool = True,
        open_vocabulary: bool = False,
    ) -> "Manifest":
        """A manifest from the objects of the program."""
        import videoseg

        return cls(
            videoseg=videoseg.__version__,
            model=dict(model),
            tracker=dict(tracker),
            vocabulary=vocabulary.to_json(),
            settings=dict(settings or {}),
            profile=dict(profile or {}),
            source=source_to_json(source),
            chunk_plan=tuple(chunk_plan),
            embeddings=embeddings,
            open_vocabulary=open_vocabulary,
        )

    @property
    def stream(self) -> str:
        """Name of the stream of every frame of the run."""
        return str(self.source["stream"])

    @property
    def source_info(self) -> SourceInfo:
        return source_from_json(self.source)

    def to_json_text(self) -> str:
        """The content of `manifest.json`: the same text for the same manifest."""
        return json_text(self.model_dump(mode="json"))

    @classmethod
    def from_json_text(cls, text: str, where: str) -> "Manifest":
        """The inverse of `to_json_text`.

        Args:
            where: the file it came from, for messages.

        Raises:
            InputError: not a manifest of ours, damaged, or of a newer version.
        """
        try:
            data = json.loads(text)
        except ValueError:
            raise InputError(f"{where} is not JSON: this is not a run folder of videoseg, or it is damaged.") from None
        if not is_manifest(data):
            raise InputError(f"{where} is not the manifest of a videoseg run.")
        version = data.get("format_version")
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise InputError(
                f"{where} has format version {version}, this videoseg reads up to {FORMAT_VERSION}. Update videoseg."
            )
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the whole"
            raise InputError(f"{where} is damaged: {place}: {first['msg']}.") from None


def is_manifest(data: object) -> bool:
    """Whether parsed JSON says of itself that it is the manifest of a run."""
    return isinstance(data, dict) and data.get("format") == FORMAT


def source_to_json(info: SourceInfo) -> dict[str, Any]:
    """A JSON-ready object; fractions become text such as `30000/1001`."""
    return {
        key: str(value) if isinstance(value, Fraction) else list(value) if isinstance(value, tuple) else value
        for key, value in asdict(info).items()
    }


def source_from_json(data: Mapping[str, Any]) -> SourceInfo:
    """The inverse of `source_to_json`; unknown fields are left out."""
    known = {field.name for field in fields(SourceInfo)}
    values = {key: value for key, value in data.items() if key in known}
    for key in ("rate", "sample_aspect_ratio"):
        if values.get(key) is not None:
            values[key] = Fraction(values[key])
    if "oddities" in values:
        values["oddities"] = tuple(values["oddities"])
    return SourceInfo(**values)


def json_text(data: object) -> str:
    """JSON with sorted keys and a fixed layout; plain ASCII, so that any file name survives."""
    return json.dumps(data, indent=2, sort_keys=True, ensure_ascii=True, allow_nan=False) + "\n"
