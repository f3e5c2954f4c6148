"""The containers refuse what does not fit, and their small methods do what they say."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.rle import decode_rle, encode_masks, rle_iou
from video_mask2former.structures import (
    ClipFeatures,
    ClipOutput,
    ClipTarget,
    FrameInstances,
    Track,
    VideoInstances,
)


def square(top: int, left: int, side: int = 2) -> dict[str, object]:
    mask = np.zeros((1, 8, 10), dtype=bool)
    mask[0, top : top + side, left : left + side] = True
    return encode_masks(mask)[0]


def features(num_frames: int, offset: float = 0.0) -> ClipFeatures:
    levels = tuple(torch.full((1, num_frames, 4, side, side), offset) for side in (1, 2, 4))
    return ClipFeatures(torch.full((1, num_frames, 4, 8, 8), offset), levels, (30, 31), (32, 32))


@pytest.mark.parametrize(
    ("labels", "masks", "ids", "message"),
    [
        (torch.zeros(1, dtype=torch.int64), torch.zeros(1, 4, 4, dtype=torch.bool), None, "masks must be"),
        (torch.zeros(1, dtype=torch.int64), torch.zeros(1, 2, 4, 4), None, "masks must be"),
        (torch.zeros(2, dtype=torch.int64), torch.zeros(1, 2, 4, 4, dtype=torch.bool), None, "labels must be"),
        (torch.zeros(1), torch.zeros(1, 2, 4, 4, dtype=torch.bool), None, "labels must be"),
        (torch.zeros(1, dtype=torch.int64), torch.zeros(1, 2, 4, 4, dtype=torch.bool), torch.zeros(3), "instance_ids"),
    ],
)
def test_targets_are_checked(labels, masks, ids, message):
    with pytest.raises(ValueError, match=message):
        ClipTarget(labels, masks, ids)


def test_features_of_chunks_join_to_those_of_the_clip():
    joined = ClipFeatures.concatenate([features(2, 0.0), features(1, 1.0)])
    assert joined.num_frames == 3
    assert joined.frames(2, 3).mask_features.eq(1).all()
    assert [level.shape[1] for level in joined.levels] == [3, 3, 3]
    assert joined.to(dtype=torch.bfloat16).levels[0].dtype == torch.bfloat16


def test_features_may_be_tokens_alone():
    parts = [ClipFeatures(None, (), (30, 31), (32, 32), tokens=torch.randn(1, count, 9, 4)) for count in (2, 1)]
    joined = ClipFeatures.concatenate(parts)
    assert joined.num_frames == 3
    assert joined.frames(2, 3).tokens.equal(parts[1].tokens)
    assert joined.to(dtype=torch.bfloat16).tokens.dtype == torch.bfloat16
    with pytest.raises(ValueError, match="no mask features"):
        _ = joined.pixels
    with pytest.raises(ValueError, match="at least one tensor"):
        ClipFeatures(None, (), (30, 31), (32, 32))


def test_features_of_different_sizes_do_not_join():
    other = ClipFeatures(torch.zeros(1, 1, 4, 8, 8), features(1).levels, (20, 20), (32, 32))
    with pytest.raises(ValueError, match="one frame and padded size"):
        ClipFeatures.concatenate([features(1), other])


def test_outputs_are_checked_and_cut_by_clip():
    logits = MaskLogits(torch.randn(2, 3, 4), torch.randn(2, 1, 4, 5, 5))
    queries = torch.randn(2, 3, 4)
    early = ClipOutput(torch.randn(2, 3, 6), logits, queries, queries, (20, 20), (20, 20))
    output = ClipOutput(torch.randn(2, 3, 6), logits, queries, queries, (20, 20), (20, 20), auxiliary=(early,))
    assert output.num_classes == 5
    second = output.clip(1)
    torch.testing.assert_close(second.class_logits, output.class_logits[1:])
    torch.testing.assert_close(second.auxiliary[0].class_logits, early.class_logits[1:])
    assert second.auxiliary[0].mask_logits.features is second.mask_logits.features
    other = MaskLogits(logits.embeddings, torch.randn(2, 1, 4, 5, 5))
    output = ClipOutput(torch.randn(2, 3, 6), other, queries, queries, (20, 20), (20, 20), auxiliary=(early,))
    torch.testing.assert_close(output.clip(1).mask_logits.features, other.features[1:])
    torch.testing.assert_close(output.clip(1).auxiliary[0].mask_logits.features, logits.features[1:])
    with pytest.raises(ValueError, match="class_logits must be"):
        ClipOutput(torch.randn(2, 4, 6), logits, queries, queries, (20, 20), (20, 20))


def frame_output(num_clips: int = 4) -> ClipOutput:
    logits = MaskLogits(torch.randn(num_clips, 3, 4), torch.randn(num_clips, 1, 4, 5, 5))
    queries = torch.randn(num_clips, 3, 4)
    early = ClipOutput(torch.randn(num_clips, 3, 6), logits, queries, queries, (20, 20), (20, 20))
    return ClipOutput(torch.randn(num_clips, 3, 6), logits, queries, queries, (20, 20), (20, 20), auxiliary=(early,))


def test_clips_of_one_frame_become_the_frames_of_clips():
    single = frame_output()
    joined = single.joined_frames(2)
    torch.testing.assert_close(joined.frame_class_logits, single.class_logits.view(2, 2, 3, 6))
    torch.testing.assert_close(joined.class_logits, single.class_logits.view(2, 2, 3, 6).mean(1))
    torch.testing.assert_close(joined.auxiliary[0].frame_queries, single.queries.view(2, 2, 3, 4))
    dense = single.mask_logits.dense().view(2, 2, 3, 5, 5).transpose(1, 2)
    torch.testing.assert_close(joined.mask_logits.dense(), dense)
    last = joined.clip(1).frames(1, 2)
    torch.testing.assert_close(last.class_logits, single.class_logits[3:])
    torch.testing.assert_close(last.query_embeddings, single.query_embeddings[3:])
    torch.testing.assert_close(last.queries, single.queries[3:])
    torch.testing.assert_close(last.mask_logits.dense(), dense[1:, :, 1:])
    with pytest.raises(ValueError, match="one frame each"):
        single.joined_frames(3)
    with pytest.raises(ValueError, match="frame_class_logits"):
        single.frames(0, 1)
    with pytest.raises(ValueError, match="frame_queries must be"):
        replace(joined, frame_queries=joined.queries)


def test_classes_have_their_scores_where_there_are_any():
    output = frame_output()
    softmax = output.class_logits.softmax(2)
    torch.testing.assert_close(output.class_probabilities(), softmax)
    scored = replace(output, class_scores=torch.full((4, 3, 5), 0.9)).class_probabilities()
    assert (scored[..., :5] == 0.9).all()
    torch.testing.assert_close(scored[..., 5], softmax[..., 5])


def test_pixel_features_go_where_their_frames_go():
    pixels = torch.randn(2, 2, 6, 5, 5)
    output = replace(frame_output().joined_frames(2), pixel_features=pixels)
    assert torch.equal(output.clip(1).frames(1, 2).pixel_features, pixels[1:, 1:])
    features = ClipFeatures(torch.randn(2, 2, 4, 5, 5), (), (20, 20), (20, 20), pixel_features=pixels)
    assert torch.equal(ClipFeatures.concatenate([features.frames(0, 1), features.frames(1, 2)]).pixel_features, pixels)


def test_a_video_tells_who_is_on_a_frame():
    first = Track(7, 1, 0.9, {0: square(0, 0), 2: square(4, 4)}, frame_scores={2: 0.5})
    second = Track(9, 0, 0.8, {2: square(1, 1)})
    video = VideoInstances((first, second), num_frames=3, size=(8, 10), frame_rate=Fraction(30000, 1001))
    assert video.at_frame(1).track_ids == ()
    frame = video.at_frame(2)
    assert (frame.track_ids, frame.labels, frame.scores) == ((7, 9), (1, 0), (0.5, 0.8))
    assert first.areas() == {0: 4, 2: 4}
    assert first.boxes_xywh()[2] == (4.0, 4.0, 2.0, 2.0)
    with pytest.raises(IndexError, match="frame_index"):
        video.at_frame(3)


def test_a_mask_outside_the_video_is_refused():
    with pytest.raises(ValueError, match="frame 3 of a video of 3 frames"):
        VideoInstances((Track(1, 0, 1.0, {3: square(0, 0)}),), num_frames=3, size=(8, 10))


def test_frame_instances_need_one_length():
    with pytest.raises(ValueError, match="one length"):
        FrameInstances(0, (8, 10), (1, 2), (0,), (0.5,), (square(0, 0),))


def test_rle_round_trip_and_iou():
    masks = np.random.default_rng(0).random((4, 9, 7)) > 0.5
    encoded = encode_masks(masks)
    assert all(isinstance(rle["counts"], str) for rle in encoded)
    np.testing.assert_array_equal(np.stack([decode_rle(rle) for rle in encoded]), masks)
    expected = [[(a & b).sum() / (a | b).sum() for b in masks[:2]] for a in masks]
    np.testing.assert_allclose(rle_iou(encoded, encoded[:2]), expected)
    assert encode_masks(masks[:0]) == []
    assert rle_iou([], encoded).shape == (0, 4)
    with pytest.raises(ValueError, match="masks must be"):
        encode_masks(masks[0])


def test_containers_of_tensors_print_shapes():
    masks = MaskLogits(torch.zeros(1, 5, 4), torch.zeros(1, 2, 4, 8, 8))
    assert repr(masks) == "MaskLogits((1, 5, 2, 8, 8) float32, an embedding per clip)"
    output = ClipOutput(
        torch.zeros(1, 5, 3), masks, torch.zeros(1, 5, 4), torch.zeros(1, 5, 4).half(), (30, 31), (32, 32)
    )
    assert repr(replace(output, auxiliary=(output, output))) == (
        "ClipOutput(class_logits=(1, 5, 3) float32, mask_logits=MaskLogits((1, 5, 2, 8, 8) float32, an embedding per "
        "clip), query_embeddings=(1, 5, 4) float32, queries=(1, 5, 4) float16, frame_size=(30, 31), "
        "padded_size=(32, 32), auxiliary=2 x ClipOutput)"
    )
    assert repr(features(2)) == (
        "ClipFeatures(mask_features=(1, 2, 4, 8, 8) float32, levels=((1, 2, 4, 1, 1) float32, (1, 2, 4, 2, 2) float32, "
        "(1, 2, 4, 4, 4) float32), frame_size=(30, 31), padded_size=(32, 32))"
    )
    target = ClipTarget(torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2, 4, 4, dtype=torch.bool), point_seed=7)
    assert repr(target) == "ClipTarget(labels=(3,) int64, masks=(3, 2, 4, 4) bool, point_seed=7)"


@pytest.fixture
def video() -> VideoInstances:
    cat = Track(4, 0, 0.5, {1: square(2, 3)}, {1: 0.4})
    dog = Track(2, 1, 0.9, {0: square(0, 0), 1: square(1, 1), 2: square(5, 5, 3)})
    return VideoInstances((cat, dog), 3, (8, 10), Fraction(25), ("cat", "dog"))


def test_results_print_what_was_found(video):
    assert repr(video) == "VideoInstances(2 tracks on 3 frames of 10x8: 2 dog 0.90, 4 cat 0.50)"
    assert repr(video[1]) == "Track(2, label 1, score 0.90, 3 frames from 0 to 2)"
    assert repr(video.at_frame(1)) == "FrameInstances(frame 1, 10x8: 4 cat 0.40, 2 dog 0.90)"
    many = replace(video, tracks=tuple(Track(i + 1, 5, 0.5, {}) for i in range(7)), class_names=())
    assert repr(many).endswith(
        "1 class 5 0.50, 2 class 5 0.50, 3 class 5 0.50, 4 class 5 0.50, 5 class 5 0.50, 2 more)"
    )
    assert repr(many[:0]) == "VideoInstances(0 tracks on 3 frames of 10x8: none)"


def test_results_are_sequences_of_tracks(video):
    assert [track.track_id for track in video] == [4, 2] and len(video) == 2
    assert (
        video[-1] is video.tracks[1]
        and video[:1].tracks == video.tracks[:1]
        and video["dog"].tracks == video[1:].tracks
    )
    assert video.track(4) is video[0] and video.class_name(video[0]) == "cat"
    with pytest.raises(KeyError, match="no track 5; the ids are 4, 2"):
        video.track(5)
    with pytest.raises(KeyError, match="no class 'cow'; the classes are cat, dog"):
        video["cow"]


def test_masks_and_boxes_are_arrays(video):
    masks, boxes = video.masks(), video.boxes()
    assert masks.shape == (2, 3, 8, 10) and masks.dtype == bool
    assert masks.sum((2, 3)).tolist() == [[0, 4, 0], [4, 4, 9]]
    np.testing.assert_array_equal(video.masks([1]), masks[:, 1:2])
    np.testing.assert_array_equal(video[1].mask(2), masks[1, 2])
    assert video[0].mask(0) is None
    assert boxes[1].tolist() == [[0, 0, 2, 2], [1, 1, 3, 3], [5, 5, 8, 8]]
    assert np.isnan(boxes[0, 0]).all() and boxes[0, 1].tolist() == [3, 2, 5, 4]
    frame = video.at_frame(1)
    np.testing.assert_array_equal(frame.masks(), masks[:, 1])
    np.testing.assert_array_equal(frame.boxes(), boxes[:, 1])
    empty = video[:0].at_frame(0)
    assert empty.masks().shape == (0, 8, 10) and empty.boxes().shape == (0, 4)
