"""The models that `--model` knows, and how a name becomes a segmenter."""

import difflib
import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from odise_frame.installed_models import installed_folder
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
    uses_torch: bool
    note: str = ""
    """What a user of the model should read before it runs."""
    how_to_get: str = ""
    """What to do where it is not installed."""


COLOURS = KnownModel(
    name="colours",
    what="connected regions of one colour, no network: shows the plumbing at full speed",
    knows="colours, no objects",
    licence="Apache-2.0",
    uses_torch=False,
)

KNOWN_MODELS = (
    KnownModel(
        name="small",
        what="ODISE in small; its weights ship with the package",
        knows="the synthetic world (moving sprites over textures) only: for trying and testing, not for real video",
        licence="Apache-2.0",
        uses_torch=True,
        note="The model 'small' knows only the synthetic world that it was trained on; what it says about other video "
        "means little. For real use see `videoseg models list`.",
        how_to_get="this build came without its weights: install videoseg from a release or a full clone",
    ),
    COLOURS,
    KnownModel(
        name="odise-label",
        what="ODISE supervised with category labels, at full size",
        knows="COCO panoptic, open vocabulary through CLIP and Stable Diffusion features",
        licence="weights: CC BY-NC-SA 4.0 (ODISE), CreativeML OpenRAIL-M (Stable Diffusion), MIT (CLIP)",
        uses_torch=True,
        how_to_get="run `videoseg models fetch odise-label` (5.3 GB)",
    ),
    KnownModel(
        name="odise-caption",
        what="ODISE supervised with captions, at full size",
        knows="COCO captions, open vocabulary through CLIP and Stable Diffusion features",
        licence="weights: CC BY-NC-SA 4.0 (ODISE), CreativeML OpenRAIL-M (Stable Diffusion), MIT (CLIP)",
        uses_torch=True,
        how_to_get="run `videoseg models fetch odise-caption` (5.3 GB; 0.1 GB where odise-label is installed)",
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


def load_model(
    name: str,
    vocabulary: Vocabulary,
    *,
    device: str,
    threads: int,
    cache: str = "off",
    budget_flops: float | None = None,
    budget_ms: float | None = None,
    dtype: str = "float32",
    short_side: int | None = None,
) -> Segmenter:
    """The segmenter of that name.

    Args:
        device: `cpu`, `cuda`, `cuda:1`, …
        threads: of the network.
        cache: what a network keeps from frame to frame: `off`, `exact`, `balanced`, `fast`.
        budget_flops: operations that a frame may cost in the mean.
        budget_ms: milliseconds that a frame may take.
        dtype: of a network's frozen weights: `float32`, `bfloat16`.
        short_side: of frames as a network sees them, in pixels; None is the model's own.

    Raises:
        InputError: unknown, not installed or damaged weights; a GPU that is too small for them.
    """
    if find_model(name) == COLOURS:
        from pipelines.colour_segmenter import ColourSegmenter

        if short_side is not None:
            raise InputError("--short-side is for networks, and the model 'colours' is none. Leave it out.")
        return ColourSegmenter(vocabulary)
    from odise_frame.engine import Precision
    from odise_frame.segmenter import load_segmenter
    from odise_frame.temporal_cache import CacheSettings

    kept = CacheSettings.of(cache, budget_flops=budget_flops, budget_ms=budget_ms)
    if device.startswith("cuda"):
        _require_memory(name, device, dtype)
    precision: Precision = "bfloat16" if dtype == "bfloat16" else "float32"
    return load_segmenter(
        name, vocabulary, device=device, threads=threads, cache=kept, dtype=precision, short_side=short_side
    )


def with_vocabulary(segmenter: Segmenter, vocabulary: Vocabulary) -> Segmenter:
    """The same model with other categories; weights are shared.

    Raises:
        InputError: the segmenter has its categories from elsewhere.
    """
    again = getattr(segmenter, "with_vocabulary", None)
    if again is None:
        raise InputError(
            f"The segmenter {segmenter.describe().get('segmenter', '')!r} cannot change its vocabulary in the middle. "
            "Run it once for each vocabulary."
        )
    changed: Segmenter = again(vocabulary)
    return changed


def _require_memory(name: str, device: str, dtype: str) -> None:
    import torch

    from odise_frame.checkpoints import read_info
    from odise_frame.device_memory import require_room_on
    from odise_frame.segmenter import WINDOW_BATCH, find_model

    size = read_info(find_model(name)).size
    require_room_on(size, device, dtype=getattr(torch, dtype), window_batch=WINDOW_BATCH)


def weights_folder(name: str) -> Path | None:
    """Where the weights of a known model lie; None where they are not here. Loads no torch."""
    spec = find_spec("odise_frame")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "weights" / name
    return folder if (folder / "model.json").is_file() else installed_folder(name)


def installed(model: KnownModel) -> bool:
    """Whether the model can be used here and now."""
    return not model.uses_torch or weights_folder(model.name) is not None


def size_on_disk(model: KnownModel) -> int | None:
    """Bytes of the model's weights; None where they are not here."""
    if not model.uses_torch:
        return 0
    folder = weights_folder(model.name)
    return None if folder is None else sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def training_note(folder: Path) -> str:
    """What `model.json` says the model was trained on, as a sentence; empty where it does not say."""
    try:
        training = json.loads((folder / "model.json").read_text(encoding="utf-8")).get("training", {})
    except (OSError, ValueError, AttributeError):
        return ""  # whoever loads the model says what is wrong with it
    data = training.get("data") if isinstance(training, dict) else None
    return f"This model was trained on: {data}." if isinstance(data, str) and data else ""
