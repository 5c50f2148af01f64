"""What a name stands for: one source, or many."""

import json
from pathlib import Path

import pytest

from pipelines.file_list import FileEntry, is_file_list, read_file_list
from videoseg.errors import InputError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_a_folder_of_images_stays_one_source(tmp_path: Path) -> None:
    touch(tmp_path, "frames/1.png", "frames/film.mp4", "one.mp4", "empty/readme.md")
    assert not is_file_list(str(tmp_path / "frames"))
    assert not is_file_list(str(tmp_path / "one.mp4"))
    assert not is_file_list(str(tmp_path / "empty"))
    assert not is_file_list(str(tmp_path / "nowhere.mp4"))


def test_a_folder_of_videos_at_any_depth_with_folders_of_images(tmp_path: Path) -> None:
    touch(
        tmp_path, "b.mp4", "a/b.MKV", "a/notes.txt", "shots/walk/1.jpg", "shots/walk/2.jpg", ".hidden/c.mp4", "._b.mp4"
    )
    assert is_file_list(str(tmp_path))
    found = read_file_list(str(tmp_path))
    assert [(entry.name, Path(entry.path).relative_to(tmp_path).as_posix()) for entry in found] == [
        ("b", "b.mp4"),
        ("a-b", "a/b.MKV"),
        ("shots-walk", "shots/walk"),
    ]


def test_a_glob_and_a_text_file(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a.mp4", "c.mov")
    pattern = str(tmp_path / "*.mp4")
    assert is_file_list(pattern)
    assert [entry.name for entry in read_file_list(pattern)] == ["a", "b"]
    listed = tmp_path / "list.txt"
    listed.write_text("# films\nc.mov\n\n/elsewhere/A.mp4\na.mp4\nc.mov\n")
    assert is_file_list(str(listed))
    assert read_file_list(str(listed)) == (
        FileEntry("c", str(tmp_path / "c.mov")),
        FileEntry("A", "/elsewhere/A.mp4"),
        FileEntry("a-2", str(tmp_path / "a.mp4")),  # some disks do not tell cases apart
        FileEntry("c-2", str(tmp_path / "c.mov")),
    )
    with pytest.raises(InputError, match="Nothing is called"):
        read_file_list(str(tmp_path / "*.avi"))


@pytest.mark.parametrize("column", ["path", "video", "File"])
def test_a_csv(tmp_path: Path, column: str) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text(f"name,{column},start,end\nmorning/walk,a.mp4,1:30,\n,b.mp4,,2.5\n,,,\n")
    assert read_file_list(str(listed)) == (
        FileEntry("morning-walk", str(tmp_path / "a.mp4"), 90.0),
        FileEntry("b", str(tmp_path / "b.mp4"), None, 2.5),
        FileEntry("unnamed", ""),
    )


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "name,address\nx,y\n", "has no column path, video or file"),
        ("a.csv", "path,start\na.mp4,soon\n", "line 2: 'soon' is no time"),
        ("a.csv", "path,start,end\na.mp4,5,4\n", "must come after the start"),
        ("a.csv", "path\n", "names no videos"),
        ("a.txt", "# nothing\n", "names no videos"),
        ("a.json", "{", "is not JSON"),
        ("a.json", "[]", "neither `videos` nor `clips`"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(tmp_path: Path, name: str, text: str, words: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        read_file_list(str(tmp_path / name))


def test_the_files_of_ego4d(tmp_path: Path) -> None:
    """The layout of the `ego4d` tool: `ego4d.json` above, videos in `v2/full_scale` with a `manifest.csv`."""
    touch(tmp_path, "v2/full_scale/uid-1.mp4", "v2/video_540ss/uid-2.mp4", "v2/full_scale/file-3.mp4")
    (tmp_path / "ego4d.json").write_text(
        json.dumps({"videos": [{"video_uid": f"uid-{i}", "duration_sec": 300.0} for i in (1, 2, 4)], "clips": []})
    )
    found = read_file_list(str(tmp_path / "ego4d.json"))
    assert [entry.name for entry in found] == ["uid-1", "uid-2", "uid-4"]
    assert [Path(entry.path).exists() for entry in found] == [True, True, False]
    manifest = tmp_path / "v2/full_scale/manifest.csv"
    manifest.write_text(
        "video_uid,file_uid,canonical_s3_location,type,benchmarks\n"
        "uid-1,uid-1,s3://ego4d/full_scale/uid-1.mp4,video,[]\n"
        "uid-3,file-3,s3://ego4d/elsewhere/raw.MP4,video,[]\n"
    )
    assert is_file_list(str(manifest))
    assert [Path(entry.path).name for entry in read_file_list(str(manifest))] == ["uid-1.mp4", "file-3.mp4"]
