"""Matching where an object first appears, by hand; the published figures are in the tests of the models."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from video_mask2former.losses import HungarianMatcher
from video_mask2former.losses.first_appearance import UNSEEN, FirstAppearanceCriterion
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput, ClipTarget

NUM_CLASSES = 3


def squares(places: list[list[int | None]]) -> torch.Tensor:
    """Masks ``(N, T, 16, 16)``: each object is one quarter of each frame, None where it is absent."""
    masks = torch.zeros(len(places), len(places[0]), 16, 16, dtype=torch.bool)
    for instance, frames in enumerate(places):
        for frame, place in enumerate(frames):
            if place is not None:
                top, left = 8 * (place // 2), 8 * (place % 2)
                masks[instance, frame, top : top + 8, left : left + 8] = True
    return masks


def output_of(shown: list[list[int | None]], classes: list[int], scale: float = 5.0) -> ClipOutput:
    """Queries that show the quarters ``shown`` of each frame, each with the same class on every frame."""
    masks = squares(shown)
    logits = scale * (2 * torch.nn.functional.avg_pool2d(masks.float(), 4) - 1)  # (Q, T, 4, 4)
    num_queries, num_frames = logits.shape[:2]
    frame_logits = torch.full((1, num_frames, num_queries, NUM_CLASSES + 1), -scale)
    for query, label in enumerate(classes):
        frame_logits[:, :, query, label] = scale
    embeddings = torch.eye(num_queries).expand(1, num_frames, -1, -1)
    nothing = torch.zeros(1, num_queries, 1)
    return ClipOutput(
        frame_logits.mean(dim=1),
        MaskLogits(embeddings, logits.transpose(0, 1)[None]),
        nothing,
        nothing,
        (16, 16),
        (16, 16),
        frame_class_logits=frame_logits,
        frame_embeddings=torch.zeros(1, num_frames, num_queries, 1),
    )


def criterion() -> FirstAppearanceCriterion:
    return FirstAppearanceCriterion(NUM_CLASSES, HungarianMatcher(), num_points=200)


def test_an_object_takes_a_free_query_on_its_first_frame_and_keeps_it():
    # Object 1 would fit query 0 best on every frame, but object 0 came first; later frames do not count.
    target = ClipTarget(torch.tensor([0, 0, 1]), squares([[0, None, 3], [None, 0, 0], [None, None, None]]))
    output = output_of([[0, 0, 0], [3, 3, 3], [1, 0, 1]], [0, 0, 0])
    assert criterion().assign(output, [target])[0][0].tolist() == [0, 2, UNSEEN]


def test_parts_of_a_clip_give_the_queries_of_the_whole():
    places = [[0, 0, None, 1], [None, None, 3, 3], [2, None, None, 2]]
    target = ClipTarget(torch.tensor([0, 1, 2]), squares(places))
    output = output_of([[3, 3, 3, 3], [0, 0, 0, 0], [2, 2, 2, 2], [1, 1, 1, 1]], [1, 0, 2, 3])
    whole = criterion().assign(output, [target])
    assert whole[0][0].tolist() == [1, 0, 2]
    before = None
    for start in (0, 2):
        part = dataclasses.replace(target, masks=target.masks[:, start : start + 2])
        before = criterion().assign(output.frames(start, start + 2), [part], before)
        assert before[0][0].tolist() == ([1, UNSEEN, 2] if start == 0 else [1, 0, 2])


def test_a_query_is_supervised_on_every_frame_also_where_its_object_is_absent():
    target = ClipTarget(torch.tensor([0]), squares([[0, None]]))
    right, stays = (output_of([[0, place], [None, None]], [0, 3], scale=20.0) for place in (None, 0))
    expected, losses = criterion()(right, [target]), criterion()(stays, [target])
    assert float(losses["loss_mask"]) > 5 * float(expected["loss_mask"])  # not 0: masks of a quarter of the size
    assert float(losses["loss_dice"]) > 2 * float(expected["loss_dice"])
    assert float(losses["loss_ce"]) == pytest.approx(0, abs=1e-4)


def test_every_object_counts_on_every_frame_unless_it_is_on_none():
    target = ClipTarget(torch.tensor([0, 1, 2]), squares([[0, None, None], [None, 1, 1], [None, None, None]]))
    normalizer = criterion().normalizer([target], num_queries=10)
    assert normalizer.num_instances == 2 * 3
    assert normalizer.class_weight == pytest.approx(3 * (2 + 0.1 * 8))


def test_more_objects_than_queries_leave_the_last_ones_without():
    target = ClipTarget(torch.tensor([0, 0, 0]), squares([[0, 0], [None, 1], [None, 2]]))
    output = output_of([[0, 0], [1, 1]], [0, 0])
    assert criterion().assign(output, [target])[0][0].tolist() == [0, 1, UNSEEN]
    assert all(torch.isfinite(value) for value in criterion()(output, [target]).values())


def test_outputs_without_single_frames_are_refused():
    output = dataclasses.replace(output_of([[0]], [0]), frame_class_logits=None)
    with pytest.raises(ValueError, match="predictions per frame"):
        criterion()(output, [ClipTarget(torch.tensor([0]), squares([[0]]))])
