"""The names of the published Mask2Former and M2F-VIS checkpoints, all of them."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.convert import DETECTRON2, Ignored, load_weights
from video_mask2former.convert.key_map import _matches
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.source import read_config

CONFIG_OF_MODEL = {
    "ytvis2019_R50": "ytvis_2019/r50",
    "ytvis2019_R101": "ytvis_2019/r101",
    "ytvis2019_swin_tiny": "ytvis_2019/swin_tiny",
    "ytvis2019_swin_small": "ytvis_2019/swin_small",
    "ytvis2019_swin_base": "ytvis_2019/swin_base",
    "ytvis2019_swin_large": "ytvis_2019/swin_large",
    "coco_instance_R50": "coco/instance/r50",
    "coco_panoptic_R50": "coco/panoptic/r50",
    "ade20k_semantic_R50": "ade20k/semantic/r50",
}


def on_meta(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def shapes_of(state: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("name", CONFIG_OF_MODEL)
def test_every_published_parameter_has_its_place_and_back(published_shapes, name):
    shapes = published_shapes[name]
    with torch.device("meta"):
        model = build_model(read_config(CONFIG_OF_MODEL[name]))
    converted = DETECTRON2.key_map.to_ours(on_meta(shapes))
    assert converted.unknown == ()
    assert shapes_of(converted.weights) == shapes_of(model.state_dict())
    assert {key.rsplit(".", 1)[-1] for key in converted.ignored} <= {"empty_weight", "relative_position_index"}

    exported = shapes_of(DETECTRON2.key_map.to_theirs(model.state_dict()))
    assert exported == {key: tuple(shape) for key, shape in shapes.items() if key not in converted.ignored}
    report = load_weights(model, on_meta(shapes))
    assert len(report.loaded) == len(model.state_dict())


def test_all_published_models_are_covered(published_shapes):
    assert published_shapes.keys() == CONFIG_OF_MODEL.keys()


def test_no_key_fits_two_entries_of_the_table(published_shapes):
    for key in published_shapes["ytvis2019_R50"] | published_shapes["ytvis2019_swin_tiny"]:
        fitting = [entry for entry in DETECTRON2.key_map.entries if _matches(key, entry.theirs)]
        assert len(fitting) == 1, key


def test_values_survive_the_way_out_and_in(small_model, randomised):
    source, target = randomised(small_model()), small_model()
    theirs = DETECTRON2.key_map.to_theirs(source.state_dict())
    assert all(key.startswith(("backbone.", "sem_seg_head.")) for key in theirs)
    report = load_weights(target, theirs)
    assert report.format == "detectron2"
    for key, tensor in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[key], tensor, rtol=0, atol=0)


def test_names_of_the_first_releases_are_understood(small_model, randomised):
    source, target = randomised(small_model()), small_model()
    theirs = DETECTRON2.key_map.to_theirs(source.state_dict())
    old = {
        key.replace("sem_seg_head.pixel_decoder.", "sem_seg_head.").replace("query_feat", "static_query"): tensor
        for key, tensor in theirs.items()
    }
    assert "sem_seg_head.predictor.static_query.weight" in old
    assert "sem_seg_head.transformer.level_embed" in old
    load_weights(target, old)
    for key, tensor in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[key], tensor, rtol=0, atol=0)


def test_every_ignored_entry_has_a_reason():
    ignored = [entry for entry in DETECTRON2.key_map.entries if isinstance(entry, Ignored)]
    assert ignored and all(entry.reason for entry in ignored)
