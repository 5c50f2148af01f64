"""The report as text."""

from pipelines.engine_bench.measure import Report, Row


def row_text(row: Row) -> str:
    """One line as it comes."""
    stages = ", ".join(f"{name} {seconds:.3g}" for name, seconds in row.stages.items())
    return f"{row.frame:<10}{row.path:<26}{row.best:9.3f} s   ({stages})"


def report_text(report: Report) -> str:
    """What was run, a table, and what to think of it."""
    on_gpu = report.device != "cpu"
    lines = [
        f"{report.model} with {'random' if report.weights == 'random' else 'its own'} weights on {report.device}, "
        f"{report.threads} thread{'s' if report.threads != 1 else ''}, torch {report.torch}; seconds are of "
        f"{'the clock' if on_gpu else 'the processor'}",
        "",
        f"{'frame':<10}{'path':<26}{'seconds':>9}{'faster':>9}{'taps':>10}{'masks':>10}{'pixels':>10}"
        + (f"{'frames/s':>10}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'peak GB':>9}" if on_gpu else ""),
    ]
    for row in report.rows:
        speedup = report.speedup(row)
        line = f"{row.frame:<10}{row.path:<26}{row.best:9.3f}{f'{speedup:.2f}x' if speedup else '':>9}"
        line += f"{_small(row.taps):>10}{_small(row.masks):>10}{_small(row.pixels):>10}"
        if on_gpu:
            facts = row.to_json()
            line += f"{facts['frames_per_second']:>10}{facts['p50_ms']:>9}{facts['p95_ms']:>9}{facts['p99_ms']:>9}"
            line += f"{facts['peak_gb']:>9}"
        lines.append(line.rstrip())
    lines += ["", "Seconds by stage:"]
    lines += [row_text(row) for row in report.rows]
    for row in report.rows:
        if (share := report.of_published(row)) is not None:
            lines.append(
                f"The as-reference path takes {share:.2f} of the published code's processor seconds on this frame."
            )
    if report.agreement:
        figures = ", ".join(f"{name} {value:.1e}" for name, value in report.agreement.items())
        lines.append(f"Processor and GPU, float32, one window: {figures}")
    return "\n".join(lines)


def _small(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"
