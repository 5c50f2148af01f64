"""Writes id maps as a VIPSeg folder byte by byte as its scripts expect it, without our own writer."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def write_vipseg(
    folder: Path,
    videos: dict[str, tuple[NDArray[np.integer], Sequence[Sequence[Sequence[int]]]]],
    categories: Sequence[tuple[int, str, bool]],
    *,
    pngs: str = "pan_pred",
    json_name: str = "pred.json",
    with_videos: bool = True,
    leave_out: frozenset[tuple[str, int]] = frozenset(),
) -> Path:
    """
    Args:
        videos: name -> ids `[T, H, W]` and per frame (id, place in `categories`, iscrowd).
        categories: (id in the file, name, is thing).
        leave_out: (video, frame) that the file lacks altogether.
    """
    annotations: list[dict[str, Any]] = []
    listed = []
    for name, (maps, segments) in videos.items():
        (folder / pngs / name).mkdir(parents=True)
        frames, images = [], []
        for t, (ids, rows) in enumerate(zip(maps, segments, strict=True)):
            frame = f"{3 * t:05d}"  # VIPSeg names frames by their place in the source
            images.append({"id": frame, "file_name": f"{frame}.jpg", "height": ids.shape[0], "width": ids.shape[1]})
            if (name, t) in leave_out:
                continue
            wide = ids.astype(np.uint32)
            Image.fromarray(np.stack([wide % 256, wide // 256 % 256, wide // 65536], axis=-1).astype(np.uint8)).save(
                folder / pngs / name / f"{frame}.png"
            )
            info = [
                {"id": int(i), "category_id": categories[c][0], "iscrowd": crowd, "area": int((ids == i).sum())}
                for i, c, crowd in rows
            ]
            frames.append({"file_name": f"{frame}.png", "image_id": frame, "segments_info": info})
        annotations.append({"video_id": name, "annotations": frames})
        listed.append({"video_id": name, "images": images})
    data: dict[str, Any] = {"annotations": annotations}
    if with_videos:
        data["videos"] = listed
    data["categories"] = [{"id": i, "name": name, "isthing": int(thing)} for i, name, thing in categories]
    (folder / json_name).write_text(json.dumps(data))
    return folder
