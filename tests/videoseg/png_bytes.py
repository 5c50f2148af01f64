"""PNGs and small trees of other people's formats, written byte by byte from their specifications, not by our writers.

PNG: https://www.w3.org/TR/png/ (signature, IHDR, PLTE, IDAT, IEND; filter 0).
"""

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

GREY, RGB, PALETTE = 0, 2, 3


def png(rows: Sequence[Sequence[Any]], colour: int = GREY, bits: int = 8) -> bytes:
    """A PNG; pixels are numbers, of RGB triples. A palette is of 256 greys."""
    channels = 3 if colour == RGB else 1
    lines = b""
    for row in rows:
        values = [v for pixel in row for v in (pixel if channels == 3 else (pixel,))]
        lines += b"\0" + struct.pack(f">{len(values)}{'H' if bits == 16 else 'B'}", *values)
    header = struct.pack(">IIBBBBB", len(rows[0]), len(rows), bits, colour, 0, 0, 0)
    palette = _chunk(b"PLTE", bytes(v for i in range(256) for v in (i, i, i))) if colour == PALETTE else b""
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + palette
        + _chunk(b"IDAT", zlib.compress(lines))
        + _chunk(b"IEND", b"")
    )


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def kitti_step(root: Path) -> Path:
    """Sequence 0002 of val, two frames of 3×2: road, a car 258 (1·256 + 2), a crowd of persons, void."""
    road, car, crowd, void = (0, 0, 0), (13, 1, 2), (11, 0, 0), (255, 0, 0)
    folder = root / "panoptic_maps/val/0002"
    put(folder / "000000.png", png([[road, car, car], [road, crowd, void]], RGB))
    put(folder / "000001.png", png([[road, road, car], [void, void, void]], RGB))
    return root


