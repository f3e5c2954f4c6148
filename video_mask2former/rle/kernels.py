"""Run-length encoded masks with the compiled kernels of ``ops/csrc/rle.cpp``; the same results as the reference."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from video_mask2former.rle.reference import Rle, check_one_size, check_rles, check_size, frame_size

_SUCCESS = 0  # as in enum RleStatus of csrc/rle.h


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


class _LogitsEncoding(ctypes.Structure):
    """``struct LogitsEncoding`` of ``csrc/mask_logits.h``."""

    _fields_ = (
        ("logits", ctypes.c_void_p),
        ("num_masks", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("padded_height", ctypes.c_int64),
        ("padded_width", ctypes.c_int64),
        ("frame_height", ctypes.c_int64),
        ("frame_width", ctypes.c_int64),
        ("output_height", ctypes.c_int64),
        ("output_width", ctypes.c_int64),
        ("num_threads", ctypes.c_int64),
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
        self._encode_logits = library.vm2f_rle_encode_logits

    def measure(
        self, rles: Sequence[Rle], pairs: np.ndarray | None = None, *, boxes: bool = False
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """What is known of masks of one size once their runs have been read; see :meth:`measure_text`."""
        if not rles:
            return self.measure_text(b"", 0, (0, 0), pairs, boxes=boxes)
        check_one_size(rles, ())
        # what is not ASCII becomes characters that are refused
        text = "\n".join([*[rle["counts"] for rle in rles], ""]).encode("ascii", errors="xmlcharrefreplace")
        if text.count(b"\n") != len(rles):  # a line feed in counts would begin another mask
            self._explain(rles)
        return self.measure_text(text, len(rles), frame_size(rles[0]), pairs, boxes=boxes)

    def measure_text(
        self, text: bytes, num_masks: int, size: tuple[int, int], pairs: np.ndarray | None, *, boxes: bool
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Measure masks of one size.

        Args:
            text: Their counts, a line feed after each.
            num_masks: N.
            size: Height and width.
            pairs: Indices of the masks of each pair whose shared pixels are counted, ``(P, 2)`` int64.
            boxes: Whether tight boxes are wanted.

        Returns:
            Areas ``(N,)`` int64; boxes as (x, y, width, height), ``(N, 4)`` int32, or None; shared pixels ``(P,)``
            int64, or None.

        Raises:
            ValueError: If one is malformed.
        """
        check_size(size)
        areas = np.zeros(num_masks, np.int64)
        tight = np.zeros((num_masks, 4), np.int32) if boxes else None
        shared = None if pairs is None else np.zeros(len(pairs), np.int64)
        arguments = _Measurement(text, len(text), num_masks, *size, areas.ctypes.data)
        if tight is not None:
            arguments.boxes_xywh = tight.ctypes.data
        if pairs is not None and shared is not None:
            pairs = np.ascontiguousarray(pairs, np.int64)
            if pairs.size and not 0 <= pairs.min() <= pairs.max() < num_masks:
                raise IndexError(f"pairs must index the {num_masks} masks, got {pairs.min()} to {pairs.max()}.")
            arguments.pairs, arguments.num_pairs, arguments.shared = pairs.ctypes.data, len(pairs), shared.ctypes.data
        if self._measure(ctypes.byref(arguments)) != _SUCCESS:
            self._explain([Rle(size=[*size], counts=counts) for counts in text.decode("ascii").split("\n")[:-1]])
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
        arguments = _Decoding(text, len(text), height, width, *box_xywh, mask.ctypes.data)
        if self._decode(ctypes.byref(arguments)) != _SUCCESS:
            self._explain([rle])
        return mask

    def encode(self, mask: np.ndarray) -> Rle:
        """One mask ``(H, W)`` of bool or uint8."""
        mask = np.ascontiguousarray(mask)
        height, width = mask.shape
        capacity = 2**14
        while True:
            counts = np.empty(capacity, np.uint8)
            arguments = _Encoding(mask.ctypes.data, height, width, counts.ctypes.data, capacity)
            if self._encode(ctypes.byref(arguments)) != _SUCCESS:
                self._explain(())
            if arguments.num_bytes <= capacity:
                return Rle(size=[height, width], counts=counts[: arguments.num_bytes].tobytes().decode("ascii"))
            capacity = arguments.num_bytes

    def encode_logits(
        self,
        logits: np.ndarray,
        padded_size: tuple[int, int],
        frame_size: tuple[int, int],
        output_size: tuple[int, int],
        *,
        num_threads: int = 1,
    ) -> list[Rle | None]:
        """Masks straight from their small logits: upsampled, cropped, resized, above zero, and encoded.

        Args:
            logits: ``(N, h, w)`` float32, finite.
            padded_size: What they cover, all sizes as (height, width).
            frame_size: The part of it, at the top left, that is kept.
            output_size: What the kept part is resized to.
            num_threads: Threads that share the masks.

        Returns:
            Each mask, None where it is empty.
        """
        num_masks, height, width = logits.shape
        sizes = (height, width, *padded_size, *frame_size, *output_size)
        if min(sizes) < 1 or frame_size[0] > padded_size[0] or frame_size[1] > padded_size[1]:
            raise ValueError(
                f"sizes must be positive, and frame_size lie in padded_size, got logits {logits.shape}, "
                f"{padded_size = }, {frame_size = } and {output_size = }."
            )
        check_size(output_size)
        logits = np.ascontiguousarray(logits, np.float32)
        capacity = num_masks * 2**13
        while True:
            counts = np.empty(capacity, np.uint8)
            arguments = _LogitsEncoding(
                logits.ctypes.data, num_masks, *sizes, num_threads, counts.ctypes.data, capacity
            )
            if self._encode_logits(ctypes.byref(arguments)) != _SUCCESS:
                self._explain(())
            if arguments.num_bytes <= capacity:
                break
            capacity = arguments.num_bytes
        texts = counts[: arguments.num_bytes].tobytes().decode("ascii").split("\n")[:-1]
        return [Rle(size=[*output_size], counts=text) if text else None for text in texts]

    def _explain(self, rles: Sequence[Rle]) -> NoReturn:
        """Say why a call on these masks failed."""
        check_rles(rles)  # says what is wrong, and with which of them
        raise MemoryError("the runs of masks do not fit into the memory.")


def _of_one_size(rles: Sequence[Rle]) -> list[Sequence[Rle]]:
    """Consecutive parts, each of masks of one size: mostly all of them."""
    parts: list[list[Rle]] = []
    for rle in rles:
        if parts and parts[-1][0]["size"] == rle["size"]:
            parts[-1].append(rle)
        else:
            parts.append([rle])
    return list(parts)
