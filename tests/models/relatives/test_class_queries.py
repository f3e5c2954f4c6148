"""Class queries: the branch against reference figures, and a whole model on drawn frames."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.losses.class_queries import ClassQueryCriterion, class_query_loss
from video_mask2former.models.class_queries.classifier import MaskClassifier, mask_geometry
from video_mask2former.models.class_queries.promptable import ColourRegions, HuggingFacePromptable, boxes_of
from video_mask2former.models.class_queries.segmenter import ClassQueries, distinct_masks
from video_mask2former.structures import ClipTarget


def test_classifier_equals_the_reference(golden_file, recorded):
    figures = golden_file("classquery_reference")
    seed, batch, _, dim, num_classes, num_layers, num_heads, ffn, _, _ = figures["meta"].tolist()
    rng = np.random.Generator(np.random.PCG64(seed))
    shapes = zip(figures["channels"].tolist(), figures["sizes"].tolist(), strict=True)
    levels = [torch.from_numpy(rng.standard_normal((batch, channels, *size)))[:, None] for channels, size in shapes]
    classifier = MaskClassifier(
        num_classes,
        figures["channels"].tolist(),
        hidden_dim=dim,
        num_heads=num_heads,
        feedforward_dim=ffn,
        num_layers=num_layers,
    ).double()
    weights = {
        name: recorded.weight(f"mask_classifier.{name}", list(value.shape)).float().double()
        for name, value in classifier.state_dict().items()
        if value.ndim
    }
    classifier.load_state_dict(weights | {"logit_scale": torch.tensor(math.log(1 / 0.07))})
    logits, quality = (torch.from_numpy(figures[name]).double()[:, :, None] for name in ("mask_logits", "iou"))
    valid = torch.from_numpy(figures["valid"])
    recorded.close(mask_geometry(logits.sigmoid() > 0.5, quality)[:, :, 0], figures["geometry"])
    projected = [classifier._project(index, level) for index, level in enumerate(levels)]
    recorded.close(classifier.tokens(projected, logits, quality), figures["tokens0"])
    tokens = []
    classifier.layers[-1].register_forward_hook(lambda _, __, output: tokens.append(output[1]))
    class_logits, _ = classifier(levels, logits, quality, valid)
    recorded.close(tokens[0], figures["tokens_last"])
    recorded.close(class_logits, figures["logits"])
    labels = torch.from_numpy(figures["labels"].astype(np.int64))
    labels = torch.where(valid, labels, -1)
    loss = class_query_loss(class_logits.flatten(0, 1), labels.flatten(), 0.1)
    recorded.close(loss[None], figures["loss"])
    parameters = {
        "grad_class_query": classifier.class_query.weight,
        "grad_level_proj0": classifier.level_proj[0].weight,
        "grad_token_proj": classifier.token_proj.weight,
    }
    for name, gradient in zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True):
        recorded.close(gradient.norm()[None], figures[name])


def drawn_clip(num_frames: int = 2) -> tuple[torch.Tensor, ClipTarget]:
    """A bright square and a bright bar on black, the square moving; frames ``(T, 3, 48, 64)``."""
    frames = torch.zeros(num_frames, 3, 48, 64)
    masks = torch.zeros(2, num_frames, 48, 64, dtype=torch.bool)
    for index in range(num_frames):
        masks[0, index, 8:24, 8 + 4 * index : 24 + 4 * index] = True
        masks[1, index, 32:40, 8:56] = True
    for number, colour in enumerate(((200, 40, 40), (40, 200, 40))):
        frames += masks[number, :, None].float() * torch.tensor(colour).view(3, 1, 1)
    return frames, ClipTarget(torch.tensor([0, 1]), masks)


def build(**options) -> ClassQueries:
    settings = {"points_per_side": 8, "num_queries": 6, "hidden_dim": 16, "num_heads": 2, "mlp_dim": 16}
    return ClassQueries(2, ColourRegions(), num_layers=1, **(settings | options))


def test_masks_are_found_and_followed():
    frames, target = drawn_clip(3)
    output = build().eval()(frames[None])
    criterion = ClassQueryCriterion(2)
    classes = criterion.classes(output.clip(0), target)
    assert sorted(classes.tolist()) == [0, 1, 2, 2, 2, 2]  # the background is one of no object
    masks = output.mask_logits.resized((48, 64))[0] > 0
    for label in (0, 1):
        mask = masks[classes.tolist().index(label)]
        iou = (mask & target.masks[label]).sum() / (mask | target.masks[label]).sum()
        assert iou > 0.9
    assert output.class_probabilities()[0, -1, -1] == 1  # there is no sixth mask


def test_boxes_of_the_clip_before_start_the_next():
    frames, _ = drawn_clip(3)
    model = build().eval()
    features = model.encode(frames[None])
    whole = model.decode(features)
    first = model.decode(features.frames(0, 2))
    last = model.decode(features.frames(2, 3), first.queries)
    torch.testing.assert_close(last.mask_logits.dense()[:, :3], whole.mask_logits.dense()[:, :3, 2:])


def test_the_branch_learns_and_nothing_else_does():
    frames, target = drawn_clip()
    model = build(hidden_dim=32)
    criterion = ClassQueryCriterion(2)
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert trained and all(name.startswith("mask_classifier.") for name in trained)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = None
    for _ in range(40):
        loss = criterion(model(frames[None]), [target])["loss_ce"]
        first = first or float(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert float(loss.detach()) < 0.3 * first
    output = model.eval()(frames[None])
    classes = criterion.classes(output.clip(0), target)
    predicted = output.class_logits[0].argmax(1)
    assert predicted[classes < 2].tolist() == classes[classes < 2].tolist()


def test_duplicates_and_poor_masks_are_left_out():
    logits = torch.full((4, 4, 4), -1.0)
    logits[0, :2], logits[1, :2], logits[2, 2:] = 1.0, 1.0, 1.0
    quality = torch.tensor([0.5, 0.9, 0.7, 1.0])  # the last mask is empty
    assert distinct_masks(logits, quality, 4, 0.7).tolist() == [1, 2]
    assert distinct_masks(logits, quality, 1, 0.7).tolist() == [1]
    assert distinct_masks(logits, quality, 4, 0.7, min_quality=0.8).tolist() == [1]
    torch.testing.assert_close(boxes_of(logits)[[1, 3]], torch.tensor([[0, 0, 1, 0.5], [0, 0, 1, 1.0]]))


def test_frames_of_several_sizes_are_refused():
    with pytest.raises(ValueError, match="must have one size"):
        build().encode([torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 16)])


def test_regions_are_connected_and_of_like_colour():
    frames = (torch.rand(2, 3, 24, 32) * 90).round()
    promptable = ColourRegions(tolerance=30.0, stride=1)
    points = torch.rand(2, 5, 2)
    found = promptable.from_points(promptable.embed(frames), points)
    for frame, places, logits in zip(frames, points, found.logits, strict=True):
        for (x, y), mask in zip((places * torch.tensor([32, 24])).long().tolist(), logits > 0, strict=True):
            is_like = (frame - frame[:, y, x, None, None]).abs().amax(dim=0) <= 30
            grown = torch.zeros(24, 32)
            grown[y, x] = 1
            for _ in range(24 * 32):
                grown = torch.nn.functional.max_pool2d(grown[None], 3, stride=1, padding=1)[0] * is_like
            assert torch.equal(mask, grown > 0)


def test_regions_that_depend_on_the_tolerance_are_worth_less():
    frames = torch.zeros(1, 3, 32, 32)
    frames[:, :, :, 16:] = torch.linspace(60, 200, 16)  # a slope beside a flat half
    frames[:, :, 0, 0] = 250  # and a speck
    points = torch.tensor([[[0.2, 0.5], [0.8, 0.5], [0.0, 0.0]]])
    promptable = ColourRegions(stride=1)
    flat, slope, speck = promptable.from_points(promptable.embed(frames), points).quality[0].tolist()
    # Of the slope five columns are within the tolerance, three within half of it
    assert flat == pytest.approx(1 - 511 / 1024) and slope == pytest.approx(3 / 5 * (1 - 5 / 32)) and speck == 0


TINY_HIERA = {
    "model_type": "sam2_hiera_det_model",
    "hidden_size": 8,
    "image_size": [64, 64],
    "embed_dim_per_stage": [8, 16, 32, 64],
    "num_attention_heads_per_stage": [1, 1, 2, 2],
    "blocks_per_stage": [1, 1, 2, 1],
    "window_size_per_stage": [8, 4, 4, 4],
    "global_attention_blocks": [3],
    "window_positional_embedding_background_size": [4, 4],
}


@pytest.mark.filterwarnings("ignore")
def test_sam_of_transformers(tmp_path):
    """SAM sees frames padded to a square: masks and prompts cover the padding, results only the frame."""
    transformers = pytest.importorskip("transformers")
    config = transformers.SamConfig(
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 64,
            "output_channels": 32,
            "num_pos_feats": 16,
            "mlp_dim": 32,
            "window_size": 2,
            "global_attn_indexes": [1],
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 16},
    )
    theirs = transformers.SamModel(config).eval()
    theirs.save_pretrained(tmp_path)
    promptable = HuggingFacePromptable(str(tmp_path))
    frames = torch.rand(1, 3, 48, 64) * 255
    points = torch.rand(1, 5, 2) * torch.tensor([1.0, 0.75])
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.4], [0.3, 0.2, 0.9, 0.7]]])
    pixels = torch.nn.functional.pad((frames - promptable.mean) / promptable.std, (0, 0, 0, 16))
    labels = torch.ones(1, 5, 1, dtype=torch.int64)
    levels = promptable.embed(frames)
    with torch.no_grad():
        by_points = theirs(pixel_values=pixels, input_points=64 * points[:, :, None], input_labels=labels)
        by_boxes = theirs(pixel_values=pixels, input_boxes=64 * boxes)
    for expected, found in (
        (by_points, promptable.from_points(levels, points)),
        (by_boxes, promptable.from_boxes(levels, boxes)),
    ):
        best = expected.iou_scores.argmax(2)[0]
        rows = torch.arange(len(best))
        torch.testing.assert_close(found.logits[0], expected.pred_masks[0, rows, best])
        torch.testing.assert_close(found.quality[0], expected.iou_scores[0, rows, best].clamp(0, 1))
    model = ClassQueries(
        3, promptable, points_per_side=4, num_queries=6, hidden_dim=16, num_heads=2, mlp_dim=16, num_layers=1
    )
    output = model.eval()(torch.rand(1, 2, 3, 40, 60) * 255)
    assert output.padded_size == (60, 60) and output.frame_size == (40, 60)
    assert output.mask_logits.shape == (1, 6, 2, 16, 16)
    result = vm2f.segment_video(model, (torch.rand(2, 3, 40, 60) * 255).to(torch.uint8), score_threshold=0.0)
    assert result.size == (40, 60) and result.num_frames == 2


@pytest.mark.filterwarnings("ignore")
def test_sam2_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.Sam2Config(
        vision_config={
            "backbone_config": TINY_HIERA,
            "backbone_channel_list": [64, 32, 16, 8],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
            "fpn_hidden_size": 32,
        },
        prompt_encoder_config={"hidden_size": 32, "image_size": 64, "mask_input_channels": 4},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 32, "num_attention_heads": 4, "iou_head_hidden_dim": 16},
    )
    theirs = transformers.Sam2Model(config).eval()
    theirs.save_pretrained(tmp_path)
    promptable = HuggingFacePromptable(str(tmp_path))
    frames = torch.rand(1, 3, 64, 64) * 255
    points = torch.rand(1, 5, 2)
    pixels = (frames - promptable.mean) / promptable.std
    labels = torch.ones(1, 5, 1, dtype=torch.int64)
    with torch.no_grad():
        expected = theirs(pixel_values=pixels, input_points=64 * points[:, :, None], input_labels=labels)
    found = promptable.from_points(promptable.embed(frames), points)
    best = expected.iou_scores.argmax(2)[0]
    torch.testing.assert_close(found.logits[0], expected.pred_masks[0, torch.arange(5), best])
    model = ClassQueries(
        3, promptable, points_per_side=4, num_queries=6, hidden_dim=16, num_heads=2, mlp_dim=16, num_layers=1
    )
    output = model.train()(torch.rand(2, 2, 3, 40, 60) * 255)
    assert output.mask_logits.shape == (2, 6, 2, 16, 16) and output.class_logits.shape == (2, 6, 4)
    assert not promptable.training and not any(p.requires_grad for p in promptable.parameters())
    with pytest.raises(FileNotFoundError, match="nothing is downloaded"):
        HuggingFacePromptable(str(tmp_path / "absent"))
