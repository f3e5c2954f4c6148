"""Parts from a file outside of the package, through a configuration alone; their options, errors and defaults."""

from __future__ import annotations

import sys

import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.config import Config, apply_overrides, load_config, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.inference.trackers import make_tracker
from video_mask2former.recipes.inference import build_settings
from video_mask2former.recipes.model import build_model, check_parts, complete_config
from video_mask2former.recipes.part_options import REQUIRED, part_options
from video_mask2former.recipes.parts import KINDS

MODULE = '''
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import nn

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models import Backbone, Decoder, FeatureInfo, PixelDecoder, Segmenter
from video_mask2former.option_values import Range
from video_mask2former.structures import ClipFeatures, ClipOutput
from video_mask2former.tracking import QueryTracker, TrackRules


class Patches(Backbone):
    """One convolution for each level.

    Args:
        channels: Channels of every level.
        kinds: Names that
            nobody reads.
    """

    def __init__(self, channels: Annotated[int, Range(at_least=1)], kinds: Sequence[str] = ("a",)):
        super().__init__()
        self.kinds = kinds
        self.feature_info = {f"res{2 + i}": FeatureInfo(channels, 4 * 2**i) for i in range(4)}
        self.levels = nn.ModuleDict(
            {name: nn.Conv2d(3, channels, info.stride, info.stride) for name, info in self.feature_info.items()}
        )

    def forward(self, frames):
        return {name: level(frames) for name, level in self.levels.items()}


class OneLevel(PixelDecoder):
    """Mask features of the finest level."""

    def __init__(self, feature_info, mask_dim: int = 8, hidden_dim: int = 8):
        super().__init__()
        self.mask_dim, self.hidden_dim = mask_dim, hidden_dim
        self.masks = nn.Conv2d(feature_info["res2"].channels, mask_dim, 1)
        self.level = nn.Conv2d(feature_info["res5"].channels, hidden_dim, 1)

    def forward(self, features):
        return self.masks(features["res2"]), (self.level(features["res5"]),)


class MeanDecoder(Decoder):
    """Queries that see the mean of a level."""

    def __init__(self, num_classes: int, mask_dim: int, hidden_dim: int, *, num_queries: int = 3, scale: float = 1):
        super().__init__()
        self.num_classes, self.num_queries, self.scale = num_classes, num_queries, scale
        self.queries = nn.Parameter(torch.randn(num_queries, hidden_dim))
        self.classes = nn.Linear(hidden_dim, num_classes + 1)
        self.embed = nn.Linear(hidden_dim, mask_dim)

    def forward(self, features, initial_queries=None):
        queries = self.scale * self.queries + features.levels[0].mean(dim=(1, 3, 4))[:, None]
        masks = MaskLogits(self.embed(queries), features.mask_features)
        return ClipOutput(self.classes(queries), masks, queries, queries, features.frame_size, features.padded_size)


class Whole(Segmenter):
    """A segmenter of one convolution.

    Args:
        num_classes: K.
        width: Queries.
        mode: Which.
        backbone: Of any kind, or none.
    """

    def __init__(
        self, num_classes: int, *, width: int = 2, mode: Literal["x", "y"] = "x", backbone: Backbone | None = None,
        size_divisibility: int = 4, class_names: Sequence[str] = ()
    ):
        super().__init__(num_classes, size_divisibility=size_divisibility, class_names=class_names)
        self.width, self.mode, self.backbone = width, mode, backbone
        self.conv = nn.Conv2d(3, width, 4, 4)
        self.logits = nn.Parameter(torch.randn(width, num_classes + 1))

    @property
    def num_queries(self):
        return self.width

    def encode(self, frames):
        frames, size = self.normalise_and_pad(frames)
        maps = self.conv(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        return ClipFeatures(mask_features=maps, levels=(), frame_size=size, padded_size=tuple(frames.shape[3:]))

    def decode(self, features, initial_queries=None):
        batch = len(features.mask_features)
        embeddings = torch.eye(self.width).expand(batch, -1, -1)
        logits = self.logits.expand(batch, -1, -1)
        masks = MaskLogits(embeddings, features.mask_features)
        return ClipOutput(logits, masks, logits, logits, features.frame_size, features.padded_size)


class Picky(QueryTracker):
    """Query matching with a threshold of its own.

    Args:
        least: Score from which tracks are started.
    """

    def __init__(self, least: float):
        super().__init__(TrackRules(birth_score=least))
        self.least = least
'''
OWN = "vm2f_test_parts"


