"""Panoptic and semantic segmentation of videos: the published results, and what streams add to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from video_mask2former.config import InferenceSettings
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput, VideoInstances
from video_mask2former.tasks import AnswerRules, VideoPanopticTask
from video_mask2former.tasks.segment_maps import paint

SIZE = (45, 70)
THINGS = 4


def output_of(figures: dict[str, np.ndarray], prefix: str) -> ClipOutput:
    """Ten queries on three frames; where a tracker looked at them too, the offline rule applies."""
    logits = torch.from_numpy(figures["head_logits"])[None]
    masks = torch.from_numpy(figures["head_mask_coarse"]).repeat_interleave(4, 2).repeat_interleave(4, 3)[None]
    queries = torch.zeros(1, logits.shape[1], 4)
    scores = None
    if prefix == "head_aux":
        online = torch.from_numpy(figures["head_aux_logits"])[None]
        scores = torch.maximum(logits.softmax(2), online.softmax(2))[..., :-1]
    mask_logits = MaskLogits.from_dense(masks)
    return ClipOutput(logits, mask_logits, queries, queries, (60, 90), (64, 96), class_scores=scores)


@pytest.mark.parametrize("prefix", ["head", "head_aux"])
def test_the_published_panoptic_segmentation(golden, prefix) -> None:
    figures = golden("dvis_plus_units")
    output = output_of(figures, prefix)
    rules = AnswerRules(InferenceSettings(), tuple(label < THINGS for label in range(output.num_classes)))
    task = VideoPanopticTask(object_mask_threshold=0.5, overlap_threshold=0.6)
    tracks = task.clip_tracks(output, range(3), SIZE, rules)
    video = VideoInstances(tracks, 3, SIZE, video_id=0)
    segments = figures[f"{prefix}_vps_segments"]  # id, is it a thing, class
    queries = figures[f"{prefix}_vps_query"]
    expected_ids = [
        output.num_classes + query + 1 if is_thing else label + 1
        for (_, is_thing, label), query in zip(segments.tolist(), queries.tolist(), strict=True)
    ]
    assert [track.track_id for track in tracks] == expected_ids
    assert [track.label for track in tracks] == segments[:, 2].tolist()
    maps = np.stack([paint(video, segments[:, 0].tolist(), index) for index in range(3)])
    assert (maps == figures[f"{prefix}_vps_panoptic"]).mean() > 0.9999
