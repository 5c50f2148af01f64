"""`videoseg models`: which models there are, whether they are here, under which licence, and how they get here."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose

if TYPE_CHECKING:
    from pipelines.model_catalogue import OfficialModel
    from pipelines.model_files import OnProgress

app = typer.Typer(no_args_is_help=True, help="The models that --model takes.")

Name = Annotated[str, typer.Argument(help="A name from `videoseg models list`.", show_default=False)]


@app.callback()
def _root() -> None:
    pass


@app.command("list")
def list_models(as_json: AsJson = False, verbose: Verbose = 0) -> None:
    """Known models: installed or not, size, licence, and what each of them knows.

    **Example:** `videoseg models list`
    """
    console.set_verbosity(verbose)
    from pipelines.models import DEFAULT_MODEL, KNOWN_MODELS, installed, size_on_disk, weights_folder

    if as_json:
        console.print_json(
            {
                "models": [
                    {
                        "name": model.name,
                        "default": model.name == DEFAULT_MODEL,
                        "installed": installed(model),
                        "folder": str(folder) if (folder := weights_folder(model.name)) else None,
                        "bytes": size_on_disk(model),
                        "licence": model.licence,
                        "what": model.what,
                        "knows": model.knows,
                        "how_to_get": "" if installed(model) else model.how_to_get,
                    }
                    for model in KNOWN_MODELS
                ]
            }
        )
        return
    for model in KNOWN_MODELS:
        default = " (default)" if model.name == DEFAULT_MODEL else ""
        state = "installed" if installed(model) else "not installed"
        size = size_on_disk(model)
        print(f"{model.name}{default} — {state}{f', {console.bytes_text(size)}' if size else ''}")
        print(f"    {model.what}")
        print(f"    knows: {model.knows}")
        print(f"    licence: {model.licence}")
        if not installed(model):
            print(f"    to get it: {model.how_to_get}")


@app.command("fetch")
def fetch_model(
    name: Name,
    from_folder: Annotated[
        Path | None,
        typer.Option("--from", help="Take the files from this folder; nothing is downloaded.", metavar="FOLDER"),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the downloaded files in the cache, too.")] = False,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Downloads an official model, checks it and converts it; what was stopped goes on where it was.

    Files that other programs have downloaded already (Hugging Face, open_clip, CLIP, ODISE) are not downloaded again.
    The cache is `~/.cache/videoseg`, or `$VIDEOSEG_CACHE`. Proxies, `HF_HUB_OFFLINE`, `HF_ENDPOINT` and the token of
    `hf auth login` are respected.

    **Examples**

    * `videoseg models fetch odise-label`
    * `videoseg models fetch odise-label --from /media/usb/` — without a network
    """
    console.set_verbosity(verbose)
    from pipelines.model_files import fetch, official_model

    model = official_model(name)
    _show_licences(model, download=from_folder is None)
    with _showing(enabled=not as_json) as show:
        folder = fetch(name, from_folder=from_folder, keep=keep, on_progress=show, on_note=console.warn)
    _tell(name, folder, as_json=as_json)


@app.command("import")
def import_model(
    files: Annotated[
        list[Path],
        typer.Argument(help="Files of weights, diffusers folders, or folders with such.", show_default=False),
    ],
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Take files whose checksum is not the published one.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = 0,
) -> None:
    """Converts official files that are here already; which model they make, they tell themselves.

    Takes ODISE's .pth, Stable Diffusion v1.3 as .ckpt or as a diffusers folder, CLIP ViT-L/14-336 as OpenAI's .pt or
    as open_clip's file. What an installed model has already need not be named again. Nothing in the files is executed.

    **Example:** `videoseg models import odise_label_coco_50e-b67d2efc.pth sd-v1-3.ckpt ViT-L-14-336px.pt`
    """
    console.set_verbosity(verbose)
    from pipelines.model_files import import_files, official_model

    with _showing(enabled=not as_json) as show:
        name, folder = import_files(files, verified=not unverified, on_progress=show, on_note=console.warn)
    _show_licences(official_model(name), download=False)
    _tell(name, folder, as_json=as_json)


@app.command("verify")
def verify_model(name: Name, as_json: AsJson = False, verbose: Verbose = 0) -> None:
    """Reads every file of an installed model and holds it to its checksum, names, shapes, and to being numbers.

    **Example:** `videoseg models verify odise-label`
    """
    console.set_verbosity(verbose)
    from pipelines.model_files import verify

    folder, wrong = verify(name)
    if as_json:
        console.print_json({"name": name, "folder": str(folder), "healthy": not wrong, "wrong": wrong})
    else:
        for sentence in wrong.values():
            print(sentence)
        if not wrong:
            print(f"{name} is whole: every file in {folder} is as it was made.")
    if wrong:
        raise typer.Exit(2)


def _show_licences(model: "OfficialModel", *, download: bool) -> None:
    total = sum(file.bytes for file in model.files)
    size = f" About {console.bytes_text(total)} if none of its files is here yet." if download else ""
    console.say(f"{model.name} is made of weights of others, under their licences.{size}")
    for file in model.files:
        console.say(f"  {file.name}: {file.licence.title}. {file.licence.holder}.")
        console.say(f"    {file.licence.terms} {file.licence.url}")


def _tell(name: str, folder: Path, *, as_json: bool) -> None:
    if as_json:
        console.print_json({"name": name, "folder": str(folder)})
        return
    print(f"{name} is installed in {folder}; the licences of its weights are beside them.")
    print(f"Use it with: videoseg segment VIDEO --model {name} --labels coco -o FOLDER")


@contextmanager
def _showing(*, enabled: bool) -> "Iterator[OnProgress]":
    """Bytes of what is done, in one line on a terminal; without one, a line for each tenth of it."""
    import sys

    terminal = sys.stderr.isatty()
    said: dict[str, int] = {}

    def show(what: str, done: int, total: int | None) -> None:
        share = 0 if not total else int(100 * done / total)
        step = share if terminal else share // 10
        if not enabled or said.get(what) == step:
            return
        said[what] = step
        of = f" of {console.bytes_text(total)}, {share} %" if total else ""
        text = f"{what}: {console.bytes_text(done)}{of}"
        print(f"\r\x1b[K{text}" if terminal else text, end="" if terminal else "\n", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        if terminal and said:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