@pytest.fixture(autouse=True)
def own_module(tmp_path, monkeypatch):
    (tmp_path / f"{OWN}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop(OWN, None)


def from_yaml(tmp_path, text: str) -> Config:
    (tmp_path / "own.yaml").write_text(text)
    return load_config(tmp_path / "own.yaml")


def saved_and_loaded(tmp_path, config: Config):
    """The model, and the same from a checkpoint that carries the configuration."""
    model = build_model(config).eval()
    write_checkpoint(tmp_path / "own.pth", model.state_dict(), to_yaml(complete_config(config)))
    loaded = vm2f.load(tmp_path / "own.pth", device="cpu")
    frames = torch.randint(0, 256, (1, 2, 3, 40, 64), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(frames).class_logits, model(frames).class_logits, rtol=0, atol=0)
    return loaded


def test_a_backbone_with_options(tmp_path):
    model = saved_and_loaded(
        tmp_path,
        from_yaml(
            tmp_path,
            f"""
            model:
              num_classes: 2
              hidden_dim: 32
              backbone: {{name: '{OWN}:Patches', channels: 4, kinds: [b, c]}}
              pixel_decoder: {{num_layers: 1, feedforward_dim: 8, mask_dim: 8}}
              decoder: {{num_layers: 1, feedforward_dim: 8}}
            """,
        ),
    )
    assert model.backbone.kinds == ("b", "c") and model.backbone.feature_info["res2"].channels == 4


def test_a_pixel_decoder_and_a_decoder(tmp_path):
    model = saved_and_loaded(
        tmp_path,
        from_yaml(
            tmp_path,
            f"""
            model:
              num_classes: 2
              num_queries: 5
              backbone: {{name: '{OWN}:Patches', channels: 4}}
              pixel_decoder: {{name: '{OWN}:OneLevel', mask_dim: 6}}
              decoder: {{name: '{OWN}:MeanDecoder', scale: 2}}
            """,
        ),
    )
    assert (model.num_queries, model.decoder.scale, model.decoder.embed.out_features) == (5, 2.0, 6)
    assert vm2f.load(tmp_path / "own.yaml", overrides=["model.num_queries=7"], device="cpu").num_queries == 7


def test_another_kind_of_segmenter(tmp_path):
    text = f"model: {{name: '{OWN}:Whole', num_classes: 2, class_names: [a, b], width: 3, mode: y}}"
    model = saved_and_loaded(tmp_path, from_yaml(tmp_path, text))
    assert (model.num_queries, model.mode, model.class_names, model.backbone) == (3, "y", ("a", "b"), None)
    result = vm2f.segment_video(model, torch.zeros(3, 3, 20, 30, dtype=torch.uint8), score_threshold=0.0)
    assert result.num_frames == 3
    with_part = from_yaml(tmp_path, text.replace("mode: y", f"backbone: {{name: '{OWN}:Patches', channels: 2}}"))
    assert type(build_model(with_part).backbone).__name__ == "Patches"


def test_a_tracker_that_needs_an_argument(tmp_path):
    config = from_yaml(tmp_path, f"tracker: {{name: '{OWN}:Picky', least: 0.25}}")
    settings = build_settings(config)
    assert make_tracker(settings).least == 0.25 and make_tracker(settings) is not make_tracker(settings)
    assert settings.tracker_name == f"{OWN}:Picky(least=0.25)"


def test_options_of_rules_are_a_mapping(tmp_path):
    config = from_yaml(tmp_path, "tracker: {name: query, rules: {birth_score: 0.375}}")
    assert make_tracker(build_settings(config))._memory.rules.birth_score == 0.375
    with pytest.raises(ValueError, match=r"'tracker.rules.birth_scor' .*did you mean 'tracker.rules.birth_score'"):
        check_parts(from_yaml(tmp_path, "tracker: {name: query, rules: {birth_scor: 0.125}}"), "own.yaml")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_querys=3", r"unknown config key 'model.num_querys' of mask2former in here; .*'model.num_queries'"),
        ("model.num_queries=many", "model.decoder.num_queries must be an integer, got 'many' in here"),
        ("model.num_queries=0", "model.decoder.num_queries must be at least 1, got 0"),
        ("model.backbone.depht=50", "unknown config key 'model.backbone.depht' of resnet .*'model.backbone.depth'"),
        ("model.backbone.depth=18", "model.backbone.depth must be one of 50, 101, got 18"),
        ("model.backbone={name: swin, depths: [1, x]}", r"model.backbone.depths\[1\] must be an integer, got 'x'"),
        ("model.backbone=7", "model.backbone must be a mapping or a name, got 7"),
        ("model.backbone.name=3", "model.backbone needs the name of a backbone"),
        ("model.decoder.num_classes=3", "unknown config key 'model.decoder.num_classes'"),
        ("model.name=mask3former", "model.name must be one of mask2former, .*or a custom segmenter as module:Class"),
        ("loss.num_points=0", "loss.num_points must be at least 1, got 0"),
        ("loss.importance_sample_ratio=2", "loss.importance_sample_ratio must be at most 1, got 2"),
        ("loss={name: refiner, dice_weight: -1}", "loss.dice_weight must be at least 0, got -1"),
        ("loss={name: whole_mask, dice_weight: -1}", "loss.dice_weight must be at least 0, got -1"),
        ("tracker={name: dvis, num_layers: 0}", "tracker.num_layers must be at least 1, got 0"),
        ("tracker={name: ctvis, nms_iou: 2}", "tracker.nms_iou must be at most 1, got 2"),
        ("tracker={name: genvis, hidden_dim: 0}", "tracker.hidden_dim must be at least 1, got 0"),
        ("refiner={name: vita, window: -1}", "refiner.window must be at least 0, got -1"),
        ("refiner={name: temporal, num_heads: 0}", "refiner.num_heads must be at least 1, got 0"),
        ("tracker=nearest", "tracker.name must be one of query, overlap"),
        ("model.backbone.name=video_mask2former.models:Backbone", "is abstract: name a subclass"),
        ("tracker=video_mask2former.tracking:Tracker", "is abstract: name a subclass"),
    ],
)
def test_wrong_options_of_parts_are_named_with_their_place(override, message):
    with pytest.raises(ValueError, match=message):
        check_parts(apply_overrides(Config(), [override]), "here")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.hidden_dim=100", "hidden_dim must be a multiple of num_heads"),
        ("model.hidden_dim=48", "multiple of 32, for group norm, got 48. Found in model.pixel_decoder"),
        ("model.size_divisibility=48", "multiple of 32, got 48. Found in model"),
        ("model.pixel_std=[1, 2]", "pixel_mean and pixel_std must have three values"),
        (f"model.backbone.name={OWN}:Patches", "model.backbone.channels must be given: .* Channels of every level"),
    ],
)
def test_what_a_part_rejects_is_named_with_its_place(override, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        build_model(apply_overrides(Config(), [override]))


def test_defaults_are_written_out_where_overrides_reach_them(small_config):
    complete = complete_config(small_config)
    assert complete.model.options["decoder"]["temporal_position_encoding"] is True
    assert complete_config(complete) == complete
    changed = apply_overrides(complete, ["model.num_queries=9"])
    assert build_model(changed).num_queries == 9
    kept = apply_overrides(small_config, ["model.backbone.weights=x.pth"])
    assert complete_config(kept).model.options["backbone"]["weights"] == "x.pth"


def test_every_option_of_a_known_part_is_documented():
    for kind in KINDS:
        for name, part in kind.known.items():
            for option in part_options(part).values():
                assert option.doc, f"{kind.title} {name}: the docstring of {part.__name__} lacks {option.name}"
                assert (
                    option.default is not REQUIRED
                    or option.name in ("num_classes", "feature_info", "matcher", *getattr(part, "default_parts", {}))
                    or (kind.title == "segmenter")
                ), f"{kind.title} {name} needs {option.name}"
