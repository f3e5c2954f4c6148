from __future__ import annotations

import numpy as np
import torch

from video_mask2former.evaluation.instance_evaluation import ClassMapping
from video_mask2former.evaluation.segment_maps import (
    instances_of_labels,
    instances_of_panoptic,
    label_map_of,
    panoptic_map_of,
    predicted_panoptic_map,
)
from video_mask2former.inference import PanopticSegmentation
from video_mask2former.metrics import LabelMap
from video_mask2former.rle import decode_rle, encode_masks
from video_mask2former.structures import Track, VideoInstances
from video_mask2former.tasks.postprocess import PanopticSegment

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
    segments = panoptic_map_of(instances())
    assert segments.sample_id == 5
    assert segments.segment_ids[:, 0].tolist() == [[1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 2, 2, 2, 2, 0, 0]]
    assert (segments.labels, segments.crowd_ids) == ({1: 2, 2: 0}, {1})
    labels = label_map_of(instances(), ignore_label=-1)
    assert labels.labels[:, 0].tolist() == [[2, 2, 2, 2, -1, -1, -1, -1], [2, 2, 0, 0, 0, 0, -1, -1]]


def test_maps_become_instances_again() -> None:
    segments = panoptic_map_of(instances())
    drawn = instances_of_panoptic(segments)
    assert [(track.track_id, track.label, track.is_crowd) for track in drawn.tracks] == [(1, 2, True), (2, 0, False)]
    for track in drawn.tracks:
        for frame_index in range(2):
            expected = segments.segment_ids[frame_index] == track.track_id
            assert (frame_index in track.segmentations) == expected.any()
            if expected.any():
                np.testing.assert_array_equal(decode_rle(track.segmentations[frame_index]), expected)
    labels = LabelMap(3, np.where(columns(0, 2), 1, 255))
    [track] = instances_of_labels(labels, num_classes=4).tracks
    assert track.label == 1 and decode_rle(track.segmentations[0]).sum() == 12, "255 is no class"


def test_predicted_classes_that_a_dataset_lacks_are_void() -> None:
    label_map = torch.from_numpy(np.where(columns(0, 3), 1, 2).astype(np.int32))
    segments = (PanopticSegment(1, 0, True, 0.9, 18), PanopticSegment(2, 1, True, 0.9, 30))
    mapping = ClassMapping(["owl", "cat"], 2, ["dog", "cat"])
    predicted = predicted_panoptic_map(PanopticSegmentation(label_map, segments), mapping, 4)
    assert predicted.labels == {2: 1}
    assert predicted.segment_ids[0, 0].tolist() == [0, 0, 0, 2, 2, 2, 2, 2]
