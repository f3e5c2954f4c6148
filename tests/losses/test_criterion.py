"""The criterion against the published one, and against its own dense form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from video_mask2former.losses import HungarianMatcher, SetCriterion
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput, ClipTarget


def output_of(class_logits: torch.Tensor, mask_logits: torch.Tensor) -> ClipOutput:
    height, width = (4 * side for side in mask_logits.shape[-2:])
    nothing = torch.zeros(*class_logits.shape[:2], 1)
    return ClipOutput(
        class_logits, MaskLogits.from_dense(mask_logits), nothing, nothing, (height, width), (height, width)
    )


def golden_clips(figures: dict[str, np.ndarray]) -> tuple[ClipOutput, list[ClipTarget]]:
    output = output_of(torch.from_numpy(figures["pred_logits"]), torch.from_numpy(figures["pred_masks"]))
    targets = []
    for clip in range(2):
        shape = figures[f"masks_{clip}_shape"]
        bits = np.unpackbits(figures[f"masks_{clip}"])[: shape.prod()].reshape(shape).astype(bool)
        targets.append(ClipTarget(torch.from_numpy(figures[f"labels_{clip}"]), torch.from_numpy(bits)))
    return output, targets


def make_criterion(num_classes: int = 3, num_points: int = 400) -> SetCriterion:
    return SetCriterion(num_classes, HungarianMatcher(), num_points=num_points)


@pytest.fixture
def training_output(tiny_model, clip_maker):
    model = tiny_model().train()
    clips = [clip_maker(num_instances=count) for count in (2, 3)]
    output = model(torch.stack([frames for frames, _ in clips]))
    return model, output, [target for _, target in clips]


def test_assignment_equals_the_published_one(golden):
    figures = golden("criterion")
    output, targets = golden_clips(figures)
    matches = SetCriterion(int(figures["num_classes"]), HungarianMatcher()).match(output, targets)[0]
    for clip, (queries, instances) in enumerate(matches):
        expected = dict(zip(figures[f"match_target_{clip}"], figures[f"match_query_{clip}"], strict=True))
        assert dict(zip(instances.tolist(), queries.tolist(), strict=True)) == expected


def test_losses_equal_the_published_ones(golden):
    figures = golden("criterion")
    output, targets = golden_clips(figures)
    criterion = SetCriterion(
        int(figures["num_classes"]), HungarianMatcher(), class_weight=1, mask_weight=1, dice_weight=1
    )
    draws = [criterion(output, targets) for _ in range(40)]
    assert float(draws[0]["loss_ce"]) == pytest.approx(float(figures["loss_ce"]), abs=1e-6)
    for name in ("loss_mask", "loss_dice"):
        mean = np.mean([float(losses[name]) for losses in draws])
        spread = float(figures[f"{name}_std"])
        # two means of 40 draws each: five standard errors of their difference
        assert mean == pytest.approx(float(figures[f"{name}_mean"]), abs=5 * spread * np.sqrt(2 / 40))


def test_every_prediction_has_three_losses(training_output):
    _, output, targets = training_output
    losses = make_criterion()(output, targets)
    numbered = {f"loss_{kind}_{layer}" for kind in ("ce", "mask", "dice") for layer in range(3)}
    assert set(losses) == numbered | {"loss_ce", "loss_mask", "loss_dice"}
    assert all(torch.isfinite(loss) and loss.ndim == 0 for loss in losses.values())


def test_gradients_reach_every_parameter(training_output):
    model, output, targets = training_output
    sum(make_criterion()(output, targets).values()).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []


def test_factored_masks_give_the_loss_and_gradients_of_dense_ones(tiny_model, clip_maker):
    model = tiny_model(dtype=torch.float64).train()
    frames, target = clip_maker(num_instances=3)
    criterion = make_criterion().double()

    def gradients(make_dense: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        torch.manual_seed(1)
        output = model(frames[None])
        if make_dense:
            output = with_dense_masks(output)
        total = sum(criterion(output, [target]).values())
        return total.detach(), list(torch.autograd.grad(total, list(model.parameters())))

    factored, dense = gradients(make_dense=False), gradients(make_dense=True)
    torch.testing.assert_close(factored, dense, rtol=1e-9, atol=1e-9)


def with_dense_masks(output: ClipOutput) -> ClipOutput:
    """The same output with the mask logits of all queries and layers multiplied out, as published code holds them.

    The logits of all predictions stand side by side as channels; an "embedding" picks one of them.
    """
    predictions = (*output.auxiliary, output)
    dense = torch.cat([prediction.mask_logits.dense() for prediction in predictions], dim=1)
    wrapped = MaskLogits.from_dense(dense)
    num_queries = output.class_logits.shape[1]

    def replaced(layer: int, auxiliary: tuple[ClipOutput, ...] = ()) -> ClipOutput:
        picked = torch.arange(layer * num_queries, (layer + 1) * num_queries)
        return dataclasses.replace(predictions[layer], mask_logits=wrapped.select(picked), auxiliary=auxiliary)

    return replaced(len(predictions) - 1, tuple(replaced(layer) for layer in range(len(predictions) - 1)))


def test_dense_masks_travel_through_the_same_criterion(training_output):
    _, output, targets = training_output
    criterion = make_criterion()
    torch.manual_seed(3)
    factored = criterion(output, targets)
    torch.manual_seed(3)
    dense = criterion(with_dense_masks(output), targets)
    torch.testing.assert_close(factored, dense, rtol=1e-4, atol=1e-4)


def test_mask_embeddings_per_frame_have_the_loss_of_those_per_clip_that_they_equal(training_output):
    _, output, targets = training_output

    def repeated(prediction: ClipOutput, auxiliary: tuple[ClipOutput, ...] = ()) -> ClipOutput:
        logits = prediction.mask_logits
        embeddings = logits.embeddings[:, None].expand(-1, logits.features.shape[1], -1, -1)
        return dataclasses.replace(prediction, mask_logits=MaskLogits(embeddings, logits.features), auxiliary=auxiliary)

    criterion = make_criterion()
    torch.manual_seed(3)
    per_clip = criterion(output, targets)
    torch.manual_seed(3)
    per_frame = criterion(repeated(output, tuple(map(repeated, output.auxiliary))), targets)
    torch.testing.assert_close(per_frame, per_clip, rtol=1e-4, atol=1e-4)


def test_predictions_may_have_mask_features_of_their_own(training_output):
    _, output, targets = training_output
    targets = [dataclasses.replace(target, point_seed=index) for index, target in enumerate(targets)]

    def apart(prediction: ClipOutput) -> ClipOutput:
        logits = prediction.mask_logits
        return dataclasses.replace(prediction, mask_logits=MaskLogits(2 * logits.embeddings, logits.features / 2))

    others = dataclasses.replace(apart(output), auxiliary=tuple(apart(earlier) for earlier in output.auxiliary))
    criterion = make_criterion()
    for name, value in criterion(output, targets).items():
        torch.testing.assert_close(criterion(others, targets)[name], value)


def test_an_instance_absent_from_the_last_frame_keeps_its_label(training_output):
    _, output, targets = training_output
    masks = targets[0].masks.clone()
    masks[:, -1] = False
    absent = [ClipTarget(targets[0].labels, masks), targets[1]]
    matches = make_criterion().match(output, absent)[-1]
    assert matches[0][1].tolist() == list(range(len(targets[0])))


def test_clips_without_instances_train_as_no_object(tiny_model, clip_maker):
    model = tiny_model().train()
    frames, target = clip_maker(num_instances=0)
    losses = make_criterion()(model(frames[None]), [target])
    assert losses["loss_mask"].item() == 0.0 and losses["loss_dice"].item() == 0.0
    sum(losses.values()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_more_instances_than_queries_are_matched_as_far_as_queries_go(tiny_model, clip_maker):
    frames, target = clip_maker(num_instances=5)
    model = tiny_model(num_queries=3).train()
    criterion = make_criterion()
    output = model(frames[None])
    queries, instances = criterion.match(output, [target])[-1][0]
    assert sorted(queries.tolist()) == [0, 1, 2] and len(set(instances.tolist())) == 3
    assert all(torch.isfinite(loss) for loss in criterion(output, [target]).values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_predictions_that_are_not_finite_do_not_crash(training_output, bad):
    _, output, targets = training_output
    logits = output.class_logits.detach().clone()
    logits[0, 0] = bad
    embeddings = output.mask_logits.embeddings.detach().clone()
    embeddings[0, 1] = bad
    broken = dataclasses.replace(
        output, class_logits=logits, mask_logits=MaskLogits(embeddings, output.mask_logits.features)
    )
    queries, instances = make_criterion().match(broken, targets)[-1][0]
    assert len(queries) == len(instances) == len(targets[0])
    make_criterion()(broken, targets)


def test_parts_of_a_batch_sum_to_the_whole(training_output):
    """With seeded points and the whole batch's normaliser, gradient accumulation and ranks are exact."""
    _, output, targets = training_output
    targets = [dataclasses.replace(target, point_seed=seed) for seed, target in enumerate(targets)]
    criterion = make_criterion()
    num_queries = output.class_logits.shape[1]
    normalizer = criterion.normalizer(targets, num_queries)
    summed = criterion.normalizer(targets[:1], num_queries) + criterion.normalizer(targets[1:], num_queries)
    assert dataclasses.astuple(normalizer) == pytest.approx(dataclasses.astuple(summed))
    whole = criterion(output, targets)
    first, second = (criterion(output.clip(index), [targets[index]], normalizer) for index in range(2))
    torch.testing.assert_close({name: first[name] + second[name] for name in whole}, whole)


