"""Runs the tracking benchmark: rows over settings over videos, shares of the oracle, and who is surely better."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from eval.synthetic_world import LevelName
from eval.synthetic_world import vocabulary as world_vocabulary
from eval.synthetic_world.concepts import Split
from pipelines.tracking_bench.degradation import PERFECT, Degradation, SpoiledFrame, degrade
from pipelines.tracking_bench.rows import ONLINE, ORACLE, Row
from pipelines.tracking_bench.scoring import METRICS, interval, mean, score
from pipelines.tracking_bench.worlds import FRAMES, LEVELS, World, worlds
from videoseg.vocabulary import Vocabulary

SETTINGS: dict[str, Degradation] = {
    "perfect": PERFECT,
    "drops 10 %": Degradation(drops=0.1),
    "drops 20 %": Degradation(drops=0.2),
    "drops 30 %": Degradation(drops=0.3),
    "drops 40 %": Degradation(drops=0.4),
}
"""Everything else that goes wrong is the same in all settings but the first."""


COMPARED = ("hota", "assa", "idf1")
"""Metrics by which trackers are told apart; DetA and the label half of STQ are the segmenter's."""


@dataclass(slots=True)
class BenchReport:
    """Scores of every video: setting -> row -> video -> metric."""

    scores: dict[str, dict[str, dict[str, dict[str, float]]]] = field(default_factory=dict)

    def means(self, setting: str) -> dict[str, dict[str, float]]:
        """Row -> mean of each metric over videos."""
        return {row: mean(videos.values()) for row, videos in self.scores[setting].items()}

    def shares(self, setting: str) -> dict[str, dict[str, float]]:
        """Row -> mean of each metric divided by the oracle's."""
        means = self.means(setting)
        return {row: {m: v / max(means[ORACLE][m], 1e-9) for m, v in values.items()} for row, values in means.items()}

    def against(self, setting: str, metric: str, row: str = ONLINE) -> dict[str, tuple[float, float]]:
        """Every other row -> interval of the mean difference of `row` to it."""
        own = self.scores[setting][row]
        return {
            other: interval([own[v][metric] for v in own], [videos[v][metric] for v in own])
            for other, videos in self.scores[setting].items()
            if other != row
        }

    def verdict(self, row: str) -> str:
        """For every setting and metric: the best row that is neither ours nor the oracle, and how sure the
        difference of `row` to it is (95 % of a paired bootstrap over videos)."""
        lines = []
        for setting, by_row in self.scores.items():
            others = [name for name in by_row if not name.startswith(ONLINE) and name != ORACLE]
            if row not in by_row or not others:
                continue
            means = self.means(setting)
            for metric in COMPARED:
                best = max(others, key=lambda name: means[name][metric])
                low, high = self.against(setting, metric, row)[best]
                word = "surely better" if low > 0 else "surely worse" if high < 0 else "not surely different"
                lines.append(
                    f"{setting:14s}{metric.upper():6s}{row} {100 * means[row][metric]:.2f}, best other {best} "
                    f"{100 * means[best][metric]:.2f}: {word} ({100 * low:+.2f} to {100 * high:+.2f})"
                )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {
            "means": {setting: self.means(setting) for setting in self.scores},
            "shares": {setting: self.shares(setting) for setting in self.scores if ORACLE in self.scores[setting]},
        }

    def table(self, rows: Iterable[str] | None = None) -> str:
        """Text: for every setting the means in percent, and the share of the oracle's where there is one."""
        lines = []
        for setting, by_row in self.scores.items():
            means = self.means(setting)
            shares = self.shares(setting) if ORACLE in by_row else {}
            lines.append(f"{setting}  ({len(next(iter(by_row.values())))} videos)")
            lines.append(f"{'':36s}" + "".join(f"{m.upper():>16s}" for m in METRICS))
            for row in rows or by_row:
                cells = []
                for metric in METRICS:
                    share = f" ({100 * shares[row][metric]:5.1f} %)" if shares else ""
                    cells.append(f"{100 * means[row][metric]:6.2f}{share}".rjust(16))
                lines.append(f"{row:36s}" + "".join(cells))
            lines.append("")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One video in one setting."""

    setting: str
    world: World
    spoiled: tuple[SpoiledFrame, ...]
    left_out: frozenset[int] = frozenset()
    """True tracks that count on neither side."""


def samples(
    split: Split,
    *,
    videos: int,
    levels: Sequence[LevelName] = LEVELS,
    settings: Mapping[str, Degradation] | None = None,
    frames: int = FRAMES,
    cache: Path | None = None,
) -> Iterator[Sample]:
    """Videos of the synthetic world in every setting; setting (i) of the benchmark.

    Args:
        videos: of every level.
        cache: folder for rendered videos.
    """
    vocabulary = world_vocabulary()
    for number, world in enumerate(worlds(split, videos=videos, levels=tuple(levels), frames=frames, cache=cache)):
        for name, degradation in (settings or SETTINGS).items():
            left_out = _twins(world) if name == "perfect" else frozenset()
            yield Sample(name, world, degrade(world, degradation, vocabulary, seed=number), left_out)


def run_bench(
    rows: Mapping[str, Row],
    given: Iterable[Sample],
    vocabulary: Vocabulary,
    *,
    on_progress: Callable[[str], None] = lambda note: None,
) -> BenchReport:
    """Tracks and scores; every row sees the same segments.

    Args:
        on_progress: called with what is done next.
    """
    report = BenchReport()
    for sample in given:
        on_progress(f"{sample.world.name}, {sample.setting}")
        for row, track in rows.items():
            tracked = track(sample.world, sample.spoiled, vocabulary)
            by_row = report.scores.setdefault(sample.setting, {})
            by_row.setdefault(row, {})[sample.world.name] = score(sample.world, tracked, vocabulary, sample.left_out)
    return report


def _twins(world: World) -> frozenset[int]:
    """Tracks that nobody can tell from another one once both were out of sight."""
    return frozenset(int(track) for frame in world.frames for track in frame.ids[frame.indistinguishable].tolist())