def cityscapes_vps(root: Path) -> Path:
    """Video 0005, two annotated frames of 3×2, the second five source frames on; a car of id 4711, road, a crowd."""
    names = ("0005_0025_frankfurt_000000_001736", "0005_0026_frankfurt_000000_001741")
    car, road, crowd, void = (4711 % 256, 4711 // 256, 0), (128, 64, 128), (60, 20, 220), (0, 0, 0)
    kinds = ("final_mask", "gtFine_color")
    rows = ([[road, car, car], [road, crowd, void]], [[road, road, car], [void, void, void]])
    ids = {"car": 4711, "road": 128 + 256 * 64 + 65536 * 128, "crowd": 60 + 256 * 20 + 65536 * 220}
    segments = [
        [(ids["car"], 13, 0), (ids["road"], 0, 0), (ids["crowd"], 11, 1)],
        [(ids["car"], 13, 0), (ids["road"], 0, 0)],
    ]
    for name, kind, pixels in zip(names, kinds, rows, strict=True):
        put(root / f"val/panoptic_video/{name}_{kind}.png", png(pixels, RGB))
    data = {
        "images": [{"id": n, "width": 3, "height": 2, "file_name": f"{n}_newImg8bit.png"} for n in names],
        "annotations": [
            {
                "image_id": name,
                "file_name": f"{name}_{kind}.png",
                "segments_info": [{"id": i, "category_id": c, "iscrowd": crowd, "area": 1} for i, c, crowd in listed],
            }
            for name, kind, listed in zip(names, kinds, segments, strict=True)
        ],
        "categories": [
            {"id": 0, "name": "road", "supercategory": "flat", "isthing": 0, "trainid": 0, "color": [128, 64, 128]},
            {"id": 8, "name": "vegitation", "supercategory": "nature", "isthing": 0, "trainid": 8, "color": [1, 2, 3]},
            {"id": 11, "name": "person", "supercategory": "human", "isthing": 1, "trainid": 11, "color": [220, 20, 60]},
            {"id": 13, "name": "car", "supercategory": "vehicle", "isthing": 1, "trainid": 13, "color": [0, 0, 142]},
        ],
    }
    put(root / "panoptic_gt_val_city_vps.json", json.dumps(data).encode())
    return root


def kitti_mots_png(root: Path) -> Path:
    """Sequence 0002, two frames of 4×2: car 1005, pedestrian 2001, a region to pass over."""
    folder = root / "instances/0002"
    put(folder / "000000.png", png([[1005, 1005, 0, 10000], [0, 2001, 0, 10000]], GREY, 16))
    put(folder / "000001.png", png([[0, 0, 0, 0], [0, 2001, 2001, 0]], GREY, 16))
    return root


def kitti_mots_txt(root: Path) -> Path:
    """The same as text.

    Run lengths go down the columns; from the fourth on they are coded as differences to the one before the last.
    """
    lines = [
        "0 1005 1 2 4 01104",  # runs 0 1 1 1 5: pixels (0, 0), (0, 1)
        "0 2001 2 2 4 314",  # runs 3 1 4: pixel (1, 1)
        "0 10000 10 2 4 62",  # runs 6 2: the last column
        "1 2001 2 2 4 31101",  # runs 3 1 1 1 2: pixels (1, 1), (1, 2)
    ]
    put(root / "instances_txt/0002.txt", ("\n".join(lines) + "\n").encode())
    put(root / "instances_txt/val.seqmap", b"0002 empty 000000 000003\n")
    return root


def davis(root: Path) -> Path:
    """Sequence `bike-packing`, two frames of 3×2: objects 1 and 2, void in the second."""
    folder = root / "Annotations/480p/bike-packing"
    put(folder / "00000.png", png([[0, 1, 1], [2, 0, 0]], PALETTE))
    put(folder / "00001.png", png([[0, 0, 1], [2, 255, 0]], PALETTE))
    put(root / "ImageSets/2017/val.txt", b"bike-packing\n")
    return root


def vspw(root: Path) -> Path:
    """Video `0_wHjU6P2RxLM`, two frames of 3×2: wall 1, train 124, others 0, void 255."""
    folder = root / "data/0_wHjU6P2RxLM/mask"
    put(folder / "00000333.png", png([[1, 1, 124], [0, 255, 124]]))
    put(folder / "00000348.png", png([[1, 1, 1], [1, 1, 1]]))
    return root


def vspw_prediction(root: Path) -> Path:
    """The same as a network says it: classes from 0."""
    put(root / "0_wHjU6P2RxLM/00000333.png", png([[0, 0, 123], [255, 255, 123]]))
    return root


def vipseg_raw(root: Path) -> Path:
    """Video `12_1mWNahzcsAc`, one frame of 3×2: sky 29, persons 6100 and 6101, void."""
    put(root / "panomasks/12_1mWNahzcsAc/00000010.png", png([[29, 29, 6100], [6101, 6101, 0]], GREY, 16))
    return root


def vipseg(root: Path) -> Path:
    """As VIPSeg's scripts write it: one frame of 2×1, a person of id 300 and the sky."""
    put(root / "panomasksRGB/12_1mWNahzcsAc/00000010.png", png([[(44, 1, 0), (255, 9, 92)]], RGB))
    segments = [
        {"id": 300, "category_id": 60, "iscrowd": 0, "area": 1},
        {"id": 255 + 256 * 9 + 65536 * 92, "category_id": 28, "iscrowd": 0, "area": 1},
    ]
    image = {"id": "00000010", "width": 2, "height": 1, "file_name": "00000010.png"}
    annotation = {"image_id": "00000010", "file_name": "00000010.png", "segments_info": segments}
    data = {
        "videos": [{"video_id": "12_1mWNahzcsAc", "images": [image]}],
        "annotations": [{"video_id": "12_1mWNahzcsAc", "annotations": [annotation]}],
        "categories": [{"id": 28, "name": "sky", "isthing": 0}, {"id": 60, "name": "person", "isthing": 1}],
    }
    put(root / "panoptic_gt_VIPSeg_val.json", json.dumps(data).encode())
    return root


def coco_panoptic(root: Path) -> Path:
    put(root / "panoptic_val2017/000000000139.png", png([[(44, 1, 0), (7, 0, 0)]], RGB))
    segments = [
        {"id": 300, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, 1, 1], "area": 1},
        {"id": 7, "category_id": 119, "iscrowd": 0, "bbox": [1, 0, 1, 1], "area": 1},
    ]
    data = {
        "images": [{"id": 139, "file_name": "000000000139.jpg", "width": 2, "height": 1}],
        "annotations": [{"image_id": 139, "file_name": "000000000139.png", "segments_info": segments}],
        "categories": [
            {"id": 1, "name": "person", "supercategory": "person", "isthing": 1},
            {"id": 119, "name": "flower", "supercategory": "plant", "isthing": 0},
        ],
    }
    put(root / "panoptic_val2017.json", json.dumps(data).encode())
    return root


