"""The table that `videoseg eval` prints for people: percent, the field's names, one block a subject."""

import math
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.bootstrap import Difference
    from pipelines.evaluation import Score

_LINES: tuple[tuple[tuple[str, str], ...], ...] = (
    (("STQ", "stq"), ("AQ", "aq"), ("SQ", "stq_sq"), ("VIPSeg's STQ", "stq_vipseg"), ("mIoU", "miou")),
    (("HOTA", "hota"), ("DetA", "deta"), ("AssA", "assa"), ("LocA", "loca"), ("by class", "hota.class_averaged")),
    (("IDF1", "idf1"), ("IDR", "idr"), ("IDP", "idp"), ("MOTSA", "motsa"), ("sMOTSA", "smotsa")),
    (("AP", "ap"), ("AP50", "ap50"), ("AP75", "ap75"), ("AR1", "ar1"), ("AR10", "ar10")),
    (("mVC8", "mvc.8"), ("mVC16", "mvc.16"), ("pixel flicker", "flicker.pixel"), ("label flicker", "flicker.label")),
    (("agreement", "agreement.segments"), ("frames", "agreement.frames"), ("worst 5 %", "agreement.worst")),
)
"""Percentages that stand in one line."""

_COUNTS = (
    ("identity switches", "id_switches"),
    ("fragments", "fragments"),
    ("mostly tracked", "mostly_tracked"),
    ("partly", "partly_tracked"),
    ("mostly lost", "mostly_lost"),
)

_CATEGORY_COLUMNS = {
    "PQ": "pq",
    "SQ": "sq",
    "RQ": "rq",
    "VPQ": "vpq.mean_1246",
    "IoU": "iou",
    "HOTA": "hota",
    "AP": "ap",
}
_VIDEO_COLUMNS = {"PQ": "pq", "VPQ": "vpq.mean_1246", "STQ": "stq", "HOTA": "hota", "IDF1": "idf1", "mIoU": "miou"}


def score_text(score: "Score", *, per_category: bool = False, per_video: bool = False) -> str:
    """All that was found, in blocks."""
    report = score.report
    values = report.values
    blocks = [f"{_number(report.videos, 'video')}, {_number(report.frames, 'frame')}"]
    blocks.append(_quality(values))
    lines = []
    for line in _LINES:
        shown = [
            f"{name} {_percent(values[key]):>5}" for name, key in line if not math.isnan(values.get(key, math.nan))
        ]
        if shown:
            lines.append("   ".join(shown))
    counted = [f"{name} {values[key]:.0f}" for name, key in _COUNTS if key in values]
    if counted:
        lines.append(", ".join(counted))
    blocks.append("\n".join(lines))
    if score.floor:
        floors = [f"{name.removeprefix('agreement.')} {_percent(v)}" for name, v in score.floor.items()]
        blocks.append("noise floor of agreement: " + ", ".join(floors))
    named = report.category_groups | report.video_groups
    if named:
        blocks.append(_rows(named, _VIDEO_COLUMNS, "group"))
    if per_category:
        blocks.append(_rows(report.per_category, _CATEGORY_COLUMNS, "category"))
    if per_video:
        blocks.append(_rows(report.per_video, _VIDEO_COLUMNS, "video"))
    if score.against:
        blocks.append(_differences(score.against))
    return "\n\n".join(block for block in blocks if block)


def _quality(values: Mapping[str, float]) -> str:
    """PQ and VPQ: a row a window, columns for things and stuff."""
    names = [(name.upper(), name) for name in ("pq", "sq", "rq") if name in values]
    windows = sorted(int(key[4:]) for key in values if key.startswith("vpq.") and key[4:].isdigit())
    names += [(f"VPQ {k}", f"vpq.{k}") for k in windows]
    names += [
        (f"VPQ, mean of {','.join(key.removeprefix('vpq.mean_'))}", key)
        for key in ("vpq.mean_1246", "vpq.mean_12468")
        if key in values
    ]
    sizes = [(f"PQ, {size}", f"pq.size.{size}") for size in ("small", "medium", "large")]
    names += [(name, key) for name, key in sizes if not math.isnan(values.get(key, math.nan))]
    if not names:
        return ""
    width = max(len(name) for name, _ in names)
    lines = [f"{'':<{width}}  {'all':>6} {'things':>6} {'stuff':>6}"]
    for name, key in names:
        cells = [_percent(values[k]) if k in values else "" for k in (key, f"{key}.things", f"{key}.stuff")]
        lines.append(f"{name:<{width}}  {cells[0]:>6} {cells[1]:>6} {cells[2]:>6}".rstrip())
    return "\n".join(lines)


def _rows(rows: Mapping[str, Mapping[str, float]], columns: Mapping[str, str], what: str) -> str:
    shown = {title: key for title, key in columns.items() if any(key in row for row in rows.values())}
    width = min(max([len(what), *(len(name) for name in rows)]), shutil.get_terminal_size().columns // 2)
    lines = [f"{what:<{width}}  " + " ".join(f"{title:>6}" for title in shown)]
    for name, row in rows.items():
        cells = " ".join(f"{_percent(row.get(key, math.nan)):>6}" for key in shown.values())
        lines.append(f"{name[:width]:<{width}}  {cells}".rstrip())
    return "\n".join(lines)


def _differences(against: Mapping[str, "Difference"]) -> str:
    """Values of both results, with the interval of their difference; `*` where it excludes 0."""
    plain = [name for name in against if not name.endswith((".things", ".stuff"))]
    shown = [name for name in plain if not name.startswith(("pq.", "aq.length", "rq", "sq"))]
    counts = {key for _, key in _COUNTS}
    width = max((len(name) for name in shown), default=0)
    lines = [f"{'':<{width}}  {'ours':>7} {'other':>7} {'difference':>10}   95 % interval"]
    for name in shown:
        d = against[name]
        if math.isnan(d.difference):
            continue
        scale = 1 if name in counts or name == "flicker.id" else 100
        interval: Sequence[float] = (scale * d.low, scale * d.high)
        mark = "  *" if d.clear else ""
        lines.append(
            f"{name:<{width}}  {scale * d.ours:7.1f} {scale * d.other:7.1f} {scale * d.difference:+10.1f}   "
            f"{interval[0]:+.1f} … {interval[1]:+.1f}{mark}"
        )
    return "\n".join(lines) + "\n* the interval excludes 0"


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.1f}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
