"""The mean probability inside of masks, at the size of the model and at that of the original frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from video_mask2former.config import InferenceSettings
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput
from video_mask2former.tasks.mask_encoding import MaskGeometry, encode_clip_masks
from video_mask2former.tasks.mask_quality import MaskQuality
from video_mask2former.tasks.postprocess import clip_instances
from video_mask2former.tasks.recorder import TrackRecorder
from video_mask2former.tracking import TrackUpdate

GEOMETRY = MaskGeometry(padded_size=(32, 32), frame_size=(24, 30), output_size=(36, 45))


def published_quality(logits: torch.Tensor, size: str) -> torch.Tensor:
    """As the published code writes it, over all frames of dense logits ``(N, T, h, w)``."""
    logits = F.interpolate(logits, size=(32, 32), mode="bilinear", align_corners=False)[..., :24, :30]
    if size == "original":
        logits = F.interpolate(logits, size=(36, 45), mode="bilinear", align_corners=False)
    probabilities = logits.sigmoid().flatten(1)
    inside = probabilities > 0.5
    return (probabilities * inside).sum(1) / (inside.sum(1) + 1e-6)


@pytest.mark.parametrize("size", ["model", "original"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quality_is_the_published_one_however_frames_are_chunked(size, dtype):
    logits = torch.randn(3, 5, 8, 8, dtype=dtype)
    logits[2] = -1.0
    expected = published_quality(logits, size)
    for frames_per_chunk in (None, 2):
        quality = MaskQuality(3, size)
        mask_logits = MaskLogits.from_dense(logits[None])
        for _ in encode_clip_masks(mask_logits, GEOMETRY, frames_per_chunk=frames_per_chunk, quality=quality):
            pass
        np.testing.assert_allclose(quality.values(), expected, atol=1e-5)
    assert quality.values()[2] == 0.0


def test_scores_of_a_clip_are_multiplied_and_ordered():
    masks = torch.full((1, 2, 1, 8, 8), 0.2)
    masks[:, 1] = 4.0
    logits = torch.tensor([[[2.0, 0.0, 0.0], [1.8, 0.0, 0.0]]])
    queries = torch.zeros(1, 2, 4)
    output = ClipOutput(logits, MaskLogits.from_dense(masks), queries, queries, (32, 32), (32, 32))
    plain = clip_instances(output, [0], (32, 32), InferenceSettings(score_threshold=0.0))
    measured = clip_instances(output, [0], (32, 32), InferenceSettings(score_threshold=0.0, mask_quality="model"))
    assert measured[0].score == pytest.approx(plain[1].score * torch.tensor(4.0).sigmoid().item(), abs=1e-5)
    assert measured[1].score == pytest.approx(plain[0].score * torch.tensor(0.2).sigmoid().item(), abs=1e-5)


def test_recorder_gathers_quality_over_frames():
    recorder = TrackRecorder((4, 4), InferenceSettings(score_threshold=0.0, mask_quality="model", keep_empty=True))
    logits = torch.tensor([[3.0, 0.0]])
    for value in (1.0, 3.0):
        recorder.add_update(TrackUpdate((5,), (0,), logits, logits))
        quality = MaskQuality(1, "model")
        quality.add(0, np.full((2, 2), value))
        recorder.add_quality([5], quality)
    (track,) = recorder.tracks()
    expected = torch.tensor([1.0, 3.0]).sigmoid().mean() * logits.softmax(1)[0, 0]
    assert track.score == pytest.approx(float(expected), abs=1e-5)


def test_class_scores_go_before_logits():
    recorder = TrackRecorder((4, 4), InferenceSettings(score_threshold=0.0, keep_empty=True))
    update = TrackUpdate((1,), (0,), torch.zeros(1, 3), torch.zeros(1, 3), class_scores=torch.tensor([[0.2, 0.7]]))
    recorder.add_update(update)
    (track,) = recorder.tracks()
    assert (track.label, track.score) == (1, pytest.approx(0.7))
