"""Reports: the keys that others rely on, and tables."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from video_mask2former.metrics import Report, format_figure

REPORT = Report(
    {"AP": 0.46449, "AP50": -1.0},
    {"cat": 0.25, "dog": -1.0, "owl": 0.5},
    {"identity": {"HOTA": 1.0, "id_switches": 12.0}},
    {"per_video": {"7": 0.125}},
)


def test_json(tmp_path):
    REPORT.write(tmp_path / "out" / "metrics.json")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["metrics.json"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == {
        "AP": 0.46449,
        "AP50": -1.0,
        "per_class": {"cat": 0.25, "dog": -1.0, "owl": 0.5},
        "identity": {"HOTA": 1.0, "id_switches": 12.0},
        "per_video": {"7": 0.125},
    }


def test_tables():
    console = Console(file=io.StringIO(), width=80)
    for table in REPORT.tables():
        console.print(table)
    text = console.file.getvalue()
    assert text.index("owl") < text.index("cat") < text.index("1.000") < text.index("0.464")
    assert "dog" not in text and "0.125" not in text and "(1 not annotated)" in text


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("AP", 0.5, "0.500"), ("AP", -1.0, "-"), ("AP", 0.0, "0.000"), ("id_switches", 3.0, "3")],
)
def test_figures(name, value, text):
    assert format_figure(name, value) == text


def test_bad_figures():
    with pytest.raises(ValueError, match="per_class: cat must be finite, got nan"):
        Report({"AP": 0.0}, {"cat": float("nan")})
    with pytest.raises(ValueError, match="called like a figure"):
        Report({"AP": 0.0}, {}, {"AP": {}})


def test_twelve_figures_fit_into_a_terminal():
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    console = Console(file=io.StringIO(), width=80)
    console.print(Report(dict.fromkeys(names, 1.0), {}).tables()[-1])
    text = console.file.getvalue()
    assert text.count("1.000") == 12 and "AR100" in text, text
