"""Stitching by the masks on shared frames."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.tracking import OverlapTracker, QueryTracker


def test_masks_decide_where_queries_look_alike(object_maker) -> None:
    alike = torch.ones(4, 16) + 0.01 * torch.randn(4, 16)
    swapped = [1, 0, 3, 2]
    first = object_maker(alike, {0: (0, 0), 1: (4, 8)}, num_frames=2)
    # the queries exchange their looks between the clips; only the masks on the shared frame tell
    second = object_maker(alike[swapped], {0: (0, 0), 1: (4, 8)}, num_frames=2)

    stitched = OverlapTracker(mask_weight=0.9)
    ids = dict(zip(*_by_query(stitched.update(first, [0, 1])), strict=True))
    assert dict(zip(*_by_query(stitched.update(second, [1, 2])), strict=True)) == ids

    by_query = QueryTracker()
    ids = dict(zip(*_by_query(by_query.update(first, [0, 1])), strict=True))
    assert dict(zip(*_by_query(by_query.update(second, [1, 2])), strict=True)) != ids


def _by_query(update):
    return update.query_indices, update.track_ids


def test_queries_decide_without_shared_frames(object_maker, looks) -> None:
    tracker = OverlapTracker()
    tracker.update(object_maker(looks, {0: (0, 0), 3: (4, 8)}), [0])
    # the two change places, which masks would get wrong
    update = tracker.update(object_maker(looks, {0: (4, 8), 3: (0, 0)}), [1])
    assert dict(zip(*_by_query(update), strict=True)) == {0: 1, 3: 2}


def test_an_object_out_of_sight_on_the_shared_frames_is_known_by_its_query(object_maker, output_maker, looks) -> None:
    def clip(frames_of_3: list[int], nothing: float):
        output = object_maker(looks, {0: (0, 0), 3: (4, 8)}, num_frames=3)
        masks = output.mask_logits.dense()[0].clone()
        for frame in range(3):
            if frame not in frames_of_3:
                masks[3, frame] = nothing  # how sure it is that nothing is there says nothing
        return output_maker(looks, output.class_logits[0], masks)

    tracker = OverlapTracker()
    assert tracker.update(clip([0], -5.0), [0, 1, 2]).track_ids == (1, 2)
    assert tracker.update(clip([2], -1.0), [2, 3, 4]).track_ids == (1, 2)


def test_mask_weight_is_a_share() -> None:
    with pytest.raises(ValueError, match="mask_weight"):
        OverlapTracker(mask_weight=1.5)
