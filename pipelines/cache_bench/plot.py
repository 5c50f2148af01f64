"""Quality against cost as a picture."""

from pathlib import Path

from pipelines.cache_bench.bench import Findings


def draw(findings: Findings, file: Path, *, official: bool = False) -> None:
    """VPQ and STQ of every policy over its cost, one panel each; modes and budgets are joined by a line.

    Args:
        file: PNG or SVG.
        official: costs are those of the executed plans at the official size.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    name = "official all" if official else "all"
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5), sharex=True)
    for panel, metric in zip(panels, ("vpq.mean_1246", "stq"), strict=True):
        rows = [row for row in findings.rows if name in row.cost.get("all", {})]
        front = []
        for row in rows:
            cost, value = 100 / row.cost["all"][name], 100 * row.values["all"][metric]
            ours = row.policy in ("off", "balanced", "fast") or row.policy.startswith("budget")
            panel.plot(cost, value, "o" if ours else "x", color="tab:blue" if ours else "tab:grey")
            panel.annotate(row.policy, (cost, value), fontsize=7, xytext=(4, 3), textcoords="offset points")
            if ours:
                front.append((cost, value))
        panel.plot(*zip(*sorted(front), strict=True), color="tab:blue", linewidth=0.8)
        panel.set_xscale("log")
        panel.set_xlabel("operations a frame, % of the network without a cache")
        panel.set_ylabel(f"{metric}, %")
        panel.grid(alpha=0.3)
    figure.suptitle(
        "Quality of the small model against cost" + (" of its plans at the official size" if official else "")
    )
    figure.tight_layout()
    figure.savefig(file)
    pyplot.close(figure)
