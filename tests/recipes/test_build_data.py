from __future__ import annotations

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from video_mask2former.config import DataConfig
from video_mask2former.data.color_jitter import ColorJitter
from video_mask2former.data.evaluation_sets import locate_evaluation_set
from video_mask2former.data.evaluation_videos import EvaluationVideos
from video_mask2former.data.missing_images import check_images
from video_mask2former.data.synthetic import SceneStyle, write_synthetic_dataset
from video_mask2former.data.transforms import LargeScaleJitter, RandomCrop, RandomFlip, ResizeShortSide
from video_mask2former.data.warps import RandomCameraPerFrame, RandomRotation
from video_mask2former.recipes.data import (
    build_training_loader,
    build_transform,
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> tuple[Path, Path]:
    """A dataset of videos and one of images."""
    videos, images = tmp_path_factory.mktemp("videos"), tmp_path_factory.mktemp("images")
    write_synthetic_dataset(videos, 3, SceneStyle(num_frames=4, size=(32, 48)), seed=0)
    write_synthetic_dataset(images, 4, SceneStyle(num_frames=1, size=(32, 48)), seed=1)
    return videos, images


def pair(folder: Path) -> str:
    return f"{folder}/JPEGImages::{folder}/instances.json"


def small_config(*folders: Path, **options) -> DataConfig:
    defaults = {"num_workers": 0, "short_sides": (24,), "test": (pair(folders[0]),)}
    return DataConfig(train=tuple(pair(folder) for folder in folders), **{**defaults, **options})


def test_training_batches(folders) -> None:
    loader = build_training_loader(small_config(*folders, num_frames=3), batch_size=4, seed=0)
    iterator = iter(loader)
    batches = [next(iterator) for _ in range(6)]
    assert all(clip.shape == (3, 3, 24, 36) for batch in batches for clip in batch.frames)
    videos = {sample.file_names[0].split("/")[0] for batch in batches for sample in batch.samples}
    assert len(videos) == 4
    stills = [sample for batch in batches for sample in batch.samples if len(set(sample.file_names)) == 1]
    assert stills and all(not torch.equal(sample.frames[0], sample.frames[1]) for sample in stills)


def test_ranks_and_seed(folders) -> None:
    config = small_config(*folders, train_ratios=(1.0, 3.0))

    def first(**options):
        return next(iter(build_training_loader(config, batch_size=4, **options))).samples

    whole = first(seed=5)
    parts = [first(seed=5, rank=rank, world_size=2) for rank in range(2)]
    assert [sample.file_names for sample in whole] == [sample.file_names for part in parts for sample in part]
    assert [sample.file_names for sample in whole] != [sample.file_names for sample in first(seed=6)]


def test_datasets_can_be_sent_to_workers_that_are_not_forked(folders) -> None:
    loader = build_training_loader(small_config(*folders), batch_size=2, seed=0)
    request = loader.sampler.order[3]
    copy = pickle.loads(pickle.dumps(loader.dataset))
    assert torch.equal(copy[request].frames, loader.dataset[request].frames)


@pytest.mark.parametrize("sampling", ["around", "contiguous", "strided"])
def test_frame_sampling(folders, sampling) -> None:
    config = small_config(folders[0], frame_sampling=sampling, frame_stride=2, num_frames=2, reverse_probability=1.0)
    samples = next(iter(build_training_loader(config, batch_size=12, seed=0))).samples
    steps = {sample.frame_indices[1] - sample.frame_indices[0] for sample in samples}
    assert all(step < 0 for step in steps)
    assert steps == {"around": steps, "contiguous": {-1}, "strided": {-2}}[sampling]


def test_transforms_follow_the_options() -> None:
    def kinds(config, is_of_images=False):
        return [type(transform) for transform in build_transform(config, is_of_images=is_of_images).transforms]

    config = DataConfig()
    assert kinds(config) == [RandomFlip, ResizeShortSide]
    assert kinds(config, is_of_images=True) == [RandomCameraPerFrame, RandomFlip, ResizeShortSide]
    assert kinds(replace(config, num_frames=1), is_of_images=True) == [RandomFlip, ResizeShortSide]
    jitter = replace(config, resize="large_scale_jitter", crop_size=(64, 64), color_jitter=True)
    assert kinds(jitter) == [RandomFlip, LargeScaleJitter, ColorJitter]
    crop = replace(config, crop_size=(64, 64), clip_rotation_degrees=10.0)
    assert kinds(crop) == [RandomFlip, ResizeShortSide, RandomCrop, RandomRotation]
    with pytest.raises(ValueError, match=r"large_scale_jitter needs data\.crop_size"):
        build_transform(replace(config, resize="large_scale_jitter"), is_of_images=False)


def test_classes_of_the_model_must_be_those_of_the_data(folders) -> None:
    config = small_config(folders[0])
    build_training_loader(config, batch_size=1, seed=0, class_names=("disc", "square", "triangle", "star"))
    with pytest.raises(ValueError, match=r"the model's 2 classes must be those of .* which has 4: disc, square"):
        build_training_loader(config, batch_size=1, seed=0, class_names=("cat", "dog"))


def test_evaluation_videos(folders) -> None:
    config = small_config(folders[0])
    videos = locate_evaluation_set(config.test[0], config.root)
    assert len(videos) == 3 and [frame.shape for frame in videos[0]] == [(32, 48, 3)] * 4
    assert videos[0].ground_truth().class_names == ("disc", "square", "triangle", "star")


def test_missing_images_are_noticed_before_training(folders, tmp_path, caplog) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(folders[0], folder)
    config = small_config(folder)
    (folder / "JPEGImages" / "00001" / "00002.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 12 images of .* are not in .*: 00001/00002\.jpg"):
        build_training_loader(config, batch_size=1, seed=0)
    build_training_loader(config, batch_size=2, seed=0, rank=1, world_size=2)  # the first rank looks
    videos = locate_evaluation_set(config.test[0], config.root)
    assert isinstance(videos, EvaluationVideos) and videos.image_folder is not None
    check_images(videos.annotations, videos.image_folder, most_missing=0.1)
    assert "1 of the 12 images" in caplog.text


def test_missing_datasets(tmp_path) -> None:
    config = DataConfig(root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"annotations of ytvis_2019_train are expected at"):
        build_training_loader(config, batch_size=1, seed=0)
    with pytest.raises(FileNotFoundError, match=r"annotations of ytvis_2019_val are expected at"):
        locate_evaluation_set(config.test[0], config.root)
    with pytest.raises(ValueError, match="at least one dataset"):
        build_training_loader(replace(config, train=()), batch_size=1, seed=0)
