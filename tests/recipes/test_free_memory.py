"""Models that do not fit into the memory are refused before any of it is taken."""

from __future__ import annotations

import time

import pytest
import torch
from torch import nn

from video_mask2former.recipes.free_memory import check_fits_in_memory, free_memory
from video_mask2former.recipes.model import build_model
from video_mask2former.recipes.source import read_config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_queries=1000000000000", r"GiB of memory that are free.*\(1000000000000, 256\)"),
        ("model.hidden_dim=100000000", "GiB of memory that are free"),
        ("model.decoder.num_layers=1000000000000", "has more than 5000 layers"),
        ("model.backbone={name: swin, depths: [1000000000, 1, 1, 1]}", "depths.* must be at most 1000"),
        ("model.num_classes=9000000000000000000", "a size is beyond any memory|GiB of memory"),
    ],
)
def test_what_asks_for_terabytes_is_refused(override, message):
    began = time.process_time()
    with pytest.raises(ValueError, match=message):
        build_model(read_config("ytvis_2019/r50", ["model.class_list=null", override]))
    assert time.process_time() - began < 10


def test_the_sizes_of_all_tensors_are_added_up(monkeypatch):
    monkeypatch.setattr("video_mask2former.recipes.free_memory.free_memory", lambda: 4 * 2**20)
    check_fits_in_memory(lambda: nn.Linear(1000, 1000), "it")
    with pytest.raises(ValueError, match="it needs more than"):
        check_fits_in_memory(lambda: nn.Sequential(nn.Linear(1000, 1000), nn.Linear(1000, 1000)), "it")


def test_what_needs_values_is_not_checked():
    class Curious(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean = torch.ones(3).mean().item()

    check_fits_in_memory(Curious, "it")


def test_values_are_as_ever_afterwards():
    check_fits_in_memory(lambda: nn.Linear(3, 3), "it")
    layer = nn.Linear(3, 3)
    assert layer.weight.device.type == "cpu" and layer.weight.abs().sum() > 0
    assert free_memory() > 2**20
