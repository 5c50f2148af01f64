"""The findings as text and as JSON."""

import math
from itertools import pairwise
from typing import Any

import numpy as np

from pipelines.cache_bench.bench import PUBLIC, Findings, Row
from pipelines.cache_bench.policies import BUDGETS


def to_json(findings: Findings) -> dict[str, Any]:
    """JSON-ready."""
    return {
        "videos": [
            {"name": name, "motion": group, "speed": speed, "frames": frames}
            for name, group, speed, frames in findings.videos
        ],
        "floor": _plain(findings.floor),
        "drift": {
            "rank_correlation": _number(findings.rank_correlation),
            "true_error_by_age": findings.drift_by_age,
            "fitted_weights": findings.drift_weights,
        },
        "knob": knob(findings),
        "official": findings.official,
        "rows": [_row(row) for row in findings.rows],
    }


def knob(findings: Findings) -> dict[str, Any]:
    """What turning the knob does: the budgets from dear to cheap, and whether cost and quality go one way."""
    rows = [row for row in findings.rows if row.policy in (findings.rows[0].policy, *BUDGETS)]
    cost = [row.cost["all"]["gflops"] for row in rows]
    columns = {name: [row.values["all"].get(name, math.nan) for row in rows] for name in (*PUBLIC, "agreement.frames")}
    return {
        "policies": [row.policy for row in rows],
        "gflops": [round(value, 3) for value in cost],
        "cost goes one way": all(after <= before for before, after in pairwise(cost)),
        **{
            name: {
                "values": [_number(value) for value in values],
                "goes one way": all(after <= before for before, after in pairwise(values)),
            }
            for name, values in columns.items()
        },
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "policy": row.policy,
        "asks": row.asks,
        "values": {group: _plain(values) for group, values in row.values.items()},
        "differences": {
            group: {name: found.to_json() for name, found in differences.items()}
            for group, differences in row.differences.items()
        },
        "work": {group: work.to_json() for group, work in row.work.items()},
        "cost": {group: _plain(cost) for group, cost in row.cost.items()},
        "seconds": {
            "median": round(float(np.median(row.seconds)), 4),
            "p99": round(float(np.quantile(row.seconds, 0.99)), 4),
        },
        "agreement_by_age": row.by_age,
        "flips": _plain(row.flips),
        "cache_bytes": row.cache_bytes,
    }


def table(findings: Findings) -> str:
    """A block of lines for every group of videos."""
    lines = []
    groups = list(dict.fromkeys(group for row in findings.rows for group in row.values))
    for group in groups:
        count = sum(group in ("all", of) for _, of, _, _ in findings.videos)
        lines.append(f"{group} motion, {count} videos" if group != "all" else f"all {count} videos")
        head = [
            "policy",
            "backbone",
            "all",
            "official all",
            "VPQ",
            "Δ",
            "95 %",
            "STQ",
            "Δ",
            "95 %",
            "agreement",
            "worst",
            "flicker",
            "jumps",
        ]
        text = [head]
        for row in findings.rows:
            if group not in row.values:
                continue
            values, cost, found = row.values[group], row.cost[group], row.differences[group]
            cells = [row.policy, *(_times(cost.get(name)) for name in ("backbone", "all", "official all"))]
            for name in PUBLIC:
                each = found.get(name)
                cells.append(_percent(values.get(name)))
                cells.append("" if each is None else f"{100 * each.difference:+.1f}")
                cells.append("" if each is None else f"{100 * each.low:+.1f}..{100 * each.high:+.1f}")
            cells += [_percent(values.get("agreement.frames")), _percent(values.get("agreement.worst"))]
            cells.append(_percent(values.get("flicker.label")))
            cells.append(_percent(row.flips.get("refreshed")) if group == "all" else "")
            text.append(cells)
        widths = [max(len(line[i]) for line in text) for i in range(len(head))]
        lines += ["  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in text]
        lines.append("")
    lines.append(f"noise floor of agreement: {_percent(findings.floor.get('agreement.frames'))}")
    lines.append("flicker: labels that change in a track for a moment; jumps: pixels that change category at a refresh")
    if len((found_knob := knob(findings))["policies"]) > 2:
        ways = [name for name in ("agreement.frames", *PUBLIC) if found_knob[name]["goes one way"]]
        lines.append(
            f"budgets: cost goes {'one way' if found_knob['cost goes one way'] else 'up and down'}; of "
            f"agreement, VPQ and STQ go one way: {', '.join(ways) or 'none'}"
        )
    lines.append(f"drift predictor, rank correlation with true errors: {findings.rank_correlation:.2f}")
    return "\n".join(lines)


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}×"


def _percent(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4)


def _plain(values: Any) -> dict[str, float | None]:
    return {name: _number(float(value)) for name, value in values.items()}
