"""The documents of the repository, and a folder in which what they show can be run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))
if importlib.util.find_spec("detectron2") is None:
    sys.path.append(str(Path(__file__).parents[1] / "stubs"))

from video_mask2former import load
from video_mask2former.convert import DETECTRON2, write_checkpoint
from video_mask2former.data.class_names import CLASS_NAMES
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.video_io import VideoWriter, open_video

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tools" / "demo_clip" / "pedestrians.mp4"


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with small stand-ins for the files that the documents name: videos, checkpoints, datasets."""
    folder = tmp_path_factory.mktemp("workplace")
    write_short_clip(folder / "in.mp4", num_frames=2)
    (folder / "videos").mkdir()
    shutil.copy(folder / "in.mp4", folder / "videos" / "street.mp4")
    write_random_weights(folder / "model_final.pkl", "ytvis_2019/r50")
    write_random_weights(folder / "coco_r50.pkl", "coco/instance/r50")
    shutil.copytree(ROOT / "datasets" / "ytvis", folder / "datasets" / "ytvis")
    write_youtube_vis(folder / "datasets" / "ytvis_2019")
    write_results(folder)
    write_programs(folder / "bin")
    return folder


@pytest.fixture
def run_in_workplace(workplace: Path):
    """Runs a command in the workplace with this Python, one thread; fails with what it printed."""

    def run(*command: str) -> str:
        path = os.pathsep.join([str(workplace / "bin"), os.environ["PATH"]])
        variables = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        variables.pop("DETECTRON2_DATASETS", None)
        done = subprocess.run(
            command, cwd=workplace, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


def write_short_clip(path: Path, num_frames: int) -> None:
    """The first frames of the clip of the repository."""
    with open_video(CLIP, end=num_frames) as video, VideoWriter(path, video.playback_rate) as writer:
        for frame in video:
            writer.write(frame)


def write_random_weights(path: Path, config: str) -> None:
    """A checkpoint of random weights, under the published names."""
    torch.manual_seed(0)
    weights = load(config).state_dict()
    write_checkpoint(path, DETECTRON2.key_map.to_theirs(weights))


def write_youtube_vis(folder: Path) -> None:
    """Synthetic videos in the published layout, with the published classes; the validation part has no annotations."""
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(CLASS_NAMES["ytvis_2019"])]
    style = SceneStyle(num_frames=3, size=(64, 96), num_objects=(1, 2))
    for seed, (part, num_videos) in enumerate((("train", 10), ("valid", 2))):
        made = write_synthetic_dataset(folder / part, num_videos, style, seed)
        document = {**json.loads(made.read_text()), "categories": categories}
        made.unlink()
        if part == "valid":
            del document["annotations"]
        (folder / f"{part}.json").write_text(json.dumps(document))


def write_results(folder: Path) -> None:
    """Annotations of one's own in ``valid.json``, and results that find every object in ``results.json``."""
    style = SceneStyle(num_frames=3, size=(64, 96), num_objects=(1, 2))
    made = write_synthetic_dataset(folder / "own", 2, style, seed=2)
    document = json.loads(made.read_text())
    results = [
        {**{name: annotation[name] for name in ("video_id", "category_id", "segmentations")}, "score": 0.9}
        for annotation in document["annotations"]
    ]
    made.rename(folder / "valid.json")
    (folder / "results.json").write_text(json.dumps(results))


def write_programs(folder: Path) -> None:
    """The commands that an installation puts into the PATH."""
    folder.mkdir()
    for name, start in (("python", ""), ("video-mask2former", " -m video_mask2former")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{start} "$@"\n')
        (folder / name).chmod(0o755)
