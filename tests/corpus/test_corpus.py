"""More than a thousand damaged files of all kinds: each is a result or one clear error, soon and in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Not by `import`: pytest gives every test file a name of its own
sys.path.insert(0, str(Path(__file__).parent))
from campaign import run_formats

LIST = [sys.executable, str(Path(__file__).with_name("campaign.py")), "--list"]
# How many inputs of each format; those that run a whole command take longer. Each group is one process.
GROUPS = {
    "results": {"results": 70, "detections": 50, "tracks": 50, "frames": 50, "mots": 50, "mask_pngs": 40},
    "annotations": {"annotations": 60, "image_annotations": 50, "evaluate": 40, "evaluate_images": 40, "panoptic": 50},
    "archives": {"zip": 40, "dataset_tools": 20, "names": 8, "training_log": 40},
    "configurations": {"yaml": 50, "overrides": 50, "detectron2": 60, "huggingface": 60, "predict_config": 20},
    "checkpoints": {"torch": 60, "legacy_torch": 30, "pickle": 60, "safetensors": 50, "training_state": 30},
    "media": {"images": 60, "videos": 50, "predict": 45},
}


def test_all_formats_are_tried():
    listed = json.loads(subprocess.run(LIST, check=True, capture_output=True, text=True).stdout)
    counts = [(name, count) for group in GROUPS.values() for name, count in group.items()]
    assert sorted(name for name, _ in counts) == sorted(listed)
    assert sum(count for _, count in counts) >= 1000


@pytest.mark.parametrize("group", GROUPS)
def test_every_input_is_a_result_or_a_clear_error(group):
    outcomes = run_formats(GROUPS[group], seed=0)
    wrong = [f"{each.format} {each.index}: {each.detail[:600]}" for each in outcomes if each.kind == "wrong"]
    assert not wrong, "\n".join(wrong)
    assert len(outcomes) == sum(GROUPS[group].values())
    for name in GROUPS[group]:
        assert any(each.kind == "error" for each in outcomes if each.format == name), f"nothing of {name} was damaged"
