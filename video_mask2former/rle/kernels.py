"""Run-length encoded masks with the compiled kernels of ``ops/csrc/rle.cpp``; the same results as the reference."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import numpy as np

from video_mask2former.rle.reference import Rle, check_one_size, check_rles, check_size, frame_size

# As enum RleStatus in csrc/rle.h
_OUT_OF_MEMORY = -1
_MALFORMED = -5


class _Measurement(ctypes.Structure):
    """``struct RleMeasurement`` of ``csrc/rle.h``, field by field."""

    _fields_ = (
        ("counts", ctypes.c_char_p),
        ("num_bytes", ctypes.c_int64),
        ("num_masks", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("areas", ctypes.c_void_p),
        ("boxes_xywh", ctypes.c_void_p),
        ("pairs", ctypes.c_void_p),
        ("num_pairs", ctypes.c_int64),
        ("shared", ctypes.c_void_p),
    )


class _Decoding(ctypes.Structure):
    """``struct RleDecoding``."""

    _fields_ = (
        ("counts", ctypes.c_char_p),
        ("num_bytes", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("box_x", ctypes.c_int64),
        ("box_y", ctypes.c_int64),
        ("box_width", ctypes.c_int64),
        ("box_height", ctypes.c_int64),
        ("mask", ctypes.c_void_p),
    )


class _Encoding(ctypes.Structure):
    """``struct RleEncoding``."""

    _fields_ = (
        ("mask", ctypes.c_void_p),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("counts", ctypes.c_void_p),
        ("capacity", ctypes.c_int64),
        ("num_bytes", ctypes.c_int64),
    )


class RleKernels:
    """The library's functions on masks; each checks what it is given, and releases the interpreter's lock.

    Args:
        library: The opened library.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._measure = library.vm2f_rle_measure
        self._decode = library.vm2f_rle_decode
        self._encode = library.vm2f_rle_encode

    def measure(
        self, rles: Sequence[Rle], pairs: np.ndarray | None = None, *, boxes: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """What is known of masks of one size once their runs have been read.

        Args:
            rles: N masks.
            pairs: Indices of the masks of each pair whose shared pixels are counted, ``(P, 2)`` int64.
            boxes: Whether tight boxes are wanted.

        Returns:
            Areas ``(N,)`` int64; boxes as (x, y, width, height), ``(N, 4)`` int32, or None; shared pixels ``(P,)``
            int64, or None.

        Raises:
            ValueError: If one is malformed, or they are not of one size.
        """
        areas = np.zeros(len(rles), np.int64)
        tight = np.zeros((len(rles), 4), np.int32) if boxes else None
        shared = None if pairs is None else np.zeros(len(pairs), np.int64)
        if not rles:
            return areas, tight, shared
        check_one_size(rles, ())
        height, width = frame_size(rles[0])
        check_size((height, width))
        # what is not ASCII becomes characters that are refused
        text = "\n".join([*[rle["counts"] for rle in rles], ""]).encode("ascii", errors="xmlcharrefreplace")
        arguments = _Measurement(text, len(text), len(rles), height, width, areas.ctypes.data)
        if tight is not None:
            arguments.boxes_xywh = tight.ctypes.data
        if pairs is not None and shared is not None:
            pairs = np.ascontiguousarray(pairs, np.int64)
            if pairs.size and not 0 <= pairs.min() <= pairs.max() < len(rles):
                raise IndexError(f"pairs must index the {len(rles)} masks, got {pairs.min()} to {pairs.max()}.")
            arguments.pairs, arguments.num_pairs, arguments.shared = pairs.ctypes.data, len(pairs), shared.ctypes.data
        self._run(self._measure, arguments, rles)
        return areas, tight, shared

    def areas(self, rles: Sequence[Rle]) -> np.ndarray:
        """As :func:`video_mask2former.rle.rle_areas`."""
        parts = [self.measure(part)[0] for part in _of_one_size(rles)]
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def boxes(self, rles: Sequence[Rle]) -> np.ndarray:
        """As :func:`video_mask2former.rle.rle_boxes`."""
        parts = [self.measure(part, boxes=True)[1] for part in _of_one_size(rles)]
        return np.concatenate([part for part in parts if part is not None] or [np.zeros((0, 4))]).astype(np.int64)

    def intersections(self, first: Sequence[Rle], second: Sequence[Rle]) -> tuple[np.ndarray, np.ndarray]:
        """Shared pixels of every pair, ``(len(first), len(second))`` int64, and the areas of all."""
        check_one_size(first, second)
        pairs = np.indices((len(first), len(second)), np.int64).reshape(2, -1).T + np.array([0, len(first)])
        areas, _, shared = self.measure([*first, *second], pairs)
        assert shared is not None
        return shared.reshape(len(first), len(second)), areas

    def decode(self, rle: Rle, box_xywh: tuple[int, int, int, int]) -> np.ndarray:
        """A box of a mask, which lies in its frame, ``(h, w)`` bool."""
        height, width = frame_size(rle)
        check_size((height, width))
        text = rle["counts"].encode("ascii", errors="xmlcharrefreplace")
        mask = np.zeros((box_xywh[3], box_xywh[2]), bool)
        self._run(self._decode, _Decoding(text, len(text), height, width, *box_xywh, mask.ctypes.data), [rle])
        return mask

    def encode(self, mask: np.ndarray) -> Rle:
        """One mask ``(H, W)`` of bool or uint8."""
        mask = np.ascontiguousarray(mask)
        height, width = mask.shape
        capacity = 2**14
        while True:
            counts = np.empty(capacity, np.uint8)
            arguments = _Encoding(mask.ctypes.data, height, width, counts.ctypes.data, capacity)
            self._run(self._encode, arguments, ())
            if arguments.num_bytes <= capacity:
                return Rle(size=[height, width], counts=counts[: arguments.num_bytes].tobytes().decode("ascii"))
            capacity = arguments.num_bytes

    def _run(self, kernel: Callable[..., int], arguments: ctypes.Structure, rles: Sequence[Rle]) -> None:
        status = kernel(ctypes.byref(arguments))
        if status == _OUT_OF_MEMORY:
            raise MemoryError("the runs of masks do not fit into the memory.")
        if status == _MALFORMED:
            check_rles(rles)  # says what is wrong, and with which of them
        assert status == 0, f"the kernel library refused what the reference accepts, with {status}"


def _of_one_size(rles: Sequence[Rle]) -> list[Sequence[Rle]]:
    """Consecutive parts, each of masks of one size: mostly all of them."""
    parts: list[list[Rle]] = []
    for rle in rles:
        if parts and parts[-1][0]["size"] == rle["size"]:
            parts[-1].append(rle)
        else:
            parts.append([rle])
    return list(parts)
