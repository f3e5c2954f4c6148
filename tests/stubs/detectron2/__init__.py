"""A stand-in for detectron2: the interfaces that training scripts, demos and this package use, and little else.

The real one has no wheels. Names, signatures, defaults and checks are its own (version 0.6); what is behind them is as
short as it can be. `fvcore`, `yacs`, `iopath` and `omegaconf` are the real ones.
"""

__version__ = "0.6"
