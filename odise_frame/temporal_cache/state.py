"""`CacheState`: all that is remembered of one stream, in one object that can be saved, moved and gone on with."""

from dataclasses import dataclass, field, fields
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from odise_frame.feature_projection import LEVELS
from odise_frame.sizes import OdiseSize
from odise_frame.temporal_cache.change import DIGEST_BYTES, reduction
from odise_frame.temporal_cache.flow import Floats, Picture
from odise_frame.temporal_cache.planner import FramePlan
from odise_frame.temporal_cache.result_motion import Luma
from odise_frame.windows import WindowGrid, plan_windows
from videoseg.errors import InputError
from videoseg.packed_arrays import pack_arrays, unpack_arrays
from videoseg.panoptic import PanopticFrame, Segment

RESULT, EVIDENCE = -2, -1
"""Places in `Canvas.flows` behind those of the windows: back to the last result, and to when CLIP looked at masks."""

_MAGIC = b"VSCACHE\0"


@dataclass(slots=True, eq=False)
class Canvas:
    """What the windows of a stream were when each of them was computed. W windows, C channels, E CLIP's width."""

    picture: Picture
    grid: WindowGrid
    maps: dict[str, Tensor]
    """`s2`..`s5`: `[W, n, n, C]`, channels last."""
    embedding: Tensor
    """float32 `[W, E]`: what CLIP saw in the windows."""
    digests: list[bytes]
    """Fingerprints of the pixels."""
    luma: NDArray[np.uint8]
    """`[W, h, w]`: reduced brightness of the whole frame that each window was computed from."""
    age: NDArray[np.int32]
    """`[W]`: frames since then."""
    caption_age: NDArray[np.int32]
    """`[W]`: refreshes since CLIP described the window."""
    error: Floats
    """`[W]`: expected error after the last frame."""
    flows: Floats | None = None
    """`[W + 2, R, C, 2]`: see `flow`, and `RESULT` and `EVIDENCE`; None before anything moved."""


@dataclass(slots=True, eq=False)
class MaskMemory:
    """What CLIP saw in the masks when it last looked. N masks."""

    owner: NDArray[np.uint8]
    """`[h4, w4]` at stride 4 of the padded frame: 1 + number of the mask that a cell belonged to, 0: none."""
    embedding: Tensor
    """float32 `[N, E]`, not normalised."""


