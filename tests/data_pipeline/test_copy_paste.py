from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from video_mask2former.data.copy_paste import paste_instances
from video_mask2former.data.samples import ClipSample
from video_mask2former.structures import ClipTarget


def sample_of(value: int, masks: torch.Tensor, label: int) -> ClipSample:
    """A clip whose pixels are all ``value``."""
    count, num_frames, height, width = masks.shape
    frames = torch.full((num_frames, 3, height, width), value, dtype=torch.uint8)
    target = ClipTarget(torch.full((count,), label), masks, torch.arange(count) + 10 * label)
    return ClipSample(frames, target, "toy", label, tuple(range(num_frames)), tuple("ab"[:num_frames]))


def square(height: int, width: int, top: int, left: int, side: int) -> torch.Tensor:
    masks = torch.zeros(1, 2, height, width, dtype=torch.bool)
    masks[0, 0, top : top + side, left : left + side] = True
    masks[0, 1, top + 1 : top + 1 + side, left : left + side] = True  # it moves down
    return masks


@pytest.mark.parametrize("other_size", [(20, 30), (40, 50), (24, 28)])
def test_pasted_pixels_and_masks_agree_and_cover(other_size) -> None:
    base = sample_of(50, torch.ones(1, 2, 24, 28, dtype=torch.bool), label=1)
    other = sample_of(200, square(*other_size, 8, 10, 6), label=2)
    pasted_somewhere = 0
    for seed in range(20):
        result = paste_instances(base, other, np.random.default_rng(seed))
        is_new = result.frames[:, 0] == 200
        covered = result.target.masks[result.target.labels == 2].any(dim=0)
        assert torch.equal(is_new, covered if covered.numel() else torch.zeros_like(is_new))
        kept = result.target.masks[result.target.labels == 1][0]
        assert torch.equal(kept, ~is_new), "what is covered is cut out of the masks below"
        assert (result.video_id, result.file_names) == (1, ("a", "b"))
        pasted_somewhere += bool(is_new.any())
    assert pasted_somewhere > 10
    assert (base.frames == 50).all() and base.target.masks.all(), "the inputs stay as they are"


def test_motion_is_kept() -> None:
    base = sample_of(50, torch.ones(1, 2, 24, 28, dtype=torch.bool), label=1)
    other = sample_of(200, square(24, 28, 8, 10, 6), label=2)
    for seed in range(20):
        masks = paste_instances(base, other, np.random.default_rng(seed)).target.masks[1:]
        if len(masks) and int(masks[0, 0].sum()) == 36 and int(masks[0, 1].sum()) == 36:
            assert torch.equal(masks[0, 1, 1:], masks[0, 0, :-1])
            return
    raise AssertionError("never pasted whole")


def test_what_is_hidden_everywhere_is_dropped() -> None:
    masks = torch.zeros(1, 2, 24, 28, dtype=torch.bool)
    masks[..., 12, 14] = True
    base = sample_of(50, masks, label=1)
    other = sample_of(200, torch.ones(1, 2, 60, 60, dtype=torch.bool), label=2)
    labels = [paste_instances(base, other, np.random.default_rng(seed)).target.labels.tolist() for seed in range(10)]
    assert [2] in labels


def test_a_random_part_of_the_instances_is_pasted() -> None:
    base = sample_of(50, torch.ones(1, 2, 24, 28, dtype=torch.bool), label=1)
    masks = torch.cat([square(24, 28, 8, 2, 4), square(24, 28, 8, 10, 4), square(24, 28, 8, 20, 4)])
    other = sample_of(200, masks, label=2)
    chosen = {
        tuple(paste_instances(base, other, np.random.default_rng(seed)).target.instance_ids.tolist()[1:])
        for seed in range(60)
    }
    assert len(chosen) >= 6 and all(ids for ids in chosen if len(ids) <= 3)


def test_nothing_to_paste() -> None:
    base = sample_of(50, torch.ones(1, 2, 24, 28, dtype=torch.bool), label=1)
    assert (
        paste_instances(base, sample_of(9, torch.zeros(0, 2, 9, 9, dtype=torch.bool), 2), np.random.default_rng(0))
        is base
    )


def test_what_is_pasted_is_known_and_the_rest_stays_unknown() -> None:
    base = sample_of(50, torch.ones(1, 2, 24, 28, dtype=torch.bool), label=1)
    unknown = torch.ones(2, 24, 28, dtype=torch.bool)
    target = dataclasses.replace(base.target, labelled_classes=torch.tensor([2]), ignored=unknown)
    base = dataclasses.replace(base, target=target)
    other = sample_of(200, square(24, 28, 8, 10, 6), label=2)
    result = paste_instances(base, other, np.random.default_rng(0))
    assert torch.equal(result.target.ignored, result.frames[:, 0] != 200) and not result.target.ignored.all()
    assert result.target.labelled_classes.tolist() == [2]


def test_pasted_instances_can_be_made_to_touch_their_class() -> None:
    base = sample_of(50, torch.cat([square(60, 90, 20, 40, 12), square(60, 90, 2, 2, 6)]), label=1)
    base = dataclasses.replace(base, target=dataclasses.replace(base.target, labels=torch.tensor([1, 2])))
    other = sample_of(200, square(60, 90, 30, 5, 10), label=1)
    other = dataclasses.replace(other, video_id=7)
    touching = {0.0: 0, 1.0: 0}
    for probability in touching:
        for seed in range(30):
            result = paste_instances(base, other, np.random.default_rng(seed), probability)
            frame = result.target.masks[:, 0]
            wide = torch.nn.functional.max_pool2d(frame[-1:].float(), 5, stride=1, padding=2)[0] > 0
            touching[probability] += len(frame) == 3 and bool((wide & base.target.masks[0, 0]).any())
    assert touching[1.0] == 30
    assert touching[0.0] < 15


def test_where_nothing_of_their_class_is_seen_they_come_anywhere() -> None:
    base = sample_of(50, square(24, 28, 2, 2, 6), label=1)
    other = sample_of(200, square(24, 28, 8, 10, 6), label=2)
    tops = set()
    for seed in range(10):
        pasted = paste_instances(base, other, np.random.default_rng(seed), 1.0).frames[0, 0] == 200
        tops |= {int(pasted.any(dim=1).int().argmax())} if pasted.any() else set()
    assert len(tops) > 3
