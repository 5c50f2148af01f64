"""`videoseg models fetch`, `import`, `verify` with the real command, and a video segmented with what they installed.

Files in the official containers, of a model so small that a frame takes milliseconds, from a server on this machine.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import moving_shapes
import pytest
from command_lines import Answer, run_many, run_one
from file_server import FileServer, serving

_OTHER = str(Path(__file__).resolve().parent.parent / "odise_frame")
if _OTHER not in sys.path:
    sys.path.insert(0, _OTHER)

import official_files as official  # noqa: E402
from micro_model import micro_size  # noqa: E402

from odise_frame.sizes import OdiseSize, PromptEncoderSize, size_to_json  # noqa: E402
from pipelines.model_catalogue import official_models  # noqa: E402
from videoseg.store.reader import open_run  # noqa: E402

WORDS = ("--vocab", moving_shapes.THINGS, "--stuff", moving_shapes.STUFF)


def size(supervision: Any) -> OdiseSize:
    return replace(
        micro_size(),
        name=f"odise-{supervision}",
        supervision=supervision,
        prompt_encoder=PromptEncoderSize(width=64, mlp_width=64, layers=1, heads=2),
    )


@dataclass(frozen=True)
class Place:
    """The published files, and where they are published."""

    files: dict[str, Path]
    server: FileServer
    catalogue: Path


def _published(name: str, path: Path) -> str:
    """The name that a file of the ODISE release carries: with the first digits of its checksum."""
    return f"{name}-{sha256(path.read_bytes()).hexdigest()[:8]}.pth"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("published")
    files = {}
    for supervision in ("label", "caption"):
        path = official.save_odise(folder / "x.pth", official.odise_state(size(supervision)))
        files[supervision] = path.rename(folder / _published(f"odise_{supervision}_coco_50e", path))
    files["sd"] = official.save_diffusion(folder / "sd-v1-3.ckpt", official.diffusion_state(size("label")))
    files["clip"] = official.save_clip_script(folder / "ViT-L-14-336px.pt", official.clip_state(size("label")))
    with serving() as server:
        for path in files.values():
            server.files[f"/{path.name}"] = path.read_bytes()
        hub = "/CompVis/stable-diffusion-v-1-3-original/resolve/main/sd-v1-3.ckpt"
        server.files[hub] = files["sd"].read_bytes()
        server.protected.add(hub)
        catalogue = folder / "catalogue.json"
        catalogue.write_text(json.dumps(_catalogue(files, server.address)))
        yield Place(files, server, catalogue)


def _catalogue(files: dict[str, Path], address: str) -> dict[str, Any]:
    def entry(key: str, role: str, licence: str, **changes: Any) -> dict[str, Any]:
        path = files[key]
        digest = sha256(path.read_bytes()).hexdigest()
        return {
            "role": role, "name": path.name, "url": f"{address}/{path.name}", "sha256": digest, "bytes": 1000,
            "page": f"{address}/page", "licence": licence,
        } | changes  # fmt: skip

    label = entry("label", "odise", "cc-by-nc-sa", sha256=files["label"].stem[-8:])
    hub = "https://huggingface.co/CompVis/stable-diffusion-v-1-3-original/resolve/main/sd-v1-3.ckpt"
    model = {"size": size_to_json(size("label")), "training_labels": "coco", "training": "nothing"}
    return {
        "files": {
            "odise-label": label,
            "odise-caption": entry("caption", "odise", "cc-by-nc-sa"),
            "stable-diffusion": entry("sd", "stable-diffusion", "openrail-m", url=hub),
            "clip": entry("clip", "clip", "mit-openai"),
        },
        "models": {
            "odise-label": model | {"files": ["odise-label", "stable-diffusion", "clip"]},
            "odise-caption": model
            | {"files": ["odise-caption", "stable-diffusion", "clip"], "size": size_to_json(size("caption"))},
        },
    }


def _environment(place: Place, folder: Path) -> dict[str, str]:
    return {
        "VIDEOSEG_CACHE": str(folder / "cache"),
        "VIDEOSEG_CATALOGUE": str(place.catalogue),
        "HOME": str(folder),
        "HF_HOME": str(folder / "hub"),
        "HF_ENDPOINT": place.server.address.replace("127.0.0.1", "localhost"),
        "HF_TOKEN": "secret",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture(scope="module")
def story(place: Place, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a person does with a fresh machine, in one process."""
    folder = tmp_path_factory.mktemp("machine")
    segment = ["segment", clip, *WORDS, "--no-overlay", "--end", "0.2", "--threads", "1", "--json"]
    lines: dict[str, list[str | Path]] = {
        "list before": ["models", "list", "--json"],
        "segment before": [*segment, "--model", "odise-label", "-o", folder / "early"],
        "verify before": ["models", "verify", "odise-label"],
        "unknown": ["models", "fetch", "odise-lable"],
        "fetch": ["models", "fetch", "odise-label"],
        "list after": ["models", "list", "--json"],
        "verify": ["models", "verify", "odise-label", "--json"],
        "segment": [*segment, "--model", "odise-label", "-o", folder / "run"],
        "fetch again": ["models", "fetch", "odise-label"],
        "fetch the other": ["models", "fetch", "odise-caption", "--keep", "--json"],
        "segment with the other": [*segment, "--model", "odise-caption", "-o", folder / "other"],
        "verify small": ["models", "verify", "small"],
        "verify colours": ["models", "verify", "colours"],
    }
    place.server.cuts[f"/{place.files['clip'].name}"] = [10_000, 5_000]
    place.server.requests.clear()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _environment(place, folder).items():
            patch.setenv(name, value)
        said, _ = run_many(list(lines.values()))
    return dict(zip(lines, said, strict=True)) | {"folder": folder, "requests": list(place.server.requests)}


