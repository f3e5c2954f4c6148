from __future__ import annotations

import json

import pytest

from video_mask2former.results.json_array_file import JsonArrayFile


@pytest.mark.parametrize("entries", [[], [{"a": 1}], [{"a": 1}, {"b": "é"}, {"c": None}]])
def test_entries_make_an_array(tmp_path, entries):
    with JsonArrayFile(tmp_path / "a.json") as array:
        for entry in entries:
            array.append(entry)
        assert not (tmp_path / "a.json").exists()
    assert json.loads((tmp_path / "a.json").read_text()) == entries


def test_errors_leave_nothing(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"), JsonArrayFile(tmp_path / "a.json") as array:
        array.append({"a": 1.0})
        array.append({"a": float("nan")})
    assert list(tmp_path.iterdir()) == []
