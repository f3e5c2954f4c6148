"""Models in the Hugging Face hub, and folders that look as they do there."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from video_mask2former._version import __version__
from video_mask2former.atomic import atomic_path
from video_mask2former.config import Config, apply_overrides, config_from_mapping, to_yaml
from video_mask2former.convert import write_checkpoint
from video_mask2former.models import Segmenter
from video_mask2former.recipes.model import class_names_of, complete_config
from video_mask2former.recipes.source import shipped_configs

WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.yaml", "README.md"
SCHEME = "hf://"

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FILE_SUFFIXES = (".yaml", ".yml", ".json", ".pth", ".pt", ".pkl", ".bin", ".npz", ".safetensors")
# What a model is made of, wherever it is in the repository's folder; other weights of the same model are left out
_PATTERNS = ("*.json", "*.yaml", "*.safetensors", "*.bin", "README.md")
_INSTALL = "pip install 'video-mask2former[hub]'"
# Where a model was trained, and on what, is no business of those who load it
_PRIVATE: dict[str, Any] = {
    "data.root": None,
    "data.train": [],
    "data.train_ratios": [],
    "data.test": [],
    "training.init_weights": None,
    "training.output": Config().training.output,
}


def hub_address(source: object) -> str | None:
    """The ``owner/name`` or ``owner/name/file`` of the hub that a source names; None for anything else.

    A path that exists and the name of a shipped configuration go before a repository of the same name; ``hf://`` before
    a name says that it is one of the hub.
    """
    if not isinstance(source, (str, Path)):
        return None
    text = os.fspath(source)
    if isinstance(source, str) and text.startswith(SCHEME):
        return text.removeprefix(SCHEME)
    if not isinstance(source, str) or not _REPOSITORY.fullmatch(text) or text.endswith(_FILE_SUFFIXES):
        return None
    families = {name.partition("/")[0] for name in shipped_configs()} | {"configs", ".", ".."}
    return None if Path(text).exists() or text.partition("/")[0] in families else text


def download(address: str, revision: str | None = None) -> Path:
    """A repository of the hub as a local folder, or one of its files; what was downloaded before is not again.

    Args:
        address: ``owner/name``, or ``owner/name/path/of/file``.
        revision: Branch, tag or commit; None is the main branch.

    Raises:
        ImportError: If huggingface_hub is not installed.
        FileNotFoundError: If there is no such repository or file, or the hub cannot be reached and it was not
            downloaded before.
        ValueError: If the address is not one.
    """
    owner, _, rest = address.partition("/")
    name, _, file = rest.partition("/")
    if not _REPOSITORY.fullmatch(f"{owner}/{name}"):
        raise ValueError(f"a model in the hub is named owner/name, or {SCHEME}owner/name/file, got {address!r}.")
    hub = _hub()
    try:
        if file:
            return Path(hub.hf_hub_download(f"{owner}/{name}", file, revision=revision))
        return Path(hub.snapshot_download(f"{owner}/{name}", revision=revision, allow_patterns=list(_PATTERNS)))
    except (OSError, hub.errors.HfHubHTTPError) as error:
        raise FileNotFoundError(_unreachable(address, revision, error)) from error


def local_weights(weights: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """The weights themselves, or where they are after they were downloaded: ``hf://owner/name/file``."""
    if isinstance(weights, str) and weights.startswith(SCHEME):
        return download(weights.removeprefix(SCHEME))
    return weights


def save_pretrained(
    model: Segmenter,
    folder: str | os.PathLike[str],
    *,
    license: str | None = None,
    name: str = "OWNER/NAME",
) -> None:
    """Write a model as a folder that :func:`load` takes, and the hub.

    Args:
        model: Built from a configuration, as those of :func:`load` are.
        folder: Gets ``model.safetensors`` with the configuration inside, ``config.yaml`` and ``README.md``. Paths of
            datasets and of other weights are left out of the configuration.
        license: Of the weights, for the card, such as ``apache-2.0``.
        name: What the card says the model is loaded by.

    Raises:
        ValueError: If the model was not built from a configuration.
    """
    config = _config_of(model)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    text = to_yaml(config)
    write_checkpoint(target / WEIGHTS_FILE, model.state_dict(), text)
    for file, content in ((CONFIG_FILE, text), (CARD_FILE, _card(model, config, license, name))):
        with atomic_path(target / file) as temporary:
            temporary.write_text(content, encoding="utf-8")


