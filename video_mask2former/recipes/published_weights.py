"""Published checkpoints that load here: where they are, what was measured, and the configuration that fits."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from video_mask2former.convert import Checkpoint, read_checkpoint
from video_mask2former.documents import parse_yaml, read_text
from video_mask2former.recipes.hub import SCHEME, local_weights

UNKNOWN = "unknown"
_FILE = Path(__file__).with_name("published_weights.yaml")
_MD5 = re.compile(r"model_final_([0-9a-f]{6})\.pkl")
_HUB_FILE = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/main/(.+)")


@dataclass(frozen=True)
class PublishedWeights:
    """One checkpoint, as its authors describe it; what they do not say is "unknown".

    Attributes:
        family: Whose it is.
        config: Name of the shipped configuration that fits.
        address: Where it is; a folder or a page where there is no address of its own.
        page: Where the authors list it.
        licence: Of the weights.
        figures: What they measured on the validation set, in percent.
        note: What else to know, empty if nothing.
    """

    family: str
    config: str
    address: str
    page: str
    licence: str
    figures: Mapping[str, float]
    note: str = ""

    @property
    def md5_prefix(self) -> str:
        """The first digits of its MD5, where its name has them."""
        match = _MD5.search(self.address)
        return match[1] if match else UNKNOWN

    @property
    def hub_address(self) -> str | None:
        """What :func:`load` takes as ``weights`` to download it, if it is a file of the Hugging Face hub."""
        match = _HUB_FILE.fullmatch(self.address)
        return f"{SCHEME}{match[1]}/{match[2]}" if match else None

    @property
    def results(self) -> str:
        """The figures in words: "AP 46.4"."""
        return ", ".join(f"{name} {value}" for name, value in self.figures.items()) or UNKNOWN


@functools.cache
def published_weights() -> tuple[PublishedWeights, ...]:
    """All of them, by family."""
    families = parse_yaml(read_text(_FILE), f"the list of published weights, {_FILE}, cannot be read")
    return tuple(
        PublishedWeights(
            family["family"],
            entry["config"],
            f"{family['address']}{entry['file']}" if "file" in entry else family["page"],
            family["page"],
            family.get("licence", UNKNOWN),
            entry.get("figures", {}),
            family.get("note", ""),
        )
        for family in families
        for entry in family["weights"]
    )


def read_weights(weights: str | os.PathLike[str], config: object) -> Checkpoint:
    """Read a checkpoint, which may be in the hub.

    Args:
        weights: As for :func:`load`.
        config: What it is for; where the file is missing, the error says where the published one is.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is damaged, or is no checkpoint.
    """
    try:
        return read_checkpoint(local_weights(weights))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}{weights_advice(config)}") from error


def weights_advice(config: object) -> str:
    """Where the published weights of a shipped configuration are, for an error; empty where there are none."""
    if not isinstance(config, (str, os.PathLike)):
        return ""
    name = os.fspath(config).removeprefix("configs/").removesuffix(".yaml")
    found = next((each for each in published_weights() if each.config == name), None)
    if found is None or found.address == UNKNOWN:
        return ""
    as_weights = f", or weights={found.hub_address!r}" if found.hub_address else ""
    licence = f"licence {found.licence}" if found.licence != UNKNOWN else "licence unknown"
    return f" The published weights of {name} ({found.results}; {licence}) are at {found.address}{as_weights}."