def test_before_it_is_here_one_is_told_how_to_get_it(story: dict[str, Any]) -> None:
    listed = {model["name"]: model for model in json.loads(story["list before"].out)["models"]}
    assert not listed["odise-label"]["installed"]
    for answer in (story["segment before"], story["verify before"]):
        assert answer.code == 2
        assert "videoseg models fetch odise-label" in answer.out + answer.err
    assert story["unknown"].code == 2
    assert "odise-label" in story["unknown"].err


def test_fetch_shows_licences_first_and_keeps_them_beside_the_weights(story: dict[str, Any]) -> None:
    said = story["fetch"]
    assert said.code == 0, said.err
    for word in ("CC BY-NC-SA 4.0", "Open RAIL-M", "MIT", "Not for commercial use", "OpenAI", "CompVis"):
        assert word in said.err
        assert word in (story["folder"] / "cache" / "models" / "odise-label" / "LICENCES.txt").read_text()
    assert said.err.index("CC BY-NC-SA") < said.err.index("download ")
    assert "videoseg segment VIDEO --model odise-label" in said.out


def test_fetch_resumes_says_how_far_it_is_and_cleans_up(story: dict[str, Any], place: Place) -> None:
    path = f"/{place.files['clip'].name}"
    assert [asked for name, asked, _ in story["requests"] if name == path] == [None, "bytes=10000-", "bytes=15000-"]
    for name in (place.files["label"].name, "sd-v1-3.ckpt", "ViT-L-14-336px.pt"):
        assert re.search(rf"download {re.escape(name)}: .* 100 %", story["fetch"].err)
        assert f"check {name}" in story["fetch"].err
    assert re.search(r"convert: .* 100 %", story["fetch"].err)
    # Only what `--keep` left: the file of the other model.
    left = {path.name for path in (story["folder"] / "cache" / "downloads").iterdir()}
    assert left == {place.files["caption"].name, f"{place.files['caption'].name}.licence.txt"}


def test_the_token_is_for_the_hub_alone(story: dict[str, Any]) -> None:
    with_token = {name for name, _, token in story["requests"] if token}
    assert with_token == {"/CompVis/stable-diffusion-v-1-3-original/resolve/main/sd-v1-3.ckpt"}


def test_an_installed_model_is_listed_and_verified(story: dict[str, Any]) -> None:
    listed = {model["name"]: model for model in json.loads(story["list after"].out)["models"]}
    assert listed["odise-label"]["installed"]
    assert listed["odise-label"]["bytes"] > 10_000
    assert not listed["odise-caption"]["installed"]
    assert json.loads(story["verify"].out)["healthy"] is True
    assert story["verify small"].code == 0
    assert story["verify colours"].code == 2
    assert "no weights" in story["verify colours"].err


@pytest.mark.parametrize(("line", "name"), [("segment", "odise-label"), ("segment with the other", "odise-caption")])
def test_then_it_simply_works(story: dict[str, Any], line: str, name: str) -> None:
    assert story[line].code == 0, story[line].err
    run = open_run(story["folder"] / ("run" if name == "odise-label" else "other"))
    assert run.complete
    assert json.loads(story[line].out)["frames"] == run.num_frames > 0
    assert name in json.dumps(json.loads((Path(run.location) / "manifest.json").read_text()))


def test_what_is_here_is_not_fetched_again(story: dict[str, Any], place: Place) -> None:
    assert story["fetch again"].code == 0
    assert "installed already" in story["fetch again"].err
    assert story["fetch the other"].code == 0, story["fetch the other"].err
    asked = [name for name, _, _ in story["requests"]]
    assert asked.count(f"/{place.files['caption'].name}") == 1
    assert asked.count("/CompVis/stable-diffusion-v-1-3-original/resolve/main/sd-v1-3.ckpt") == 1
    models = story["folder"] / "cache" / "models"
    assert os.path.samefile(*(models / name / "unet.safetensors" for name in ("odise-label", "odise-caption")))


