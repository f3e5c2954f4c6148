"""Options under detectron2's names, on command lines and in Python."""

from __future__ import annotations

import argparse

import pytest

import video_mask2former as vm2f
from video_mask2former.cli.detectron2_overrides import move_into_flags, normalise_overrides
from video_mask2former.config import Config
from video_mask2former.convert.config_rules import Built, Unused
from video_mask2former.convert.detectron2_defaults import DETECTRON2
from video_mask2former.convert.detectron2_keys import KEYS
from video_mask2former.recipes.overrides import device_of, override
from video_mask2former.recipes.source import read_config

# What people add to published commands, at the values of the published configurations of videos
COMMON = {
    "MODEL.DEVICE": "cpu",
    "MODEL.MASK_ON": True,
    "MODEL.META_ARCHITECTURE": "VideoMaskFormer",
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.BACKBONE.FREEZE_AT": 0,
    "MODEL.RESNETS.STEM_TYPE": "basic",
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.NUM_GROUPS": 1,
    "MODEL.SWIN.EMBED_DIM": 96,
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": "MSDeformAttnPixelDecoder",
    "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": "multi_scale_pixel_decoder",
    "MODEL.MASK_FORMER.DROPOUT": 0.0,
    "INPUT.FORMAT": "RGB",
    "INPUT.MASK_FORMAT": "bitmask",
    "INPUT.CROP.ENABLED": False,
    "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice_by_clip",
    "DATALOADER.ASPECT_RATIO_GROUPING": True,
    "DATALOADER.FILTER_EMPTY_ANNOTATIONS": False,
    "SOLVER.OPTIMIZER": "ADAMW",
    "SOLVER.LR_SCHEDULER_NAME": "WarmupMultiStepLR",
    "SOLVER.CLIP_GRADIENTS.ENABLED": True,
    "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": "full_model",
    "SOLVER.REFERENCE_WORLD_SIZE": 0,
    "TEST.PRECISE_BN.ENABLED": False,
    "TEST.AUG.ENABLED": False,
    "VIS_PERIOD": 0,
    "CUDNN_BENCHMARK": True,
}


def test_overrides_are_translated() -> None:
    words = ["SOLVER.IMS_PER_BATCH", "8", "SOLVER.STEPS", "(100, 200)", "MODEL.WEIGHTS", "a b.pkl", "OUTPUT_DIR", "out"]
    words += ["SOLVER.BASE_LR", "1e-5", "DATASETS.TRAIN", "('x', 'y')", "SOLVER.AMP.ENABLED", "False"]
    words += [
        "training.max_steps",
        "7",
        "data.num_frames=3",
        "INPUT.MIN_SIZE_TRAIN",
        "360",
        "MODEL.RESNETS.DEPTH",
        "101",
    ]
    config = override(read_config("ytvis_2019/r50"), normalise_overrides(words))

    training, data = config.training, config.data
    assert (training.batch_size, training.decay_steps, training.learning_rate) == (8, (100, 200), 1e-5)
    assert (training.init_weights, training.output, training.amp_dtype) == ("a b.pkl", "out", "float32")
    assert (training.max_steps, data.num_frames) == (7, 3)
    assert (data.train, data.short_sides) == (("x", "y"), (360,))
    assert config.model.options["backbone"]["depth"] == 101


def test_common_overrides_at_their_published_values_change_nothing() -> None:
    config = read_config("ytvis_2019/r50")
    assert override(config, COMMON) == config
    assert override(config, [f"{key}={value}" for key, value in COMMON.items()]) == config


def test_every_key_that_says_nothing_is_taken() -> None:
    config = Config()
    silent = {key: rule.values[0] if isinstance(rule, Built) else None for key, rule in KEYS.items()}
    silent = {key: value for key, value in silent.items() if isinstance(KEYS[key], (Built, Unused))}
    silent.pop("OUTPUT_DIR")  # of a training
    assert override(config, silent) == config
    assert len(silent) > 200
    assert DETECTRON2.keys() <= KEYS.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SOLVER.MAX_ITR", "3"], "unknown detectron2 key 'SOLVER.MAX_ITR'.*SOLVER.MAX_ITER"),
        (["MODEL.META_ARCHITECTURE", "VideoMaskFormer_frame"], "configuration of detectron2 only.*change inference"),
        (["INPUT.FORMAT", "BGR"], "INPUT.FORMAT must be 'RGB', got 'BGR': frames are RGB"),
        (["SOLVER.BASE_LR", "fast"], "could not convert"),
        (["MODEL.RESNETS.NUM_GROUPS=32"], "must be 1, got 32: convolutions are not grouped"),
        (["SOLVER.MAX_ITER"], "has no value"),
    ],
)
def test_wrong_overrides_are_named(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(Config(), normalise_overrides(words))


def test_in_a_file_of_detectron2_every_key_can_change(tmp_path) -> None:
    path = tmp_path / "video.yaml"
    path.write_text(
        """
MODEL:
  META_ARCHITECTURE: VideoMaskFormer
  WEIGHTS: detectron2://ImageNetPretrained/torchvision/R-50.pkl
  MASK_FORMER: {TRANSFORMER_DECODER_NAME: VideoMultiScaleMaskedTransformerDecoder}
"""
    )
    words = ["MODEL.META_ARCHITECTURE", "VideoMaskFormer_frame", "MODEL.WEIGHTS", "mine.pkl", "data.num_frames", "3"]
    config = read_config(path, normalise_overrides(words))
    assert config.tracker is not None and config.tracker.name == "minvis"
    assert (config.training.init_weights, config.data.num_frames) == ("mine.pkl", 3)
    assert config.model.options["backbone"]["weights"].endswith("R-50.pkl")
    crop = {"INPUT.CROP.ENABLED": True, "INPUT.CROP.TYPE": "absolute", "INPUT.CROP.SIZE": [64, 96]}
    assert read_config(path, crop).data.crop_size == (64, 96)


def test_the_device_is_that_of_the_flag() -> None:
    args = argparse.Namespace(device=None, weights="given.pth")
    rest = move_into_flags(args, ["MODEL.DEVICE=cpu", "MODEL.WEIGHTS=other.pth", "SOLVER.MAX_ITER=3"])
    assert (args.device, args.weights, rest) == ("cpu", "given.pth", ["SOLVER.MAX_ITER=3"])
    assert device_of(["MODEL.DEVICE=cuda:1", "a.b=c"]) == "cuda:1"
    assert device_of({}) is None


def test_a_model_goes_to_the_device_that_is_named(small_config) -> None:
    with pytest.raises(ValueError, match="cuda:77"):
        vm2f.load(small_config, overrides=["MODEL.DEVICE=cuda:77"])
    assert vm2f.load(small_config, overrides=["MODEL.DEVICE=cpu"]).pixel_mean.device.type == "cpu"
