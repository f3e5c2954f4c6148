"""Maps of every pixel made of instances, to be measured, and instances made of maps, to be drawn."""

from __future__ import annotations

import numpy as np

from video_mask2former.evaluation.instance_evaluation import ClassMapping
from video_mask2former.inference import PanopticSegmentation
from video_mask2former.metrics import LabelMap, PanopticMap
from video_mask2former.rle import Rle, decode_rle, encode_masks
from video_mask2former.structures import Track, VideoInstances


def panoptic_map_of(instances: VideoInstances) -> PanopticMap:
    """The segment of each pixel; where instances overlap, the later one is seen."""
    assert instances.video_id is not None
    segment_ids = np.zeros((instances.num_frames, *instances.size), np.int32)
    for segment_id, track in enumerate(instances.tracks, start=1):
        for frame_index, rle in track.segmentations.items():
            segment_ids[frame_index][decode_rle(rle)] = segment_id
    labels = {segment_id: track.label for segment_id, track in enumerate(instances.tracks, start=1)}
    crowds = frozenset(segment_id for segment_id, track in enumerate(instances.tracks, start=1) if track.is_crowd)
    return PanopticMap(instances.video_id, segment_ids, labels, crowds)


def label_map_of(instances: VideoInstances, ignore_label: int) -> LabelMap:
    """The class of each pixel, ``ignore_label`` where no instance is; where they overlap, the later one is seen."""
    assert instances.video_id is not None
    labels = np.full((instances.num_frames, *instances.size), ignore_label, np.int64)
    for track in instances.tracks:
        for frame_index, rle in track.segmentations.items():
            labels[frame_index][decode_rle(rle)] = track.label
    return LabelMap(instances.video_id, labels)


def predicted_panoptic_map(segmentation: PanopticSegmentation, mapping: ClassMapping, sample_id: int) -> PanopticMap:
    """A model's segments of an image with the labels of a dataset; those of classes it does not have are void."""
    segment_ids = segmentation.label_map.cpu().numpy().astype(np.int32)
    labels = {}
    for segment in segmentation.segments:
        label = mapping.labels[segment.label]
        if label is None:
            segment_ids[segment_ids == segment.segment_id] = 0
        else:
            labels[segment.segment_id] = label
    return PanopticMap(sample_id, segment_ids[None], labels)


def instances_of_panoptic(segments: PanopticMap) -> VideoInstances:
    """The segments as tracks, to be drawn."""
    tracks = tuple(
        Track(
            track_id=segment_id,
            label=label,
            score=1.0,
            segmentations=_masks(segments.segment_ids, segment_id),
            is_crowd=segment_id in segments.crowd_ids,
        )
        for segment_id, label in segments.labels.items()
    )
    num_frames, height, width = segments.segment_ids.shape
    return VideoInstances(tracks, num_frames, (height, width), video_id=segments.sample_id)


def instances_of_labels(label_map: LabelMap, num_classes: int) -> VideoInstances:
    """The classes of a label map as tracks, one each, to be drawn."""
    labels = label_map.labels if label_map.labels.ndim == 3 else label_map.labels[None]
    present = [label for label in np.unique(labels).tolist() if 0 <= label < num_classes]
    tracks = tuple(Track(label + 1, label, 1.0, _masks(labels, label)) for label in present)
    return VideoInstances(tracks, labels.shape[0], (labels.shape[1], labels.shape[2]), video_id=label_map.sample_id)


def _masks(numbers: np.ndarray, number: int) -> dict[int, Rle]:
    """Mask of one number on each frame it is seen on."""
    masks = numbers == number
    seen = np.flatnonzero(masks.any(axis=(1, 2))).tolist()
    return dict(zip(seen, encode_masks(masks[seen]), strict=True))
