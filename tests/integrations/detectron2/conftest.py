"""detectron2, or the stand-in of tests/stubs where it is not installed; a small published-style configuration."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

if importlib.util.find_spec("detectron2") is None:
    sys.path.append(str(Path(__file__).parents[2] / "stubs"))

# The keys of the published video configurations, with a small model
BASE = """
VERSION: 2
MODEL:
  META_ARCHITECTURE: VideoMaskFormer
  WEIGHTS: ""
  DEVICE: cpu
  MASK_ON: True
  PIXEL_MEAN: [123.675, 116.280, 103.530]
  PIXEL_STD: [58.395, 57.120, 57.375]
  BACKBONE: {FREEZE_AT: 0, NAME: D2SwinTransformer}
  SWIN: {EMBED_DIM: 8, DEPTHS: [1, 1, 1, 1], NUM_HEADS: [1, 1, 2, 2], WINDOW_SIZE: 2, DROP_PATH_RATE: 0.0}
  SEM_SEG_HEAD:
    NAME: MaskFormerHead
    NUM_CLASSES: 3
    CONVS_DIM: 32
    MASK_DIM: 16
    PIXEL_DECODER_NAME: MSDeformAttnPixelDecoder
    IN_FEATURES: [res2, res3, res4, res5]
    TRANSFORMER_ENC_LAYERS: 1
    DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS: 2
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: VideoMultiScaleMaskedTransformerDecoder
    TRANSFORMER_IN_FEATURE: multi_scale_pixel_decoder
    CLASS_WEIGHT: 2.0
    MASK_WEIGHT: 5.0
    DICE_WEIGHT: 5.0
    HIDDEN_DIM: 32
    NHEADS: 2
    DIM_FEEDFORWARD: 8
    DEC_LAYERS: 3
    NUM_OBJECT_QUERIES: 5
    DROPOUT: 0.0
    TRAIN_NUM_POINTS: 64
SOLVER:
  IMS_PER_BATCH: 2
  BASE_LR: 0.001
  STEPS: (4,)
  MAX_ITER: 6
  WARMUP_FACTOR: 1.0
  WARMUP_ITERS: 1
  WEIGHT_DECAY: 0.05
  OPTIMIZER: ADAMW
  BACKBONE_MULTIPLIER: 0.1
  CLIP_GRADIENTS: {ENABLED: True, CLIP_TYPE: full_model, CLIP_VALUE: 0.01, NORM_TYPE: 2.0}
  AMP: {ENABLED: True}
INPUT:
  FORMAT: RGB
  MIN_SIZE_TRAIN: (32, 48)
  MIN_SIZE_TRAIN_SAMPLING: choice_by_clip
  RANDOM_FLIP: flip_by_clip
  AUGMENTATIONS: []
  MIN_SIZE_TEST: 48
  CROP: {ENABLED: False, TYPE: absolute_range, SIZE: '(600, 720)'}
DATALOADER: {FILTER_EMPTY_ANNOTATIONS: False, NUM_WORKERS: 0}
TEST: {EVAL_PERIOD: 0}
"""
OF_ARCHITECTURE = {
    "VideoMaskFormer": {},
    "VideoMaskFormer_frame": {
        "MODEL.META_ARCHITECTURE": "VideoMaskFormer_frame",
        "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "VideoMultiScaleMaskedTransformerDecoder_frame",
    },
    "MaskFormer": {
        "MODEL.META_ARCHITECTURE": "MaskFormer",
        "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": "MultiScaleMaskedTransformerDecoder",
        "INPUT.MIN_SIZE_TRAIN_SAMPLING": "choice",
        "INPUT.RANDOM_FLIP": "horizontal",
    },
}
RESNET = {
    "MODEL.BACKBONE.NAME": "build_resnet_backbone",
    "MODEL.RESNETS.STEM_TYPE": "basic",
    "MODEL.RESNETS.STRIDE_IN_1X1": False,
    "MODEL.RESNETS.RES5_MULTI_GRID": [1, 1, 1],
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
}


@pytest.fixture
def resnet_options():
    """A published ResNet in place of the small Swin."""
    return RESNET


@pytest.fixture
def config_file(tmp_path):
    """The configuration in a file."""
    path = tmp_path / "video.yaml"
    path.write_text(BASE)
    return path


@pytest.fixture
def make_cfg(config_file):
    """A ``cfg`` of one of the architectures, made as published scripts make it."""
    from detectron2.config import get_cfg
    from detectron2.projects.deeplab import add_deeplab_config

    from video_mask2former.integrations import detectron2 as drop_in

    def make(architecture="VideoMaskFormer", changes=()):
        cfg = get_cfg()
        add_deeplab_config(cfg)
        drop_in.add_maskformer2_config(cfg)
        drop_in.add_maskformer2_video_config(cfg)
        drop_in.add_minvis_config(cfg)
        cfg.merge_from_file(str(config_file))
        for key, value in {**OF_ARCHITECTURE[architecture], **dict(changes)}.items():
            cfg.merge_from_list([key, value])
        return cfg

    return make


@pytest.fixture(scope="session")
def video_dataset(tmp_path_factory):
    """Three videos of two moving squares, the second absent at the start; class ids with a gap."""
    folder = tmp_path_factory.mktemp("videos")
    rng = np.random.default_rng(0)
    videos, annotations = [], []
    for video_id in (3, 7, 9):
        names = [f"{video_id}/{index:05d}.png" for index in range(4)]
        (folder / "images" / str(video_id)).mkdir(parents=True)
        tracks: list[list] = [[], []]
        for index, name in enumerate(names):
            frame = rng.integers(0, 60, (40, 64, 3), np.uint8)
            for row, track in enumerate(tracks):
                mask = np.zeros((40, 64), np.uint8)
                if row == 0 or index >= 2:
                    mask[4 + 16 * row : 18 + 16 * row, 4 + 6 * index : 20 + 6 * index] = 1
                frame[mask == 1] = (40 + 120 * row, 200, 30 * video_id % 255)
                track.append(_rle(mask) if mask.any() else None)
            assert cv2.imwrite(str(folder / "images" / name), frame)
        videos.append({"id": video_id, "width": 64, "height": 40, "length": 4, "file_names": names})
        for row, track in enumerate(tracks):
            annotations.append(
                {
                    "id": 10 * video_id + row,
                    "video_id": video_id,
                    "category_id": (2, 5)[row],
                    "iscrowd": 0,
                    "segmentations": track,
                    "areas": [None if mask is None else 224 for mask in track],
                    "bboxes": [None if mask is None else [0, 0, 1, 1] for mask in track],
                }
            )
    categories = [{"id": 2, "name": "square"}, {"id": 5, "name": "bar"}, {"id": 6, "name": "nothing"}]
    document = {"videos": videos, "annotations": annotations, "categories": categories}
    (folder / "valid.json").write_text(json.dumps(document))
    return SimpleNamespace(json_file=str(folder / "valid.json"), image_root=str(folder / "images"))


def _rle(mask):
    values = mask.flatten(order="F")
    changes = np.flatnonzero(np.diff(values)) + 1
    runs = np.diff(np.concatenate([[0], changes, [values.size]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *runs] if values[0] else runs}


@pytest.fixture
def clip():
    """Frames ``(T, 3, H, W)`` of three frames."""
    return torch.randint(0, 256, (3, 3, 40, 56), dtype=torch.uint8)
