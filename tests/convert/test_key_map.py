"""Tables of names: strict, and readable in both directions."""

from __future__ import annotations

import pytest
import torch

from video_mask2former.convert import Concatenation, Ignored, KeyMap, Rename

TABLE = KeyMap(
    [
        Rename("layer{stage}.{block}.conv.weight", "res{stage}.{block}.weight"),
        Rename("bn.{statistic}", "norm.{statistic}"),
        Concatenation(("{layer}.q.{parameter}", "{layer}.k.{parameter}"), "{layer}.qk.{parameter}"),
        Ignored("head.{parameter}", "classifies ImageNet"),
    ],
    aliases=[Rename("old.{rest}", "layer1.{rest}")],
)


def tensors(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.randn(2, 3) for name in names}


def test_numbers_and_parameters_are_carried_over():
    theirs = tensors("layer1.0.conv.weight", "layer12.34.conv.weight", "bn.running_var", "bn.bias")
    converted = TABLE.to_ours(theirs)
    assert converted.weights.keys() == {"res1.0.weight", "res12.34.weight", "norm.running_var", "norm.bias"}
    assert converted.weights["res12.34.weight"] is theirs["layer12.34.conv.weight"]
    assert (converted.ignored, converted.unknown) == ({}, ())


def test_concatenations_join_in_the_tables_order_and_split_again():
    theirs = tensors("0.k.weight", "0.q.weight", "1.q.weight", "1.k.weight")
    converted = TABLE.to_ours(theirs)
    joined = torch.cat([theirs["0.q.weight"], theirs["0.k.weight"]])
    torch.testing.assert_close(converted.weights["0.qk.weight"], joined, rtol=0, atol=0)
    back = TABLE.to_theirs(converted.weights)
    assert back.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(back[name], tensor, rtol=0, atol=0)


def test_half_a_concatenation_is_an_error():
    with pytest.raises(ValueError, match=r"only some of the parts of '0.qk.bias'"):
        TABLE.to_ours(tensors("0.q.bias"))


def test_what_the_table_lacks_is_reported_not_guessed():
    theirs = tensors("head.weight", "layer1.0.conv.bias", "layer.0.conv.weight", "xbn.bias", "bn.bias.x")
    converted = TABLE.to_ours(theirs)
    assert converted.weights == {}
    assert converted.ignored == {"head.weight": "classifies ImageNet"}
    assert set(converted.unknown) == theirs.keys() - {"head.weight"}
    with pytest.raises(KeyError, match=r"no entry for 'res1.0.bias'"):
        TABLE.to_theirs(tensors("res1.0.bias"))


def test_aliases_are_read_but_not_written():
    converted = TABLE.to_ours(tensors("old.0.conv.weight"))
    assert list(TABLE.to_theirs(converted.weights)) == ["layer1.0.conv.weight"]


def test_two_names_for_one_parameter_are_an_error():
    with pytest.raises(ValueError, match=r"two keys of the checkpoint stand for 'res1.0.weight'"):
        TABLE.to_ours(tensors("old.0.conv.weight", "layer1.0.conv.weight"))
