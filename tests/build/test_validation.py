from __future__ import annotations

import pytest

from video_mask2former.build.validation import mean_of_datasets, short_names


def test_mean_over_datasets_leaves_out_what_is_undefined() -> None:
    figures = {"a": {"AP": 0.2, "APs": -1.0, "APl": -1.0}, "b": {"AP": 0.6, "APs": 0.3, "APl": -1.0}}
    assert mean_of_datasets(figures) == pytest.approx(
        {
            "AP": 0.4,
            "APs": 0.3,
            "APl": -1.0,
            "a/AP": 0.2,
            "a/APs": -1.0,
            "a/APl": -1.0,
            "b/AP": 0.6,
            "b/APs": 0.3,
            "b/APl": -1.0,
        }
    )


def test_datasets_have_names_of_their_own() -> None:
    names = ["ovis_val", "a/images::a/valid.json", "b/images::b/valid.json", "c::other.json"]
    assert short_names(names) == ["ovis_val", "valid_1", "valid_2", "other"]
