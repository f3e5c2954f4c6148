"""Configurations of CTVIS, DVIS and DVIS++ in the keys that they have beside those of Mask2Former."""

from __future__ import annotations

import pytest

from video_mask2former.convert import convert_detectron2_config, read_detectron2_yaml
from video_mask2former.recipes.source import read_config

# The keys, and the values that matter, of the published configurations; the arrangement is ours.
BASE = """
MODEL:
  WEIGHTS: minvis.pth
  SEM_SEG_HEAD: {NAME: MaskFormerHead, NUM_CLASSES: 40}
  MASK_FORMER: {DEC_LAYERS: 10, NUM_OBJECT_QUERIES: 100}
DATASETS:
  TRAIN: ("ytvis_2019_train",)
  TEST: ("ytvis_2019_val",)
"""
OFFLINE = """
_BASE_: base.yaml
MODEL:
  META_ARCHITECTURE: DVIS_Plus_offline
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: VideoMultiScaleMaskedTransformerDecoder_dvisPlus
    REID_BRANCH: True
    TEST: {WINDOW_INFERENCE: True, WINDOW_SIZE: 3, TASK: vis, MAX_NUM: 10}
  TRACKER: {DECODER_LAYERS: 6, NOISE_MODE: none, USE_CL: True}
  REFINER: {DECODER_LAYERS: 6, USE_CL: True}
  CL_PLUGIN: {CL_PLUGIN_NAME: CTCLPlugin, BIO_CL: False}
INPUT: {SAMPLING_FRAME_NUM: 15, SAMPLING_FRAME_RANGE: 7, REVERSE_AGU: True}
DATASETS: {DATASET_TYPE: ['video_instance'], DATASET_NEED_MAP: [False], DATASET_TYPE_TEST: ['video_instance']}
"""
ONLINE = """
_BASE_: base.yaml
MODEL:
  META_ARCHITECTURE: DVIS_Plus_online
  MASK_FORMER:
    TRANSFORMER_DECODER_NAME: VideoMultiScaleMaskedTransformerDecoder_dvisPlus
    TEST: {TASK: vps, MAX_NUM: 20, OBJECT_MASK_THRESHOLD: 0.8, OVERLAP_THRESHOLD: 0.8}
  TRACKER: {NOISE_MODE: wa, NOISE_RATIO: 0.8}
INPUT: {SAMPLING_FRAME_NUM: 5, SAMPLING_FRAME_RANGE: 2}
"""
V1 = """
_BASE_: base.yaml
MODEL:
  META_ARCHITECTURE: DVIS_offline
  MASK_FORMER: {TRANSFORMER_DECODER_NAME: VideoMultiScaleMaskedTransformerDecoder_dvis, TEST: {MAX_NUM: 10}}
"""
CTVIS = """
_BASE_: base.yaml
MODEL:
  META_ARCHITECTURE: CTVISModel
  MASK_FORMER: {TRANSFORMER_DECODER_NAME: CLMultiScaleMaskedTransformerDecoder}
  TRACKER:
    TRACKER_NAME: SimpleTracker
    MATCH_SCORE_THR: 0.3
    NOISE_FRAME_RATIO: 0.4
    MEMORY_BANK: {NUM_DEAD_FRAMES: 20, EMBED_TYPE: similarity_guided, maximum_cache: 10}
  CL_PLUGIN: {CL_PLUGIN_NAME: CTCLPlugin, REID_WEIGHT: 2.0, AUX_REID_WEIGHT: 3.0, NUM_NEGATIVES: 99}
INPUT: {SAMPLING_FRAME_NUM: 10, SAMPLING_FRAME_RANGE: 20}
"""


def written(tmp_path, text: str):
    (tmp_path / "base.yaml").write_text(BASE)
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def convert(tmp_path, text: str):
    path = written(tmp_path, text)
    return convert_detectron2_config(read_detectron2_yaml(path), str(path))


def test_dvis_plus_offline_is_segmenter_tracker_and_refiner(tmp_path):
    options = convert(tmp_path, OFFLINE)
    assert options["tracker"] == {"name": "dvis_plus", "num_layers": 6}
    assert options["refiner"] == {"name": "temporal", "num_layers": 6}
    decoder = options["model"]["decoder"]
    assert (decoder["name"], decoder["embeddings"], decoder["reid_layers"]) == ("masked_attention_reid", "both", 3)
    assert options["inference"]["mode"] == "clip" and options["inference"]["top_k"] == 10
    assert options["data"]["frame_sampling"] == "contiguous" and options["data"]["reverse_probability"] == 0.5
    assert options["training"]["freeze"] == ["segmenter", "tracker"]
    assert read_config(written(tmp_path, OFFLINE)).refiner.name == "temporal"


def test_dvis_plus_online_has_noise_and_tasks(tmp_path):
    options = convert(tmp_path, ONLINE)
    assert options["tracker"] == {
        "name": "dvis_plus",
        "num_layers": 6,
        "noise": "blend",
        "noise_probability": 0.8,
    }
    assert options["task"]["name"] == "video_panoptic" and options["training"]["freeze"] == ["segmenter"]
    assert read_config(written(tmp_path, ONLINE)).task.options["overlap_threshold"] == 0.8
    with pytest.raises(ValueError, match="NOISE_MODE must be one of none, rs, wa, cc, got 'xx'"):
        convert(tmp_path, ONLINE.replace("wa", "xx"))


def test_dvis_has_no_reid_head(tmp_path):
    options = convert(tmp_path, V1)
    assert options["tracker"]["name"] == "dvis" and "name" not in options["model"]["decoder"]
    assert options["loss"]["contrast_weight"] == 0 and options["loss"]["classes_of_last_frame"]
    assert read_config(written(tmp_path, V1)).tracker.name == "dvis"


def test_ctvis_is_a_tracker_without_weights_and_a_contrastive_loss(tmp_path):
    config = read_config(written(tmp_path, CTVIS))
    assert config.model.frame_by_frame and config.inference.top_k == 40
    assert config.tracker.options["match_threshold"] == 0.3 and config.tracker.options["patience"] == 20
    assert list(config.tracker.options["short_tracks"]) == [8, 3, 2]
    (loss,) = config.losses
    assert loss.name == "contrastive" and loss.options["num_negatives"] == 99 and not loss.options["pads_targets"]


@pytest.mark.parametrize("architecture", ["MinVIS", "CTMinVIS"])
def test_stages_of_the_segmenter_decode_frame_by_frame(tmp_path, architecture):
    config = read_config(written(tmp_path, CTVIS.replace("CTVISModel", architecture)))
    assert config.model.frame_by_frame and config.tracker.name == "minvis"
    assert len(config.losses) == (architecture == "CTMinVIS")
