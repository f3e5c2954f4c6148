"""Write a backbone, plug it into a configuration, take one training step by hand, and train it with one call.

    python examples/plug_in_a_backbone.py

A backbone maps frames to features at strides 4, 8, 16 and 32. A configuration names a custom one as module:Class,
and every command takes it as well:

    PYTHONPATH=examples video-mask2former train --config synthetic/tiny --output runs/mine \\
        model.backbone.name=plug_in_a_backbone:ConvNet model.backbone.weights=null
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

import video_mask2former as vm2f
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.losses import HungarianMatcher, SetCriterion
from video_mask2former.models import Backbone, FeatureInfo


class ConvNet(Backbone):
    """Four stages: the first one quarters the resolution, the others halve it."""

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self.feature_info = {}  # what the pixel decoder needs to know
        self.stages = nn.ModuleDict()
        previous, stride = 3, 1
        for name, width, step in zip(("res2", "res3", "res4", "res5"), channels, (4, 2, 2, 2), strict=True):
            self.stages[name] = nn.Sequential(
                nn.Conv2d(previous, width, step, stride=step),
                nn.GroupNorm(8, width),
                nn.GELU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            previous, stride = width, stride * step
            self.feature_info[name] = FeatureInfo(width, stride)

    def forward(self, frames: Tensor) -> dict[str, Tensor]:
        features, x = {}, frames  # (N, 3, H, W), normalised; H and W are multiples of 32
        for name, stage in self.stages.items():
            x = stage(x)
            features[name] = x
        return features


def one_step(model: vm2f.VideoMask2Former) -> None:
    """Forward, loss, backward and step on one clip with one object: what a custom training loop would do."""
    frames = torch.randint(0, 256, (1, 2, 3, 96, 128), dtype=torch.uint8)  # (B, T, 3, H, W), RGB
    masks = torch.zeros(1, 2, 96, 128, dtype=torch.bool)  # (N, T, H, W)
    masks[:, :, 30:60, 40:90] = True
    target = vm2f.ClipTarget(labels=torch.tensor([2]), masks=masks)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    output = model.train()(frames)
    print("class logits", tuple(output.class_logits.shape), "mask logits", tuple(output.mask_logits.shape))
    losses = SetCriterion(model.num_classes, HungarianMatcher())(output, [target])
    sum(losses.values()).backward()
    gradient = sum(parameter.grad.abs().sum().item() for parameter in model.backbone.parameters())
    optimizer.step()
    print(f"loss {sum(losses.values()):.1f}; the gradient reaches the backbone: {gradient > 0}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--output", type=Path, default=Path("output/plug_in_a_backbone"))
    args = parser.parse_args()

    # this very file: Python finds it, since it is the one that runs
    backbone = {"model.backbone.name": "plug_in_a_backbone:ConvNet", "model.backbone.weights": None}
    one_step(vm2f.load("synthetic/tiny", overrides=backbone))

    style = SceneStyle(num_frames=4, size=(96, 128), object_sides=(0.3, 0.7))
    annotations = write_synthetic_dataset(args.output / "data", 10, style, seed=0)
    data = {"data.train": [f"{args.output / 'data' / 'JPEGImages'}::{annotations}"], "data.short_sides": [96]}
    training = {"training.max_steps": args.steps, "training.warmup_steps": 5, "training.log_period": 5}
    run = args.output / "run"
    options = {**backbone, **data, **training, "training.evaluate": False}
    vm2f.train("synthetic/tiny", overrides=options, output=run, resume=True)
    model = vm2f.load(run / "model_final.pth")  # the file names the backbone, too
    print(f"trained a {type(model.backbone).__name__} for {args.steps} steps: {run / 'curves.png'}")


if __name__ == "__main__":
    main()
