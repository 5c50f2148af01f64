"""`videoseg doctor`: what this machine can run, what is missing, and the command that mends it."""

import importlib
import os
import platform
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from pipelines.command_line import console
from pipelines.command_line.options import AsJson, Verbose
from pipelines.profile import installed_version, usable_cores

# Weights, a run's shards and its overlay want some room; below this a run of an hour will not fit.
_LITTLE_DISK = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    part: str
    state: str
    """`ok`, `missing`, `broken`, `note`."""
    text: str
    needed: bool = True
    """False for parts that a run can do without."""
    mend: str = ""
    """The exact command."""


def doctor(as_json: AsJson = False, verbose: Verbose = 0) -> None:
    """What this machine can run, what is missing, and the command that mends it.

    Every library is really imported: installed is not the same as loadable. Leaves with code 1 where something that a
    run needs is missing.

    **Example:** `videoseg doctor`
    """
    import typer

    console.set_verbosity(verbose)
    findings = examine()
    healthy = all(finding.state in ("ok", "note") for finding in findings if finding.needed)
    if as_json:
        console.print_json(
            {
                "healthy": healthy,
                "findings": [
                    {"part": f.part, "state": f.state, "text": f.text, "needed": f.needed, "mend": f.mend}
                    for f in findings
                ],
            }
        )
    else:
        marks = {"ok": "ok", "missing": "--", "broken": "!!", "note": "  "}
        width = max(len(finding.part) for finding in findings)
        for finding in findings:
            print(f"{marks[finding.state]:<2}  {finding.part:<{width}}  {finding.text}")
            if finding.mend:
                print(f"{'':<{width + 6}}{'needed' if finding.needed else 'optional'}: {finding.mend}")
        print("This machine can run videoseg." if healthy else "Something that a run needs is missing; see above.")
    if not healthy:
        raise typer.Exit(1)


def examine() -> list[Finding]:
    """Looks at everything a run uses."""
    return [
        _python(),
        _package("numpy", "numpy"),
        _package("torch", "torch"),
        *_devices(),
        _package("av", "av"),
        _package("pyarrow", "pyarrow"),
        _package("scipy", "scipy"),
        _package("lap", "lap", needed=False),
        _package("diffusers", "diffusers"),
        _package("transformers", "transformers"),
        _package("open_clip", "open_clip_torch"),
        _decord(),
        _package("ray", "ray", needed=False, extra="ray", note="for --executor ray"),
        _cores(),
        _disk(Path.cwd()),
        *_models(),
    ]


def _python() -> Finding:
    text = f"{platform.python_version()} ({sys.executable})"
    if (3, 11) <= sys.version_info[:2] <= (3, 12):
        return Finding("python", "ok", text)
    return Finding("python", "broken", f"{text}; videoseg is tested on 3.11 and 3.12", mend="python3.12 -m venv .venv")


def _package(module: str, package: str, *, needed: bool = True, extra: str = "", note: str = "") -> Finding:
    """Imports a module for real: installed is not the same as loadable."""
    version = installed_version(package)
    install = f"pip install 'videoseg[{extra}]'" if extra else f"pip install {package}"
    suffix = f"; {note}" if note else ""
    if version is None:
        return Finding(module, "missing", f"not installed{suffix}", needed, install)
    try:
        importlib.import_module(module)
    except Exception as error:  # a broken binary raises whatever it likes
        reason = " ".join(str(error).split())
        return Finding(
            module,
            "broken",
            f"{version} is installed but cannot be loaded: {type(error).__name__}: {reason}",
            needed,
            f"pip install --force-reinstall {package}",
        )
    return Finding(module, "ok", f"{version}{suffix}", needed)


def _decord() -> Finding:
    if installed_version("decord") and installed_version("decord2"):
        return Finding(
            "decord",
            "broken",
            "decord and decord2 are both installed and overwrite each other's files",
            False,
            "pip uninstall -y decord decord2 && pip install decord",
        )
    package = "decord2" if installed_version("decord2") else "decord"
    return _package("decord", package, needed=False, extra="decord", note="only for --decoder decord")


def _devices() -> list[Finding]:
    if installed_version("torch") is None:
        return []
    try:
        import torch
    except Exception:  # said above
        return []
    if not torch.cuda.is_available():
        reason = "this torch is built without CUDA" if torch.version.cuda is None else "no GPU is visible"
        return [Finding("gpu", "note", f"none ({reason}); the network runs on the CPU", False)]
    found = []
    for i in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(i)
        memory = console.bytes_text(properties.total_memory)
        found.append(Finding("gpu", "ok", f"cuda:{i} {properties.name}, {memory}", False))
    return found


def _cores() -> Finding:
    total = os.cpu_count() or 1
    usable = usable_cores()
    limited = f" of {total}" if usable != total else ""
    return Finding("cores", "ok" if usable > 1 else "note", f"{usable}{limited} usable")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{console.bytes_text(free)} free in {folder}"
    return Finding("disk", "ok" if free >= _LITTLE_DISK else "note", text, False)


def _models() -> list[Finding]:
    from pipelines.models import DEFAULT_MODEL, KNOWN_MODELS, installed

    return [
        Finding(
            f"model {model.name}",
            "ok" if installed(model) else "missing",
            "installed" if installed(model) else model.how_to_get,
            needed=model.name == DEFAULT_MODEL,
        )
        for model in KNOWN_MODELS
    ]
