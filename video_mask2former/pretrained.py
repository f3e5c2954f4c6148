"""Models that bring their weights along, in folders and in the Hugging Face hub."""

from __future__ import annotations

import os

import torch

from video_mask2former.api import bundled_weights, load
from video_mask2former.config import Overrides
from video_mask2former.models import Segmenter
from video_mask2former.recipes.hub import download, hub_address, push_to_hub, save_pretrained

__all__ = ["from_pretrained", "push_to_hub", "save_pretrained"]


def from_pretrained(
    source: str | os.PathLike[str],
    *,
    revision: str | None = None,
    overrides: Overrides = (),
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Segmenter:
    """Load a model that brings its weights along: as :func:`load`, with the revision of a repository.

    Args:
        source: ``owner/name`` of the Hugging Face hub, or a folder that :func:`save_pretrained` wrote.
        revision: Branch, tag or commit in the hub; None is the main branch.
        overrides: See :func:`load`.
        device: See :func:`load`.
        dtype: See :func:`load`.

    Raises:
        FileNotFoundError: If it does not exist, or the hub cannot be reached.
        ImportError: If a model of the hub is asked for without ``huggingface_hub``.
        ValueError: If it has no weights or no configuration.
    """
    address = hub_address(source)
    if revision is not None and address is None:
        raise ValueError(f"only repositories of the hub have revisions, and {os.fspath(source)} is none.")
    chosen = source if address is None else download(address, revision)
    if bundled_weights(chosen) is None:
        raise ValueError(f"{os.fspath(source)} is a configuration without weights. Use load(..., weights=...).")
    return load(chosen, overrides=overrides, device=device, dtype=dtype)
