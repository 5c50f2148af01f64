"""`videoseg segment`: the main job."""

from dataclasses import replace
from typing import Annotated

import typer

from pipelines.command_line import console, options
from pipelines.command_line.many_outcome import execute_files
from pipelines.command_line.outcome import execute
from pipelines.command_line.watching import AskedFor


def segment(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            help="A video file or a folder of images; or many: a folder of videos, a glob in quotes, a list (.txt, "
            ".csv, Ego4D's ego4d.json or manifest.csv).",
            show_default=False,
        ),
    ] = None,
    output: options.OptionalOutput = None,
    vocab: options.Vocab = "",
    stuff: options.Stuff = "",
    labels: options.Labels = None,
    vocab_file: options.VocabFile = None,
    vocab_at: options.VocabAt = None,
    stuff_at: options.StuffAt = None,
    model: Annotated[
        str, typer.Option("--model", help="A name from `videoseg models list`, or a folder.", metavar="NAME")
    ] = "small",
    every: options.Every = 1,
    fps: options.Fps = None,
    start: options.Start = None,
    end: options.End = None,
    decoder: options.Decoder = "pyav",
    codec_vectors: options.CodecVectors = False,
    cache: options.Cache = "balanced",
    budget_flops: options.BudgetFlops = None,
    short_side: options.ShortSide = None,
    output_delay: options.Delay = 0,
    fill_seconds: options.Fill = 0.0,
    refine: options.Refine = False,
    overlay: options.Overlay = True,
    export: options.Export = None,
    executor: options.Executor = "local",
    device: options.Device = "auto",
    threads: options.Threads = None,
    dtype: options.Dtype = "float32",
    workers: options.Workers = 1,
    streams_per_worker: options.StreamsPerWorker = 1,
    address: options.Address = None,
    gpus_per_worker: options.GpusPerWorker = 1.0,
    resume: options.Resume = None,
    redo: options.Redo = None,
    allow_other_profile: options.AllowOtherProfile = False,
    overwrite: options.Overwrite = False,
    metrics_port: options.MetricsPort = None,
    as_json: options.AsJson = False,
    verbose: options.Verbose = 0,
) -> None:
    """Segments and tracks a video: every pixel of every frame gets a category and a track.

    **Examples**

    * `videoseg segment walk.mp4 --vocab "person; dog, puppy; car" --stuff "sky; road, street; grass" -o out/`
    * `videoseg segment walk.mp4 --labels coco --vocab "red scooter" -o out/ --fps 5`
    * `videoseg segment film.mp4 --labels coco -o out/ --executor ray --address head:6379 --workers 8`
    * `videoseg segment films/ --labels coco -o out/ --workers 4` — all videos of a folder, a run folder for each
    * `videoseg segment films.csv --labels coco -o out/` — a list: path, and if you like name, start, end
    * `videoseg segment walk.mp4 --vocab person -o out/ --delay 15 --fill 0.5 --refine` — steadiest tracks
    * `videoseg segment --resume out/` — goes on where a run was ended, with any executor
    * `videoseg segment frames/ --vocab-file street.yaml -o out/ --no-overlay --export vipseg --json`
    """
    console.set_verbosity(verbose)
    from pipelines.file_list import FileEntry, is_file_list, read_file_list
    from pipelines.jobs import segment_job
    from pipelines.many_files import is_files_folder, read_files
    from pipelines.resuming import Begun
    from pipelines.run import Job, Resuming
    from pipelines.settings import Placement, Products, RunSettings
    from videoseg.vocabulary import Vocabulary

    entries: tuple[FileEntry, ...] = ()
    if resume is not None and is_files_folder(resume):
        before = read_files(resume)
        entries = tuple(FileEntry(**entry) for entry in before["entries"])
        begun: Begun | None = Begun.of_files(before)
    else:
        begun = Begun.of(resume) if resume is not None else None
        if source is not None and is_file_list(source):
            entries = read_file_list(source)
    options.require_alone(resume, redo=redo, output=output, overwrite=overwrite)
    if begun is not None and resume is not None:
        options.require_command(begun.given, "segment", resume)
    chosen = {
        "every": every,
        "fps": fps,
        "start": options.seconds(start, "--start"),
        "end": options.seconds(end, "--end"),
        "decoder": decoder,
        "codec_vectors": codec_vectors,
        "cache": cache,
        "budget_flops": budget_flops,
        "short_side": short_side,
        "output_delay": output_delay,
        "fill_seconds": fill_seconds,
        "refine": refine,
    }
    words = bool(vocab or stuff or labels or vocab_file)
    if begun is not None:
        given = options.given(context)
        source = source or begun.given.get("source")
        model = model if "model" in given else begun.given.get("model", model)
        threads = threads or begun.threads
        dtype = dtype if "dtype" in given else begun.dtype
        overlay = overlay if "overlay" in given else bool(begun.given.get("overlay", overlay))
        export = export if "export" in given else list(begun.given.get("exports", ()))
        chosen = {**begun.settings, **{name: value for name, value in chosen.items() if name in given}}
    place, folder = options.require(source, output or resume)
    placement = Placement(
        executor=executor,
        device=device,
        threads=threads,
        dtype=dtype,
        workers=workers,
        streams_per_worker=streams_per_worker,
        address=address,
        gpus_per_worker=gpus_per_worker,
    )
    vocabulary = (
        Vocabulary.build(things=vocab, stuff=stuff, labels=labels or (), files=vocab_file or ())
        if words or begun is None or begun.vocabulary is None
        else begun.vocabulary
    )
    settings = RunSettings.from_json(chosen)
    if vocab_at or stuff_at:
        from pipelines.vocabulary_phases import plan_vocabulary

        things = options.at_frames(vocab_at, "--vocab-at")
        plan = plan_vocabulary(vocabulary, things, options.at_frames(stuff_at, "--stuff-at"))
        vocabulary, settings = plan.vocabulary, replace(settings, vocabulary_phases=plan.phases)
    resuming = (
        None if resume is None else Resuming(any_profile=allow_other_profile, redo=options.interval(redo, "--redo"))
    )
    asked = AskedFor(
        placement=placement,
        products=Products(overlay=overlay, exports=tuple(export or ())),
        overwrite=overwrite,
        resume=resuming,
        as_json=as_json,
        metrics_port=metrics_port,
    )
    if entries:
        entries = tuple(
            replace(
                entry,
                start=settings.start if entry.start is None else entry.start,
                end=settings.end if entry.end is None else entry.end,
            )
            for entry in entries
        )

        def job_of(entry: FileEntry) -> Job:
            cut = replace(settings, start=entry.start, end=entry.end)
            job = segment_job(
                entry.path, vocabulary, model=model, settings=cut, placement=placement, any_versions=allow_other_profile
            )
            return replace(job, given={**job.given, "list": place})

        execute_files(
            entries,
            job_of,
            folder,
            asked,
        )
        return
    execute(
        lambda: segment_job(
            place, vocabulary, model=model, settings=settings, placement=placement, any_versions=allow_other_profile
        ),
        folder,
        asked,
    )
