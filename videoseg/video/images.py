"""`ImageFolder`: a folder of images as a `Source`."""

import os
import re
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from videoseg.errors import InputError
from videoseg.frame import Frame
from videoseg.protocols import Loss, SourceInfo
from videoseg.video.reader import LossRecord
from videoseg.video.selection import Sampling

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

# Images carry no rate. Data sets that come as images (Ego4D, VIPSeg, DAVIS, KITTI) were mostly filmed at 24 to 30.
DEFAULT_RATE = 30


def is_image_source(path: str) -> bool:
    """Whether `path` is a folder, or one still image."""
    return os.path.isdir(path) or (os.path.isfile(path) and path.lower().endswith(SUFFIXES))


class ImageFolder:
    """Images in natural order of their names (2 before 10), frame i at i / rate seconds.

    Images are upright as their EXIF orientation says; grey, palette and 16-bit images become 8-bit RGB; transparency
    is dropped. An image that cannot be read is a loss; one of another size than the first is an `InputError`.
    """

    def __init__(self, path: str, sampling: Sampling, stream: str, fps: float | Fraction | None) -> None:
        if fps is not None and not 0 < fps < float("inf"):
            raise InputError(f"fps must be above 0, got {fps}. For images it is the rate at which they were taken.")
        self._files = _image_files(path)
        rate = Fraction(DEFAULT_RATE if fps is None else fps).limit_denominator(1_000_000)
        self._time_base = 1 / rate
        self._selected = sampling.select(np.arange(len(self._files), dtype=np.int64), self._time_base, path)
        self._losses = LossRecord()
        first = self._first_readable(path)
        height, width = first.shape[:2]
        oddities = [] if fps is not None else [f"Images carry no rate; {DEFAULT_RATE} frames/s are taken."]
        self._info = SourceInfo(
            stream=stream,
            kind="images",
            width=width,
            height=height,
            num_frames=len(self._files),
            rate=rate,
            duration=float(len(self._files) / rate),
            container="folder" if os.path.isdir(path) else "image",
            codec=os.path.splitext(self._files[0])[1].lstrip(".").lower(),
            pixel_format="rgb24",
            colour_matrix="rgb",
            colour_range="full",
            oddities=tuple(oddities),
        )

    @property
    def info(self) -> SourceInfo:
        return self._info

    @property
    def num_selected(self) -> int:
        return len(self._selected)

    def number_of(self, index: int) -> int:
        """See `Source.number_of`."""
        return int(np.searchsorted(self._selected, index))

    @property
    def losses(self) -> tuple[Loss, ...]:
        return tuple(Loss(number, reason, 1) for number, reason in sorted(self._losses.missing.items()))

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """See `Source.frames`."""
        for number in self._selected[start:stop].tolist():
            rgb = self._read(number)
            if rgb is None:
                continue
            if rgb.shape[:2] != (self._info.height, self._info.width):
                raise InputError(
                    f"{self._files[number]} is {rgb.shape[1]}×{rgb.shape[0]} and the images before it are "
                    f"{self._info.width}×{self._info.height}. Put images of each size into a folder of their own."
                )
            yield Frame(
                stream=self._info.stream,
                epoch=0,
                index=number,
                pts=number,
                time_base=self._time_base,
                time=number * self._time_base.numerator / self._time_base.denominator,
                rgb=rgb,
            )

    def close(self) -> None:
        """Nothing is held between frames."""

    def _first_readable(self, path: str) -> NDArray[np.uint8]:
        for number in self._selected.tolist():
            rgb = self._read(number)
            if rgb is not None:
                return rgb
        raise InputError(f"No image in {path} can be read: {next(iter(self._losses.missing.values()))}.")

    def _read(self, number: int) -> NDArray[np.uint8] | None:
        from PIL import Image

        try:
            return _read_rgb(self._files[number])
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            self._losses.missing[number] = f"{self._files[number]} cannot be read ({' '.join(str(error).split())})"
            return None


def _read_rgb(path: str) -> NDArray[np.uint8]:
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            # 16-bit grey: Pillow's own conversion clips at 255.
            deep = np.asarray(upright).astype(np.uint32)
            grey = ((deep * 255 + 32767) // 65535).clip(0, 255).astype(np.uint8)
            return np.ascontiguousarray(np.repeat(grey[:, :, None], 3, axis=2))
        return np.array(upright.convert("RGB"), dtype=np.uint8)


def _image_files(path: str) -> list[str]:
    if os.path.isfile(path):
        if os.path.getsize(path) == 0:
            raise InputError(f"{path} is an empty file. Check that it was copied completely.")
        return [path]
    names = [name for name in os.listdir(path) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
    if not names:
        raise InputError(
            f"The folder {path} has no images in it ({', '.join(suffix[1:] for suffix in SUFFIXES)}). "
            "Give a folder whose images lie directly in it, or a video file."
        )
    return [os.path.join(path, name) for name in sorted(names, key=natural_order)]


def natural_order(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that puts 2 before 10; names that differ in leading zeros only keep the order of their letters."""
    parts = re.split(r"(\d+)", name)
    key = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part.casefold()) for part in parts if part)
    return (*key, (2, 0, name))
