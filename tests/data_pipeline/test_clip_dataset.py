from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from video_mask2former.data.annotations import load_annotations
from video_mask2former.data.clip_dataset import ClipDataset, ClipRequest
from video_mask2former.data.frame_sampler import sample_around
from video_mask2former.data.samples import ClipBatch, ClipSample, collate_clips
from video_mask2former.data.transforms import Compose, RandomFlip, ResizeShortSide
from video_mask2former.structures import ClipTarget

UNCHANGED = Compose([])


def make_dataset(annotation_set, image_folder, *, clip_length: int = 2, **options) -> ClipDataset:
    settings = {
        "name": "toy",
        "sample_frames": lambda num_frames, rng: sample_around(num_frames, clip_length, 20, rng),
        "transform": UNCHANGED,
        **options,
    }
    return ClipDataset(annotation_set, image_folder, **settings)


def test_sample_carries_pixels_masks_and_provenance(annotation_set, image_folder) -> None:
    dataset = make_dataset(annotation_set, image_folder, sample_frames=lambda num_frames, rng: (1, 5))
    sample = dataset[ClipRequest(0, (0, 0))]
    assert sample.frames.shape == (2, 3, 24, 32)
    assert sample.frames[:, 0, 0, 0].tolist() == [31, 35], "red of video 3, frames 1 and 5"
    assert (sample.dataset, sample.video_id, sample.frame_indices) == ("toy", 3, (1, 5))
    assert sample.file_names == ("3/001.png", "3/005.png")
    # instance 20 is seen on the last frame only, 22 is crowd
    assert sample.target.instance_ids.tolist() == [21, 20] and sample.target.labels.tolist() == [2, 0]
    assert sample.target.masks.flatten(2).any(-1).tolist() == [[True, True], [False, True]]


def test_only_sampled_frames_are_read(annotation_set, image_folder) -> None:
    for frame in (0, 2, 3, 4):
        (image_folder / f"3/{frame:03d}.png").unlink()
    make_dataset(annotation_set, image_folder, sample_frames=lambda num_frames, rng: (1, 5))[ClipRequest(0, (0,))]


def test_frames_come_in_the_order_asked_for(annotation_set, image_folder) -> None:
    dataset = make_dataset(annotation_set, image_folder, sample_frames=lambda num_frames, rng: (5, 1, 5))
    sample = dataset[ClipRequest(0, (0,))]
    assert sample.frames[:, 0, 0, 0].tolist() == [35, 31, 35]
    assert sample.target.masks[1].flatten(1).any(-1).tolist() == [True, False, True]
    assert sample.file_names == ("3/005.png", "3/001.png", "3/005.png")


def test_one_frame_video_fills_a_clip(annotation_set, image_folder) -> None:
    sample = make_dataset(annotation_set, image_folder, clip_length=3)[ClipRequest(1, (0,))]
    assert sample.video_id == 5 and sample.frame_indices == (0, 0, 0)
    assert torch.equal(sample.target.masks[:, 0], sample.target.masks[:, 2])


def test_videos_without_instances_are_left_out_or_kept(annotation_set, image_folder) -> None:
    assert len(make_dataset(annotation_set, image_folder)) == 2
    keeping = make_dataset(annotation_set, image_folder, empty_clips="keep")
    assert len(keeping) == 3
    sample = keeping[ClipRequest(2, (0,))]
    assert sample.video_id == 9 and len(sample.target) == 0 and sample.target.masks.shape == (0, 2, 24, 32)


def test_empty_clips_are_drawn_again(document, write, image_folder) -> None:
    document["annotations"] = [document["annotations"][1], document["annotations"][3]]  # visible on frames 0 and 5 of 6
    annotations = load_annotations(write(document))
    for policy, sees_empty in (("resample", False), ("keep", True)):
        dataset = make_dataset(annotations, image_folder, clip_length=1, empty_clips=policy)
        counts = {len(dataset[ClipRequest(0, (seed,))].target) for seed in range(30)}
        assert (0 in counts) == sees_empty and 1 in counts


def test_clips_that_a_transform_empties_are_drawn_again(annotation_set, image_folder) -> None:
    def lose_everything_sometimes(frames, target, rng):
        if rng.random() < 0.7:
            target = ClipTarget(target.labels[:0], target.masks[:0], target.instance_ids[:0])
        return frames, target

    dataset = make_dataset(annotation_set, image_folder, transform=lose_everything_sometimes)
    assert all(len(dataset[ClipRequest(0, (seed,))].target) for seed in range(20))


def test_hopeless_clips_end_empty_instead_of_looping(annotation_set, image_folder) -> None:
    def lose_everything(frames, target, rng):
        return frames, ClipTarget(target.labels[:0], target.masks[:0], target.instance_ids[:0])

    dataset = make_dataset(annotation_set, image_folder, transform=lose_everything)
    assert len(dataset[ClipRequest(0, (0,))].target) == 0


