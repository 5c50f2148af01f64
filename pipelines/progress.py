"""`Progress`: what a running job tells the one who waits."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a job is."""

    phase: str
    """`segment`, `overlay`, `export`."""
    done: int
    """Frames."""
    total: int | None
    """None where it cannot be known."""


def silent(progress: Progress) -> None:
    """Tells nobody."""
