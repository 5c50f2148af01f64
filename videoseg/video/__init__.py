"""Video in: files and image folders as frame-exact sources. Light to import: decoders load when a source is opened."""

import os
from fractions import Fraction
from pathlib import Path
from typing import Literal

from videoseg.errors import InputError
from videoseg.protocols import Source, SourceInfo

Decoder = Literal["pyav", "decord"]
DECODERS: tuple[str, ...] = ("pyav", "decord")

__all__ = ["DECODERS", "Decoder", "open_source", "probe"]


def open_source(
    path: str | Path,
    *,
    decoder: str = "pyav",
    every: int = 1,
    fps: float | Fraction | None = None,
    start: float | None = None,
    end: float | None = None,
    stream: str | None = None,
    codec_vectors: bool = False,
) -> Source:
    """Opens a video file, or a folder of images, as a source of frames.

    Args:
        path: a video file, a folder of images (in natural order of their names) or one image.
        decoder: `pyav` is right for every file; `decord` takes plain files only and says so for others.
        every: takes each such frame.
        fps: takes so many frames a second: the first at or after each tick. For images it is their rate instead,
            since they have none of their own (30 where not given).
        start: first second to take, in `Frame.time`.
        end: second before which to stop, in `Frame.time`.
        stream: name of the stream in results; the path as given where None.
        codec_vectors: frames come with the motion vectors of the file (`Frame.vectors`) where `pyav` has them.

    Raises:
        InputError: nothing at `path` can be used, or the options contradict each other.
    """
    from videoseg.video.selection import Sampling

    name = os.fspath(path)
    if decoder not in DECODERS:
        raise InputError(f"There is no decoder {decoder!r}. Choose one of: {', '.join(DECODERS)}.")
    stream = name if stream is None else stream
    from videoseg.video.images import ImageFolder, is_image_source

    if is_image_source(name):
        return ImageFolder(name, Sampling(every, None, start, end), stream, fps)
    sampling = Sampling(every, fps, start, end)
    if decoder == "decord":
        from videoseg.video.decord_file import DecordFile

        return DecordFile(name, sampling, stream)
    from videoseg.video.file import VideoFile

    return VideoFile(name, sampling, stream, codec_vectors=codec_vectors)


def probe(path: str | Path) -> SourceInfo:
    """What a video file or image folder is: size, frames, rate, rotation, colour, oddities.

    Reads the whole file once without decoding it, and decodes one frame.

    Raises:
        InputError: nothing at `path` can be used.
    """
    source = open_source(path)
    try:
        return source.info
    finally:
        source.close()
