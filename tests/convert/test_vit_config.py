"""Published YAML of VidEoMT, PMT, LVMT and EoMT: each file gives the configuration that ships under its name."""

from __future__ import annotations

import re

import pytest
import yaml

from video_mask2former.config.schema import to_mapping
from video_mask2former.recipes.source import read_config

# The keys, and the values that matter, of the published configurations; the arrangement is ours.
BASE = """
MODEL:
  WEIGHTS: model_final_3c8ec9.pkl
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  MASK_ON: True
  RESNETS: {DEPTH: 50, STEM_OUT_CHANNELS: 64, STRIDE_IN_1X1: False, OUT_FEATURES: [res2, res3, res4, res5]}
  BACKBONE:
    DEEP_SUPERVISION: True
    NO_OBJECT_WEIGHT: 0.1
    CLASS_WEIGHT: 2.0
    MASK_WEIGHT: 5.0
    DICE_WEIGHT: 5.0
    NUM_OBJECT_QUERIES: 200
    SIZE_DIVISIBILITY: 32
    DEC_LAYERS: 4
    TRAIN_NUM_POINTS: 12544
    OVERSAMPLE_RATIO: 3.0
    IMPORTANCE_SAMPLE_RATIO: 0.75
    TEST: {OVERLAP_THRESHOLD: 0.8, OBJECT_MASK_THRESHOLD: 0.8, WINDOW_INFERENCE: True, TASK: vis, WINDOW_SIZE: 1}
SOLVER:
  IMS_PER_BATCH: 8
  BASE_LR: 0.0001
  STEPS: (14000,)
  WARMUP_FACTOR: 1.0
  WARMUP_ITERS: 10
  WEIGHT_DECAY: 0.05
  OPTIMIZER: ADAMW
  BACKBONE_MULTIPLIER: 0.1
  CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: full_model, CLIP_VALUE: 0.01, NORM_TYPE: 2.0}
  AMP: {ENABLED: True}
INPUT:
  MAX_SIZE_TRAIN: 768
  MIN_SIZE_TRAIN_SAMPLING: choice_by_clip
  RANDOM_FLIP: flip_by_clip
  SAMPLING_FRAME_SHUFFLE: False
  AUGMENTATIONS: []
  CROP: {ENABLED: True, TYPE: absolute_range, SIZE: "(384, 600)"}
  PSEUDO: {AUGMENTATIONS: ['rotation'], MAX_SIZE_TRAIN: 768}
  LSJ_AUG: {ENABLED: False, IMAGE_SIZE: 768, MIN_SCALE: 0.1, MAX_SCALE: 2.0}
  FORMAT: RGB
DATASETS: {DATASET_NEED_MAP: [True, False], DATASET_TYPE: ['image_instance', 'video_instance']}
DATALOADER: {FILTER_EMPTY_ANNOTATIONS: True, NUM_WORKERS: 4}
OUTPUT_DIR: ./output
VERSION: 2
"""
SIDES = {"vis": "(320, 352, 392, 416, 448, 480, 512, 544, 576, 608, 640)"}
SIDES |= dict.fromkeys(("vps", "vss"), "(480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)")
DATASETS = {
    "ytvis_2019": ("vis", 40, ("coco2ytvis2019_train", "ytvis_2019_train"), "ytvis_2019_val", 448),
    "ytvis_2021": ("vis", 40, ("coco2ytvis2021_train", "ytvis_2021_train"), "ytvis_2021_val", 448),
    "ytvis_2022": ("vis", 40, ("coco2ytvis2021_train", "ytvis_2021_train"), "ytvis_2022_val", 448),
    "ovis": ("vis", 25, ("coco2ovis_train", "ovis_train"), "ovis_val", 544),
    "vipseg": ("vps", 124, ("panoVSPW_vps_video_train",), "panoVSPW_vps_video_val", 720),
    "vspw": ("vss", 124, ("VSPW_vss_video_train",), "VSPW_vss_video_val", 720),
}
BACKBONES = {2: "vit_{}_patch14_reg4_dinov2", 3: "facebook/dinov3-vit{}16-pretrain-lvd1689m"}
DIMS = {"small": 384, "base": 768, "large": 1024}
# Configuration that ships, what the published file says of its clips, and its iterations
VIDEOS = [
    ("videomt/ytvis_2019/vit_small_dinov2", (5, 2), 40000),
    ("videomt/ytvis_2019/vit_base_dinov2", (5, 2), 40000),
    ("videomt/ytvis_2019/vit_large_dinov2", (5, 2), 60000),
    ("videomt/ytvis_2019/vit_large_dinov3", (5, 2), 160000),
    ("videomt/ytvis_2021/vit_large_dinov2", (5, 2), 160000),
    ("videomt/ytvis_2021/vit_large_dinov3", (5, 2), 160000),
    ("videomt/ytvis_2022/vit_large_dinov3", (5, 2), 160000),
    ("videomt/ovis/vit_large_dinov2", (5, 2), 160000),
    ("videomt/vipseg/vit_large_dinov2", (5, 2), 40000),
    ("videomt/vipseg/vit_large_dinov3", (5, 2), 40000),
    ("videomt/vspw/vit_large_dinov2", (5, 2), 40000),
    ("videomt/vspw/vit_large_dinov3", (5, 2), 40000),
    ("pmt/ytvis_2019/vit_large_dinov2", (5, 2), 60000),
    ("pmt/ytvis_2021/vit_large_dinov3", (5, 2), 60000),
    ("pmt/ovis/vit_large_dinov3", (5, 2), 60000),
    ("pmt/vipseg/vit_large_dinov2", (5, 2), 40000),
    ("pmt/vipseg/vit_large_dinov3", (5, 2), 20000),
    ("pmt/vspw/vit_large_dinov3", (5, 2), 40000),
    ("lvmt/ytvis_2019/vit_large_dinov3", (15, 5), 60000),
    ("lvmt/ytvis_2021/vit_large_dinov3", (15, 5), 40000),
    ("lvmt/ytvis_2022/vit_large_dinov3", (15, 5), 40000),
    ("lvmt/ovis/vit_large_dinov3", (15, 5), 80000),
    ("lvmt/ovis/vit_small_dinov3", (5, 2), 80000),
    ("lvmt/vipseg/vit_large_dinov3", (15, 5), 40000),
    ("lvmt/vspw/vit_large_dinov3", (15, 5), 40000),
]


