"""The temporal refiner against the published DVIS and DVIS++."""

from __future__ import annotations

import pytest
import torch
from published_weights import close, load_part, shuffled_frames_plus, shuffled_frames_v1

from video_mask2former.convert.dvis import REFERRING_TRACKER, TEMPORAL_REFINER
from video_mask2former.refinement import QueryHistory, TemporalRefiner
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking.referring_tracker import DVISPlusTracker, DVISTracker


@pytest.fixture(scope="module")
def plus() -> tuple[TemporalRefiner, ClipOutput, ClipOutput, QueryHistory]:
    """Refiner, the segmenter's output, the tracker's, and the history of both."""
    tracker = load_part(DVISPlusTracker(10), REFERRING_TRACKER, "tracker.")
    refiner = load_part(TemporalRefiner(10), TEMPORAL_REFINER, "refiner.")
    output = shuffled_frames_plus()
    with torch.no_grad():
        tracked = tracker(output)
        history = QueryHistory(tracked.frame_embeddings, tracker.refiner_memory(output), tracked.frame_class_logits)
    return refiner, output, tracked, history


@torch.no_grad()
def test_dvis_plus_equals_the_published_refiner(golden, plus):
    refiner, output, tracked, history = plus
    figures = golden("dvis_plus_units")
    refined = refiner(tracked, history, output.mask_logits.features)
    close(refined.class_logits[0], figures["mod_ref_pred_logits"])
    close(refined.mask_logits.dense()[0], figures["mod_ref_pred_masks"])
    close(refined.frame_embeddings[0, :, :, ::8].permute(2, 0, 1), figures["mod_ref_embds_sub"])


@torch.no_grad()
def test_a_video_of_one_frame(golden, plus):
    refiner, _, _, history = plus
    figures = golden("dvis_plus_units")
    first = QueryHistory(history.embeddings[:, :1], history.memory[:, :1], history.class_logits[:, :1])
    refinement = refiner.refine(first)
    close(refinement.class_logits[0], figures["mod_ref_T1_pred_logits"])
    close(refinement.embeddings[0, :, :, ::8].permute(2, 0, 1), figures["mod_ref_T1_embds_sub"])


@torch.no_grad()
def test_every_layer_predicts_in_training(golden, plus):
    refiner, _, _, history = plus
    refinement = refiner.train().refine(history)
    refiner.eval()
    logits = torch.stack([part.class_logits[0] for part in (*refinement.auxiliary, refinement)])
    close(logits, golden("dvis_plus_units")["mod_ref_train_logits_all"])


@torch.no_grad()
def test_dvis_equals_the_published_refiner(golden):
    figures = golden("dvis_v1_r50")
    tracker = load_part(DVISTracker(10), REFERRING_TRACKER, "tracker.")
    refiner = load_part(TemporalRefiner(10, embedding_dim=256), TEMPORAL_REFINER, "refiner.")
    output = shuffled_frames_v1()
    tracked = tracker(output)
    history = QueryHistory(tracked.frame_embeddings, tracker.refiner_memory(output), tracked.frame_class_logits)
    refined = refiner(tracked, history, output.mask_logits.features)
    close(refined.class_logits[0], figures["mod_ref_pred_logits"])
    close(refined.mask_logits.dense()[0], figures["mod_ref_pred_masks"])


@torch.no_grad()
def test_batches_are_videos_of_their_own(plus):
    refiner, _, _, history = plus
    other = QueryHistory(history.embeddings.flip(1), history.memory.flip(1), history.class_logits)
    names = ("embeddings", "memory", "class_logits")
    joined = [torch.cat([getattr(history, name), getattr(other, name)]) for name in names]
    both = refiner.refine(QueryHistory(*joined))
    for index, part in enumerate((history, other)):
        torch.testing.assert_close(both.mask_embeddings[index], refiner.refine(part).mask_embeddings[0])


def test_histories_are_checked(plus):
    history = plus[3]
    assert history.num_frames == 5
    with pytest.raises(ValueError, match="of the same B and T"):
        QueryHistory(history.embeddings, history.memory[:, :3], history.class_logits)


@torch.no_grad()
def test_a_history_that_nobody_reads_again_is_written_over(plus):
    refiner, _, _, history = plus
    kept = history.embeddings.clone()
    expected = refiner.refine(history)
    torch.testing.assert_close(history.embeddings, kept, rtol=0, atol=0)
    scratch = QueryHistory(kept, history.memory, history.class_logits, is_scratch=True)
    got = refiner.refine(scratch)
    assert got.embeddings.data_ptr() == kept.data_ptr()
    torch.testing.assert_close(got.class_logits, expected.class_logits, rtol=0, atol=0)
    torch.testing.assert_close(got.mask_embeddings, expected.mask_embeddings, rtol=0, atol=0)
