"""`videoseg models`: which models there are, whether they are here, and under which licence."""

import typer

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose

app = typer.Typer(no_args_is_help=True, help="The models that --model takes.")


@app.callback()
def _root() -> None:
    pass


@app.command("list")
def list_models(as_json: AsJson = False, verbose: Verbose = 0) -> None:
    """Known models: installed or not, size, licence, and what each of them knows.

    **Example:** `videoseg models list`
    """
    console.set_verbosity(verbose)
    from pipelines.models import DEFAULT_MODEL, KNOWN_MODELS, installed, size_on_disk

    if as_json:
        console.print_json(
            {
                "models": [
                    {
                        "name": model.name,
                        "default": model.name == DEFAULT_MODEL,
                        "installed": installed(model),
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
