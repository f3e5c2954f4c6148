"""Masks must go where the pixels go: frames that show the masks are transformed, and compared with the masks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from video_mask2former.data.transforms import (
    FILL_VALUE,
    Compose,
    LargeScaleJitter,
    RandomClipWindow,
    RandomCrop,
    RandomFlip,
    ResizeShortSide,
    pad_clip,
    resize_masks,
)
from video_mask2former.data.warps import RandomCameraPerFrame, RandomRotation, window_matrix
from video_mask2former.structures import ClipTarget


def painted_clip(num_frames: int = 3, height: int = 60, width: int = 80) -> tuple[torch.Tensor, ClipTarget]:
    """Two moving rectangles, white in red and in green of the frames."""
    masks = torch.zeros(2, num_frames, height, width, dtype=torch.bool)
    for frame in range(num_frames):
        masks[0, frame, 10:40, 5 + 4 * frame : 30 + 4 * frame] = True
        masks[1, frame, 25 + frame : 55 + frame, 45:70] = True
    frames = torch.zeros(num_frames, 3, height, width, dtype=torch.uint8)
    frames[:, 0][masks[0]] = 255
    frames[:, 1][masks[1]] = 255
    return frames, ClipTarget(torch.tensor([4, 7]), masks, torch.tensor([40, 70]))


def agreement(frames: torch.Tensor, target: ClipTarget) -> float:
    """IoU of the masks and the pixels that show them."""
    shown = torch.stack([frames[:, channel] > FILL_VALUE for channel in (0, 1)])
    shown = shown[[{4: 0, 7: 1}[label] for label in target.labels.tolist()]]
    return float((shown & target.masks).sum() / (shown | target.masks).sum())


GEOMETRIC = {
    "flip": RandomFlip(1.0),
    "short side": ResizeShortSide((30, 45, 90), 200),
    "long side": ResizeShortSide((90,), 70),
    "crop": RandomCrop((40, 50)),
    "crop and pad": RandomCrop((70, 50)),
    "clip window": RandomClipWindow((384, 600)),
    "jitter": LargeScaleJitter((0.5, 2.0), (64, 48)),
    "rotation": RandomRotation(15),
    "camera": RandomCameraPerFrame(15, 0.6),
}


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_masks_go_where_the_pixels_go(name, memory_format) -> None:
    frames, target = painted_clip()
    frames = frames.contiguous(memory_format=memory_format)
    original = frames.clone()
    for seed in range(8):
        new_frames, new_target = Compose([GEOMETRIC[name]])(frames, target, np.random.default_rng(seed))
        assert new_frames.dtype == torch.uint8
        assert new_target.masks.shape[1:] == (3, *new_frames.shape[2:])
        assert agreement(new_frames, new_target) > 0.93
        assert new_target.instance_ids.tolist() == [10 * label for label in new_target.labels.tolist()]
    assert torch.equal(frames, original) and torch.equal(target.masks, painted_clip()[1].masks)


@pytest.mark.parametrize("name", GEOMETRIC)
def test_clips_without_instances_pass(name) -> None:
    frames, target = painted_clip()
    empty = ClipTarget(target.labels[:0], target.masks[:0], target.instance_ids[:0])
    new_frames, new_target = Compose([GEOMETRIC[name]])(frames, empty, np.random.default_rng(0))
    assert new_target.masks.shape == (0, 3, *new_frames.shape[2:])


@pytest.mark.parametrize("name", GEOMETRIC)
def test_ignored_pixels_go_where_masks_go(name) -> None:
    frames, target = painted_clip()
    target = dataclasses.replace(target, labelled_classes=torch.tensor([4]), ignored=target.masks[0])
    for seed in range(4):
        _, moved = GEOMETRIC[name](frames, target, np.random.default_rng(seed))
        assert torch.equal(moved.ignored, moved.masks[0]) and moved.labelled_classes.tolist() == [4]


@pytest.mark.parametrize("name", [name for name in GEOMETRIC if name != "camera"])
def test_clip_consistent_transforms_do_the_same_on_every_frame(name) -> None:
    frames, target = painted_clip()
    frames, masks = frames[:1].expand(3, -1, -1, -1), target.masks[:, :1].expand(-1, 3, -1, -1)
    still = ClipTarget(target.labels, masks, target.instance_ids)
    new_frames, new_target = GEOMETRIC[name](frames, still, np.random.default_rng(3))
    assert all(torch.equal(new_frames[0], frame) for frame in new_frames)
    assert all(torch.equal(new_target.masks[:, 0], new_target.masks[:, frame]) for frame in range(3))


def test_camera_differs_from_frame_to_frame() -> None:
    frames, target = painted_clip()
    frames, masks = frames[:1].expand(3, -1, -1, -1), target.masks[:, :1].expand(-1, 3, -1, -1)
    _, moved = GEOMETRIC["camera"](frames, ClipTarget(target.labels, masks), np.random.default_rng(3))
    assert not torch.equal(moved.masks[:, 0], moved.masks[:, 1])


@pytest.mark.parametrize("name", GEOMETRIC)
def test_seed_decides(name) -> None:
    frames, target = painted_clip()
    first, second = (GEOMETRIC[name](frames, target, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1].masks, second[1].masks)


def test_flip_mirrors() -> None:
    frames, target = painted_clip()
    flipped, flipped_target = RandomFlip(1.0)(frames, target, np.random.default_rng(0))
    assert torch.equal(flipped[..., 0], frames[..., -1])
    assert torch.equal(flipped_target.masks[..., 0], target.masks[..., -1])
    same, _ = RandomFlip(0.0)(frames, target, np.random.default_rng(0))
    assert same is frames


def test_resize_draws_every_side_and_caps_the_long_one() -> None:
    frames, target = painted_clip()
    rng = np.random.default_rng(0)
    sizes = {tuple(ResizeShortSide((30, 45, 90), 100)(frames, target, rng)[0].shape[2:]) for _ in range(40)}
    assert sizes == {(30, 40), (45, 60), (75, 100)}


def test_masks_take_the_value_at_the_centre_of_each_pixel() -> None:
    masks = torch.rand(2, 1, 9, 13) > 0.5
    resized = resize_masks(masks, (5, 20))
    rows = [int((row + 0.5) * 9 / 5) for row in range(5)]
    columns = [int((column + 0.5) * 13 / 20) for column in range(20)]
    assert torch.equal(resized, masks[:, :, rows][..., columns])


def test_padding_is_grey_and_empty() -> None:
    frames, target = painted_clip()
    padded, padded_target = pad_clip(frames, target, (64, 90))
    assert padded.shape[2:] == (64, 90)
    assert (padded[:, :, 60:] == FILL_VALUE).all() and (padded[..., 80:] == FILL_VALUE).all()
    assert not padded_target.masks[..., 60:, :].any() and not padded_target.masks[..., 80:].any()


def test_crop_keeps_an_instance_in_sight() -> None:
    frames, target = painted_clip(height=200, width=300)
    for seed in range(30):
        _, cropped = RandomCrop((60, 80))(frames, target, np.random.default_rng(seed))
        assert cropped.masks.any()


def test_half_of_the_clips_are_cut_to_a_window_with_sides_from_the_range() -> None:
    frames, target = painted_clip(num_frames=1)
    sizes = [
        tuple(RandomClipWindow((384, 450))(frames, target, np.random.default_rng(seed))[0].shape[2:])
        for seed in range(60)
    ]
    assert 18 < sizes.count((60, 80)) < 42  # those that are left as they are
    cut = [side for size in sizes if size != (60, 80) for side in size]
    assert 384 <= min(cut) < 395 and 440 < max(cut) <= 450
    with pytest.raises(ValueError, match="crop_range must be the smallest and the largest side"):
        RandomClipWindow((600, 384))


def test_jitter_scales_reach_from_smallest_to_largest() -> None:
    frames, target = painted_clip()
    areas = [
        int(LargeScaleJitter((0.25, 1.0), (60, 80))(frames, target, np.random.default_rng(seed))[1].masks.sum())
        for seed in range(60)
    ]
    full = int(target.masks.sum())
    assert 0.05 * full < min(areas) < 0.2 * full and 0.8 * full < max(areas) <= 1.1 * full


def test_instances_that_leave_the_window_are_dropped() -> None:
    frames, target = painted_clip()

    def left_half(frames, target, rng):
        return frames[..., :40], ClipTarget(target.labels, target.masks[..., :40], target.instance_ids)

    _, kept = Compose([left_half])(frames, target, np.random.default_rng(0))
    assert kept.labels.tolist() == [4] and kept.instance_ids.tolist() == [40]


def test_rotation_turns_by_the_angle() -> None:
    matrix = window_matrix(61, 81, 90, 1.0, (0.5, 0.5))
    # counter-clockwise: what is right of the centre (40, 30) comes to lie above it
    np.testing.assert_allclose(matrix @ [50, 30, 1], [40, 20], atol=1e-9)


def test_window_fills_the_frame() -> None:
    matrix = window_matrix(60, 80, 0, 0.5, (1.0, 0.0))
    # the right half from its outer edge to its outer edge; the upper half likewise
    np.testing.assert_allclose(matrix @ [39.5, -0.5, 1], [-0.5, -0.5], atol=1e-9)
    np.testing.assert_allclose(matrix @ [79.5, 29.5, 1], [79.5, 59.5], atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResizeShortSide((), 100), "at least one side"),
        (lambda: LargeScaleJitter((2.0, 1.0), (10, 10)), "smallest <= largest"),
        (lambda: LargeScaleJitter((0.0, 1.0), (10, 10)), "0 < smallest"),
        (lambda: RandomCameraPerFrame(15, 0.0), r"min_window must be in \(0, 1\], got 0.0"),
    ],
)
def test_impossible_settings(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
