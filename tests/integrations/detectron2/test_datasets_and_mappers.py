"""Records, inputs and results of datasets."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.rle import decode_rle


@pytest.fixture
def drop_in():
    from video_mask2former.integrations import detectron2

    return detectron2


@pytest.fixture
def registered(drop_in, video_dataset):
    """The name of the small dataset."""
    from detectron2.data import DatasetCatalog

    if "two_squares" not in DatasetCatalog:
        drop_in.register_ytvis_instances("two_squares", {}, video_dataset.json_file, video_dataset.image_root)
    return "two_squares"


def test_published_names_are_registered(drop_in, tmp_path) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    for family in ("ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis"):
        for split in ("train", "val", "test"):
            assert f"{family}_{split}" in DatasetCatalog
    metadata = MetadataCatalog.get("ytvis_2019_val")
    assert metadata.evaluator_type == "ytvis" and metadata.json_file.endswith("ytvis_2019/valid.json")
    assert metadata.image_root.endswith("ytvis_2019/valid/JPEGImages")
    assert metadata.thing_classes == list(CLASS_NAMES["ytvis_2019"]) and len(metadata.thing_colors) == 40
    assert metadata.thing_dataset_id_to_contiguous_id[1] == 0
    drop_in.register_all_ytvis_2019(tmp_path)  # names that are taken stay as they are
    assert MetadataCatalog.get("ytvis_2019_val") is metadata


def test_records_have_the_published_form(drop_in, registered) -> None:
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.structures import BoxMode

    records = DatasetCatalog.get(registered)
    assert [record["video_id"] for record in records] == [3, 7, 9]
    first = records[0]
    assert {*first} == {"file_names", "height", "width", "length", "video_id", "annotations"}
    assert (first["height"], first["width"], first["length"]) == (40, 64, 4)
    assert [len(frame) for frame in first["annotations"]] == [1, 1, 2, 2]
    annotation = first["annotations"][2][1]
    assert (annotation["id"], annotation["category_id"], annotation["iscrowd"]) == (31, 1, 0)
    assert annotation["bbox"] == [16.0, 20.0, 16.0, 14.0] and annotation["bbox_mode"] == BoxMode.XYWH_ABS
    assert isinstance(annotation["segmentation"]["counts"], str)
    assert MetadataCatalog.get(registered).thing_dataset_id_to_contiguous_id == {2: 0, 5: 1, 6: 2}


def test_the_video_mapper_draws_clips(drop_in, registered, make_cfg) -> None:
    mapper = drop_in.YTVISDatasetMapper(make_cfg(changes={"INPUT.SAMPLING_FRAME_NUM": 3}), is_train=True)
    record = drop_in.get_detection_dataset_dicts(registered)[0]
    np.random.seed(0)
    sides = set()
    for _ in range(8):
        made = mapper(record)
        assert len(made["image"]) == len(made["instances"]) == len(made["file_names"]) == 3
        assert made["frame_indices"] == sorted(made["frame_indices"]) and "annotations" not in made
        sides.add(made["image"][0].shape[1])
        for image, instances in zip(made["image"], made["instances"], strict=True):
            assert image.dtype == torch.uint8 and image.shape[1:] == instances.image_size
            assert instances.gt_masks.tensor.shape[1:] == image.shape[1:]
            absent = instances.gt_ids == -1
            assert torch.equal(absent, ~instances.gt_masks.tensor.flatten(1).any(1))
            assert (instances.gt_classes[absent] == 3).all() and (instances.gt_classes[~absent] < 2).all()
            # the brightest pixels are those of the objects
            assert (image[1][instances.gt_masks.tensor.any(0)] > 100).float().mean() > 0.9
    assert sides == {32, 48}
    np.random.seed(3)
    first = mapper(record)["frame_indices"]
    np.random.seed(3)
    assert mapper(record)["frame_indices"] == first, "NumPy's global generator, which detectron2 seeds, decides"


def test_the_video_mapper_gives_whole_videos_for_tests(drop_in, registered, make_cfg) -> None:
    record = drop_in.get_detection_dataset_dicts(registered)[1]
    made = drop_in.YTVISDatasetMapper(make_cfg(), is_train=False)(record)
    assert len(made["image"]) == 4 and made["image"][0].shape == (3, 48, 77)
    assert (made["height"], made["width"], made["video_id"]) == (40, 64, 7) and made["instances"] == []
    turned = drop_in.YTVISDatasetMapper(make_cfg(changes={"INPUT.FORMAT": "BGR"}), is_train=False)(record)
    assert torch.equal(turned["image"][0], made["image"][0].flip(0))


def test_explicit_arguments_make_a_mapper_too(drop_in, registered) -> None:
    mapper = drop_in.YTVISDatasetMapper(
        True, augmentations=lambda frames, target, rng: (frames, target), sampling_frame_num=2, num_classes=3
    )
    made = mapper(drop_in.get_detection_dataset_dicts(registered)[0])
    assert made["image"][0].shape == (3, 40, 64)


def image_record(folder, **fields):
    image = np.full((40, 64, 3), (10, 20, 200), np.uint8)
    assert cv2.imwrite(str(folder / "image.png"), image)
    return {"file_name": str(folder / "image.png"), "height": 40, "width": 64, "image_id": 4} | fields


def test_images_become_clips(drop_in, make_cfg, tmp_path) -> None:
    square = {"category_id": 1, "iscrowd": 0, "segmentation": [[4, 4, 30, 4, 30, 30, 4, 30]]}
    crowd = {"category_id": 0, "iscrowd": 1, "segmentation": [[40, 4, 60, 4, 60, 30]]}
    made = drop_in.CocoClipDatasetMapper(make_cfg(), is_train=True)(
        image_record(tmp_path, annotations=[square, crowd, square])
    )
    assert len(made["image"]) == 2 and made["length"] == 2 and len(made["instances"][0]) == 2
    assert not torch.equal(made["instances"][0].gt_masks.tensor, made["instances"][1].gt_masks.tensor)
    assert made["image_id"] == 4


@pytest.mark.parametrize("kind", ["instance", "panoptic", "semantic"])
def test_images_of_every_kind_of_annotation(drop_in, make_cfg, tmp_path, kind) -> None:
    if kind == "instance":
        mapper_type, fields = (
            drop_in.MaskFormerInstanceDatasetMapper,
            {"annotations": [{"category_id": 2, "iscrowd": 0, "segmentation": [[0, 0, 20, 0, 20, 20, 0, 20]]}]},
        )
    elif kind == "panoptic":
        ids = np.zeros((40, 64, 3), np.uint8)
        ids[:20, :20, 2] = 7  # red is the lowest byte
        ids[30:, :, 1] = 1
        assert cv2.imwrite(str(tmp_path / "segments.png"), ids)
        segments = [{"id": 7, "category_id": 2, "iscrowd": 0}, {"id": 256, "category_id": 0, "iscrowd": 1}]
        mapper_type = drop_in.COCOPanopticNewBaselineDatasetMapper
        fields = {"pan_seg_file_name": str(tmp_path / "segments.png"), "segments_info": segments}
    else:
        labels = np.full((40, 64), 255, np.uint8)
        labels[:20, :20] = 2
        assert cv2.imwrite(str(tmp_path / "labels.png"), labels)
        mapper_type = drop_in.MaskFormerSemanticDatasetMapper
        fields = {"sem_seg_file_name": str(tmp_path / "labels.png")}
    made = mapper_type(make_cfg("MaskFormer", {"INPUT.RANDOM_FLIP": "none"}), is_train=True)(
        image_record(tmp_path, **fields)
    )
    height, width = made["image"].shape[1:]
    assert made["image"][0, 0, 0] == 200 and made["instances"].gt_classes.tolist() == [2]
    share = made["instances"].gt_masks.float().mean().item()
    assert share == pytest.approx(400 / (40 * 64), rel=0.15) and made["instances"].gt_masks.shape == (1, height, width)


def test_the_evaluator_writes_and_measures(drop_in, registered, video_dataset, tmp_path) -> None:
    from detectron2.evaluation import DatasetEvaluator

    evaluator = drop_in.YTVISEvaluator(registered, None, True, str(tmp_path / "inference"))
    assert isinstance(evaluator, DatasetEvaluator)
    evaluator.reset()
    assert evaluator.evaluate() == {}
    truth = {video.video_id: video for video in evaluator._annotations.iterate_ground_truth()}
    for record in drop_in.get_detection_dataset_dicts(registered, filter_empty=False):
        masks = np.zeros((2, 4, 40, 64), bool)
        for index, frame in enumerate(record["annotations"]):
            for annotation in frame:
                masks[annotation["category_id"], index] = decode_rle(annotation["segmentation"])
        outputs = {
            "image_size": (40, 64),
            "pred_scores": [0.9, 0.8],
            "pred_labels": [0, 1],
            "pred_masks": [torch.from_numpy(mask) for mask in masks],
        }
        evaluator.process([record], outputs)
    figures = evaluator.evaluate()
    assert isinstance(figures, OrderedDict) and [*figures] == ["segm"]
    expected = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AP-square", "AP-bar", "AP-nothing"]
    assert [*figures["segm"]] == expected
    assert figures["segm"]["AP"] == pytest.approx(100.0) and np.isnan(figures["segm"]["APl"])

    results = json.loads((tmp_path / "inference" / "results.json").read_text())
    assert len(results) == 6 and {result["category_id"] for result in results} == {2, 5}
    assert (tmp_path / "inference" / "instances_predictions.pth").is_file() and len(truth) == 3
    with pytest.raises(ValueError, match="evaluated one at a time"):
        evaluator.process([record, record], outputs)


def test_hidden_annotations_leave_a_file_for_the_server(drop_in, video_dataset, tmp_path) -> None:
    document = json.loads(Path(video_dataset.json_file).read_text())
    del document["annotations"]
    (tmp_path / "hidden.json").write_text(json.dumps(document))
    drop_in.register_ytvis_instances("hidden_squares", {}, str(tmp_path / "hidden.json"), video_dataset.image_root)
    evaluator = drop_in.YTVISEvaluator("hidden_squares", output_dir=str(tmp_path))
    record = drop_in.get_detection_dataset_dicts("hidden_squares", filter_empty=False)[0]
    mask = torch.zeros(4, 40, 64, dtype=torch.bool)
    evaluator.process([record], {"pred_scores": [0.5], "pred_labels": [2], "pred_masks": [mask]})
    assert evaluator.evaluate() == {}
    assert json.loads((tmp_path / "results.json").read_text())[0]["category_id"] == 6


def test_records_without_an_instance_can_be_left_out(drop_in, video_dataset, tmp_path) -> None:
    document = json.loads(Path(video_dataset.json_file).read_text())
    document["annotations"] = document["annotations"][2:]
    (tmp_path / "some.json").write_text(json.dumps(document))
    drop_in.register_ytvis_instances("some_squares", {}, str(tmp_path / "some.json"), video_dataset.image_root)
    assert len(drop_in.get_detection_dataset_dicts("some_squares")) == 2
    assert len(drop_in.get_detection_dataset_dicts(["some_squares"], filter_empty=False)) == 3
    with pytest.raises(ValueError, match="expected at least one dataset"):
        drop_in.get_detection_dataset_dicts([])
