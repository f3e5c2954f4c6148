"""``load``: one call from any configuration and checkpoint to a model."""

from __future__ import annotations

import pytest
import torch

import video_mask2former as vm2f
from video_mask2former.api import load_with_config
from video_mask2former.config import apply_overrides, to_yaml
from video_mask2former.convert import DETECTRON2, write_checkpoint
from video_mask2former.recipes.model import build_model


@pytest.fixture
def saved(small_config, tmp_path):
    """A small model, its configuration in a file, and its weights under both names."""
    model = build_model(small_config)
    (tmp_path / "small.yaml").write_text(to_yaml(small_config))
    write_checkpoint(tmp_path / "ours.safetensors", model.state_dict(), to_yaml(small_config))
    write_checkpoint(tmp_path / "theirs.pkl", DETECTRON2.key_map.to_theirs(model.state_dict()))
    return model, tmp_path


def assert_same(loaded, model):
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=0, atol=0, check_dtype=False)


def test_configuration_and_published_weights(saved, caplog):
    model, folder = saved
    caplog.set_level("INFO")
    loaded = vm2f.load(folder / "small.yaml", weights=str(folder / "theirs.pkl"))
    assert not loaded.training
    assert_same(loaded, model)
    assert f"detectron2 checkpoint: {len(model.state_dict())} loaded, 0 reinitialised" in caplog.text


def test_a_checkpoint_of_ours_needs_nothing_else(saved, small_config):
    model, folder = saved
    loaded, config = load_with_config(folder / "ours.safetensors")
    assert config == small_config
    assert_same(loaded, model)
    with pytest.raises(ValueError, match=r"theirs.pkl has no configuration inside"):
        vm2f.load(folder / "theirs.pkl")


def test_the_model_knows_the_frame_size_of_its_configuration(saved):
    _, folder = saved
    loaded = vm2f.load(folder / "small.yaml", overrides=["inference.short_side=48", "inference.max_side=77"])
    assert loaded.input_sides == (48, 77)
    frames = torch.randint(0, 256, (2, 90, 160, 3), dtype=torch.uint8).numpy()
    sizes = []
    encode = loaded.encode
    loaded.encode = lambda clip: sizes.append(tuple(clip.shape[3:])) or encode(clip)
    vm2f.segment_video(loaded, frames)
    vm2f.segment_video(loaded, frames, short_side=36)
    assert set(sizes) == {(43, 77), (36, 64)}


def test_types_and_devices(saved, device):
    _, folder = saved
    loaded = vm2f.load(folder / "small.yaml", folder / "ours.safetensors", dtype=torch.float64, device=device)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float64}
    frames = (torch.rand(1, 2, 3, 32, 32) * 255).to(torch.uint8).to(device)
    output = loaded(frames)
    assert output.class_logits.dtype == torch.float64
    assert output.class_logits.shape == (1, 4, 4)


def test_float64_weights_keep_all_their_digits(saved):
    model, folder = saved
    exact = {key: tensor.double() + 1e-12 for key, tensor in model.state_dict().items()}
    write_checkpoint(folder / "exact.pth", exact)
    loaded = vm2f.load(folder / "small.yaml", folder / "exact.pth", dtype=torch.float64)
    for key, tensor in exact.items():
        torch.testing.assert_close(loaded.state_dict()[key], tensor, rtol=0, atol=0)


def test_overrides_change_the_model(saved):
    _, folder = saved
    overrides = ["model.num_classes=5"]
    with pytest.raises(
        ValueError, match=r"decoder.class_embed.weight: \(6, 32\) expected, \(4, 32\) in the checkpoint"
    ):
        vm2f.load(folder / "small.yaml", folder / "theirs.pkl", overrides)
    loaded = vm2f.load(folder / "small.yaml", folder / "theirs.pkl", overrides, allow_class_mismatch=True)
    assert loaded.num_classes == 5


def test_a_checkpoint_may_fit_in_part(saved):
    model, folder = saved
    overrides = ["model.num_queries=9"]
    with pytest.raises(ValueError, match=r"Change model.num_queries"):
        vm2f.load(folder / "small.yaml", folder / "theirs.pkl", overrides)
    loaded = vm2f.load(folder / "small.yaml", folder / "theirs.pkl", overrides, allow_partial=True)
    torch.testing.assert_close(loaded.decoder.norm.weight, model.decoder.norm.weight)
    assert loaded.decoder.query_feat.num_embeddings == 9


def test_a_configuration_object_is_accepted(saved, small_config):
    model, folder = saved
    loaded, config = load_with_config(small_config, folder / "ours.safetensors", ["inference.top_k=3"])
    assert_same(loaded, model)
    assert config == apply_overrides(small_config, ["inference.top_k=3"])


def test_random_weights_are_warned_of(small_config, caplog):
    vm2f.load(small_config)
    assert "the model is random" in caplog.text


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_devices_that_are_not_there_are_errors(small_config, name):
    with pytest.raises(ValueError, match=rf"device must be cpu, cuda, .*got '{name}'"):
        vm2f.load(small_config, device=name)


def test_a_backbone_alone_is_no_model(small_config, tmp_path):
    resnet = apply_overrides(small_config, ["model.backbone.name=resnet"])
    backbone = {"layer1.0.conv1.weight": torch.full((64, 64, 1, 1), 0.5)}
    write_checkpoint(tmp_path / "r50.pth", backbone)
    with pytest.raises(ValueError, match=r"r50.pth is the backbone of a model only \(torchvision ImageNet ResNet\)"):
        vm2f.load(resnet, tmp_path / "r50.pth")
    loaded = vm2f.load(resnet, tmp_path / "r50.pth", allow_partial=True)
    assert (loaded.backbone.get_submodule("res2.0.conv1").weight == 0.5).all()


def test_missing_files_are_errors(saved):
    _, folder = saved
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*absent.pth"):
        vm2f.load(folder / "small.yaml", folder / "absent.pth")
    with pytest.raises(FileNotFoundError, match="no configuration 'no/such/one'"):
        vm2f.load("no/such/one")