def published_video(name: str, clip: tuple[int, int], steps: int) -> str:
    """The values in which the published files differ from their base."""
    family, dataset, model = name.split("/")
    _, size, version = model.split("_")
    version = int(version[-1])
    task, num_classes, train, test, side = DATASETS[dataset]
    if (family, version) == ("videomt", 3) and task == "vis" and dataset != "ovis":
        side = 480
    depth = 24 if size == "large" else 12
    backbone = {
        "NAME": {"videomt": "VidEoMT"}.get(family, family.upper()),
        "MODEL_NAME": BACKBONES[version].format(size if version == 2 else size[0]),
        "NUM_CLASSES": num_classes,
        "IMG_SIZE": 1280 if family == "videomt" and task != "vis" else 640,
        "HIDDEN_DIM": DIMS[size],
        "TEST": {"TASK": task, "MAX_NUM": 10},
    }
    solver: dict[str, object] = {"MAX_ITER": steps, "POLY_POWER": 0.9}
    if family == "videomt":
        backbone["SEGMENTER_BLOCKS"] = list(range(depth - (4 if size == "large" else 3), depth))
        if version == 3 and task != "vis":
            backbone["NORM_QUERIES"] = True
        solver |= {"LLRD": 0.6, "WARMUP_STEPS": [500, 1000]}
    else:
        backbone |= {"NUM_BLOCKS": 6, "MASKED_ATTN_ENABLED": False, "DECODER_TYPE": "online", "FROZEN_ENCODER": True}
        backbone["INTERACTION_INDICES"] = [depth // 4 * level - 1 for level in range(1, 5)]
        solver |= {"WARMUP_STEPS": 6000}
        if family == "lvmt" and size == "large":
            backbone["TQP_CHUNK_SIZE"] = 5
    inputs = {"SAMPLING_FRAME_NUM": clip[0], "SAMPLING_FRAME_RANGE": clip[1], "MIN_SIZE_TRAIN": SIDES[task]}
    inputs["MIN_SIZE_TEST"] = side
    if task != "vis":
        inputs |= {"MAX_SIZE_TRAIN": 1333, "CROP": {"ENABLED": False}}
    return yaml.safe_dump(
        {
            "_BASE_": "base.yaml",
            "MODEL": {"META_ARCHITECTURE": f"{family}_online", "BACKBONE": backbone},
            "SOLVER": solver,
            "INPUT": inputs,
            "DATASETS": {"TRAIN": list(train), "TEST": [test], "DATASET_RATIO": [1.0] * len(train)},
        }
    )


def differences(found: dict, shipped: dict, place: str = "") -> dict[str, tuple[object, object]]:
    """Options that two configurations have differently; one may say what the other leaves at its default."""
    different: dict[str, tuple[object, object]] = {}
    for key in found.keys() | shipped.keys():
        ours, theirs = found.get(key), shipped.get(key)
        if isinstance(ours, dict) and isinstance(theirs, dict):
            different |= differences(ours, theirs, f"{place}{key}.")
        elif ours != theirs:
            different[place + key] = (ours, theirs)
    return different


def check(path, shipped: str) -> None:
    found, expected = (to_mapping(read_config(source)) for source in (path, shipped))
    # Options of parts at the values that the parts have by themselves
    defaults = {
        "loss.class_weight": 2.0,
        "loss.mask_weight": 5.0,
        "loss.dice_weight": 5.0,
        "loss.no_object_weight": 0.1,
        "loss.num_points": 12544,
        "loss.oversample_ratio": 3.0,
        "loss.importance_sample_ratio": 0.75,
        "task.object_mask_threshold": 0.8,
        "task.overlap_threshold": 0.8,
        "model.normalises_queries": False,
        "model.num_query_blocks": 3,
        "model.num_decoder_blocks": 6,
        "model.size_divisibility": 32,
        "model.pixel_mean": [123.675, 116.28, 103.53],
        "model.pixel_std": [58.395, 57.12, 57.375],
        "model.backbone.image_size": 640,
    }
    elsewhere = {"training.checkpoint_period", "training.eval_period", "training.seed"}  # the codes' own habits
    if len(found["data"]["train"]) == 1:
        elsewhere.add("data.train_ratios")
    rest = {
        name: (ours, theirs)
        for name, (ours, theirs) in differences(found, expected).items()
        if name not in elsewhere and not (theirs is None and ours == defaults.get(name))
    }
    assert rest == {}


@pytest.fixture
def write(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)

    def write_config(text: str):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return path

    return write_config


@pytest.mark.parametrize(("name", "clip", "steps"), VIDEOS, ids=[name for name, _, _ in VIDEOS])
def test_a_published_video_model_is_the_one_that_ships(write, name, clip, steps):
    check(write(published_video(name, clip, steps)), name)


SMALL = published_video(*VIDEOS[0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "HIDDEN_DIM",
            "HIDEN_DIM",
            r"unknown key 'MODEL\.BACKBONE\.HIDEN_DIM' in .*did you mean 'MODEL.BACKBONE.HIDDEN",
        ),
        (
            "vit_small_patch14_reg4_dinov2",
            "resnet50",
            r"MODEL_NAME must be vit_SIZE_patch14_reg4_dinov2 or .*'resnet50'",
        ),
        ("- 9\n", "- 8\n", r"SEGMENTER_BLOCKS must be the last of 12 blocks, got \[8, 10, 11\]"),
        ("TASK: vis", "TASK: vos", "TEST.TASK must be vis or vps or vss, got 'vos'"),
        ("- 500\n", "", r"SOLVER.WARMUP_STEPS must be two numbers of steps, got \[1000\]"),
        ("NAME: VidEoMT", "NAME: VidEoMT\n    DEEP_SUPERVISION: false", "DEEP_SUPERVISION must be True, got False"),
        ("NUM_CLASSES: 40", "NUM_CLASSES: forty", r"NUM_CLASSES must be .*such as 133, got 'forty'"),
        ("MAX_ITER", "CROP_ITER", "unknown key 'SOLVER.CROP_ITER'"),
    ],
)
def test_what_a_video_model_cannot_be_is_said(write, old, new, message):
    assert old in SMALL
    with pytest.raises(ValueError, match=message):
        read_config(write(SMALL.replace(old, new)))


