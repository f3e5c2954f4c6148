"""Panoptic and semantic segmentation of videos: the published results, and what streams add to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from video_mask2former.config import Config, InferenceSettings, apply_overrides
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.recipes.tasks import build_task
from video_mask2former.structures import ClipOutput, VideoInstances
from video_mask2former.tasks import (
    AnswerRules,
    ImageInstanceTask,
    PanopticTask,
    SemanticTask,
    TrackedWindow,
    VideoPanopticTask,
    VideoSemanticTask,
    video_task,
)
from video_mask2former.tasks.recorder import Recorder
from video_mask2former.tasks.segment_maps import paint
from video_mask2former.tracking import TrackUpdate

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
    rules = rules_of(output)
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


@pytest.mark.parametrize("prefix", ["head", "head_aux"])
def test_the_published_semantic_segmentation(golden, prefix) -> None:
    figures = golden("dvis_plus_units")
    output = output_of(figures, prefix)
    tracks = VideoSemanticTask().clip_tracks(output, range(3), SIZE, rules_of(output))
    video = VideoInstances(tracks, 3, SIZE, video_id=0)
    maps = np.stack([paint(video, [track.label for track in tracks], index) for index in range(3)])
    assert (maps == figures[f"{prefix}_vss_map"]).mean() > 0.9999
    assert [track.track_id for track in tracks] == [track.label + 1 for track in tracks]


def rules_of(output: ClipOutput) -> AnswerRules:
    return AnswerRules(InferenceSettings(), tuple(label < THINGS for label in range(output.num_classes)))


@pytest.mark.parametrize("task", [VideoPanopticTask(0.5, 0.6), VideoSemanticTask()])
def test_windows_of_a_stream_have_the_answer_of_the_clip(golden, task) -> None:
    """One window that holds the whole video, whose tracks are the queries in another order, with ids of their own."""
    output = output_of(golden("dvis_plus_units"), "head")
    rules = rules_of(output)
    order = torch.randperm(10).tolist()
    logits = output.class_logits[0][order]
    update = TrackUpdate(tuple(100 + query for query in order), tuple(order), logits, logits)
    recorder = task.recorder(SIZE, rules)
    assert isinstance(recorder, Recorder)
    frames = task.window_frames(TrackedWindow(update, output, (5, 6, 7), 0, SIZE), rules, recorder)
    assert [frame.frame_index for frame in frames] == [5, 6, 7]
    found = {track.track_id: track for track in recorder.tracks()}
    expected = {}
    for track in task.clip_tracks(output, (5, 6, 7), SIZE, rules):
        is_thing = track.track_id > output.num_classes
        expected[track.track_id + 99 if is_thing else track.track_id] = track
    assert {track_id: track.label for track_id, track in found.items()} == {
        track_id: track.label for track_id, track in expected.items()
    }
    for track_id, track in expected.items():
        assert dict(found[track_id].segmentations) == dict(track.segmentations)
        here = [frame for frame in frames if track_id in frame.track_ids]
        assert [frame.frame_index for frame in here] == list(track.segmentations)
    later = task.window_frames(TrackedWindow(update, output, (7,), 2, SIZE), rules, None)
    assert [frame.frame_index for frame in later] == [7]


def test_tasks_of_images_have_siblings_for_videos() -> None:
    assert video_task(PanopticTask(0.3, 0.4, fill=True)).describe() == VideoPanopticTask(0.3, 0.4, fill=True).describe()
    assert video_task(SemanticTask(resize_scores=True)).describe() == {"name": "video_semantic"}
    assert video_task(ImageInstanceTask()).name == "instance"
    own = VideoPanopticTask(0.1, stuff=["sky", 0])
    assert own.is_thing(("sea", "owl", "sky"), 3) == (False, True, False)
    assert VideoPanopticTask().is_thing(("sea", "owl", "sky"), 3) == (True,) * 3
    with pytest.raises(ValueError, match="did you mean 'sky'"):
        VideoPanopticTask(stuff=["skye"]).is_thing(("sea", "owl", "sky"), 3)
    assert video_task(own) is own
    config = apply_overrides(Config(), {"task": {"name": "video_panoptic", "overlap_threshold": 0.5}})
    assert build_task(config).describe() == VideoPanopticTask(0.8, 0.5).describe()
    for options in ({"overlap_threshold": 1.5}, {"resize_scores": True}):
        with pytest.raises(ValueError, match=next(iter(options))):
            build_task(apply_overrides(Config(), {"task": {"name": "video_panoptic", **options}}))
