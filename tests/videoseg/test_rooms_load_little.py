"""What may not be loaded by merely importing: half a second each, and a GPU library that nobody asked for."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "av", "pyarrow", "ray", "scipy")


LIGHT = (
    "videoseg",
    "videoseg.formats.coco_panoptic",
    "videoseg.formats.vipseg",
    "videoseg.motion",
    "videoseg.protocols",
    "videoseg.rendering",
    "videoseg.store.manifest",
    "videoseg.summary",
    "videoseg.video.writer",
)


@pytest.mark.parametrize(
    ("modules", "allowed"), [(LIGHT, set()), (("videoseg.store.reader", "videoseg.store.writer"), {"pyarrow"})]
)
def test_imports(modules: tuple[str, ...], allowed: set[str]) -> None:
    program = f"import sys, {', '.join(modules)}; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= allowed
