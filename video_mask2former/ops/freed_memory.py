"""Giving memory that was freed back to the system."""

from __future__ import annotations

import ctypes
import sys


def return_freed_memory() -> None:
    """Give what was freed back to the system before more is needed.

    glibc keeps freed blocks of up to 32 MiB for itself: for a clip of 36 frames some 240 MiB after the encoder, for the
    queries of 3,000 frames some 300 MiB, added to the peak.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
