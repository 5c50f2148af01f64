"""The part that COCO panoptic and VIPSeg have in common: a PNG of ids, and a list that says what each id is.

Sources: COCO panoptic format (https://cocodataset.org/#format-data, 4. Panoptic Segmentation): id = R + 256·G + 256²·B,
0 is void, `segments_info` lists every id.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError
from videoseg.formats.recorded import RecordedFrame, RecordedSegments
from videoseg.panoptic import MAX_SEGMENTS, VOID, PanopticFrame, Segment, measure_segments
from videoseg.vocabulary import Category, Colour, Vocabulary, spread_colour

MAX_ID = 256**3 - 1
"""The largest id that a PNG of three 8-bit channels holds."""

MAX_PIXELS = 100_000_000
"""Three times a frame of 8K: a damaged header can claim billions, which would be filled with zeros."""


@dataclass(frozen=True, slots=True)
class Categories:
    """The categories of a file: its own ids, and our vocabulary in the order of the file."""

    vocabulary: Vocabulary
    index: Mapping[int, int]
    """The file's category id -> index into the vocabulary."""
    named: bool = True
    """Whether the file names them."""

    def recorded(
        self, path: Path, format: str, frames: Mapping[str, Sequence[RecordedFrame]], *, tracked: bool
    ) -> RecordedSegments:
        """The frames of a file with these categories, by video."""
        return RecordedSegments(
            path=path,
            format=format,
            vocabulary=self.vocabulary,
            tracked=tracked,
            recorded=frames,
            category_ids=tuple(self.index),
            named=self.named,
        )


def category_id(index: int) -> int:
    """The id under which we write a category: from 1, because many programs take 0 for void."""
    return index + 1


