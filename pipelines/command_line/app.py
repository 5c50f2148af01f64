"""The commands of `videoseg`, and what an error becomes: one sentence and an exit code."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.interruption import Ended, ending_at_once
from videoseg import __version__
from videoseg.errors import VideosegError

app = typer.Typer(
    name="videoseg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Open-vocabulary panoptic tracks from video.

Give a video and name what to look for in plain words; every pixel of every frame gets a category and a track that
stays with its object.

**Examples**

* `videoseg segment walk.mp4 --vocab "person; dog, puppy; car" --stuff "sky; road, street; grass" -o out/`
* `videoseg segment walk.mp4 --labels coco -o out/ --fps 5 --export vipseg`
* `videoseg track segments/ -o out/` — tracks for per-frame segments that you already have
* `videoseg info walk.mp4` — what a file is, before you run anything on it
* `videoseg doctor` — what this machine can run, and the command that mends what is missing

In a vocabulary `;` stands between categories and `,` between synonyms; the first synonym is the name shown.
Exit codes: 0 done, 1 failed, 2 the input cannot be used, 130 stopped by Ctrl-C (what was done is kept).
""",
)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def _register() -> None:
    from pipelines.command_line import (
        bench,
        doctor,
        evaluate,
        export,
        info,
        live,
        models,
        segment,
        status,
        synth,
        track,
    )

    app.command("segment", rich_help_panel="Video")(segment.segment)
    app.command("track", rich_help_panel="Video")(track.track)
    app.command("live", rich_help_panel="Video")(live.live)
    app.command("info", rich_help_panel="Video")(info.info)
    app.command("status", rich_help_panel="Video")(status.status)
    app.command("export", rich_help_panel="Results")(export.export)
    app.command("eval", rich_help_panel="Results")(evaluate.evaluate)
    app.command("synth", rich_help_panel="Results")(synth.synth)
    app.add_typer(bench.app, name="bench", rich_help_panel="Results")
    app.add_typer(models.app, name="models", rich_help_panel="This machine")
    app.command("doctor", rich_help_panel="This machine")(doctor.doctor)


_register()


def run(arguments: Sequence[str]) -> int:
    """Runs one command line and returns its exit code; never raises."""
    as_json = "--json" in arguments
    try:
        with ending_at_once():
            app(args=list(arguments))
        return 0
    except SystemExit as leaving:  # typer's own way out: help, usage errors, typer.Exit
        return leaving.code if isinstance(leaving.code, int) else 0
    except VideosegError as error:
        return console.fail(str(error), console.exit_code(error), as_json=as_json)
    except Ended as ended:
        return console.fail("Stopped before the first frame; nothing is lost.", ended.exit_code, as_json=as_json)
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): not a failure, but Python would complain at exit.
        sys.stdout = None
        return 0
    except Exception as error:
        if console.verbosity() > 0:
            raise
        return console.fail(
            f"This is a defect of videoseg, not of your input: {type(error).__name__}: {error}. "
            "Add -v for the whole traceback and report it.",
            1,
            as_json=as_json,
        )
