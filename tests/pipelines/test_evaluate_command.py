"""`videoseg eval` on folders, against what the reference evaluators say about the golden cases."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_lines import Answer, run_many
from vipseg_folders import write_vipseg

METRICS = Path(__file__).parents[1] / "data" / "metrics"
CASES = sorted(path.stem for path in METRICS.glob("*.json"))
VALUES = {
    ("HOTA", "HOTA"): "hota",
    ("HOTA", "DetA"): "deta",
    ("HOTA", "AssA"): "assa",
    ("HOTA", "LocA"): "loca",
    ("CLEAR", "MOTA"): "motsa",
    ("CLEAR", "sMOTA"): "smotsa",
    ("CLEAR", "IDSW"): "id_switches",
    ("CLEAR", "Frag"): "fragments",
    ("CLEAR", "MT"): "mostly_tracked",
    ("CLEAR", "PT"): "partly_tracked",
    ("CLEAR", "ML"): "mostly_lost",
    ("Identity", "IDF1"): "idf1",
    ("Identity", "IDR"): "idr",
    ("Identity", "IDP"): "idp",
}


def golden(case: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    return json.loads((METRICS / f"{case}.json").read_text()), dict(np.load(METRICS / f"{case}.npz"))


def write_golden(case: str, folder: Path, *, absent: bool = False) -> tuple[Path, Path]:
    """The case as two folders; `absent`: frames that are predicted all void are not in the file at all."""
    description, arrays = golden(case)
    things = set(description["things"])
    # Ids of categories that are neither in order nor without gaps; one is 0.
    categories = [((7 * c) % 131, f"kind {c}", c in things) for c in range(description["n_classes"])]
    sides = {
        side: {
            f"video_{v}": (arrays[f"{side}_{v}"], video[f"{side}_segments"])
            for v, video in enumerate(description["videos"])
        }
        for side in ("gt", "pred")
    }
    empty = frozenset(
        (name, t) for name, (_, lists) in sides["pred"].items() for t, rows in enumerate(lists) if not rows and absent
    )
    gt = write_vipseg(folder / case / "gt", sides["gt"], categories, pngs="panomasksRGB", json_name="gt.json")
    if not absent:
        return gt, write_vipseg(folder / case / "pred", sides["pred"], categories)
    turned = {  # and the categories are listed the other way round
        name: (maps, [[(i, len(categories) - 1 - c, crowd) for i, c, crowd in rows] for rows in lists])
        for name, (maps, lists) in sides["pred"].items()
    }
    pred = write_vipseg(folder / case / "absent", turned, categories[::-1], with_videos=False, leave_out=empty)
    return gt, pred


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Answer]:
    folder = tmp_path_factory.mktemp("goldens")
    lines: dict[tuple[str, str], list[str | Path]] = {}
    for case in CASES:
        gt, pred = write_golden(case, folder)
        lines[case, "skip"] = ["eval", gt, pred, "--json", "--windows", "1,2,3,4,6,8,10"]
        lines[case, "text"] = ["eval", gt, pred, "--per-category", "--per-video"]
        if case in ("missing_frames", "empty_pred"):
            absent = write_golden(case, folder / "other", absent=True)[1]
            lines[case, "absent"] = ["eval", gt, absent, "--json", "--windows", "1,2,3,4,6,8,10"]
    gt, pred = (folder / "wide124" / side for side in ("gt", "pred"))
    lines["wide124", "workers"] = [*lines["wide124", "skip"], "--workers", "2"]
    lines["basic", "against"] = ["eval", folder / "basic" / "gt", folder / "basic" / "gt", "--json", "--against",
                                 folder / "basic" / "pred", "--metrics", "vpq,stq"]  # fmt: skip
    lines["basic", "against text"] = [*lines["basic", "against"][:3], *lines["basic", "against"][4:]]
    said, loaded = run_many(list(lines.values()))
    assert loaded == []
    return dict(zip(lines, said, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_the_command_says_what_the_references_say(answers: dict[tuple[str, str], Answer], case: str) -> None:
    said = answers[case, "skip"]
    assert said.code == 0, said.err
    check(json.loads(said.out), case)


@pytest.mark.parametrize("case", ["missing_frames", "empty_pred"])
def test_frames_that_the_file_lacks_are_void(answers: dict[tuple[str, str], Answer], case: str) -> None:
    found = json.loads(answers[case, "absent"].out)
    check(found, case)
    description, _ = golden(case)
    missing = sum(not rows for video in description["videos"] for rows in video["pred_segments"])
    assert found["conventions"]["missing_frames"] == missing > 0


def check(found: dict[str, Any], case: str) -> None:
    """Counts equal, values to 1e-9."""
    description, _ = golden(case)
    expected = description["expected"]
    for window, wanted in expected["vpq_windows"].items():
        clipped = wanted["original"] if wanted["deva_clipped_window"] == "same" else wanted["deva_clipped_window"]
        for name, values in (("vpq", wanted["original"]), ("vpq_clip", clipped)):
            for group, suffix in (("All", ""), ("Things", ".things"), ("Stuff", ".stuff")):
                pq = values and values[group] and values[group]["pq"]
                close(found[f"{name}.{window}{suffix}"], pq, (name, window, group))
    for mean in ("1246", "12468", "1234"):
        published = expected[f"vpq_mean_k{mean}"]
        original = published and published["original"] and published["original"]["All"]
        if original is not None:
            assert 100 * found[f"vpq.mean_{mean}"] == pytest.approx(original, abs=1e-7)
    names = {int(c): f"kind {c}" for c in expected["vpq_windows"]["1"]["original"]["per_class"]}
    for c, counts in expected["vpq_windows"]["1"]["original"]["per_class"].items():
        row = found["per_category"].get(names[int(c)], {"tp": 0, "fp": 0, "fn": 0})
        assert {key: row[key] for key in ("tp", "fp", "fn")} == {key: counts[key] for key in ("tp", "fp", "fn")}
    for key, suffix in (("stq_native", ""), ("stq_vipseg_script", "_vipseg")):
        for name, ours in (("STQ", "stq"), ("AQ", "aq"), ("IoU", "stq_sq")):
            close(found[ours + suffix], expected[key][name], (key, name))
    for (family, name), ours in VALUES.items():
        wanted = expected["trackeval"][family]["class_agnostic"][name]
        close(found[ours], wanted, ours)
        if isinstance(wanted, int):
            assert found[ours] == wanted
    views = expected["trackeval"]["HOTA"]
    close(found["hota.class_averaged"], views["class_averaged"]["HOTA"], "class averaged")
    close(found["hota.detection_averaged"], views["det_averaged"]["HOTA"], "detection averaged")
    for window, value in expected["mvc"].items():
        close(found[f"mvc.{window}"], value, ("mvc", window))
    for video, stq in zip(found["per_video"].values(), expected["stq_native"]["STQ_per_seq"], strict=True):
        close(video["stq"], stq, "stq per video")


def close(found: float | None, wanted: float | None, where: object) -> None:
    assert (found is None) == (wanted is None), (where, found, wanted)
    if wanted is not None:
        assert found == pytest.approx(wanted, abs=1e-9), where


def test_processes_change_nothing(answers: dict[tuple[str, str], Answer]) -> None:
    assert answers["wide124", "workers"].out == answers["wide124", "skip"].out


def test_the_table_is_for_people(answers: dict[tuple[str, str], Answer]) -> None:
    text = answers["missing_frames", "text"]
    assert text.code == 0, text.err
    for word in ("VPQ, mean of 1,2,4,6", "STQ", "HOTA", "identity switches", "kind 3", "video_2"):
        assert word in text.out
    assert max(map(len, text.out.splitlines())) <= 100
    assert "nan" not in text.out


def test_two_results_are_compared(answers: dict[tuple[str, str], Answer]) -> None:
    against = json.loads(answers["basic", "against"].out)["against"]["vpq.mean_1246"]
    assert against["value"] == 1
    assert against["other"] == pytest.approx(0.5213385535, abs=1e-9)
    assert against["low"] <= against["difference"] <= against["high"]
    assert against["clear"] is True
    assert "interval excludes 0" in answers["basic", "against text"].out
