"""Means over windows of a frame, against sums by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from video_mask2former.inference import InferenceSettings, VideoPredictor
from video_mask2former.inference.sliding_windows import SlidingWindows, window_origins
from video_mask2former.models.backbones.plain_vit import PlainViT
from video_mask2former.models.struct_token.segmenter import StructToken
from video_mask2former.rle import decode_rle
from video_mask2former.tasks import SemanticTask, VideoInstanceTask, VideoSemanticTask
from video_mask2former.tasks.postprocess import image_semantic


def struct_token(num_classes: int = 4) -> StructToken:
    backbone = PlainViT(embed_dim=16, depth=1, num_heads=2, image_size=32)
    return StructToken(num_classes, backbone, num_layers=1, token_size=(2, 2), size_divisibility=16).eval()


@pytest.mark.parametrize(
    ("length", "side", "stride", "origins"),
    [
        (512, 512, 341, [0]),
        (683, 512, 341, [0, 171]),
        (1024, 512, 341, [0, 341, 512]),
        (853, 512, 341, [0, 341]),
        (300, 512, 341, [0]),
        (683, 512, None, [0, 171]),
        (1300, 512, None, [0, 394, 788]),
        (1024, 512, None, [0, 512]),
    ],
)
def test_origins_cover_a_side(length, side, stride, origins):
    assert list(window_origins(length, side, stride)) == origins


def test_queries_that_are_classes_are_averaged_as_logits():
    model = struct_token()
    frames = torch.rand(1, 2, 3, 40, 56) * 255
    tiled = SlidingWindows(model, 32, 20)
    with torch.no_grad():
        output = tiled.decode(tiled.encode(frames))
        total, count = torch.zeros(4, 2, 40, 56), torch.zeros(40, 56)
        for top in (0, 8):
            for left in (0, 20, 24):
                window = model(frames[..., top : top + 32, left : left + 32]).mask_logits.dense()[0]
                total[..., top : top + 32, left : left + 32] += F.interpolate(window, size=(32, 32), mode="bilinear")
                count[top : top + 32, left : left + 32] += 1
    mean = total / count
    dense = output.mask_logits.dense()[0]
    torch.testing.assert_close(dense - dense.mean(dim=0), mean - mean.mean(dim=0), atol=1e-5, rtol=1e-5)
    last = replace(output, mask_logits=output.mask_logits.frames(1, 2))
    assert (image_semantic(last, (40, 56)).argmax(0) == mean[:, 1].argmax(0)).float().mean() > 0.999


def test_other_models_are_averaged_as_scores(tiny_model):
    model = tiny_model().eval()
    frames = torch.rand(1, 1, 3, 64, 90) * 255
    tiled = SlidingWindows(model, 64)
    with torch.no_grad():
        output = tiled.decode(tiled.encode(frames))
        total, count = torch.zeros(model.num_classes, 64, 90), torch.zeros(64, 90)
        for left in (0, 26):
            window = model(frames[..., left : left + 64])
            total[..., left : left + 64] += image_semantic(window, (64, 64))
            count[:, left : left + 64] += 1
    labels = output.mask_logits.dense()[0, :, 0].argmax(0)
    assert (labels == (total / count).argmax(0)).float().mean() > 0.999


@pytest.mark.parametrize("task", [SemanticTask(), VideoSemanticTask()])
def test_a_video_is_seen_through_windows(task):
    """Where each half of the frame is a window, it is what the half would be alone."""
    model = struct_token()
    video = (torch.rand(2, 32, 64, 3) * 255).to(torch.uint8).numpy()
    video = video[:1] if task.is_of_images else video
    settings = InferenceSettings(short_side=32, max_side=200, tile_side=32)
    whole = VideoPredictor(model, settings, task).predict(video)
    alone = VideoPredictor(model, settings, task).predict(np.ascontiguousarray(video[:, :, 32:]))
    assert whole.size == (32, 64) and alone.size == (32, 32)
    for index in range(len(video)):
        masks = {track.label: track for track in whole.tracks}
        for track in alone.tracks:
            if index in track.segmentations:
                half = decode_rle(masks[track.label].segmentations[index])[:, 32:]
                assert (half == decode_rle(track.segmentations[index])).all()


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="tile_stride must be at most tile_side"):
        InferenceSettings(tile_side=32, tile_stride=33)
    with pytest.raises(ValueError, match="tile_side is of semantic segmentation"):
        VideoPredictor(struct_token(), InferenceSettings(tile_side=32), VideoInstanceTask())
