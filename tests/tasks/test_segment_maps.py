from __future__ import annotations

import numpy as np
import pytest

from video_mask2former.data.label_maps import LabelMapFolder, masks_of_numbers, write_label_map
from video_mask2former.rle import decode_rle, encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.tasks.class_mapping import ClassMapping
from video_mask2former.tasks.segment_maps import IGNORED, compare_instances, label_maps_of, paint

SIZE = (6, 8)


def columns(start: int, stop: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[:, start:stop] = True
    return mask


def instances() -> VideoInstances:
    """A crowd of class 2 on both frames, and on the second a thing of class 0 that covers part of it."""
    crowd, thing = encode_masks(np.stack([columns(0, 4), columns(2, 6)]))
    tracks = (Track(7, 2, 1.0, {0: crowd, 1: crowd}, is_crowd=True), Track(9, 0, 1.0, {1: thing}))
    return VideoInstances(tracks, 2, SIZE, video_id=5)


def test_instances_are_painted_one_over_the_other() -> None:
    overlaps = compare_instances(instances(), instances())
    assert overlaps.sample_id == 5
    assert overlaps.frames == ({(1, 1): 24, (0, 0): 24}, {(1, 1): 12, (2, 2): 24, (0, 0): 12})
    assert (overlaps.labels, overlaps.target_labels, overlaps.crowd_ids) == ({1: 2, 2: 0}, {1: 2, 2: 0}, {1})
    labels = np.stack([prediction for prediction, _ in label_maps_of(instances(), instances())])
    assert IGNORED == -1 and labels[:, 0].tolist() == [[2, 2, 2, 2, -1, -1, -1, -1], [2, 2, 0, 0, 0, 0, -1, -1]]


def test_maps_become_tracks_again(tmp_path) -> None:
    drawn = paint(instances(), [1, 2], 1)
    numbers = dict(masks_of_numbers(drawn))
    assert list(numbers) == [0, 1, 2]
    for number, rle in numbers.items():
        np.testing.assert_array_equal(decode_rle(rle), drawn == number)
    for frame in ("a", "b"):
        write_label_map(tmp_path / "deep" / f"{frame}.png", np.where(columns(0, 2), 1, 255))
    video = LabelMapFolder(tmp_path).read_instances(["deep/a", "deep/b"], num_classes=4)
    [track] = video.tracks
    assert (track.label, video.num_frames, video.size) == (1, 2, SIZE)
    assert decode_rle(track.segmentations[1]).sum() == 12, "255 is not a class"
    write_label_map(tmp_path / "deep" / "b.png", np.zeros((3, 3), np.int64))
    with pytest.raises(ValueError, match=r"deep/b\.png: .*one size"):
        LabelMapFolder(tmp_path).read_instances(["deep/a", "deep/b"], num_classes=4)


def test_predicted_classes_that_a_dataset_lacks_are_void() -> None:
    owl, cat = encode_masks(np.stack([columns(0, 3), columns(3, 8)]))
    answer = VideoInstances((Track(1, 0, 0.9, {0: owl}), Track(2, 1, 0.9, {0: cat})), 1, SIZE, video_id=4)
    predicted = ClassMapping(["owl", "cat"], 2, ["dog", "cat"]).apply(answer)
    assert paint(predicted, [2], 0)[0].tolist() == [0, 0, 0, 2, 2, 2, 2, 2]
    assert [track.label for track in predicted.tracks] == [1]
