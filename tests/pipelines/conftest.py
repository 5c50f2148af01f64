"""Puts this folder on the path (pytest's importlib mode does not), and makes the clips that tests here run on."""

import sys
from pathlib import Path

import pytest

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

import moving_shapes  # noqa: E402


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 frames of 160×90: coloured discs that move over two grounds."""
    return moving_shapes.write(tmp_path_factory.mktemp("clips") / "shapes.mp4", frames=48)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 frames of 96×54."""
    return moving_shapes.write(tmp_path_factory.mktemp("clips") / "long.mp4", frames=150, width=96, height=54)
