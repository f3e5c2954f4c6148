"""Pickles of arrays are read; nothing else in a pickle is done."""

from __future__ import annotations

import io
import os
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from video_mask2former.convert.restricted_pickle import load_arrays

CONTENT = {
    "model": OrderedDict(
        rows=np.arange(6, dtype=np.float32).reshape(2, 3),
        columns=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        empty=np.zeros((0, 3)),
        big_endian=np.arange(3, dtype=">i4"),
        half=np.ones(2, dtype=np.float16),
        flags=np.array([True, False]),
        zero_dimensional=np.array(2.5),
    ),
    "scalar": np.float64(3.5),
    "__author__": "someone",
    "nested": (1, [2, None, b"bytes", b""]),
}


def load(data: bytes):
    return load_arrays(io.BytesIO(data))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_plain_containers_are_read(protocol):
    content = load(pickle.dumps(CONTENT, protocol=protocol))
    assert content["model"].keys() == CONTENT["model"].keys()
    for key, expected in CONTENT["model"].items():
        np.testing.assert_array_equal(content["model"][key], expected)
        assert content["model"][key].dtype == expected.dtype
    assert (content["scalar"], content["__author__"], content["nested"]) == (3.5, "someone", CONTENT["nested"])


def test_pickles_of_python_2_are_read():
    # A string of Python 2, then an array whose bytes are such a string.
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
        b"(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\xff\\x01'\ntb."
    )
    np.testing.assert_array_equal(load(array), np.array([255, 1], dtype=np.uint8))


def tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(10.0)
    return OrderedDict(
        matrix=torch.arange(6.0).view(2, 3),
        transposed=torch.arange(6.0).view(2, 3).t(),
        start=base[:5],
        end=base[5:],  # in one storage with the start
        counts=torch.tensor([1, 2]),
        half=torch.ones(2, dtype=torch.float16),
        bfloat=torch.ones(2, dtype=torch.bfloat16),
        parameter=torch.nn.Parameter(torch.ones(2)),
        none=torch.zeros(0, 3),
    )


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_torch_tensors_are_read(protocol):
    """As the published script for Swin backbones writes them."""
    content = load(pickle.dumps({"model": tensors(), "matching_heuristics": True}, protocol=protocol))
    assert content["matching_heuristics"] is True
    assert content["model"].keys() == tensors().keys()
    for key, expected in tensors().items():
        got = content["model"][key]
        assert not got.requires_grad and got.dtype == expected.dtype
        torch.testing.assert_close(got, expected.detach(), rtol=0, atol=0)


class Runs:
    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        (Runs(os.system, "touch owned"), "posix.system|nt.system"),
        (Runs(eval, "open('owned', 'w')"), "builtins.eval"),
        (Runs(getattr, "x", "upper"), "builtins.getattr"),
        (Runs(torch.load, "owned"), "torch.*load"),
        (Runs(np.load, "owned"), "numpy.*load"),
        (Runs(print, "owned"), "builtins.print"),
    ],
)
def test_code_is_never_run_and_the_culprit_is_named(tmp_path, monkeypatch, payload, named):
    monkeypatch.chdir(tmp_path)
    for protocol in (0, 2, 5):
        with pytest.raises(
            ValueError, match=rf"was refused: it asks for ({named})".replace("builtins", "(__builtin__|builtins)")
        ):
            load(pickle.dumps({"model": payload}, protocol=protocol))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pickle.dumps(np.array([object()], dtype=object)), "asks for builtins.object"),
        (pickle.dumps(np.array(["text"], dtype=object)), "fills an array with list"),
        (pickle.dumps(np.array(["text"])), "array of <U4, which is not a number"),
        (b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.", "encodes text as rot13"),
        # Attributes set on a stand-in class, to change what later calls of it do.
        (b"\x80\x02cnumpy\ndtype\n}X\x04\x00\x00\x00codeK\x01sb.", "damaged"),
    ],
)
def test_other_objects_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        load(data)


def storage_file(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def rebuilt(*arguments: object) -> Runs:
    return Runs(torch._utils._rebuild_tensor_v2, *arguments, False, OrderedDict())


FOUR_ONES = torch.TypedStorage(wrap_storage=torch.ones(4).untyped_storage(), dtype=torch.float32, _internal=True)
STORAGE = Runs(torch.storage._load_from_bytes, storage_file(FOUR_ONES))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (Runs(torch.storage._load_from_bytes, storage_file({"a": 1})), "fills a tensor with dict"),
        (Runs(torch.storage._load_from_bytes, storage_file(Runs(os.system, "touch owned"))), "with more than numbers"),
        (Runs(torch.storage._load_from_bytes, b"\x80\x02N."), "damaged"),
        (rebuilt(STORAGE, 0, (5,), (1,)), "lies outside of its memory"),
        (rebuilt(STORAGE, 3, (2,), (1,)), "lies outside of its memory"),
        (rebuilt(STORAGE, 0, (3, 2), (2, 1)), "lies outside of its memory"),
        (rebuilt(STORAGE, -1, (2,), (1,)), "damaged"),
        (rebuilt(STORAGE, 0, (2,), (1, 1)), "damaged"),
        (rebuilt(STORAGE, 0, (-2,), (1,)), "damaged"),
        (rebuilt(STORAGE, 3, (2,), (-1,)), "damaged"),
        (rebuilt(np.ones(4), 0, (4,), (1,)), "makes a tensor of _Array"),
        (Runs(torch._utils._rebuild_parameter, 3, False, OrderedDict()), "makes a parameter of int"),
    ],
)
def test_forged_tensors_are_refused(tmp_path, monkeypatch, payload, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load(pickle.dumps({"model": payload}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", [1, 2, 20, 200])
def test_truncated_pickles_say_so(cut):
    data = pickle.dumps(CONTENT, protocol=4)
    with pytest.raises(ValueError, match="damaged"):
        load(data[:-cut])


@pytest.mark.parametrize("data", [b"", b"hello", b"\x80\x63", b"(((((", b"\x80\x02]q\x00h\x05."])
def test_other_bytes_are_damaged_pickles(data):
    with pytest.raises(ValueError, match="damaged"):
        load(data)
