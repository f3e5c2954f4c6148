"""Training in stages: which loss each configuration has; a stage learns, and those before stay as they are."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.losses import HungarianMatcher
from video_mask2former.losses.base import CombinedCriterion
from video_mask2former.losses.contrastive import ContrastiveLoss
from video_mask2former.losses.frame_criterion import FrameCriterion
from video_mask2former.losses.tracking_criteria import RefinerCriterion, TrackerCriterion
from video_mask2former.models import MSDeformAttnPixelDecoder, VideoMask2Former
from video_mask2former.models.decoders import ReidDecoder
from video_mask2former.recipes.model import build_criterion
from video_mask2former.recipes.source import read_config
from video_mask2former.refinement import TemporalRefiner, TrackedModel
from video_mask2former.structures import ClipTarget
from video_mask2former.tracking import DVISPlusTracker

SIZES = {"num_layers": 2, "num_heads": 4, "feedforward_dim": 64}
WIDTH = {"embedding_dim": 64, "mask_dim": 32}


@pytest.mark.parametrize(
    ("name", "criterion", "options"),
    [
        ("ctvis/ytvis_2019/r50", FrameCriterion, {"absent_objects": "left_out"}),
        ("dvis_plus/ytvis_2019/r50_segmenter", FrameCriterion, {"absent_objects": "empty"}),
        ("dvis/ovis/r50_online", TrackerCriterion, {"contrast_weight": 0, "classes_of_last_frame": True}),
        ("dvis_plus/ytvis_2019/r50_online", TrackerCriterion, {"contrast_weight": 2}),
        ("dvis_plus/ovis/r50_offline", RefinerCriterion, {"contrast_weight": 0}),
    ],
)
def test_every_stage_has_its_loss(name, criterion, options):
    built = build_criterion(read_config(name))
    if isinstance(built, CombinedCriterion):
        assert criterion is FrameCriterion and isinstance(built.losses[0], ContrastiveLoss)
        built.begin_step(0.25)
        built = built.criterion
        assert built.progress == 0.25
    assert type(built) is criterion
    assert {option: getattr(built, option) for option in options} == options


@pytest.fixture
def model(tiny_model) -> TrackedModel:
    backbone = tiny_model().backbone
    pixel_decoder = MSDeformAttnPixelDecoder(
        backbone.feature_info, hidden_dim=32, mask_dim=32, num_layers=1, num_heads=4, feedforward_dim=64
    )
    decoder = ReidDecoder(
        3, hidden_dim=32, mask_dim=32, num_queries=6, reid_dim=32, embeddings="both", num_layers=3, num_heads=4
    )
    segmenter = VideoMask2Former(backbone, pixel_decoder, decoder)
    return TrackedModel(
        segmenter, DVISPlusTracker(3, noise="blend", **SIZES, **WIDTH), TemporalRefiner(3, **SIZES, **WIDTH)
    )


def test_a_stage_learns_and_those_before_stay(model, clip_maker):
    frames, target = clip_maker(num_frames=4)
    target = ClipTarget(target.labels, target.masks, point_seed=1)
    stages = [
        ("segmenter", CombinedCriterion(FrameCriterion(3, HungarianMatcher(), num_points=256), [contrast()])),
        ("tracker", TrackerCriterion(3, HungarianMatcher(), num_points=256)),
        ("refiner", RefinerCriterion(3, HungarianMatcher(), num_points=256)),
    ]
    whole = (model.tracker, model.refiner)
    for name, criterion in stages:
        model.tracker = whole[0] if name != "segmenter" else None
        model.refiner = whole[1] if name == "refiner" else None
        model.requires_grad_(False)
        part = getattr(model, name)
        part.requires_grad_(True)
        model.train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        optimizer = torch.optim.AdamW(part.parameters(), lr=1e-3)
        totals = []
        for step in range(8):
            criterion.begin_step(step / 8)
            losses = criterion(model(frames[None]), [target])
            total = torch.stack(list(losses.values())).sum()
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            totals.append(float(total.detach()))
        assert min(totals[-3:]) < totals[0], name
        prefix = {"segmenter": ("backbone.", "pixel_decoder.", "decoder.")}.get(name, (f"{name}.",))
        changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
        assert changed and all(key.startswith(prefix) for key in changed)


def contrast() -> ContrastiveLoss:
    return ContrastiveLoss(3, HungarianMatcher(), num_points=256)
