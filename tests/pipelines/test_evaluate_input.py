"""`videoseg eval` on input that is wrong, incomplete or written another way: an error, or the convention, said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_lines import Answer, run_many
from numpy.typing import NDArray
from PIL import Image
from vipseg_folders import write_vipseg

CATEGORIES = [(0, "dog", True), (40, "car", True), (7, "sky", False), (9, "grass", False)]
Videos = dict[str, tuple[NDArray[np.integer], list[list[tuple[int, int, int]]]]]


def world(number: int = 1) -> Videos:
    """Two videos of 5 frames: sky over grass, a dog that moves and a car that stands; ids above 65535."""
    videos: Videos = {}
    for v in range(2):
        maps = np.zeros((5, 16, 24), np.int64)
        maps[:, :8], maps[:, 8:] = 70_000 * number, 70_001 * number
        maps[:, 9:13, 16:21] = 3 * number
        for t in range(5):
            maps[t, 4:10, 2 + 2 * t : 7 + 2 * t] = (200_000 + v) * number
        rows = [(70_000 * number, 2, 0), (70_001 * number, 3, 0), (3 * number, 1, 0), ((200_000 + v) * number, 0, 0)]
        videos[f"v{v}"] = maps, [rows] * 5
    return videos


def rewrite_pngs(folder: Path, change: Callable[[NDArray[Any]], Image.Image]) -> None:
    """Every PNG from its ids, numbered again as 1, 2, 3, 4 in the JSON, too."""
    number = {70_000: 1, 70_001: 2, 3: 3, 200_000: 4, 200_001: 4}
    for file in folder.rglob("*.png"):
        pixels = np.asarray(Image.open(file)).astype(np.int64)
        ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
        change(np.vectorize(number.__getitem__)(ids)).save(file)
    edit(folder, lambda data: [s.update(id=number[s["id"]]) for s in segments(data)])


def palette(ids: NDArray[Any]) -> Image.Image:
    image = Image.fromarray(ids.astype(np.uint8), mode="P")
    image.putpalette([channel for i in range(256) for channel in (i * 7 % 256, i * 5 % 256, i)])
    return image


def segments(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [s for video in data["annotations"] for frame in video["annotations"] for s in frame["segments_info"]]


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "pred.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def drop_frames(data: dict[str, Any]) -> None:
    frames = data["annotations"][0]["annotations"]
    del frames[1], frames[2]
    data["annotations"][1]["annotations"].pop()


def rename_frames(folder: Path) -> None:
    for file in sorted((folder / "pan_pred").rglob("*.png")):
        file.rename(file.with_name(f"frame_{file.name}"))
    edit(folder, lambda data: [f.update(file_name=f"frame_{f['file_name']}") for v in data["annotations"]
                               for f in v["annotations"]])  # fmt: skip


def no_categories(folder: Path) -> None:
    """As many predictions are: neither `videos` nor `categories`, but `isthing` with every segment."""
    things = {number: thing for number, _, thing in CATEGORIES}

    def change(data: dict[str, Any]) -> None:
        del data["videos"], data["categories"]
        for segment in segments(data):
            segment["isthing"] = int(things[segment["category_id"]])

    edit(folder, change)


PERFECT: dict[str, Callable[[Path], None]] = {
    "same": lambda folder: None,
    "16 bits": lambda folder: rewrite_pngs(folder, lambda ids: Image.fromarray(ids.astype(np.uint16))),
    "grey": lambda folder: rewrite_pngs(folder, lambda ids: Image.fromarray(ids.astype(np.uint8))),
    "palette": lambda folder: rewrite_pngs(folder, palette),
    "other names of frames": rename_frames,
    "no categories": no_categories,
}
LACKING: dict[str, tuple[Callable[[Path], None], dict[str, Any]]] = {
    "frames": (lambda folder: edit(folder, drop_frames), {"missing_frames": 3}),
    "a video": (lambda folder: edit(folder, lambda data: data["annotations"].pop()),
                {"missing_frames": 5, "missing_videos": ["v1"]}),
    "all of a video": (lambda folder: edit(folder, lambda data: data["annotations"][1].update(annotations=[])),
                       {"missing_frames": 5}),
    "a category": (lambda folder: edit(folder, lambda data: data["categories"][1].update(name="lorry")),
                   {"unknown_categories": ["lorry"]}),
}  # fmt: skip


def paint(folder: Path, value: int) -> None:
    file = next(iter(sorted(folder.rglob("*.png"))))
    pixels = np.array(Image.open(file))
    pixels[0, 0] = value
    Image.fromarray(pixels).save(file)


def shrink(folder: Path) -> None:
    for file in folder.rglob("*.png"):
        Image.fromarray(np.asarray(Image.open(file))[::2]).save(file)
    edit(folder, lambda data: data.pop("videos"))


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "an id without segment": (lambda folder: paint(folder, 9), "has pixels of id 592137, which"),
    "a segment without pixels": (
        lambda folder: edit(folder, lambda data: segments(data)[0].update(id=5)), "has pixels of id 70000, which"),
    "a listed id more": (
        lambda folder: edit(folder, lambda data: data["annotations"][0]["annotations"][0]["segments_info"].append(
            {"id": 5, "category_id": 7})), "lists id 5, which no pixel of"),
    "a category that is not listed": (
        lambda folder: edit(folder, lambda data: segments(data)[0].update(category_id=3)),
        "category_id 3 is not among"),
    "another size": (shrink, "The prediction is 24×8 pixels, the ground truth 24×16"),
    "no video in common": (
        lambda folder: edit(folder, lambda data: [v.update(video_id=v["video_id"] + "x") for v in data["annotations"]]),
        "no folder with its PNGs"),
    "no category in common": (
        lambda folder: edit(folder, lambda data: [c.update(name=c["name"] + "x") for c in data["categories"]]),
        "knows none of the categories"),
    "no such file": (shutil.rmtree, "There is no "),
    "nothing in it": (lambda folder: (shutil.rmtree(folder), folder.mkdir())[1], "no per-frame segments"),
    "broken JSON": (lambda folder: (folder / "pred.json").write_text('{"annotations": ['), "no per-frame segments"),
    "missing PNG": (lambda folder: next(iter(sorted(folder.rglob("*.png")))).unlink(), "is missing"),
}  # fmt: skip


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("input")
    gt = write_vipseg(folder / "gt", world(), CATEGORIES)
    changes = PERFECT | {name: change for name, (change, _) in (LACKING | WRONG).items()}
    lines: dict[str, list[str | Path]] = {}
    for number, (name, change) in enumerate(changes.items()):
        pred = write_vipseg(folder / f"pred{number}", world(), CATEGORIES)
        change(pred)
        lines[name] = ["eval", gt, pred, "--json"]
    lines["table of what lacks"] = [*lines["frames"][:3]]
    (folder / "groups.json").write_text('{"categories": {"living": ["dog", "grass"]}, "rows": {"second": ["v1"]}}')
    lines["groups"] = ["eval", gt, gt, "--json", "--groups", folder / "groups.json"]
    lines["no groups"] = ["eval", gt, gt, "--groups", folder / "absent.json"]
    lines["unknown metric"] = ["eval", gt, gt, "--metrics", "vpq,quality"]
    lines["unknown window"] = ["eval", gt, gt, "--windows", "0,2"]
    lines["one window"] = ["eval", gt, gt, "--windows", "3", "--metrics", "vpq", "--json"]
    empty = write_vipseg(folder / "empty", {"v0": (np.zeros((0, 16, 24), int), [])}, CATEGORIES)
    lines["ground truth without frames"] = ["eval", empty, empty]
    lines["agreement"] = ["eval", gt, write_vipseg(folder / "other", world(2), CATEGORIES), "--json", "--metrics",
                          "agreement", "--floor", gt]  # fmt: skip
    lines["plots"] = ["eval", gt, gt, "--plots", folder / "plots", "--json"]
    said, loaded = run_many(list(lines.values()))
    assert loaded == []
    return dict(zip(lines, said, strict=True))


@pytest.mark.parametrize("name", PERFECT)
def test_ways_of_writing_the_same(answers: dict[str, Answer], name: str) -> None:
    assert answers[name].code == 0, answers[name].err
    found = json.loads(answers[name].out)
    for value in ("pq", "vpq.1", "vpq.4", "stq", "miou", "hota", "idf1", "smotsa"):
        assert found[value] == 1, value
    assert found["id_switches"] == found["conventions"]["missing_frames"] == 0
    assert found["conventions"]["unknown_categories"] == []
    assert set(found["per_category"]) == {"dog", "car", "sky", "grass"}


@pytest.mark.parametrize("name", LACKING)
def test_what_lacks_is_void_and_said(answers: dict[str, Answer], name: str) -> None:
    assert answers[name].code == 0, answers[name].err
    found = json.loads(answers[name].out)
    for field, count in LACKING[name][1].items():
        assert found["conventions"][field] == count
    missing = LACKING[name][1].get("missing_frames", 0)
    assert found["pq"] == (pytest.approx(1 - missing / (20 - missing)) if missing else 0.75)
    assert found["frames"] == 10


def test_the_table_says_what_lacks(answers: dict[str, Answer]) -> None:
    assert "3 frames have no prediction; they count as predicted void" in answers["table of what lacks"].err


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_one_sentence_and_code_2(answers: dict[str, Answer], name: str) -> None:
    said = answers[name]
    assert said.code == 2
    assert WRONG[name][1] in said.err
    assert "Traceback" not in said.err
    assert json.loads(said.out)["exit_code"] == 2


def test_options_say_what_they_take(answers: dict[str, Answer]) -> None:
    assert answers["unknown metric"].code == 2
    assert "There is no metric 'quality'. There are: pq, vpq" in answers["unknown metric"].err
    assert answers["unknown window"].code == 2
    assert set(json.loads(answers["one window"].out)) >= {"vpq.1", "vpq.3", "vpq_clip.3.things"}
    assert "stq" not in json.loads(answers["one window"].out)
    assert answers["ground truth without frames"].code == 2


def test_groups_from_a_file(answers: dict[str, Answer]) -> None:
    found = json.loads(answers["groups"].out)
    assert found["category_groups"]["living"]["vpq.4"] == 1
    assert found["video_groups"]["second"]["videos"] == 1
    assert found["video_groups"]["second: living"]["miou"] == 1
    assert answers["no groups"].code == 2


def test_agreement_comes_with_its_floor(answers: dict[str, Answer]) -> None:
    found = json.loads(answers["agreement"].out)
    assert found["agreement.segments"] == found["agreement.segments.floor"] == 1
    assert found["agreement.worst"] == 1


def test_plots_are_pictures(answers: dict[str, Answer]) -> None:
    assert answers["plots"].code == 0, answers["plots"].err
    files = [Path(file) for file in json.loads(answers["plots"].out)["plots"]]
    assert [file.name for file in files] == ["vpq.png", "quality.png", "confusion.png", "timeline.png"]
    for file in files:
        with Image.open(file) as image:
            assert min(image.size) > 200
            assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 4
