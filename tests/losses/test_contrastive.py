"""Contrastive losses against those of the published CTVIS and DVIS++."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_weights import rectangles, training_figures

from video_mask2former.losses import HungarianMatcher
from video_mask2former.losses.contrast import (
    ClassMemory,
    ContrastItem,
    consecutive_items,
    contrastive_losses,
    reference_chain_items,
    refined_items,
)
from video_mask2former.losses.contrastive import ContrastiveLoss
from video_mask2former.mask_logits import MaskLogits
from video_mask2former.structures import ClipOutput, ClipTarget


@pytest.fixture(scope="module")
def figures() -> dict:
    return training_figures("ctvis_contrastive")


@pytest.fixture
def clips(golden, figures) -> tuple[ClipOutput, list[ClipTarget]]:
    arrays = golden("ctvis_contrastive")
    embeddings = torch.from_numpy(arrays["in_embeds"]).double().requires_grad_()
    logits = torch.from_numpy(arrays["in_logits"]).double()
    masks = torch.from_numpy(arrays["in_masks_x8"]).double() / 8  # (2, T, Q, h, w)
    identity = torch.eye(7, dtype=torch.float64).expand(2, 5, 7, 7)
    output = ClipOutput(
        logits.mean(1),
        MaskLogits(identity, masks),
        embeddings[:, -1],
        embeddings[:, -1],
        (64, 96),
        (64, 96),
        frame_class_logits=logits,
        frame_embeddings=embeddings,
        contrast_embeddings=embeddings,
    )
    return output, [rectangles(objects, 5, (64, 96)) for objects in figures["targets"]]


@pytest.mark.parametrize("mode", ["last_only", "memory", "last"])
def test_losses_equal_the_published_ones(clips, golden, figures, mode):
    output, targets = clips
    loss = ContrastiveLoss(4, HungarianMatcher(), num_negatives=6, memory_probability=float(mode == "memory"))
    losses = loss(output, targets)
    for name in ("loss_reid", "loss_aux_reid"):
        assert float(losses[name].detach()) == pytest.approx(figures[mode][name], abs=1e-5)
    items = [
        item
        for clip, target in enumerate(targets)
        for item in consecutive_items(
            output.contrast_embeddings[clip],
            torch.where(target.masks.flatten(2).any(2), loss.match(output, clip, target), -1),
            num_negatives=6,
            memory_probability=float(mode == "memory"),
        )
    ]
    assert [[len(item.positives), len(item.negatives)] for item in items] == figures[mode]["items"]
    products = golden("ctvis_contrastive")[f"{mode}_dot_products"]
    for item, expected in zip(items, products, strict=True):
        own = torch.cat([item.positives, item.negatives]) @ item.anchor
        assert float(own[0].detach()) == pytest.approx(expected[0], abs=1e-4)
        np.testing.assert_allclose(np.sort(own[1:].detach()), np.sort(expected[1 : len(own)]), atol=1e-4)


def test_every_frame_is_matched_as_published(clips, figures):
    output, targets = clips
    loss = ContrastiveLoss(4, HungarianMatcher())
    for clip, target in enumerate(targets):
        queries = loss.match(output, clip, target)
        for frame, by_clip in enumerate(figures["matching"]):
            expected = dict(zip(by_clip[clip][1], by_clip[clip][0], strict=True))
            assert dict(enumerate(queries[:, frame].tolist())) == expected


@pytest.mark.parametrize("pairs", ["first", "all"])
def test_reference_frames_as_published(clips, figures, pairs):
    losses = ContrastiveLoss(4, HungarianMatcher(), pairs=pairs)(*clips)
    expected = figures[f"multi_ref_one_direction_{pairs == 'first'}"]
    for name, value in losses.items():
        assert float(value.detach()) == pytest.approx(expected[name], abs=1e-5)


def test_items_of_several_positives_have_the_published_loss(golden):
    figures = golden("dvis_plus_units")
    items = [
        ContrastItem(
            torch.from_numpy(figures[f"reid_anchor{index}"])[0],
            torch.from_numpy(figures[f"reid_pos{index}"]),
            torch.from_numpy(figures[f"reid_neg{index}"]),
        )
        for index in range(3)
    ]
    np.testing.assert_allclose(
        torch.stack(contrastive_losses(items, items[0].anchor)), figures["reid_losses"], atol=1e-5
    )
    for item, expected in zip(items, figures["reid_losses_each"], strict=True):
        np.testing.assert_allclose(contrastive_losses([item], item.anchor), expected, atol=1e-5)


def test_gradients_draw_an_object_together_and_push_others_away(clips):
    output, targets = clips
    embeddings = output.contrast_embeddings
    loss = ContrastiveLoss(4, HungarianMatcher())
    (gradient,) = torch.autograd.grad(sum(loss(output, targets).values()), embeddings)
    assert gradient.abs().sum() > 0
    empty = [ClipTarget(target.labels[:0], target.masks[:0]) for target in targets]
    losses = loss(output, empty)
    assert all(float(value.detach()) == 0.0 for value in losses.values())
    torch.autograd.grad(sum(losses.values()), embeddings)  # zero, but there


def test_items_of_trackers_and_refiners():
    embeddings = torch.randn(4, 6, 8)
    chain = reference_chain_items(embeddings, [1, 5])
    assert len(chain) == 2 * (2 + 2 + 1) and {len(item.negatives) for item in chain} == {5}
    torch.testing.assert_close(chain[1].positives[0], embeddings[2, 1])
    memory = ClassMemory(size=6)
    first = refined_items(embeddings, [1, 5], [0, 3], memory)
    assert len(first) == 8 and {len(item.positives) for item in first} == {4}
    second = refined_items(embeddings, [2], [3], memory)
    assert [len(item.negatives) for item in second] == [5, 4] * 4
    torch.testing.assert_close(second[1].negatives, embeddings[:, 5])
    assert len(memory.of_class(3)) == 6 and memory.of_class(1) is None


def test_negatives_are_as_many_as_asked():
    items = consecutive_items(torch.randn(3, 9, 4), torch.tensor([[8, 8, 8], [1, -1, 2]]), num_negatives=4)
    assert [len(item.negatives) for item in items] == [4, 4, 9]


def test_a_segmenter_without_embeddings_is_refused(clips, tiny_model, clip_maker):
    frames, target = clip_maker()
    with pytest.raises(ValueError, match="re-ID head"):
        ContrastiveLoss(3, HungarianMatcher())(tiny_model()(frames[None]), [target])
