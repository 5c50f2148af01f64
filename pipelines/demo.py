"""`make demo`: the main job on the clip that ships with the project, through the command line's own code."""

import sys
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.command_line.app import run
from videoseg.rendering import contact_sheet
from videoseg.video import open_source

OUTPUT = "demo-output"

SHEET = "contact_sheet.png"
_SHEET_FRAMES = 9


def main() -> int:
    """Segments and tracks the demo clip with the shipped model into `demo-output/`; returns the exit code."""
    with as_file(files("pipelines") / "demo_clip") as folder:
        return demonstrate(folder, Path(OUTPUT))


def demonstrate(folder: Path, output: Path, *, model: str = "small") -> int:
    """Runs the demo of a folder with a clip, `walk.mp4`, and its words, `vocabulary.yaml`."""
    words = ["--vocab-file", str(folder / "vocabulary.yaml"), "--model", model]
    command = ["segment", str(folder / "walk.mp4"), *words, "-o", str(output), "--overwrite"]
    print(f"videoseg {' '.join(command)}\n", flush=True)
    code = run(command)
    if code == 0:
        write_sheet(output / "overlay.mp4", output / SHEET)
        print(f"\nLook at {output / 'overlay.mp4'} and {output / SHEET}, or go on in Python: ", end="")
        print(f'videoseg.open_run("{output}")')
    return code


def write_sheet(video: Path, picture: Path) -> None:
    """Nine frames of a video, from its first to its last, in one PNG."""
    frames = [frame.rgb for frame in open_source(video).frames()]
    chosen = np.linspace(0, len(frames) - 1, _SHEET_FRAMES).round().astype(int)
    Image.fromarray(contact_sheet([frames[i] for i in chosen], columns=3)).save(picture, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
