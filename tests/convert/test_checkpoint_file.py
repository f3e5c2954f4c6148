"""Checkpoint files of every kind, whole and broken."""

from __future__ import annotations

import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from video_mask2former.convert import read_checkpoint, write_checkpoint

WEIGHTS = {"decoder.a": torch.arange(6.0).view(2, 3), "decoder.b": torch.tensor([1, 2])}


def assert_weights(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = WEIGHTS) -> None:
    assert got.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(got[key], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".pkl"])
def test_what_is_written_reads_back(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    write_checkpoint(path, WEIGHTS, config_yaml="model: {num_classes: 3}")
    checkpoint = read_checkpoint(path)
    assert_weights(checkpoint.weights)
    assert checkpoint.config == (None if suffix == ".pkl" else "model: {num_classes: 3}")
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    "content",
    [
        WEIGHTS,
        {"model": OrderedDict(WEIGHTS), "iteration": 7},
        {"state_dict": WEIGHTS, "epoch": 7},
        {"model": {f"module.{key}": tensor for key, tensor in WEIGHTS.items()}},
    ],
)
@pytest.mark.parametrize("is_legacy", [False, True])
def test_torch_files_in_their_usual_arrangements(tmp_path, content, is_legacy):
    torch.save(content, tmp_path / "model.pth", _use_new_zipfile_serialization=not is_legacy)
    assert_weights(read_checkpoint(tmp_path / "model.pth").weights)


@pytest.mark.parametrize("key", ["model", "blobs", None])
def test_detectron2_pickles(tmp_path, key):
    arrays = {name: tensor.numpy() for name, tensor in WEIGHTS.items()}
    content = arrays if key is None else {key: arrays, "__author__": "MSRA", "matching_heuristics": True}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(content, protocol=2))
    assert_weights(read_checkpoint(tmp_path / "R-50.pkl").weights)


def test_arrays_of_any_byte_order_become_tensors(tmp_path):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"w": np.arange(3, dtype=">f4")}))
    torch.testing.assert_close(read_checkpoint(tmp_path / "x.pkl").weights["w"], torch.arange(3.0))


def test_a_checkpoint_in_several_files(tmp_path):
    save_file({"decoder.a": WEIGHTS["decoder.a"]}, tmp_path / "model-1.safetensors", metadata={"config": "model: {}"})
    save_file({"decoder.b": WEIGHTS["decoder.b"]}, tmp_path / "model-2.safetensors")
    index = {"decoder.a": "model-1.safetensors", "decoder.b": "model-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    for path in (tmp_path, tmp_path / "model.safetensors.index.json"):
        checkpoint = read_checkpoint(path)
        assert_weights(checkpoint.weights)
        assert checkpoint.config == "model: {}"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{", "is not a JSON file"),
        ("[]", "as every index of a checkpoint does"),
        ('{"weight_map": {"x": 7}}', "weight_map.x must be a string, got 7"),
        ("{}", "weight_map is missing in"),
        ('{"weight_map": {"x": "../x.safetensors"}}', "which is not a part of a checkpoint beside it"),
        ('{"weight_map": {"x": ""}}', "which is not a part of a checkpoint beside it"),
        ('{"weight_map": {"missing": "part.safetensors"}}', "first: 'missing'"),
    ],
)
def test_a_broken_index_says_so(tmp_path, index, message):
    save_file(WEIGHTS, tmp_path / "part.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path)


def test_code_in_a_torch_file_is_refused(tmp_path):
    torch.save({"model": WEIGHTS, "x": print}, tmp_path / "model.pth")
    with pytest.raises(ValueError, match=r"model.pth was refused, .* \(it asks for print\), and no code is run"):
        read_checkpoint(tmp_path / "model.pth")


@pytest.mark.filterwarnings("ignore:.*deprecated", "ignore:.*TorchScript")
def test_a_program_is_no_checkpoint(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(tmp_path / "model.pt")
    with pytest.raises(ValueError, match="is a TorchScript program"):
        read_checkpoint(tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("address", "file"),
    [
        (
            "detectron2://ImageNetPretrained/torchvision/R-50.pkl",
            "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/torchvision/R-50.pkl",
        ),
        ("https://host/model.pkl", "https://host/model.pkl"),
    ],
)
def test_addresses_are_not_followed(address, file):
    with pytest.raises(FileNotFoundError, match=f"^{address} is an address.* Download {file} and name the file"):
        read_checkpoint(address)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pkl"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_truncated_files_say_so(tmp_path, suffix, kept):
    path = tmp_path / f"model{suffix}"
    write_checkpoint(path, {"decoder.a": torch.randn(1000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(ValueError, match=rf"{path.name}.* Download it again"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page"),
        (b"plain text of no use", "begins with b'plain te'"),
    ],
)
def test_other_files_say_what_they_are(tmp_path, data, message):
    (tmp_path / "model.pth").write_bytes(data)
    with pytest.raises(ValueError, match=message):
        read_checkpoint(tmp_path / "model.pth")


def test_missing_files_and_contents(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*absent.pth"):
        read_checkpoint(tmp_path / "absent.pth")
    with pytest.raises(FileNotFoundError, match=r"has none of model.safetensors"):
        read_checkpoint(tmp_path)
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"holds no tensors; its entries are \['epoch'\]"):
        read_checkpoint(tmp_path / "empty.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds list, expected a mapping"):
        read_checkpoint(tmp_path / "list.pth")


def test_what_cannot_be_written_leaves_no_file(tmp_path):
    with pytest.raises(ValueError, match=r"ends in .safetensors"):
        write_checkpoint(tmp_path / "model.onnx", WEIGHTS)
    with pytest.raises(ValueError, match="bfloat16, which numpy lacks"):
        write_checkpoint(tmp_path / "model.pkl", {"w": torch.zeros(1, dtype=torch.bfloat16)})
    assert list(tmp_path.iterdir()) == []
