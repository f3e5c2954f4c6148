"""Results as the objects of other libraries, read back by these libraries."""

from __future__ import annotations

import sys
from fractions import Fraction

import numpy as np
import pandas
import pytest
import supervision

from video_mask2former.results import read_mask_pngs
from video_mask2former.rle import encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.visualization.track_table import visible_spans


def mask(top: int, left: int, height: int, width: int):
    dense = np.zeros((1, 20, 30), bool)
    dense[0, top : top + height, left : left + width] = True
    return encode_masks(dense)[0]


@pytest.fixture
def video() -> VideoInstances:
    cat = Track(7, 0, 0.5, {1: mask(2, 3, 4, 5)}, {1: 0.4})
    dog = Track(2, 1, 0.9, {0: mask(10, 10, 6, 8), 1: mask(11, 12, 1, 1), 3: mask(0, 0, 20, 30)})
    return VideoInstances((cat, dog), 4, (20, 30), Fraction(25, 2), ("cat", "dog"))


def test_a_table_has_a_row_for_each_track_on_each_frame(video):
    table = video.to_pandas()
    assert isinstance(table, pandas.DataFrame) and len(table) == 4
    assert table.track_id.tolist() == [2, 2, 7, 2] and table.frame.tolist() == [0, 1, 1, 3]
    row = table[table.class_name == "cat"].iloc[0]
    assert (row.x, row.y, row.width, row.height, row.area) == (3, 2, 5, 4, 20)
    assert (row.score, row.time_seconds) == (0.4, 0.08)
    assert table.groupby("track_id").area.max().to_dict() == {2: 600, 7: 20}
    assert list(video[:0].to_pandas().columns) == list(table.columns)


def test_supervision_gets_ids_names_and_masks(video):
    detections = video.to_supervision()
    assert [len(each) for each in detections] == [1, 2, 0, 1]
    both = detections[1]
    assert both.tracker_id.tolist() == [7, 2] and both.class_id.tolist() == [0, 1]
    assert both["class_name"].tolist() == ["cat", "dog"] and both.confidence.tolist() == [0.4, 0.9]
    dense = video.masks([1])[:, 0]
    np.testing.assert_array_equal(np.asarray(both.mask), dense)
    np.testing.assert_array_equal(both.xyxy, supervision.mask_to_xyxy(dense))
    drawn = supervision.MaskAnnotator().annotate(np.zeros((20, 30, 3), np.uint8), both)
    np.testing.assert_array_equal(drawn.any(axis=2), dense.any(axis=0))


def test_coco_detections_and_davis_masks(video, tmp_path):
    entries = video.to_coco()
    assert [(entry["image_id"], entry["track_id"], entry["category_id"]) for entry in entries] == [
        (0, 2, 2),
        (1, 7, 1),
        (1, 2, 2),
        (3, 2, 2),
    ]
    assert entries[1]["bbox"] == [3, 2, 5, 4]
    video.to_davis(tmp_path / "masks")
    back = read_mask_pngs(tmp_path / "masks")
    assert {track.track_id: dict(track.segmentations) for track in back} == {
        track.track_id: dict(track.segmentations) for track in video
    }


def test_a_missing_library_is_named(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="this needs the package pandas: pip install pandas"):
        video.to_pandas()


def test_notebooks_show_tracks_with_their_time_lines(video):
    page = video._repr_html_()
    assert "2 tracks on 4 frames of 30x20" in page
    assert page.index("dog") < page.index("cat") and page.count("<rect") == 3
    assert visible_spans(video.tracks[1]) == [(0, 2), (3, 4)]


def test_a_frame_is_drawn(video):
    image = np.full((20, 30, 3), 128, np.uint8)
    picture = video.plot(3, image)
    assert picture.size == (30, 20) and (np.asarray(picture) != 128).any()
    assert video.plot(2, image).tobytes() == image.tobytes()
    with pytest.raises(ValueError, match=r"give the frame itself, plot\(frame_index, image\)"):
        video.plot(3)
