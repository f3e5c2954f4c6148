"""Masks in several places become objects, and only those."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.split_masks import split_masks
from video_mask2former.structures import ClipOutput
from video_mask2former.tracking import QueryTracker


def output_of(*clips: torch.Tensor, is_object: tuple[bool, ...] = (True, True)) -> ClipOutput:
    """Clips of two queries each, from masks ``(2, T, h, w)`` bool."""
    dense = torch.where(torch.stack(clips), 5.0, -5.0)
    class_logits = torch.tensor([[4.0, 0.0, 0.0] if found else [0.0, 0.0, 9.0] for found in is_object])
    class_logits = class_logits.expand(len(clips), -1, -1)
    embeddings = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -2.0]]).expand(len(clips), -1, -1)
    size = (4 * dense.shape[3], 4 * dense.shape[4])
    return ClipOutput(class_logits, MaskLogits.from_dense(dense), embeddings, 2 * embeddings, size, size)


def masks_of(*rectangles: tuple[int, int, int, int], num_frames: int = 1) -> torch.Tensor:
    """One mask of several rectangles (top, left, height, width), ``(T, 12, 20)``."""
    mask = torch.zeros(num_frames, 12, 20, dtype=torch.bool)
    for top, left, height, width in rectangles:
        mask[:, top : top + height, left : left + width] = True
    return mask


NOTHING = masks_of()
LARGE, MIDDLE, SMALL = (1, 1, 8, 4), (2, 8, 5, 4), (4, 15, 1, 2)


def test_each_large_part_is_an_object_and_a_small_one_stays_with_the_largest() -> None:
    group, single = masks_of(LARGE, MIDDLE, SMALL), masks_of(LARGE)
    split = split_masks(output_of(torch.stack([group, single])), 0.5)
    masks = split.mask_logits.dense()[0] > 0
    assert torch.equal(masks, torch.stack([masks_of(LARGE, SMALL), single, masks_of(MIDDLE)]))
    assert torch.equal(split.class_logits[0, 2], split.class_logits[0, 0])
    assert torch.equal(split.queries[0, 2], split.queries[0, 0])
    all_parts = split_masks(output_of(torch.stack([group, single])), 0.01).mask_logits.dense()[0] > 0
    assert torch.equal(all_parts[[0, 2, 3]], torch.stack([masks_of(part) for part in (LARGE, MIDDLE, SMALL)]))


def test_what_is_no_object_is_not_split() -> None:
    clip = torch.stack([masks_of(LARGE, MIDDLE), masks_of(LARGE, MIDDLE)])
    assert split_masks(output_of(clip, is_object=(True, False)), 0.1).class_logits.shape[1] == 3


def test_clips_of_a_batch_are_padded_with_no_objects() -> None:
    whole, parted = torch.stack([masks_of(LARGE), NOTHING]), torch.stack([masks_of(LARGE, MIDDLE), NOTHING])
    split = split_masks(output_of(whole, parted), 0.1)
    assert split.class_logits.softmax(dim=2)[0, 2, 2] > 0.999
    assert torch.equal(split.clip(1).mask_logits.dense(), split_masks(output_of(parted), 0.1).mask_logits.dense())


def test_parts_of_a_clip_hold_together_in_time() -> None:
    mask = masks_of(LARGE, num_frames=3)
    mask[:, 1:9, 1:5] = False
    for frame in range(3):
        mask[frame, 1 + frame : 4 + frame, 1:4] = True  # it moves
    assert split_masks(output_of(torch.stack([mask, torch.zeros_like(mask)])), 0.1).class_logits.shape[1] == 2
    mask[1] = False  # gone for a frame
    assert split_masks(output_of(torch.stack([mask, torch.zeros_like(mask)])), 0.1).class_logits.shape[1] == 3


def test_a_tracker_tells_the_parts_of_one_query_apart() -> None:
    tracker, ids = QueryTracker(), []
    for frame in range(6):
        mask = masks_of((1, 1 + frame, 6, 3), (5, 16 - frame, 6, 4))  # they pass each other's column
        update = tracker.update(split_masks(output_of(torch.stack([mask, NOTHING])), 0.1), (frame,))
        lefts = {query: track for query, track in zip(update.query_indices, update.track_ids, strict=True)}
        ids.append((lefts[0], lefts[2]))
    assert len(set(ids)) == 1 and ids[0][0] != ids[0][1]


@pytest.mark.parametrize("share", [0.0, 0.001])
def test_models_split_outside_of_training(tiny_model, share) -> None:
    model = tiny_model()
    model.split_share = share
    frames = torch.randint(0, 255, (1, 1, 3, 128, 192), dtype=torch.uint8)
    with torch.no_grad():
        plain, split = model.decoder(model.encode(frames)), model(frames)
        assert (split.class_logits.shape[1] > plain.class_logits.shape[1]) == (share > 0)
        assert model.train()(frames).class_logits.shape == plain.class_logits.shape
