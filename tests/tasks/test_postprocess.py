"""Postprocessing: the published numbers, and chunks that change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from video_mask2former.inference import (
    InferenceSettings,
    clip_instances,
    image_instances,
    image_panoptic,
    image_semantic,
)
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.rle import decode_rle
from video_mask2former.structures import ClipOutput
from video_mask2former.tasks.mask_encoding import MaskGeometry, encode_clip_masks, upsample_logits


def _output(figures: dict[str, np.ndarray], dtype: torch.dtype = torch.float64) -> ClipOutput:
    logits = torch.from_numpy(figures["pred_logits"])[None].to(dtype)
    masks = torch.from_numpy(figures["pred_masks"])[None].to(dtype)
    if masks.ndim == 4:
        masks = masks[:, :, None]
    queries = torch.zeros(1, logits.shape[1], 4)
    frame_size, padded_size = (tuple(figures[name].tolist()) for name in ("input_size", "padded_size"))
    return ClipOutput(logits, MaskLogits.from_dense(masks), queries, queries, frame_size, padded_size)


def _unpack(figures: dict[str, np.ndarray], name: str) -> np.ndarray:
    shape = figures[f"{name}_shape"]
    return np.unpackbits(figures[name])[: np.prod(shape)].reshape(shape).astype(bool)


@pytest.fixture
def video(golden):
    return golden("video_postprocess")


@pytest.fixture
def image(golden):
    return golden("image_postprocess")


# float32 goes another way on a CPU (mask by mask); the masks are the same
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("chunk", [None, 1, 2])
def test_clip_instances_equal_the_published_ones(video, dtype, chunk) -> None:
    size = tuple(video["output_size"].tolist())
    tracks = clip_instances(
        _output(video, dtype), range(3), size, InferenceSettings.published(), frames_per_chunk=chunk
    )
    np.testing.assert_allclose([track.score for track in tracks], video["scores"], atol=1e-6)
    assert [track.label for track in tracks] == video["labels"].tolist()
    assert [track.track_id for track in tracks] == list(range(1, 11))
    masks = np.zeros((10, 3, *size), dtype=bool)
    for row, track in enumerate(tracks):
        for frame, rle in track.segmentations.items():
            masks[row, frame] = decode_rle(rle)
    np.testing.assert_array_equal(masks, _unpack(video, "masks"))


def test_image_instances_equal_the_published_ones(image) -> None:
    size = tuple(image["output_size"].tolist())
    found = image_instances(_output(image), size, InferenceSettings.published(top_k=int(image["topk"])))
    # the published order is unspecified
    order = np.argsort(-image["instance_scores"])
    np.testing.assert_allclose(found.scores, image["instance_scores"][order], atol=1e-9)
    assert list(found.labels) == image["instance_labels"][order].tolist()
    masks = np.stack([decode_rle(rle) for rle in found.segmentations])
    np.testing.assert_array_equal(masks, _unpack(image, "instance_masks")[order])


def test_semantic_scores_equal_the_published_ones(image) -> None:
    scores = image_semantic(_output(image), tuple(image["output_size"].tolist()))
    np.testing.assert_allclose(scores, image["semantic"], atol=1e-6)


def test_panoptic_segments_equal_the_published_ones(image) -> None:
    result = image_panoptic(
        _output(image),
        tuple(image["output_size"].tolist()),
        image["thing_classes"].tolist(),
        object_mask_threshold=float(image["object_mask_threshold"]),
        overlap_threshold=float(image["overlap_threshold"]),
    )
    np.testing.assert_array_equal(result.label_map, image["panoptic"])
    assert [segment.segment_id for segment in result.segments] == image["panoptic_ids"].tolist()
    assert [segment.label for segment in result.segments] == image["panoptic_classes"].tolist()
    assert [segment.is_thing for segment in result.segments] == image["panoptic_isthing"].tolist()
    areas = [int((result.label_map == segment.segment_id).sum()) for segment in result.segments]
    assert [segment.area for segment in result.segments] == areas


def _two_squares() -> ClipOutput:
    """Four queries: stuff left, stuff right (one class), a thing on top of the left one, and nothing."""
    masks = torch.full((1, 4, 1, 8, 8), -9.0)
    masks[0, 0, 0, :, :4] = 2.0
    masks[0, 1, 0, :, 4:] = 2.0
    masks[0, 2, 0, 2:4, 1:3] = 9.0
    logits = torch.tensor([[[0.0, 5, 0], [0.0, 6, 0], [8.0, 0, 0], [0.0, 0, 9]]])
    queries = torch.zeros(1, 4, 4)
    return ClipOutput(logits, MaskLogits.from_dense(masks), queries, queries, (32, 32), (32, 32))


def test_stuff_of_one_class_becomes_one_segment() -> None:
    result = image_panoptic(_two_squares(), (32, 32), [0])
    assert [(segment.label, segment.is_thing) for segment in result.segments] == [(1, False), (0, True)]
    assert result.label_map[12, 8] == 2
    assert result.label_map[30, 2] == result.label_map[30, 30] == 1
    # nobody is sure of the seam between the two halves of the stuff
    assert 28 * 32 <= result.segments[0].area + result.segments[1].area <= 32 * 32
    assert result.segments[0].score == pytest.approx(float(torch.tensor([0.0, 6, 0]).softmax(0)[1]))


def test_panoptic_without_confident_queries_is_empty() -> None:
    result = image_panoptic(_two_squares(), (32, 32), [0], object_mask_threshold=0.9999)
    assert result.segments == ()
    assert not result.label_map.any()


def test_image_tasks_take_one_frame(video) -> None:
    with pytest.raises(ValueError, match="one clip of one frame"):
        image_semantic(_output(video), (10, 10))


def _random_logits(num_frames: int = 5) -> MaskLogits:
    return MaskLogits(torch.randn(1, 6, 8), torch.randn(1, num_frames, 8, 9, 13))


GEOMETRY = MaskGeometry(padded_size=(36, 52), frame_size=(33, 50), output_size=(61, 90))


@pytest.mark.parametrize("scores", [None, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]])
def test_masks_do_not_depend_on_chunks(scores) -> None:
    logits = _random_logits()
    whole = list(encode_clip_masks(logits, GEOMETRY, scores=scores, frames_per_chunk=5))
    assert len(whole) == 5
    for chunk in (1, 2, 3, None):
        assert list(encode_clip_masks(logits, GEOMETRY, scores=scores, frames_per_chunk=chunk)) == whole


def test_encoded_masks_are_the_upsampled_logits_above_zero(device) -> None:
    logits = _random_logits()
    expected = upsample_logits(logits.dense()[0], GEOMETRY) > 0
    moved = MaskLogits(logits.embeddings.to(device), logits.features.to(device))
    for frame, masks in enumerate(encode_clip_masks(moved, GEOMETRY)):
        for row, rle in enumerate(masks):
            assert rle is not None
            disagreement = (decode_rle(rle) != expected[row, frame].numpy()).mean()
            assert disagreement < 1e-3  # logits of nearly zero


def test_apart_masks_give_each_pixel_to_the_likeliest_object() -> None:
    logits = _random_logits(2)
    scores = [0.9, 0.2, 0.7, 0.6, 0.5, 0.4]
    upsampled = upsample_logits(logits.dense()[0], GEOMETRY)
    weights = torch.where(upsampled > 0, upsampled.sigmoid() * torch.tensor(scores)[:, None, None, None], 0.0)
    owner = torch.where(weights.amax(0) > 0, weights.argmax(0), -1)
    for frame, masks in enumerate(encode_clip_masks(logits, GEOMETRY, scores=scores)):
        decoded = np.stack([np.zeros((61, 90), bool) if rle is None else decode_rle(rle) for rle in masks])
        assert decoded.sum(0).max() == 1
        expected = np.stack([owner[frame].numpy() == row for row in range(6)])
        assert (decoded != expected).mean() < 1e-3


def test_empty_masks_are_none() -> None:
    logits = MaskLogits.from_dense(torch.full((1, 2, 1, 4, 4), -1.0))
    geometry = MaskGeometry((16, 16), (16, 16), (20, 20))
    assert list(encode_clip_masks(logits, geometry)) == [[None, None]]
    assert list(encode_clip_masks(logits, geometry, scores=[1.0, 1.0])) == [[None, None]]


def test_half_precision_masks(video) -> None:
    output = _output(video, torch.float32)
    half = ClipOutput(
        output.class_logits.bfloat16(),
        MaskLogits(output.mask_logits.embeddings.bfloat16(), output.mask_logits.features.bfloat16()),
        output.query_embeddings,
        output.queries,
        output.frame_size,
        output.padded_size,
    )
    size = tuple(video["output_size"].tolist())
    tracks = clip_instances(half, range(3), size, InferenceSettings.published())
    assert len(tracks) == 10
    assert tracks[0].score == pytest.approx(video["scores"][0], abs=0.01)


def test_encoding_rejects_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="batch of 2"):
        next(encode_clip_masks(MaskLogits(torch.zeros(2, 1, 4), torch.zeros(2, 1, 4, 3, 3)), GEOMETRY))
    with pytest.raises(ValueError, match="one per object"):
        next(encode_clip_masks(_random_logits(), GEOMETRY, scores=[1.0]))
    with pytest.raises(ValueError, match="fit into padded_size"):
        MaskGeometry((8, 8), (9, 8), (9, 8))
