"""The models that `--model` knows, and how a name becomes a segmenter."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from videoseg.errors import InputError
from videoseg.protocols import Segmenter
from videoseg.vocabulary import Vocabulary

DEFAULT_MODEL = "small"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """One line of `videoseg models list`."""

    name: str
    what: str
    """One clause for a person."""
    knows: str
    """What it was trained on: what it can be asked about."""
    licence: str
    size: int | None
    """Bytes of its weights; None where they are not here and the size is not known."""
    uses_torch: bool
    note: str = ""
    """What a user of the model should read before it runs."""
    how_to_get: str = ""
    """What to do where it is not installed."""


KNOWN_MODELS = (
    KnownModel(
        name="small",
        what="ODISE in small, 17 MB of weights that ship with the package; the default",
        knows="the synthetic world (moving sprites over textures) only: for trying and testing, not for real video",
        licence="Apache-2.0",
        size=None,
        uses_torch=True,
        note="The model 'small' knows only the synthetic world that it was trained on; what it says about other video "
        "means little. For real use see `videoseg models list`.",
        how_to_get="this build came without its weights: install videoseg from a release or a full clone",
    ),
    KnownModel(
        name="colours",
        what="connected regions of one colour, no network: shows the plumbing at full speed",
        knows="colours, no objects",
        licence="Apache-2.0",
        size=0,
        uses_torch=False,
    ),
    KnownModel(
        name="odise-label",
        what="ODISE supervised with category labels, at full size",
        knows="COCO panoptic, open vocabulary through CLIP and Stable Diffusion features",
        licence="weights: NVIDIA Source Code License (research), Stable Diffusion CreativeML OpenRAIL-M, CLIP MIT",
        size=None,
        uses_torch=True,
        how_to_get="reading the official checkpoint files is not in this version",
    ),
    KnownModel(
        name="odise-caption",
        what="ODISE supervised with captions, at full size",
        knows="COCO captions, open vocabulary through CLIP and Stable Diffusion features",
        licence="weights: NVIDIA Source Code License (research), Stable Diffusion CreativeML OpenRAIL-M, CLIP MIT",
        size=None,
        uses_torch=True,
        how_to_get="reading the official checkpoint files is not in this version",
    ),
)


def find_model(name: str) -> KnownModel | Path:
    """The known model of that name, or the folder of weights at that path.

    Raises:
        InputError: neither.
    """
    for model in KNOWN_MODELS:
        if model.name == name:
            return model
    path = Path(name)
    if path.is_dir():
        return path
    names = [model.name for model in KNOWN_MODELS]
    close = difflib.get_close_matches(name, names, n=1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    raise InputError(
        f"There is no model {name!r}.{guess} The known ones are: {', '.join(names)}; "
        "a folder with a model of your own can be named, too. See `videoseg models list`."
    )


def uses_torch(name: str) -> bool:
    """Whether the model of that name is a network."""
    model = find_model(name)
    return model.uses_torch if isinstance(model, KnownModel) else True


def load_model(name: str, vocabulary: Vocabulary, *, device: str, threads: int) -> Segmenter:
    """The segmenter of that name.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, …
        threads: of the network.

    Raises:
        InputError: unknown, not installed or damaged weights.
    """
    model = find_model(name)
    if isinstance(model, KnownModel) and model.name == "colours":
        from pipelines.colour_segmenter import ColourSegmenter

        return ColourSegmenter(vocabulary)
    from odise_frame.segmenter import load_segmenter

    return load_segmenter(name, vocabulary, device=device, threads=threads)


def installed(model: KnownModel) -> bool:
    """Whether the model can be used here and now."""
    return model.name == "colours"
