"""Configurations by path, by name and of other code bases; the shipped ones, all of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from video_mask2former.config import load_config, to_yaml
from video_mask2former.convert import Checkpoint
from video_mask2former.recipes import source
from video_mask2former.recipes.source import config_of_checkpoint, is_detectron2_yaml, read_config, shipped_configs

CLONE = Path(__file__).parents[2]
BACKBONES = ("r50", "r101", "swin_tiny", "swin_small", "swin_base", "swin_large")
PROMISED = [
    *(f"{folder}/{name}" for folder in ("ytvis_2019", "ytvis_2021") for name in BACKBONES),
    *(f"{folder}/{name}" for folder in ("coco/instance", "coco/panoptic", "ade20k/semantic") for name in BACKBONES),
    "ovis/r50",
    "ytvis_2019/efficientnet_lite0",
    *(f"ctvis/{folder}/{name}" for folder in ("ytvis_2019", "ytvis_2021", "ovis") for name in ("r50", "swin_large")),
    *(
        f"{family}/{folder}/r50_{stage}"
        for family in ("dvis", "dvis_plus")
        for folder in ("ytvis_2019", "ovis")
        for stage in ("online", "offline")
    ),
]


def test_the_promised_configurations_are_shipped():
    assert set(PROMISED) <= set(shipped_configs())
    assert not [name for name in shipped_configs() if name.startswith("_base_")]


@pytest.mark.parametrize("name", shipped_configs())
def test_every_shipped_configuration_is_short_and_valid(name):
    path = CLONE / "configs" / f"{name}.yaml"
    assert len(path.read_text().splitlines()) <= 30
    assert read_config(name) == load_config(path)


@pytest.mark.parametrize("spelling", ["ytvis_2019/r50", "ytvis_2019/r50.yaml", "configs/ytvis_2019/r50.yaml"])
def test_shipped_names_work_from_any_folder(tmp_path, monkeypatch, spelling):
    monkeypatch.chdir(tmp_path)
    assert read_config(spelling, ["model.num_queries=3"]).model.options["num_queries"] == 3


def test_a_file_goes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("configs/ytvis_2019").mkdir(parents=True)
    Path("configs/ytvis_2019/r50.yaml").write_text("model: {num_queries: 5}")
    assert read_config("configs/ytvis_2019/r50.yaml").model.options["num_queries"] == 5


@pytest.mark.parametrize("name", ["ytvis_2019/r51", "../configs/ytvis_2019/r50", "/ytvis_2019/r50.yaml", "_base_"])
def test_unknown_names_list_the_known_ones(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no configuration '.*': neither a file nor a folder.*ytvis_2019/r50"):
        read_config(name)


@pytest.mark.parametrize(
    ("text", "is_theirs"),
    [
        ("_BASE_: x.yaml\n", True),
        ("# ours?\nMODEL:\n  WEIGHTS: x\nVERSION: 2\n", True),
        ("model: {num_queries: 3}\n", False),
        ("_base_: x.yaml\n", False),
        ("", False),
    ],
)
def test_kinds_of_yaml_are_told_by_their_sections(tmp_path, text, is_theirs):
    (tmp_path / "x.yaml").write_text(text)
    assert is_detectron2_yaml(tmp_path / "x.yaml") is is_theirs


def test_binary_files_are_no_configurations(tmp_path):
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not a text file"):
        read_config(tmp_path / "x.yaml")


def test_configurations_inside_checkpoints(tmp_path):
    config = read_config("ytvis_2019/swin_tiny")
    assert config_of_checkpoint(Checkpoint({}, to_yaml(config)), "x") == config
    assert config_of_checkpoint(Checkpoint({}, {"model": {"num_queries": 3}}), "x").model.options["num_queries"] == 3
    assert config_of_checkpoint(Checkpoint({}), "x") is None
    with pytest.raises(ValueError, match=r"unknown config key .model.foo. of mask2former in the .* inside x"):
        config_of_checkpoint(Checkpoint({}, {"model": {"foo": 3}}), "x")


def test_an_installed_package_has_them_inside(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "video_mask2former"
    (package / "build").mkdir(parents=True)
    monkeypatch.setattr(source, "__file__", str(package / "build" / "source.py"))
    with pytest.raises(FileNotFoundError, match="came without its configurations"):
        read_config("ytvis_2019/r50")
    shutil.copytree(CLONE / "configs", package / "configs")
    assert read_config("ytvis_2019/r50").model.num_classes == 40
    assert shipped_configs() == sorted(shipped_configs()) and "ytvis_2019/r50" in shipped_configs()
