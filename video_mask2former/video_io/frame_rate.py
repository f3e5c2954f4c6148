"""Frame rates as people and files write them."""

from __future__ import annotations

import re
from fractions import Fraction

from video_mask2former.messages import shortened

MAX_RATE = 100_000
"""Frames a second, and seconds a frame."""

_MAX_TERM = 2**31 - 1  # FFmpeg keeps numerator and denominator in 32 bits
_NUMBER = re.compile(r"[0-9]{1,10}(\.[0-9]{0,12})?(/[0-9]{1,10})?")


def parse_frame_rate(text: str, name: str = "frame_rate") -> Fraction:
    """The rate that a text such as ``25``, ``29.97`` or ``30000/1001`` says, exactly.

    Args:
        text: The text.
        name: What to call it in errors.

    Raises:
        ValueError: If it says none, or one that no video has.
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text) or ("." in text and "/" in text) or text.endswith("/0"):
        raise ValueError(f"{name} must be a positive number or fraction, such as 25 or 30000/1001, got {text[:60]!r}.")
    return check_frame_rate(Fraction(text), name)


def check_frame_rate(rate: Fraction | int | float, name: str = "frame_rate") -> Fraction:
    """The rate as a fraction that video files can hold.

    A float is taken for the nearest fraction with a denominator as small as broadcast rates have.

    Raises:
        ValueError: If it is none that a video has.
    """
    if not 1 / MAX_RATE <= rate <= MAX_RATE:  # written so that NaN is out of range
        raise ValueError(f"{name} must be positive, from 1/{MAX_RATE} to {MAX_RATE}, got {shortened(rate)}.")
    exact = Fraction(rate).limit_denominator(1001) if isinstance(rate, float) and rate > 1e-3 else Fraction(rate)
    if max(exact.numerator, exact.denominator) > _MAX_TERM:
        exact = exact.limit_denominator(10_000)
    return exact
