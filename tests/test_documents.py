"""JSON and YAML within limits, and what of it may stand in a message."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from video_mask2former import documents
from video_mask2former.documents import check_plain, parse_json, parse_yaml, read_json, read_layers, read_text
from video_mask2former.messages import printable, shortened


def bomb(levels):
    lines = [f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(["x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1]", *lines])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (bomb(20), "holds more than 200000 values"),
        ("a: &a [*a]", "nested too deeply, or contains itself"),
        ("[" * 5000, "nested too deeply"),
        ("{a: " * 61 + "1" + "}" * 61, "nested too deeply"),
        ("a: 1\na: 2", r"key 'a' occurs twice \(line 1, column 1\)"),
        ("? [a]\n: 1", "a key must be a name"),
        ("a: {<<: {b: 1}}", "merge keys"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: 2001-13-45", "month must be in 1..12"),
        ("a: 2001-01-01", "it holds a date; put it in quotes"),
        ("a: 0x10000000000000000", "18446744073709551616 is beyond 64 bits"),
        ("a: " + "9" * 5000, "4300 digits"),
        ("a: [1", r"expected ',' or ']'.* \(line 1, column 6\)"),
        ("x" * 600_000, "more than 524288"),
    ],
)
def test_yaml_beyond_the_limits_is_refused(text, message):
    with pytest.raises(ValueError, match=f"^this: .*{message}") as error:
        parse_yaml(text, "this")
    assert "\n" not in str(error.value)


def test_yaml_is_read_as_people_expect():
    assert parse_yaml("a: &a [1e-4, x]\nb: *a\nc: 1:20", "this") == {"a": [1e-4, "x"], "b": [1e-4, "x"], "c": 80}


def test_files_that_build_on_each_other_are_read_once(tmp_path):
    """Forty levels that name the next one twice would be a thousand thousand million files."""
    for level in range(40):
        base = f"_base_: [{level + 1}.yaml, {level + 1}.yaml]" if level < 39 else "last: 1"
        (tmp_path / f"{level}.yaml").write_text(f"{base}\nlevel: {level}\n")
    merged = read_layers(tmp_path / "0.yaml", "_base_", lambda first, second: {**first, **second})
    assert merged == {"last": 1, "level": 0}
    for index in range(70):
        (tmp_path / f"c{index}.yaml").write_text(f"_base_: c{index + 1}.yaml\n")
    with pytest.raises(ValueError, match="leads through more than 60 files"):
        read_layers(tmp_path / "c0.yaml", "_base_", lambda first, second: {**first, **second})


def test_json_that_cannot_be_read_says_so(tmp_path):
    for text in ("[" * 100_000, '{"a":' * 100_000, "{", b"\xff", "9" * 5000):
        with pytest.raises(ValueError, match=r"^that: "):
            parse_json(text, "that")
    path = tmp_path / "x.json"
    path.write_text("\ufeff[1]", encoding="utf-8")
    assert read_json(path, list) == [1]
    with pytest.raises(ValueError, match="must hold an object, as every thing does, got a list"):
        read_json(path, dict, "thing")
    with pytest.raises(ValueError, match="too large for a text file that people write"):
        read_text(path, max_bytes=2)


def test_values_of_a_checkpoint_are_plain():
    endless = {}
    endless["a"] = endless
    for value in (endless, {"a": object()}, {"a": 2**63}, {("a", object()): 1}):
        with pytest.raises(ValueError, match=r"^here: "):
            check_plain(value, "here")
    assert check_plain({"a": (1, 2.5, None, True, "x")}, "here")["a"][1] == 2.5


def test_what_is_shown_is_short_and_on_one_line():
    deep = []
    for _ in range(5000):
        deep = [deep]
    assert shortened(deep) == "[[[[[...]]]]]"
    assert shortened(10**5000) == "an integer of 16610 bits"
    assert len(shortened({"a" * 50: "b" * 10**6, "c" * 50: "d" * 10**6})) <= 203
    assert printable("a\n\x1b[2J\u202e\ud800b") == "a\ufffd\ufffd[2J\ufffd\ufffdb"
    assert printable("x" * 10**6, 5) == "xxxxx..."


class TestArraysReadOneByOne:
    """``read_json_array`` gives and refuses what ``read_json`` does, whatever is cut where."""

    @pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1000])
    @pytest.mark.parametrize(
        "text",
        [
            "[]",
            " [ ] \n",
            "[1]",
            "[12, 345 ,6.5e3,true ]",
            '[{"a": [1, {"b": "],[\\"é€"}]}, [], "x", null]',
            '\ufeff[1, "é"]',
            *(
                "",
                "  ",
                "[",
                "[1",
                "[1,",
                "[1,]",
                "[,1]",
                "[1 2]",
                "[1]]",
                "[1] x",
                "[nul]",
                '["a',
                "{}",
                '{"a": 1}',
                "3",
            ),
            "[" * 3000,
        ],
    )
    def test_as_all_at_once(self, text: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(documents, "ARRAY_CHUNK", chunk)
        path = tmp_path / "array.json"
        path.write_text(text, encoding="utf-8")
        try:
            expected = documents.read_json(path, list, "file")
        except ValueError as error:
            with pytest.raises(ValueError, match=re.escape(str(error))):
                list(documents.read_json_array(path, "file"))
        else:
            assert list(documents.read_json_array(path, "file")) == expected

    def test_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "array.json"
        path.write_bytes(b'["\xff"]')
        with pytest.raises(ValueError, match="is not a text file in UTF-8"):
            list(documents.read_json_array(path))
        with pytest.raises(FileNotFoundError, match="no JSON file"):
            list(documents.read_json_array(tmp_path / "other.json"))
