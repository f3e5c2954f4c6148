"""Incomplete labels against slow loops, and what the criterion makes of them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from video_mask2former.losses import HungarianMatcher, SetCriterion
from video_mask2former.losses.incomplete_labels import allow_unlabelled, marginal_cross_entropy
from video_mask2former.losses.mask_losses import dice, sigmoid_cross_entropy
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput, ClipTarget

NUM_CLASSES = 4


def make_criterion() -> SetCriterion:
    return SetCriterion(NUM_CLASSES, HungarianMatcher(), num_points=400)


def output_of(class_logits: torch.Tensor, mask_logits: torch.Tensor) -> ClipOutput:
    nothing = torch.zeros(*class_logits.shape[:2], 1)
    return ClipOutput(class_logits, MaskLogits.from_dense(mask_logits), nothing, nothing, (64, 64), (64, 64))


def slow_allowed(target: ClipTarget, masks, targets, ignored, query: int) -> set[int]:
    """The rule of one unmatched query, word for word."""
    points = [point for point in range(masks.shape[1]) if masks[query, point]]
    on_instances = [point for point in points if any(mask[point] for mask in targets)]
    in_ignored = [point for point in points if ignored is not None and ignored[point]]
    if len(in_ignored) > len(points) / 2:
        return set(range(NUM_CLASSES + 1))
    allowed = {NUM_CLASSES}
    if target.labelled_classes is not None and len(on_instances) <= len(points) / 2:
        allowed |= set(range(NUM_CLASSES)) - set(target.labelled_classes.tolist())
    return allowed


def random_case(seed: int):
    generator = torch.Generator().manual_seed(seed)
    count, num_queries, num_points = seed % 4, 6, 12
    labelled = torch.randperm(NUM_CLASSES, generator=generator)[: seed % (NUM_CLASSES + 1)]
    target = ClipTarget(
        torch.randint(NUM_CLASSES, (count,), generator=generator),
        torch.zeros(count, 1, 4, 4, dtype=torch.bool),
        labelled_classes=None if seed % 3 == 0 else labelled,
    )
    masks = torch.rand(num_queries, num_points, generator=generator) < 0.4
    masks[0] = False
    targets = torch.rand(count, num_points, generator=generator) < 0.3
    ignored = None if seed % 2 == 0 else torch.rand(num_points, generator=generator) < 0.5
    return target, masks, targets, ignored


@pytest.mark.parametrize("seed", range(24))
def test_allowed_classes_and_loss_equal_slow_loops(seed: int) -> None:
    target, masks, targets, ignored = random_case(seed)
    no_object = torch.eye(NUM_CLASSES + 1, dtype=torch.bool)[[NUM_CLASSES] * len(masks)]
    allowed = allow_unlabelled(no_object, target, masks, targets.any(dim=0), ignored)
    logits = torch.randn(len(masks), NUM_CLASSES + 1, generator=torch.Generator().manual_seed(seed)).double()
    losses = marginal_cross_entropy(logits, allowed)
    for query, row in enumerate(allowed.tolist()):
        expected = slow_allowed(target, masks, targets, ignored, query)
        assert {index for index, is_allowed in enumerate(row) if is_allowed} == expected
        exponentials = [math.exp(value) for value in logits[query].tolist()]
        probability = sum(exponentials[index] for index in expected) / sum(exponentials)
        assert float(losses[query]) == pytest.approx(-math.log(probability), abs=1e-9)


def test_one_allowed_class_is_cross_entropy_and_all_are_no_loss() -> None:
    logits = torch.randn(5, 4, requires_grad=True)
    allowed = torch.eye(5, 4, dtype=torch.bool)
    allowed[4] = True
    losses = marginal_cross_entropy(logits, allowed)
    expected = torch.nn.functional.cross_entropy(logits[:4], torch.arange(4), reduction="none")
    torch.testing.assert_close(losses[:4], expected)
    losses.sum().backward()
    assert losses[4] == 0 and (logits.grad[4] == 0).all() and logits.grad[:4].abs().min() > 0


def test_weights_of_zero_leave_points_out() -> None:
    logits, targets = torch.randn(3, 20), (torch.rand(3, 20) > 0.5).float()
    weights = torch.zeros(3, 20)
    weights[:, :13] = 1
    for loss in (sigmoid_cross_entropy, dice):
        torch.testing.assert_close(loss(logits, targets, weights), loss(logits[:, :13], targets[:, :13]))
        assert (loss(logits, targets, torch.zeros(3, 20)) == 0).all()


def square(top: int, left: int, side: int = 16) -> torch.Tensor:
    mask = torch.zeros(64, 64, dtype=torch.bool)
    mask[top : top + side, left : left + side] = True
    return mask


def clip_of_four_queries() -> tuple[ClipOutput, ClipTarget]:
    """An instance at the top left; query 0 finds it, 1 does so again, 2 finds something else, 3 something ignored."""
    places = [square(0, 0), square(0, 4), square(0, 40), square(40, 40)]
    mask_logits = torch.stack([torch.where(place[::4, ::4], 6.0, -6.0) for place in places])[None, :, None]
    class_logits = torch.zeros(1, 4, NUM_CLASSES + 1)
    class_logits[0, 0, 1] = 3.0
    output = output_of(class_logits.requires_grad_(), mask_logits.requires_grad_())
    target = ClipTarget(
        torch.tensor([1]),
        square(0, 0)[None, None],
        point_seed=5,
        labelled_classes=torch.tensor([1, 2]),
        ignored=square(36, 36, 24)[None],
    )
    return output, target


@torch.no_grad()
def losses_of(output: ClipOutput, target: ClipTarget) -> dict[str, torch.Tensor]:
    return make_criterion()(output, [target])


def class_gradients(target: ClipTarget) -> torch.Tensor:
    output, _ = clip_of_four_queries()
    make_criterion()(output, [target])["loss_ce"].backward()
    return output.class_logits.grad[0]


def test_queries_are_pushed_to_no_object_only_where_that_is_known() -> None:
    _, target = clip_of_four_queries()
    matched, again, other, in_ignored = class_gradients(target)
    assert matched[1] < 0 and (matched[[0, 2, 3, 4]] > 0).all()
    assert again[4] < 0 and (again[:4] > 0).all(), "a second prediction of one object is wrong"
    assert (other[[0, 3, 4]] < 0).all() and (other[[1, 2]] > 0).all(), "it may be of a class that is not labelled"
    assert (in_ignored == 0).all()
    complete = class_gradients(dataclasses.replace(target, labelled_classes=None, ignored=None))
    assert (complete[1:, 4] < 0).all() and (complete[1:, :4] > 0).all()


def test_masks_are_not_judged_in_ignored_regions() -> None:
    output, target = clip_of_four_queries()
    dense = output.mask_logits.dense().detach().clone()
    dense[:, :3, :, 11:13, 11:13] *= -3  # two cells inside the border of the ignored region
    changed = output_of(output.class_logits, dense)
    before, after = losses_of(output, target), losses_of(changed, target)
    assert all(float(before[name]) == pytest.approx(float(after[name]), rel=1e-6) for name in before)
    judged = losses_of(changed, dataclasses.replace(target, ignored=None))
    assert judged["loss_mask"] > 1.5 * before["loss_mask"]


def test_complete_labels_said_in_words_change_nothing() -> None:
    output, target = clip_of_four_queries()
    plain = dataclasses.replace(target, labelled_classes=None, ignored=None)
    spelled_out = dataclasses.replace(
        target, labelled_classes=torch.arange(NUM_CLASSES), ignored=torch.zeros(1, 64, 64, dtype=torch.bool)
    )
    for loss, same in zip(*(losses_of(output, part).values() for part in (plain, spelled_out)), strict=True):
        assert float(same) == pytest.approx(float(loss), rel=1e-6)


def test_a_clip_that_is_ignored_throughout_has_no_loss_and_no_nan() -> None:
    output, target = clip_of_four_queries()
    nothing = ClipTarget(target.labels[:0], target.masks[:0], ignored=torch.ones(1, 64, 64, dtype=torch.bool))
    assert sum(losses_of(output, nothing).values()) == 0
    everything = dataclasses.replace(target, ignored=torch.ones(1, 64, 64, dtype=torch.bool))
    assert all(torch.isfinite(loss) for loss in losses_of(output, everything).values())