def youtube_vis(root: Path) -> Path:
    """One video of two frames of 2×1, a person in the left pixel of the first."""
    data = {
        "videos": [{"id": 1, "width": 2, "height": 1, "length": 2, "file_names": ["a/00000.jpg", "a/00005.jpg"]}],
        "annotations": [
            {
                "id": 1,
                "video_id": 1,
                "category_id": 26,
                "iscrowd": 0,
                "segmentations": [{"size": [1, 2], "counts": [0, 1, 1]}, None],
                "areas": [1, None],
                "bboxes": [[0, 0, 1, 1], None],
            }
        ],
        "categories": [{"supercategory": "object", "id": 26, "name": "person"}],
    }
    put(root / "instances.json", json.dumps(data).encode())
    return root


def burst(root: Path) -> Path:
    """One sequence of one frame of 2×1, a person in the left pixel."""
    sequence = {
        "width": 2,
        "height": 1,
        "id": 1,
        "seq_name": "a",
        "dataset": "BDD",
        "fps": 30,
        "all_image_paths": ["1.jpg"],
        "annotated_image_paths": ["1.jpg"],
        "neg_category_ids": [],
        "not_exhaustive_category_ids": [],
        "track_category_ids": {"2": 805},
        "segmentations": [{"2": {"rle": "011", "is_gt": True}}],
    }
    categories = [{"id": 805, "name": "person", "synset": "person.n.01", "def": "a human", "synonyms": ["person"]}]
    data = {"sequences": [sequence], "categories": categories, "split": "val"}
    put(root / "all_classes.json", json.dumps(data).encode())
    return root


def tiff(rows: Sequence[Sequence[int]]) -> bytes:
    """A TIFF of grey pixels of 16 bits in one strip, little endian (TIFF 6.0, section 3)."""
    pixels = b"".join(struct.pack(f"<{len(row)}H", *row) for row in rows)
    fields = [(256, len(rows[0])), (257, len(rows)), (258, 16), (259, 1), (262, 1), (277, 1), (278, len(rows))]
    fields = sorted([*fields, (273, 8), (279, len(pixels))])
    directory = struct.pack("<H", len(fields)) + b"".join(struct.pack("<HHII", tag, 4, 1, v) for tag, v in fields)
    return struct.pack("<2sHI", b"II", 42, 8 + len(pixels)) + pixels + directory + struct.pack("<I", 0)


def ade20k_150(root: Path) -> Path:
    put(root / "annotations/validation/ADE_val_00000001.png", png([[1, 150, 0]]))
    return root


def ade20k_847(root: Path) -> Path:
    put(root / "annotations_detectron2/validation/ADE_val_00000001.tif", tiff([[0, 846, 65535]]))
    return root


def pascal_context_59(root: Path) -> Path:
    put(root / "annotations_ctx59/validation/2008_000002.png", png([[0, 58, 255]]))
    return root


def pascal_context_459(root: Path) -> Path:
    put(root / "annotations_ctx459/validation/2008_000002.tif", tiff([[0, 458, 65535]]))
    return root


def pascal_voc(root: Path) -> Path:
    put(root / "SegmentationClass/2007_000032.png", png([[0, 20, 255]], PALETTE))
    return root


TREES: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "KITTI-STEP": ("kitti_step", kitti_step),
    "Cityscapes-VPS": ("cityscapes_vps", cityscapes_vps),
    "KITTI-MOTS, PNG": ("kitti_mots", kitti_mots_png),
    "KITTI-MOTS, text": ("kitti_mots", kitti_mots_txt),
    "DAVIS": ("davis", davis),
    "VSPW": ("vspw", vspw),
    "VSPW, prediction": ("vspw", vspw_prediction),
    "VIPSeg, raw": ("vipseg", vipseg_raw),
    "VIPSeg": ("vipseg", vipseg),
    "COCO panoptic": ("coco_panoptic", coco_panoptic),
    "YouTube-VIS": ("youtube_vis", youtube_vis),
    "BURST": ("burst", burst),
    "ADE20K-150": ("ade20k_150", ade20k_150),
    "ADE20K-847": ("ade20k_847", ade20k_847),
    "Pascal Context 59": ("pascal_context_59", pascal_context_59),
    "Pascal Context 459": ("pascal_context_459", pascal_context_459),
    "Pascal VOC": ("pascal_voc", pascal_voc),
}
"""What -> (name of its format, writer of its tree)."""
