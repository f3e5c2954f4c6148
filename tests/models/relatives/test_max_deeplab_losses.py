"""Losses and results of MaX-DeepLab against figures of the published TensorFlow code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from video_mask2former.config import InferenceSettings
from video_mask2former.losses.max_deeplab import (
    InstanceDiscriminationLoss,
    MaXDeepLabCriterion,
    PanopticQualityLoss,
    PixelTargets,
    mean_of_nonzero,
    pixel_shares,
    pq_similarity,
)
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.rle import decode_rle
from video_mask2former.structures import ClipOutput, ClipTarget
from video_mask2former.tasks import AnswerRules, VideoPanopticTask, video_task
from video_mask2former.tasks.pixel_panoptic import (
    PastedPanopticTask,
    PixelPanopticTask,
    pasted_panoptic,
    pixel_panoptic,
)

NAMES = {
    "loss_pq_mask": "pq_style_loss_mask_dice_term",
    "loss_pq_class": "pq_style_loss_class_term",
    "loss_mask_id": "mask_id_cross_entropy_loss",
    "loss_instance_discrimination": "instance_discrimination_loss",
    "loss_semantic": "semantic_loss",
}


class Case:
    """The recorded inputs of one dataset, under our conventions: things first, then stuff, "no object" last."""

    def __init__(self, name: str, figures: dict[str, np.ndarray]) -> None:
        self.figures = {key.removeprefix(f"{name}/"): value for key, value in figures.items() if key.startswith(name)}
        _, self.height, self.width, self.stride, *_, num_classes, self.ignore, _ = self.figures["meta"].tolist()
        things = self.figures["things"].tolist()
        stuff = [label for label in range(num_classes) if label not in things and label != self.ignore]
        self.classes, self.num_things = things + stuff, len(things)
        self.semantic, self.thing_id = (
            torch.from_numpy(self.figures[f"gt/{key}"].astype(np.int64)) for key in ("semantic", "thing_id")
        )
        self.features, self.masks, self.logits, self.semantic_logits = (
            torch.from_numpy(self.figures[f"in/{key}"]).double().requires_grad_()
            for key in (
                "pixel_space_normalized_feature",
                "pixel_space_mask_logits",
                "transformer_class_logits",
                "semantic_logits",
            )
        )

    def target(self, index: int) -> ClipTarget:
        """Things in their order, then stuff; crowds, which are of a thing class and of no thing, are ignored."""
        labels, masks = [], []
        for number, label in enumerate(self.figures["gt/thing_class"][index].tolist()):
            if label >= 0:
                labels.append(self.classes.index(label))
                masks.append(self.thing_id[index] == number)
        for position, label in enumerate(self.classes[self.num_things :], start=self.num_things):
            labels.append(position)
            masks.append(self.semantic[index] == label)
        every = torch.stack(masks)
        ignored = ~every.any(dim=0) & (self.semantic[index] != self.ignore)
        return ClipTarget(torch.tensor(labels), every[:, None], ignored=ignored[None])

    def semantic_loss(self, index: int) -> torch.Tensor:
        """The published loss of this dataset, with its own ignored label, weights and share of pixels."""
        step = slice(None, None, self.stride)
        labels = self.semantic[index, step, step].flatten()
        weights = torch.from_numpy(self.figures["gt/semantic_weight"][index, step, step].astype(float)).flatten()
        logits = self.semantic_logits[index].flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=self.ignore, reduction="none")
        return mean_of_nonzero(loss * weights, 0.2 if self.ignore else 1.0)


def crowd_leak(masks: torch.Tensor, targets: PixelTargets) -> torch.Tensor:
    """What the recorded gradient of mask logits ``(h, w, Q)`` has besides that of the loss.

    A pixel of a crowd has no query to go to, and TensorFlow's cross-entropy, which is 0 there, still has a gradient.
    """
    is_crowd = ~targets.is_void & ~targets.masks.any(dim=0)
    count = targets.masks.sum()
    return 0.3 / count * masks.softmax(dim=2) * is_crowd.view(*masks.shape[:2], 1)


@pytest.mark.parametrize("name", ["loss_coco", "loss_cityscapes"])
def test_losses_and_gradients_equal_the_published_ones(name, golden_file, recorded):
    case = Case(name, golden_file("maxdeeplab_losses_post"))
    total, leaks = torch.zeros(()).double(), []
    for index in range(2):
        targets = PixelTargets.of(case.target(index), (case.height, case.width), torch.float64)
        masks = case.masks[index].flatten(0, 1).T
        losses = PanopticQualityLoss()(case.logits[index], masks, targets)
        is_thing = targets.labels < case.num_things
        losses |= InstanceDiscriminationLoss()(case.features[index].flatten(0, 1).T, targets, is_thing)
        losses["loss_semantic"] = case.semantic_loss(index)
        for ours, theirs in NAMES.items():
            recorded.close(losses[ours].detach(), case.figures[f"loss/{theirs}"][index], 2e-6)
        total = total + sum(losses.values())
        leaks.append(crowd_leak(case.masks[index].detach(), targets))
        similarity, dice = pq_similarity(pixel_shares(masks), case.logits[index], targets)
        is_instance = case.figures["mask_similarity"][index].any(axis=1)
        recorded.close(dice.T, case.figures["mask_similarity"][index][is_instance], 2e-6)
        recorded.close(-similarity.T, case.figures["hungarian_weights"][index][is_instance], 2e-6)
    inputs = (case.logits, case.masks, case.features, case.semantic_logits)
    logits, masks, *others = torch.autograd.grad(total, inputs)
    recorded.close(logits, case.figures["grad/class_logits"], 2e-6)
    masks = masks + torch.stack(leaks)
    recorded.close(masks.abs().sum((1, 2)), case.figures["grad/mask_logits_slot_sum"], 2e-6)
    for gradient, key in zip(others, ("pixel_space_normalized_feature", "semantic_logits"), strict=True):
        recorded.close(gradient.norm()[None], case.figures[f"grad_norm/{key}"], 2e-6)


def output_of(case: Case) -> ClipOutput:
    """The recorded predictions as the output of a model."""
    semantic = case.semantic_logits.movedim(-1, 1)[:, None]
    order = [*case.classes, case.ignore if case.ignore < semantic.shape[2] else case.classes[0]]
    empty = case.logits.new_zeros(2, case.logits.shape[1], 1)
    size = tuple(case.semantic.shape[1:])
    return ClipOutput(
        case.logits,
        MaskLogits.from_dense(case.masks.movedim(-1, 1)[:, :, None]),
        empty,
        empty,
        size,
        size,
        pixel_features=case.features.movedim(-1, 1)[:, None],
        semantic_logits=semantic[:, :, order],
    )


def test_criterion_is_the_mean_over_clips(golden_file, recorded):
    case = Case("loss_coco", golden_file("maxdeeplab_losses_post"))
    criterion = MaXDeepLabCriterion(len(case.classes), num_thing_classes=case.num_things)
    targets = [case.target(index) for index in range(2)]
    losses = criterion(output_of(case), targets)
    for ours in tuple(NAMES)[:4]:
        recorded.close(losses[ours].detach(), case.figures[f"loss/{NAMES[ours]}"].mean(), 2e-6)
    assert losses["loss_semantic"].isfinite()
    whole = criterion.normalizer(targets, 14)
    halves = [
        criterion(output_of(case).clip(index), targets[index : index + 1], whole)["loss_pq_mask"] for index in range(2)
    ]
    torch.testing.assert_close(sum(halves), losses["loss_pq_mask"])
    with pytest.raises(ValueError, match="one target per clip"):
        criterion(output_of(case), targets[:1])


def test_clips_without_instances_have_finite_losses():
    output = ClipOutput(
        torch.randn(1, 4, 3),
        MaskLogits(torch.randn(1, 4, 8), torch.randn(1, 2, 8, 5, 6, requires_grad=True)),
        torch.zeros(1, 4, 8),
        torch.zeros(1, 4, 8),
        (20, 24),
        (20, 24),
    )
    target = ClipTarget(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, 20, 24, dtype=torch.bool))
    losses = MaXDeepLabCriterion(2)(output, [target])
    sum(losses.values()).backward()
    assert output.mask_logits.features.grad.isfinite().all()
    assert losses["loss_pq_class"] > 0 and losses["loss_mask_id"] == 0


def check_segments(result, expected, classes, void, divisor):
    """The same segments as a published map of class times divisor plus id."""
    semantic = np.full(expected.shape, void)
    for segment in result.segments:
        mask = result.label_map.numpy() == segment.segment_id
        semantic[mask] = classes[segment.label]
        assert len(np.unique(expected[mask])) == 1 and mask.sum() == segment.area
    assert (semantic == expected // divisor).all()
    assert len(result.segments) == len(np.setdiff1d(expected, [void * divisor]))


def test_results_equal_the_published_ones(golden_file):
    figures = {
        name.removeprefix("post_coco/"): value
        for name, value in golden_file("maxdeeplab_losses_post").items()
        if name.startswith("post_coco/")
    }
    void, divisor, height, width, thing_area, stuff_area = figures["meta"].tolist()
    things = figures["things"].tolist()
    classes = things + [label for label in range(8) if label not in things and label != void]
    for index in range(2):
        masks = torch.from_numpy(figures["mask_logits"][index]).double().movedim(-1, 0)
        logits = torch.from_numpy(figures["class_logits"][index]).double()[None]
        empty = logits.new_zeros(1, len(masks), 1)
        output = ClipOutput(
            logits, MaskLogits.from_dense(masks[None, :, None]), empty, empty, (height, width), (height, width)
        )
        result = pixel_panoptic(
            output,
            (height, width),
            range(len(things)),
            class_threshold=float(figures["thresholds"][0]),
            pixel_threshold=float(figures["thresholds"][1]),
            min_thing_area=thing_area,
            min_stuff_area=stuff_area,
        )
        check_segments(result, figures["pixelwise/panoptic"][index], classes, void, divisor)
        thing, stuff, overlap, class_exponent, mask_exponent = figures["maskwise/config"].tolist()
        pasted = pasted_panoptic(
            output,
            (height, width),
            range(len(things)),
            thing_threshold=thing,
            stuff_threshold=stuff,
            pixel_threshold=float(figures["thresholds"][1]),
            overlap_threshold=overlap,
            class_exponent=class_exponent,
            mask_exponent=mask_exponent,
            min_thing_area=thing_area,
            min_stuff_area=stuff_area,
        )
        check_segments(pasted, figures["maskwise/panoptic"][index], classes, void, divisor)
        nothing = pixel_panoptic(output, (height, width), range(len(things)), class_threshold=1.1)
        assert not nothing.segments and not nothing.label_map.any()


def test_videos_are_merged_where_slots_win():
    """Slots compete for pixels, so that the rule for videos gives the segments of the rule for images."""
    logits = torch.full((1, 3, 1, 8, 8), 2.0)  # a sigmoid of these would put every slot everywhere
    logits[0, 0, 0, :4], logits[0, 1, 0, 4:], logits[0, 2, 0, :, 6:] = 4.0, 4.0, 6.0
    classes = torch.tensor([[[9.0, 0, 0], [0, 9.0, 0], [9.0, 0, 0]]])
    output = ClipOutput(classes, MaskLogits.from_dense(logits).exclusive(), classes, classes, (8, 8), (8, 8))
    task = PixelPanopticTask(class_threshold=0.7, min_thing_area=1, min_stuff_area=1)
    image = task.segment(output, (8, 8), {0})
    rules = AnswerRules(InferenceSettings(), (True, False))
    video = video_task(task)
    assert isinstance(video, VideoPanopticTask) and video.object_mask_threshold == 0.7
    tracks = video.clip_tracks(output, [0], (8, 8), rules)
    masks = {track.label: [] for track in tracks}
    for track in tracks:
        masks[track.label].append(decode_rle(track.segmentations[0]))
    found = [(part.label, (image.label_map == part.segment_id).numpy()) for part in image.segments]
    assert len(found) == len(tracks) == 3
    for label, mask in found:
        assert any((mask == other).all() for other in masks[label])
    assert isinstance(video_task(PastedPanopticTask()), VideoPanopticTask)
