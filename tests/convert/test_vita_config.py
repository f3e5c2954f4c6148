"""Configurations of VITA and GenVIS in the keys that they have beside those of Mask2Former."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.convert import convert_detectron2_config, read_detectron2_yaml
from video_mask2former.losses.object_criterion import ObjectCriterion
from video_mask2former.recipes.model import build_criterion, build_model
from video_mask2former.recipes.source import read_config

# The keys, and the values that matter, of the published video configurations; the arrangement is ours.
VITA = """
MODEL:
  META_ARCHITECTURE: Vita
  WEIGHTS: vita_r50_coco.pth
  SEM_SEG_HEAD: {NAME: MaskFormerHead, NUM_CLASSES: 25}
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: VitaMultiScaleMaskedTransformerDecoder
    DEC_LAYERS: 10
    NUM_OBJECT_QUERIES: 200
  VITA: {NHEADS: 8, DROPOUT: 0.0, ENC_LAYERS: 6, ENC_WINDOW_SIZE: 6, DEC_LAYERS: 3, ENFORCE_INPUT_PROJ: True,
    NO_OBJECT_WEIGHT: 0.1, SIM_WEIGHT: 0.5, LAST_LAYER_NUM: 3, DEEP_SUPERVISION: True}
DATASETS:
  DATASET_RATIO: [1.0, 0.25]
  TRAIN: ("coco2ovis_train", "ovis_train")
  TEST: ("ovis_val",)
INPUT: {SAMPLING_FRAME_NUM: 6, SAMPLING_FRAME_RANGE: 8, PSEUDO: {CROP: {ENABLED: True, SIZE: '(384, 600)'}}}
TEST: {DETECTIONS_PER_IMAGE: 20}
"""
GENVIS = """
_BASE_: vita.yaml
MODEL:
  META_ARCHITECTURE: Genvis
  WEIGHTS: vita_r50_ovis.pth
  VITA: {ENC_WINDOW_SIZE: 0, FREEZE_DETECTOR: True}
  GENVIS: {LEN_CLIP_WINDOW: 3}
INPUT: {SAMPLING_FRAME_NUM: 15, SAMPLING_FRAME_RANGE: 12}
"""


def convert(tmp_path, **files: str):
    for name, text in {"vita": VITA, **files}.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    path = tmp_path / f"{[*files, 'vita'][0]}.yaml"
    return convert_detectron2_config(read_detectron2_yaml(path), str(path))


def test_vita_is_a_refiner_of_an_image_model(tmp_path):
    options = convert(tmp_path)
    assert options["refiner"] == {
        "name": "vita",
        "num_heads": 8,
        "feedforward_dim": 2048,
        "num_encoder_layers": 6,
        "num_decoder_layers": 3,
        "hidden_dim": 256,
        "num_video_queries": 100,
        "num_token_layers": 3,
        "window": 6,
    }
    assert options["model"]["num_queries"] == 200
    assert options["inference"]["mode"] == "clip" and options["inference"]["top_k"] == 20
    assert options["data"]["train_ratios"] == [1.0, 0.25] and options["data"]["num_frames"] == 6
    assert "tracker" not in options and "freeze" not in options["training"]


def test_the_crop_of_videos_has_the_key_of_images(tmp_path):
    data = convert(tmp_path)["data"]
    assert tuple(data["crop_range"]) == (384, 600)
    assert data["frame_sampling"] == "around_repeating"
    with pytest.raises(ValueError, match=r"PSEUDO\.CROP\.TYPE must be 'absolute_range', got 'relative'"):
        convert(tmp_path, odd="_BASE_: vita.yaml\nINPUT: {PSEUDO: {CROP: {TYPE: relative}}}\n")


def test_genvis_is_a_tracker_behind_a_frozen_image_model(tmp_path):
    options = convert(tmp_path, genvis=GENVIS)
    assert options["tracker"]["name"] == "genvis" and options["tracker"]["clip_length"] == 3
    assert "refiner" not in options and "window" not in options["tracker"]
    assert options["training"]["freeze"] == ["segmenter"]
    inference = options["inference"]
    assert (inference["mode"], inference["window"], inference["remainder"]) == ("online", 3, "short")


@pytest.mark.parametrize("name", ["vita", "genvis"])
def test_models_are_built_and_trained_as_their_files_say(name, tmp_path):
    convert(tmp_path, genvis=GENVIS)
    config = read_config(str(tmp_path / f"{name}.yaml"))
    with torch.device("meta"):
        model = build_model(config)
    assert model.num_classes == 25 and model.num_queries == 200
    part = model.refiner if name == "vita" else model.tracker
    assert part.aggregator.decoder.token_embed.num_embeddings == 200
    assert part.aggregator.encoder.window == (6 if name == "vita" else 0)
    assert isinstance(build_criterion(config), ObjectCriterion)


def test_what_cannot_be_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="ENC_WINDOW_SIZE must be 0 for GenVIS, got 6"):
        convert(tmp_path, genvis=GENVIS.replace("ENC_WINDOW_SIZE: 0", "ENC_WINDOW_SIZE: 6"))
    with pytest.raises(ValueError, match="NO_OBJECT_WEIGHT must agree"):
        convert(tmp_path, other="_BASE_: vita.yaml\nMODEL: {VITA: {NO_OBJECT_WEIGHT: 0.2}}")


def test_jitter_of_image_pretraining_has_keys_of_its_own(tmp_path):
    text = "_BASE_: vita.yaml\nINPUT: {LSJ_AUG: {ENABLED: True, IMAGE_SIZE: 640, MIN_SCALE: 0.5}}"
    data = convert(tmp_path, pretraining=text)["data"]
    assert (data["resize"], data["jitter_scales"], data["crop_size"]) == ("large_scale_jitter", [0.5, 2.0], [640, 640])
