"""`make demo`: the main job on the clip that ships with the project, through the command line's own code."""

import json
import sys
from importlib.resources import as_file, files
from pathlib import Path

from pipelines.command_line.app import run

OUTPUT = "demo-output"


def main() -> int:
    """Segments and tracks the demo clip with the shipped model into `demo-output/`; returns the exit code.

    The folder `demo_clip` beside this file has the clip, its vocabulary (`vocabulary.yaml`) and, if the clip has
    ground truth, that in `ground_truth`.
    """
    with as_file(files("pipelines") / "demo_clip") as folder:
        return demonstrate(folder, Path.cwd() / OUTPUT)


def demonstrate(folder: Path, output: Path, *, model: str = "small") -> int:
    """Runs the demo of a folder with a clip."""
    clips = sorted(folder.glob("*.mp4"))
    if not clips:
        print(f"The demo clip is missing from {folder}: take a full clone of the project.", file=sys.stderr)
        return 2
    arguments = ["segment", str(clips[0]), "--vocab-file", str(folder / "vocabulary.yaml"), "--model", model]
    print(f"videoseg {' '.join(arguments)} -o {output}\n", flush=True)
    code = run([*arguments, "-o", str(output), "--overwrite"])
    if code == 0:
        print(f"\nLook at {output / 'overlay.mp4'}; in Python: videoseg.open_run({json.dumps(str(output))})")
    return code


if __name__ == "__main__":
    sys.exit(main())
