"""Configurations in the keys of MaskFormer are what ships under their names."""

from __future__ import annotations

import pytest

from video_mask2former.config import Config, config_from_mapping
from video_mask2former.config.schema import field_docs
from video_mask2former.convert import convert_detectron2_config, read_detectron2_yaml
from video_mask2former.convert.config_rules import Built, Combined, Option, Unused
from video_mask2former.convert.detectron2_keys import DEEPLAB_KEYS, DEFAULTS, KEYS
from video_mask2former.convert.maskformer_config import MASKFORMER_DEFAULTS, MASKFORMER_KEYS
from video_mask2former.models.backbones.resnet import ResNet
from video_mask2former.models.decoders import DetrDecoder
from video_mask2former.models.pixel_decoders import FPNPixelDecoder
from video_mask2former.recipes.model import complete_config
from video_mask2former.recipes.part_options import part_options
from video_mask2former.recipes.source import read_config

# The keys, and the values that matter, of the published configurations; the arrangement is ours.
FILES = {
    "ade20k": """
VERSION: 2
MODEL:
  META_ARCHITECTURE: MaskFormer
  BACKBONE: {FREEZE_AT: 0, NAME: build_resnet_backbone}
  WEIGHTS: "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  RESNETS: {DEPTH: 50, STEM_TYPE: basic, STEM_OUT_CHANNELS: 64, STRIDE_IN_1X1: False, RES5_MULTI_GRID: [1, 1, 1],
    OUT_FEATURES: [res2, res3, res4, res5]}
  SEM_SEG_HEAD: {NAME: MaskFormerHead, IN_FEATURES: [res2, res3, res4, res5], IGNORE_VALUE: 255, NUM_CLASSES: 150,
    COMMON_STRIDE: 4, LOSS_WEIGHT: 1.0, CONVS_DIM: 256, MASK_DIM: 256, NORM: GN}
  MASK_FORMER:
    TRANSFORMER_IN_FEATURE: res5
    DEEP_SUPERVISION: True
    NO_OBJECT_WEIGHT: 0.1
    DICE_WEIGHT: 1.0
    MASK_WEIGHT: 20.0
    HIDDEN_DIM: 256
    NUM_OBJECT_QUERIES: 100
    NHEADS: 8
    DROPOUT: 0.1
    DIM_FEEDFORWARD: 2048
    ENC_LAYERS: 0
    DEC_LAYERS: 6
    PRE_NORM: False
    SIZE_DIVISIBILITY: 32
    TEST: {SEMANTIC_INFERENCE_METHOD: probabilistic}
DATASETS:
  TRAIN: ("ade20k_sem_seg_train",)
  TEST: ("ade20k_sem_seg_val",)
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.0001
  MAX_ITER: 160000
  WARMUP_FACTOR: 1.0
  WARMUP_ITERS: 0
  WEIGHT_DECAY: 0.0001
  OPTIMIZER: ADAMW
  LR_SCHEDULER_NAME: WarmupPolyLR
  BACKBONE_MULTIPLIER: 0.1
  CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: full_model, CLIP_VALUE: 0.01, NORM_TYPE: 2.0}
INPUT:
  MIN_SIZE_TRAIN: !!python/object/apply:eval ["[int(x * 0.1 * 512) for x in range(5, 21)]"]
  MIN_SIZE_TRAIN_SAMPLING: choice
  MIN_SIZE_TEST: 512
  MAX_SIZE_TRAIN: 2048
  MAX_SIZE_TEST: 2048
  CROP: {ENABLED: True, TYPE: absolute, SIZE: '(512, 512)', SINGLE_CATEGORY_MAX_AREA: 1.0}
  COLOR_AUG_SSD: True
  SIZE_DIVISIBILITY: 512
  FORMAT: RGB
  DATASET_MAPPER_NAME: mask_former_semantic
TEST: {EVAL_PERIOD: 5000, AUG: {ENABLED: False, MIN_SIZES: [256, 384, 512], MAX_SIZE: 3584, FLIP: True}}
DATALOADER: {FILTER_EMPTY_ANNOTATIONS: True, NUM_WORKERS: 4}
""",
    "ade20k_r101": """
_BASE_: ade20k.yaml
MODEL: {WEIGHTS: R-101.pkl, RESNETS: {DEPTH: 101}}
""",
    "ade20k_r101c": """
_BASE_: ade20k.yaml
MODEL:
  WEIGHTS: R-103.pkl
  BACKBONE: {NAME: build_resnet_deeplab_backbone}
  RESNETS: {DEPTH: 101, STEM_TYPE: deeplab, STEM_OUT_CHANNELS: 128, RES5_MULTI_GRID: [1, 2, 4]}
""",
    "ade20k_panoptic": """
_BASE_: ade20k.yaml
MODEL:
  SEM_SEG_HEAD: {PIXEL_DECODER_NAME: TransformerEncoderPixelDecoder, TRANSFORMER_ENC_LAYERS: 6}
  MASK_FORMER:
    TRANSFORMER_IN_FEATURE: transformer_encoder
    TEST: {PANOPTIC_ON: True, OVERLAP_THRESHOLD: 0.8, OBJECT_MASK_THRESHOLD: 0.7}
DATASETS:
  TRAIN: ("ade20k_panoptic_train",)
  TEST: ("ade20k_panoptic_val",)
SOLVER: {MAX_ITER: 720000}
INPUT:
  MIN_SIZE_TRAIN: !!python/object/apply:eval ["[int(x * 0.1 * 640) for x in range(5, 21)]"]
  MIN_SIZE_TEST: 640
  MAX_SIZE_TRAIN: 2560
  MAX_SIZE_TEST: 2560
  CROP: {SIZE: '(640, 640)'}
  DATASET_MAPPER_NAME: mask_former_panoptic
TEST: {EVAL_PERIOD: 0}
""",
    "coco_panoptic": """
_BASE_: ade20k_panoptic.yaml
MODEL:
  SEM_SEG_HEAD: {NUM_CLASSES: 133}
  MASK_FORMER: {SIZE_DIVISIBILITY: 1, TEST: {OBJECT_MASK_THRESHOLD: 0.8}}
DATASETS:
  TRAIN: ("coco_2017_train_panoptic",)
  TEST: ("coco_2017_val_panoptic_with_sem_seg",)
SOLVER:
  IMS_PER_BATCH: 64
  STEPS: (369600,)
  MAX_ITER: 554400
  WARMUP_ITERS: 10
  LR_SCHEDULER_NAME: WarmupMultiStepLR
INPUT:
  MIN_SIZE_TRAIN: (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)
  MAX_SIZE_TRAIN: 1333
  MIN_SIZE_TEST: 800
  MAX_SIZE_TEST: 1333
  CROP: {ENABLED: True, TYPE: absolute_range, SIZE: '(384, 600)'}
  COLOR_AUG_SSD: False
  DATASET_MAPPER_NAME: detr_panoptic
""",
    "coco_panoptic_r101": """
_BASE_: coco_panoptic.yaml
MODEL: {WEIGHTS: R-101.pkl, RESNETS: {DEPTH: 101}}
""",
    "ade20k_panoptic_r101": """
_BASE_: ade20k_panoptic.yaml
MODEL: {WEIGHTS: R-101.pkl, RESNETS: {DEPTH: 101}}
""",
}
SHIPPED = {
    "ade20k": "ade20k_semantic/r50",
    "ade20k_r101": "ade20k_semantic/r101",
    "ade20k_r101c": "ade20k_semantic/r101c",
    "ade20k_panoptic": "ade20k_panoptic/r50",
    "ade20k_panoptic_r101": "ade20k_panoptic/r101",
    "coco_panoptic": "coco_panoptic/r50",
    "coco_panoptic_r101": "coco_panoptic/r101",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("maskformer")
    for name, text in FILES.items():
        (path / f"{name}.yaml").write_text(text)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_published_files_are_the_shipped_configurations(folder, name):
    published = complete_config(read_config(folder / f"{name}.yaml"))
    shipped = complete_config(read_config(f"maskformer/{SHIPPED[name]}"))
    ours, theirs = dict(shipped.model.options), dict(published.model.options)
    weights = theirs["backbone"].pop("weights")
    assert weights.startswith("R-") or weights.startswith("detectron2://")
    assert theirs == ours
    assert (published.model.name, published.model.num_classes) == (shipped.model.name, shipped.model.num_classes)
    assert published.task == shipped.task and published.loss == shipped.loss
    assert published.inference == shipped.inference
    for option in ("batch_size", "max_steps", "learning_rate", "backbone_multiplier", "weight_decay", "schedule"):
        assert getattr(published.training, option) == getattr(shipped.training, option), option
    for option in ("decay_steps", "polynomial_power", "warmup_steps", "clip_norm"):
        assert getattr(published.training, option) == getattr(shipped.training, option), option
    for option in ("resize", "short_sides", "max_side", "crop_size", "color_jitter", "num_frames"):
        assert getattr(published.data, option) == getattr(shipped.data, option), option


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SEM_SEG_HEAD: {PIXEL_DECODER_NAME: TransformerEncoderPixelDecoder}", "must be 'transformer_encoder' with"),
        ("SEM_SEG_HEAD: {PIXEL_DECODER_NAME: MSDeformAttnPixelDecoder}", "must be BasePixelDecoder or Transformer"),
        ("SEM_SEG_HEAD: {TRANSFORMER_ENC_LAYERS: 6}", r"TRANSFORMER_ENC_LAYERS are 0, got 'res5' and 6"),
        ("MASK_FORMER: {TEST: {SEMANTIC_INFERENCE_METHOD: iterative}}", "must be 'probabilistic', got 'iterative'"),
        ("MASK_FORMER: {TRANSFORMER_DECODER_NAME: Other}", "the decoder is DETR's"),
        ("RESNETS: {STEM_TYPE: deeplab}", "must be 'basic', got 'deeplab'"),
    ],
)
def test_what_maskformer_does_not_have_is_an_error(folder, tmp_path, text, message):
    path = folder / "wrong.yaml"
    path.write_text(f"_BASE_: ade20k.yaml\nMODEL: {{{text}}}\n")
    with pytest.raises(ValueError, match=message):
        convert_detectron2_config(read_detectron2_yaml(path), str(path))