def test_the_request_decides_everything(annotation_set, image_folder) -> None:
    dataset = make_dataset(
        annotation_set,
        image_folder,
        transform=Compose([RandomFlip(), ResizeShortSide((16, 20, 24), 100)]),
        copy_paste_probability=0.5,
    )
    for number in range(10):
        first, second = (dataset[ClipRequest(0, (1, number))] for _ in range(2))
        assert first.frame_indices == second.frame_indices
        assert torch.equal(first.frames, second.frames) and torch.equal(first.target.masks, second.target.masks)
    sizes = {dataset[ClipRequest(0, (1, number))].frames.shape for number in range(10)}
    assert len(sizes) > 1


def test_copy_paste_brings_instances_of_other_videos(annotation_set, image_folder) -> None:
    dataset = make_dataset(annotation_set, image_folder, copy_paste_probability=1.0)
    labels = [sorted(dataset[ClipRequest(1, (seed,))].target.instance_ids.tolist()) for seed in range(40)]
    assert [23] in labels, "the other clip can be of the same video, whose instances are not pasted twice"
    assert any({21, 23} <= set(ids) for ids in labels)
    assert all(len(set(ids)) == len(ids) for ids in labels)


def test_a_clip_that_cannot_be_read_is_told_and_another_is_drawn(annotation_set, image_folder, caplog) -> None:
    whole = make_dataset(annotation_set, image_folder)
    path = image_folder / "5/000.png"
    path.write_bytes(path.read_bytes()[:50])
    dataset = make_dataset(annotation_set, image_folder)
    for seed in range(5):
        assert dataset[ClipRequest(1, (seed,))].video_id == 3
        assert torch.equal(dataset[ClipRequest(0, (seed,))].frames, whole[ClipRequest(0, (seed,))].frames)
    [message] = [record.getMessage() for record in caplog.records]
    assert "decoded (50 bytes). Is it cut off or renamed? Another clip is drawn" in message


def test_masks_that_cannot_be_read_are_told_and_others_drawn(document, write, image_folder, caplog) -> None:
    document["annotations"][3]["segmentations"] = [{"size": [24, 32], "counts": "abc"}]
    dataset = make_dataset(load_annotations(write(document)), image_folder)
    assert dataset[ClipRequest(1, (0,))].video_id == 3
    assert "video 5, annotation 23, frame 0: the RLE cannot be read" in caplog.text


def test_where_nothing_can_be_read_the_file_is_named(annotation_set, image_folder) -> None:
    dataset = make_dataset(annotation_set, image_folder)
    for path in image_folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no image .*\.png"):
        dataset[ClipRequest(1, (0,))]


def test_errors_of_transforms_are_not_taken_for_bad_files(annotation_set, image_folder) -> None:
    def broken(frames, target, rng):
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        make_dataset(annotation_set, image_folder, transform=broken)[ClipRequest(0, (0,))]


def test_nothing_to_train_on(document, write, image_folder) -> None:
    with pytest.raises(ValueError, match="no video with an instance"):
        make_dataset(load_annotations(write({**document, "annotations": []})), image_folder)
    with pytest.raises(ValueError, match="hidden"):
        make_dataset(load_annotations(write({**document, "annotations": None})), image_folder)


def test_batches_keep_clips_of_different_sizes(annotation_set, image_folder) -> None:
    dataset = make_dataset(annotation_set, image_folder, transform=Compose([ResizeShortSide((12, 24), 99)]))
    samples = [dataset[ClipRequest(0, (seed,))] for seed in range(6)]
    batch = collate_clips(samples)
    assert batch.sources[0] == f"toy, video 3: {', '.join(samples[0].file_names)}"
    assert len(batch) == 6 and len({clip.shape for clip in batch.frames}) == 2
    for frames, target in zip(batch.frames, batch.targets, strict=True):
        assert frames.shape[0] == 2 and target.masks.shape[1:] == (2, *frames.shape[2:])
    longer = make_dataset(annotation_set, image_folder, clip_length=3)[ClipRequest(0, (0,))]
    with pytest.raises(ValueError, match=r"one number of frames, got \[2, 3\]"):
        ClipBatch((samples[0], longer))


def test_sample_checks_what_belongs_together() -> None:
    target = ClipTarget(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, 4, 5, dtype=torch.bool))
    make = functools.partial(ClipSample, dataset="toy", video_id=1)
    frames = torch.zeros(2, 3, 4, 5, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"frames must be \(T, 3, H, W\) uint8"):
        make(frames.float(), target, frame_indices=(0, 1), file_names=("a", "b"))
    with pytest.raises(ValueError, match="masks must be"):
        make(frames[..., :4], target, frame_indices=(0, 1), file_names=("a", "b"))
    with pytest.raises(ValueError, match="one entry for each of 2 frames"):
        make(frames, target, frame_indices=(0,), file_names=("a", "b"))


def test_generators_of_neighbouring_requests_are_independent() -> None:
    draws = np.array([np.random.default_rng((0, number)).random(4) for number in range(500)])
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.15
    assert abs(draws.mean() - 0.5) < 0.02
