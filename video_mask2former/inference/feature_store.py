"""The features of a long clip, collected chunk by chunk into memory that is allocated once."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from video_mask2former.structures import ClipFeatures

GROWTH = 1.5


class FeatureStore:
    """Joins chunks of frames without holding them twice, as concatenation at the end would.

    Args:
        num_frames: How many frames there will be, None where unknown; more or fewer may come.
        device: Where the features are kept, None for where they come from.
        dtype: What they are kept in, None for as they come.
    """

    def __init__(
        self, num_frames: int | None = None, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> None:
        self._expected = num_frames
        self._device = device
        self._dtype = dtype
        self._sizes: tuple[tuple[int, int], tuple[int, int]] | None = None  # of the frames, without and with padding
        self._buffers: list[Tensor] = []  # in the order of ClipFeatures.tensors
        self._like: ClipFeatures | None = None  # the last chunk's, for what they are
        self._length = 0

    def append(self, features: ClipFeatures) -> None:
        """Add the next frames.

        Raises:
            MemoryError: If the frames to come will not fit into the memory there is.
            ValueError: If they do not have the size of the first ones.
        """
        sizes = (features.frame_size, features.padded_size)
        if self._sizes not in (None, sizes):
            raise ValueError(f"all frames of a clip must have one size and padding, got {sizes} after {self._sizes}.")
        self._sizes = sizes
        stop = self._length + features.num_frames
        parts = features.tensors()
        self._like = features
        if not self._buffers and stop == self._expected and self._device is None and self._dtype is None:
            self._buffers = parts  # all in one chunk: nothing to copy
        else:
            self._reserve(stop, parts)
            for buffer, part in zip(self._buffers, parts, strict=True):
                buffer[:, self._length : stop] = part
        self._length = stop

    def features(self) -> ClipFeatures:
        """All frames so far.

        Raises:
            ValueError: If there are none.
        """
        if self._like is None:
            raise ValueError("a clip must have at least one frame, got none.")
        return self._like.with_tensors(buffer[:, : self._length] for buffer in self._buffers)

    def _reserve(self, num_frames: int, parts: list[Tensor]) -> None:
        """Make room for ``num_frames``, and for more at once where the number was not known."""
        capacity = self._buffers[0].shape[1] if self._buffers else 0
        if num_frames <= capacity:
            return
        wanted = max(num_frames, self._expected or 0, int(capacity * GROWTH))
        _check_fits(wanted, parts, self._device, self._dtype)
        grown = []
        for index, part in enumerate(parts):
            shape = (part.shape[0], wanted, *part.shape[2:])
            buffer = torch.empty(shape, dtype=self._dtype or part.dtype, device=self._device or part.device)
            if self._buffers:
                buffer[:, : self._length] = self._buffers[index][:, : self._length]
                self._buffers[index] = buffer[:, :0]  # let go of the old one before the next is allocated
            grown.append(buffer)
        self._buffers = grown


def _check_fits(num_frames: int, parts: list[Tensor], device: torch.device | None, dtype: torch.dtype | None) -> None:
    """Refuse a clip that cannot fit, rather than have the system kill the process half-way through."""
    where = device or parts[0].device
    per_frame = sum((dtype or part.dtype).itemsize * part[0, 0].numel() for part in parts)
    available = _available_bytes(where)
    if available is not None and num_frames * per_frame > available:
        raise MemoryError(
            f"a clip of {num_frames} frames needs {num_frames * per_frame / 2**30:.1f} GiB on {where} for its features "
            f"alone, {available / 2**30:.1f} GiB are available. Use online mode, a window, a smaller short_side, or "
            "keep features elsewhere (feature_device) or in half precision (feature_dtype)."
        )


def _available_bytes(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    memory = Path("/proc/meminfo")
    if not memory.exists():
        return None
    fields = dict(line.split(":", 1) for line in memory.read_text().splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None
