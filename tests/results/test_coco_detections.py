from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from video_mask2former.results import CocoDetectionsWriter, read_coco_detections
from video_mask2former.structures import FrameInstances


@given(st.data())
def test_round_trip(frame_lists, scratch, data):
    frames = data.draw(frame_lists())
    category_ids = data.draw(st.sampled_from([None, [11, 7, 3]]))
    with CocoDetectionsWriter(scratch / "d.json", category_ids) as writer:
        for frame in frames:
            writer.write(frame)
    assert read_coco_detections(scratch / "d.json", category_ids) == {
        frame.frame_index: frame for frame in frames if len(frame)
    }


def test_the_coco_form(tmp_path, boxes):
    with CocoDetectionsWriter(tmp_path / "d.json", image_ids={4: 139}) as writer:
        writer.write(FrameInstances(4, (5, 9), (2,), (0,), (0.5,), (boxes((5, 9), 1, 3, 4, 8),)))
    (entry,) = json.loads((tmp_path / "d.json").read_text())
    assert entry["image_id"] == 139
    assert entry["category_id"] == 1
    assert entry["bbox"] == [3, 1, 5, 3]
    assert entry["area"] == 15
    assert entry["score"] == 0.5


def test_files_of_other_programs(tmp_path, boxes):
    entries = [
        {"image_id": 7, "category_id": 1, "score": 1, "segmentation": boxes((5, 9), 1, 3, 4, 8), "bbox": [3, 1, 5, 3]},
        {"image_id": 7, "category_id": 2, "score": 0.5, "segmentation": {"size": [5, 9], "counts": [40, 5]}},
    ]
    (tmp_path / "d.json").write_text(json.dumps(entries))
    frame = read_coco_detections(tmp_path / "d.json")[7]
    assert frame.track_ids == (1, 2)
    assert frame.labels == (0, 1)
    assert frame.scores == (1.0, 0.5)


def test_detections_without_masks_are_refused(tmp_path):
    (tmp_path / "d.json").write_text(json.dumps([{"image_id": 7, "category_id": 1, "score": 1, "bbox": [1, 1, 1, 1]}]))
    with pytest.raises(ValueError, match="entry 0 lacks 'segmentation'"):
        read_coco_detections(tmp_path / "d.json")
