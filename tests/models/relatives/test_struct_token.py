"""Heads of StructToken in float64 against figures of the published implementation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from video_mask2former.convert.struct_token import STRUCT_TOKEN_CROSS, STRUCT_TOKEN_JOINT
from video_mask2former.losses.semantic import SemanticCriterion
from video_mask2former.models.backbones.plain_vit import PlainViT
from video_mask2former.models.struct_token.head import StructTokenHead
from video_mask2former.models.struct_token.segmenter import StructToken
from video_mask2former.structures import ClipTarget

KEY_MAPS = {"cse": STRUCT_TOKEN_CROSS, "sse": STRUCT_TOKEN_JOINT, "pwe": STRUCT_TOKEN_JOINT}


def weight(name: str, shape: list[int], recorded) -> torch.Tensor:
    """The recorded weight with its exceptions."""
    x = recorded.weight(name, shape)
    if name.endswith("kernels"):
        x = x * np.sqrt(np.prod(shape[1:]))
    elif "query_map" in name and x.ndim > 1:
        x = x / np.sqrt(np.prod(shape[1:]))
    return x.float().double()


@pytest.mark.parametrize("interaction", ["cse", "sse", "pwe"])
def test_head_equals_the_published_one(interaction, golden_file, recorded):
    figures = {
        name.removeprefix(f"{interaction}/"): value
        for name, value in golden_file("structtoken_heads").items()
        if name.startswith(interaction)
    }
    seed, channels, width, num_classes, num_layers, *size, expansion = figures["meta"].tolist()
    head = StructTokenHead(
        num_classes,
        channels,
        hidden_channels=width,
        interaction=interaction,
        num_layers=num_layers,
        token_size=size,
        expansion=expansion,
        drop_path_rate=0.0,
    ).double()
    key_map = KEY_MAPS[interaction]
    names = key_map.to_theirs({f"head.{name}": value for name, value in head.state_dict().items()})
    theirs = {name: weight(name, list(value.shape), recorded) for name, value in names.items()}
    head.load_state_dict({k.removeprefix("head."): v for k, v in key_map.to_ours(theirs).weights.items()})
    layers: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in head.layers:
        layer.register_forward_hook(lambda _, __, output: layers.append(output))
    rng = np.random.Generator(np.random.PCG64(seed))
    for index, (batch, height, width) in enumerate(figures["feats"].tolist()):
        features = torch.from_numpy(rng.standard_normal((batch, channels, height, width)))
        labels = torch.from_numpy(rng.integers(0, num_classes + 1, (batch, 8 * height, 8 * width)))
        labels[labels == num_classes] = 255
        layers.clear()
        logits, _ = head(features)
        recorded.close(logits, figures[f"f{index}/logits"])
        for position, (tokens, maps) in enumerate(layers):
            recorded.close(tokens, figures[f"f{index}/layer{position}_tokens"])
            recorded.close(maps[:, ::4], figures[f"f{index}/layer{position}_features"])
        upsampled = F.interpolate(logits, size=labels.shape[1:], mode="bilinear", align_corners=False)
        loss = F.cross_entropy(upsampled, labels, ignore_index=255, reduction="none").mean()
        recorded.close(loss[None], figures[f"f{index}/loss"])
        mlp = head.layers[0].token_mlp if interaction == "cse" else head.layers[0].mlp
        parameters = (head.tokens, head.projection.weight, mlp.grouped.weight)
        for gradient, name in zip(
            torch.autograd.grad(loss, parameters), ("kernels", "dec_proj", "dwconv0"), strict=True
        ):
            recorded.close(gradient.norm()[None], figures[f"f{index}/grad_{name}"])


@pytest.mark.parametrize("interaction", ["cse", "sse", "pwe"])
def test_parameters_are_those_of_the_published_heads(interaction, published_shapes):
    with torch.device("meta"):
        head = StructTokenHead(150, 768, interaction=interaction)
    theirs = KEY_MAPS[interaction].to_theirs({f"head.{name}": value for name, value in head.state_dict().items()})
    assert {name: list(value.shape) for name, value in theirs.items()} == published_shapes[f"head_{interaction}_vit_b"]


def tiny(interaction: str = "pwe") -> StructToken:
    torch.manual_seed(0)
    backbone = PlainViT(32, depth=2, num_heads=2, image_size=64, drop_path_rate=0.0)
    return StructToken(
        4, backbone, interaction=interaction, num_layers=2, token_size=(4, 4), expansion=2, head_drop_path_rate=0.0
    ).eval()


def test_masks_are_where_a_class_is_the_likeliest():
    model = tiny("cse")
    frames = torch.rand(1, 2, 3, 60, 90) * 255
    output = model(frames)
    logits, _ = model.head(model.encode(frames).levels[0].flatten(0, 1))
    masks = output.mask_logits.dense()[0].transpose(0, 1)  # (T, K, h, w)
    assert torch.equal(masks > 0, F.one_hot(logits.argmax(1), 4).movedim(-1, 1).bool())
    torch.testing.assert_close(masks.softmax(1), logits.softmax(1))
    assert torch.equal(output.class_probabilities()[0].argmax(1), torch.arange(4))


def test_frames_may_start_from_the_frame_before():
    model = tiny()
    features = model.encode(torch.rand(1, 2, 3, 64, 64) * 255)
    first = model.decode(features.frames(0, 1))
    second = model.decode(features.frames(1, 2), first.queries)
    assert not torch.allclose(second.mask_logits.dense(), model.decode(features.frames(1, 2)).mask_logits.dense())
    learned = model.head.tokens.flatten(2)
    both = model.decode(features, learned)
    torch.testing.assert_close(both.mask_logits.dense()[:, :, 1:], second.mask_logits.dense())


def test_criterion_ignores_pixels_without_a_class():
    model = tiny()
    output = model(torch.rand(1, 1, 3, 64, 64) * 255)
    masks = torch.zeros(2, 1, 64, 64, dtype=torch.bool)
    masks[0, 0, :32], masks[1, 0, 32:48] = True, True
    target = ClipTarget(torch.tensor([2, 0]), masks)
    labels = torch.full((1, 64, 64), -100)
    labels[0, :32], labels[0, 32:48] = 2, 0
    logits = F.interpolate(output.mask_logits.dense()[:, :, 0], size=(64, 64), mode="bilinear", align_corners=False)
    expected = F.cross_entropy(logits, labels, reduction="none").mean()
    losses = SemanticCriterion(4)(output, [target])
    torch.testing.assert_close(losses["loss_semantic"], expected)


def test_unknown_interaction_is_refused():
    with pytest.raises(ValueError, match="interaction must be"):
        StructTokenHead(3, 8, interaction="swe")
