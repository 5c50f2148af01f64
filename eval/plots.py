"""Plots where looking is better than reading: `videoseg eval … --plots FOLDER`.

matplotlib is imported here only, when something is drawn.
"""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eval.breakdown import AGE_EDGES, AREA_EDGES
from eval.panoptic_quality import quality_parts
from eval.report import Report, TrackMoment
from videoseg.errors import VideosegError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CONFUSED = 24
"""Categories in the confusion plot: more cannot be read."""
_TRACKS = 18
"""Tracks of a video in the timeline: the longest ones."""

# Blue, orange and green of Okabe and Ito's palette, told apart by everybody.
_ALL, _THINGS, _STUFF = "#0072B2", "#D55E00", "#009E73"
_TURNS = (_ALL, "#E69F00", _STUFF, "#CC79A7", "#F0E442", "#56B4E9", _THINGS)
"""Of the first, second, … predicted track that matches a true one; then again."""
_UNMATCHED = "#e4e4e4"


def require_matplotlib() -> None:
    """VideosegError, saying what to install, where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise VideosegError('Plots need matplotlib. Install it: pip install "videoseg[train]".') from None


def draw_plots(report: Report, folder: Path) -> list[Path]:
    """Writes the plots that the report has values for; returns their paths.

    `vpq.png` (VPQ over the window), `quality.png` (PQ by size of segments and by age of tracks), `confusion.png`
    (true against predicted category), `timeline.png` (which predicted track matches each true one, frame by frame).

    Raises:
        VideosegError: no matplotlib.
    """
    require_matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Figure | None] = {
        "vpq": _vpq(report.values),
        "quality": _quality(report),
        "confusion": _confusion(report),
        "timeline": _timeline(report),
    }
    paths = []
    for name, figure in figures.items():
        if figure is not None:
            paths.append(folder / f"{name}.png")
            figure.savefig(paths[-1], dpi=130)
    return paths


def _figure(width: float, height: float) -> "Figure":
    # Not through pyplot: it would look for a display and keep every figure.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _tidy(axes: "Axes") -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)


def _vpq(values: dict[str, float]) -> "Figure | None":
    windows = sorted(int(key[4:]) for key in values if key.startswith("vpq.") and key[4:].isdigit())
    if len(windows) < 2:
        return None
    figure = _figure(5.5, 3.6)
    axes = figure.add_subplot()
    ends: list[tuple[float, str, str]] = []
    for suffix, name, colour in ((".things", "things", _THINGS), (".stuff", "stuff", _STUFF), ("", "all", _ALL)):
        heights = [100 * values[f"vpq.{k}{suffix}"] for k in windows]
        axes.plot(windows, heights, marker="o", color=colour, linewidth=2.4 if not suffix else 1.4)
        if np.isfinite(heights[-1]):
            ends.append((heights[-1], name, colour))
    low, high = axes.get_ylim()
    axes.set_ylim(max(0, low - 0.15 * (high - low)), min(101, high + 0.15 * (high - low)))
    low, high = axes.get_ylim()
    for (_, name, colour), at in zip(
        sorted(ends), _spread([end[0] for end in sorted(ends)], 0.07 * (high - low)), strict=True
    ):
        axes.annotate(name, (windows[-1], at), (8, 0), textcoords="offset points", color=colour, va="center")
    axes.set(xlabel="window in frames", ylabel="VPQ in percent", xticks=windows)
    axes.set_title("VPQ falls with the window where ids switch", loc="left", fontsize=11)
    _tidy(axes)
    return figure


def _spread(heights: Sequence[float], least: float) -> list[float]:
    """Ascending heights moved up until labels there do not overlap."""
    placed: list[float] = []
    for height in heights:
        placed.append(height if not placed else max(height, placed[-1] + least))
    return placed


def _quality(report: Report) -> "Figure | None":
    if report.charts is None:
        return None
    figure = _figure(9, 3.6)
    sizes = [f"{round(edge**0.5)}²" for edge in AREA_EDGES]
    parts = (
        (report.charts.quality_by_area, [f"< {sizes[0]}", *sizes[:-1], f"≥ {sizes[-1]}"], "area in pixels, from", True),
        (
            report.charts.quality_by_age,
            ["0", *map(str, AGE_EDGES[:-1]), f"≥ {AGE_EDGES[-1]}"],
            "frames since the track was first seen, from",
            False,
        ),
    )
    for number, (counts, labels, title, first) in enumerate(parts, start=1):
        axes = figure.add_subplot(1, 2, number)
        pq, _, _ = quality_parts(counts)
        events = counts[:, 1:].sum(axis=1)
        used = np.flatnonzero(events)
        shown = slice(used[0], used[-1] + 1) if len(used) else slice(0, 0)
        pq, events, labels = pq[shown], events[shown], labels[shown]
        places = np.arange(len(labels))
        axes.bar(places, np.where(events > 0, 100 * pq, 0), color=_ALL, width=0.7)
        for place, height, count in zip(places, 100 * pq, events, strict=True):
            if count:
                axes.annotate(
                    f"{count:,.0f}",
                    (place, height),
                    (0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color="#555555",
                )
        axes.set_xticks(places, labels, fontsize=8)
        axes.set(xlabel=title, ylim=(0, 105))
        if first:
            axes.set_ylabel("PQ of single frames in percent")
            axes.set_title("PQ by size and by age (numbers: segments)", loc="left", fontsize=11)
        _tidy(axes)
    return figure


def _confusion(report: Report) -> "Figure | None":
    if report.charts is None:
        return None
    names = [*report.charts.names, "void"]
    confusion = report.charts.confusion
    pixels = confusion[:-1].sum(axis=1)
    if not pixels.any():
        return None
    # The ones most often mistaken, not the most frequent: what is right needs no looking at.
    wrong = pixels - confusion.diagonal()[:-1] + confusion[:-1].sum(axis=0)[:-1] - confusion.diagonal()[:-1]
    chosen = np.sort(np.argsort(-wrong, kind="stable")[: min(_CONFUSED, int((wrong > 0).sum()))])
    if not len(chosen):
        chosen = np.flatnonzero(pixels)[:_CONFUSED]
    columns = np.append(chosen, len(pixels))
    rest = pixels[chosen] - confusion[np.ix_(chosen, columns)].sum(axis=1)
    shares: NDArray[np.float64] = np.column_stack([confusion[np.ix_(chosen, columns)], rest]) / np.maximum(
        1, pixels[chosen, None]
    )
    size = 0.32 * len(columns) + 2.5
    figure = _figure(size + 1, size - 0.8)
    axes = figure.add_subplot()
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    axes.set_xticks(np.arange(len(columns) + 1), [*(names[i] for i in columns), "others"], rotation=90, fontsize=8)
    axes.set_yticks(np.arange(len(chosen)), [names[i] for i in chosen], fontsize=8)
    for row, column in np.argwhere(shares >= 0.05).tolist():
        share = 100 * shares[row, column]
        axes.text(
            column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color="white" if share > 55 else "black"
        )
    axes.set(xlabel="predicted", ylabel="true")
    among = f"the {len(chosen)} most mistaken of {int((pixels > 0).sum())} categories"
    axes.set_title(f"Percent of the pixels of each true category: {among}", loc="left", fontsize=10, wrap=True)
    figure.colorbar(image, shrink=0.6, label="percent")
    return figure


def _timeline(report: Report) -> "Figure | None":
    if report.charts is None:
        return None
    videos = {name: _longest(moments) for name, moments in report.charts.timelines.items() if moments}
    if not videos:
        return None
    heights = [len(tracks) + 2 for tracks in videos.values()]
    figure = _figure(9, 0.19 * sum(heights) + 0.6)
    grid = figure.add_gridspec(len(videos), 1, height_ratios=heights)
    for number, (name, tracks) in enumerate(videos.items()):
        axes = figure.add_subplot(grid[number])
        switches = 0
        for row, moments in enumerate(tracks):
            turns: dict[int, int] = {}
            last = 0
            # Neighbouring frames with one match are one bar.
            for _, group in groupby(enumerate(moments), lambda entry: (entry[1].matched, entry[1].frame - entry[0])):
                bar = [moment for _, moment in group]
                matched, start = bar[0].matched, bar[0].frame
                turn = turns.setdefault(matched, len(turns)) if matched else 0
                colour = _TURNS[turn % len(_TURNS)] if matched else _UNMATCHED
                axes.barh(row, len(bar), left=start, height=0.8, color=colour)
                if matched and last and matched != last:
                    switches += 1
                    axes.plot([start] * 2, [row - 0.45, row + 0.45], color="black", linewidth=1.8)
                last = matched or last
        axes.set_yticks(
            range(len(tracks)),
            [f"{report.charts.names[moments[0].category]}, track {moments[0].track}" for moments in tracks],
            fontsize=7,
        )
        axes.set_ylim(len(tracks) - 0.5, -0.5)
        axes.set_xlim(0, 1 + max(moments[-1].frame for moments in tracks))
        axes.tick_params(axis="x", labelsize=8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"{name}: {switches} switches", loc="left", fontsize=9)
    told = "a colour is a predicted track, grey is unmatched, white is out of sight, a black bar is a switch"
    axes.set_xlabel(f"frame   ({told})", fontsize=8)
    return figure


def _longest(moments: Sequence[TrackMoment]) -> list[list[TrackMoment]]:
    """The longest tracks, in order of their first frame."""
    tracks: dict[int, list[TrackMoment]] = {}
    for moment in moments:
        tracks.setdefault(moment.track, []).append(moment)
    longest = sorted(tracks.values(), key=len, reverse=True)[:_TRACKS]
    return sorted(longest, key=lambda track: (track[0].frame, track[0].track))
