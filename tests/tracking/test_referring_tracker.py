"""Referring trackers and their noise against the published DVIS and DVIS++."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from published_weights import close, load_part, shuffled_frames_plus, shuffled_frames_v1

from video_mask2former.convert.dvis import REFERRING_TRACKER
from video_mask2former.tracking.reference_noise import ReferenceNoise, blended, cut
from video_mask2former.tracking.referring_tracker import DVISPlusTracker, DVISTracker


@pytest.fixture(scope="module")
def plus_tracker() -> DVISPlusTracker:
    return load_part(DVISPlusTracker(10), REFERRING_TRACKER, "tracker.")


@torch.no_grad()
def test_dvis_equals_the_published_tracker(golden):
    figures = golden("dvis_v1_r50")
    tracker = load_part(DVISTracker(10), REFERRING_TRACKER, "tracker.")
    output = shuffled_frames_v1()
    tracked = tracker(output)
    trace = tracker.follow(output.frame_embeddings, output.frame_embeddings)
    np.testing.assert_array_equal(trace.order[0], figures["mod_track_indices"])
    close(tracked.frame_class_logits[0], figures["mod_track_pred_logits"])
    close(tracked.mask_logits.dense()[0], figures["mod_track_pred_masks"])
    close(tracker.refiner_memory(output)[0, :, :, ::8].permute(2, 0, 1), figures["mod_frame_forward_sub"])


@torch.no_grad()
def test_dvis_with_the_order_that_was_meant_follows_its_objects(golden):
    published = golden("dvis_v1_r50")["mod_track_indices"]
    tracker = load_part(DVISTracker(10, inverse_order=False), REFERRING_TRACKER, "tracker.")
    embeddings = shuffled_frames_v1().frame_embeddings
    order = tracker.follow(embeddings, embeddings).order[0].numpy()
    permutations = golden("dvis_v1_r50")["mod_perms"]
    objects = np.take_along_axis(permutations, order, axis=1)
    assert (objects == objects[0]).all()  # each track is one object throughout
    assert (order[1] == published[1].argsort()).all() and (order != published).any()


@torch.no_grad()
def test_dvis_plus_equals_the_published_tracker(golden, plus_tracker):
    figures = golden("dvis_plus_units")
    output = shuffled_frames_plus()
    tracked = plus_tracker(output)
    trace = plus_tracker.follow(output.frame_queries, output.frame_embeddings)
    np.testing.assert_array_equal(trace.order[0], figures["mod_track_indices"])
    close(tracked.frame_class_logits[0], figures["mod_track_pred_logits"])
    close(tracked.mask_logits.dense()[0], figures["mod_track_pred_masks"])
    close(tracked.frame_embeddings[0, :, :, ::8].permute(2, 0, 1), figures["mod_track_embds_sub"])
    close(trace.references[0, :, :, ::8].permute(2, 0, 1), figures["mod_track_references_sub"])


@torch.no_grad()
def test_every_layer_predicts_in_training(golden, plus_tracker):
    tracked = plus_tracker.train()(shuffled_frames_plus())
    plus_tracker.eval()
    predictions = (*tracked.auxiliary, tracked)
    logits = torch.stack([prediction.frame_class_logits[0] for prediction in predictions])
    close(logits, golden("dvis_plus_units")["mod_track_train_logits_all"])
    assert tracked.guide is not None and tracked.contrast_embeddings.shape == (1, 5, 8, 512)


@torch.no_grad()
def test_a_video_in_pieces_gives_what_the_whole_gives(plus_tracker):
    output = shuffled_frames_plus()
    whole = plus_tracker(output)
    session = plus_tracker.begin()
    session.update(output.frames(0, 2), [0, 1])
    resumed = plus_tracker.begin()
    resumed.load_state_dict(session.state_dict())
    update = resumed.update(output.frames(2, 5), [2, 3, 4])
    torch.testing.assert_close(update.class_logits, whole.class_logits[0])
    torch.testing.assert_close(update.mask_logits.dense(), whole.mask_logits.dense()[:, :, 2:])


@pytest.mark.parametrize("kind", ["rs", "wa", "cc"])
def test_noise_equals_the_published_one(golden, kind):
    figures = golden("dvis_plus_units")
    queries = torch.from_numpy(figures["noiser_cur_no_norm"]).transpose(0, 1)  # (B, Q, C)
    order = torch.from_numpy(figures[f"noiser_{kind}_perm"]).long()[None]
    if kind == "rs":
        start, taken = queries[:, order[0]], order
    elif kind == "wa":
        start, taken = blended(queries, order, torch.from_numpy(figures["noiser_wa_weight"])[:, :, 0].T)
    else:
        start, taken = cut(queries, order, torch.from_numpy(figures["noiser_cc_cut"]).long()[None])
    np.testing.assert_allclose(start[0].numpy(), figures[f"noiser_{kind}_out"][:, 0], atol=1e-6)
    np.testing.assert_array_equal(taken[0], figures[f"noiser_{kind}_indices"])


@torch.no_grad()
def test_a_tracker_on_noisy_starts_equals_the_published_one(golden, plus_tracker, monkeypatch):
    figures = golden("dvis_plus_units")
    orders = torch.from_numpy(figures["mod_wa_perms"]).long()
    weights = torch.from_numpy(figures["mod_wa_weights"]).double()
    draws = iter(zip(orders, weights, strict=True))

    def draw(queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        order, weight = next(draws)
        return blended(queries, order[None], weight[None])

    monkeypatch.setattr(plus_tracker.noise, "draw", draw)
    output = shuffled_frames_plus()
    tracked = plus_tracker.train()(output)
    plus_tracker.eval()
    close(tracked.frame_class_logits[0], figures["mod_wa_logits"])


def test_noise_is_drawn_as_often_as_asked_and_moves_queries():
    queries = torch.randn(2, 6, 4)
    assert ReferenceNoise("none", 1.0).draw(queries) is None
    assert ReferenceNoise("permute", 0.0).draw(queries) is None
    start, order = ReferenceNoise("permute", 1.0).draw(queries)
    torch.testing.assert_close(start, torch.stack([queries[b, order[b]] for b in range(2)]))
    for kind in ("blend", "cut"):
        start, order = ReferenceNoise(kind, 1.0).draw(queries)
        assert start.shape == queries.shape and order.shape == (2, 6)
    with pytest.raises(ValueError, match="permute, blend or cut"):
        ReferenceNoise("wa")


def test_embeddings_of_another_width_are_refused(plus_tracker):
    output = shuffled_frames_v1()
    with pytest.raises(ValueError, match="made for query embeddings of 512 features, the segmenter gives 256"):
        plus_tracker(output)
