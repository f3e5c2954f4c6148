"""Custom classes, which a configuration names as ``module:Class``."""

from __future__ import annotations

import importlib
import inspect
from typing import TypeVar

T = TypeVar("T")


def import_class(path: str, base: type[T]) -> type[T]:
    """Import the class that a configuration names.

    The configuration may have come with a checkpoint from elsewhere, so nothing is called before it has shown to
    be a class of the kind that was asked for.

    Args:
        path: ``module:Class``; the module must be one that ``import`` finds.
        base: What it must be a subclass of, or a protocol that it must fulfil.

    Raises:
        ImportError: If the module cannot be imported.
        ValueError: If the module has no such class, or the class is of another kind or abstract.
    """
    module_name, _, name = path.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # the module is there, and something that it needs is not
        raise ImportError(
            f"{path} is to be used, but Python finds no module {module_name!r}. Install it, or add its folder to "
            "PYTHONPATH."
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, type):
        raise ValueError(f"{path} must be a class, but {module_name} has {found!r} under that name.")
    if not issubclass(found, base):
        raise ValueError(f"{path} must be a {base.__module__}.{base.__qualname__}, and it is not.")
    if inspect.isabstract(found) or getattr(found, "_is_protocol", False):
        raise ValueError(f"{path} is abstract: name a subclass of it that can be made.")
    return found
