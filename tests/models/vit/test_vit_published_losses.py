"""Training losses and matching of VidEoMT, PMT and EoMT against the published implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vit_golden import assert_close, load_published, meta, target, unpacked, video

from video_mask2former.convert import vit_keys
from video_mask2former.losses import HungarianMatcher, SetCriterion
from video_mask2former.losses.criterion import padded_maps
from video_mask2former.losses.first_appearance import FirstAppearanceCriterion
from video_mask2former.models.backbones.vit import Dinov2, Dinov3
from video_mask2former.models.eomt import EoMT
from video_mask2former.models.pmt import PMT
from video_mask2former.models.videomt import VidEoMT
from video_mask2former.structures import ClipTarget

NUM_DRAWS = 4


def videomt_on_dinov3() -> torch.nn.Module:
    return VidEoMT(Dinov3(position_jitter=1), 40, 16, normalises_queries=True)


CASES = {
    "videomt_dinov2": ("videomt_s_dinov2", "", lambda: VidEoMT(Dinov2(), 40, 20), vit_keys.VIDEOMT_DINOV2),
    "videomt_dinov3": ("videomt_s_dinov3", "norm_", videomt_on_dinov3, vit_keys.VIDEOMT_DINOV3),
    "pmt": ("pmt_video_s_dinov3", "", lambda: PMT(Dinov3(), 40, 16, (2, 5, 8, 11)), vit_keys.PMT_DINOV3),
}


def assert_same_means(draws: list[dict[str, torch.Tensor]], names: dict[str, tuple[str, float]], figures) -> None:
    """Means over random points agree; ``names`` is ours to theirs and the weight that ours has in addition.

    Where two queries are about as good, either is matched, depending on the points: predictions whose class loss is not
    the same in every draw are compared no further.
    """
    published = dict(zip(figures["keys"].tolist(), zip(figures["mean"], figures["std"], strict=True), strict=True))
    compared = set()
    for ours, (theirs, weight) in names.items():
        values = np.array([float(draw[ours]) for draw in draws]) / weight
        _, kind, *layer = ours.split("_")
        of_classes = [float(draw["_".join(["loss_ce", *layer])]) for draw in draws]
        mean, spread = published[theirs]
        if np.ptp(of_classes) > 1e-6 or (kind == "ce" and spread > 0):
            continue
        compared.add(ours)
        assert values.mean() == pytest.approx(mean, rel=1e-5, abs=6 * spread * np.sqrt(1 / 20 + 1 / len(draws))), ours
    assert compared >= {"loss_ce", "loss_mask", "loss_dice"}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_losses_of_videos_equal_the_published_ones(case, golden):
    name, prefix, make, key_map = CASES[case]
    figures = golden(name)
    model = load_published(make(), key_map).train()
    if isinstance(model, PMT):
        model.laterals.batch_norms.eval()
    output = model(video(figures))
    # The published prediction before the last block has no loss, and is not made here
    assert len(output.auxiliary) == int(figures[f"{prefix}train_aux_count"]) - 1
    for index, earlier in enumerate(output.auxiliary):
        assert_close(earlier.frame_class_logits[0, 0], figures[f"{prefix}train_aux_logits_frame0"][index])
        masks = earlier.mask_logits.dense()[0].abs().mean(dim=(2, 3)).T
        assert_close(masks, figures[f"{prefix}train_aux_mask_absmean"][index])
    criterion = FirstAppearanceCriterion(40, HungarianMatcher())
    annotation = target(figures, prefix)
    held = criterion.assign(output, [annotation])[-1][0].tolist()
    matched = zip(figures[f"{prefix}train_match_target"], figures[f"{prefix}train_match_query"], strict=True)
    assert {instance: query for instance, query in enumerate(held) if query >= 0} == dict(matched)
    draws = [criterion(output, [annotation]) for _ in range(NUM_DRAWS)]
    published = {part: figures[f"{prefix}train_loss_{part}"] for part in ("keys", "mean", "std")}
    assert set(draws[0]) == set(published["keys"].tolist())
    assert_same_means(draws, {key: (key, 1.0) for key in draws[0]}, published)


@torch.no_grad()
def test_costs_on_given_points_equal_the_published_ones(golden):
    figures = golden("videomt_s_dinov2")
    output = load_published(VidEoMT(Dinov2(), 40, 20), vit_keys.VIDEOMT_DINOV2)(video(figures))
    criterion, annotation = FirstAppearanceCriterion(40, HungarianMatcher()), target(figures)
    maps = padded_maps(annotation.masks, output)
    assert figures["train_match_cost_ncol"].tolist() == [1, 1, 1]
    for index, (frame, instance) in enumerate([(0, 0), (1, 2), (2, 1)]):  # the order in which objects appear
        seed = meta(figures)["train_points_seed"] + index
        points = torch.from_numpy(np.random.Generator(np.random.PCG64(seed)).random((1, 12544, 2)))
        chosen = [instance]
        cost = criterion.frame_cost(output, 0, frame, annotation.labels[chosen], maps[chosen, frame], points)[:, 0]
        expected = figures["train_match_cost_fixed"][:, index]
        free = expected < 1e5
        np.testing.assert_allclose(cost.numpy()[free], expected[free], atol=2e-5, rtol=1e-5)
        assert (~free).sum() == index  # queries that earlier objects have


@torch.no_grad()
def test_losses_of_images_equal_the_published_ones(golden):
    figures = golden("eomt_s_dinov2")
    masked = {"annealing_starts": (1,) * 3, "annealing_ends": (2,) * 3}
    model = load_published(EoMT(Dinov2(image_size=(64, 96)), 30, 20, 3, **masked), vit_keys.EOMT_DINOV2).train()
    output = model(torch.from_numpy(figures["input_padded"])[:1, None])
    masks = torch.from_numpy(unpacked(figures, "train_masks"))[:, None]
    annotation = ClipTarget(torch.from_numpy(figures["train_labels"]), masks)
    criterion = SetCriterion(30, HungarianMatcher())
    draws = [criterion(output, [annotation]) for _ in range(NUM_DRAWS)]
    names = {}
    for ours in draws[0]:
        kind = ours.split("_")[1]
        weight = {"ce": 2.0, "mask": 5.0, "dice": 5.0}[kind]
        suffix = "" if ours.count("_") == 1 else f"_block_{int(ours.rsplit('_', 1)[1]) - 3}"
        names[ours] = (f"loss_{'cross_entropy' if kind == 'ce' else kind}{suffix}", weight)
    assert {theirs for theirs, _ in names.values()} < set(figures["loss_keys"].tolist())
    assert_same_means(draws, names, {part: figures[f"loss_{part}"] for part in ("keys", "mean", "std")})
