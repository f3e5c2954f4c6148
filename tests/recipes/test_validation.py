from __future__ import annotations

import json
import shutil

import pytest

from video_mask2former.config import apply_overrides
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.metrics.ytvis_ap import SUMMARY_KEYS
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.validation import build_validation, mean_of_datasets, short_names


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


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_synthetic_dataset(folder, 2, SceneStyle(num_frames=2, size=(32, 48)), seed=0)
    return folder


def validation_of(small_config, folder, classes=("disc", "square", "star"), **options):
    changes = {"data.test": [f"{folder / 'JPEGImages'}::{folder / 'instances.json'}"], "model.class_names": classes}
    config = apply_overrides(small_config, {**changes, **options})
    return build_validation(config, folder, build_model(config))


def test_what_can_go_wrong_is_found_before_training(small_config, shapes, tmp_path, caplog) -> None:
    validation = validation_of(small_config, shapes)
    assert validation.metric_names == SUMMARY_KEYS
    assert not caplog.records
    validation_of(small_config, shapes, ("disc", "owl", "star"))
    assert "1 of the model's 3 classes are not in" in caplog.text and caplog.text.rstrip().endswith("owl")
    with pytest.raises(ValueError, match=r"the model has no class of the dataset: it has a, b, c, the dataset disc"):
        validation_of(small_config, shapes, ("a", "b", "c"))
    for task, best in (("panoptic", "VPQ"), ("semantic", "mIoU")):
        assert validation_of(small_config, shapes, **{"inference.task": task}).metric_names[0] == best

    folder = tmp_path / "shapes"
    shutil.copytree(shapes, folder)
    (folder / "JPEGImages" / "00001" / "00001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 4 images of .*00001/00001\.jpg.*training\.evaluate=false"):
        validation_of(small_config, folder)
    document = json.loads((folder / "instances.json").read_text())
    (folder / "instances.json").write_text(json.dumps({**document, "videos": [], "annotations": []}))
    with pytest.raises(ValueError, match="has no videos to evaluate on"):
        validation_of(small_config, folder)


def test_several_datasets_have_metrics_of_their_own(small_config, shapes) -> None:
    datasets = [f"{shapes}/{folder}::{shapes}/instances.json" for folder in ("JPEGImages", "JPEGImages/")]
    validation = validation_of(small_config, shapes, **{"data.test": datasets})
    assert validation.metric_names[:13] == (*SUMMARY_KEYS, "instances_1/AP")
    assert len(validation.metric_names) == 36
