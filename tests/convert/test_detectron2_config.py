"""Configurations in the keys of Mask2Former, M2F-VIS and MinVIS."""

from __future__ import annotations

import pytest

from video_mask2former.config import Config, config_from_mapping
from video_mask2former.config.schema import field_docs
from video_mask2former.convert import convert_detectron2_config, read_detectron2_yaml
from video_mask2former.convert.config_rules import Built, Combined, Option, Unused
from video_mask2former.convert.detectron2_keys import DEFAULTS, KEYS
from video_mask2former.losses.object_criterion import ObjectCriterion
from video_mask2former.losses.tracking_criteria import TrackerCriterion
from video_mask2former.models import MaskedAttentionDecoder, MSDeformAttnPixelDecoder, SwinTransformer
from video_mask2former.models.decoders import ReidDecoder
from video_mask2former.recipes.model import complete_config
from video_mask2former.recipes.part_options import part_options
from video_mask2former.recipes.source import read_config
from video_mask2former.refinement import TemporalRefiner
from video_mask2former.refinement.vita import VitaRefiner
from video_mask2former.tracking import CTVISTracker, DVISPlusTracker
from video_mask2former.tracking.genvis import GenvisTracker

# The keys, and the values that matter, of a published video configuration; the arrangement is ours.
VIDEO_BASE = """
VERSION: 2
MODEL:
  WEIGHTS: "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
  MASK_ON: True
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  BACKBONE: {FREEZE_AT: 0, NAME: build_resnet_backbone}
  RESNETS: {DEPTH: 50, STEM_TYPE: basic, STEM_OUT_CHANNELS: 64, STRIDE_IN_1X1: False, RES5_MULTI_GRID: [1, 1, 1],
    OUT_FEATURES: [res2, res3, res4, res5]}
DATASETS:
  TRAIN: ("ytvis_2019_train",)
  TEST: ("ytvis_2019_val",)
SOLVER:
  IMS_PER_BATCH: 16
  BASE_LR: 0.0001
  STEPS: (4000,)
  MAX_ITER: 6000
  WARMUP_FACTOR: 1.0
  WARMUP_ITERS: 10
  WEIGHT_DECAY: 0.05
  OPTIMIZER: ADAMW
  BACKBONE_MULTIPLIER: 0.1
  CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: full_model, CLIP_VALUE: 0.01, NORM_TYPE: 2.0}
  AMP: {ENABLED: True}
INPUT:
  FORMAT: RGB
  MIN_SIZE_TRAIN: (360, 480)
  MIN_SIZE_TRAIN_SAMPLING: choice_by_clip
  RANDOM_FLIP: flip_by_clip
  AUGMENTATIONS: []
  MIN_SIZE_TEST: 360
  CROP: {ENABLED: False, TYPE: absolute_range, SIZE: '(600, 720)'}
DATALOADER: {FILTER_EMPTY_ANNOTATIONS: False, NUM_WORKERS: 4}
TEST: {EVAL_PERIOD: 0}
"""
VIDEO_R50 = """
_BASE_: base.yaml
MODEL:
  WEIGHTS: model_final_3c8ec9.pkl
  META_ARCHITECTURE: VideoMaskFormer
  SEM_SEG_HEAD:
    NAME: MaskFormerHead
    NUM_CLASSES: 40
    IGNORE_VALUE: 255
    LOSS_WEIGHT: 1.0
    CONVS_DIM: 256
    MASK_DIM: 256
    NORM: GN
    PIXEL_DECODER_NAME: MSDeformAttnPixelDecoder
    IN_FEATURES: [res2, res3, res4, res5]
    DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES: [res3, res4, res5]
    COMMON_STRIDE: 4
    TRANSFORMER_ENC_LAYERS: 6
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: VideoMultiScaleMaskedTransformerDecoder
    TRANSFORMER_IN_FEATURE: multi_scale_pixel_decoder
    DEEP_SUPERVISION: True
    NO_OBJECT_WEIGHT: 0.1
    CLASS_WEIGHT: 2.0
    MASK_WEIGHT: 5.0
    DICE_WEIGHT: 5.0
    HIDDEN_DIM: 256
    NUM_OBJECT_QUERIES: 100
    NHEADS: 8
    DROPOUT: 0.0
    DIM_FEEDFORWARD: 2048
    ENC_LAYERS: 0
    PRE_NORM: False
    ENFORCE_INPUT_PROJ: False
    SIZE_DIVISIBILITY: 32
    DEC_LAYERS: 10
    TRAIN_NUM_POINTS: 12544
    OVERSAMPLE_RATIO: 3.0
    IMPORTANCE_SAMPLE_RATIO: 0.75
    TEST: {SEMANTIC_ON: False, INSTANCE_ON: True, PANOPTIC_ON: False, OVERLAP_THRESHOLD: 0.8,
      OBJECT_MASK_THRESHOLD: 0.8}
"""
VIDEO_SWIN_LARGE = """
_BASE_: r50.yaml
MODEL:
  WEIGHTS: model_final_e5f453.pkl
  BACKBONE: {NAME: D2SwinTransformer}
  SWIN: {EMBED_DIM: 192, DEPTHS: [2, 2, 18, 2], NUM_HEADS: [6, 12, 24, 48], WINDOW_SIZE: 12, APE: False,
    DROP_PATH_RATE: 0.3, PATCH_NORM: True, PRETRAIN_IMG_SIZE: 384}
  MASK_FORMER: {NUM_OBJECT_QUERIES: 200}
INPUT: {MIN_SIZE_TEST: 480}
"""
MINVIS_OVIS = """
_BASE_: r50.yaml
MODEL:
  META_ARCHITECTURE: VideoMaskFormer_frame
  SEM_SEG_HEAD: {NUM_CLASSES: 25}
  MASK_FORMER: {TRANSFORMER_DECODER_NAME: VideoMultiScaleMaskedTransformerDecoder_frame, TEST: {WINDOW_INFERENCE: True}}
DATASETS: {TRAIN: '("ovis_train",)', TEST: '("ovis_val",)'}
SOLVER: {STEPS: '(5500,)', MAX_ITER: 8000, IMS_PER_BATCH: 32}
INPUT: {SAMPLING_FRAME_NUM: 1, SAMPLING_FRAME_RANGE: 0}
"""
IMAGE = """
_BASE_: r50.yaml
MODEL:
  META_ARCHITECTURE: MaskFormer
  MASK_FORMER: {TRANSFORMER_DECODER_NAME: MultiScaleMaskedTransformerDecoder}
"""
COCO_PANOPTIC = (
    IMAGE
    + """
  WEIGHTS: "detectron2://ImageNetPretrained/torchvision/R-50.pkl"
  SEM_SEG_HEAD: {NUM_CLASSES: 133}
DATASETS: {TRAIN: '("coco_2017_train_panoptic",)', TEST: '("coco_2017_val_panoptic",)'}
SOLVER: {STEPS: '(327778, 355092)', MAX_ITER: 368750}
INPUT: {IMAGE_SIZE: 1024, MIN_SCALE: 0.1, MAX_SCALE: 2.0, DATASET_MAPPER_NAME: coco_panoptic_lsj, MIN_SIZE_TEST: 800}
TEST: {EVAL_PERIOD: 5000}
"""
).replace(
    "MASK_FORMER: {TRANSFORMER",
    "MASK_FORMER: {TEST: {SEMANTIC_ON: True, PANOPTIC_ON: True}, TRANSFORMER",
)
ADE20K = (
    IMAGE
    + """
  SEM_SEG_HEAD: {NUM_CLASSES: 150}
DATASETS: {TRAIN: '("ade20k_sem_seg_train",)', TEST: '("ade20k_sem_seg_val",)'}
SOLVER: {MAX_ITER: 160000, WARMUP_ITERS: 0, LR_SCHEDULER_NAME: WarmupPolyLR}
INPUT:
  MIN_SIZE_TRAIN: !!python/object/apply:eval ["[int(x * 0.1 * 512) for x in range(5, 21)]"]
  MIN_SIZE_TRAIN_SAMPLING: choice
  MIN_SIZE_TEST: 512
  MAX_SIZE_TRAIN: 2048
  MAX_SIZE_TEST: 2048
  CROP: {ENABLED: True, TYPE: absolute, SIZE: '(512, 512)', SINGLE_CATEGORY_MAX_AREA: 1.0}
  COLOR_AUG_SSD: True
  SIZE_DIVISIBILITY: 512
  DATASET_MAPPER_NAME: mask_former_semantic
TEST: {EVAL_PERIOD: 5000, AUG: {ENABLED: False, MIN_SIZES: [256, 384], MAX_SIZE: 3584, FLIP: True}}
"""
).replace(
    "MASK_FORMER: {TRANSFORMER",
    "MASK_FORMER: {TEST: {SEMANTIC_ON: True, INSTANCE_ON: False}, TRANSFORMER",
)
STREETS = (
    IMAGE
    + """
  RESNETS: {NORM: SyncBN}
  SEM_SEG_HEAD: {NUM_CLASSES: %d, IGNORE_VALUE: %d}
DATASETS: {TRAIN: '("%s_train",)', TEST: '("%s_val",)'}
SOLVER: {MAX_ITER: %d, WARMUP_ITERS: 0, LR_SCHEDULER_NAME: WarmupPolyLR}
INPUT:
  MIN_SIZE_TRAIN: !!python/object/apply:eval ["[int(x * 0.1 * %d) for x in range(5, 21)]"]
  MIN_SIZE_TRAIN_SAMPLING: choice
  MIN_SIZE_TEST: %d
  MAX_SIZE_TRAIN: %d
  MAX_SIZE_TEST: 2048
  CROP: {ENABLED: True, TYPE: absolute, SIZE: '(%d, 1024)', SINGLE_CATEGORY_MAX_AREA: 1.0}
  COLOR_AUG_SSD: True
  SIZE_DIVISIBILITY: -1
  DATASET_MAPPER_NAME: mask_former_panoptic
"""
).replace("MASK_FORMER: {TRANSFORMER", "MASK_FORMER: {TEST: {PANOPTIC_ON: True, SEMANTIC_ON: True}, TRANSFORMER")
CITYSCAPES_NAME, MAPILLARY_NAME = "cityscapes_fine_panoptic", "mapillary_vistas_panoptic"
CITYSCAPES = STREETS % (19, 255, CITYSCAPES_NAME, CITYSCAPES_NAME, 90000, 1024, 1024, 4096, 512)
MAPILLARY = STREETS % (65, 65, MAPILLARY_NAME, MAPILLARY_NAME, 300000, 2048, 2048, 8192, 1024)


