"""Exporters without the notes that they write for their own authors."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator

_TALKERS = ("torch.onnx", "torch._export", "torch.export", "onnxscript", "onnx_ir")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Only errors of the exporters of torch and ONNX, no warnings."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
