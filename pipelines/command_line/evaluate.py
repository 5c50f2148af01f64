"""`videoseg eval`: scores a run or a folder of segments against ground truth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose

if TYPE_CHECKING:
    from eval.panoptic_quality import ShortVideos


def evaluate(
    truth: Annotated[str, typer.Argument(help="Ground truth, in any format that videoseg reads.", show_default=False)],
    prediction: Annotated[
        str,
        typer.Argument(
            help="A run folder, a folder of run folders, or results in any format that videoseg reads.",
            show_default=False,
        ),
    ],
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            help="Only these: pq, vpq, stq, miou, hota, clear, identity, mvc, flicker, ap, agreement. Without it, "
            "what fits the ground truth.",
            metavar="NAMES",
        ),
    ] = None,
    windows: Annotated[
        str | None, typer.Option("--windows", help="Windows of VPQ in frames: 1,2,4,6,8.", metavar="LIST")
    ] = None,
    short_videos: Annotated[
        str | None,
        typer.Option(
            "--short-videos",
            help="VPQ of videos shorter than a window: `skip` them (the default), or `clip` the window to them.",
            metavar="skip|clip",
        ),
    ] = None,
    data_set: Annotated[
        str | None,
        typer.Option(
            "--data-set",
            help="Take the metrics and windows that this data set is measured by: vipseg, kitti-step, vspw, …",
            metavar="NAME",
        ),
    ] = None,
    gt_format: Annotated[
        str | None,
        typer.Option(
            "--gt-format", help="Format of GT, where files leave it open: see docs/formats.md.", metavar="NAME"
        ),
    ] = None,
    pred_format: Annotated[
        str | None, typer.Option("--pred-format", help="Format of PRED, likewise.", metavar="NAME")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="Another result on the same videos: differences with 95 % intervals (paired bootstrap over videos).",
            metavar="OTHER",
            rich_help_panel="Comparison",
        ),
    ] = None,
    floor: Annotated[
        str | None,
        typer.Option(
            "--floor",
            help="With --metrics agreement, where GT is a run: a run that should agree wholly, as the noise floor.",
            metavar="RUN",
            rich_help_panel="Comparison",
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option("--plots", help="Write plots as PNGs into this folder (needs matplotlib).", metavar="FOLDER"),
    ] = None,
    per_category: Annotated[bool, typer.Option("--per-category", help="A row for each category, too.")] = False,
    per_video: Annotated[bool, typer.Option("--per-video", help="A row for each video, too.")] = False,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            help="JSON with `categories` and `rows`: group to list of names, for rows of their own (base and novel).",
            metavar="FILE",
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Processes; the result is the same.", metavar="N")] = 1,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """PQ, VPQ, STQ, HOTA, IDF1, MOTSA, mVC, mIoU, AP and flicker of a result against ground truth.

    Formats are recognised by themselves. Categories are paired by their names, videos by theirs, frames by the names
    of their files, or by number. What has no partner counts as predicted void, and is said.

    **Examples**

    * `videoseg eval world/ground_truth out/`
    * `videoseg eval ground_truth/ predictions/ --json`
    * `videoseg eval VIPSeg/ predictions/ --data-set vipseg`
    * `videoseg eval ground_truth/ new/ --against old/ --metrics vpq,stq`
    * `videoseg eval full_run/ cached_run/ --metrics agreement --floor second_full_run/`

    **Names in the JSON** (fractions; counts are whole numbers; null where there is nothing to measure): `pq` `sq` `rq`
    `vpq.1` … `vpq.mean_1246` `vpq.mean_12468` `vpq_clip.…` (each also `….things` `….stuff`) `stq` `aq` `stq_sq`
    `stq_vipseg` … `miou` `hota` `deta` `assa` `loca` `idf1` `motsa` `smotsa` `id_switches` `fragments`
    `mostly_tracked` `mvc.8` `flicker.id` … `ap` `ap50` `ar10` `agreement.segments`, and under `per_category`,
    `per_video`, `category_groups`, `video_groups`, `conventions`, `against` what they say. docs/metrics.md has all.
    """
    console.set_verbosity(verbose)
    from pipelines.command_line.score_table import score_text
    from pipelines.evaluation import score

    if plots is not None:
        from eval.plots import require_matplotlib

        require_matplotlib()
    with console.counting("Evaluating", "videos", enabled=not as_json) as show:
        found = score(
            truth,
            prediction,
            metrics=None if metrics is None else metrics.split(","),
            windows=None if windows is None else _windows(windows),
            short_videos=None if short_videos is None else _convention(short_videos),
            conventions=data_set,
            gt_format=gt_format,
            pred_format=pred_format,
            against=against,
            floor=floor,
            groups=groups,
            workers=workers,
            on_video=show,
        )
    files = []
    if plots is not None:
        from eval.plots import draw_plots

        files = draw_plots(found.report, plots)
    if as_json:
        console.print_json(found.to_json() | ({"plots": [str(file) for file in files]} if plots is not None else {}))
        return
    print(score_text(found, per_category=per_category, per_video=per_video))
    for sentence in found.report.conventions.sentences():
        console.warn(f"{sentence}.")
    for file in files:
        print(f"  plot: {file}")


def _windows(text: str) -> list[int]:
    try:
        windows = [int(part) for part in text.split(",")]
    except ValueError:
        windows = []
    if not windows or min(windows) < 1:
        raise typer.BadParameter(f"--windows takes whole numbers of frames from 1, such as 1,2,4,6; got {text!r}.")
    return windows


def _convention(text: str) -> "ShortVideos":
    if text == "skip":
        return "skip"
    if text == "clip":
        return "clip"
    raise typer.BadParameter(f"--short-videos takes skip or clip, got {text!r}.")
