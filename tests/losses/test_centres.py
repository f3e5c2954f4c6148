"""Heat maps of object centres: the target and the focal loss, against their definitions written out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from video_mask2former.losses.centres import CentreLoss, focal_loss
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput, ClipTarget

SIZE = (64, 96)
MAP = (8, 12)


def output_of(centre_logits: torch.Tensor | None, batch: int = 1) -> ClipOutput:
    nothing = torch.zeros(batch, 1, 4)
    masks = MaskLogits(torch.zeros(batch, 1, 1), torch.zeros(batch, 1, 1, 16, 24))
    return ClipOutput(nothing, masks, nothing, nothing, SIZE, SIZE, centre_logits=centre_logits)


def target_of(*boxes: tuple[int, int, int, int], labels: tuple[int, ...] = (), **fields) -> ClipTarget:
    """Rectangles (top, bottom, left, right), in pixels of the heat map."""
    masks = torch.zeros(len(boxes), 1, *SIZE, dtype=torch.bool)
    for mask, (top, bottom, left, right) in zip(masks, boxes, strict=True):
        mask[:, 8 * top : 8 * bottom, 8 * left : 8 * right] = True
    return ClipTarget(torch.tensor(labels or (0,) * len(boxes)), masks, **fields)


def reference(logits: torch.Tensor, centres: list[tuple[int, int, int, float, float]]) -> float:
    """Equation 1 of CenterNet, pixel by pixel; a centre is (class, row, column, deviation of rows, of columns)."""
    total = 0.0
    for label, row, column in torch.cartesian_prod(*(torch.arange(n) for n in logits.shape)).tolist():
        heat = 0.0
        for of_class, y, x, spread_y, spread_x in centres:
            if of_class == label:
                distance = ((row - y) / spread_y) ** 2 + ((column - x) / spread_x) ** 2
                heat = max(heat, math.exp(-distance / 2))
        p = 1 / (1 + math.exp(-float(logits[label, row, column])))
        total += -((1 - p) ** 2) * math.log(p) if heat == 1 else -((1 - heat) ** 4) * p**2 * math.log(1 - p)
    return total / max(len(centres), 1)


def test_the_loss_and_its_gradient_are_those_of_the_definition():
    logits = torch.randn(3, *MAP).double()
    target = target_of((1, 6, 2, 9), (3, 4, 9, 10), labels=(2, 0))
    centres = [(2, 3, 5, 0.3 * 5, 0.3 * 7), (0, 3, 9, 0.5, 0.5)]  # the second is smaller than half a pixel allows
    moved = logits.clone().requires_grad_()
    loss = CentreLoss(3, weight=2.0, spread=0.3)(output_of(moved[None, None]), [target])["loss_centre"]
    assert loss.item() == pytest.approx(2 * reference(logits, centres), rel=1e-9)
    loss.backward()
    for index in ((2, 3, 5), (0, 3, 9), (2, 4, 5), (1, 0, 0)):
        step = torch.zeros_like(logits)
        step[index] = 1e-6
        slope = (reference(logits + step, centres) - reference(logits - step, centres)) / 2e-6
        assert float(moved.grad[index]) == pytest.approx(2 * slope, rel=1e-5, abs=1e-9)


def test_the_centre_of_a_ring_lies_on_it():
    target = target_of((1, 7, 2, 8))
    target.masks[:, :, 16:48, 24:56] = False
    logits = torch.full((1, 1, 3, *MAP), -20.0)
    heights = []
    for row, column in ((3, 4), (3, 2), (4, 7), (1, 4), (6, 5)):  # its middle, and places on its four sides
        raised = logits.clone()
        raised[0, 0, 0, row, column] = 20.0
        heights.append(float(CentreLoss(3)(output_of(raised), [target])["loss_centre"]))
    assert heights[0] > 20
    assert min(heights[1:]) < 0.01


def test_confident_peaks_cost_nothing_and_peaks_elsewhere_do():
    target = target_of((1, 6, 2, 9))
    logits = torch.full((1, 1, 3, *MAP), -20.0)
    logits[0, 0, 0, 3, 5] = 20.0
    loss = CentreLoss(3)
    assert float(loss(output_of(logits), [target])["loss_centre"]) < 1e-6
    logits[0, 0, 0, 0, 11] = 20.0
    assert float(loss(output_of(logits), [target])["loss_centre"]) > 10


def test_classes_that_are_not_labelled_are_background_on_other_instances_only():
    loss = CentreLoss(3)
    target = target_of((1, 6, 2, 9), labelled_classes=torch.tensor([0]))

    def cost(label: int, row: int, column: int, target: ClipTarget = target) -> float:
        logits = torch.full((1, 1, 3, *MAP), -20.0)
        logits[0, 0, 0, 3, 5] = 20.0
        logits[0, 0, label, row, column] = 20.0
        return float(loss(output_of(logits), [target])["loss_centre"])

    assert cost(1, 0, 11) < 1e-6  # an animal that nobody annotated
    assert cost(1, 3, 5) > 10  # but this is a person
    assert cost(0, 0, 11) > 10
    ignored = torch.zeros(1, *SIZE, dtype=torch.bool)
    ignored[:, :8, 88:] = True
    assert cost(0, 0, 11, replace(target, ignored=ignored)) < 1e-6
    assert cost(0, 0, 9, replace(target, ignored=ignored)) > 10


def test_clips_without_objects_teach_background():
    logits = torch.zeros(2, 1, 3, *MAP, requires_grad=True)
    empty = ClipTarget(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 1, *SIZE, dtype=torch.bool))
    CentreLoss(3)(output_of(logits, batch=2), [empty, target_of((1, 6, 2, 9))])["loss_centre"].backward()
    assert (logits.grad[0] > 0).all()
    assert logits.grad[1, 0, 0, 3, 5] < 0


def test_extreme_logits_stay_finite():
    logits = torch.tensor([-1e4, 1e4, -1e4, 1e4], requires_grad=True)
    losses = focal_loss(logits, torch.tensor([1.0, 1.0, 0.0, 0.0]))
    losses.sum().backward()
    assert losses.isfinite().all() and logits.grad.isfinite().all()
    assert losses.tolist() == pytest.approx([1e4, 0, 0, 1e4])


def test_an_output_without_heat_maps_is_an_error():
    with pytest.raises(ValueError, match=r"needs a decoder with heat maps: set model\.decoder\.name=peak_queries"):
        CentreLoss(3)(output_of(None), [target_of((1, 2, 1, 2))])
