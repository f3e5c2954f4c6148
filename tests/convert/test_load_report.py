"""Loading weights: all or nothing, unless the caller says otherwise."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.convert import load_weights


def values(model):
    return {key: tensor.clone() for key, tensor in model.state_dict().items()}


def assert_unchanged(model, before):
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)


def test_a_fitting_checkpoint_loads_whole(small_model, randomised):
    source, target = randomised(small_model()), small_model()
    report = load_weights(target, source.state_dict())
    assert_unchanged(target, values(source))
    assert set(report.loaded) == source.state_dict().keys()
    assert (dict(report.reinitialised), report.missing, dict(report.unused)) == ({}, (), {})
    assert report.summary() == (
        f"video_mask2former checkpoint: {len(report.loaded)} loaded, 0 reinitialised, 0 missing, 0 unused"
    )


def test_the_models_own_type_is_kept(small_model, randomised):
    source, target = randomised(small_model()), small_model().double()
    load_weights(target, {key: tensor.half() for key, tensor in source.state_dict().items()})
    assert target.decoder.query_feat.weight.dtype == torch.float64
    torch.testing.assert_close(
        target.decoder.query_feat.weight, source.decoder.query_feat.weight.half().double(), rtol=0, atol=0
    )


def test_another_class_count_stops_unless_allowed(small_model, randomised):
    source, target = randomised(small_model(num_classes=7)), small_model(num_classes=3)
    before = values(target)
    with pytest.raises(
        ValueError, match=r"decoder.class_embed.weight: \(4, 32\) expected, \(8, 32\).*model.num_classes"
    ):
        load_weights(target, source.state_dict())
    assert_unchanged(target, before)

    report = load_weights(target, source.state_dict(), allow_class_mismatch=True)
    assert report.reinitialised.keys() == {"decoder.class_embed.weight", "decoder.class_embed.bias"}
    assert (
        "reinitialised, (4, 32) expected, (8, 32) in the checkpoint: 1 (decoder.class_embed.weight)" in report.summary()
    )
    expected = values(source) | {key: before[key] for key in report.reinitialised}
    assert_unchanged(target, expected)


def test_a_class_mismatch_allows_nothing_else(small_model, randomised):
    source, target = randomised(small_model(num_queries=9)), small_model(num_queries=4)
    with pytest.raises(ValueError, match=r"2 have another shape: decoder.query_feat.weight.*Change model.num_queries"):
        load_weights(target, source.state_dict(), allow_class_mismatch=True)


def test_missing_and_unknown_entries_stop_unless_allowed(small_model, randomised):
    source, target = randomised(small_model()), small_model()
    state = values(source)
    state["decoder.norn.weight"] = state.pop("decoder.norm.weight")
    before = values(target)
    with pytest.raises(ValueError) as error:
        load_weights(target, state)
    assert "1 parameters of the model are not in it: decoder.norm.weight" in str(error.value)
    assert "decoder.norn.weight (did you mean 'decoder.norm.weight'?)" in str(error.value)
    assert_unchanged(target, before)

    report = load_weights(target, state, allow_partial=True)
    assert report.missing == ("decoder.norm.weight",)
    assert dict(report.unused) == {"decoder.norn.weight": "no such parameter in the model"}
    assert_unchanged(target, values(source) | {"decoder.norm.weight": before["decoder.norm.weight"]})


def test_nothing_that_fits_is_an_error(small_model):
    with pytest.raises(ValueError, match="nothing in this video_mask2former checkpoint fits"):
        load_weights(small_model(), {"decoder.other": torch.zeros(1)}, allow_partial=True)
