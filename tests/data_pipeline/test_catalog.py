from __future__ import annotations

import pytest

from video_mask2former.data.catalog import DATASETS, locate_dataset, locate_label_pictures


@pytest.mark.parametrize(
    ("name", "images", "annotations"),
    [
        ("ytvis_2019_train", "ytvis_2019/train/JPEGImages", "ytvis_2019/train.json"),
        ("ytvis_2019_val", "ytvis_2019/valid/JPEGImages", "ytvis_2019/valid.json"),
        ("ytvis_2021_test", "ytvis_2021/test/JPEGImages", "ytvis_2021/test/instances.json"),
        ("ytvis_2022_val", "ytvis_2022/valid/JPEGImages", "ytvis_2022/valid.json"),
        ("ytvis_2022_train", "ytvis_2021/train/JPEGImages", "ytvis_2021/train.json"),
        ("ytvis_2021_local_val", "ytvis_2021/train/JPEGImages", "ytvis_2021/local_val.json"),
        ("ovis_train", "ovis/train", "ovis/annotations/annotations_train.json"),
        ("ovis_val", "ovis/valid", "ovis/annotations/valid.json"),
        ("coco_2017_val", "coco/val2017", "coco/annotations/instances_val2017.json"),
        ("coco2ytvis2019_train", "coco/train2017", "coco/annotations/coco2ytvis2019_train.json"),
        (
            "ade20k_sem_seg_val",
            "ADEChallengeData2016/images/validation",
            "ADEChallengeData2016/validation_segments.json",
        ),
    ],
)
def test_published_layout(tmp_path, monkeypatch, name, images, annotations) -> None:
    (tmp_path / images).mkdir(parents=True)
    (tmp_path / annotations).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / annotations).write_text("{}")
    found = locate_dataset(name, tmp_path)
    assert (found.name, found.image_folder, found.annotation_file) == (name, tmp_path / images, tmp_path / annotations)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert locate_dataset(name) == found
    monkeypatch.delenv("DETECTRON2_DATASETS")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").symlink_to(tmp_path)
    assert locate_dataset(name).annotation_file.samefile(found.annotation_file)


def test_direct_pair(tmp_path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "mine.json").write_text("{}")
    found = locate_dataset(f"{tmp_path}/images::{tmp_path}/mine.json", "elsewhere")
    assert found.name == "mine" and found.image_folder == tmp_path / "images"
    with pytest.raises(FileNotFoundError, match=r"no annotation file .*other\.json"):
        locate_dataset(f"{tmp_path}/images::{tmp_path}/other.json")
    with pytest.raises(FileNotFoundError, match=r"images of mine are expected in the folder .*pictures"):
        locate_dataset(f"{tmp_path}/pictures::{tmp_path}/mine.json")


def test_unknown_names_suggest_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown dataset 'ytvis_2019_trian'; did you mean ytvis_2019_train"):
        locate_dataset("ytvis_2019_trian")
    with pytest.raises(ValueError, match=r"known are ytvis_2019_train, .*IMAGES::ANNOTATIONS\.json"):
        locate_dataset("qqq")


def test_missing_files_say_where_they_are_expected(tmp_path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        locate_dataset("ovis_train", tmp_path)
    message = str(error.value)
    for file in DATASETS["ovis_train"].annotation_files:
        assert str(tmp_path / file) in message
    assert "DETECTRON2_DATASETS" in message and "datasets/ytvis/README.md" in message
    (tmp_path / "ovis/annotations").mkdir(parents=True)
    (tmp_path / "ovis/annotations/train.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"images of ovis_train are expected in the folder .*ovis/train"):
        locate_dataset("ovis_train", tmp_path)


def test_label_pictures(tmp_path) -> None:
    assert locate_label_pictures("ytvis_2019_val", tmp_path) is None
    assert locate_label_pictures("images::mine.json", tmp_path) is None
    with pytest.raises(FileNotFoundError, match=r"label pictures of ade20k_sem_seg_val are expected at .*/validation"):
        locate_label_pictures("ade20k_sem_seg_val", tmp_path)
    for folder in ("ADEChallengeData2016/annotations/validation", "ADEChallengeData2016/images/validation"):
        (tmp_path / folder).mkdir(parents=True)
    found = locate_label_pictures("ade20k_sem_seg_val", tmp_path)
    assert found.annotation_file == tmp_path / "ADEChallengeData2016/annotations/validation"
