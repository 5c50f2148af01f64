"""The house: which room may import which, and what may not be loaded by looking in at the door."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def test_every_arrow_points_down() -> None:
    """The contracts of pyproject.toml, by import-linter."""
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "program",
    [
        "import videoseg",
        "import tracking",
        "import eval",
        "import eval, tracking, videoseg.door, videoseg.store.reader, videoseg.formats, videoseg.rendering",
        "from pipelines.command_line.app import run; assert run(['--help']) == 0",
        "from pipelines.command_line.app import run; assert run(['segment', '--help']) == 0",
        "from pipelines.command_line.app import run; assert run(['models', 'list']) == 0",
    ],
)
def test_looking_in_loads_neither_torch_nor_ray_nor_av(program: str) -> None:
    check = "import sys; print('loaded:', [m for m in ('torch', 'ray', 'av', 'diffusers') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{program}\n{check}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_importing_videoseg_loads_next_to_nothing() -> None:
    """Not even NumPy: names are looked up when they are used."""
    program = "import sys, videoseg; print([m for m in ('numpy', 'pyarrow', 'pydantic', 'typer') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
