"""A segmenter, a tracker and a refiner as one model: outputs, names of weights, stages, streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_weights import block_clip, load_part, published_segmenter

import video_mask2former as vm2f
from video_mask2former.config import apply_overrides
from video_mask2former.convert import load_weights
from video_mask2former.convert.dvis import REFERRING_TRACKER, TEMPORAL_REFINER
from video_mask2former.inference import InferenceSettings
from video_mask2former.models import Segmenter
from video_mask2former.recipes.model import build_model
from video_mask2former.refinement import TemporalRefiner, TrackedModel
from video_mask2former.tracking import CTVISTracker, DVISPlusTracker, DVISTracker

SIZES = {"num_layers": 2, "num_heads": 4, "feedforward_dim": 64}


def small_tracked(segmenter: Segmenter, tracker=DVISPlusTracker, refined: bool = True) -> TrackedModel:
    torch.manual_seed(0)
    made = tracker(3, embedding_dim=32, mask_dim=32, **SIZES)
    refiner = TemporalRefiner(3, embedding_dim=32, mask_dim=32, **SIZES) if refined else None
    return TrackedModel(segmenter, made, refiner).eval()


@pytest.fixture
def model(tiny_model) -> TrackedModel:
    return small_tracked(tiny_model(temporal=False))


def video(num_frames: int = 7) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (num_frames, 64, 96, 3), dtype=np.uint8)


@torch.no_grad()
def test_a_clip_goes_through_all_parts(model):
    frames = torch.from_numpy(video(4)).permute(0, 3, 1, 2)[None]
    output = model(frames)
    features = model.encode(frames)
    segmented = model.decode_window(features)
    single = model.segmenter.decode(features.frames(2, 3))
    torch.testing.assert_close(segmented.frame_class_logits[:, 2], single.class_logits, rtol=1e-4, atol=1e-4)
    tracked = model.tracker(segmented)
    history = model.history(segmented, tracked)
    refined = model.refiner.refine(history)
    torch.testing.assert_close(output.class_logits, refined.class_logits)
    online = tracked.class_logits.softmax(2)[..., :-1]
    torch.testing.assert_close(output.class_scores, torch.maximum(online, refined.class_logits.softmax(2)[..., :-1]))
    assert output.mask_logits.shape[:3] == (1, 6, 4)


def test_the_checkpoint_of_a_segmenter_is_that_of_the_first_stage(model, tiny_model):
    state = model.state_dict()
    assert {name.split(".")[0] for name in state} == {"backbone", "pixel_decoder", "decoder", "tracker", "refiner"}
    other = small_tracked(tiny_model(temporal=False))
    other.load_state_dict(state)
    torch.testing.assert_close(other.state_dict(), state)
    segmenter = tiny_model(temporal=False)
    report = load_weights(segmenter, state)  # run the same segmenter with another tracker
    assert "the model has no tracker" in report.unused.values() and "the model has no refiner" in report.unused.values()
    with pytest.raises(ValueError, match="parameters of the model are not in it"):
        load_weights(other, segmenter.state_dict())
    report = load_weights(other, segmenter.state_dict(), allow_earlier_stage=True)
    assert "the checkpoint is of a stage without tracker" in report.reinitialised.values()


def test_a_re_id_head_is_a_stage_of_its_own(small_config):
    """DVIS++: a segmenter of single frames first, then its re-ID head; and back, the segmenter without the head."""
    plain = build_model(small_config)
    overrides = ["model.decoder={name: masked_attention_reid, embeddings: both}"]
    with_head = build_model(apply_overrides(small_config, overrides))
    report = load_weights(with_head, plain.state_dict(), allow_earlier_stage=True)
    assert set(report.reinitialised.values()) == {"the checkpoint is of a stage without decoder.reid_embed"}
    assert all(key.startswith("decoder.reid_embed.") for key in report.reinitialised)
    with pytest.raises(ValueError, match="6 parameters of the model are not in it"):
        load_weights(with_head, plain.state_dict())
    report = load_weights(plain, with_head.state_dict())
    assert set(report.unused.values()) == {"the model has no decoder.reid_embed"} and len(report.unused) == 6


def test_frozen_stages_run_as_in_evaluation_and_without_gradients(model):
    frames = torch.from_numpy(video(3)).permute(0, 3, 1, 2)[None]
    model.segmenter.requires_grad_(False)
    model.tracker.requires_grad_(False)
    model.train()
    assert not model.segmenter.training and not model.tracker.training and model.refiner.training
    output = model(frames)
    sum(part.class_logits.sum() for part in (output, *output.auxiliary)).backward()
    assert all(parameter.grad is None for parameter in model.tracker.parameters())
    assert model.refiner.class_embed.weight.grad is not None
    assert output.guide is not None and output.contrast_embeddings is not None


@pytest.mark.parametrize("tracker", [DVISTracker, DVISPlusTracker])
def test_a_stream_is_stopped_saved_and_goes_on_with_the_same_ids(tiny_model, tracker):
    model = small_tracked(tiny_model(temporal=False), tracker, refined=False)
    frames, options = video(), {"score_threshold": 0.05, "short_side": 64}
    whole = list(vm2f.stream_video(model, frames, **options))
    assert any(len(frame) for frame in whole)
    stream = vm2f.stream_video(model, frames, **options)
    first = [next(stream) for _ in range(3)]
    state = stream.state_dict()
    rest = list(vm2f.stream_video(model, frames, state=state, **options))
    assert [*first, *rest] == whole


def test_windows_of_a_learned_tracker_change_nothing(tiny_model):
    model = small_tracked(tiny_model(temporal=False), refined=False)
    options = {"score_threshold": 0.05, "short_side": 64}
    one_by_one = vm2f.segment_video(model, video(), **options)
    by_three = vm2f.segment_video(model, video(), window=3, **options)
    assert [track.track_id for track in by_three.tracks] == [track.track_id for track in one_by_one.tracks]
    for ours, theirs in zip(by_three.tracks, one_by_one.tracks, strict=True):
        assert ours.score == pytest.approx(theirs.score, abs=1e-4)
        assert ours.segmentations.keys() == theirs.segmentations.keys()


def test_trackers_without_weights_follow_what_any_segmenter_finds(tiny_model):
    model = TrackedModel(tiny_model(temporal=False), CTVISTracker).eval()
    settings = InferenceSettings.published(short_side=64)
    clip = vm2f.segment_video(model, video(), settings=settings)
    assert 0 < len(clip) <= 10
    online = vm2f.segment_video(model, video(), score_threshold=0.05, short_side=64)
    again = vm2f.segment_video(model, video(), score_threshold=0.05, short_side=64, tracker="query")
    assert len(online) and len(again)
    with pytest.raises(ValueError, match="windows of one frame, got window 3"):
        vm2f.segment_video(model, video(), window=3)
    with pytest.raises(ValueError, match="a tracker with weights, or none"):
        TrackedModel(tiny_model(), CTVISTracker, TemporalRefiner(3))


@torch.no_grad()
def test_the_whole_of_dvis_plus_equals_the_published_one(golden, check_pixel_results):
    figures = golden("dvis_plus_r50")
    model = TrackedModel(
        published_segmenter(),
        load_part(DVISPlusTracker(10), REFERRING_TRACKER, "tracker."),
        load_part(TemporalRefiner(10), TEMPORAL_REFINER, "refiner."),
    ).eval()
    features = model.encode(block_clip(18, 5, 64, 90)[None])
    segmented = model.decode_window(features)
    tracked = model.tracker(segmented)
    output = model.refine(segmented, tracked, features)
    close(features.pixels[0, :, ::16, ::2, ::2], figures["mask_features_sub"])
    close(segmented.frame_class_logits[0], figures["seg_logits"])
    close(segmented.mask_logits.dense()[0, [0, 5, 10]], figures["seg_masks_sub"])
    close(segmented.frame_embeddings[0, ..., ::8].permute(2, 0, 1), figures["seg_embds_sub"])
    trace = model.tracker.follow(*model.tracker._inputs(segmented))
    np.testing.assert_array_equal(trace.order[0], figures["track_indices"])
    close(tracked.frame_class_logits[0], figures["track_logits"])
    close(tracked.mask_logits.dense()[0, [0, 5, 10]], figures["track_masks_sub"])
    close(trace.references[0, ..., ::8].permute(2, 0, 1), figures["track_references_sub"])
    close(output.class_logits[0], figures["ref_logits"])
    close(output.mask_logits.dense()[0, [0, 5, 10]], figures["ref_masks_sub"])
    close(output.frame_embeddings[0, ..., ::8].permute(2, 0, 1), figures["ref_embds_sub"])
    for prefix, made in (("online_", tracked), ("offline_", output)):
        asked = {"panoptic": f"{prefix}vps", "things": 6, "size": (40, 70), "thresholds": (0.3, 0.1)}
        check_pixel_results(made, figures, prefix, **asked)


def close(value: torch.Tensor, expected: np.ndarray) -> None:
    """The recorded network has the published positional encoding in float32, and is stored in float32."""
    np.testing.assert_allclose(value.numpy(), expected, atol=1e-4, rtol=1e-5)