def categories_json(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The `categories` list of a file of ours."""
    return [
        {
            "id": category_id(i),
            "name": category.name,
            "supercategory": "thing" if category.is_thing else "stuff",
            "isthing": int(category.is_thing),
            "color": list(category.colour),
            # Not in the formats, and passed over by other readers: with it the vocabulary comes back whole.
            "synonyms": list(category.names[1:]),
        }
        for i, category in enumerate(vocabulary)
    ]


def read_categories(listed: object, where: str) -> Categories:
    """Reads a `categories` list.

    Args:
        where: file and field, for messages.

    Raises:
        InputError: an entry lacks `id`, `name` or `isthing`, or an id stands twice.
    """
    if not isinstance(listed, list) or not listed:
        raise InputError(f"{where} must be a list of categories, and not empty.")
    found: list[Category] = []
    index: dict[int, int] = {}
    for i, entry in enumerate(listed):
        place = f"{where}[{i}]"
        if not isinstance(entry, dict):
            raise InputError(f"{place} must be an object with `id`, `name` and `isthing`.")
        number = _integer(entry, "id", place)
        name = entry.get("name")
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{place}.name must be a word, found {name!r}.")
        if entry.get("isthing") not in (0, 1):
            raise InputError(f"{place}.isthing must be 0 or 1, found {entry.get('isthing')!r}.")
        if number in index:
            raise InputError(f"{place}.id {number} stands twice in the list.")
        index[number] = i
        synonyms = entry.get("synonyms", [])
        if not isinstance(synonyms, list) or not all(isinstance(word, str) for word in synonyms):
            raise InputError(f"{place}.synonyms must be a list of words.")
        red, green, blue = _colour(entry.get("color")) or spread_colour(i)
        found.append(Category(names=(name, *synonyms), is_thing=bool(entry["isthing"]), colour=(red, green, blue)))
    return Categories(Vocabulary(tuple(found)), index)


def guess_categories(segments: Mapping[int, bool | None], where: str) -> Categories:
    """Categories of a file that lists none: they are called by their ids.

    Args:
        segments: category id -> `isthing` as segments say it, None where none does.

    Raises:
        InputError: there is no category, or nothing says whether one is a thing.
    """
    for number, is_thing in segments.items():
        if is_thing is None:
            raise InputError(
                f"{where} has no `categories`, and no segment says `isthing` for category {number}. Add one of them."
            )
    if not segments:
        raise InputError(f"{where} has no `categories` and no segments: there is nothing to read.")
    numbers = sorted(segments)
    vocabulary = Vocabulary.of([((f"category {number}",), bool(segments[number])) for number in numbers])
    return Categories(vocabulary, {number: i for i, number in enumerate(numbers)}, named=False)


def write_png(path: Path, ids: NDArray[np.uint32]) -> None:
    """Writes ids `[H, W]` up to 2²⁴ - 1 as an RGB PNG."""
    from PIL import Image

    if ids.size and int(ids.max()) > MAX_ID:
        raise ValueError(f"id {int(ids.max())} does not fit an RGB PNG (up to {MAX_ID})")
    planes = np.ascontiguousarray(ids.astype("<u4")).view(np.uint8).reshape(*ids.shape, 4)[..., :3]
    # Level 1: a third of the time of the default for a tenth more bytes.
    Image.fromarray(np.ascontiguousarray(planes)).save(path, format="PNG", compress_level=1)


def read_png(path: Path, listed: Sequence[int]) -> NDArray[np.uint32]:
    """Reads a PNG of ids.

    - RGB (or RGBA): id = R + 256·G + 256²·B.
    - Grey, 8 or 16 bits: the value is the id.
    - Palette: the index is the id where all indices in use are listed (or 0), else the palette's colour is, as in RGB.

    Args:
        path: of the file.
        listed: the ids that the JSON lists for it, to tell the two kinds of palette apart.

    Returns:
        uint32 `[H, W]`.

    Raises:
        InputError: missing, not a PNG, or of another kind.
    """
    pixels, mode, palette, bit_depth = load_png(path, missing="the JSON lists it")
    if mode in ("RGB", "RGBA"):
        if bit_depth > 8:
            raise InputError(f"The PNG {path} has {bit_depth} bits per channel; ids need RGB with 8 bits, or grey.")
        return _colour_ids(pixels[..., :3])
    if mode in ("1", "L", "I", "I;16", "I;16B"):
        return pixels.astype(np.uint32)
    if mode == "P" and palette is not None:
        used = np.unique(pixels)
        if set(used.tolist()) <= {0, *listed}:
            return pixels.astype(np.uint32)
        table = np.zeros((256, 3), dtype=np.uint8)
        table[: len(palette) // 3] = np.array(palette, dtype=np.uint8).reshape(-1, 3)
        ids: NDArray[np.uint32] = _colour_ids(table)[pixels]
        return ids
    raise InputError(f"The PNG {path} is of mode {mode}; ids need RGB, grey or a palette.")


def load_png(path: Path, *, missing: str) -> tuple[NDArray[Any], str, list[int] | None, int]:
    """The pixels of a PNG as they are stored, Pillow's mode, the palette (red, green, blue, red, …), bits per channel.

    Args:
        missing: why there should be a file, for the message where there is none.

    Raises:
        InputError: missing, not a PNG, damaged, or larger than any frame.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with path.open("rb") as file:
            header = file.read(26)
        width, height, bit_depth = struct.unpack(">IIB", header[16:25]) if len(header) == 26 else (0, 0, 0)
        if width * height > MAX_PIXELS:
            raise InputError(
                f"The PNG {path} is {width}×{height} pixels, and frames have up to {MAX_PIXELS}: it is damaged."
            )
        with Image.open(path, formats=("PNG",)) as image:
            image.load()
            return np.asarray(image), image.mode, image.getpalette("RGB"), bit_depth
    except FileNotFoundError:
        raise InputError(f"The file {path} is missing; {missing}.") from None
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"The file {path} is not a PNG, or it is damaged: {error}") from None


@dataclass(frozen=True, slots=True)
class Times:
    """When a recorded frame was shown."""

    index: int
    epoch: int
    pts: int
    time_base: Fraction
    time: float

    @classmethod
    def at(cls, number: int, rate: Fraction) -> "Times":
        """Of frame `number` of a video of which only the rate is known."""
        return cls(index=number, epoch=0, pts=number, time_base=1 / rate, time=float(number / rate))

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "epoch": self.epoch,
            "pts": self.pts,
            "time_base": str(self.time_base),
            "time": self.time,
        }

    @classmethod
    def of_json(cls, image: Mapping[str, Any], number: int, rate: Fraction, where: str) -> "Times":
        """From an `images` entry of a file of ours; of any other, from number and rate."""
        if not {"index", "epoch", "pts", "time_base", "time"} <= image.keys():
            return cls.at(number, rate)
        try:
            return cls(
                index=int(image["index"]),
                epoch=int(image["epoch"]),
                pts=int(image["pts"]),
                time_base=Fraction(image["time_base"]),
                time=float(image["time"]),
            )
        except (TypeError, ValueError, ZeroDivisionError):
            raise InputError(f"{where}: `index`, `epoch`, `pts`, `time_base` and `time` must be numbers.") from None