@dataclass(slots=True, eq=False)
class CacheState:
    """The memory of one stream."""

    format_version: ClassVar[int] = 2
    stream: str
    frames: int = 0
    """Seen so far."""
    epoch: int = 0
    credit: float = 0.0
    """Refreshes earned and not spent."""
    heads_age: int = 0
    """Frames since the mask generator ran."""
    evidence_age: int = 0
    """Frames since CLIP looked at the masks."""
    canvas: Canvas | None = None
    result: PanopticFrame | None = None
    """Of the frame in which the mask generator ran last."""
    result_digests: list[bytes] = field(default_factory=list)
    """Fingerprints of that frame's windows."""
    result_luma: Luma | None = None
    """That frame's reduced picture."""
    masks: MaskMemory | None = None
    last_plan: FramePlan | None = None
    """What was done with the last frame."""

    @property
    def nbytes(self) -> int:
        """Of all arrays; see `state_bound`."""
        return sum(array.nbytes for array in self._arrays().values())

    def move_to(self, device: torch.device) -> None:
        """Puts what the network needs on its device."""
        if self.canvas is not None and self.canvas.embedding.device != device:
            self.canvas.maps = {name: maps.to(device) for name, maps in self.canvas.maps.items()}
            self.canvas.embedding = self.canvas.embedding.to(device)
        if self.masks is not None and self.masks.embedding.device != device:
            self.masks.embedding = self.masks.embedding.to(device)

    def to_bytes(self) -> bytes:
        """Header with its length, then the arrays one after the other: what `from_bytes` makes of it goes on bit for
        bit as this one does."""
        header = {
            "format_version": self.format_version,
            "stream": self.stream,
            "frames": self.frames,
            "epoch": self.epoch,
            "credit": self.credit,
            "heads_age": self.heads_age,
            "evidence_age": self.evidence_age,
            "plan": None if self.last_plan is None else self.last_plan.to_json(),
            "canvas": None if self.canvas is None else _describe_canvas(self.canvas),
            "has_masks": self.masks is not None,
            "result": None if self.result is None else _describe_result(self.result),
        }
        return _MAGIC + pack_arrays(header, self._arrays())

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """On the CPU; the segmenter moves it to its device.

        Raises:
            InputError: `data` has another format version or is damaged.
        """
        header, arrays = _unpack(data, cls.format_version)
        try:
            return cls(
                stream=header["stream"],
                frames=header["frames"],
                epoch=header["epoch"],
                credit=header["credit"],
                heads_age=header["heads_age"],
                evidence_age=header["evidence_age"],
                canvas=None if header["canvas"] is None else _read_canvas(header["canvas"], arrays),
                result=None if header["result"] is None else _read_result(header["result"], arrays),
                result_digests=_split_digests(arrays["result.digests"]) if header["result"] is not None else [],
                result_luma=arrays.get("result.luma"),
                masks=(
                    MaskMemory(arrays["masks.owner"], torch.from_numpy(arrays["masks.embedding"]))
                    if header["has_masks"]
                    else None
                ),
                last_plan=None if header["plan"] is None else FramePlan.from_json(header["plan"]),
            )
        except (KeyError, TypeError, ValueError):
            raise _damaged() from None

    def _arrays(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = {}
        if (canvas := self.canvas) is not None:
            for name, maps in canvas.maps.items():
                # NumPy has no bfloat16; the bits are what counts.
                bits = maps.view(torch.int16) if maps.dtype == torch.bfloat16 else maps
                found[f"maps.{name}"] = bits.cpu().numpy()
            found["embedding"] = canvas.embedding.cpu().numpy()
            found["digests"] = np.frombuffer(b"".join(canvas.digests), np.uint8)
            found["luma"], found["age"], found["caption_age"] = canvas.luma, canvas.age, canvas.caption_age
            found["error"] = canvas.error
            if canvas.flows is not None:
                found["flows"] = canvas.flows
        if self.masks is not None:
            found["masks.owner"], found["masks.embedding"] = self.masks.owner, self.masks.embedding.cpu().numpy()
        if self.result is not None:
            found["result.id_map"] = self.result.id_map
            if self.result_luma is not None:
                found["result.luma"] = self.result_luma
            found["result.digests"] = np.frombuffer(b"".join(self.result_digests), np.uint8)
            for name in ("embedding", "open_vocabulary"):
                rows = [getattr(segment, name) for segment in self.result.segments]
                found[f"result.{name}"] = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
        return found


def state_bound(size: OdiseSize, frame: tuple[int, int], image: tuple[int, int], *, bytes_per_value: int) -> int:
    """The most that `CacheState.nbytes` of a stream of such frames can be.

    Args:
        frame: height and width as decoded.
        image: what it is resized to.
        bytes_per_value: of the maps: 4 in mode `exact`, 2 else.
    """
    height, width = (side + -side % size.size_divisibility for side in image)
    grid = plan_windows(height, width, size.window)
    count, factor = len(grid), reduction(*image)
    cells = sum((grid.side >> level) ** 2 for level in LEVELS)
    # Blocks of motion have at least 8 pixels.
    blocks = -(-frame[0] // 8) * -(-frame[1] // 8)
    generator = size.mask_generator
    per_segment = 4 * (2 * (generator.hidden_dim + size.clip.embed_dim) + 2)
    return (
        count * cells * size.feature_dim * bytes_per_value
        + count * (4 * size.clip.embed_dim + 2 * DIGEST_BYTES + 12)
        + count * (image[0] // factor) * (image[1] // factor)
        + (count + 2) * blocks * 8
        + (height // 4) * (width // 4)
        + generator.queries * (4 * size.clip.embed_dim + per_segment)
        + 2 * frame[0] * frame[1]
        + 64 * blocks
    )


# --- the parts of the format ------------------------------------------------------------------------------------------


def _describe_canvas(canvas: Canvas) -> dict[str, Any]:
    kinds = {str(maps.dtype).removeprefix("torch.") for maps in canvas.maps.values()}
    grid = canvas.grid
    return {
        "frame": canvas.picture.frame,
        "image": canvas.picture.image,
        "padded": [grid.height, grid.width],
        "side": grid.side,
        "corners": grid.corners,
        "dtype": kinds.pop(),
        "moved": canvas.flows is not None,
    }


def _read_canvas(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Canvas:
    dtype = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}[header["dtype"]]
    maps = {f"s{level}": torch.from_numpy(arrays[f"maps.s{level}"]) for level in LEVELS}
    if dtype == torch.bfloat16:
        maps = {name: bits.view(dtype) for name, bits in maps.items()}
    (height, width), corners = header["padded"], tuple((top, left) for top, left in header["corners"])
    return Canvas(
        picture=Picture(_pair(header["frame"]), _pair(header["image"])),
        grid=WindowGrid(height, width, header["side"], corners),
        maps=maps,
        embedding=torch.from_numpy(arrays["embedding"]),
        digests=_split_digests(arrays["digests"]),
        luma=arrays["luma"],
        age=arrays["age"],
        caption_age=arrays["caption_age"],
        error=arrays["error"],
        flows=arrays["flows"] if header["moved"] else None,
    )


def _describe_result(result: PanopticFrame) -> dict[str, Any]:
    plain = [each.name for each in fields(Segment) if each.name not in ("embedding", "open_vocabulary")]
    return {
        "stream": result.stream,
        "epoch": result.epoch,
        "index": result.index,
        "pts": result.pts,
        "time_base": str(result.time_base),
        "time": result.time,
        "segments": [{name: getattr(segment, name) for name in plain} for segment in result.segments],
    }


def _read_result(header: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> PanopticFrame:
    segments = []
    for row, said in enumerate(header["segments"]):
        probabilities = tuple((int(k), float(p)) for k, p in said.pop("probabilities"))
        segments.append(
            Segment(
                **{**said, "box": tuple(said["box"])},
                probabilities=probabilities,
                embedding=arrays["result.embedding"][row],
                open_vocabulary=arrays["result.open_vocabulary"][row],
            )
        )
    return PanopticFrame(
        stream=header["stream"],
        epoch=header["epoch"],
        index=header["index"],
        pts=header["pts"],
        time_base=Fraction(header["time_base"]),
        time=header["time"],
        id_map=arrays["result.id_map"],
        segments=tuple(segments),
    )


def _unpack(data: bytes, version: int) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        if not data.startswith(_MAGIC):
            raise _damaged()
        header, arrays = unpack_arrays(data[len(_MAGIC) :])
        found = header["format_version"]
    except (ValueError, KeyError):
        raise _damaged() from None
    if found != version:
        raise InputError(
            f"The saved state of the segmenter has format version {found}, this videoseg reads {version}: "
            "start the stream anew."
        )
    return header, arrays


def _split_digests(joined: NDArray[Any]) -> list[bytes]:
    return [row.tobytes() for row in joined.reshape(-1, DIGEST_BYTES)]


def _damaged() -> InputError:
    return InputError("The saved state of the segmenter is damaged: start the stream anew.")


def _pair(values: list[int]) -> tuple[int, int]:
    return int(values[0]), int(values[1])
