"""Puts this folder on the path (pytest's importlib mode does not), and makes the clips that tests here run on."""

import os
import sys
from collections.abc import Iterator
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


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 frames of 96×54: four chunks of 20."""
    return moving_shapes.write(tmp_path_factory.mktemp("clips") / "film.mp4", frames=80, width=96, height=54)


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    """One Ray for all tests: starting it costs more than what they do with it. Runs join it as they find it."""
    ray = pytest.importorskip("ray")
    from pipelines.executors.ray_actors import import_ray

    os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112 (Ray spells it so)
    os.environ["PYTHONPATH"] = os.pathsep.join([_HERE, os.environ.get("PYTHONPATH", "")])
    import_ray().init(
        address="local", num_cpus=16, include_dashboard=False, log_to_driver=False, object_store_memory=200_000_000
    )
    yield
    ray.shutdown()
