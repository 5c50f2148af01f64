"""`overlay.mp4` of a run: its frames decoded once more and drawn over, under final ids and categories.

A second pass over the source, and not a part of the first: only after stitching is it known which global track a
segment belongs to, and colours and labels must not change where a chunk ends.
"""

from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter

from pipelines.stages import Window
from videoseg.panoptic import PanopticFrame
from videoseg.rendering import OverlayRenderer
from videoseg.store.reader import Run, open_run
from videoseg.video.writer import VideoWriter

MAX_PIXELS = 3840 * 2160
"""Larger pictures are drawn at a whole fraction of their size: beyond 4K few players can show H.264, and encoding alone
takes a second per frame."""


class OverlayStage:
    """Draws the frames of the windows that pass and writes them to the overlay of the run."""

    def __init__(self, location: str, path: str) -> None:
        self._run: Run = open_run(location)
        self._path = path
        self._results: Iterator[tuple[int, PanopticFrame]] = self._run.numbered_frames()
        self._renderer = OverlayRenderer(self._run.vocabulary)
        self._writer: VideoWriter | None = None
        self._rate = self._run.manifest.source_info.rate

    def advance(self, window: Window) -> Window:
        began = perf_counter()
        drawn = 0
        if not window.ended:
            for number, frame in zip(window.numbers, window.frames, strict=True):
                result = self._result(number)
                # A frame that decodes now and did not before has no result; it is shown as it is.
                rgb = frame.rgb if result is None else self._renderer.render(frame.rgb, result)
                step = 1
                while rgb.shape[0] // step * (rgb.shape[1] // step) > MAX_PIXELS:
                    step += 1
                rgb = rgb[::step, ::step]
                if self._writer is None:
                    self._writer = VideoWriter(self._path, rgb.shape[1], rgb.shape[0], self._rate)
                self._writer.write(rgb, time=frame.time)
                drawn += 1
        if window.last and self._writer is not None:
            self._writer.close()
            self._writer = None
        return replace(window, frames=(), frames_done=drawn).with_time("overlay", began)

    def _result(self, number: int) -> PanopticFrame | None:
        for found, frame in self._results:
            if found == number:
                return frame
            if found > number:
                self._results = _put_back((found, frame), self._results)
                return None
        return None


def _put_back(
    item: tuple[int, PanopticFrame], rest: Iterator[tuple[int, PanopticFrame]]
) -> Iterator[tuple[int, PanopticFrame]]:
    yield item
    yield from rest
