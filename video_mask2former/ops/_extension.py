"""Finds the compiled kernels, says what came of it, and hands tensors to them."""

from __future__ import annotations

import functools
import logging

logger = logging.getLogger(__name__)


@functools.cache
def log_reference_in_use(device_type: str) -> None:
    """Say once per kind of device that the slow implementation serves."""
    logger.info("ms_deform_attn runs in plain torch on %s: the compiled kernels were not built.", device_type)
