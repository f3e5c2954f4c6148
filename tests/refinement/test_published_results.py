"""Final scores, ids, masks and label maps of whole models against the published CTVIS, DVIS and DVIS++."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from published_weights import block_clip, load_part, published_segmenter

from video_mask2former.convert.dvis import REFERRING_TRACKER, TEMPORAL_REFINER
from video_mask2former.inference import InferenceSettings
from video_mask2former.refinement import TemporalRefiner, TrackedModel
from video_mask2former.rle import decode_rle
from video_mask2former.structures import ClipOutput, Track
from video_mask2former.tasks import AnswerRules, VideoInstanceTask
from video_mask2former.tracking import CTVISTracker, DVISPlusTracker, DVISTracker

SIZE = (40, 70)


def answer(output: ClipOutput, num_frames: int, settings: InferenceSettings) -> tuple[Track, ...]:
    rules = AnswerRules(settings, (True,) * 10)
    return VideoInstanceTask().clip_tracks(output, range(num_frames), SIZE, rules)


def masks_of(track: Track, num_frames: int) -> np.ndarray:
    empty = np.zeros(SIZE, bool)
    masks = track.segmentations
    return np.stack([decode_rle(masks[frame]) if frame in masks else empty for frame in range(num_frames)])


def assert_published(tracks, figures, prefix: str, num_frames: int) -> None:
    """Scores to 1e-4, labels, and masks up to isolated pixels; in any order."""
    scores, labels = figures[f"{prefix}_scores"], figures[f"{prefix}_labels"]
    shape = figures[f"{prefix}_masks_shape"]
    masks = np.unpackbits(figures[f"{prefix}_masks_bits"])[: shape.prod()].reshape(shape).astype(bool)
    assert len(tracks) == len(scores)
    order = np.argsort(-scores, kind="stable")
    for track, index in zip(sorted(tracks, key=lambda track: -track.score), order, strict=True):
        assert track.score == pytest.approx(scores[index], abs=1e-4)
        assert track.label == labels[index]
        assert (masks_of(track, num_frames) != masks[index]).mean() < 1e-3


@pytest.fixture(scope="module")
def ctvis() -> tuple[ClipOutput, ClipOutput]:
    """What the segmenter finds on each frame, and the tracks."""
    model = TrackedModel(published_segmenter("reid"), CTVISTracker).eval()
    with torch.no_grad():
        features = model.encode(block_clip(23, 12, 64, 90)[None])
        segmented = model.decode_window(features)
        return segmented, model.decode(features)


def test_ctvis_finds_and_follows_as_published(golden, ctvis):
    figures = golden("ctvis_r50")
    segmented, tracked = ctvis
    np.testing.assert_allclose(segmented.frame_class_logits[0], figures["pred_logits"], atol=1e-4)
    np.testing.assert_allclose(segmented.frame_embeddings[0, ..., ::8], figures["pred_embeds_sub"], atol=1e-4)
    np.testing.assert_allclose(tracked.class_logits[0], figures["default_track_logits"], atol=1e-4)
    present = tracked.mask_logits.embeddings[0].abs().sum(dim=2).T > 0
    np.testing.assert_array_equal(present, figures["default_track_present"])
    tracker, ids = CTVISTracker(), np.full((12, 12), -1)
    for frame in range(12):
        update = tracker.update(segmented.frames(frame, frame + 1), [frame])
        ids[frame, list(update.query_indices)] = np.array(update.track_ids) - 1
    np.testing.assert_array_equal(ids, figures["default_ids"])


def test_the_result_of_ctvis(golden, ctvis):
    settings = InferenceSettings.published(top_k=10, mask_quality="original")
    assert_published(answer(ctvis[1], 12, settings), golden("ctvis_r50"), "video", 12)


@pytest.fixture(scope="module", params=["dvis_v1_r50", "dvis_plus_r50"])
def dvis(request) -> tuple[str, int, TrackedModel, ClipOutput, ClipOutput, ClipOutput]:
    """Name of the figures, frames, the model, and the outputs of segmenter, tracker and refiner."""
    is_plus = request.param == "dvis_plus_r50"
    tracker, width, num_frames = (DVISPlusTracker, 512, 5) if is_plus else (DVISTracker, 256, 4)
    model = TrackedModel(
        published_segmenter(),
        load_part(tracker(10), REFERRING_TRACKER, "tracker."),
        load_part(TemporalRefiner(10, embedding_dim=width), TEMPORAL_REFINER, "refiner."),
    ).eval()
    with torch.no_grad():
        features = model.encode(block_clip(18, num_frames, 64, 90)[None])
        segmented = model.decode_window(features)
        # DVIS has no re-ID head: its embeddings are the queries themselves
        segmented = dataclasses.replace(segmented, frame_embeddings=segmented.frame_embeddings[..., :width])
        tracked = model.tracker(segmented)
        return request.param, num_frames, model, segmented, tracked, model.refine(segmented, tracked, features)


def test_the_results_of_dvis(golden, dvis):
    name, num_frames, _, _, tracked, refined = dvis
    figures = golden(name)
    settings = InferenceSettings.published(top_k=10)
    assert_published(answer(refined, num_frames, settings), figures, "offline_vis", num_frames)
    assert_published(answer(tracked, num_frames, settings), figures, "online_vis", num_frames)
    scores = refined.class_scores[0].flatten().topk(10)
    expected = set(zip(figures["offline_vis_ids"].tolist(), figures["offline_vis_labels"].tolist(), strict=True))
    assert {(int(index) // 10, int(index) % 10) for index in scores.indices} == expected


def test_a_video_in_two_calls_has_the_published_results(golden, dvis):
    name, num_frames, model, segmented, _, _ = dvis
    figures, first = golden(name), num_frames // 2 + num_frames % 2
    settings = InferenceSettings.published(top_k=10)
    with torch.no_grad():
        start, state = model.tracker.advance(segmented.frames(0, first))
        rest, _ = model.tracker.advance(segmented.frames(first, num_frames), state)
    assert_published(answer(start, first, settings), figures, "keep_call1_vis", first)
    assert_published(answer(rest, num_frames - first, settings), figures, "keep_call2_vis", num_frames - first)
