"""Folders of images as sources."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from videoseg.errors import InputError
from videoseg.video import open_source, probe


def folder_of(path: Path, names: list[str], size: tuple[int, int] = (20, 10)) -> Path:
    path.mkdir(exist_ok=True)
    for value, name in enumerate(names):
        Image.new("RGB", size, (value, 2 * value, 3 * value)).save(path / name)
    return path


def test_natural_order_and_times(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "images", ["frame1.png", "frame2.png", "frame10.png", "frame11.png"])
    (path / "notes.txt").write_text("not an image")
    (path / "._frame1.png").write_bytes(b"what some systems leave behind")
    source = open_source(path)
    frames = list(source.frames())
    assert [int(frame.rgb[0, 0, 0]) for frame in frames] == [0, 1, 2, 3]
    assert [frame.time for frame in frames] == [0, 1 / 30, 2 / 30, 3 / 30]
    info = source.info
    assert (info.kind, info.width, info.height, info.num_frames, info.rate) == ("images", 20, 10, 4, 30)
    assert info.oddities == ("Images carry no rate; 30 frames/s are taken.",)
    assert source.losses == ()


def test_rate_range_and_every(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "images", [f"{number:04}.png" for number in range(20)])
    source = open_source(path, fps=10, start=0.5, every=4)
    assert [(frame.index, frame.time) for frame in source.frames()] == [(5, 0.5), (9, 0.9), (13, 1.3), (17, 1.7)]
    assert source.info.oddities == ()
    assert [frame.index for frame in source.frames(1, 3)] == [9, 13]


def test_kinds_of_images(tmp_path: Path) -> None:
    path = tmp_path / "kinds"
    path.mkdir()
    pixels = np.arange(200, dtype=np.uint8).reshape(10, 20)
    Image.fromarray(pixels).save(path / "1.png")
    Image.fromarray(pixels.astype(np.uint16) * 257).save(path / "2.png")
    Image.fromarray(pixels).convert("RGBA").save(path / "3.png")
    Image.fromarray(pixels).convert("P").save(path / "4.png")
    Image.fromarray(np.dstack([pixels] * 3)).save(path / "5.bmp")
    for frame in open_source(path).frames():
        assert np.array_equal(frame.rgb, np.dstack([pixels] * 3)), frame.index


def test_exif_orientation(tmp_path: Path) -> None:
    path = tmp_path / "turned"
    path.mkdir()
    image = Image.new("RGB", (20, 10))
    image.paste((255, 0, 0), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise to be upright
    image.save(path / "1.jpg", exif=exif, quality=95, subsampling=0)
    (frame,) = open_source(path).frames()
    assert frame.size == (20, 10)
    assert frame.rgb[2, 5, 0] > 200
    assert frame.rgb[17, 5, 0] < 50


def test_another_size_stops_and_names_the_file(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "images", ["1.png", "2.png"])
    Image.new("RGB", (30, 10)).save(path / "3.png")
    iterator = open_source(path).frames()
    assert [next(iterator).index, next(iterator).index] == [0, 1]
    with pytest.raises(InputError, match=r"3\.png is 30×10 and the images before it are 20×10"):
        next(iterator)


def test_an_unreadable_image_is_a_loss(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "images", ["1.png", "2.png", "3.png"])
    (path / "2.png").write_bytes(b"no image")
    data = (path / "3.png").read_bytes()
    (path / "3.png").write_bytes(data[:40])
    source = open_source(path)
    assert [frame.index for frame in source.frames()] == [0]
    assert [(loss.index, loss.frames) for loss in source.losses] == [(1, 1), (2, 1)]
    assert "2.png" in source.losses[0].reason


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no images in it"):
        open_source(tmp_path / "empty")
    path = folder_of(tmp_path / "broken", ["1.png"])
    (path / "1.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="No image in"):
        open_source(path)
    with pytest.raises(InputError, match="fps must be above 0"):
        open_source(folder_of(tmp_path / "images", ["1.png"]), fps=0)


def test_one_image(tmp_path: Path) -> None:
    path = folder_of(tmp_path / "images", ["1.png"]) / "1.png"
    info = probe(path)
    assert (info.kind, info.num_frames, info.width) == ("images", 1, 20)
