"""`RunSummary`: what a person wants to know after a run, as data and as text."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from videoseg.protocols import Loss
    from videoseg.store.reader import Run
    from videoseg.tracks import Track
    from videoseg.vocabulary import Vocabulary

_LONGEST = 5  # tracks shown by name; the others are in tracks.parquet


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """How often one category was found."""

    name: str
    is_thing: bool
    tracks: int
    frames: int
    """Segments over all frames."""


@dataclass(frozen=True, slots=True)
class LongTrack:
    """One of the tracks seen longest."""

    track: int
    name: str
    is_thing: bool
    first_time: float
    last_time: float
    frames: int


@dataclass(frozen=True, slots=True)
class LostPart:
    """A part of the source that could not be decoded."""

    index: int
    reason: str
    frames: int | None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What a run found, how fast, and what was lost."""

    location: str
    stream: str
    complete: bool
    frames: int
    """Frames with a result."""
    seconds: float | None
    """Wall time of the whole run; None where the run didn't live to say it."""
    frames_per_second: float | None
    duration: float
    """Seconds of video between the first and the last time that a track was seen."""
    tracks: int
    categories: tuple[CategoryCount, ...]
    """Things first, in the order of their number of tracks, then segments, then name."""
    longest: tuple[LongTrack, ...]
    """Of things where there are any, longest first."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Stage -> seconds, in the order of the report."""
    lost: tuple[LostPart, ...] = ()
    short_side: int | None = None
    """Pixels that a network's frames were resized to; None where no network said so."""

    @classmethod
    def of_run(cls, run: "Run") -> "RunSummary":
        """Reads tracks and report of a run folder, finished or not.

        Of `run.json`, `seconds` (a number), `stages` (name -> seconds) and `losses` (objects with `index`, `reason`,
        `frames`) are used where they are there.
        """
        report = run.report
        seconds = report.get("seconds")
        short_side = run.manifest.model.get("short_side", "")
        return cls.of(
            run.tracks(),
            run.vocabulary,
            location=run.location,
            stream=run.manifest.stream,
            complete=run.complete,
            frames=run.num_frames,
            seconds=float(seconds) if isinstance(seconds, int | float) else None,
            stages=report.get("stages") or {},
            lost=[
                LostPart(int(loss["index"]), str(loss["reason"]), loss.get("frames"))
                for loss in report.get("losses") or []
            ],
            short_side=int(short_side) if short_side.isdecimal() else None,
        )

    @classmethod
    def of(
        cls,
        tracks: Sequence["Track"],
        vocabulary: "Vocabulary",
        *,
        location: str,
        stream: str,
        complete: bool,
        frames: int,
        seconds: float | None = None,
        stages: Mapping[str, float] | None = None,
        lost: "Sequence[Loss | LostPart]" = (),
        short_side: int | None = None,
    ) -> "RunSummary":
        """From what a run knows when it ends."""
        counted: dict[int, list[Track]] = {}
        for track in tracks:
            counted.setdefault(track.category, []).append(track)
        categories = [
            CategoryCount(
                name=vocabulary[category].name,
                is_thing=vocabulary[category].is_thing,
                tracks=len(members),
                frames=sum(track.num_frames for track in members),
            )
            for category, members in counted.items()
        ]
        things = [track for track in tracks if track.is_thing] or list(tracks)
        longest = sorted(things, key=lambda t: (t.first_time - t.last_time, -t.num_frames, t.id))[:_LONGEST]
        return cls(
            location=location,
            stream=stream,
            complete=complete,
            frames=frames,
            seconds=seconds,
            frames_per_second=frames / seconds if seconds else None,
            duration=max((t.last_time for t in tracks), default=0.0) - min((t.first_time for t in tracks), default=0.0),
            tracks=len(tracks),
            categories=tuple(sorted(categories, key=lambda c: (not c.is_thing, -c.tracks, -c.frames, c.name))),
            longest=tuple(
                LongTrack(
                    track=track.id,
                    name=vocabulary[track.category].name,
                    is_thing=track.is_thing,
                    first_time=track.first_time,
                    last_time=track.last_time,
                    frames=track.num_frames,
                )
                for track in longest
            ),
            stages=dict(stages or {}),
            lost=tuple(LostPart(loss.index, loss.reason, loss.frames) for loss in lost),
            short_side=short_side,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready object."""
        return {
            **asdict(self),
            "categories": [asdict(category) for category in self.categories],
            "longest": [asdict(track) for track in self.longest],
            "lost": [asdict(loss) for loss in self.lost],
        }

    def to_text(self) -> str:
        """A few lines for a terminal, at most 100 characters wide where names allow it."""
        lines = [self._headline()]
        if not self.complete:
            lines.append("The run was ended before its end; what was finished is kept and can be read.")
        for is_thing, title in ((True, "Things"), (False, "Stuff")):
            counts = [count for count in self.categories if count.is_thing == is_thing]
            if counts:
                named = [f"{count.name} × {count.tracks}" if is_thing else count.name for count in counts]
                lines.append(f"{title + ':':<9}{_joined(named)}")
        if self.longest:
            lines.append("Longest tracks:")
            width = max(len(track.name) for track in self.longest)
            digits = max(len(str(track.track)) for track in self.longest)
            lines += [
                f"  {track.track:>{digits}}  {track.name:<{width}}  {clock(track.first_time)} – "
                f"{clock(track.last_time)}  in {_count(track.frames, 'frame')}"
                for track in self.longest
            ]
        if self.short_side is not None:
            lines.append(f"Network: frames seen at a short side of {self.short_side} pixels")
        if self.stages:
            total = sum(self.stages.values()) or 1.0
            shares = (f"{name} {value:.1f} s ({value / total:.0%})" for name, value in self.stages.items())
            lines.append("Time:    " + ", ".join(shares))
        if self.lost:
            known = sum(loss.frames or 0 for loss in self.lost)
            count = _count(known, "frame") if all(loss.frames is not None for loss in self.lost) else "frames"
            lines.append(f"Lost:    {count} in {_count(len(self.lost), 'place')}:")
            lines += [f"  at frame {loss.index}: {loss.reason}" for loss in self.lost[:_LONGEST]]
            if len(self.lost) > _LONGEST:
                lines.append(f"  and {len(self.lost) - _LONGEST} more, in run.json")
        return "\n".join(lines)

    def _headline(self) -> str:
        found = f"{_count(self.frames, 'frame')} of {self.stream}: {_count(self.tracks, 'track')}"
        if self.frames_per_second is None or self.seconds is None:
            return found
        return f"{found} in {clock(self.seconds)} ({self.frames_per_second:.1f} frames/s)"


def clock(seconds: float) -> str:
    """`1:02.5` for 62.5 seconds, `1:00:00.0` for an hour."""
    tenths = round(abs(seconds) * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    sign = "-" if seconds < 0 else ""
    rest = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{sign}{hours}:{minutes:02d}:{rest}" if hours else f"{sign}{minutes}:{rest}"


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def _joined(words: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(words[:most])
    return f"{shown} and {len(words) - most} more" if len(words) > most else shown