def test_weights_are_what_training_starts_from_unless_left_over(write):
    assert read_config(write(SMALL)).training.init_weights is None
    given = SMALL.replace("META_ARCHITECTURE", "WEIGHTS: segmenter.pth\n  META_ARCHITECTURE")
    assert read_config(write(given)).training.init_weights == "segmenter.pth"
    overrides = ["MODEL.BACKBONE.TEST.WINDOW_SIZE=1", "SOLVER.MAX_ITER=9", "model.num_queries=20"]
    asked = read_config(write(SMALL), overrides)
    assert asked.training.max_steps == 9 and asked.model.options["num_queries"] == 20
    lvmt = published_video("lvmt/ovis/vit_large_dinov3", (15, 5), 80000).replace("HIDDEN_DIM: 1024", "HIDDEN_DIM: 768")
    with pytest.raises(ValueError, match="HIDDEN_DIM must be that of the backbone, 1024, got 768"):
        read_config(write(lvmt))


THREE = ([14782, 36955, 59128], [29564, 51737, 73910])
FOUR = ([14782, 29564, 44346, 59128], [29564, 44346, 59128, 73910])
FIVE = ([14782, 25869, 36955, 48042, 59128], [29564, 40651, 51737, 62824, 73910])
SIX = ([0, 23651, 32520, 41389, 50258, 59128], [3000, 38433, 47302, 56171, 65040, 73910])
ADE20K = ([6520, 13040, 19560, 26080], [13040, 19560, 26080, 32600])
CITYSCAPES = ([3317, 6634, 9951, 13268], [6634, 9951, 13268, 16585])
SHORT_SIX = ([0, 5384, 7403, 9422, 11442, 13461], [3000, 8749, 10769, 12788, 14807, 16826])
DINOV3 = {"lr": 2e-4, "llrd_l2_enabled": False, "warmup_steps": [2000, 3000], "delta_weights": True}
# Configuration that ships, dataset, epochs, steps of annealing, size of the backbone
IMAGES = [
    ("eomt/coco_panoptic/vit_small_dinov2_640", 24, THREE, 2),
    ("eomt/coco_panoptic/vit_base_dinov3_640", 24, THREE, 2),
    ("eomt/coco_panoptic/vit_large_dinov2_640", 12, FOUR, 1),
    ("eomt/coco_panoptic/vit_large_dinov3_1280", 12, FOUR, 1),
    ("eomt/coco_panoptic/vit_giant_dinov2_1280", 12, FIVE, 1),
    ("eomt/coco_instance/vit_large_dinov2_640", 12, FOUR, 1),
    ("eomt/coco_instance/vit_large_dinov3_640", 12, FOUR, 1),
    ("eomt/ade20k_panoptic/vit_large_dinov2_640", 31, ADE20K, 1),
    ("eomt/ade20k_semantic/vit_large_dinov2_512", 31, ADE20K, 1),
    ("eomt/cityscapes_semantic/vit_large_dinov2_1024", 107, CITYSCAPES, 1),
    ("pmt/ade20k_semantic/vit_large_dinov3_512", 16, SHORT_SIX, 1),
    ("pmt/coco_panoptic/vit_small_dinov3_640", 12, SIX, 1),
    ("pmt/coco_panoptic/vit_large_dinov3_1280", 12, SIX, 1),
    ("pmt/coco_instance/vit_large_dinov3_640", 12, SIX, 1),
]
CLASSES = {"coco": "COCO", "ade20k": "ADE20K", "cityscapes": "Cityscapes"}