def push_to_hub(
    model: Segmenter,
    repository: str,
    *,
    license: str | None = None,
    private: bool = False,
    token: str | None = None,
    message: str = "Upload a model of video_mask2former",
) -> str:
    """Upload a model to the hub, where :func:`load` finds it by its name.

    Args:
        model: See :func:`save_pretrained`.
        repository: ``owner/name``; made if it is not there.
        license: See :func:`save_pretrained`.
        private: Make a repository that others cannot see.
        token: Of the account; None is that of ``hf auth login``.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        ImportError: If huggingface_hub is not installed.
        ValueError: If the model was not built from a configuration, or the repository cannot be written.
    """
    if not _REPOSITORY.fullmatch(repository):
        raise ValueError(f"a model in the hub is named owner/name, got {repository!r}.")
    hub = _hub()
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(model, folder, license=license, name=repository)
        api = hub.HfApi(token=token)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
        except (OSError, hub.errors.HfHubHTTPError) as error:
            raise ValueError(
                f"{repository} could not be written in the hub: {_in_short(error)} "
                "'hf auth login' sets up an account, a token needs the right to write."
            ) from error
    return str(commit)


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ImportError(f"models in the Hugging Face hub need huggingface_hub: {_INSTALL}.") from error
    return huggingface_hub


def _unreachable(address: str, revision: str | None, error: Exception) -> str:
    where = address if revision is None else f"{address} at {revision}"
    return (
        f"{where} is neither a file or folder here nor one of the shipped configurations, and could not be had from "
        f"the Hugging Face hub: {_in_short(error)} Check the name and the network; without one, download it "
        f"elsewhere ('hf download {'/'.join(address.split('/')[:2])} --local-dir FOLDER') and name the folder."
    )


def _in_short(error: Exception) -> str:
    """What happened, without the advice that huggingface_hub adds below."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) or type(error).__name__


def _config_of(model: Segmenter) -> Config:
    if model.built_from is None:
        raise ValueError(
            "the model must have been built from a configuration, which is written with it: get it from load(), or "
            "write its weights with torch.save(model.state_dict(), FILE)."
        )
    config = apply_overrides(complete_config(config_from_mapping(model.built_from, "this model")), _PRIVATE)
    options: Mapping[str, Any] = config.model.options
    with_files = {name: None for name, value in options.items() if isinstance(value, Mapping) and "weights" in value}
    return apply_overrides(config, {f"model.{name}.weights": None for name in with_files})


def _card(model: Segmenter, config: Config, license_name: str | None, name: str) -> str:
    names: Sequence[str] = class_names_of(config.model) or model.class_names
    classes = ", ".join(names) if names else f"{model.num_classes} classes without names"
    head = ["library_name: video-mask2former", "tags: [video-instance-segmentation, image-segmentation]"]
    if license_name is not None:
        head.append(f"license: {license_name}")
    millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    return "\n".join(
        [
            "---",
            *head,
            "---",
            "",
            f"# {type(model).__name__}",
            "",
            f"A model of video_mask2former {__version__}: {millions:.1f} million parameters, frames of short side "
            f"{model.input_sides[0]}.",
            "",
            "```python",
            "import video_mask2former as vm2f",
            "",
            f'model = vm2f.load("{name}")',
            'result = vm2f.segment_video(model, "in.mp4")',
            "```",
            "",
            f"Classes: {classes}.",
            "",
            f"`{CONFIG_FILE}` says how it is built; `{WEIGHTS_FILE}` has the same inside.",
            "",
        ]
    )
