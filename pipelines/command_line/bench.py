"""`videoseg bench`: what parts of videoseg are worth beside others, by numbers."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.bench_cache import cache
from pipelines.command_line.bench_engine import engine
from pipelines.command_line.bench_quality import quality
from pipelines.command_line.options import AsJson, Verbose

app = typer.Typer(
    no_args_is_help=True,
    help="Benchmarks: who tracks best on the same segments, what a model's parts are worth, what the engine saves.",
)


app.command("quality")(quality)
app.command("engine")(engine)
app.command("cache")(cache)


@app.command("tracking")
def tracking(
    split: Annotated[
        str, typer.Option("--set", help="dev, or test (only to report, never to choose by).", metavar="NAME")
    ] = "dev",
    videos: Annotated[int, typer.Option("--videos", help="Of every level.", metavar="N", min=1)] = 4,
    frames: Annotated[int, typer.Option("--frames", help="Of each video.", metavar="N", min=8)] = 120,
    drops: Annotated[
        str, typer.Option("--drops", help="Shares of segments that are dropped, in percent.", metavar="LIST")
    ] = "20,40",
    perfect: Annotated[bool, typer.Option("--perfect/--no-perfect", help="Also with nothing degraded.")] = True,
    ablation: Annotated[bool, typer.Option("--ablation", help="Our tracker without each of its parts.")] = False,
    chunks: Annotated[bool, typer.Option("--chunks", help="Our tracker in stitched chunks.")] = False,
    truth: Annotated[
        str | None, typer.Option("--truth", help="Ground truth for --segments, a VIPSeg folder.", metavar="FOLDER")
    ] = None,
    segments: Annotated[
        str | None,
        typer.Option(
            "--segments", help="Recorded segments (runs or a folder) instead of degraded ones.", metavar="FOLDER"
        ),
    ] = None,
    cache: Annotated[Path | None, typer.Option("--cache", help="Keep rendered videos here.", metavar="FOLDER")] = None,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Our tracker, public trackers and the oracle on the same degraded segments.

    The oracle knows every segment's true identity: the most that any tracker can reach with these segments.

    **Examples**

    * `videoseg bench tracking --videos 2`
    * `videoseg bench tracking --ablation --drops 20`
    * `videoseg bench tracking --truth world/ground_truth --segments out/`
    """
    console.set_verbosity(verbose)
    from typing import get_args

    from eval.synthetic_world import vocabulary
    from eval.synthetic_world.concepts import Split
    from pipelines.tracking_bench.ablation import ablation_rows, chunk_rows
    from pipelines.tracking_bench.degradation import Degradation
    from pipelines.tracking_bench.recorded import recorded_samples, truth_vocabulary
    from pipelines.tracking_bench.report import SETTINGS, run_bench, samples
    from pipelines.tracking_bench.rows import ONLINE, all_rows
    from videoseg.errors import InputError

    if split not in ("dev", "test") or split not in get_args(Split):
        raise InputError(f"--set takes dev or test, got {split!r}.")
    if (truth is None) != (segments is None):
        raise InputError("--truth and --segments belong together: recorded segments need their ground truth.")
    rows = ablation_rows() if ablation else chunk_rows() if chunks else all_rows()
    if truth is not None and segments is not None:
        given, words = recorded_samples(truth, segments), truth_vocabulary(truth)
    else:
        settings = {"perfect": SETTINGS["perfect"]} if perfect else {}
        settings |= {f"drops {share:g} %": Degradation(drops=share / 100) for share in _shares(drops)}
        words = vocabulary()
        given = samples(split, videos=videos, frames=frames, settings=settings, cache=cache)  # type: ignore[arg-type]
    report = run_bench(rows, given, words, on_progress=lambda note: console.say(note) if verbose else None)
    if as_json:
        console.print_json(report.to_json())
        return
    print(report.table())
    print(report.verdict(ONLINE))


def _shares(text: str) -> list[float]:
    from videoseg.errors import InputError

    try:
        shares = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        shares = [-1.0]
    if any(not 0.0 <= share < 100.0 for share in shares):
        raise InputError(f"--drops takes percentages from 0 to below 100, separated by commas, got {text!r}.")
    return shares
