"""Fixtures for every room: seeds, devices, a tiny model, synthetic clips, golden figures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch

from video_mask2former.config import Config, InferenceSettings, apply_overrides
from video_mask2former.models import (
    Backbone,
    FeatureInfo,
    MaskedAttentionDecoder,
    MSDeformAttnPixelDecoder,
    VideoMask2Former,
)
from video_mask2former.structures import ClipTarget, VideoInstances
from video_mask2former.tasks import AnswerRules, VideoPanopticTask, VideoSemanticTask
from video_mask2former.tasks.segment_maps import paint

# A busy machine is not a failure: examples have no time limit.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# What tests of several rooms share is imported by name.
sys.path.insert(0, str(Path(__file__).parent / "support"))

GOLDEN_FOLDER = Path(__file__).parent / "data" / "golden"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test starts from the same random state, so that none depends on the order they run in."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> torch.device:
    """Each device there is. ``REQUIRE_CUDA=1`` turns a missing GPU from a skip into a failure."""
    if request.param == "cuda" and not torch.cuda.is_available() and os.environ.get("REQUIRE_CUDA") != "1":
        pytest.skip("no CUDA device")
    return torch.device(request.param)


@pytest.fixture
def sample_data() -> Path:
    """Folder of real annotated videos, named by VM2F_SAMPLE_DATA."""
    folder = os.environ.get("VM2F_SAMPLE_DATA")
    if not folder:
        pytest.skip("VM2F_SAMPLE_DATA names no folder of sample data")
    return Path(folder)


def load_golden(name: str) -> dict[str, np.ndarray]:
    """Figures of the published implementations, by file name without suffix."""
    with np.load(GOLDEN_FOLDER / f"{name}.npz") as file:
        return dict(file)


@pytest.fixture
def golden():
    """:func:`load_golden`, for tests that cannot import this file."""
    return load_golden


class TinyBackbone(Backbone):
    """Four strided convolutions: the shape of a backbone in a millisecond."""

    def __init__(self, channels: int = 16) -> None:
        super().__init__()
        names = ("res2", "res3", "res4", "res5")
        self.feature_info = {name: FeatureInfo(channels, 4 * 2**index) for index, name in enumerate(names)}
        self.convolutions = torch.nn.ModuleDict(
            {
                name: torch.nn.Conv2d(3 if name == "res2" else channels, channels, kernel, stride=kernel)
                for name, kernel in zip(names, (4, 2, 2, 2), strict=True)
            }
        )

    def forward(self, frames: torch.Tensor) -> dict[str, torch.Tensor]:
        features, x = {}, frames
        for name, convolution in self.convolutions.items():
            x = torch.relu(convolution(x))
            features[name] = x
        return features


def make_tiny_model(
    num_classes: int = 3,
    *,
    num_queries: int = 6,
    temporal: bool = True,
    class_names: tuple[str, ...] = (),
    dtype: torch.dtype = torch.float32,
) -> VideoMask2Former:
    """A whole model, small enough for a test, with random weights."""
    backbone = TinyBackbone()
    pixel_decoder = MSDeformAttnPixelDecoder(
        backbone.feature_info, hidden_dim=32, mask_dim=32, num_layers=1, num_heads=4, feedforward_dim=64
    )
    decoder = MaskedAttentionDecoder(
        num_classes,
        hidden_dim=32,
        mask_dim=32,
        num_queries=num_queries,
        num_layers=3,
        num_heads=4,
        feedforward_dim=64,
        temporal_position_encoding=temporal,
    )
    return VideoMask2Former(backbone, pixel_decoder, decoder, class_names=class_names).to(dtype).eval()


@pytest.fixture
def tiny_model():
    """Builder of tiny models: :func:`make_tiny_model`."""
    return make_tiny_model


def make_clip(
    num_instances: int = 2, num_frames: int = 2, size: tuple[int, int] = (64, 96), num_classes: int = 3
) -> tuple[torch.Tensor, ClipTarget]:
    """Frames ``(T, 3, H, W)`` uint8 with one bright moving square per instance, and their exact masks."""
    height, width = size
    frames = torch.randint(0, 60, (num_frames, 3, height, width), dtype=torch.uint8)
    masks = torch.zeros(num_instances, num_frames, height, width, dtype=torch.bool)
    side = height // 4
    for instance in range(num_instances):
        for frame in range(num_frames):
            top = (instance * side + 2 * frame) % (height - side)
            left = (instance * 2 * side + 3 * frame) % (width - side)
            masks[instance, frame, top : top + side, left : left + side] = True
            frames[frame, :, top : top + side, left : left + side] = 100 + 40 * (instance % 3)
    labels = torch.arange(num_instances) % num_classes
    return frames, ClipTarget(labels, masks)


@pytest.fixture
def clip_maker():
    """Builder of synthetic clips: :func:`make_clip`."""
    return make_clip


SMALL_MODEL = (
    "model.num_classes=3",
    "model.num_queries=4",
    "model.hidden_dim=32",
    "model.num_heads=2",
    "model.feedforward_dim=8",
    "model.num_decoder_layers=2",
    "model.pixel_decoder={num_layers: 1, feedforward_dim: 8, mask_dim: 16}",
    "model.backbone={name: swin, swin: {embed_dim: 8, depths: [1, 1, 1, 1], num_heads: [1, 1, 2, 2], window_size: 2}}",
)


@pytest.fixture
def small_config() -> Config:
    """A tiny Swin, one pixel decoder layer, two decoder layers, three classes."""
    return apply_overrides(Config(), SMALL_MODEL)


@pytest.fixture
def check_pixel_results():
    """Compares panoptic and semantic answers for a clip with recorded ones of the published code."""

    def check(output, figures, prefix: str, *, panoptic: str, things: int, size, thresholds) -> None:
        num_frames = output.mask_logits.shape[2]
        rules = AnswerRules(InferenceSettings(), tuple(label < things for label in range(output.num_classes)))
        for name, task in ((panoptic, VideoPanopticTask(*thresholds)), (f"{prefix}vss", VideoSemanticTask())):
            tracks = task.clip_tracks(output, range(num_frames), size, rules)
            video = VideoInstances(tracks, num_frames, size, video_id=0)
            if name.endswith("vss"):
                values, expected = [track.label for track in tracks], figures[f"{name}_map"]
            else:
                segments = figures[f"{name}_segments"]  # id, whether it is a thing, class
                assert [track.label for track in tracks] == segments[:, 2].tolist()
                assert [track.track_id > output.num_classes for track in tracks] == segments[:, 1].astype(bool).tolist()
                values, expected = segments[:, 0].tolist(), figures[f"{name}_panoptic"]
            maps = np.stack([paint(video, values, index) for index in range(num_frames)])
            assert (maps == expected).mean() > 0.9995, name

    return check
