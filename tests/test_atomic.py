"""Files appear whole or not at all."""

from __future__ import annotations

import pytest

from video_mask2former.atomic import atomic_path


def test_content_appears_on_success(tmp_path):
    target = tmp_path / "new" / "file.json"
    with atomic_path(target) as temporary:
        assert temporary.suffix == ".json"
        temporary.write_text("{}")
        assert not target.exists()
    assert target.read_text() == "{}"
    assert [path.name for path in target.parent.iterdir()] == ["file.json"]


def test_an_error_leaves_the_old_file_and_no_rest(tmp_path):
    target = tmp_path / "file.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="stop"), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError("stop")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_ctrl_c_leaves_no_rest(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
