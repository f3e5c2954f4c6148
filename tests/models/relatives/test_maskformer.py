"""MaskFormer in float64 against figures of the published implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from video_mask2former.convert.maskformer import MASKFORMER
from video_mask2former.losses.whole_mask_criterion import FocalMatcher, WholeMaskCriterion
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models import ResNet, VideoMask2Former
from video_mask2former.models.decoders.detr import DetrDecoder
from video_mask2former.models.pixel_decoders.fpn import FPNPixelDecoder
from video_mask2former.structures import ClipOutput, ClipTarget
from video_mask2former.tasks.postprocess import image_panoptic, image_semantic

CASES = {
    "maskformer_ade20k_semantic_r50": ("ade20k_semantic_r50", 0, 12, ()),
    "maskformer_coco_panoptic_r50": ("coco_panoptic_r50", 6, 11, (0, 1, 2, 3, 4)),
}


def build(backbone: ResNet, num_encoder_layers: int, num_classes: int, num_queries: int) -> VideoMask2Former:
    pixel_decoder = FPNPixelDecoder(backbone.feature_info, num_encoder_layers=num_encoder_layers, dropout=0.0)
    decoder = DetrDecoder(
        num_classes, memory_channels=pixel_decoder.memory_channels, num_queries=num_queries, dropout=0.0
    )
    return VideoMask2Former(backbone, pixel_decoder, decoder)


def weights(recorded, shapes: dict[str, list[int]], num_queries: int, num_classes: int) -> dict[str, torch.Tensor]:
    """The recorded weights with their exceptions, under the published names."""
    result = {}
    for name, shape in shapes.items():
        if name == "criterion.empty_weight":
            continue
        if name.endswith("query_embed.weight"):
            shape = [num_queries, *shape[1:]]
        elif ".class_embed." in name:
            shape = [num_classes + 1, *shape[1:]]
        x = recorded.weight(name, shape)
        if name.endswith("in_proj_weight"):
            x[: 2 * len(x) // 3] *= 6
        elif name.endswith(("self_attn.out_proj.weight", "linear2.weight")):
            x *= 0.2
        elif name.endswith("multihead_attn.out_proj.weight"):
            x *= 2
        elif name.endswith("mask_features.weight"):
            x -= x.mean(dim=(1, 2, 3), keepdim=True)
        elif name.endswith("class_embed.weight") and num_classes == 11:
            x *= 5
        result[name] = x.float().double()
    return result


@pytest.fixture(scope="module", params=CASES)
def run(request, golden_file, published_shapes, recorded):
    """A model with the recorded weights, its frames, targets and output, and the figures."""
    shapes, num_encoder_layers, num_classes, things = CASES[request.param]
    figures = golden_file(request.param)
    model = build(ResNet(50), num_encoder_layers, num_classes, num_queries=12).double()
    converted = MASKFORMER.to_ours(weights(recorded, published_shapes[shapes], 12, num_classes))
    assert not converted.unknown
    model.load_state_dict(converted.weights)
    sizes = figures["sizes"]
    images = torch.from_numpy(recorded.image(int(figures["seed"][0]), 2, *sizes.max(axis=0)))
    frames = [image[None, :, :height, :width] for image, (height, width) in zip(images, sizes, strict=True)]
    assert [int(clip.sum()) for clip in frames] == figures["image_sums"].tolist()
    return model, frames, model(frames), figures, things


def targets_of(figures: dict[str, np.ndarray], sizes, count: int, prefix: str = "target_") -> list[ClipTarget]:
    targets = []
    for index in range(count):
        labels = torch.from_numpy(figures[f"{prefix}labels_{index}"])
        height, width = (int(side) for side in sizes[index])
        packed = figures[f"{prefix.replace('target_', '')}target_masks_{index}"]
        bits = np.unpackbits(packed, axis=1)[:, : height * width]
        targets.append(ClipTarget(labels, torch.from_numpy(bits).bool().view(-1, 1, height, width)))
    return targets


def test_predictions_equal_the_published_ones(run, recorded):
    model, frames, output, figures, _ = run
    predictions = (*output.auxiliary, output)
    recorded.close(torch.stack([prediction.class_logits for prediction in predictions]), figures["pred_logits"])
    dense = output.mask_logits.dense()[:, :, 0]
    recorded.close(dense[0], figures["pred_masks_0"])
    recorded.close(dense[1, ::3], figures["pred_masks_1_every3"])
    recorded.close(predictions[0].mask_logits.dense()[:1, :6, 0], figures["pred_masks_layer0"])
    embeddings = torch.stack([predictions[index].query_embeddings[:1] for index in (0, -1)])
    recorded.close(embeddings, figures["inter/hs_first_last"])
    with torch.no_grad():
        features = model.encode(frames)
    recorded.close(features.mask_features[:1, 0, ::64], figures["inter/mask_features_ch"])
    if "inter/encoder_features" in figures:
        recorded.close(features.levels[0][:, 0], figures["inter/encoder_features"])


def test_losses_and_gradients_equal_the_published_ones(run, recorded):
    model, _, output, figures, _ = run
    targets = targets_of(figures, figures["sizes"], 2)
    criterion = WholeMaskCriterion(output.num_classes, FocalMatcher()).double()
    matches = criterion.match(output, targets)
    for call in range(6):
        layer = matches[-1] if call == 0 else matches[call - 1]
        for index, pairs in enumerate(layer):
            expected = figures[f"match/call{call}_img{index}"]
            assert sorted(zip(*(part.tolist() for part in pairs), strict=True)) == sorted(
                zip(*expected.tolist(), strict=True)
            )
    losses = criterion(output, targets)
    for name, loss in losses.items():
        recorded.close(loss[None], figures[f"loss/{name}"])
    names = [name for name in figures if name.startswith("gradnorm/")]
    ours = [next(iter(MASKFORMER.to_ours({name.removeprefix("gradnorm/"): torch.zeros(1)}).weights)) for name in names]
    gradients = torch.autograd.grad(
        sum(losses.values()), [model.get_parameter(name) for name in ours], retain_graph=True
    )
    for name, gradient in zip(names, gradients, strict=True):
        recorded.close(gradient.norm()[None], figures[name])


def test_results_equal_the_published_ones(run, recorded):
    _, _, output, figures, things = run
    for index, (size, frame) in enumerate(zip(figures["out_sizes"].tolist(), figures["sizes"].tolist(), strict=True)):
        single = output.clip(index)
        single = ClipOutput(
            single.class_logits,
            single.mask_logits,
            single.query_embeddings,
            single.queries,
            tuple(frame),
            single.padded_size,
        )
        semantic = image_semantic(single, tuple(size), resize_scores=not things)
        if index == 0:
            recorded.close(semantic, figures["sem_seg_0"])
        else:
            assert (semantic.argmax(0).numpy() == figures["sem_seg_1_argmax"]).all()
            recorded.close(semantic.sum((1, 2)), figures["sem_seg_1_class_sums"])
        if not things:
            continue
        panoptic = image_panoptic(
            single, tuple(size), things, object_mask_threshold=0.6, overlap_threshold=0.3, fill=True
        )
        assert (panoptic.label_map.numpy() == figures[f"panoptic_{index}"]).all()
        rows = [[part.segment_id, int(part.is_thing), part.label] for part in panoptic.segments]
        assert rows == figures[f"segments_{index}"].tolist()


def from_dense(logits: torch.Tensor, masks: torch.Tensor, size: tuple[int, int]) -> ClipOutput:
    """An output of these logits ``(layers, B, Q, K + 1)`` and masks ``(layers, B, Q, h, w)``, the last layer last."""
    num_layers, batch, num_queries = logits.shape[:3]
    features = masks.permute(1, 0, 2, 3, 4).flatten(1, 2)[:, None]
    identity = torch.eye(num_layers * num_queries, dtype=masks.dtype).expand(batch, -1, -1)
    empty = masks.new_zeros(batch, num_queries, 1)
    layers = [
        ClipOutput(layer_logits, MaskLogits(embeddings, features), empty, empty, size, size)
        for layer_logits, embeddings in zip(logits, identity.split(num_queries, dim=1), strict=True)
    ]
    last = layers[-1]
    return ClipOutput(last.class_logits, last.mask_logits, empty, empty, size, size, tuple(layers[:-1]))


@pytest.mark.parametrize("case", ["criterion", "criterion_empty"])
def test_criterion_equals_the_published_one(case, golden_file, recorded):
    figures = {
        name.removeprefix(f"{case}/"): value
        for name, value in golden_file("maskformer_functions").items()
        if name.startswith(f"{case}/")
    }
    height, width, *counts = figures["meta"].tolist()
    logits, masks = (torch.from_numpy(figures[name]).double().requires_grad_() for name in ("logits", "masks"))
    output = from_dense(logits, masks, (height, width))
    targets = targets_of(figures, [(height, width)] * len(counts), len(counts), prefix="")
    criterion = WholeMaskCriterion(output.num_classes, FocalMatcher(), mask_weight=1.0).double()
    losses = criterion(output, targets)
    for name, loss in losses.items():
        recorded.close(loss.detach()[None], figures[f"loss_unweighted/{name}"])
    weighted = sum(loss * (20 if "mask" in name else 1) for name, loss in losses.items())
    recorded.close(weighted.detach()[None], figures["total_weighted"])
    for part, name in ((logits, "grad_logits_abs_sum"), (masks, "grad_masks_abs_sum")):
        (gradient,) = torch.autograd.grad(weighted, part, retain_graph=True)
        recorded.close(gradient.flatten(1).abs().sum(1), figures[name])


@pytest.mark.parametrize("case", ["panoptic_coco", "panoptic_ade"])
def test_panoptic_results_equal_the_published_ones(case, golden_file):
    figures = golden_file("maskformer_functions")
    logits = torch.from_numpy(figures[f"{case}/mask_cls"]).double()[None]
    masks = torch.from_numpy(figures[f"{case}/mask_pred"]).double()[None, :, None]
    size = tuple(masks.shape[-2:])
    empty = logits.new_zeros(1, logits.shape[1], 1)
    output = ClipOutput(logits, MaskLogits.from_dense(masks), empty, empty, size, size)
    score_threshold, overlap_threshold = figures[f"{case}/thresholds"].tolist()
    panoptic = image_panoptic(
        output,
        size,
        figures[f"{case}/thing_classes"].tolist(),
        object_mask_threshold=score_threshold,
        overlap_threshold=overlap_threshold,
        fill=True,
    )
    assert (panoptic.label_map.numpy() == figures[f"{case}/panoptic"]).all()
    rows = [[part.segment_id, int(part.is_thing), part.label] for part in panoptic.segments]
    assert rows == figures[f"{case}/segments"].tolist()
    assert (image_semantic(output, size).argmax(0).numpy() == figures[f"{case}/semantic_argmax"]).all()


@pytest.mark.parametrize(
    ("name", "backbone", "num_encoder_layers", "num_classes"),
    [
        ("ade20k_semantic_r50", {"depth": 50}, 0, 150),
        ("ade20k_semantic_r101", {"depth": 101}, 0, 150),
        ("ade20k_semantic_r101c", {"depth": 101, "stem": "deeplab", "res5_dilations": (1, 2, 4)}, 0, 150),
        ("coco_panoptic_r50", {"depth": 50}, 6, 133),
        ("coco_panoptic_r101", {"depth": 101}, 6, 133),
    ],
)
def test_parameters_are_those_of_the_published_models(
    name, backbone, num_encoder_layers, num_classes, published_shapes
):
    with torch.device("meta"):
        model = build(ResNet(**backbone), num_encoder_layers, num_classes, num_queries=100)
    ours = model.state_dict()
    theirs = {key: list(value.shape) for key, value in MASKFORMER.to_theirs(ours).items()}
    expected = dict(published_shapes[name])
    assert expected.pop("criterion.empty_weight") == [num_classes + 1]
    assert theirs == expected
    first_release = {
        key.replace("sem_seg_head.pixel_decoder.", "sem_seg_head."): torch.empty(value, device="meta")
        for key, value in expected.items()
    }
    for names in (expected, first_release):
        back = MASKFORMER.to_ours({key: torch.empty(0, device="meta") for key in names})
        assert back.weights.keys() == ours.keys() and not back.unknown
