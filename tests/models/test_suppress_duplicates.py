"""Two queries on one object: the more certain one stays."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.mask_logits import MaskLogits
from video_mask2former.models.suppress_duplicates import suppress_duplicates
from video_mask2former.structures import ClipOutput


def output_of(queries: list[tuple[int, float, int]], length: int = 20) -> ClipOutput:
    """One clip; a query is its class, its logit and the first of the ten pixels of its mask."""
    class_logits = torch.zeros(1, len(queries), 4)
    masks = torch.full((1, len(queries), 1, 1, length), -1.0)
    for index, (label, logit, start) in enumerate(queries):
        class_logits[0, index, label] = logit
        masks[0, index, ..., start : start + 10] = 1.0
    embeddings = torch.zeros(1, len(queries), 4)
    return ClipOutput(class_logits, MaskLogits.from_dense(masks), embeddings, embeddings, (4, 80), (4, 80))


def silenced(output: ClipOutput, min_iou: float = 0.5) -> list[bool]:
    result = suppress_duplicates(output, min_iou)
    is_silent = result.class_logits[0].softmax(dim=1)[:, -1] > 0.99
    assert torch.equal(result.class_logits[0][~is_silent], output.class_logits[0][~is_silent])
    assert torch.equal(result.mask_logits.dense()[0][~is_silent], output.mask_logits.dense()[0][~is_silent])
    assert not (result.mask_logits.dense()[0][is_silent] > 0).any()
    return is_silent.tolist()


def test_the_more_certain_query_of_an_object_stays():
    # 9 of 11 pixels shared is an IoU of 0.82
    assert silenced(output_of([(0, 2.0, 0), (0, 3.0, 1)])) == [True, False]
    assert silenced(output_of([(0, 2.0, 0), (0, 3.0, 1)]), min_iou=0.9) == [False, False]


def test_objects_of_other_classes_may_be_in_the_same_place():
    assert silenced(output_of([(0, 2.0, 0), (1, 3.0, 0)])) == [False, False]


def test_what_is_silenced_silences_nothing():
    # each is like the next, the first and the last are not alike
    assert silenced(output_of([(0, 3.0, 0), (0, 2.0, 3), (0, 1.0, 6)])) == [False, True, False]


def test_clips_of_a_batch_do_not_touch_each_other():
    pair = [output_of([(0, 2.0, 0), (0, 3.0, 1)]), output_of([(0, 3.0, 0), (0, 2.0, 1)])]
    both = ClipOutput(
        torch.cat([clip.class_logits for clip in pair]),
        MaskLogits.from_dense(torch.cat([clip.mask_logits.dense() for clip in pair])),
        torch.zeros(2, 2, 4),
        torch.zeros(2, 2, 4),
        (4, 80),
        (4, 80),
    )
    is_silent = suppress_duplicates(both, 0.5).class_logits.softmax(dim=2)[..., -1] > 0.99
    assert is_silent.tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("is_training", [True, False])
def test_models_do_it_outside_of_training(tiny_model, is_training):
    model = tiny_model()
    model.decoder.query_feat.weight.data[:] = model.decoder.query_feat.weight[:1]
    model.decoder.query_embed.weight.data[:] = model.decoder.query_embed.weight[:1]
    frames = torch.rand(1, 1, 3, 64, 96) * 255
    assert (model(frames).mask_logits.dense() > 0).any(), "queries without a mask are no duplicates"
    model.duplicate_iou = 0.5
    left = (model.train(is_training)(frames).class_logits.softmax(dim=2)[0, :, -1] < 0.99).sum()
    assert int(left) == (6 if is_training else 1)
