"""The benchmarks of the world: frozen tables of videos, drawn by nothing but their seeds.

`standard-v1` shows the test split, `standard-v1-dev` is made the same way from the development split, for every choice
that is made by looking at numbers. A benchmark never changes: a change of what its videos show makes a new one (v2),
and `tests/eval/test_synthetic_world_standard.py` fails where the pictures are no longer those it was frozen with.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from eval.synthetic_world.concepts import STYLES, UNSEEN_STYLE, Split
from eval.synthetic_world.levels import LevelName
from eval.synthetic_world.video import SyntheticFrame, render_video

BenchmarkName = Literal["standard-v1", "standard-v1-dev"]
StyleRow = Literal["seen style", "unseen style"]

FRAMES = 48
HEIGHT = 256
WIDTH = 456
SEEN_STYLES = tuple(style for style in STYLES if style != UNSEEN_STYLE)


@dataclass(frozen=True, slots=True)
class BenchmarkVideo:
    """One video of a benchmark."""

    name: str
    level: LevelName
    style_row: StyleRow
    seed: int
    split: Split

    @property
    def styles(self) -> tuple[str, ...]:
        """Art styles that it is wholly drawn in."""
        return SEEN_STYLES if self.style_row == "seen style" else (UNSEEN_STYLE,)

    def frames(self) -> Iterator[SyntheticFrame]:
        """Renders it: `FRAMES` frames of `HEIGHT` × `WIDTH` pixels."""
        return render_video(
            self.seed,
            level=self.level,
            frames=FRAMES,
            height=HEIGHT,
            width=WIDTH,
            split=self.split,
            styles=self.styles,
        )


_FIRST_SEED = 4104
"""A multiple of eight, so that the eight videos of a level go through one deck of concepts."""
_UNSEEN = (2, 4, 7)
"""Which of a level's eight videos are drawn in the style that only tests show."""


def _videos(split: Split) -> tuple[BenchmarkVideo, ...]:
    return tuple(
        BenchmarkVideo(
            name=f"{level}-{i}",
            level=level,
            style_row="unseen style" if split == "test" and i in _UNSEEN else "seen style",
            seed=_FIRST_SEED + i,
            split=split,
        )
        for level in get_args(LevelName)
        for i in range(8)
    )


BENCHMARKS: dict[BenchmarkName, tuple[BenchmarkVideo, ...]] = {
    "standard-v1": _videos("test"),
    "standard-v1-dev": _videos("dev"),
}
"""24 videos each, 8 per level in the order of the levels."""
