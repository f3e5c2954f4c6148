"""Datasets, transforms and loaders from the data section of a configuration."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import numpy as np

from video_mask2former.config import DataConfig
from video_mask2former.data.annotations import AnnotationSet, load_annotations
from video_mask2former.data.catalog import locate_dataset
from video_mask2former.data.clip_dataset import ClipDataset
from video_mask2former.data.color_jitter import ColorJitter
from video_mask2former.data.frame_sampler import reverse_at_random, sample_around, sample_contiguous, sample_strided
from video_mask2former.data.loader import TrainingLoader
from video_mask2former.data.missing_images import check_images
from video_mask2former.data.mixed import MixedClips, SampleOrder
from video_mask2former.data.transforms import (
    Compose,
    LargeScaleJitter,
    RandomClipWindow,
    RandomCrop,
    RandomFlip,
    ResizeShortSide,
    Transform,
)
from video_mask2former.data.warps import RandomCameraPerFrame, RandomRotation

logger = logging.getLogger(__name__)

MOST_MISSING_IMAGES = 0.01  # of a training set; more is a download that was cut off


def build_training_loader(
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    class_names: Sequence[str] = (),
) -> TrainingLoader:
    """The loader of this rank's training batches.

    Args:
        config: The data section.
        batch_size: Clips of a batch, all ranks together.
        seed: Everything random follows from it.
        rank: This process.
        world_size: Number of processes.
        pin_memory: Put batches into page-locked memory, for copies to a GPU.
        class_names: Classes of the model; where they are given, the datasets must have the same.

    Raises:
        FileNotFoundError: If a dataset is not there, or more than one in a hundred of its images is not.
        ValueError: If a dataset is wrong, has no annotations, or has other classes.
    """
    if not config.train:
        raise ValueError("data.train must name at least one dataset, got none.")
    datasets = [build_training_dataset(config, name) for name in config.train]
    for dataset in datasets:
        _check_classes(dataset.annotations, class_names)
        if rank == 0:
            check_images(dataset.annotations, dataset.image_folder, most_missing=MOST_MISSING_IMAGES)
    mixed = MixedClips(datasets)
    return TrainingLoader(
        mixed,
        SampleOrder(mixed.sizes, config.train_ratios, seed=seed),
        batch_size,
        rank=rank,
        world_size=world_size,
        num_workers=config.num_workers,
        pin_memory=pin_memory,
        prefetch_factor=config.prefetch_factor,
    )


def build_training_dataset(config: DataConfig, name: str) -> ClipDataset:
    """One dataset of training clips, by a name of the catalog or as ``IMAGES::ANNOTATIONS.json``."""
    paths = locate_dataset(name, config.root)
    annotations = load_annotations(paths.annotation_file)
    return ClipDataset(
        annotations,
        paths.image_folder,
        name=paths.name,
        sample_frames=functools.partial(_sample_frames, config),
        transform=build_transform(config, is_of_images=annotations.is_of_images),
        empty_clips=config.empty_clips,
        copy_paste_probability=config.copy_paste_probability,
        touching_probability=config.touching_probability,
    )


def build_transform(config: DataConfig, *, is_of_images: bool) -> Compose:
    """What is done to training clips; images that become clips of several frames get a camera that moves."""
    transforms: list[Transform] = []
    if is_of_images and config.num_frames > 1:
        transforms.append(RandomCameraPerFrame(config.rotation_degrees, config.min_window))
    transforms.append(RandomFlip(config.flip_probability))
    if config.resize == "large_scale_jitter":
        if config.crop_size is None:
            raise ValueError("data.resize=large_scale_jitter needs data.crop_size, got null.")
        transforms.append(LargeScaleJitter(config.jitter_scales, config.crop_size))
    else:
        if config.crop_range is not None and not is_of_images:
            transforms.append(RandomClipWindow(config.crop_range))
        transforms.append(ResizeShortSide(config.short_sides, config.max_side))
        if config.crop_size is not None:
            transforms.append(RandomCrop(config.crop_size))
    if config.clip_rotation_degrees:
        transforms.append(RandomRotation(config.clip_rotation_degrees))
    if config.color_jitter:
        transforms.append(ColorJitter())
    return Compose(transforms)


def _sample_frames(config: DataConfig, num_frames: int, rng: np.random.Generator) -> tuple[int, ...]:
    if config.frame_sampling in ("around", "around_repeating"):
        may_repeat = config.frame_sampling == "around_repeating"
        indices = sample_around(num_frames, config.num_frames, config.frame_range, rng, may_repeat=may_repeat)
    elif config.frame_sampling == "contiguous":
        indices = sample_contiguous(num_frames, config.num_frames, rng)
    else:
        indices = sample_strided(num_frames, config.num_frames, config.frame_stride, rng)
    return reverse_at_random(indices, config.reverse_probability, rng)


def _check_classes(annotations: AnnotationSet, class_names: Sequence[str]) -> None:
    if class_names and tuple(class_names) != annotations.class_names:
        raise ValueError(
            f"the model's {len(class_names)} classes must be those of {annotations.path} in the same order, which has "
            f"{len(annotations.class_names)}: {', '.join(annotations.class_names)}. "
            "To train on the classes of the data, set model.class_list=null and model.class_names=[]."
        )
