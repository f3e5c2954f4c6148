"""Videos through a refiner in two passes: what the whole clip gives, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.inference import InferenceSettings
from video_mask2former.inference.feature_spool import FeatureSpool
from video_mask2former.inference.spooled_masks import SpooledMaskLogits
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.refinement import TemporalRefiner, TrackedModel
from video_mask2former.refinement.temporal_refiner import RefinerLayer
from video_mask2former.tasks import AnswerRules, VideoInstanceTask, VideoPanopticTask, VideoSemanticTask
from video_mask2former.tracking import DVISPlusTracker

SIZES = {"embedding_dim": 32, "num_layers": 2, "num_heads": 4, "feedforward_dim": 64}


@pytest.fixture
def model(tiny_model) -> TrackedModel:
    segmenter = tiny_model(temporal=False)
    return TrackedModel(
        segmenter, DVISPlusTracker(3, mask_dim=32, **SIZES), TemporalRefiner(3, mask_dim=32, **SIZES)
    ).eval()


def video(num_frames: int = 11) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (num_frames, 64, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize("chunk_size", [1, 4])
def test_two_passes_give_what_the_whole_clip_gives(model, chunk_size):
    settings = InferenceSettings.published(short_side=64, feature_dtype="float32", chunk_size=chunk_size)
    result = vm2f.segment_video(model, video(), settings=settings)
    with torch.no_grad():
        output = model(torch.from_numpy(video()).permute(0, 3, 1, 2)[None])
    expected = VideoInstanceTask().clip_tracks(output, range(11), (64, 96), AnswerRules(settings, (True,) * 3))
    assert [track.label for track in result.tracks] == [track.label for track in expected]
    for ours, theirs in zip(result.tracks, expected, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-5)
        assert dict(ours.segmentations) == dict(theirs.segmentations)


def test_the_first_label_of_a_query_has_the_id_of_the_query(model):
    settings = InferenceSettings.published(short_side=64)
    result = vm2f.segment_video(model, video(), settings=settings)
    with torch.no_grad():
        output = model(torch.from_numpy(video()).permute(0, 3, 1, 2)[None])
    best = output.class_scores[0].flatten().argmax()
    assert (result.tracks[0].track_id - 1, result.tracks[0].label) == (int(best) // 3, int(best) % 3)
    ids = [track.track_id for track in result.tracks]
    assert len(set(ids)) == len(ids)


def test_people_get_the_refined_result_and_streams_the_tracker(model):
    seen: list[int] = []
    result = vm2f.segment_video(model, video(), short_side=64, score_threshold=0.01, progress=seen.append)
    assert seen == list(range(1, 12)) and result.num_frames == 11
    published = vm2f.segment_video(model, video(), settings=InferenceSettings.published(short_side=64))
    scores = {track.track_id: track.score for track in published.tracks}
    assert any(scores.get(track.track_id) == pytest.approx(track.score) for track in result.tracks)
    assert len(list(vm2f.stream_video(model, video(), short_side=64))) == 11


def test_long_videos_are_refined_in_chunks(monkeypatch):
    layer = RefinerLayer(16, 2, 32).eval()
    x, memory = torch.randn(1, 20, 6, 16), torch.randn(1, 20, 6, 16)
    expected = layer(x, memory)  # with gradients: all at once
    monkeypatch.setattr("video_mask2former.refinement.temporal_refiner.TOKENS_PER_CHUNK", 30)
    with torch.no_grad():
        torch.testing.assert_close(layer(x.clone(), memory), expected, rtol=1e-5, atol=1e-5)


def test_features_come_back_from_the_disk():
    features = torch.randn(1, 7, 3, 4, 5)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        spool = FeatureSpool(dtype)
        spool.append(features[:, :3])
        spool.append(features[:, 3:])
        assert len(spool) == 7
        torch.testing.assert_close(spool.read(2, 9), features[:, 2:].to(dtype), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"must be \(1, T, 3, 4, 5\)"):
        spool.append(torch.randn(1, 1, 3, 4, 6))


TASKS = [VideoInstanceTask(), VideoPanopticTask(0.0, 0.0), VideoSemanticTask()]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("has_refiner", [True, False])
def test_a_clip_is_decided_as_a_whole_and_its_features_are_not_in_memory(model, task, has_refiner, monkeypatch):
    if not has_refiner:
        model.refiner = None
    settings = InferenceSettings.published(short_side=64, feature_dtype="float32", chunk_size=3)
    with torch.no_grad():
        output = model(torch.from_numpy(video()).permute(0, 3, 1, 2)[None])
    expected = task.clip_tracks(output, range(11), (64, 96), AnswerRules(settings, (True,) * 3))
    monkeypatch.setattr(SpooledMaskLogits, "features", property(lambda logits: pytest.fail("all frames were read")))
    result = vm2f.segment_video(model, video(), task=task, settings=settings)
    assert result.num_frames == 11 and len(result.tracks) == len(expected)
    found = sorted(result.tracks, key=lambda track: (-track.score, track.label))
    for ours, theirs in zip(found, sorted(expected, key=lambda track: (-track.score, track.label)), strict=True):
        assert (ours.label, ours.score) == (theirs.label, pytest.approx(theirs.score, abs=1e-5))
        assert dict(ours.segmentations) == dict(theirs.segmentations)


@pytest.mark.parametrize("task", TASKS[::2], ids=lambda task: task.name)
def test_frames_encoded_again_give_what_the_disk_gives(model, task):
    settings = InferenceSettings.published(short_side=64, feature_dtype="float32")
    kept = vm2f.segment_video(model, video(19), task=task, settings=settings)
    again = vm2f.segment_video(model, video(19), task=task, settings=settings, second_pass="encode")
    assert [track.score for track in again.tracks] == pytest.approx([track.score for track in kept.tracks])
    assert [dict(track.segmentations) for track in again.tracks] == [dict(t.segmentations) for t in kept.tracks]
    with pytest.raises(ValueError, match="can be read once only, and its frames are wanted twice"):
        vm2f.segment_video(model, iter(video()), settings=settings, second_pass="encode")


def test_spooled_masks_are_masks():
    embeddings, features = torch.randn(1, 6, 4, 8), torch.randn(1, 6, 8, 5, 7)
    plain = MaskLogits(embeddings, features)
    spooled = SpooledMaskLogits(embeddings, (6, 5, 7), lambda start, stop: features[:, start:stop])
    rows = torch.tensor([3, 1])
    assert spooled.shape == plain.shape and "1, 4, 6, 5, 7" in repr(spooled)
    torch.testing.assert_close(spooled.select(rows).frames(1, 4).dense(), plain.select(rows).dense()[:, :, 1:4])
    torch.testing.assert_close(spooled.dense(), plain.dense())
    torch.testing.assert_close(spooled.select(rows[None]).dense(), plain.select(rows).dense())
    with pytest.raises(ValueError, match=r"must be \(1, Q, C\) or \(1, 5, Q, C\)"):
        SpooledMaskLogits(embeddings, (5, 5, 7), lambda start, stop: features)
