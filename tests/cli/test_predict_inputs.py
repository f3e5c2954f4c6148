"""Which videos the words of a command line mean, and what each is called."""

from __future__ import annotations

import os

from video_mask2former.cli.predict_inputs import find_inputs


def names(*words: object) -> list[str]:
    return [entry.name for entry in find_inputs([str(word) for word in words])]


def test_stems_that_collide_are_told_apart(tmp_path) -> None:
    for name in ("x/clip.mp4", "y/clip.mp4", "y/clip.avi", "z/Clip.mp4", "z/other.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path / "x", tmp_path / "z" / "other.mp4") == ["clip", "other"]
    assert names(tmp_path / "y") == ["clip_avi", "clip_mp4"]
    found = names(tmp_path / "x", tmp_path / "y", tmp_path / "z")
    assert found == ["x_clip_mp4", "clip_avi", "y_clip_mp4", "z_Clip_mp4", "other"]
    # the same whatever the order, so that a run can be taken up with its inputs in another order
    assert sorted(names(tmp_path / "z", tmp_path / "y", tmp_path / "x")) == sorted(found)
    assert names(tmp_path / "x", tmp_path / "x" / "clip.mp4") == ["clip"]


def test_inputs_of_all_kinds(tmp_path) -> None:
    for name in ("videos/2.mp4", "videos/10.mkv", "videos/notes.txt", "frames/a/1.jpg", "frames/b/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_inputs([str(tmp_path / "videos"), str(tmp_path / "frames"), str(tmp_path / "videos" / "*.mkv"), "3"])
    assert [entry.source for entry in found] == [
        *(str(tmp_path / name) for name in ("videos/2.mp4", "videos/10.mkv", "frames/a", "frames/b")),
        3,
    ]
    assert [entry.name for entry in found] == ["2", "10", "a", "b", "camera_3"]
    assert names(tmp_path / "frames" / "a" / "*.jpg") == ["a"]
    assert names(tmp_path / "missing.mp4") == ["missing"]


def test_one_file_under_two_names_is_one_input(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "x/a.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    os.symlink("a.mp4", "b.mp4")
    assert names("a.mp4", "./a.mp4", tmp_path / "a.mp4", "x/../a.mp4", "*.mp4") == ["a", "b"]
