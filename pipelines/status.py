"""`read_status`: where a run is, read from its folder; the run knows nothing of it and may be on another machine."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pipelines.many_files import NOT_ENDED, is_files_folder, read_summary
from pipelines.resuming import left_to_do
from videoseg.errors import InputError
from videoseg.store.reader import open_run

STILL_SECONDS = 60.0
"""A driver leaves word every ten seconds while frames come; one that has been silent for so long works on something
large, or has gone."""


@dataclass(frozen=True, slots=True)
class Status:
    """Where a run is."""

    location: str
    state: str
    """`running`, `done`, `failed` (it ended, and something could not be computed), `stopped`, or `begun` (it says
    nothing of itself: it is loading, or it was killed)."""
    frames: int
    total: int | None
    """None where it cannot be known; of a list of files an estimate, until all were opened."""
    chunks_done: int | None
    chunks: int | None
    frames_per_second: float | None
    remaining: float | None
    """Seconds to go at that pace; None where nobody can know, and where the run has ended."""
    silent: float | None
    """Seconds since the run last said something, by the clocks of the two machines; None once it has ended."""
    utilisation: Mapping[str, float]
    """Stage -> share of the time that it was busy, averaged over the workers; empty once it has ended."""
    stages: Mapping[str, float]
    """Stage -> seconds that it was busy, over all workers."""
    restarts: int
    failures: tuple[str, ...]
    files: Mapping[str, int]
    """State -> how many files of a list; empty for a single run."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_text(self) -> str:
        """A few lines for a person."""
        share = f" ({self.frames / self.total:.0%})" if self.total else ""
        lines = [f"{self.location}: {self.state}", f"Frames:  {self.frames} of {self.total or '?'}{share}"]
        if self.files:
            told = ", ".join(f"{count} {state}" for state, count in self.files.items())
            lines.append(f"Files:   {sum(self.files.values())}: {told}")
        if self.chunks is not None:
            lines.append(f"Chunks:  {self.chunks_done} of {self.chunks}")
        if self.frames_per_second is not None:
            to_go = "" if self.remaining is None else f", {_duration(self.remaining)} to go"
            lines.append(f"Pace:    {self.frames_per_second:.3g} frames/s{to_go}")
        if self.utilisation:
            lines.append("Busy:    " + ", ".join(f"{stage} {share:.0%}" for stage, share in self.utilisation.items()))
        elif self.stages:
            lines.append("Took:    " + ", ".join(f"{stage} {_duration(spent)}" for stage, spent in self.stages.items()))
        if self.restarts:
            lines.append(f"Workers replaced: {self.restarts}")
        if self.silent is not None and self.silent > STILL_SECONDS:
            lines.append(
                f"It last said something {_duration(self.silent)} ago: if it is not at work any more, "
                f"`videoseg segment --resume {self.location}` goes on."
            )
        lines += [f"  failed: {words}" for words in self.failures[:20]]
        if len(self.failures) > 20:
            lines.append(f"  … and {len(self.failures) - 20} more")
        return "\n".join(lines)


def read_status(location: str) -> Status:
    """Where the run in that folder is, or the run over many files.

    Raises:
        InputError: there is none.
    """
    return _of_files(location) if is_files_folder(location) else _of_run(location)


def _of_run(location: str) -> Status:
    run = open_run(location)
    report = run.report
    running = report.get("running") or {}
    plan = run.manifest.chunk_plan
    aside: Sequence[Mapping[str, Any]] = report.get("set_aside") or ()
    failures = tuple(f"chunk {item['chunk']} ({item['attempts']} attempts): {item['error']}" for item in aside)
    if report.get("failure") and not failures:
        failures = (str(report["failure"]),)
    if running:
        state = "running"
    elif failures:
        state = "failed"
    elif report.get("stopped"):
        state = "stopped"
    else:
        state = "done" if run.complete else "begun"
    ended = state in ("done", "failed", "stopped")
    return Status(
        location=location,
        state=state,
        frames=max(run.num_frames, int(report.get("frames") or 0)) if running else run.num_frames,
        total=running.get("total") or plan[-1].stop if plan else None,
        chunks_done=len(plan) - len(left_to_do(run)),
        chunks=len(plan),
        frames_per_second=report.get("frames_per_second"),
        remaining=running.get("remaining"),
        silent=None if ended else _since(report.get("finished")),
        utilisation=running.get("utilisation") or {},
        stages=report.get("stages") or {},
        restarts=int(report.get("restarts") or 0),
        failures=failures,
        files={},
    )


def _of_files(location: str) -> Status:
    try:
        data = read_summary(location).data
    except InputError:
        # It was killed before its first word, or is about to say it.
        data = {"states": {}, "entries": (), "running": {}, "complete": False}
    running = data.get("running") or {}
    failures = tuple(
        f"{entry['path'] or entry['name']}: {entry['state']}: {entry['reason']}"
        for entry in data["entries"]
        if entry["state"] not in ("done", "duplicate", *NOT_ENDED)
    )
    if data.get("failure"):
        failures = (str(data["failure"]), *failures)
    if "running" in data:
        state = "running" if running else "begun"
    elif data["complete"]:
        state = "failed" if failures else "done"
    else:
        state = "failed" if data.get("failure") else "stopped"
    known = [entry["total"] for entry in data["entries"] if entry["total"] is not None]
    return Status(
        location=location,
        state=state,
        frames=int(data.get("frames") or 0),
        total=running.get("total") if running else sum(known) or None,
        chunks_done=running.get("chunks_done"),
        chunks=running.get("chunks"),
        frames_per_second=data.get("frames_per_second"),
        remaining=running.get("remaining"),
        silent=_since(data.get("written")) if state in ("running", "begun") else None,
        utilisation=running.get("utilisation") or {},
        stages=data.get("stages") or {},
        restarts=int(data.get("restarts") or 0),
        failures=failures,
        files=data["states"],
    )


def _since(moment: object) -> float | None:
    try:
        return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(str(moment))).total_seconds())
    except (TypeError, ValueError):
        return None


def _duration(seconds: float) -> str:
    """`1:02:03`, `2:03`, `4.5 s`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