def published_image(name: str, epochs: int, annealing: tuple[list[int], list[int]], times: int) -> dict:
    family, dataset, model = name.split("/")
    _, size, version, side = model.split("_")
    version = int(version[-1])
    place, task = dataset.split("_")
    starts, ends = ([times * step for step in steps] for steps in annealing)
    if family == "eomt" and version == 3 and task == "panoptic":
        starts, ends = [0, *starts[1:]], [3000, *ends[1:]]
    network: dict = {"num_q": 100 if task == "semantic" else 200}
    encoder = {"backbone_name": BACKBONES[version].format(size if version == 2 else size[0])}
    options: dict = {}
    if family == "pmt":
        depth = 24 if size == "large" else 12
        taps = [depth // 4 * level - 1 for level in range(1, 5)]
        network |= {"num_blocks": 6, "interaction_indices": taps, "hidden_dim": DIMS[size]}
        encoder["frozen_encoder"] = True
        options = {"lr": 2e-4, "min_lr": 1e-9, "warmup_steps": 6000}
    else:
        if len(starts) != 4:
            network["num_blocks"] = len(starts)
        options = dict(DINOV3) if version == 3 else {}
    return {
        "trainer": {"max_epochs": epochs, "logger": {"class_path": "Logger", "init_args": {"name": "a"}}},
        "model": {
            "class_path": f"training.mask_classification_{task}.MaskClassification{task.capitalize()}",
            "init_args": {
                "attn_mask_annealing_enabled": True,
                "attn_mask_annealing_start_steps": starts,
                "attn_mask_annealing_end_steps": ends,
                **options,
                "network": {
                    "class_path": {"eomt": "models.eomt.EoMT", "pmt": "models.pmt.PMT"}[family],
                    "init_args": {**network, "encoder": {"class_path": "models.vit.ViT", "init_args": encoder}},
                },
            },
        },
        "data": {
            "class_path": f"datasets.{dataset}.{CLASSES[place]}{task.capitalize()}",
            "init_args": {"img_size": [int(side)] * 2},
        },
    }


@pytest.mark.parametrize(("name", "epochs", "annealing", "times"), IMAGES, ids=[name for name, *_ in IMAGES])
def test_a_published_image_model_is_the_one_that_ships(write, name, epochs, annealing, times):
    check(write(yaml.safe_dump(published_image(name, epochs, annealing, times))), name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_q:", "num_qs:", r"unknown key 'model\.init_args\.network\.init_args\.num_qs'.*did you mean .*num_q"),
        ("COCOPanoptic", "COCOPanopticx", r"data\.class_path must be one of datasets\.coco_panoptic\.COCOPanoptic, "),
        ("models.eomt.EoMT", "models.eomt_dinov3.EoMT", r"network\.class_path must be one of models\.eomt\.EoMT, "),
        ("max_epochs: 12", "max_epochs: none", r"trainer\.max_epochs must be a number above 0, got 'none'"),
        ("- 640\n    - 640", "- 640\n    - 480", r"img_size must be two equal sides, got \[640, 480\]"),
        ("annealing_enabled: true", "annealing_enabled: false", "attn_mask_annealing_enabled must be True"),
        ("init_args:\n    attn", "init_args:\n    warmup_steps: 500\n    attn", "warmup_steps must be two numbers"),
        ("max_epochs: 12", "max_epochs: 12\n  precision: 8", "trainer.precision must be one of 16-mixed, .*got 8"),
    ],
)
def test_what_an_image_model_cannot_be_is_said(write, old, new, message):
    text = yaml.safe_dump(published_image(*IMAGES[2]))
    assert re.search(re.escape(old), text)
    with pytest.raises(ValueError, match=message):
        read_config(write(text.replace(old, new)))


def test_one_rate_for_all_blocks_is_read(write):
    values = published_image("eomt/ade20k_semantic/vit_large_dinov3_512", 16, ([0, 6520, 9780, 13040],) * 2, 1)
    options = values["model"]["init_args"]
    del options["llrd_l2_enabled"]
    options |= {"lr_mult": 0.1, "llrd": 1.0, "attn_mask_annealing_end_steps": [3000, 9780, 13040, 16300]}
    check(write(yaml.safe_dump(values)), "eomt/ade20k_semantic/vit_large_dinov3_512")


def test_batches_of_devices_are_one(write):
    values = published_image(*IMAGES[2])
    values["trainer"] |= {"devices": 4, "check_val_every_n_epoch": 2}
    values["data"]["init_args"]["batch_size"] = 8
    training = read_config(write(yaml.safe_dump(values))).training
    assert (training.batch_size, training.max_steps, training.eval_period) == (32, 12 * 3695, 2 * 3695)
