"""The losses of object tokens against those of the published implementations, on recorded predictions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from video_mask2former.losses import HungarianMatcher
from video_mask2former.losses.object_criterion import ObjectCriterion
from video_mask2former.losses.object_output import TokenLayerObjects, last_of_each, visible_targets
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput, ClipTarget

FOLDER = Path(__file__).parents[1] / "data" / "golden"
TABLE = torch.from_numpy(np.random.Generator(np.random.PCG64(777)).random((40000, 2)))


def fixed_points(rows: int, count: int, _two: int, **_options: object) -> torch.Tensor:
    """What stands for random points in the recorded runs."""
    return TABLE[:count].expand(rows, -1, -1)


def objects_of_clip(figures: dict[str, torch.Tensor]) -> list[TokenLayerObjects]:
    """Recorded predictions of one clip, ``(D, L, B, ...)``, as objects that share one tensor of mask features."""
    masks = figures["pred_masks"].double()
    depth, num_layers, _, num_queries, _, height, width = masks.shape
    # Every mask is a channel of the features, and every embedding picks one.
    features = masks.permute(2, 4, 0, 1, 3, 5, 6).flatten(2, 4)
    picks = torch.eye(features.shape[2], dtype=torch.float64).unflatten(0, (depth, num_layers, num_queries))
    layers = []
    for layer in range(num_layers):
        predictions = []
        for index in range(depth):
            logits = figures["pred_logits"][index, layer].double()
            embeddings = picks[index, layer].expand(len(logits), -1, -1)
            mask_logits = MaskLogits(embeddings, features)
            size = (2 * height, 2 * width)
            predictions.append(ClipOutput(logits, mask_logits, embeddings, embeddings, size, size))
        tokens, queries = figures["pred_fq_embed"][layer].double(), figures["pred_cq_embed"][-1, layer].double()
        layers.append(TokenLayerObjects(tuple(predictions), tokens, queries))
    return layers


def load(name: str, golden):
    """Clips, targets, and the recorded answers of each clip."""
    figures = {key: torch.from_numpy(value) for key, value in golden(name).items()}
    expected = json.loads((FOLDER / f"{name}.json").read_text())
    masks = [figures.pop(f"masks{video}").bool() for video in range(sum(key.startswith("labels") for key in figures))]
    targets = [ClipTarget(figures.pop(f"labels{video}").long(), mask) for video, mask in enumerate(masks)]
    predictions = {key: value for key, value in figures.items() if key.startswith("pred_")}
    if "clips" not in expected:  # VITA has no axis of clips
        return [objects_of_clip(predictions)], targets, expected, [expected]
    clips = [
        objects_of_clip({key: value[i] for key, value in predictions.items()}) for i in range(len(expected["clips"]))
    ]
    return clips, targets, expected, expected["clips"]


def matched_tokens(clips, targets, recorded):
    """For each token layer and frame, tokens and their objects among all of the video."""
    _, owners = visible_targets(targets)
    num_frames = targets[0].masks.shape[1]
    length = num_frames // len(clips)
    tokens = []
    for layer in range(len(clips[0])):
        frames = []
        for index, owner in enumerate(owners):
            video, frame = divmod(index, num_frames)
            rows, columns = recorded[frame // length]["frame_indices"][layer][video * length + frame % length]
            frames.append((torch.tensor(rows, dtype=torch.int64), owner[torch.tensor(columns, dtype=torch.int64)]))
        tokens.append(frames)
    return tokens


@pytest.mark.parametrize("name", ["vita_criterion", "genvis_criterion", "genvis_collision_criterion"])
def test_losses_equal_the_published_ones(name, golden, monkeypatch):
    monkeypatch.setattr(torch, "rand", fixed_points)
    clips, targets, expected, recorded = load(name, golden)
    criterion = ObjectCriterion(
        expected["num_classes"],
        HungarianMatcher(),
        class_weight=1.0,
        mask_weight=1.0,
        dice_weight=1.0,
        similarity_weight=1.0,
        num_points=expected["num_points"],
    ).double()
    tokens = matched_tokens(clips, targets, recorded)
    losses = criterion.clip_losses(clips, targets, tokens, criterion.normalizer(targets, num_queries=6))
    prefix = "loss_genvis_" if "clips" in expected else "loss_vita_"
    names = {"sim": "similarity"}
    for clip, (found, clip_expected) in enumerate(zip(losses, recorded, strict=True)):
        for key, value in clip_expected["losses"].items():
            short = key.removeprefix(prefix)
            assert float(found[f"loss_{names.get(short, short)}"]) == pytest.approx(value, rel=1e-5), (clip, key)


def test_only_the_last_of_two_objects_gives_its_class_to_the_query_they_share():
    queries, objects = last_of_each(torch.tensor([7, 2, 7]), torch.tensor([0, 1, 2]))
    assert (queries.tolist(), objects.tolist()) == ([2, 7], [1, 2])


def test_other_outputs_are_an_error(golden):
    clips, targets, expected, _ = load("vita_criterion", golden)
    with pytest.raises(ValueError, match="needs the output of VITA or GenVIS in training mode"):
        ObjectCriterion(expected["num_classes"], HungarianMatcher())(clips[0][0].predictions[0], targets)


def test_parts_of_a_batch_have_the_losses_of_the_whole(golden, monkeypatch):
    monkeypatch.setattr(torch, "rand", fixed_points)
    clips, targets, expected, recorded = load("genvis_criterion", golden)
    criterion = ObjectCriterion(expected["num_classes"], HungarianMatcher(), num_points=256).double()
    tokens = matched_tokens(clips, targets, recorded)
    whole = criterion.clip_losses(clips, targets, tokens, criterion.normalizer(targets, num_queries=6))
    parts = []
    normalizers = [criterion.normalizer([target], num_queries=6) for target in targets]
    for video, target in enumerate(targets):
        own = [
            [
                TokenLayerObjects(
                    tuple(prediction.clip(video) for prediction in layer.predictions),
                    layer.token_similarity[video : video + 1],
                    layer.query_similarity[video : video + 1],
                )
                for layer in clip
            ]
            for clip in clips
        ]
        frames = [layer[video * 8 : (video + 1) * 8] for layer in tokens]
        parts.append(criterion.clip_losses(own, [target], frames, (normalizers[0] + normalizers[1]) / 2))
    for index, losses in enumerate(whole):
        for name in ("loss_ce", "loss_mask", "loss_dice_0"):
            mean = sum(float(part[index][name]) for part in parts) / 2
            assert mean == pytest.approx(float(losses[name]), rel=1e-9), name
