"""Trains the small model stage by stage: render, autoencoder, clip, unet, mask-generator, export.

Everything lives in `--folder` (default `~/.cache/videoseg/train`); a stopped stage goes on where it was.
"""

import argparse
from pathlib import Path

import torch

from odise_frame.autoencoder import build_autoencoder
from odise_frame.clip import build_clip
from odise_frame.sizes import load_size
from pipelines.training import autoencoder_stage, clip_stage, unet_stage
from pipelines.training.loop import load_trained, train
from pipelines.training.pictures import SETS, Pictures, read_set, render_set

DEFAULT_FOLDER = Path.home() / ".cache" / "videoseg" / "train"


def main() -> None:
    """The command line of training."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.training", description=__doc__)
    parser.add_argument("stage", choices=["render", "autoencoder", "measure-scale", "clip", "unet"])
    parser.add_argument("sets", nargs="*", help="render: names of picture sets, default all")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stop-at", type=int, default=None, help="pause before this step")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder: Path = options.folder
    size = load_size("small")
    torch.manual_seed(0)

    def pictures(name: str) -> Pictures:
        return read_set(SETS[name], folder / "pictures")

    match options.stage:
        case "render":
            for name in options.sets or SETS:
                render_set(SETS[name], folder / "pictures")
        case "autoencoder":
            sets = [pictures("base-scenes"), pictures("captioned-objects")]
            train(autoencoder_stage.build_stage(size, sets), folder, stop_at=options.stop_at)
        case "measure-scale":
            autoencoder = build_autoencoder(size.vae)
            load_trained(autoencoder, "autoencoder", folder)
            print(unet_stage.measure_scale(size, autoencoder, [pictures("captioned-scenes")], seed=0))
        case "clip":
            stage = clip_stage.build_stage(size, pictures("captioned-objects"), pictures("captioned-scenes"))
            train(stage, folder, stop_at=options.stop_at)
        case "unet":
            autoencoder, clip = build_autoencoder(size.vae), build_clip(size.clip)
            load_trained(autoencoder, "autoencoder", folder)
            load_trained(clip, "clip", folder)
            sets = [pictures("captioned-objects"), pictures("captioned-scenes")]
            train(unet_stage.build_stage(size, autoencoder, clip, sets), folder, stop_at=options.stop_at)


if __name__ == "__main__":
    main()
