"""Loggers by name."""

import logging


def setup_logger(output=None, distributed_rank=0, *, color=True, name="detectron2", abbrev_name=None):
    """The logger; where it writes to is left to the tests."""
    return logging.getLogger(name)
