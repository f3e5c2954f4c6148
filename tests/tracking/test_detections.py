"""Which queries see something, and what their masks have in common."""

from __future__ import annotations

import torch

from video_mask2former.tracking import find_detections


def test_what_masks_share_is_counted_over_all_frames(output_maker) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = torch.randn(5, 3, 6, 7, generator=generator)
    masks[3] = -1.0  # sees nothing
    logits = torch.randn(5, 4, generator=generator)
    detections = find_detections(output_maker(torch.randn(5, 8, generator=generator), logits, masks), 0.0)
    scores = logits.softmax(dim=1)[:, :-1].amax(dim=1)
    assert detections.query_indices.tolist() == [i for i in scores.argsort(descending=True).tolist() if i != 3]
    assert detections.labels.tolist() == logits[detections.query_indices, :-1].argmax(dim=1).tolist()
    for row, first in enumerate(detections.query_indices):
        for column, second in enumerate(detections.query_indices):
            one, other = masks[first] > 0, masks[second] > 0
            common = (one & other).sum()
            torch.testing.assert_close(detections.mask_iou[row, column], common / (one | other).sum())
            torch.testing.assert_close(detections.mask_share[row, column], common / min(one.sum(), other.sum()))


def test_no_query_may_see_anything(output_maker) -> None:
    detections = find_detections(output_maker(torch.ones(2, 3), torch.zeros(2, 3), torch.full((2, 1, 4, 4), -1.0)), 0.1)
    assert len(detections) == 0 and detections.mask_share.shape == (0, 0)