def test_seeded_points_do_not_depend_on_what_was_drawn_before(training_output):
    _, output, targets = training_output
    seeded = [dataclasses.replace(target, point_seed=7) for target in targets]
    criterion = make_criterion()
    first = criterion(output, seeded)
    torch.rand(5)
    torch.testing.assert_close(criterion(output, seeded), first, rtol=0, atol=0)
    other = criterion(output, [dataclasses.replace(target, point_seed=8) for target in targets])
    assert float(other["loss_mask"].detach()) != float(first["loss_mask"].detach())


def test_masks_smaller_than_the_padded_frames_are_padded(tiny_model, clip_maker):
    frames, target = clip_maker(size=(50, 70))
    output = tiny_model().train()(frames[None])
    assert output.padded_size == (64, 96)
    assert torch.isfinite(sum(make_criterion()(output, [target]).values()))


def test_half_precision_outputs_are_lossed_in_float32(training_output):
    _, output, targets = training_output
    half = dataclasses.replace(
        output,
        class_logits=output.class_logits.bfloat16(),
        mask_logits=MaskLogits(output.mask_logits.embeddings.bfloat16(), output.mask_logits.features.bfloat16()),
        auxiliary=(),
    )
    with torch.autocast("cpu", torch.bfloat16):
        losses = make_criterion()(half, targets)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda targets: targets[:1], "one target per clip"),
        (lambda targets: [targets[0], ClipTarget(targets[1].labels, targets[1].masks[:, :1])], "frames"),
        (
            lambda targets: [targets[0], ClipTarget(targets[1].labels + 7, targets[1].masks)],
            r"labels must be in \[0, 3\)",
        ),
    ],
)
def test_targets_that_do_not_fit_are_refused(training_output, change, message):
    _, output, targets = training_output
    with pytest.raises(ValueError, match=message):
        make_criterion()(output, change(targets))
