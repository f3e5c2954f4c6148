"""Reading pickles of numpy arrays and torch tensors without ever running what is in them.

A pickle is a program: it names callables and calls them. Here it gets none of the real ones. Each of the few names that
arrays are pickled under stands for a class of this module that only records what it is given; the arrays are made
afterwards, from recorded bytes of a numeric type.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
from collections import OrderedDict
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

_NUMERIC_KINDS = "fiub"


class _Refused(pickle.UnpicklingError):
    """The pickle holds something other than arrays and plain containers."""


class _Sealed:
    """Refuses to be given attributes by a pickle, as instance and as class."""

    def __setstate__(self, state: object) -> None:
        raise _Refused(f"it sets the state of {type(self).__name__.strip('_')}")


class _Dtype(_Sealed):
    def __init__(self, code: str, *_flags: object) -> None:
        self.code = code
        self.byte_order = "="

    def __setstate__(self, state: object) -> None:
        assert isinstance(state, tuple)
        self.byte_order = {"|": "=", "<": "<", ">": ">", "=": "="}[state[1]]

    def numeric(self) -> np.dtype[Any]:
        dtype = np.dtype(self.byte_order + self.code)
        if dtype.kind not in _NUMERIC_KINDS:
            raise _Refused(f"it has an array of {dtype}, which is not a number")
        return dtype


class _Array(_Sealed):
    """An array that is filled by its state; the arguments only say that it is one."""

    def __init__(self, *_arguments: object) -> None:
        self.value = np.empty(0)

    def __setstate__(self, state: object) -> None:
        assert isinstance(state, tuple)
        _version, shape, dtype, is_fortran, raw = state
        self.value = np.frombuffer(_raw(raw), dtype.numeric()).reshape(shape, order="F" if is_fortran else "C")


class _ArrayFromBuffer(_Array):
    def __init__(self, data: bytes | bytearray, dtype: _Dtype, shape: tuple[int, ...], order: str) -> None:
        super().__init__()
        self.value = np.frombuffer(data, dtype.numeric()).reshape(shape, order="F" if order == "F" else "C")


class _Scalar(_Sealed):
    def __init__(self, dtype: _Dtype, data: object) -> None:
        self.value = np.frombuffer(_raw(data), dtype.numeric())[0].item()


class _Bytes(_Sealed):
    """Bytes in pickles of protocol 2, which has no opcode for them."""

    def __init__(self, text: str = "", encoding: str = "latin1") -> None:
        if encoding != "latin1":
            raise _Refused(f"it encodes text as {encoding}")
        self.value = text.encode("latin1")


class _Storage(_Sealed):
    """The memory of torch tensors: a torch file of its own, which torch's reader of plain data takes."""

    def __init__(self, data: object) -> None:
        try:
            content = torch.load(io.BytesIO(_raw(data)), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise _Refused("it fills a tensor with more than numbers") from error
        if not isinstance(content, torch.TypedStorage):
            raise _Refused(f"it fills a tensor with {type(content).__name__}")
        self.dtype, self.memory = content.dtype, content._untyped_storage  # untyped() warns


class _Tensor(_Sealed):
    """A torch tensor; several may share one storage."""

    def __init__(
        self, storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_flags: object
    ) -> None:
        if not isinstance(storage, _Storage):
            raise _Refused(f"it makes a tensor of {type(storage).__name__}")
        self.value: Tensor = torch.empty(0, dtype=storage.dtype)
        # set_ would enlarge a storage that is too small
        end = 0 if 0 in size else offset + 1 + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if end * self.value.element_size() > storage.memory.nbytes():
            raise _Refused(f"it has a tensor {size} that lies outside of its memory")
        if self.value.element_size() * math.prod(size) > storage.memory.nbytes():
            raise _Refused(f"it has a tensor {size} that repeats what is in its memory")
        self.value.set_(storage.memory, offset, size, stride)


class _Parameter(_Sealed):
    def __init__(self, data: object, *_flags: object) -> None:
        if not isinstance(data, _Tensor):
            raise _Refused(f"it makes a parameter of {type(data).__name__}")
        self.value = data.value


def _raw(data: object) -> bytes:
    """The bytes of an array, which older protocols hold as text."""
    if isinstance(data, _Bytes):
        return data.value
    if isinstance(data, str):
        return data.encode("latin1")
    if not isinstance(data, (bytes, bytearray)):
        raise _Refused(f"it fills an array with {type(data).__name__}")
    return bytes(data)


_STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _Bytes,
    ("__builtin__", "bytes"): _Bytes,  # empty bytes
    ("torch.storage", "_load_from_bytes"): _Storage,
    ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
}
# numpy 1 and numpy 2 keep the same functions in modules of two names.
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _Scalar
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _ArrayFromBuffer


class _ArrayUnpickler(pickle._Unpickler):
    """The reader that is written in Python; the one in C makes room for as many entries as a pickle says it has.

    A checkpoint has some thousand instructions around bytes that are read at once, so that this one is as fast.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise _Refused(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]


def load_arrays(file: IO[bytes]) -> Any:
    """Read one pickled object made of numpy arrays, torch tensors, numbers, strings and plain containers.

    Raises:
        ValueError: If the pickle names anything else, or is damaged.
    """
    try:
        return _resolve(_ArrayUnpickler(file, encoding="latin1").load(), {})
    except _Refused as error:
        raise ValueError(
            f"the pickle was refused: {error}. Only numbers, arrays and plain containers are read, and no code is run."
        ) from error
    except (AssertionError, RecursionError) as error:
        raise ValueError(f"the pickle is not one of arrays ({type(error).__name__}).") from error
    except (
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        MemoryError,
        OverflowError,
        RuntimeError,
        struct.error,
    ) as error:
        raise ValueError(f"the pickle is damaged ({type(error).__name__}: {error}). Download it again.") from error


def _resolve(value: Any, done: dict[int, Any]) -> Any:
    """The same object with real arrays, numbers and bytes in place of what stood for them.

    What is in several places is made once: a container that holds another ten times, and so on, is small in a file.
    """
    if isinstance(value, (_Array, _Scalar, _Bytes, _Tensor, _Parameter)):
        return value.value
    if not isinstance(value, (dict, list, tuple)):
        return value
    if id(value) not in done:
        done[id(value)] = None  # of a container that holds itself, which no checkpoint does
        if isinstance(value, dict):
            done[id(value)] = {_resolve(key, done): _resolve(item, done) for key, item in value.items()}
        else:
            done[id(value)] = type(value)(_resolve(item, done) for item in value)
    return done[id(value)]
