"""MaX-DeepLab-S and a narrow L in float64 against figures of the published TensorFlow code."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from video_mask2former.convert.max_deeplab import MAX_DEEPLAB, from_tensorflow, to_tensorflow
from video_mask2former.engine.optimizer import parameter_groups
from video_mask2former.losses.max_deeplab import MaXDeepLabCriterion, mean_of_nonzero
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.max_deeplab.attention import AxialAttention
from video_mask2former.models.max_deeplab.segmenter import MaXDeepLab
from video_mask2former.structures import ClipTarget

CASES = {"maxdeeplab_s": ("small", 1.0, 1.0), "maxdeeplab_l_narrow": ("large", 0.25, 0.5)}
LOSSES = {
    "loss_pq_mask": "pq_style_loss_mask_dice_term",
    "loss_pq_class": "pq_style_loss_class_term",
    "loss_mask_id": "mask_id_cross_entropy_loss",
    "loss_instance_discrimination": "instance_discrimination_loss",
}
SCALED_NORMS = ("_conv3_bn/_batch_norm/gamma", "_conv2_bn/_batch_norm/gamma", "_memory_ffn_conv2_bn/_batch_norm/gamma")


@functools.cache
def base_weight(name: str, shape: tuple[int, ...], recorded) -> torch.Tensor:
    return recorded.tensorflow_weight(name, list(shape))


def weight(name: str, shape: list[int], mode: str, recorded) -> torch.Tensor:
    """The recorded weight with its exceptions."""
    x = base_weight(name, tuple(shape), recorded).clone()
    if mode == "train":
        if name == "transformer_class_head/_conv/kernel":
            x *= 4
        elif name == "pixel_space_mask_batch_norm/gamma":
            x *= 6
        return x
    if name.endswith("kernel"):
        x *= np.sqrt(2)
    if name.endswith("_batch_norm_similarity/gamma"):
        x *= 0.15
    if name == "transformer_class_head/_conv/kernel":
        x *= 40
    elif name == "pixel_space_mask_batch_norm/gamma":
        x *= 100
    elif name.endswith(SCALED_NORMS):
        x *= 0.3
    return x


def build(case: str, mode: str, meta: list[int], recorded) -> MaXDeepLab:
    size, width, stem_width = CASES[case]
    with torch.device("meta"):  # nothing is initialised
        model = MaXDeepLab(
            meta[2] - 1,
            size=size,
            width=width,
            stem_width=stem_width,
            drop_path_rate=0.0,
            training_side=max(meta[:2]),
            pixel_mean=(127.5,) * 3,
            pixel_std=(127.5,) * 3,
            size_divisibility=1,
        )
    names = {name: list(value.shape) for name, value in to_tensorflow(model.state_dict()).items()}
    weights = {name: weight(name, shape, mode, recorded) for name, shape in names.items()}
    model = model.to_empty(device="cpu").double()
    model.load_state_dict(from_tensorflow(MAX_DEEPLAB.to_ours(weights).weights))
    prior = torch.zeros(meta[2])
    prior[-1] = np.log((meta[2] - 1) * 0.9 / 0.1)
    model.head.void_prior = prior.double()
    model.pixel_mean = model.pixel_std = torch.full((3, 1, 1), 127.5).double()
    if model.semantic_decoder is not None:
        model.semantic_decoder.dropout.p = 0.0
    return model.train(mode == "train")


def last(x: torch.Tensor) -> torch.Tensor:
    return x.detach().movedim(1, -1)


def every(channels: int, count: int = 4) -> int:
    return max(channels // count, 1)


@pytest.mark.parametrize(("case", "mode"), [(case, mode) for case in CASES for mode in ("eval", "train")])
def test_whole_model_equals_the_published_one(case, mode, golden_file, recorded):
    figures = golden_file(case)
    meta = figures["meta"].tolist()
    images = recorded.image(meta[3], 2, *meta[:2], channels_last=True)
    assert images.sum(axis=(1, 2, 3)).tolist() == figures["image_sums"].tolist()
    model = build(case, mode, meta, recorded)
    stages: dict[str, torch.Tensor] = {}
    for name, module in model.encoder.named_children():
        if name.startswith("stage") and name[5:].isdigit():
            module.register_forward_hook(lambda _, __, output, name=name: stages.update({name: output[0].detach()}))
    frames = torch.from_numpy(images).movedim(-1, 1)[:, None]
    with torch.no_grad():
        output = model(frames)
    recorded.close(output.class_logits, figures[f"{mode}/class_logits"], 5e-6)
    published = MaskLogits(output.mask_logits.embeddings[..., :-1], output.mask_logits.features[:, :, :-1])
    masks = last(published.dense()[:, :, 0])
    winners = (output.mask_logits.dense()[:, :, 0] > 0).sum(dim=1)
    assert bool((winners == 1).all())
    assert (masks.argmax(-1).numpy() == figures[f"{mode}/mask_argmax"]).mean() > 0.999
    recorded.close(
        masks[: len(figures[f"{mode}/mask_logits_slots8"]), ..., ::8], figures[f"{mode}/mask_logits_slots8"], 5e-6
    )
    recorded.close(last(output.mask_logits.features[:1, 0, :-2:16]), figures[f"{mode}/feature_ch16"], 5e-6)
    for name, maps in stages.items():
        expected = figures.get(f"{mode}/inter/{name}")
        if expected is not None:
            recorded.close(last(maps[:1, :: every(maps.shape[1]), ::2, ::2]), expected, 5e-6)
    mask_slots = output.query_embeddings[:1, ::16, ::8]
    recorded.close(mask_slots, figures[f"{mode}/inter/transformer_mask_feature"], 5e-6)
    if mode == "train":
        semantic = output.semantic_logits[:, 0].roll(1, dims=1)
        recorded.close(last(semantic[:, :, ::2, ::2]), figures["train/semantic_logits"], 5e-6)


@pytest.mark.slow
def test_gradients_equal_the_published_ones(golden_file, recorded):
    """Of the mean over both images of all losses, through the whole small model."""
    figures = golden_file("maxdeeplab_s")
    meta = figures["meta"].tolist()
    model = build("maxdeeplab_s", "train", meta, recorded)
    images = recorded.image(meta[3], 2, *meta[:2], channels_last=True)
    output = model(torch.from_numpy(images).movedim(-1, 1)[:, None])
    semantic, thing_id = (torch.from_numpy(figures[f"gt/{name}"].astype(np.int64)) for name in ("semantic", "thing_id"))
    weights = torch.from_numpy(figures["gt/semantic_weight"].astype(float))
    things = figures["things"].tolist()
    criterion = MaXDeepLabCriterion(meta[2] - 1, num_thing_classes=len(things), semantic_weight=0.0)
    total = torch.zeros(()).double()
    for index in range(2):
        classes = figures["gt/thing_class"][index].tolist()
        objects = [(label - 1, thing_id[index] == number) for number, label in enumerate(classes) if label >= 0]
        objects += [(label - 1, semantic[index] == label) for label in range(1, meta[2]) if label not in things]
        labels, masks = torch.tensor([label for label, _ in objects]), torch.stack([mask for _, mask in objects])
        ignored = ~masks.any(0) & (semantic[index] != 0)
        target = ClipTarget(labels, masks[:, None], ignored=ignored[None])
        losses = criterion(output.clip(index), [target])
        for ours, theirs in LOSSES.items():
            recorded.close(losses[ours].detach(), figures[f"train/loss/{theirs}"][index], 3e-4)
        step = slice(None, None, 4)
        logits = output.semantic_logits[index, 0].roll(1, dims=0)
        loss = F.cross_entropy(logits[None], semantic[index, step, step][None], ignore_index=0, reduction="none")
        losses["loss_semantic"] = mean_of_nonzero(loss * weights[index, step, step])
        recorded.close(losses["loss_semantic"].detach(), figures["train/loss/semantic_loss"][index], 3e-4)
        # TensorFlow's cross-entropy has a gradient at pixels of crowds, which have no query: that of this
        crowd = ignored[step, step].flatten()
        mask_logits = output.mask_logits.clip(index)
        mask_logits = MaskLogits(mask_logits.embeddings[..., :-1], mask_logits.features[:, :, :-1])
        mask_logits = mask_logits.dense()[0].flatten(1)
        leak = 0.3 / masks[:, step, step].sum() * mask_logits[:, crowd].logsumexp(0).sum()
        total = total + sum(losses.values()) + leak
    # The bias before a batch normalisation has no gradient but noise.
    norms = dict(zip(figures["train/gradnorm_names"].tolist(), figures["train/gradnorm"], strict=True))
    del norms["pixel_space_head/final_conv/bias"]
    ours = [next(iter(MAX_DEEPLAB.to_ours({name: torch.empty(0)}).weights)) for name in norms]
    gradients = torch.autograd.grad(total / 2, [model.get_parameter(name) for name in ours])
    for gradient, expected in zip(gradients, norms.values(), strict=True):
        recorded.close(gradient.norm(), expected, 2e-4)


@pytest.mark.parametrize(("size", "name"), [("small", "max_deeplab_s"), ("large", "max_deeplab_l")])
def test_parameters_are_those_of_the_published_models(size, name, published_shapes):
    with torch.device("meta"):
        model = MaXDeepLab(133, size=size)
    theirs = {key: list(value.shape) for key, value in to_tensorflow(model.state_dict()).items()}
    expected = {}
    for key, shape in published_shapes[name].items():  # norms are listed once: norm/{gamma,beta,...}
        first, _, rest = key.partition("{")
        expected |= {first + part: shape for part in rest.rstrip("}").split(",")}
    assert theirs == expected


@pytest.mark.parametrize("size", ["small", "large"])
def test_the_backbone_is_what_the_published_recipe_trains_slowly(size):
    """In published names: variables of the encoder without the words transformer, extra and memory_feature."""
    with torch.device("meta"):
        model = MaXDeepLab(133, size=size)
    slow = {id(parameter) for parameter in model.backbone_parameters()}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for key, name in names.items():
        (published,) = to_tensorflow({name: model.get_parameter(name)})
        words = ("transformer", "extra", "memory_feature")
        expected = published.startswith("encoder/") and not any(word in published for word in words)
        assert (key in slow) == expected, published
    groups = parameter_groups(model, learning_rate=1e-3, weight_decay=0.0, backbone_multiplier=0.1)
    rates = {group["name"].split(",")[0]: group["lr"] for group in groups}
    assert rates == {"head": pytest.approx(1e-3), "backbone": pytest.approx(1e-4)}
    assert slow == {id(p) for group in groups if group["name"].startswith("backbone") for p in group["params"]}


def test_names_and_layouts_are_undone():
    model = MaXDeepLab(3, width=1 / 16, stem_width=0.25, num_queries=4, memory_mlp_dim=16)
    state = model.state_dict()
    arrays = {f"{name}/.ATTRIBUTES/VARIABLE_VALUE": value for name, value in to_tensorflow(state).items()}
    converted = MAX_DEEPLAB.to_ours(arrays)
    assert not converted.unknown
    back = from_tensorflow(converted.weights)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], value) for name, value in state.items())


def test_frames_of_any_size_and_several_at_once():
    model = MaXDeepLab(3, width=1 / 16, stem_width=0.25, num_queries=4, memory_mlp_dim=16).eval()
    frames = torch.rand(1, 2, 3, 50, 75) * 255
    output = model(frames)
    assert output.mask_logits.shape == (1, 4, 2, 16, 24) and output.class_logits.shape == (1, 4, 4)
    alone = model(frames[:, 1:])
    torch.testing.assert_close(output.frame_class_logits[:, 1], alone.class_logits)
    torch.testing.assert_close(output.mask_logits.dense()[:, :, 1:], alone.mask_logits.dense())
    with pytest.raises(ValueError, match="no queries to propagate"):
        model.decode(model.encode(frames), output.queries)


def test_a_line_longer_than_the_table_is_refused():
    with pytest.raises(ValueError, match="at most 255 positions"):
        AxialAttention(8, 8, 8)(torch.zeros(1, 8, 300))
