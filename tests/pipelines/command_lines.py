"""Runs the real command line in a process of its own: one process for many command lines, because starting one costs
a second."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_MANY = """
import contextlib, io, json, sys
from pipelines.command_line.app import run
for arguments in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
print(json.dumps([name for name in ("torch", "ray") if name in sys.modules]))
"""


@dataclass(frozen=True)
class Answer:
    """What a command line said."""

    code: int
    out: str
    err: str


def run_one(*arguments: str | Path, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Answer:
    """The `videoseg` command itself."""
    command = [str(Path(sys.executable).parent / "videoseg"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(env or {})}, cwd=cwd)
    return Answer(done.returncode, done.stdout, done.stderr)


def run_many(command_lines: Sequence[Sequence[str | Path]]) -> tuple[list[Answer], list[str]]:
    """Answers to several command lines, and which of torch and ray got loaded by them."""
    lines = json.dumps([[str(argument) for argument in line] for line in command_lines])
    done = subprocess.run([sys.executable, "-c", _MANY], input=lines, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *answers, loaded = [json.loads(line) for line in done.stdout.splitlines()]
    return [Answer(*answer) for answer in answers], loaded
