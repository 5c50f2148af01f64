"""Trains the small model stage by stage: render, autoencoder, clip, mosaic, unet, mask-generator, captioner, export.

Everything lives in `--folder` (default `~/.cache/videoseg/train`); a stopped stage goes on where it was.
"""

import argparse
from pathlib import Path

import torch

from odise_frame.autoencoder import build_autoencoder
from odise_frame.checkpoints import new_model
from odise_frame.clip import build_clip
from odise_frame.model import Odise
from odise_frame.sizes import OdiseSize, load_size
from pipelines.training import autoencoder_stage, clip_stage, mask_generator_stage, mosaic_stage, unet_stage
from pipelines.training.export import HEADS, export
from pipelines.training.loop import load_trained, newest, train, trained_seconds
from pipelines.training.pictures import SETS, Pictures, read_set, render_set

STAGES = (
    "render",
    "autoencoder",
    "measure-scale",
    "clip",
    *mosaic_stage.ROUNDS,
    "unet",
    "mask-generator",
    "mask-generator-again",
    "captioner",
    "export",
)
SHIPPED_FOLDER = Path("odise_frame") / "weights" / "small"
DEFAULT_FOLDER = Path.home() / ".cache" / "videoseg" / "train"


def main() -> None:
    """The command line of training."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.training", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("sets", nargs="*", help="render: names of picture sets, default all")
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--output", type=Path, default=SHIPPED_FOLDER, help="export: the model folder to write")
    parser.add_argument("--heads", choices=HEADS, default=None, help="export: the stage whose heads are taken")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--stop-at", type=int, default=None, help="pause before this step")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder: Path = options.folder
    size = load_size("small")
    # Initial weights; everything after them is drawn by step number.
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
        case round_name if round_name in mosaic_stage.ROUNDS:
            clip = build_clip(size.clip)
            before = ("clip", *mosaic_stage.ROUNDS)[list(mosaic_stage.ROUNDS).index(round_name)]
            load_trained(clip, before, folder)
            sets = [pictures("captioned-objects")]
            if round_name in ("mosaic-large", "mosaic-last"):
                sets.append(pictures("more-captioned-objects"))
            train(mosaic_stage.build_stage(size, clip, sets, round_name), folder, stop_at=options.stop_at)
        case "unet":
            autoencoder, clip = build_autoencoder(size.vae), build_clip(size.clip)
            load_trained(autoencoder, "autoencoder", folder)
            load_trained(clip, "clip", folder)
            if (made := trained_seconds("clip", folder)[0]) < clip_stage.TEXT_READY:
                parser.error(f"the text tower is ready after {clip_stage.TEXT_READY} steps of clip, it has {made}")
            sets = [pictures("captioned-objects"), pictures("captioned-scenes")]
            latents, captions = unet_stage.cache_latents(size, autoencoder, sets, folder)
            train(unet_stage.build_stage(size, clip, latents, captions), folder, stop_at=options.stop_at)
        case "mask-generator" | "mask-generator-again" as stage_name:
            odise = _frozen_model(size, folder)
            scenes = pictures("base-scenes")
            cache = mask_generator_stage.cache_taps(
                odise, scenes, mask_generator_stage.CACHED_PICTURES, folder / "taps"
            )
            if stage_name == "mask-generator":
                mask_generator_stage.prepare_category_head(odise)
                stage = mask_generator_stage.build_heads_stage(odise, scenes, cache)
            else:
                load_trained(mask_generator_stage.trained_modules(odise), "mask-generator", folder)
                again = mask_generator_stage.HEADS_AGAIN
                stage = mask_generator_stage.build_heads_stage(odise, scenes, cache, again, name=stage_name)
            train(stage, folder, stop_at=options.stop_at)
        case "captioner":
            # Beside CLIP's last round, not after it: the two took one core each. 300 steps more after it made nothing
            # better on development videos (VPQ 36.9 instead of 37.7).
            odise = _frozen_model(size, folder, clip_round="mosaic-large")
            load_trained(mask_generator_stage.trained_modules(odise), "mask-generator-again", folder)
            stage = mask_generator_stage.build_captioner_stage(odise, pictures("more-base-scenes"))
            train(stage, folder, stop_at=options.stop_at)
        case "export":
            info = export(_frozen_model(size, folder), folder, options.output, heads=options.heads)
            print(f"{options.output}: {info.checksum}")


def _frozen_model(size: OdiseSize, folder: Path, *, clip_round: str | None = None) -> Odise:
    """A model whose three frozen networks are trained; CLIP after this round, None for the newest."""
    odise = new_model(size)
    load_trained(odise.frozen.autoencoder, "autoencoder", folder)
    # All have the same text tower, and that is what the UNet and the mask generator read.
    clip_round = clip_round or newest((*reversed(mosaic_stage.ROUNDS), "clip"), folder)
    load_trained(odise.frozen.clip, clip_round, folder)
    load_trained(odise.frozen.unet, "unet", folder)
    odise.frozen.encode_empty_prompt()
    return odise


if __name__ == "__main__":
    main()