@pytest.fixture(scope="module")
def trouble(place: Place, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Whatever can be wrong with files, in one process and offline; the last two lines are right."""
    folder = tmp_path_factory.mktemp("trouble")
    truncated, wrong, page, other, mixed = (folder / name for name in ("cut", "wrong", "page", "other", "mixed"))
    for path in (truncated, wrong, page, other, mixed):
        path.mkdir()
        for file in place.files.values():
            if file.name != place.files["caption"].name:
                shutil.copy(file, path)
    data = place.files["sd"].read_bytes()
    (truncated / "sd-v1-3.ckpt").write_bytes(data[: len(data) // 2])
    label = place.files["label"].name
    changed = bytearray(place.files["label"].read_bytes())
    changed[len(changed) // 2] ^= 1
    (wrong / label).write_bytes(changed)
    (page / label).write_bytes(b"<html>Log in</html>")
    (other / label).write_bytes(place.files["caption"].read_bytes())
    (mixed / "ViT-L-14-336px.pt").unlink()
    official.save_diffusers(mixed / "sd", size("label"), official.diffusion_state(size("label")))
    (mixed / "sd-v1-3.ckpt").unlink()
    official.save_file(official.clip_state(size("label")), mixed / "open_clip_model.safetensors")
    lines: dict[str, list[str | Path]] = {
        "offline": ["models", "fetch", "odise-label"],
        "truncated": ["models", "fetch", "odise-label", "--from", truncated],
        "checksum": ["models", "fetch", "odise-label", "--from", wrong],
        "page": ["models", "import", page],
        "another model": ["models", "fetch", "odise-label", "--from", other],
        "incomplete": ["models", "import", place.files["label"]],
        "none": ["models", "import", place.files["sd"]],
        "empty": ["models", "fetch", "odise-label", "--from", folder],
        "nowhere": ["models", "import", folder / "nowhere.pth"],
        "unverified": ["models", "import", wrong, "--unverified", "--json"],
        "mixed": ["models", "import", mixed],
        "verify": ["models", "verify", "odise-label"],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (_environment(place, folder) | {"HF_HUB_OFFLINE": "1"}).items():
            patch.setenv(name, value)
        place.server.requests.clear()
        said, _ = run_many(list(lines.values()))
    assert place.server.requests == []
    return dict(zip(lines, said, strict=True)) | {"folder": folder}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("offline", ("HF_HUB_OFFLINE", "browser", "videoseg models import")),
        ("truncated", ("sd-v1-3.ckpt", "cut off")),
        ("checksum", ("wrong checksum", "--unverified", "browser")),
        ("page", ("web page",)),
        ("another model", ("for odise-label is not among the files", "is the caption-supervised ODISE")),
        ("incomplete", ("sd-v1-3.ckpt", "is not among the files")),
        ("none", ("No ODISE checkpoint", "Stable Diffusion 1")),
        ("empty", ("no files of weights",)),
        ("nowhere", ("There is no file",)),
    ],
)
def test_files_that_will_not_do(trouble: dict[str, Any], line: str, words: tuple[str, ...]) -> None:
    answer: Answer = trouble[line]
    assert answer.code in (1, 2)
    assert "Traceback" not in answer.err
    assert "defect" not in answer.err
    for word in words:
        assert word in answer.err, answer.err


def test_files_in_other_forms(trouble: dict[str, Any]) -> None:
    assert trouble["unverified"].code == 0, trouble["unverified"].err
    assert "not " in trouble["unverified"].err
    assert json.loads(trouble["unverified"].out)["name"] == "odise-label"
    assert trouble["mixed"].code == 0, trouble["mixed"].err
    assert trouble["mixed"].err.count("no published checksum") == 2
    assert trouble["verify"].code == 0


def test_damage_is_found_by_verify_and_before_the_first_frame(
    trouble: dict[str, Any], place: Place, clip: Path
) -> None:
    folder = trouble["folder"]
    path = folder / "cache" / "models" / "odise-label" / "unet.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _environment(place, folder).items():
            patch.setenv(name, value)
        verify, segment = run_many([
            ["models", "verify", "odise-label"],
            ["segment", clip, *WORDS, "--model", "odise-label", "-o", folder / "run", "--no-overlay"],
        ])[0]  # fmt: skip
    assert verify.code == 2
    assert "unet.safetensors" in verify.out
    assert "damaged" in verify.out
    assert segment.code == 2
    assert "damaged" in segment.err


def test_the_catalogue_is_the_published_one() -> None:
    """Names and digests that others have published, too."""
    models = official_models()
    for name, supervision, digits in (("odise-label", "label", "b67d2efc"), ("odise-caption", "caption", "853cc971")):
        odise, diffusion, clip = models[name].files
        assert odise.name == f"odise_{supervision}_coco_50e-{digits}.pth"
        assert odise.sha256 == digits
        assert odise.url == f"https://github.com/NVlabs/ODISE/releases/download/v1.0.0/{odise.name}"
        assert diffusion.name == "sd-v1-3.ckpt"
        assert len(diffusion.sha256) == 64
        assert clip.sha256 in clip.url  # as OpenAI's own loader checks it


def test_a_catalogue_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text("{")
    answer = run_one("models", "fetch", "odise-label", env={"VIDEOSEG_CATALOGUE": str(tmp_path / "c.json")})
    assert answer.code == 2
    assert "VIDEOSEG_CATALOGUE" in answer.err
