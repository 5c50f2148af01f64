"""Going on with a run that ended early: whether it is the same run, and what of it is left to do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from videoseg.errors import InputError
from videoseg.store.folder import CHUNKS, MANIFEST, RunFolder
from videoseg.store.manifest import ChunkPlan, Manifest
from videoseg.store.reader import Run, open_run
from videoseg.vocabulary import Vocabulary

_AGAIN = "Give what the run was begun with, or name a new folder with -o."


def require_same(there: Manifest, here: Manifest, location: str, *, any_profile: bool = False) -> str:
    """Refuses to go on where the rest would not be the rest of the same result.

    Args:
        any_profile: another numeric profile is fine: results may then differ in their last bits.

    Returns:
        A note where the profile differs, else nothing.

    Raises:
        InputError: another source, model, vocabulary, settings or profile; it names what differs.
    """
    for what, before, now in (
        ("source", there.source, here.source),
        ("vocabulary", {"": there.vocabulary}, {"": here.vocabulary}),
        ("settings", there.settings, here.settings),
        ("model", there.model, here.model),
        ("tracker", there.tracker, here.tracker),
        ("chunk plan", {"": len(there.chunk_plan)}, {"": len(here.chunk_plan)}),
    ):
        if _plain(before) != _plain(now):
            raise InputError(
                f"The run in {location} was begun with another {what}{_differences(before, now)}. {_AGAIN}"
            )
    if _plain(there.profile) == _plain(here.profile):
        return ""
    different = _differences(_flat(there.profile), _flat(here.profile))
    if not any_profile:
        raise InputError(
            f"The run in {location} was begun under another numeric profile{different}. The rest would differ from it "
            "in its last bits; add --allow-other-profile if that is fine."
        )
    return f"From here on the run goes on under another numeric profile{different}."


def left_to_do(run: Run, *, redo: tuple[float, float] | None = None) -> list[ChunkPlan]:
    """The chunks that are missing or were ended early.

    Args:
        redo: seconds from and to; chunks with a frame in between are computed again.
    """
    whole = {chunk.number: chunk for chunk in run.chunks if not chunk.partial}
    left = []
    for plan in run.manifest.chunk_plan:
        chunk = whole.get(plan.number)
        if chunk is None or (redo is not None and _meets(chunk, redo)):
            left.append(plan)
    return left


@dataclass(frozen=True, slots=True)
class Begun:
    """What a run was begun with: what the user need not say again."""

    given: Mapping[str, Any] = field(default_factory=dict)
    """What `run.json` says of it (source, model, products); empty where the run was ended before that was written."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """As in the manifest."""
    vocabulary: Vocabulary | None = None
    threads: int | None = None
    dtype: str = "float32"

    @classmethod
    def of(cls, location: str) -> "Begun":
        """Of the run in that folder; of nothing where there is no run yet.

        Raises:
            InputError: the folder is not there, or holds something else.
        """
        folder = RunFolder(location)
        if folder.exists() and not folder.exists(MANIFEST) and not any(folder.names(CHUNKS)):
            return cls()
        run = open_run(location)
        given = run.report.get("given")
        profile = run.manifest.profile
        threads = profile.get("threads") if "torch" in profile.get("versions", {}) else None
        return cls(
            given=given if isinstance(given, dict) else {},
            settings=run.manifest.settings,
            vocabulary=run.vocabulary,
            threads=threads if isinstance(threads, int) else None,
            dtype=str(profile.get("dtype", "float32")),
        )

    @classmethod
    def of_files(cls, data: Mapping[str, Any]) -> "Begun":
        """Of a run over many files, from its `files.json`."""
        given, profile = dict(data["given"]), data["profile"]
        given["source"] = given.get("list", given.get("source"))
        threads = profile.get("threads") if "torch" in profile.get("versions", {}) else None
        return cls(
            given=given,
            settings=data["settings"],
            vocabulary=Vocabulary.from_json(data["vocabulary"]),
            threads=threads if isinstance(threads, int) else None,
            dtype=str(profile.get("dtype", "float32")),
        )


def _meets(chunk: Any, redo: tuple[float, float]) -> bool:
    totals = chunk.track_totals()
    if not totals:
        return True  # nothing was seen in it, so its times are not known: cheap, and safe
    first = min(total.first_time for total in totals)
    last = max(total.last_time for total in totals)
    return bool(first < redo[1] and last >= redo[0])


def _plain(data: object) -> object:
    return json.loads(json.dumps(data, sort_keys=True, default=str))


def _flat(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key} ")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """` (threads: 2 there, 4 here)`; nothing for what has no names or takes too many words."""
    words = [
        f"{key}: {before.get(key)} there, {now.get(key)} here"
        for key in sorted({*before, *now})
        if key and before.get(key) != now.get(key) and len(f"{before.get(key)}{now.get(key)}") < 120
    ]
    return f" ({'; '.join(words[:3])}{'; …' if len(words) > 3 else ''})" if words else ""
