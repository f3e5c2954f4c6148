from __future__ import annotations

import numpy as np

from video_mask2former.data.label_maps import LabelMapFolder, tracks_of_numbers, write_label_map
from video_mask2former.rle import decode_rle, encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.tasks.class_mapping import ClassMapping
from video_mask2former.tasks.segment_maps import compare_instances, label_map_of, paint

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
    labels = label_map_of(instances())
    assert labels.labels[:, 0].tolist() == [[2, 2, 2, 2, -1, -1, -1, -1], [2, 2, 0, 0, 0, 0, -1, -1]]


def test_maps_become_tracks_again(tmp_path) -> None:
    maps = np.stack([paint(instances(), [1, 2], index) for index in range(2)])
    drawn = tracks_of_numbers(maps, {1: 2, 2: 0}, frozenset({1}))
    assert [(track.track_id, track.label, track.is_crowd) for track in drawn.tracks] == [(1, 2, True), (2, 0, False)]
    for track in drawn.tracks:
        for frame_index in range(2):
            expected = maps[frame_index] == track.track_id
            assert (frame_index in track.segmentations) == expected.any()
            if expected.any():
                np.testing.assert_array_equal(decode_rle(track.segmentations[frame_index]), expected)
    write_label_map(tmp_path / "deep" / "map.png", np.where(columns(0, 2), 1, 255))
    [track] = LabelMapFolder(tmp_path).read_instances("deep/map", num_classes=4).tracks
    assert track.label == 1 and decode_rle(track.segmentations[0]).sum() == 12, "255 is no class"


def test_predicted_classes_that_a_dataset_lacks_are_void() -> None:
    owl, cat = encode_masks(np.stack([columns(0, 3), columns(3, 8)]))
    answer = VideoInstances((Track(1, 0, 0.9, {0: owl}), Track(2, 1, 0.9, {0: cat})), 1, SIZE, video_id=4)
    predicted = ClassMapping(["owl", "cat"], 2, ["dog", "cat"]).apply(answer)
    assert paint(predicted, [2], 0)[0].tolist() == [0, 0, 0, 2, 2, 2, 2, 2]
    assert [track.label for track in predicted.tracks] == [1]
