"""The official models at full size: files of the published sizes in the published containers, converted and loaded.

Takes 11 GB of disk and a few minutes; the values are noise.
"""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_rules import DATA
from official_files import save_clip_script, save_diffusion, save_odise

MANIFEST = json.loads(gzip.decompress((DATA / "manifest_names.json.gz").read_bytes()))["label"]
LIMIT = 4.5e9
"""Bytes of resident memory, with everything that torch itself takes."""

_NOISE = torch.empty(2**22).uniform_(-0.03, 0.03, generator=torch.Generator().manual_seed(0))


def _tensors(
    shapes: dict[str, list[int]], prefix: str, folder: Path, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """Noise in memory that lies in a file, so that this test can run beside others: float32, matrices in `dtype`."""
    names = [
        name
        for name in shapes
        if name.startswith(prefix) and not name.endswith(("shared_noise", "uncond_inputs", "position_ids"))
    ]
    tensors = {}
    for number, name in enumerate(names):
        shape = torch.Size(shapes[name])
        kind = dtype if len(shape) > 1 and "embedding" not in name else torch.float32
        path = folder / f"{number}.memory"
        value = torch.from_file(str(path), shared=True, size=max(1, shape.numel()), dtype=kind)[: shape.numel()]
        for start in range(0, len(value), len(_NOISE)):
            piece = value[start : start + len(_NOISE)]
            piece.copy_(_NOISE[: len(piece)])
        path.unlink()
        tensors[name.removeprefix(prefix)] = value.view(shape)
    return tensors


# Not `ru_maxrss`, which a new process has from the one that started it.
_PEAK = """
def peak():
    with open("/proc/self/status") as status:
        (line,) = [line for line in status if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024
"""

_CONVERT = """
import json, sys
from pathlib import Path
from odise_frame.checkpoint_files.conversion import Source, convert, source_digest
from odise_frame.sizes import load_size
folder = Path(sys.argv[1])
files = {"odise": "odise.pth", "stable-diffusion": "sd-v1-3.ckpt", "clip": "ViT-L-14-336px.pt"}
sources = {role: Source(folder / name, source_digest(folder / name)) for role, name in files.items()}
convert(folder / "model", load_size("odise-label"), sources, training_names=(), training={})
print(json.dumps({"peak": peak()}))
"""

_LOAD = """
import json, sys, time
from pathlib import Path
import torch
from odise_frame.checkpoints import load_model
before = peak()
began, used = time.perf_counter(), time.process_time()
model, info = load_model(Path(sys.argv[1]) / "model", dtype=torch.bfloat16)
print(json.dumps({
    "peak": peak(),
    "before": before,
    "seconds": time.perf_counter() - began,
    "cpu_seconds": time.process_time() - used,
    "numbers": sum(parameter.numel() for parameter in model.parameters()),
    "dtypes": sorted({str(parameter.dtype) for name, parameter in model.frozen.named_parameters() if parameter.ndim}),
}))
"""


def _run(program: str, folder: Path) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-c", _PEAK + program, str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.full
def test_converting_and_loading_at_full_size_take_little_memory(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    diffusion = "backbone.feature_extractor.ldm_extractor.ldm.ldm."
    ignored = MANIFEST["ignored"]
    save_odise(tmp_path / "odise.pth", _tensors(MANIFEST["released"], "", tmp_path))
    save_diffusion(tmp_path / "sd-v1-3.ckpt", _tensors(ignored, diffusion, tmp_path))
    clip = _tensors(ignored, "clip_head.clip.clip.", tmp_path, torch.float16)
    save_clip_script(tmp_path / "ViT-L-14-336px.pt", clip)
    del clip
    assert (tmp_path / "sd-v1-3.ckpt").stat().st_size == pytest.approx(4.27e9, rel=0.01)
    assert (tmp_path / "ViT-L-14-336px.pt").stat().st_size == pytest.approx(0.93e9, rel=0.1)
    converting = _run(_CONVERT, tmp_path)
    for path in tmp_path.iterdir():
        if path.is_file():
            path.unlink()
    loading = _run(_LOAD, tmp_path)
    with capsys.disabled():
        print(f"\nconverting: {converting}\nloading in bfloat16: {loading}")
    assert loading["numbers"] == 859_520_964 + 83_653_863 + 427_944_193 + 28_067_009
    assert loading["dtypes"] == ["torch.bfloat16"]
    assert loading["peak"] <= LIMIT
    assert converting["peak"] <= LIMIT