def test_resizing_before_merging_is_the_other_order_of_the_task(folder):
    path = folder / "resized.yaml"
    path.write_text(
        "_BASE_: ade20k.yaml\nMODEL: {MASK_FORMER: {TEST: {SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE: True}}}\n"
    )
    options = convert_detectron2_config(read_detectron2_yaml(path), str(path))
    task = config_from_mapping(options, str(path)).task
    assert task.options["resize_scores"] is False


def test_the_tables_name_real_options():
    options = {
        *field_docs(Config).keys(),
        *(f"model.{name}" for name in ("hidden_dim", "num_heads", "num_queries")),
        *(f"model.pixel_decoder.{name}" for name in part_options(FPNPixelDecoder)),
        *(f"model.decoder.{name}" for name in part_options(DetrDecoder)),
        *(f"resnet.{name}" for name in part_options(ResNet)),
    }
    for key, rule in (MASKFORMER_KEYS | DEEPLAB_KEYS).items():
        if isinstance(rule, Option):
            assert rule.name in options, key
        elif isinstance(rule, Combined):
            assert set(rule.options) <= options, key
        else:
            assert isinstance(rule, (Built, Unused)) and rule.reason, key
    assert (DEFAULTS | MASKFORMER_DEFAULTS).keys() <= (KEYS | MASKFORMER_KEYS).keys()
