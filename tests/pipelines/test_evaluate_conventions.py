"""`videoseg eval --data-set` and formats that are named: what is measured, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_lines import Answer, run_many
from vipseg_folders import write_vipseg

CATEGORIES = [(0, "sky", False), (1, "car", True)]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    folder = tmp_path_factory.mktemp("conventions")
    maps = np.ones((7, 12, 16), dtype=np.int64)
    maps[:, 4:9, 3:8] = 2
    rows = [[(1, 0, 0), (2, 1, 0)]] * 7
    gt = write_vipseg(folder / "gt", {"drive": (maps, rows)}, CATEGORIES)
    pred = write_vipseg(folder / "pred", {"drive": (maps, rows)}, CATEGORIES)
    lines: dict[str, list[str | Path]] = {
        "vipseg": ["eval", gt, pred, "--data-set", "vipseg", "--json"],
        "cityscapes": ["eval", gt, pred, "--data-set", "cityscapes-vps", "--json"],
        "own windows": ["eval", gt, pred, "--data-set", "vipseg", "--windows", "3", "--json"],
        "no data set": ["eval", gt, pred, "--data-set", "vipsig"],
        "named": ["eval", gt, pred, "--gt-format", "vipseg", "--pred-format", "vipseg", "--metrics", "stq", "--json"],
        "no format": ["eval", gt, pred, "--pred-format", "vipsig"],
        "other format": ["eval", gt, pred, "--gt-format", "coco_panoptic"],
        "track": ["track", pred, "--format", "davis", "-o", folder / "out"],
    }
    found, _ = run_many(list(lines.values()))
    return dict(zip(lines, found, strict=True))


def values(answer: Answer) -> set[str]:
    assert answer.code == 0, answer.err
    return {name for name, value in json.loads(answer.out).items() if value is not None}


def test_a_data_set_brings_its_metrics_and_windows(answers: dict[str, Answer]) -> None:
    vipseg = values(answers["vipseg"])
    assert {"vpq.1", "vpq.2", "vpq.4", "vpq.6", "vpq.mean_1246", "stq"} <= vipseg
    assert not {"vpq.8", "vpq.mean_12468", "hota"} & vipseg
    assert {"vpq.1", "vpq.2", "vpq.3", "vpq.4", "vpq.mean_1234"} <= values(answers["cityscapes"])


def test_what_is_said_goes_before_the_data_set(answers: dict[str, Answer]) -> None:
    windows = {name for name in values(answers["own windows"]) if name.startswith("vpq.") and name.count(".") == 1}
    assert windows == {"vpq.1", "vpq.3"}  # 1 is PQ of single frames


def test_formats_may_be_named(answers: dict[str, Answer]) -> None:
    assert json.loads(answers["named"].out)["stq"] == 1.0


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no data set", "There is no data set 'vipsig'"),
        ("no format", "There is no format 'vipsig'"),
        ("other format", "gt"),
        ("track", "pred"),
    ],
)
def test_wrong_names_are_refused(answers: dict[str, Answer], case: str, said: str) -> None:
    assert answers[case].code == 2
    assert said in answers[case].err
    assert "Traceback" not in answers[case].err