def said_index(image: Mapping[str, Any]) -> int | None:
    """The number that an `images` entry of a file of ours gives to its frame; None in any other file."""
    index = image.get("index")
    return index if isinstance(index, int) and "time_base" in image else None


def segments_info(frame: PanopticFrame, ids: Mapping[int, int]) -> list[dict[str, Any]]:
    """The `segments_info` list of a frame.

    Args:
        ids: segment id -> id in the PNG.
    """
    return [
        {
            "id": ids[segment.id],
            "category_id": category_id(segment.category),
            "isthing": int(segment.is_thing),
            "area": segment.area,
            "bbox": [
                segment.box[0],
                segment.box[1],
                segment.box[2] - segment.box[0],
                segment.box[3] - segment.box[1],
            ],
            "iscrowd": int(segment.crowd),
            "score": segment.score,
        }
        for segment in frame.segments
    ]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a file says an id of a PNG is."""

    category: int
    """Index into the vocabulary."""
    is_thing: bool
    track: int | None = None
    score: float = 1.0
    crowd: bool = False
    """Instances not told apart, or a region to pass over; see `Segment.crowd`."""


def frame_of_ids(
    ids: NDArray[Any], meanings: Mapping[int, Meaning], *, stream: str, times: Times, png: Path
) -> PanopticFrame:
    """A frame from a map of a file's own ids.

    Segment ids become 1, 2, … in the order of `meanings`, which is that of the file: some metrics depend on what is
    listed first. Area and box are measured.

    Args:
        ids: unsigned `[H, W]`.
        meanings: id -> what it is, for every id of the map that is a segment; the others become void.
        png: the file, for messages.

    Raises:
        InputError: more segments than a frame holds.
    """
    present, lengths, number_of_run = _runs(ids)
    there = set(present.tolist())
    kept = [(number, meaning) for number, meaning in meanings.items() if number in there]
    if len(kept) > MAX_SEGMENTS:
        raise InputError(f"{png} has {len(kept)} segments in one frame; a frame holds up to {MAX_SEGMENTS}.")
    local = {number: i + 1 for i, (number, _) in enumerate(kept)}
    table = np.array([local.get(number, VOID) for number in present.tolist()], dtype=np.uint16)
    id_map = np.repeat(table[number_of_run], lengths).reshape(ids.shape)
    measures = measure_segments(id_map)
    segments = []
    for i, (_, meaning) in enumerate(kept, start=1):
        area, box = measures[i]
        segments.append(
            Segment(
                id=i,
                category=meaning.category,
                is_thing=meaning.is_thing,
                score=meaning.score,
                area=area,
                box=box,
                track=meaning.track,
                crowd=meaning.crowd,
            )
        )
    return PanopticFrame(
        stream=stream,
        epoch=times.epoch,
        index=times.index,
        pts=times.pts,
        time_base=times.time_base,
        time=times.time,
        id_map=id_map,
        segments=tuple(segments),
    )


def distinct_ids(ids: NDArray[Any]) -> list[int]:
    """The ids of a map `[H, W]`, ascending; quicker than `np.unique`, as ids come in runs."""
    found: list[int] = _runs(ids)[0].tolist()
    return found


def panoptic_frame(
    *,
    stream: str,
    times: Times,
    png: Path,
    listed: object,
    categories: Categories,
    tracked: bool,
    size: tuple[int, int] | None,
    where: str,
) -> PanopticFrame:
    """A frame from its PNG and its `segments_info`.

    `iscrowd` becomes `Segment.crowd`. `area` and `bbox` are measured, not read; `score` is 1 where it is missing.

    Args:
        tracked: whether ids in the PNG are track ids.
        size: height and width that the JSON gives, None where it gives none.
        where: file and field of the list, for messages.

    Raises:
        InputError: list and PNG contradict each other, or a field is missing or wrong.
    """
    meanings = _meanings(listed, categories, tracked, where)
    ids = read_png(png, list(meanings))
    if size is not None and ids.shape != size:
        raise InputError(
            f"The PNG {png} is {ids.shape[1]}×{ids.shape[0]} pixels, the JSON says {size[1]}×{size[0]} (at {where})."
        )
    present = distinct_ids(ids)
    unlisted = [number for number in present if number != VOID and number not in meanings]
    if unlisted:
        raise InputError(f"The PNG {png} has pixels of id {some(unlisted)}, which {where} does not list.")
    empty = sorted(set(meanings) - set(present))
    if empty:
        raise InputError(f"{where} lists id {some(empty)}, which no pixel of {png} has. Take it out of the list.")
    return frame_of_ids(ids, meanings, stream=stream, times=times, png=png)


def _meanings(listed: object, categories: Categories, tracked: bool, where: str) -> dict[int, Meaning]:
    """Reads a `segments_info` list; `where` is its file and field."""
    if not isinstance(listed, list):
        raise InputError(f"{where} must be a list of segments.")
    meanings: dict[int, Meaning] = {}
    for i, entry in enumerate(listed):
        place = f"{where}[{i}]"
        if not isinstance(entry, dict):
            raise InputError(f"{place} must be an object with `id` and `category_id`.")
        number = _integer(entry, "id", place)
        if not 1 <= number <= MAX_ID:
            raise InputError(f"{place}.id must be in 1..{MAX_ID}, found {number}.")
        if number in meanings:
            raise InputError(f"{place}.id {number} stands twice in the list.")
        category = _integer(entry, "category_id", place)
        if category not in categories.index:
            raise InputError(f"{place}.category_id {category} is not among the `categories` of the file.")
        index = categories.index[category]
        score = entry.get("score", 1.0)
        if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
            raise InputError(f"{place}.score must be a number in 0..1, found {score!r}.")
        if entry.get("iscrowd", 0) not in (0, 1):
            raise InputError(f"{place}.iscrowd must be 0 or 1, found {entry['iscrowd']!r}.")
        meanings[number] = Meaning(
            category=index,
            is_thing=bool(entry.get("isthing", categories.vocabulary[index].is_thing)),
            track=number if tracked else None,
            score=float(score),
            crowd=bool(entry.get("iscrowd", 0)),
        )
    return meanings


def inside(root: Path, name: object, where: str) -> Path:
    """The file `name` below `root`; InputError where it is no name or leads out of `root`."""
    if not isinstance(name, str) or not name:
        raise InputError(f"{where}.file_name must be the name of a file, found {name!r}.")
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{where}.file_name {name!r} leads out of the folder {root}.")
    # COCO names the JPEG in some files and the PNG in others.
    return (root / path).with_suffix(".png")


def _runs(ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp], NDArray[np.intp]]:
    """Distinct ids (ascending), and of every run of equal pixels its length and which distinct id it is."""
    flat = ids.ravel()
    starts = np.concatenate(([0], np.flatnonzero(flat[1:] != flat[:-1]) + 1))
    present, number_of_run = np.unique(flat[starts], return_inverse=True)
    return present, np.diff(starts, append=flat.size), number_of_run.reshape(-1)


def _colour_ids(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    wide = colours.astype(np.uint32)
    return np.asarray(wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2], dtype=np.uint32)


def _integer(entry: Mapping[str, Any], field: str, place: str) -> int:
    value = entry.get(field)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{place}.{field} must be a whole number, found {value!r}.")
    return value


def _colour(value: object) -> Colour | None:
    if isinstance(value, list) and len(value) == 3 and all(isinstance(p, int) and 0 <= p <= 255 for p in value):
        return value[0], value[1], value[2]
    return None


def some(numbers: Sequence[int]) -> str:
    """The first few of many numbers, for messages."""
    shown = ", ".join(str(number) for number in numbers[:3])
    return f"{shown} and {len(numbers) - 3} more" if len(numbers) > 3 else shown