@pytest.fixture
def folder(tmp_path):
    texts = {
        "base": VIDEO_BASE,
        "r50": VIDEO_R50,
        "swin_large": VIDEO_SWIN_LARGE,
        "minvis_ovis": MINVIS_OVIS,
        "coco_panoptic": COCO_PANOPTIC,
        "ade20k": ADE20K,
        "cityscapes": CITYSCAPES,
        "mapillary": MAPILLARY,
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


# What only the published files say: where weights lie, and fp16 where we prefer bfloat16.
SETTLED_ELSEWHERE = (
    "training.init_weights=null",
    "model.backbone.weights=null",
    "training.amp_dtype=bfloat16",
    "training.checkpoint_period=1000",
)


@pytest.mark.parametrize(
    ("published", "ours", "differences"),
    [
        ("r50", "ytvis_2019/r50", ()),
        ("swin_large", "ytvis_2019/swin_large", ()),
        ("minvis_ovis", "ovis/minvis_r50", ()),
        ("coco_panoptic", "coco/panoptic/r50", ()),
        ("ade20k", "ade20k/semantic/r50", ()),
    ],
)
def test_published_files_read_as_our_own_configurations(folder, published, ours, differences):
    theirs = read_config(folder / f"{published}.yaml", SETTLED_ELSEWHERE)
    assert complete_config(theirs) == complete_config(read_config(ours, (*SETTLED_ELSEWHERE, *differences)))


@pytest.mark.parametrize(
    ("name", "num_classes", "max_steps", "short_sides", "crop_size", "test_size"),
    [
        ("cityscapes", 19, 90000, (512, 2048), (512, 1024), (1024, 2048)),
        ("mapillary", 65, 300000, (1024, 4096), (1024, 1024), (2048, 2048)),
    ],
)
def test_published_files_of_other_datasets(folder, name, num_classes, max_steps, short_sides, crop_size, test_size):
    config = read_config(folder / f"{name}.yaml")
    assert (config.model.num_classes, config.model.class_list) == (num_classes, None)
    assert (config.training.max_steps, config.training.schedule) == (max_steps, "polynomial")
    assert (config.data.short_sides[0], config.data.short_sides[-1]) == short_sides
    assert (config.data.crop_size, config.data.color_jitter, config.data.num_frames) == (crop_size, True, 1)
    assert (config.inference.short_side, config.inference.max_side) == test_size
    assert (config.task.name, config.inference.window, config.inference.top_k) == ("panoptic", 1, 100)
    assert config.model.options["decoder"]["temporal_position_encoding"] is False


def test_ten_published_layers_are_nine(folder):
    config = read_config(folder / "r50.yaml")
    assert config.model.options["decoder"]["num_layers"] == 9
    assert config.training.amp_dtype == "float16"
    assert config.training.init_weights == "model_final_3c8ec9.pkl"
    assert (
        read_config(folder / "coco_panoptic.yaml").model.options["backbone"]["weights"].endswith("torchvision/R-50.pkl")
    )


def test_overrides_apply_to_published_files(folder):
    assert read_config(folder / "r50.yaml", ["model.num_queries=7"]).model.options["num_queries"] == 7


def convert(text: str, tmp_path) -> Config:
    path = tmp_path / "one.yaml"
    path.write_text(text)
    return config_from_mapping(convert_detectron2_config(read_detectron2_yaml(path), str(path)), str(path))


def test_absent_keys_have_the_published_defaults(tmp_path):
    config = convert("MODEL: {SEM_SEG_HEAD: {NUM_CLASSES: 3}}\nDATASETS: {TRAIN: [], TEST: []}", tmp_path)
    assert config.model.options["decoder"]["num_layers"] == 5
    assert config.model.options["pixel_decoder"]["num_layers"] == 0
    assert [config.loss.options[f"{name}_weight"] for name in ("class", "mask", "dice")] == [1.0, 20.0, 1.0]
    assert config.training.clip_norm == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL: {MASK_FORMER: {NUM_QUERIES: 3}}", r"unknown key 'MODEL.MASK_FORMER.NUM_QUERIES' in .*one.yaml"),
        ("SOLVER: {MAX_ITERS: 3}", r"did you mean 'SOLVER.MAX_ITER'"),
        ("MODEL: {RESNETS: {STRIDE_IN_1X1: True}}", "STRIDE_IN_1X1 must be False, got True.*3x3 convolution"),
        (
            "MODEL: {BACKBONE: {NAME: D2ConvNeXt}}",
            "must be build_resnet_backbone or .*D2SwinTransformer, got 'D2ConvNeXt'",
        ),
        ("MODEL: {MASK_FORMER: {TRANSFORMER_DECODER_NAME: StandardTransformerDecoder}}", "must be one of MultiScale"),
        (
            "MODEL: {MASK_FORMER: {HIDDEN_DIM: 128}}",
            r"must agree with the other key for model.hidden_dim, 256, got 128",
        ),
        ("SOLVER: {OPTIMIZER: SGD}", "OPTIMIZER must be 'ADAMW', got 'SGD'"),
        ("INPUT: {AUGMENTATIONS: [rotation]}", r"may have brightness, contrast, saturation, got \['rotation'\]"),
        ("MODEL: [1", "is not a YAML file"),
        ("- 1", "must be a mapping of sections, got list"),
        ("_BASE_: one.yaml", "leads back to a file that is being read"),
        ("INPUT: {MIN_SIZE_TRAIN: !!python/object/apply:eval ['print(1)']}", "Python code is not run"),
        ("INPUT: {MIN_SIZE_TRAIN: !!python/object/apply:os.system ['true']}", "is not a YAML file"),
    ],
)
def test_what_this_model_does_not_do_is_an_error(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        convert(text, tmp_path)


def test_the_table_is_complete_and_names_real_options():
    part_names = ("hidden_dim", "num_heads", "num_queries", "pixel_mean", "pixel_std", "size_divisibility")
    options = {
        *field_docs(Config).keys(),
        *(f"model.{name}" for name in part_names),
        *(f"model.pixel_decoder.{name}" for name in part_options(MSDeformAttnPixelDecoder)),
        *(f"model.decoder.{name}" for name in part_options(MaskedAttentionDecoder)),
        *(f"swin.{name}" for name in part_options(SwinTransformer)),
        *(f"refiner.{name}" for name in part_options(VitaRefiner)),
        *(f"tracker.{name}" for part in (GenvisTracker, DVISPlusTracker, CTVISTracker) for name in part_options(part)),
        *(f"model.decoder.{name}" for name in part_options(ReidDecoder)),
        *(f"loss.{name}" for name in part_options(TrackerCriterion)),
        *(f"refiner.{name}" for name in part_options(TemporalRefiner)),
        *(f"loss.{name}" for name in part_options(ObjectCriterion)),
        *("resnet.depth", "model.backbone.name", "model.backbone.weights"),
    }
    for key, rule in KEYS.items():
        if isinstance(rule, Option):
            assert rule.name in options, key
        elif isinstance(rule, Combined):
            assert set(rule.options) <= options, key
        else:
            assert isinstance(rule, (Built, Unused)) and rule.reason, key
    assert DEFAULTS.keys() <= KEYS.keys()
