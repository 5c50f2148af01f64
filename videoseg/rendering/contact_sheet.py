"""`contact_sheet`: several frames in one picture."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from videoseg.rendering.labels import label_patch, paste

_GROUND = (18, 20, 24)


def contact_sheet(
    frames: Sequence[NDArray[np.uint8]],
    *,
    columns: int | None = None,
    width: int = 1280,
    gap: int = 6,
    captions: Sequence[str] = (),
) -> NDArray[np.uint8]:
    """Frames in rows, left to right, all in cells of one size.

    Args:
        frames: uint8 `[H, W, 3]` each, at least one; other sizes than the first's are fitted into its cell.
        columns: frames per row; by default as many as make the sheet about as wide as three fifths over its height.
        width: of the sheet in pixels.
        gap: between cells and around them, in pixels.
        captions: a word for each frame, in its upper left corner.

    Returns:
        uint8 `[height, width, 3]`.
    """
    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    if captions and len(captions) != len(frames):
        raise ValueError(f"{len(captions)} captions for {len(frames)} frames")
    height_0, width_0 = frames[0].shape[:2]
    if columns is None:
        columns = round(math.sqrt(len(frames) * 1.6 * height_0 / width_0))
    columns = min(max(columns, 1), len(frames))
    rows = -(-len(frames) // columns)
    cell_width = max(1, (width - gap) // columns - gap)
    cell_height = max(1, round(cell_width * height_0 / width_0))
    sheet = np.empty((rows * (cell_height + gap) + gap, width, 3), dtype=np.uint8)
    sheet[...] = _GROUND
    for i, frame in enumerate(frames):
        scale = min(cell_width / frame.shape[1], cell_height / frame.shape[0])
        shown_width = min(cell_width, max(1, round(frame.shape[1] * scale)))
        shown_height = min(cell_height, max(1, round(frame.shape[0] * scale)))
        method = Image.Resampling.LANCZOS if scale < 1 else Image.Resampling.BICUBIC
        shown = np.array(Image.fromarray(frame).resize((shown_width, shown_height), method))
        row, column = divmod(i, columns)
        top = gap + row * (cell_height + gap) + (cell_height - shown_height) // 2
        left = gap + column * (cell_width + gap) + (cell_width - shown_width) // 2
        sheet[top : top + shown_height, left : left + shown_width] = shown
        if captions and captions[i]:
            patch = label_patch(captions[i], "", (128, 128, 128), max(11, round(cell_height / 24)), False)
            if patch.shape[0] + 8 <= shown_height and patch.shape[1] + 8 <= shown_width:
                paste(sheet, patch, left + 4, top + 4)
    return sheet
